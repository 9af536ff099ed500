"""The released controller's arithmetic in plain eager PyTorch: a yardstick, and a cross-check.

Written from docs/method.md, sections 3 to 5 the way a trainer would write it, in whole-tensor
expressions, in the dtype of its inputs. Nothing here is shared with the NumPy code.
"""

from __future__ import annotations

from typing import Any

import torch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask.to(values.dtype)
    return (values * weight).sum(dim=-1) / (weight.sum(dim=-1) + 1e-8)


def released_proxies(
    logprob: torch.Tensor,
    mask: torch.Tensor,
    advantages: torch.Tensor,
    is_expert: torch.Tensor,
    *,
    trim_ratio: float = 0.1,
    eps: float = 1e-8,
) -> tuple[float, float, float]:
    """sigma_s2, sigma_r2 and delta_g2 of a [B, T] batch, 0.0 for a missing branch."""
    with torch.no_grad():
        rollout = ~is_expert
        sigma_r2 = sigma_s2 = 0.0
        if bool(rollout.any()):
            per_sequence = masked_mean(advantages[rollout], mask[rollout])
            sigma_r2 = max(float(per_sequence.double().var(unbiased=False)), eps)
        if bool(is_expert.any()):
            nll = torch.sort(masked_mean(-logprob[is_expert], mask[is_expert])).values
            cut = int(nll.numel() * trim_ratio) if nll.numel() >= 4 else 0
            kept = nll[cut : nll.numel() - cut]
            sigma_s2 = max(float(kept.var(unbiased=False)), eps)
        p = torch.exp(logprob)
        sft = -(p * (1.0 - p))
        rl = torch.where(rollout[:, None], -advantages, torch.zeros_like(advantages))
        delta_g2 = float(masked_mean((sft - rl) ** 2, mask).mean())
    return sigma_s2, sigma_r2, delta_g2


class EagerController:
    """Statistics EMA, closed form and guards, as plain Python floats."""

    def __init__(self, **fields: Any) -> None:
        self.c = fields
        self.mu = fields["init_mu"]
        self.smoothed: list[float] | None = None
        self.last: int | None = None

    def step(self, proxies: tuple[float, float, float], step: int, prior: float) -> float:
        c = self.c
        if self.last is None or step - self.last >= c["mu_update_freq"]:
            b = c["ema_beta"]
            if self.smoothed is None:
                self.smoothed = list(proxies)
            else:
                pairs = zip(self.smoothed, proxies, strict=True)
                self.smoothed = [b * old + (1 - b) * new for old, new in pairs]
            self.last = step
        s, r, d = self.smoothed or (1.0, 1.0, 0.0)
        raw = (c["alpha"] * d + r) / (d + s + r + c["eps"])
        ada = c["ema_beta"] * self.mu + (1 - c["ema_beta"]) * raw
        ada = min(max(ada, c["mu_min"]), c["mu_max"])
        lam = c["blend_weight"]
        candidate = (1 - lam) * prior + lam * ada
        change = min(max(candidate - self.mu, -c["mu_change_cap"]), c["mu_change_cap"])
        self.mu = min(max(self.mu + change, c["mu_min"]), c["mu_max"])
        return self.mu
