"""A plain decoder-only transformer: what the controller's cost is held against."""

from __future__ import annotations

import torch
from gpu_plan import Model
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Attention and a feed-forward layer of four times the width, each after a normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        split = self.qkv(self.before(x)).view(rows, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, tokens, width))
        return x + self.down(functional.gelu(self.up(self.between(x))))


class Decoder(nn.Module):
    """Embedding, blocks, and the log-probabilities of the next tokens."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.embedding = nn.Embedding(model.vocabulary, model.width)
        self.blocks = nn.ModuleList(Block(model.width, model.heads) for _ in range(model.layers))
        self.head = nn.Linear(model.width, model.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        logits = self.head(x[:, :-1]).flatten(0, 1)
        return functional.cross_entropy(logits.float(), tokens[:, 1:].flatten())


def operations(model: Model, parameters: int) -> float:
    """Floating-point operations of a forward and backward pass over one sequence.

    Six a parameter and token, and causal attention, 6 T^2 a layer and unit of width (Kaplan et al.,
    arXiv 2001.08361, section 2.1, with half of the square masked).
    """
    attention = 6.0 * model.layers * model.width * model.tokens**2
    return 6.0 * parameters * model.tokens + attention


def build(model: Model, device: str) -> Decoder:
    """In bfloat16, of seed 0."""
    torch.manual_seed(0)
    return Decoder(model).to(device=device, dtype=torch.bfloat16)
