"""Which pictures the answer shows, and of what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gac_ref._typing import AnyArray
from simulations.analysis.fidelity import figures
from simulations.analysis.fidelity.falsify import FALSIFICATIONS, STATISTICS
from simulations.analysis.fidelity.measure import CLAIMED, LABELS, Table, truth_of
from simulations.analysis.question import Figure

__all__ = ["section_figures"]

Saved = Mapping[str, Mapping[str, AnyArray]]

_AXES = {
    "sigma_s2": ("true SFT noise, gradient$^2$", "proxy, nats$^2$"),
    "sigma_r2": ("true RL noise, gradient$^2$", "proxy, advantage$^2$"),
    "delta_g2": ("true disagreement, gradient$^2$", "proxy, z-score$^2$"),
}


def section_figures(
    saved: Saved,
    recorded: Table,
    repeated: Table,
    training: Table,
    random: Table,
    models: list[str],
) -> tuple[Figure, ...]:
    """The pictures of the section, from its parts and findings."""
    recording, study = saved["recording"], saved["study"]

    negative = sum(int((held["truths"][2] <= 0.0).sum()) for held in (recording, study))

    def scatter(axes: AnyArray) -> AnyArray:
        at = recording["step"].searchsorted(recording["known"])
        for ax, name in zip(axes, STATISTICS[:3], strict=True):
            index = STATISTICS.index(name)
            figures.draw_scatter(
                truth_of(recording["truths"], name),
                recording["proxies"][index, at],
                (truth_of(study["truths"], name).ravel(), study["proxies"][index].ravel()),
                _AXES[name],
                (recorded[f"pearson {name}"], repeated[f"pearson {name}"]),
                ax,
            )
        return axes

    def shares(axes: AnyArray) -> AnyArray:
        size = int(recording["group_size"])
        at = recording["step"].searchsorted(recording["known"])
        figures.draw_share(
            recording["share"],
            recording["proxies"][1],
            size,
            ("RL noise proxy, advantage$^2$", 1.0),
            axes[0],
        )
        figures.draw_share(
            recording["share"][at],
            recording["truths"][1],
            size,
            ("true RL noise, gradient$^2$", 0.0),
            axes[1],
        )
        return axes

    claim = _rows(recorded, repeated, training, random, models, "delta_g2")
    noise = {
        name: _rows(recorded, repeated, training, random, models, name)
        for name in ("sigma_r2", "sigma_s2")
    }

    def both(axes: AnyArray) -> AnyArray:
        for ax, name in zip(axes, noise, strict=True):
            figures.draw_forest(noise[name], None, ax)
            ax.set_xlabel(f"correlation, {LABELS[name]}")
        axes[1].set_yticklabels([])
        return axes

    return (
        Figure(
            "fidelity-scatter",
            "Each proxy against the true value that it stands for, in the recorded training (30 "
            "points of one run) and in the repeated training (several seeds and controllers). Of "
            f"the unbiased estimates of the disagreement {negative} are below 0 and not drawn on "
            "the logarithmic axis.",
            scatter,
            size=(9.0, 3.3),
            panels=3,
        ),
        Figure(
            "fidelity-claim",
            "Correlation of the disagreement proxy with the true disagreement, 95 % intervals; "
            "hollow squares have information destroyed on purpose (range over the shuffles).",
            lambda ax: figures.draw_forest(claim, CLAIMED, ax),
            size=(5.5, 4.6),
        ),
        Figure(
            "fidelity-noise",
            "The same for the two noise proxies.",
            both,
            size=(8.0, 3.4),
            panels=2,
        ),
        Figure(
            "fidelity-share",
            "Left: the RL noise proxy of all recorded steps over the share of groups whose rewards "
            "differ (points spread sideways a little). Right: the true RL noise at the steps where "
            "it was measured.",
            shares,
            size=(7.5, 3.2),
            panels=2,
        ),
    )


def _rows(
    recorded: Table,
    repeated: Table,
    training: Table,
    random: Table,
    models: list[str],
    name: str,
) -> list[figures.Row]:
    rows: list[Any] = [("recorded run", recorded[f"pearson {name}"], False)]
    if name == "delta_g2":
        rows.append(("  as released", recorded["pearson delta_g2_released"], False))
    else:
        rows.append(("  after the EMA", recorded[f"smoothed {name}"], False))
    rows += [
        (f"  {falsification}", recorded[f"{falsification} {name}"], True)
        for falsification in FALSIFICATIONS
        if f"{falsification} {name}" in recorded and name == "delta_g2"
    ]
    rows.append(("repeated training", repeated[f"pearson {name}"], False))
    rows.append(("  without SFT, then RL", repeated[f"without {name}"], False))
    if name == "delta_g2":
        rows.append(("  as released", repeated["pearson delta_g2_released"], False))
    for model in models:
        shown = model.replace("_", " ")
        rows.append((f"{shown}, along runs", training[f"mean {model} {name}"], False))
        rows.append((f"{shown}, random points", random[f"pearson {model} {name}"], False))
    return rows
