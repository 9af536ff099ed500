"""The schedule prior in 50 digits (method.md, section 4, "Prior")."""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .exact import real


def warmup_cosine(step: int, *, warmup: int, decay: int, peak: Any, valley: Any) -> Any:
    """Linear 0 to peak over ``warmup``, half a cosine to valley over ``decay``, then valley."""
    top, bottom = real(peak), real(valley)
    if step < warmup:
        return mp.mpf(step) / max(1, warmup) * top
    if step >= warmup + decay:
        return bottom
    phase = mp.pi * (step - warmup) / max(1, decay)
    return bottom + (top - bottom) * (1 + mp.cos(phase)) / 2


def prior_at(config: dict[str, Any], step: int) -> Any:
    """Prior of a configuration at a step; NaN for ``prior="none"``."""
    if config["prior"] == "none":
        return mp.nan
    if config["prior"] != "warmup_cosine":
        raise ValueError(f"prior_at: unknown prior {config['prior']!r}")
    return warmup_cosine(
        step,
        warmup=config["prior_warmup"],
        decay=config["prior_decay"],
        peak=config["prior_peak"],
        valley=config["prior_valley"],
    )
