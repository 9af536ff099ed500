"""The stages that measure a batch, in 50 digits: coefficients, sequences, proxies.

Section 3 of method.md and the contract's "Proxies".
"""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .exact import plain, real
from .statistics import coefficients as token_coefficients
from .statistics import k3, masked_mean, trim_count, variance, znormalise

Values = dict[str, Any]

NAN = mp.nan


def batch_kl(config: Values, inputs: Values) -> Any:
    """The KL as given, else the mean k3 over the rollouts' response tokens; NaN if unknown."""
    if config["alpha_mode"] != "kl":
        return NAN
    gaps = []
    reference = plain(inputs.get("ref_logprob"))
    for i, expert in enumerate(plain(inputs["is_expert"])):
        for j, kept in enumerate(plain(inputs["response_mask"])[i]):
            if kept and not expert:
                gaps.append((i, j))
    given = inputs.get("batch_kl")
    if not gaps or (given is None and reference is None):
        return NAN
    if given is not None:
        return real(given)
    logprob = plain(inputs["logprob"])
    return sum((k3(logprob[i][j], reference[i][j]) for i, j in gaps), mp.mpf(0)) / len(gaps)


def coefficients(config: Values, inputs: Values) -> Values:
    """The coefficient streams."""
    c_s, c_r = [], []
    advantages = plain(inputs["advantages"])
    for i, row in enumerate(plain(inputs["logprob"])):
        expert = bool(plain(inputs["is_expert"])[i])
        each = advantages[i] if isinstance(advantages[i], list) else [advantages[i]] * len(row)
        pairs = [
            token_coefficients(lp, a, expert=expert, use_phi=config["use_phi"])
            for lp, a in zip(row, each, strict=True)
        ]
        c_s.append([s for s, _ in pairs])
        c_r.append([r for _, r in pairs])
    return {"c_s": c_s, "c_r": c_r}


def sequences(config: Values, inputs: Values) -> Values:
    """One number a sequence."""
    masks = plain(inputs["response_mask"])
    expert = [bool(e) for e in plain(inputs["is_expert"])]
    logprob, advantages = plain(inputs["logprob"]), plain(inputs["advantages"])
    every = config["disagreement_rows"] == "all"

    def mean(values: Any, i: int) -> Any:
        return masked_mean(values, masks[i], mask_eps=config["mask_eps"], masking=config["masking"])

    nll, advantage = [mp.mpf(0)] * len(masks), [mp.mpf(0)] * len(masks)
    for i, mask in enumerate(masks):
        if expert[i]:
            nll[i] = mean([-real(v) for v in logprob[i]], i)
        else:
            row = advantages[i] if isinstance(advantages[i], list) else [advantages[i]] * len(mask)
            advantage[i] = mean(row, i)
    compared = [i for i in range(len(masks)) if every or not expert[i]]
    disagreement, constant = [mp.mpf(0)] * len(masks), (False, False)
    streams = [[_numbers(plain(inputs[name])[i]) for i in compared] for name in ("c_s", "c_r")]
    if config["masking"] == "select":
        streams = [
            [
                [v if kept else mp.mpf(0) for v, kept in zip(row, masks[i], strict=True)]
                for row, i in zip(stream, compared, strict=True)
            ]
            for stream in streams
        ]
    if config["coefficient_normalization"] == "zscore" and _measures(config, masks, compared):
        done = [
            znormalise(stream, [masks[i] for i in compared], masking=config["masking"])
            for stream in streams
        ]
        streams, constant = [rows for rows, _ in done], (done[0][1], done[1][1])
    for k, i in enumerate(compared):
        gaps = [(s - r) ** 2 for s, r in zip(streams[0][k], streams[1][k], strict=True)]
        disagreement[i] = mean(gaps, i)
    return {
        "tokens": [sum(1 for kept in mask if kept) for mask in masks],
        "nll": nll,
        "advantage": advantage,
        "disagreement": disagreement,
        "sft_stream_constant": constant[0],
        "rl_stream_constant": constant[1],
        "kl": batch_kl(config, inputs),
    }


def _measures(config: Values, masks: Any, rows: list[int]) -> bool:
    """Whether a branch is there: rows with a token, or any row at all ("zero")."""
    return bool(rows) if config["missing_branch"] == "zero" else any(any(masks[i]) for i in rows)


def proxies(config: Values, inputs: Values) -> Values:
    """The three proxies."""
    expert = [bool(e) for e in plain(inputs["is_expert"])]
    tokens = [[True] * int(n) for n in plain(inputs["tokens"])]
    every = config["disagreement_rows"] == "all"
    rows = {
        "s": [i for i, e in enumerate(expert) if e],
        "r": [i for i, e in enumerate(expert) if not e],
        "delta": [i for i, e in enumerate(expert) if every or not e],
    }
    has = {name: _measures(config, tokens, chosen) for name, chosen in rows.items()}
    picked = {
        "s": [real(plain(inputs["nll"])[i]) for i in rows["s"]],
        "r": [real(plain(inputs["advantage"])[i]) for i in rows["r"]],
        "delta": [real(plain(inputs["disagreement"])[i]) for i in rows["delta"]],
    }
    eps = real(config["eps"])
    out: Values = {f"has_{name}": present for name, present in has.items()}
    variances = {
        "s": _trimmed_variance(picked["s"], config["trim_ratio"]) if has["s"] else None,
        "r": variance(picked["r"]) if has["r"] else None,
    }
    for name, value in variances.items():
        floored = value is not None and bool(value < eps)
        out[f"proxy_sigma_{name}2"] = mp.mpf(0) if value is None else eps if floored else value
        out[f"sigma_{name}2_floored"] = floored
    total = sum(picked["delta"], mp.mpf(0))
    out["proxy_delta_g2"] = total / len(picked["delta"]) if has["delta"] else mp.mpf(0)
    return out


def _trimmed_variance(values: list[Any], trim_ratio: float) -> Any:
    """Variance of what trimming leaves; NaN sorts last, and may be trimmed away."""
    ordered = sorted((v for v in values if not mp.isnan(v)), key=lambda v: v)
    ordered += [NAN] * (len(values) - len(ordered))
    k = trim_count(len(ordered), trim_ratio)
    return variance(ordered[k : len(ordered) - k])


def _numbers(row: Any) -> list[Any]:
    return [real(v) for v in row]
