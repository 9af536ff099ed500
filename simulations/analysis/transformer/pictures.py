"""Which pictures the answer shows, and of what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from simulations.analysis.palette import look
from simulations.analysis.question import Figure, Finding
from simulations.analysis.transformer import figures

__all__ = ["section_figures"]

WINDOW = 20
"""Steps that the reward curves are averaged over."""


def section_figures(
    saved: Mapping[str, AnyArray],
    names: list[str],
    differences: Mapping[tuple[str, str], Finding],
) -> tuple[Figure, ...]:
    """The pictures of the section, from its part and findings."""
    order = sorted(range(len(names)), key=lambda c: look(names[c]).order)
    shown = [names[c] for c in order]
    steps = np.arange(saved["mu"].shape[-1])

    def curves(axes: AnyArray) -> AnyArray:
        reward = figures.smoothed(saved["reward_curve"][order], WINDOW)
        figures.draw_curves(shown, steps, reward, "training reward", True, axes[0])
        held = saved["held_curve"][order]
        figures.draw_curves(shown, saved["evaluated"], held, "held-out reward", False, axes[1])
        axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
        return axes

    def weights(ax: Any) -> Any:
        figures.draw_curves(shown, steps, saved["mu"][order], r"weight on SFT, $\mu$", True, ax)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
        return ax

    rows = [
        (name, differences["held_reward", name])
        for name in shown
        if ("held_reward", name) in differences
    ]
    return (
        Figure(
            "transformer-curves",
            f"Training reward (means of {WINDOW} steps, left) and held-out reward (right) of each "
            "controller: mean over seeds, 95 % interval of the mean.",
            curves,
            size=(9.0, 3.4),
            panels=2,
        ),
        Figure(
            "transformer-mu",
            "The weight that each controller applied: mean over seeds, 95 % interval of the mean.",
            weights,
            size=(6.5, 3.2),
        ),
        Figure(
            "transformer-differences",
            "Paired difference in held-out reward at the end, GAC as documented less the named "
            "controller; 95 % intervals.",
            lambda ax: figures.draw_differences(rows, "difference in held-out reward", ax),
        ),
    )
