"""The scalar stages of the plain port: from one number a sequence to the weight to apply."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.config import GACConfig
from gac_ref.conformance.power.arithmetic import Total

__all__ = ["Scalars"]

Values = Mapping[str, Any]
Outputs = dict[str, Any]

STATISTICS = (("sigma_s2", "s"), ("sigma_r2", "r"), ("delta_g2", "delta"))
STAND_INS = {"s": 1.0, "r": 1.0, "delta": 0.0}


class Scalars(ABC):
    """Stages from the proxies on, each a method from named values to named values."""

    config: GACConfig
    total: Total
    real: Any
    column: Any

    @abstractmethod
    def variance(self, values: AnyArray) -> Any:
        """Population variance."""

    # Proxies.

    def proxies(self, v: Values) -> Outputs:
        """The three proxies of the batch, and which of them it measures."""
        expert = v["is_expert"]
        has_s, has_r = self.measures(v, expert), self.measures(v, ~expert)
        has_delta = self.measures(v, self.compared(v))
        with np.errstate(over="ignore", invalid="ignore"):
            sigma_s2 = self.sigma_s2(v) if has_s else 0.0
            sigma_r2 = self.sigma_r2(v) if has_r else 0.0
            delta_g2 = self.delta_g2(v) if has_delta else 0.0
        eps = self.config.eps
        return {
            "proxy_sigma_s2": self.floored(sigma_s2) if has_s else self.real(0.0),
            "proxy_sigma_r2": self.floored(sigma_r2) if has_r else self.real(0.0),
            "proxy_delta_g2": self.real(delta_g2),
            "has_s": has_s,
            "has_r": has_r,
            "has_delta": has_delta,
            "sigma_s2_floored": bool(has_s and sigma_s2 < eps),
            "sigma_r2_floored": bool(has_r and sigma_r2 < eps),
        }

    @abstractmethod
    def compared(self, v: Values) -> AnyArray:
        """The rows that enter the disagreement."""

    def measures(self, v: Values, rows: AnyArray) -> bool:
        """Whether these rows measure anything."""
        if self.config.missing_branch == "zero":
            return bool(rows.any())
        return bool(v["tokens"][rows].any())

    def sigma_s2(self, v: Values) -> Any:
        """Trimmed variance of the NLLs."""
        nll = np.sort(v["nll"][v["is_expert"]].astype(self.column))
        k = self.trimmed(nll.size)
        return self.nll_variance(nll[k : nll.size - k])

    def trimmed(self, n: int) -> int:
        """How many values are dropped at each end."""
        return int(n * self.config.trim_ratio) if n >= 4 else 0

    def nll_variance(self, nll: AnyArray) -> Any:
        """Spread of the NLLs that are kept."""
        return self.variance(nll)

    def sigma_r2(self, v: Values) -> Any:
        """Variance of the advantages."""
        return self.advantage_variance(v["advantage"][~v["is_expert"]].astype(self.column))

    def advantage_variance(self, advantage: AnyArray) -> Any:
        """Spread of the advantages of the rollouts."""
        return self.variance(advantage)

    def delta_g2(self, v: Values) -> Any:
        """Mean disagreement of the compared rows."""
        rows = v["disagreement"][self.compared(v)].astype(self.column)
        return self.total(rows) / self.column(rows.size)

    def floored(self, value: Any) -> Any:
        """A variance, at least eps; NaN stays."""
        return self.real(self.config.eps if value < self.config.eps else value)

    # The statistics EMA.

    def due(self, v: Values) -> bool:
        """Whether the statistics take this batch in."""
        last = v["previous_last_refresh"]
        return bool(last < 0 or v["step"] - last >= self.config.mu_update_freq)

    def ema(self, previous: Any, value: Any) -> Any:
        """The moving average of both EMAs."""
        beta = self.config.ema_beta
        return beta * previous + (1.0 - beta) * value

    def statistics_ema(self, v: Values) -> Outputs:
        """The smoothed statistics as used, with stand-ins for those never seen."""
        due = self.due(v)
        outputs: Outputs = {"last_refresh": v["step"] if due else v["previous_last_refresh"]}
        for name, branch in STATISTICS:
            smoothed, count = v[f"previous_{name}"], v[f"previous_count_{branch}"]
            if due:
                value, has = v[f"proxy_{name}"], v[f"has_{branch}"]
                smoothed, count = self.smooth(name, smoothed, count, value, has)
            outputs[name], outputs[f"count_{branch}"] = smoothed, count
        unseen = [branch for _, branch in STATISTICS if outputs[f"count_{branch}"] == 0]
        for name, branch in STATISTICS:
            if branch in unseen:
                outputs[name] = self.real(STAND_INS[branch])
        return {**outputs, "not_ready": bool(unseen)}

    def smooth(
        self, name: str, smoothed: Any, count: int, value: Any, has: bool
    ) -> tuple[Any, int]:
        """One statistic's EMA; a missing branch is held, or fed zero."""
        if not has:
            if self.config.missing_branch == "hold":
                return smoothed, count
            value = self.missing_value()
        if name == "delta_g2" and value < 0.0:
            value = self.real(0.0)
        if count == 0:
            return self.seed(value), count + 1
        return self.statistic_ema(smoothed, value, count), count + 1

    def missing_value(self) -> Any:
        """What a missing branch feeds in."""
        return self.real(0.0)

    def seed(self, value: Any) -> Any:
        """The EMA after its first value."""
        return value

    def statistic_ema(self, smoothed: Any, value: Any, count: int) -> Any:
        """The EMA after a later value; `count` came before."""
        del count
        return self.ema(smoothed, value)

    # Alpha and the closed form.

    def alpha(self, v: Values) -> Outputs:
        """The target ratio."""
        previous, kl = v["previous_alpha"], v["kl"]
        if self.config.alpha_mode == "static" or math.isnan(kl):
            return {"alpha": previous, "alpha_clipped": False}
        alpha = self.scaled_alpha(previous, self.kl_error(kl))
        alpha, clipped = self.bounded(alpha, self.config.alpha_min, self.config.alpha_max)
        return {"alpha": alpha, "alpha_clipped": clipped}

    def kl_error(self, kl: Any) -> Any:
        """The clipped relative error of the KL."""
        return self.bounded(kl / self.real(self.config.kl_target) - 1.0, -0.2, 0.2)[0]

    def scaled_alpha(self, alpha: Any, error: Any) -> Any:
        """The proportional rule."""
        return alpha * (1.0 + self.config.kl_gain * error)

    def bounded(self, value: Any, low: float, high: float) -> tuple[Any, bool]:
        """`value` within its bounds, and whether one acted; NaN stays."""
        if value < low:
            return self.real(low), True
        if value > high:
            return self.real(high), True
        return value, False

    def closed_form(self, v: Values) -> Outputs:
        """The disagreement cap and the closed form."""
        s, r, d = v["sigma_s2"], v["sigma_r2"], v["delta_g2"]
        limit = self.disagreement_limit(s, r)
        capped = bool(self.config.delta_g2_cap_ratio > 0.0 and d > limit)
        d = limit if capped else d
        return {
            "delta_g2_capped": d,
            "mu_raw": self.mu_raw(s, r, d, v["alpha"]),
            "disagreement_capped": capped,
            "flat_risk": self.flat(s, r, d),
        }

    def disagreement_limit(self, s: Any, r: Any) -> Any:
        """The most that the disagreement may count for."""
        return self.real(self.config.delta_g2_cap_ratio * (s + r + self.config.eps))

    def mu_raw(self, s: Any, r: Any, d: Any, alpha: Any) -> Any:
        """The weight of least risk."""
        with np.errstate(invalid="ignore", over="ignore"):
            top, bottom = alpha * d + r, d + s + r
        if self.config.flat_risk == "zero":
            bottom = bottom + self.config.eps
        elif self.flat(s, r, d):
            return alpha
        return top / bottom if bottom != 0.0 else top

    def flat(self, s: Any, r: Any, d: Any) -> bool:
        """Whether there is nothing to choose by."""
        floor = 2.0 * self.config.eps
        return bool(s <= floor and r <= floor and d <= floor)

    # The applied weight.

    def ema_input(self, v: Values) -> Any:
        """What feeds the weight EMA."""
        return v["previous_mu_ada" if self.config.weight_ema == "internal" else "previous_mu"]

    def held(self, v: Values) -> bool:
        """Whether the weight EMA waits for statistics."""
        return bool(self.config.unseen_statistic == "hold" and v["not_ready"])

    def hold(self, v: Values) -> Outputs:
        """In a whole step stand-ins decide nothing while a statistic is awaited."""
        if not self.held(v):
            return {}
        return {"mu_raw": self.ema_input(v), "disagreement_capped": False, "flat_risk": False}

    def weight_ema(self, v: Values) -> Outputs:
        """The weight EMA and its clip."""
        value, clipped = self.bounded(self.adaptive(v), self.config.mu_min, self.config.mu_max)
        return {"mu_ada": value, "mu_ada_clipped": clipped}

    def adaptive(self, v: Values) -> Any:
        """The weight EMA before its clip."""
        if self.held(v):
            return self.ema_input(v)
        if self.config.weight_ema == "off":
            return v["mu_raw"]
        return self.mu_ema(self.ema_input(v), v["mu_raw"])

    def mu_ema(self, previous: Any, mu_raw: Any) -> Any:
        """The weight EMA itself."""
        return self.ema(previous, mu_raw)

    def prior_blend(self, v: Values) -> Outputs:
        """The prior at this step, and the blend."""
        if self.config.prior == "none":
            return {"prior": math.nan, "mu_candidate": v["mu_ada"]}
        prior = self.real(self.prior(v["step"]))
        return {"prior": prior, "mu_candidate": self.blend(prior, v["mu_ada"])}

    def prior(self, step: int) -> Any:
        """Linear warm-up, cosine decay, then the valley."""
        c = self.config
        if step < c.prior_warmup:
            return self.rising(step)
        if step >= c.prior_warmup + c.prior_decay:
            return c.prior_valley
        return self.falling((step - c.prior_warmup) / c.prior_decay)

    def rising(self, step: int) -> Any:
        """The warm-up."""
        return self.config.prior_peak * (self.real(step) / self.config.prior_warmup)

    def falling(self, progress: float) -> Any:
        """The decay, at a progress in [0, 1)."""
        valley, peak = self.config.prior_valley, self.config.prior_peak
        return valley + (peak - valley) * 0.5 * (1.0 + self.cosine(math.pi * progress))

    def cosine(self, angle: float) -> Any:
        """The cosine of the decay."""
        return math.cos(angle)

    def blend(self, prior: Any, adaptive: Any) -> Any:
        """The share of the prior and that of the adaptive weight."""
        weight = self.config.blend_weight
        return (1.0 - weight) * prior + weight * adaptive

    def change_cap(self, v: Values) -> Outputs:
        """The largest change of a step."""
        candidate, previous = v["mu_candidate"], v["previous_mu"]
        cap = self.cap(previous)
        change = candidate - previous
        capped = bool(abs(change) > cap)
        value = previous + self.real(math.copysign(cap, change)) if capped else candidate
        return {"mu_capped": value, "change_capped": capped}

    def cap(self, previous: Any) -> Any:
        """The width of the cap."""
        del previous
        return self.config.mu_change_cap

    def clip(self, v: Values) -> Outputs:
        """The bounds of mu."""
        mu, clipped = self.bounded(v["mu_capped"], self.config.mu_min, self.config.mu_max)
        return {"mu": mu, "mu_clipped": clipped}
