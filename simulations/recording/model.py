"""The policy: a small Llama with random weights, and its supervised warm start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simulations.recording.settings import Settings
from simulations.recording.task import warm_start_batches
from simulations.recording.tokenizer import encode_pairs


def build_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build a randomly initialised Llama of the settings' size; torch's global seed decides it."""
    return LlamaForCausalLM(
        LlamaConfig(  # type: ignore[call-arg]
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=2 * settings.hidden_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",
        )
    )


def token_logprob(
    model: Callable[..., Any], ids: torch.Tensor, attention: torch.Tensor, response_tokens: int
) -> torch.Tensor:
    """Return the natural-log probabilities [B, response_tokens] of the last tokens of `ids`."""
    outputs = model(input_ids=ids, attention_mask=attention, use_cache=False)
    logits = outputs.logits[:, -response_tokens - 1 : -1]
    targets = ids[:, -response_tokens:, None]
    return torch.log_softmax(logits, dim=-1).gather(-1, targets).squeeze(-1)


def warm_start(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: Settings,
    rng: np.random.Generator,
    on_step: Callable[[int], None],
) -> None:
    """Train the model on right answers, some with their working, to start from a mixed policy."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.warm_start_learning_rate)
    for step, (problems, worked) in enumerate(warm_start_batches(settings, rng)):
        responses = [p.worked if w else p.answer for p, w in zip(problems, worked, strict=True)]
        rows = encode_pairs(
            tokenizer,
            [problem.prompt for problem in problems],
            responses,
            response_tokens=settings.response_tokens,
        )
        mask = rows["completion_mask"]
        logprob = token_logprob(
            model,
            torch.cat([rows["prompt_ids"], rows["completion_ids"]], dim=1),
            torch.cat([rows["prompt_mask"], mask], dim=1),
            settings.response_tokens,
        )
        loss = -(logprob * mask).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        on_step(step)
