"""Small synthetic inputs for every paper figure, and their pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paper_figures.catalog import figure_named
from paper_figures.figures import controllers_by_regime as controllers
from paper_figures.spec import Read, Saved
from paper_figures.style import rc
from paper_figures.venues import Venue

DPI = 60
"""Enough to see a missing line, and a few kilobytes a picture."""

VARIANTS = {"default": {}, "internal": {"weight_ema": "internal"}, "no prior": {"prior": "none"}}


def recording() -> Read:
    """A weight that a prior and an estimate move, under a cap at first."""
    t = np.arange(40)
    parts = np.zeros((3, 5, 40))
    parts[:, 0] = np.array([0.005, 0.1, 0.2])[:, None] * (1.0 - 0.9**t)
    parts[:, 1] = 0.3 * np.sin(t / 8.0)
    parts[:, 3] = 0.2 * np.maximum(1.0 - t / 8.0, 0.0)
    raw = np.full((3, 40), 0.7)
    return {"authority.recording": Saved({"variants": VARIANTS}, {"parts": parts, "raw": raw})}


def linear() -> Read:
    """The released feedback's gain, and three exponential responses."""
    lam, forget = np.linspace(0.0, 1.0, 41), np.geomspace(1e-3, 1.0, 31)
    f, x = np.meshgrid(forget, lam, indexing="ij")
    steps = np.arange(1, 601)
    response = [gain * (1.0 - pole**steps) for gain, pole in ((0.01, 0.5), (0.5, 0.99), (1, 0.99))]
    arrays = {
        "map_lambda": lam,
        "map_forget": forget,
        "map": x * f / (1.0 - x * (1.0 - f)),
        "step_response": np.array(response),
    }
    return {"authority.linear": Saved({"variants": VARIANTS}, arrays)}


def pairs() -> Read:
    """Proxies that follow their truths with noise; the third truth may be negative."""
    rng = np.random.default_rng(0)
    known = np.arange(0, 40, 4)
    truths, others = np.exp(rng.standard_normal((5, 10))), np.exp(rng.standard_normal((5, 3, 7)))
    others[2] = 20.0 * rng.standard_normal((3, 7))
    proxies = np.exp(rng.standard_normal((4, 40)))
    study = 2.0 + 0.05 * others[:4] + 0.1 * rng.random((4, 3, 7))
    return {
        "fidelity.recording": Saved(
            {}, {"step": np.arange(40), "known": known, "truths": truths, "proxies": proxies}
        ),
        "fidelity.study": Saved({}, {"truths": others, "proxies": np.abs(study)}),
    }


def switch() -> Read:
    """Two exponential responses."""
    left = np.stack([0.998 ** np.arange(1, 4001), 0.999 ** np.arange(1, 4001)])
    arrays = {"exact": left, "measured": left, "size": np.array([0.005, 0.25])}
    return {"convergence.switch": Saved({"variants": ["documented", "decoupled"]}, arrays)}


def indices() -> Read:
    """Indices that fall with the factor's place."""
    factors = [[name, 0.0, 1.0, "linear"] for name in ("alpha", "blend_weight", "eps", "odd_one")]
    total = np.array([0.6, 0.3, 0.1, 0.0])
    arrays = {}
    for output in ("mu", "outcome"):
        for order, scale in (("first", 0.7), ("total", 1.0)):
            name = f"{output}/salib/{order}"
            arrays[name] = scale * total
            arrays[f"{name}_low"], arrays[f"{name}_high"] = scale * total - 0.05, total + 0.05
    part = Saved({"factors": factors}, arrays)
    return {"sensitivity.quadratic": part, "sensitivity.quadratic_internal": part}


def descent() -> Read:
    """Exponential losses, and a parabola of settled losses."""
    steps, mus = np.linspace(0.0, 1000.0, 20), np.linspace(0.0, 1.0, 51)
    rates = np.array([[0.001], [0.002], [0.004], [0.008], [0.016]])
    exact = 0.5 + 3.0 * np.exp(-rates * steps)
    names = ["fixed_0.15", "fixed_0.5", "fixed_0.85", "chord_mu", "sft_then_rl"]
    quadratic = {
        "steps": steps,
        "schedules": np.array(names),
        "exact": exact,
        "mean": exact,
        "error": 0.01 * exact,
    }
    learning = np.array([0.02, 0.05, 0.2])
    total = (mus - 0.5) ** 2 + learning[:, None]
    checked = np.array([0.1, 0.5, 0.9])
    ends = (checked - 0.5) ** 2 + learning[:, None]
    settled = {
        "mus": mus,
        "learning_rates": learning,
        "misplaced": 0.5 * total,
        "noise": 0.5 * total,
        "checked": checked,
        "end_mean": 1.0 + ends,
        "end_error": 0.05 * ends,
        "least": np.array(1.0),
        "closed": np.array(0.7),
    }
    return {
        "convergence.quadratic": Saved({}, quadratic),
        "convergence.settled": Saved({}, settled),
    }


