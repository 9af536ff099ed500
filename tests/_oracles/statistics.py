"""Coefficient-space proxies in 50 digits (method.md, section 3; the contract's "Proxies").

A batch is a dict: ``logprob [B][T]``, ``response_mask [B][T]``, ``advantages [B][T]`` or ``[B]``,
``is_expert [B]``, optionally ``ref_logprob [B][T]`` and ``kl`` (a number or None).
"""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .exact import plain, real

SPREAD_RATIO = mp.mpf(2) ** -40
"""A stream whose standard deviation is at most this share of its rms counts as constant."""


def masked_mean(values: Any, mask: Any, *, mask_eps: Any = 1e-8, masking: str = "select") -> Any:
    """Masked mean of one row: ``sum(v m)/(sum(m) + mask_eps)``; 0 for a fully masked row.

    "select" never reads a masked value; "multiply" multiplies it by 0, so NaN and inf survive.
    """
    total, count = _masked_sum(values, mask, masking)
    return mp.mpf(0) if count == 0 and total == 0 else total / (count + real(mask_eps))


def variance(values: Any) -> Any:
    """Population variance (ddof 0), two passes."""
    items = [real(v) for v in values]
    mean = _sum(items) / len(items)
    return _sum([(v - mean) ** 2 for v in items]) / len(items)


def trim_count(n: int, trim_ratio: float) -> int:
    """Values dropped at each end: ``int(n * trim_ratio)`` as a float64 product; 0 when n < 4."""
    return 0 if n < 4 else int(n * float(trim_ratio))


def trimmed_variance(values: Any, trim_ratio: float) -> Any:
    """Population variance of what trimming leaves."""
    items = [real(v) for v in plain(values)]
    if any(mp.isnan(v) for v in items):
        return mp.nan
    k = trim_count(len(items), trim_ratio)
    kept = sorted(items)[k : len(items) - k]
    if not kept:
        raise ValueError(f"trimmed_variance: trimming {k} of {len(items)} at each end leaves none")
    return variance(kept)


def phi(logprob: Any) -> Any:
    """``p (1 - p)`` at ``p = exp(logprob)``, with ``1 - p`` from ``expm1`` so tiny p stay exact."""
    x = real(logprob)
    return mp.mpf(0) if x == -mp.inf else mp.exp(x) * -mp.expm1(x)


def coefficients(
    logprob: Any, advantage: Any, *, expert: bool, use_phi: bool = True
) -> tuple[Any, Any]:
    """Coefficients ``(c_s, c_r)`` of one token: ``(-phi or -1, -A or 0 on expert rows)``."""
    c_s = -phi(logprob) if use_phi else mp.mpf(-1)
    return c_s, mp.mpf(0) if expert else -real(advantage)


def znormalise(rows: Any, masks: Any, *, masking: str = "select") -> tuple[list[list[Any]], bool]:
    """Rows less the pooled token mean, over the pooled spread (ddof 0): ``(rows, constant)``.

    Plain pooled moments, without ``mask_eps``. Without spread (or tokens) the stream becomes 0.
    """
    count, total = 0, mp.mpf(0)
    for row, mask in zip(rows, masks, strict=True):
        part, n = _masked_sum(row, mask, masking)
        total, count = total + part, count + n
    if count == 0:
        return [[mp.mpf(0)] * len(row) for row in rows], True
    mean = total / count
    central, raw = mp.mpf(0), mp.mpf(0)
    for row, mask in zip(rows, masks, strict=True):
        central += _masked_sum([(v - mean) ** 2 for v in row], mask, masking)[0]
        raw += _masked_sum([v**2 for v in row], mask, masking)[0]
    spread, rms = mp.sqrt(central / count), mp.sqrt(raw / count)
    if spread <= SPREAD_RATIO * rms:
        return [[mp.mpf(0)] * len(row) for row in rows], True
    return [[(v - mean) / spread for v in row] for row in rows], False


def advantage_rows(batch: dict[str, Any]) -> list[list[Any]]:
    """Advantages as ``[B][T]``: one scalar a sequence is repeated over its tokens."""
    rows = plain(batch["advantages"])
    width = [len(row) for row in plain(batch["response_mask"])]
    return [
        list(a) if isinstance(a, list | tuple) else [a] * t
        for a, t in zip(rows, width, strict=True)
    ]


