r"""What a run reports of each trajectory, summed up while it runs.

Every quantity is one number a trajectory, so memory does not depend on the horizon. Time averages
are over the measured steps. Exact quantities (risk, regret) refer to the truth of the model, not
to the sampled gradients: the expectation over the noise is already taken, which leaves less to
average out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gac_ref._typing import AnyArray, ArrayLike, BoolArray, FloatArray
from gac_ref.errors import fail
from simulations.engine.settings import RunSettings
from simulations.folds import tree_sum
from simulations.problem import Truth

__all__ = ["Tally", "metric_units", "risk_and_regret"]

OWN_UNITS = {
    "gradient_mse": "gradient^2",
    "regret": "gradient^2",
    "mu_mean": "1",
    "mu_final": "1",
    "mu_gap": "1",
    "large_mu_changes": "count",
    "drift_area": "parameter^2 step",
    "kl_area": "nat step",
    "time_to_target": "step",
    "reached_target": "1",
    "diverged": "1",
}


def metric_units(units: Mapping[str, str]) -> dict[str, str]:
    """Unit of every metric, by name, from those of the problem's outcomes.

    Examples:
        >>> metric_units({"loss": "nat"})["loss_final"]
        'nat'
    """
    out = {f"{name}_{when}": unit for name, unit in units.items() for when in ("final", "mean")}
    out |= OWN_UNITS
    if "kl" not in units:
        del out["kl_area"]
    return out


def risk_and_regret(
    mu: ArrayLike, truth: Truth, alpha: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Exact gradient MSE of mu, its excess over the best weight in [0, 1], and that weight.

    .. math::
        R(\mu) - R(\mu^\circ) = A (\mu - \mu^\circ)^2
                                + 2 A (\mu^\circ - \mu^*)(\mu - \mu^\circ)

    with :math:`\mu^*` the unconstrained minimiser and :math:`\mu^\circ` its clip to [0, 1]: two
    terms >= 0, without the cancellation of a difference of risks. Without bias and correlation
    :math:`\mu^\circ` is the method's closed form. The estimator has the same quantities one by
    one, with checks that would cost a study a tenth of its time; tests hold the two together.

    Args:
        mu: Weight on SFT, [...], in [0, 1].
        truth: Exact values, [...].
        alpha: Weight of the SFT gradient in the target.

    Returns:
        Risk, regret and best weight, [...].

    Examples:
        >>> g = np.zeros(2)
        >>> truth = Truth(g, g, np.array(1.0), np.array(3.0), np.array(0.0))
        >>> [float(x) for x in risk_and_regret(0.25, truth, 0.5)]
        [1.75, 1.0, 0.75]

    References:
        The specification's section 1; :func:`gac_ref.risk`, :func:`gac_ref.regret`.
    """
    s, r, k = truth.sigma_s2, truth.sigma_r2, truth.kappa
    m = np.asarray(mu, dtype=np.float64)
    rest = 1.0 - m
    noise = m * m * s + rest * rest * r + 2.0 * m * rest * k
    if isinstance(truth.bias_s, float) and isinstance(truth.bias_r, float):
        spread = truth.delta_g2
        value = (m - alpha) ** 2 * spread + noise
        pull = alpha * spread
    else:
        offset = truth.g_s - truth.g_r
        slope = offset + (truth.bias_s - truth.bias_r)
        offset *= -alpha
        offset += truth.bias_r
        spread, pull = tree_sum(slope * slope), -tree_sum(slope * offset)
        error = m[..., None] * slope
        error += offset
        error *= error
        value = tree_sum(error) + noise
    curvature = spread + s + r - 2.0 * k
    flat = curvature == 0.0
    free = np.where(flat, alpha, (pull + r - k) / np.where(flat, 1.0, curvature))
    best = np.clip(free, 0.0, 1.0)
    off = m - best
    return value, curvature * off * off + 2.0 * curvature * (best - free) * off, best


