"""Curves over time: moments across the seeds of each block, and the first seeds' own traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gac_ref import Moments
from gac_ref._typing import AnyArray, FloatArray
from simulations.engine.settings import RunSettings
from simulations.engine.streams import BLOCK

__all__ = ["Curves", "merge_curves"]


class Curves:
    """Streamed moments and kept traces of a chunk of blocks.

    Moments are taken block by block and merged in the order of the blocks, so that they do not
    depend on how blocks are grouped into chunks. The number of points is bounded by the settings,
    whatever the horizon.
    """

    def __init__(
        self,
        settings: RunSettings,
        names: Sequence[str],
        controllers: int,
        sizes: Sequence[int],
        traced: int,
    ) -> None:
        self.settings, self.names, self.controllers = settings, list(names), controllers
        self.sizes, self.traced = sizes, traced
        times, traces = (
            len(settings.times(every)) for every in (settings.curve_every, settings.trace_interval)
        )
        shape = (len(sizes), len(self.names), times, controllers)
        self.arrays: dict[str, AnyArray] = {
            "curve_weight": np.zeros(shape),
            "curve_mean": np.zeros(shape),
            "curve_scatter": np.zeros(shape),
            "trace": np.full((traced, len(self.names), traces, controllers), np.nan),
        }

    def wants(self, step: int) -> bool:
        """Whether this step is a point of a curve or a trace."""
        settings = self.settings
        traced = self.traced and step % settings.trace_interval == 0
        return bool(step % settings.curve_every == 0 or traced)

    def add(self, values: Mapping[str, FloatArray], step: int) -> None:
        """Take the values of one step, [C, n] each."""
        if step % self.settings.curve_every == 0:
            self._moments(values, step // self.settings.curve_every)
        if self.traced and step % self.settings.trace_interval == 0:
            place = step // self.settings.trace_interval
            for index, name in enumerate(self.names):
                self.arrays["trace"][:, index, place] = values[name][:, : self.traced].T

    def _moments(self, values: Mapping[str, FloatArray], place: int) -> None:
        whole = sum(size == BLOCK for size in self.sizes)
        groups = [(0, whole, BLOCK)] if whole else []
        if whole < len(self.sizes):
            groups.append((whole, len(self.sizes), self.sizes[-1]))
        for first, last, size in groups:
            part = slice(first * BLOCK, first * BLOCK + (last - first) * size)
            # Seeds first and contiguous: the moments are sums over whole rows, one after the
            # other, in the same order whatever stands beside a block.
            rows = np.empty((size, last - first, len(self.names), self.controllers))
            for index, name in enumerate(self.names):
                value = values[name][:, part].reshape(-1, last - first, size)  # [C, B, size]
                rows[:, :, index] = value.T
            mean = rows.sum(axis=0) / size
            rows -= mean
            self.arrays["curve_weight"][first:last, :, place] = size
            self.arrays["curve_mean"][first:last, :, place] = mean
            rows *= rows
            self.arrays["curve_scatter"][first:last, :, place] = rows.sum(axis=0)


def merge_curves(parts: Sequence[Mapping[str, AnyArray]]) -> dict[str, AnyArray]:
    """The moments of all blocks of `parts` together, merged one block after the other."""
    blocks = [
        Moments(
            part["curve_weight"][index],
            part["curve_mean"][index][..., None],
            part["curve_scatter"][index][..., None, None],
        )
        for part in parts
        for index in range(len(part["curve_weight"]))
    ]
    total = blocks[0]
    for block in blocks[1:]:
        total = Moments.merge(total, block)
    return {
        "curve_weight": total.weight[None],
        "curve_mean": total.mean[..., 0][None],
        "curve_scatter": total.scatter[..., 0, 0][None],
    }