def sigma_r2_raw(config: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Variance over rollouts of the masked mean advantage, unfloored; None without rollouts."""
    means = [
        _row_mean(config, row, mask)
        for row, mask, expert in zip(
            advantage_rows(batch),
            plain(batch["response_mask"]),
            plain(batch["is_expert"]),
            strict=True,
        )
        if not expert
    ]
    return variance(means) if means else None


def sigma_s2_raw(config: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Trimmed variance over experts of the masked mean NLL, unfloored; None without experts."""
    means = [
        _row_mean(config, [-real(v) for v in row], mask)
        for row, mask, expert in zip(
            plain(batch["logprob"]),
            plain(batch["response_mask"]),
            plain(batch["is_expert"]),
            strict=True,
        )
        if expert
    ]
    return trimmed_variance(means, config["trim_ratio"]) if means else None


def delta_g2(config: dict[str, Any], batch: dict[str, Any]) -> tuple[Any, dict[str, bool]]:
    """Disagreement proxy and the constant-stream flags; ``(None, ...)`` without chosen rows.

    Mean over the chosen rows of the masked mean over tokens of ``(c_s - c_r)^2``; never floored.
    """
    stream_s, stream_r, masks = [], [], []
    for logprob, advantage, mask, expert in zip(
        plain(batch["logprob"]),
        advantage_rows(batch),
        plain(batch["response_mask"]),
        plain(batch["is_expert"]),
        strict=True,
    ):
        if expert and config["disagreement_rows"] == "rollouts":
            continue
        pairs = [
            coefficients(lp, a, expert=bool(expert), use_phi=config["use_phi"])
            if kept or config["masking"] == "multiply"
            else (mp.mpf(0), mp.mpf(0))
            for lp, a, kept in zip(logprob, advantage, mask, strict=True)
        ]
        stream_s.append([s for s, _ in pairs])
        stream_r.append([r for _, r in pairs])
        masks.append(mask)
    flags = {"constant_s": False, "constant_r": False}
    if not masks:
        return None, flags
    if config["coefficient_normalization"] == "zscore":
        stream_s, flags["constant_s"] = znormalise(stream_s, masks, masking=config["masking"])
        stream_r, flags["constant_r"] = znormalise(stream_r, masks, masking=config["masking"])
    rows = [
        _row_mean(config, [(s - r) ** 2 for s, r in zip(row_s, row_r, strict=True)], mask)
        for row_s, row_r, mask in zip(stream_s, stream_r, masks, strict=True)
    ]
    return _sum(rows) / len(rows), flags


def k3(logprob: Any, ref_logprob: Any) -> Any:
    """Per-token KL estimator ``exp(ref - l) - (ref - l) - 1`` (Schulman's k3)."""
    gap = real(ref_logprob) - real(logprob)
    return mp.expm1(gap) - gap


def batch_kl(batch: dict[str, Any]) -> Any:
    """Explicit ``kl``, else the pooled mean k3 over rollout response tokens, else None.

    Masked tokens are never read, whatever the masking; None also when no token is left.
    """
    if batch.get("kl") is not None:
        return real(batch["kl"])
    if batch.get("ref_logprob") is None:
        return None
    values = []
    names = ("is_expert", "response_mask", "logprob", "ref_logprob")
    for expert, mask, row, ref_row in zip(*(plain(batch[name]) for name in names), strict=True):
        for kept, logprob, ref in zip(mask, row, ref_row, strict=True):
            if kept and not expert:
                values.append(k3(logprob, ref))
    return _sum(values) / len(values) if values else None


def proxies(config: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
    """Three proxies, presence, batch KL and flags.

    Keys ``sigma_s2``, ``sigma_r2``, ``delta_g2`` (None where missing), ``has_s``, ``has_r``,
    ``has_delta``, ``kl``, ``flags`` (``floored_s``, ``floored_r``, ``constant_s``, ``constant_r``).
    """
    sigma_s2, floored_s = _floor(sigma_s2_raw(config, batch), config["eps"])
    sigma_r2, floored_r = _floor(sigma_r2_raw(config, batch), config["eps"])
    delta, flags = delta_g2(config, batch)
    if config["missing_branch"] == "hold":
        # A branch whose sequences have no response token measures nothing.
        tokens = {True: 0, False: 0}
        for row, expert in zip(
            plain(batch["response_mask"]), plain(batch["is_expert"]), strict=True
        ):
            tokens[bool(expert)] += sum(1 for kept in row if kept)
        every = config["disagreement_rows"] == "all"
        if not tokens[True]:
            sigma_s2, floored_s = None, False
        if not tokens[False]:
            sigma_r2, floored_r = None, False
        if not tokens[False] + (tokens[True] if every else 0):
            delta, flags = None, {"constant_s": False, "constant_r": False}
    return {
        "sigma_s2": sigma_s2,
        "sigma_r2": sigma_r2,
        "delta_g2": delta,
        "has_s": sigma_s2 is not None,
        "has_r": sigma_r2 is not None,
        "has_delta": delta is not None,
        "kl": batch_kl(batch),
        "flags": {"floored_s": floored_s, "floored_r": floored_r, **flags},
    }


def _floor(value: Any, eps: Any) -> tuple[Any, bool]:
    if value is None or not value < real(eps):
        return value, False
    return real(eps), True


def _row_mean(config: dict[str, Any], values: Any, mask: Any) -> Any:
    return masked_mean(values, mask, mask_eps=config["mask_eps"], masking=config["masking"])


def _masked_sum(values: Any, mask: Any, masking: str) -> tuple[Any, int]:
    if masking not in ("select", "multiply"):
        raise ValueError(f"masking: unknown rule {masking!r}")
    total, count = mp.mpf(0), 0
    for value, kept in zip(plain(values), plain(mask), strict=True):
        if kept:
            total += real(value)
            count += 1
        elif masking == "multiply":
            total += real(value) * 0
    return total, count


def _sum(values: Any) -> Any:
    total = mp.mpf(0)
    for value in values:
        total += value
    return total
