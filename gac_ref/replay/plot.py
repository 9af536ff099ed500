"""The picture of a replay: the weights, the statistics behind them, the guards that acted."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail

if TYPE_CHECKING:
    from gac_ref.replay.rows import ReplayRow

SUFFIXES = (".png", ".pdf", ".svg")
SIZE_INCHES, DPI = (8.0, 6.0), 150
LOG_ABOVE = 5.0
"""The statistics get a logarithmic axis when they span more than this factor."""

# Okabe and Ito's palette: distinct under every common colour blindness, and in print.
COLOURS = {
    "mu": "#000000",
    "prior": "#E69F00",
    "mu_raw": "#56B4E9",
    "mu_oracle": "#D55E00",
    "sigma_s2": "#0072B2",
    "sigma_r2": "#009E73",
    "delta_g2": "#CC79A7",
    "flags": "#555555",
}
STATISTICS = {"sigma_s2": "nats$^2$", "sigma_r2": "advantage$^2$", "delta_g2": "coefficient$^2$"}


def check_target(file: str | os.PathLike[str]) -> Path:
    """The path to draw to, or GACError now rather than after a long replay."""
    path = Path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        fail(f"--plot {path}: cannot write there ({error.strerror}); pass another path")
    if path.suffix.lower() not in SUFFIXES:
        fail(
            f"--plot {path}: cannot draw a {path.suffix or 'file without a suffix'!r}; "
            f"name it {', '.join(SUFFIXES)}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        fail(f"--plot needs matplotlib ({error}); install it with: pip install matplotlib")
    return path


class ReplayPlot:
    """Collects what the picture shows: a dozen floats a step, whatever the size of the batches."""

    def __init__(self) -> None:
        """Start empty."""
        self._names = ("step", "mu", "prior", "mu_raw", "mu_oracle", *STATISTICS)
        self._columns = {name: array("d") for name in self._names}
        self._truth = {name: array("d") for name in STATISTICS}
        self._acted: dict[str, array[float]] = {}

    def add(self, row: ReplayRow) -> None:
        """Keep one row."""
        for name in self._names:
            self._columns[name].append(getattr(row, name))
        for name, column in self._truth.items():
            column.append(row.oracle.get(name, float("nan")))
        for flag in row.flags:
            self._acted.setdefault(flag, array("d")).append(row.step)

    def save(self, path: Path, title: str) -> None:
        """Draw; equal rows and title make equal files."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # not the user's style: the picture is part of the record
            matplotlib.rcParams.update(
                {
                    "font.size": 8.5,
                    "svg.hashsalt": "gac-ref",
                    "axes.grid": True,
                    "grid.alpha": 0.3,
                    "axes.xmargin": 0.01,
                    "axes.spines.top": False,
                    "axes.spines.right": False,
                }
            )
            figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
            FigureCanvasAgg(figure)
            flags = max(len(self._acted), 1)
            axes = figure.subplots(3, 1, sharex=True, height_ratios=[3.0, 2.6, 0.3 + 0.2 * flags])
            figure.suptitle(title, fontsize=9.5, parse_math=False)
            self._weights(axes[0])
            self._statistics(axes[1])
            self._guards(axes[2])
            # Dates and versions out, so that the bytes depend on the data alone.
            metadata: dict[str, Any] = {
                ".png": {"Software": None},
                ".pdf": {"CreationDate": None},
                ".svg": {"Date": None},
            }[path.suffix.lower()]
            figure.savefig(path, metadata=metadata)

    def _weights(self, ax: Any) -> None:
        steps = self._column("step")
        for name, label, style in (
            ("mu_raw", "raw estimate", {"linewidth": 1.2}),
            ("mu", "mu (applied)", {"linewidth": 2.4}),
            ("prior", "prior", {"linewidth": 1.2, "linestyle": (0, (3, 3))}),
        ):
            values = self._column(name)
            if np.isfinite(values).any():
                ax.plot(steps, values, color=COLOURS[name], label=label, **style)
        truth = self._column("mu_oracle")
        if np.isfinite(truth).any():
            _markers(ax, steps, truth, COLOURS["mu_oracle"], "closed form on the true values")
        ax.set_ylim(-0.02, 1.02)
        ax.set_ylabel("SFT weight mu\n(1 = pure SFT)")
        _legend_above(ax)

    def _statistics(self, ax: Any) -> None:
        steps = self._column("step")
        everything: list[FloatArray] = []
        scaled_any = False
        for name, unit in STATISTICS.items():
            values = self._column(name)
            if not np.isfinite(values).any():
                continue
            ax.plot(steps, values, color=COLOURS[name], linewidth=1.6, label=f"{name} ({unit})")
            everything.append(values)
            scaled = _scaled_to(values, np.asarray(self._truth[name]))
            if np.isfinite(scaled).any():
                _markers(ax, steps, scaled, COLOURS[name], None)
                everything.append(scaled)
                scaled_any = True
        if scaled_any:
            ax.plot(
                [],
                [],
                "o",
                color="#777777",
                markersize=3.5,
                fillstyle="none",
                label="true value, scaled$^*$",
            )
            ax.set_xlabel(
                "$^*$ true values are squared gradient norms: each is scaled to its statistic's "
                "median, so shapes compare and levels do not; negative ones are not drawn",
                fontsize=6.5,
                loc="left",
                color="#444444",
            )
        drawn = np.concatenate([*everything, np.ones(0)])
        finite = drawn[np.isfinite(drawn)]
        if finite.size and finite.min() > 0.0 and finite.max() > LOG_ABOVE * finite.min():
            ax.set_yscale("log")
        ax.set_ylabel("smoothed statistics\n(units in the legend)")
        _legend_above(ax)

    def _guards(self, ax: Any) -> None:
        names = sorted(self._acted)
        width = self._stride()
        for height, name in enumerate(names):
            spans = _runs(self._acted[name], width)
            ax.broken_barh(spans, (height - 0.35, 0.7), color=COLOURS["flags"], linewidth=0)
        ax.set_yticks(range(len(names)), names, fontsize=7)
        ax.set_ylim(len(names) - 0.5 if names else 0.5, -0.5)
        if not names:
            ax.set_ylabel("no guard\nacted")
        ax.set_xlabel("training step")
        ax.grid(visible=False, axis="y")

    def _column(self, name: str) -> FloatArray:
        return np.asarray(self._columns[name])

    def _stride(self) -> float:
        steps = self._column("step")
        return float(np.diff(steps).min()) if steps.size > 1 else 1.0


