"""The risk as a parabola in mu, what makes it up, and the bounds that norms alone can prove."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.bounds import (
    effective_noise,
    effective_noise_minimiser,
    triangle_bound,
    triangle_minimiser,
    young_bound,
    young_minimiser,
)
from gac_ref.risk import closed_form, risk, risk_from_vectors, shrinkage
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import GREY, SERIES, letters, wide

__all__ = ["FIGURE", "draw_bounds", "draw_parts", "risks_over_directions"]

SETTING = {"sigma_s2": 1.0, "sigma_r2": 3.0, "delta_g2": 4.0, "alpha": 0.2}
"""Noise of both branches, disagreement and target."""

BIASES = {"beta_s": 0.9, "beta_r": 0.5}
"""Lengths of the biases in panel b."""

YOUNG = {0.25: "1/4", 1.0: "1", 4.0: "4"}
"""Parameter of Young's inequality -> how it is written."""

NAMED_AT = {0.25: (0.06, "left"), 1.0: (0.36, "center"), 4.0: (0.75, "right")}
"""Weight at which a curve of Young's is named, where it has room, and on which side."""

POINTS = 201


def risks_over_directions(mu: FloatArray, angles: int) -> FloatArray:
    """Exact risk for biases of the given lengths that point everywhere in a plane.

    Args:
        mu: Weights, [M].
        angles: Directions of each bias.

    Returns:
        [M, angles * angles].

    Examples:
        >>> risks_over_directions(np.array([0.5]), 4).shape
        (1, 16)
    """
    turn = np.linspace(0.0, 2.0 * np.pi, angles, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(angles), np.arange(angles)))
    delta = np.array([np.sqrt(SETTING["delta_g2"]), 0.0])
    return risk_from_vectors(
        mu[:, None],
        delta,
        SETTING["sigma_s2"],
        SETTING["sigma_r2"],
        SETTING["alpha"],
        bias_s=BIASES["beta_s"] * circle[first],
        bias_r=BIASES["beta_r"] * circle[second],
    )


def draw_parts(ax: Any) -> None:
    """The unbiased risk: disagreement and noise, and the weight between their minima."""
    mu = np.linspace(0.0, 1.0, POINTS)
    total = risk(mu, **SETTING)
    quiet = {**SETTING, "sigma_s2": 0.0, "sigma_r2": 0.0}
    pieces = (
        ("disagreement", risk(mu, **quiet), SERIES[1], SETTING["alpha"]),
        (
            "noise",
            risk(mu, **{**SETTING, "delta_g2": 0.0}),
            SERIES[2],
            float(shrinkage(SETTING["sigma_s2"], SETTING["sigma_r2"], SETTING["delta_g2"]).mu_iv),
        ),
        ("risk", total, SERIES[0], float(closed_form(**SETTING))),
    )
    symbols = (r"$\alpha$", r"$\mu_{\rm iv}$", r"$\mu^{*}$")
    for (name, values, (color, marker, dash), best), symbol in zip(pieces, symbols, strict=True):
        ax.plot(mu, values, color=color, linestyle=dash)
        ax.plot([], [], color=color, linestyle=dash, marker=marker, label=name)
        low = float(np.interp(best, mu, values))
        ax.plot(
            [best], [low], marker=marker, color=color, markersize=5, linestyle="none", clip_on=False
        )
        ax.annotate(
            symbol, (best, low), xytext=(0, -12 if name == "noise" else 5),
            textcoords="offset points", ha="center", color=color,
        )  # fmt: skip
    ax.set_xlim(0.0, 1.0)
    ax.set_xticks([0.0, 0.5, 1.0])
    ax.set_ylim(0.0, 4.4)
    ax.set_xlabel(r"weight on SFT, $\mu$")
    ax.set_ylabel(r"risk $R(\mu)$ (gradient$^2$)")
    ax.legend(loc="upper center")


