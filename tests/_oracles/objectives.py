"""Group-relative advantages and the hybrid loss with its gradient, in 50 digits.

From the tables of peers.md ("Group-relative advantages", "Loss aggregation"), by plain loops.
"""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .exact import plain, real
from .statistics import phi

Values = dict[str, Any]

# name: (eps or None for no division, variance floor, spread of, group of one, experts)
CONVENTIONS: dict[str, tuple[str | None, str, str, str, str]] = {
    "trl": ("1e-4", "0", "group", "zero", "pooled"),
    "trl_batch": ("1e-4", "0", "batch", "zero", "pooled"),
    "dr_grpo": (None, "0", "group", "zero", "pooled"),
    "verl": ("1e-6", "0", "group", "raw", "pooled"),
    "verl_vectorized": ("1e-6", "1e-6", "group", "raw", "pooled"),
    "verl_unscaled": (None, "0", "group", "raw", "pooled"),
    "trinity": ("1e-6", "0", "group", "raw", "pooled"),
    "trinity_mix": ("1e-6", "0", "group", "raw", "zero"),
    "luffy_split": ("1e-6", "0", "group", "raw", "reference"),
}


def advantages(config: Values, inputs: Values) -> Values:
    """One advantage a sequence under a named convention; sample spread (ddof 1) throughout."""
    eps, floor, spread_of, alone, experts = CONVENTIONS[inputs["convention"]]
    rewards = [real(r) for r in plain(inputs["rewards"])]
    groups = plain(inputs["group_ids"])
    expert = [bool(e) for e in plain(inputs["is_expert"])]
    counted = [experts == "pooled" or not e for e in expert]
    everything = [r for r, c in zip(rewards, counted, strict=True) if c]
    out = []
    for i, reward in enumerate(rewards):
        if experts == "zero" and expert[i]:
            out.append(mp.mpf(0))
            continue
        members = [
            r for r, g, c in zip(rewards, groups, counted, strict=True) if c and g == groups[i]
        ]
        mean = sum(members, mp.mpf(0)) / len(members)
        spread = _sample_std(everything if spread_of == "batch" else members)
        # The floor is a double: its root is what the spread is held against.
        spread = max(spread, mp.sqrt(real(float(floor))))
        if experts == "reference" and spread == 0:
            spread = mp.mpf(1)
        if len(members) == 1 and alone == "raw":
            mean, spread = mp.mpf(0), mp.mpf(1)
        centred = reward - mean
        out.append(centred if eps is None else centred / (spread + real(float(eps))))
    return {"group_advantages": out}


def _sample_std(values: list[Any]) -> Any:
    if len(values) < 2:
        return mp.mpf(0)
    mean = sum(values, mp.mpf(0)) / len(values)
    return mp.sqrt(sum(((v - mean) ** 2 for v in values), mp.mpf(0)) / (len(values) - 1))


# name: (row weight is the mean over its tokens, eps of a row, eps of the count)
AGGREGATIONS: dict[str, tuple[bool, str, str]] = {
    "token_mean": (False, "0", "0"),
    "seq_mean_token_sum": (False, "0", "0"),
    "seq_mean_token_mean": (True, "1e-8", "0"),
    "seq_mean_token_sum_norm": (False, "0", "0"),
    "trinity_token_mean": (False, "0", "1e-8"),
    "trinity_seq_mean_token_sum": (False, "0", "0"),
    "trinity_seq_mean_token_mean": (True, "1e-8", "0"),
    "grpo": (True, "0", "0"),
    "bnpo": (False, "0", "0"),
    "dr_grpo": (False, "0", "0"),
    "dapo": (False, "0", "0"),
}


def normalizer(name: str, mask: Any, rows: list[int], width: int) -> float:
    """The count of an aggregation over some rows of a batch."""
    lengths = [sum(1 for kept in plain(mask)[i] if kept) for i in rows]
    if name in ("token_mean", "trinity_token_mean", "bnpo", "dapo"):
        return float(sum(lengths))
    if name in ("seq_mean_token_sum", "seq_mean_token_mean"):
        return float(sum(1 for n in lengths if n))
    if name in ("trinity_seq_mean_token_sum", "trinity_seq_mean_token_mean", "grpo"):
        return float(len(rows))
    return float(width if name == "seq_mean_token_sum_norm" else width * len(rows))


def loss(config: Values, inputs: Values) -> Values:
    """``(1 - mu) L_RL + mu L_SFT`` and its gradient in the log-probabilities."""
    masks, mu = plain(inputs["response_mask"]), real(inputs["mu"])
    total = mp.mpf(0)
    grad: list[list[Any]] = []
    for i, mask in enumerate(masks):
        expert = bool(plain(inputs["is_expert"])[i])
        length = sum(1 for kept in mask if kept)
        weight = _row_weight(inputs, expert, length) * (mu if expert else 1 - mu)
        row = [mp.mpf(0)] * len(mask)
        for j, kept in enumerate(mask):
            if not kept:
                continue
            value, slope = _sft_token(inputs, i, j) if expert else _rl_token(inputs, i, j)
            total += weight * value
            row[j] = weight * slope
        grad.append(row)
    return {"loss_value": total, "loss_grad": grad}


def _row_weight(inputs: Values, expert: bool, length: int) -> Any:
    branch = "sft" if expert else "rl"
    by_row, row_eps, count_eps = AGGREGATIONS[inputs[f"{branch}_aggregation"]]
    if length == 0:
        return mp.mpf(0)
    weight = 1 / (length + real(float(row_eps))) if by_row else mp.mpf(1)
    return weight / (real(inputs[f"{branch}_normalizer"]) + real(float(count_eps)))


def _sft_token(inputs: Values, i: int, j: int) -> tuple[Any, Any]:
    logprob = real(plain(inputs["logprob"])[i][j])
    weight = phi(logprob) if inputs["sft"] == "phi" else mp.mpf(1)  # phi is held constant
    return -weight * logprob, -weight


def _rl_token(inputs: Values, i: int, j: int) -> tuple[Any, Any]:
    logprob, old = (real(plain(inputs[name])[i][j]) for name in ("logprob", "old_logprob"))
    rows = plain(inputs["advantages"])
    gain = real(rows[i][j] if isinstance(rows[i], list) else rows[i])
    ratio = mp.exp(logprob - old)
    high, low = 1 + real(inputs["clip_high"]), 1 - real(inputs["clip_low"])
    bounded = min(ratio, high) if gain >= 0 else max(ratio, low)
    return -gain * bounded, -gain * ratio if bounded == ratio else mp.mpf(0)