class Tally:
    """Running sums of every trajectory, [C, n]; plain arrays, so that they can be saved.

    A frozen trajectory (diverged, or stopped at its target) takes no part any more.
    """

    def __init__(
        self, settings: RunSettings, shape: tuple[int, int], outcomes: tuple[str, ...]
    ) -> None:
        if settings.target_outcome and settings.target_outcome not in outcomes:
            fail(
                f"run.target_outcome = {settings.target_outcome!r} is not an outcome of the "
                f"problem; those are {', '.join(outcomes)}"
            )
        self.settings, self.outcomes = settings, outcomes
        sums = ("risk", "regret", "mu", "gap", "drift", *(f"outcome/{name}" for name in outcomes))
        self.arrays: dict[str, AnyArray] = {f"sum/{name}": np.zeros(shape) for name in sums}
        self.arrays["measured"] = np.zeros(shape, dtype=np.int64)
        self.arrays["large_changes"] = np.zeros(shape, dtype=np.int64)
        self.arrays["time_to_target"] = np.full(shape, np.nan)
        self.arrays["diverged"] = np.zeros(shape, dtype=np.bool_)
        self.arrays["stopped"] = np.zeros(shape, dtype=np.bool_)
        self.arrays["mu"] = np.full(shape, np.nan)

    @property
    def frozen(self) -> BoolArray:
        """Trajectories that no longer move, [C, n]."""
        return np.asarray(self.arrays["diverged"] | self.arrays["stopped"])

    def weigh(self, mu: FloatArray, frozen: BoolArray | None) -> None:
        """Take this step's weights in; `frozen` is None where nothing is frozen."""
        arrays = self.arrays
        with np.errstate(invalid="ignore"):  # NaN before the first step is no change
            change = np.abs(mu - arrays["mu"])
            event = change > self.settings.large_change
        if frozen is None:
            arrays["large_changes"] += event
            np.copyto(arrays["mu"], mu)
        else:
            arrays["large_changes"] += event & ~frozen
            np.copyto(arrays["mu"], mu, where=~frozen)

    def measure(
        self,
        values: Mapping[str, FloatArray],
        frozen: BoolArray | None,
    ) -> None:
        """Add one measured step: "risk", "regret", "mu", "gap", "drift", "outcome/NAME", [C, n]."""
        for name, value in values.items():
            total = self.arrays[f"sum/{name}"]
            if frozen is None:
                total += value
            else:
                np.add(total, value, out=total, where=~frozen)
        self.arrays["measured"] += 1 if frozen is None else ~frozen

    def check_target(
        self, outcomes: Mapping[str, FloatArray], step: int, frozen: BoolArray
    ) -> BoolArray:
        """Note first passages at this step; True where a trajectory stops now."""
        settings = self.settings
        if not settings.target_outcome:
            return np.zeros_like(frozen)
        value = outcomes[settings.target_outcome]
        below = settings.target_direction == "below"
        inside = value <= settings.target_value if below else value >= settings.target_value
        time = self.arrays["time_to_target"]
        first = inside & np.isnan(time) & ~frozen
        time[first] = step
        if not settings.stop_at_target:
            return np.zeros_like(frozen)
        self.arrays["stopped"] |= first
        return first

    def finish(self, final: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Every metric by name, [C, n], given the outcomes at the end.

        A target that was not reached leaves `time_to_target` at the horizon, a restricted time;
        `reached_target` tells the two apart.
        """
        arrays, settings = self.arrays, self.settings
        count = np.maximum(arrays["measured"], 1)
        mean = {
            name.removeprefix("sum/"): value / count
            for name, value in arrays.items()
            if name.startswith("sum/")
        }
        out: dict[str, FloatArray] = {}
        for name in self.outcomes:
            out[f"{name}_final"] = np.array(np.broadcast_to(final[name], count.shape), order="C")
            out[f"{name}_mean"] = mean[f"outcome/{name}"]
        out["gradient_mse"], out["regret"] = mean["risk"], mean["regret"]
        out["mu_mean"], out["mu_final"], out["mu_gap"] = mean["mu"], arrays["mu"], mean["gap"]
        out["large_mu_changes"] = arrays["large_changes"].astype(np.float64)
        out["drift_area"] = arrays["sum/drift"] * settings.measure_every
        if "kl" in self.outcomes:
            out["kl_area"] = arrays["sum/outcome/kl"] * settings.measure_every
        if settings.target_outcome:
            reached = ~np.isnan(arrays["time_to_target"])
            out["time_to_target"] = np.where(
                reached, arrays["time_to_target"], float(settings.horizon)
            )
            out["reached_target"] = reached.astype(np.float64)
        out["diverged"] = arrays["diverged"].astype(np.float64)
        return out
