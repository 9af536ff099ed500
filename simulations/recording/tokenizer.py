"""A character tokenizer built in code, and the tensors of prompt and response pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from simulations.recording.task import ALPHABET

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: one token a character, and padding, end and unknown tokens."""
    vocabulary = {token: i for i, token in enumerate([PAD, EOS, UNKNOWN, *ALPHABET])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
    )


def encode_pairs(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    response_tokens: int,
) -> dict[str, torch.Tensor]:
    """Encode pairs as TRL lays them out: prompts padded left, responses with end token right.

    Returns:
        `prompt_ids`, `prompt_mask` [B, P] and `completion_ids`, `completion_mask`
        [B, response_tokens], all int64.
    """
    left = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    right = tokenizer(
        [response + EOS for response in responses],
        padding="max_length",
        padding_side="right",
        max_length=response_tokens,
        truncation=True,
        return_tensors="pt",
    )
    return {
        "prompt_ids": left["input_ids"],
        "prompt_mask": left["attention_mask"],
        "completion_ids": right["input_ids"],
        "completion_mask": right["attention_mask"],
    }