def _markers(
    ax: Any, steps: FloatArray, values: FloatArray, colour: str, label: str | None
) -> None:
    shown = np.isfinite(values)
    ax.plot(
        steps[shown],
        values[shown],
        "o",
        color=colour,
        markersize=3.5,
        fillstyle="none",
        markeredgewidth=0.9,
        label=label,
    )


def _legend_above(ax: Any) -> None:
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=4,
        frameon=False,
        fontsize=8,
        borderaxespad=0.2,
        handlelength=1.8,
        columnspacing=1.2,
    )


def _scaled_to(values: FloatArray, truth: FloatArray) -> FloatArray:
    """Positive true values times one factor: the medians agree where both are known."""
    both = np.isfinite(values) & np.isfinite(truth) & (truth > 0.0)
    if not both.any():
        return np.full_like(truth, np.nan)
    factor = np.median(values[both]) / np.median(truth[both])
    return np.where(truth > 0.0, truth * factor, np.nan)


def _runs(steps: Sequence[float], width: float) -> list[tuple[float, float]]:
    """Consecutive steps as (start, length) bars, centred on the steps."""
    runs: list[tuple[float, float]] = []
    for step in steps:
        start = step - 0.5 * width
        if runs and start <= runs[-1][0] + runs[-1][1] + 1e-9:
            runs[-1] = (runs[-1][0], step + 0.5 * width - runs[-1][0])
        else:
            runs.append((start, width))
    return runs
