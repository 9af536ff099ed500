"""Each bound of the controller on rounding is that of the plain formula, or little more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _roundings import EXP_UNITS, Program, Rounds, hold

from gac_ref import GACConfig

LINEAR = 1.05
"""A linear stage has no products of errors."""

FORMATS = ("fp32", "fp64")


def average(beta: float, old: float, new: float) -> dict[str, Program]:
    """An EMA as it is written, and as a step from the old value towards the new one.

    1 - beta is exact for a beta of at least a half (Sterbenz), and rounded below.
    """

    def rest(o: Rounds, b: Any) -> Any:
        return 1.0 - b if beta >= 0.5 else o(1.0 - b)

    def sides(o: Rounds) -> Any:
        b, x, v = o.constant(beta), o.constant(old), o.constant(new)
        return o(o(b * x) + o(rest(o, b) * v))

    def step(o: Rounds) -> Any:
        b, x, v = o.constant(beta), o.constant(old), o.constant(new)
        return o(x + o(rest(o, b) * o(v - x)))

    return {"sides": sides, "step": step}


# Where old and new are of one size, neither order of the operations meets every term.
AVERAGES = [(0.031, 0.0002, 1.3), (0.0003, 0.19, 1.7), (5.1, 4.3, 2.2), (0.02, 0.41, 1.9)]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("old", "new", "loose"), AVERAGES)
@pytest.mark.parametrize("branch", ["s", "r", "delta"])
def test_the_statistics_ema(branch: str, old: float, new: float, loose: float, dtype: str) -> None:
    name = "delta_g2" if branch == "delta" else f"sigma_{branch}2"
    inputs: dict[str, Any] = {"previous_last_refresh": 3, "step": 20}
    for one, other in (("s", "sigma_s2"), ("r", "sigma_r2"), ("delta", "delta_g2")):
        inputs |= {f"proxy_{other}": 0.7, f"has_{one}": True}
        inputs |= {f"previous_{other}": 0.6, f"previous_count_{one}": 2}
    inputs |= {f"proxy_{name}": new, f"previous_{name}": old}
    config = GACConfig(ema_beta=0.8)
    hold("statistics_ema", config, inputs, name, dtype, average(0.8, old, new), loose)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("old", "new"), [(0.031, 0.0002), (0.0003, 0.19), (5.1, 4.3)])
@pytest.mark.parametrize("beta", [0.0003, 0.2, 0.45])
def test_an_average_that_forgets_fast(beta: float, old: float, new: float, dtype: str) -> None:
    """Either end may be where the step begins, and 1 - beta is rounded."""
    inputs: dict[str, Any] = {"previous_last_refresh": 3, "step": 20}
    for one, other in (("s", "sigma_s2"), ("r", "sigma_r2"), ("delta", "delta_g2")):
        inputs |= {f"proxy_{other}": new, f"has_{one}": True}
        inputs |= {f"previous_{other}": old, f"previous_count_{one}": 2}
    programs = average(beta, old, new)

    def back(o: Rounds) -> Any:
        b, x, v = o.constant(beta), o.constant(old), o.constant(new)
        return o(v + o(b * o(x - v)))

    config = GACConfig(ema_beta=beta)
    hold("statistics_ema", config, inputs, "sigma_r2", dtype, {**programs, "back": back}, 5.2)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("old", "new", "loose"), AVERAGES)
@pytest.mark.parametrize("kind", ["applied", "internal"])
def test_the_weight_ema(kind: Any, old: float, new: float, loose: float, dtype: str) -> None:
    config = GACConfig(ema_beta=0.8, mu_min=0.0, mu_max=1.0, weight_ema=kind)
    source, other = ("previous_mu", "previous_mu_ada")[:: 1 if kind == "applied" else -1]
    old, new = old / 8.0, new / 8.0  # the same shape, within the bounds of mu
    inputs = {source: old, other: 0.123, "mu_raw": new, "not_ready": False}
    hold("weight_ema", config, inputs, "mu_ada", dtype, average(0.8, old, new), loose)


@pytest.mark.parametrize("held", [False, True])
def test_a_weight_that_is_passed_on_has_the_rounding_of_its_source_alone(held: bool) -> None:
    config = GACConfig(weight_ema="applied" if held else "off", ema_beta=0.8)
    inputs = {"previous_mu": 0.31, "previous_mu_ada": 0.7, "mu_raw": 0.22, "not_ready": held}
    value = 0.31 if held else 0.22

    def program(o: Rounds) -> Any:
        return o.constant(value)

    for dtype in FORMATS:
        hold("weight_ema", config, inputs, "mu_ada", dtype, {"copy": program}, LINEAR)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    ("previous", "kl", "gain", "acts"),
    [(0.31, 0.0213, 0.7, 0), (0.31, 0.0171, 2.5, 0), (0.31, 0.05, 0.7, 1), (0.31, 0.001, 0.7, -1)],
)
def test_alpha(previous: float, kl: float, gain: float, acts: int, dtype: str) -> None:
    config = GACConfig(alpha_mode="kl", kl_gain=gain)

    def program(o: Rounds) -> Any:
        change = o(o(o.constant(kl) / o.constant(0.02)) - 1.0)
        if acts:
            change = acts * o.constant(0.2)
        return o(o.constant(previous) * o(1.0 + o(o.constant(gain) * change)))

    inputs = {"previous_alpha": previous, "kl": kl}
    hold("alpha", config, inputs, "alpha", dtype, {"alpha": program}, LINEAR)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("flat", ["zero", "alpha"])
@pytest.mark.parametrize(
    ("s", "r", "d", "a", "loose"),
    [
        (0.031, 0.17, 0.23, 0.3, 1.7),
        (0.9, 0.011, 0.13, 0.3, 1.6),
        (0.013, 0.7, 0.019, 0.3, 2.2),  # mu near 1: the numerator and the denominator agree
        (0.013, 0.021, 0.8, 0.3, 1.5),
        (0.8, 0.013, 0.021, 0.9, 1.5),
    ],
)
def test_the_closed_form(
    s: float, r: float, d: float, a: float, loose: float, flat: Any, dtype: str
) -> None:
    config = GACConfig(flat_risk=flat, eps=3e-3)

    def program(o: Rounds) -> Any:
        v, w, x, y = o.constant(s), o.constant(r), o.constant(d), o.constant(a)
        bottom = o(o(x + v) + w)
        if flat == "zero":
            bottom = o(bottom + o.constant(3e-3))
        return o(o(o(y * x) + w) / bottom)

    inputs = {"sigma_s2": s, "sigma_r2": r, "delta_g2": d, "alpha": a}
    hold("closed_form", config, inputs, "mu_raw", dtype, {"N/D": program}, loose)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("d", "capped"), [(0.9, True), (0.1, False)])
def test_the_cap_of_the_disagreement(d: float, capped: bool, dtype: str) -> None:
    config = GACConfig(delta_g2_cap_ratio=0.7, eps=3e-3)

    def program(o: Rounds) -> Any:
        if not capped:
            return o.constant(d)
        total = o(o(o.constant(0.31) + o.constant(0.17)) + o.constant(3e-3))
        return o(o.constant(0.7) * total)

    inputs = {"sigma_s2": 0.31, "sigma_r2": 0.17, "delta_g2": d, "alpha": 0.3}
    hold("closed_form", config, inputs, "delta_g2_capped", dtype, {"cap": program}, 1.4)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("weight", [0.375, 0.1, 0.8])
@pytest.mark.parametrize(
    ("step", "loose"), [(0, 2.0), (7, 1.5), (10, 1.4), (20, 2.2), (30, 2.2), (49, 1.6), (70, 1.2)]
)
def test_the_prior_and_its_blend(step: int, loose: float, weight: float, dtype: str) -> None:
    peak, valley, ada = 0.83, 0.17, 0.029
    config = GACConfig(
        prior_warmup=10, prior_decay=40, prior_peak=peak, prior_valley=valley, blend_weight=weight
    )

    def prior(o: Rounds) -> Any:
        if step < 10:
            return o(o(step / 10) * o.constant(peak))
        low = o.constant(valley)
        if step >= 50:
            return low
        turn = o(math.pi * o(1.0) * o((step - 10) / 40))
        half = o(0.5 * o(o.constant(peak) - low))
        return o(low + o(half * o(1.0 + o(np.cos(turn), EXP_UNITS))))

    def blend(o: Rounds) -> Any:
        w = o.constant(weight)
        rest = o(1.0 - w) if weight != 0.375 else 1.0 - w  # there it is exact
        return o(o(rest * prior(o)) + o(w * o.constant(ada)))

    def towards(o: Rounds) -> Any:
        first = prior(o)
        return o(first + o(o.constant(weight) * o(o.constant(ada) - first)))

    def away(o: Rounds) -> Any:
        w, a = o.constant(weight), o.constant(ada)
        return o(a + o((o(1.0 - w) if weight != 0.375 else 1.0 - w) * o(prior(o) - a)))

    inputs = {"mu_ada": ada, "step": step}
    if step:  # at 0 the prior is 0, and so is its bound but for underflow
        hold("prior_blend", config, inputs, "prior", dtype, {"prior": prior}, loose)
    programs = {"blend": blend, "towards": towards, "away": away}
    hold("prior_blend", config, inputs, "mu_candidate", dtype, programs, 2.2)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("candidate", [0.313, 0.29, 0.7, 0.1])
def test_the_change_cap(candidate: float, dtype: str) -> None:
    config = GACConfig(mu_change_cap=0.04)

    def program(o: Rounds) -> Any:
        if abs(candidate - 0.31) < 0.04:
            # As a whole the previous weight enters and leaves again.
            old = 0.31
            return o(old + o(o.constant(candidate) - old))
        side = math.copysign(1.0, candidate - 0.31)
        return o(o.constant(0.31) + side * o.constant(0.04))

    inputs = {"mu_candidate": candidate, "previous_mu": 0.31}
    hold("change_cap", config, inputs, "mu_capped", dtype, {"cap": program}, LINEAR)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("value", "mu"), [(0.31, 0.31), (0.95, 0.9), (0.01, 0.05)])
def test_the_clip(value: float, mu: float, dtype: str) -> None:
    def program(o: Rounds) -> Any:
        return o.constant(mu)

    hold("clip", GACConfig(), {"mu_capped": value}, "mu", dtype, {"clip": program}, LINEAR)