def maps() -> Read:
    """Divergence above a straight boundary."""
    mus, rates = [0.0, 0.25, 0.5, 0.75, 1.0], [0.5, 0.75, 1.0, 1.25, 1.5]
    limit = 0.6 + 0.8 * np.array(mus)
    share = (np.array(rates)[:, None] > limit).astype(np.float64)
    growth = np.array(rates)[:, None] - limit - 0.05
    settings = {"mus": mus, "learning_rates": rates}
    rows = {
        "share": np.stack([share, 0.5 * share]),
        "growth": np.stack([growth, growth]),
        "mean": np.array(1.4),
        "mean_square": np.stack([limit - 0.2, limit - 0.3]),
    }
    return {
        "convergence.additive_noise": Saved(settings, {"share": share[None], "limit": limit}),
        "convergence.row_noise": Saved({**settings, "batches": [[8, 8], [8, 1]]}, rows),
    }


def checks() -> Read:
    """Ratios of two dtypes in three stages."""
    rng = np.random.default_rng(0)
    dtype = np.repeat(["fp64", "bf16"], 60)
    stage = np.tile(np.repeat(["coefficients", "closed_form", "clip"], 20), 2)
    arrays = {"dtype": dtype, "stage": stage, "ratio": 0.8 * rng.random(120)}
    return {"conformance.check": Saved({}, arrays)}


def rewards() -> dict[str, Any]:
    """Outcome of three methods in two regimes; the first two tie in the first regime."""
    rng = np.random.default_rng(0)
    base = 80.0 + rng.standard_normal((2, 20))
    return {
        "fixed": base,
        "gac_released": base + np.array([[0.0], [-5.0]]) + 0.1 * rng.standard_normal((2, 20)),
        "hpt": base - 3.0,
    }


def noisy() -> Read:
    """Regrets of four controllers in two regimes, one of them without noise."""
    rng = np.random.default_rng(0)
    names = ["mgda", "gac_documented", "kl_control", "fixed_0.1"]
    regret = np.exp(rng.standard_normal((2, 4, 1)) + 0.4 * rng.standard_normal((2, 4, 12)))
    regret[:, 3] = 0.5
    arrays = {"controllers": np.array(names), "regimes": np.array(["calm", "odd_name"])}
    return {"noise.regimes": Saved({}, {**arrays, "regret": regret})}


def _regimes(_: Read, figure: Any) -> None:
    found = controllers.compared(rewards(), ["good_expert", "bandit"])
    controllers.draw_regimes(found, figure.subplots(1, 2), left=2)


INPUTS: dict[str, Callable[[], Read]] = {
    "risk_parabola": dict,
    "mu_contributions": recording,
    "guard_authority": linear,
    "proxies_vs_oracles": pairs,
    "noise_regimes": noisy,
    "controllers_by_regime": dict,
    "regime_switch": switch,
    "sensitivity_indices": indices,
    "convergence": descent,
    "stability_map": maps,
    "conformance_error": checks,
}
"""Figure -> its synthetic numbers."""


def drawn(name: str, venue: Venue, columns: int) -> Any:
    """A figure of synthetic numbers, to be saved within ``matplotlib.rc_context()``."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(rc(venue))
    asked = figure_named(name)
    figure = Figure(figsize=venue.size(columns, asked.heights))
    FigureCanvasAgg(figure)
    draw = _regimes if name == "controllers_by_regime" else asked.draw
    assert draw is not None
    draw(INPUTS[name](), figure)
    return figure


def without_text(figure: Any) -> Any:
    """The figure with its text and legends hidden, which take no room then.

    Matplotlib 3.9 and 3.11 set the same text differently enough to move whole panels; that would
    hide what a comparison is for.
    """
    from matplotlib.legend import Legend
    from matplotlib.text import Text
    from matplotlib.ticker import NullFormatter

    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(NullFormatter())
            axis.set_minor_formatter(NullFormatter())
    for legend in list(figure.legends):  # one outside the axes takes its room even when hidden
        legend.remove()
    for hidden in (*figure.findobj(Text), *figure.findobj(Legend)):
        hidden.set_visible(False)
        hidden.set_in_layout(False)
    return figure
