"""How much of the estimate the guards let through, and how fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import GREY, letters, line, log_ticks, wide

__all__ = ["FIGURE", "draw_map", "draw_steps"]

LEVELS = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 1.0)

METHOD = {"default": "gac_documented", "internal": "gac_decoupled", "no prior": "gac_no_prior"}
"""Variant -> the method that it is."""

CHANGED = {
    "lambda 0.9": (r"$\lambda = 0.9$", "s", "--"),
    "beta 0.9": (r"$\beta = 0.9$", "^", "-."),
}
"""Variant -> label, marker and dash of the documented controller with one knob turned: grey, for it
is no method of its own."""


def draw_map(
    lam: FloatArray, forget: FloatArray, gain: FloatArray, default: tuple[float, float], ax: Any
) -> None:
    """Steady-state weight of the estimate in mu, over both knobs of the guards.

    Args:
        lam: Blend weights, [x].
        forget: 1 - beta, [y].
        gain: [y, x].
        default: The default lambda and 1 - beta.
        ax: The axes.
    """
    ax.contourf(lam, forget, gain, levels=LEVELS, cmap="Greys", vmin=-0.05, vmax=1.6)
    lines = ax.contour(lam, forget, gain, levels=LEVELS[1:-1], colors="black", linewidths=0.6)
    ax.clabel(
        lines, fmt="%g", fontsize=ax.xaxis.label.get_size(), inline_spacing=2,
        manual=[_place(level) for level in LEVELS[1:-1]],
    )  # fmt: skip
    documented = line("gac_documented")
    ax.plot(*default, documented["marker"], color=documented["color"], markeredgecolor="white",
            markersize=6, zorder=5)  # fmt: skip
    ax.annotate("default", default, xytext=(-5, -3), textcoords="offset points", ha="right",
                va="top", color=documented["color"])  # fmt: skip
    ax.set_yscale("log")
    log_ticks(ax.yaxis, [0.001, 0.01, 0.1, 1.0])
    ax.set_xlabel(r"blend weight $\lambda$")
    ax.set_ylabel(r"forgetting rate $1 - \beta$")


def _place(level: float) -> tuple[float, float]:
    r"""Where the label of a level goes: where :math:`\lambda f / (1 - \lambda (1 - f))` is it."""
    lam = 0.6 + 0.405 * level
    return lam, level * (1.0 - lam) / (lam * (1.0 - level))


def draw_steps(names: list[str], responses: FloatArray, ax: Any) -> None:
    """Change of mu after the raw estimate rose by 1 and stays.

    Args:
        names: Of the variants, [V].
        responses: [V, steps].
        ax: The axes.
    """
    t = np.arange(1, responses.shape[1] + 1)
    for name in (*METHOD, *CHANGED):
        if name in names:
            ax.plot(t, responses[names.index(name)], markevery=0.13, **_looks(name))
    ax.set_xscale("log")
    ax.set_xlim(1, t[-1])
    log_ticks(ax.xaxis, [1, 10, 100])
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    ax.set_xlabel("steps since the raw estimate rose by 1")
    ax.set_ylabel(r"change of $\mu$")
    ax.legend(loc="upper left")


def _looks(name: str) -> dict[str, Any]:
    """Of a variant: its method's, or grey."""
    if name in METHOD:
        return line(METHOD[name])
    label, marker, dash = CHANGED[name]
    return {"label": label, "marker": marker, "linestyle": dash, "color": GREY}


def _draw(saved: Read, figure: Any) -> None:
    settings, arrays = saved["authority.linear"]
    config = GACConfig()
    axes = figure.subplots(*((1, 2) if wide(figure) else (2, 1)))
    draw_map(
        arrays["map_lambda"], arrays["map_forget"], arrays["map"],
        (config.blend_weight, 1.0 - config.ema_beta), axes[0],
    )  # fmt: skip
    draw_steps(list(settings["variants"]), arrays["step_response"], axes[1])
    letters(axes)


FIGURE = PaperFigure(
    name="guard_authority",
    caption=(
        r"Authority of the estimate. (a) Steady-state $\partial\mu / \partial\mu_{\mathrm{raw}}$ "
        r"of the guards with the applied weight fed back, over the blend weight and the forgetting "
        r"rate of the average; the rest is the prior's. (b) Response of $\mu$ to a lasting rise of "
        r"the raw estimate by 1, away from cap and clip. Grey: the documented controller with one "
        r"knob turned. Exact formulas: nothing is sampled."
    ),
    parts=("authority.linear",),
    columns=2,
    heights=(3.8, 2.1),
    draw=_draw,
)