def draw_bounds(ax: Any) -> None:
    """The biased risk over all directions of the biases, below the bounds and their minima."""
    mu = np.linspace(0.0, 1.0, POINTS)
    every = risks_over_directions(mu, 32)
    ax.fill_between(
        mu, every.min(axis=1), every.max(axis=1), color="#D9D9D9", linewidth=0.0,
        label="exact risk, all directions",
    )  # fmt: skip
    triangle = triangle_bound(mu, **SETTING, **BIASES)
    _curve(mu, triangle, float(triangle_minimiser(**SETTING, **BIASES)), "triangle bound",
           SERIES[0], ax, markersize=7.0, markerfacecolor="none")  # fmt: skip
    for eta, name in YOUNG.items():
        bound = young_bound(mu, **SETTING, **BIASES, eta=eta)
        best = float(young_minimiser(**SETTING, **BIASES, eta=eta))
        text = r"Young bounds, by $\eta$" if eta == 1.0 else None
        _curve(mu, bound, best, text, SERIES[1], ax, linewidth=0.8, markersize=3.5)
        place, side = NAMED_AT[eta]
        ax.annotate(
            f"${name}$", (place, float(np.interp(place, mu, bound))), xytext=(0, 3),
            textcoords="offset points", ha=side, color=SERIES[1][0],
        )  # fmt: skip
    noise_s = effective_noise(SETTING["sigma_s2"], BIASES["beta_s"])
    noise_r = effective_noise(SETTING["sigma_r2"], BIASES["beta_r"])
    surrogate = risk(mu, noise_s, noise_r, SETTING["delta_g2"], SETTING["alpha"])
    least = float(effective_noise_minimiser(**SETTING, **BIASES))
    _curve(mu, surrogate, least, "biases as noise", SERIES[2], ax)
    ax.axvline(float(closed_form(**SETTING)), ymax=0.45, color=GREY, linewidth=0.6)
    ax.annotate(
        r"$\mu^{*}$", (float(closed_form(**SETTING)), 0.0), xytext=(2, 2),
        textcoords="offset points", color="#555555",
    )  # fmt: skip
    ax.set_xlim(0.0, 1.0)
    ax.set_xticks([0.0, 0.5, 1.0])
    ax.set_ylim(0.0, 12.0)
    ax.set_xlabel(r"weight on SFT, $\mu$")
    ax.set_ylabel(r"risk or bound (gradient$^2$)")
    ax.legend(loc="upper left")


def _curve(
    mu: FloatArray,
    values: FloatArray,
    best: float,
    text: str | None,
    drawn: tuple[str, str, Any],
    ax: Any,
    **mark: Any,
) -> None:
    """A curve and the mark of its minimum, which the legend shows as one."""
    color, marker, dash = drawn
    width = {"linewidth": mark.pop("linewidth")} if "linewidth" in mark else {}
    ax.plot(mu, values, color=color, linestyle=dash, **width)
    ax.plot([best], [float(np.interp(best, mu, values))], marker, color=color, **mark)
    if text is not None:
        ax.plot([], [], color=color, linestyle=dash, marker=marker, label=text, **width, **mark)


def _draw(saved: Read, figure: Any) -> None:
    del saved
    axes = figure.subplots(*((1, 2) if wide(figure) else (2, 1)))
    draw_parts(axes[0])
    draw_bounds(axes[1])
    letters(axes)


FIGURE = PaperFigure(
    name="risk_parabola",
    caption=(
        r"The risk of a mixed gradient with $\sigma_s^2 = 1$, $\sigma_r^2 = 3$, $\Delta^2 = 4$, "
        r"$\alpha = 0.2$. (a) Without bias, disagreement (least at $\alpha$) and noise (least at "
        r"the inverse-variance weight $\mu_{\mathrm{iv}}$) add up to a parabola whose vertex "
        r"$\mu^{*}$ lies between. (b) With biases of length $0.9$ and $0.5$: the exact risk over "
        r"all their directions, the bounds that their lengths alone can prove, and the surrogate "
        r"that counts squared biases as noise, which bounds nothing. Numbers at Young's bounds: "
        r"their parameter $\eta$. Marks: minima; vertical line: the closed form, which knows of no "
        r"bias. Exact formulas: nothing is sampled."
    ),
    parts=(),
    columns=2,
    heights=(4.0, 2.1),
    draw=_draw,
)
