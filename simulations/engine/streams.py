r"""Random numbers by block of seeds, so that no grouping of the seeds can change a bit.

Seeds come in blocks of 64. Block b of root seed r owns counter-based generators spawned from
(r, b), one for each use; it always draws for all of its 64 seeds, also where a run wants fewer.
So seed i sees the same numbers however many seeds, chunks, workers or machines there are, and
every controller and every regime sees the same numbers as the others (common random numbers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray

__all__ = ["BLOCK", "USES", "BlockStreams", "concatenate", "first_seeds"]

BLOCK = 64
"""Seeds in a block: wide enough to hide the cost of a call, narrow enough to share out."""

USES = ("start", "draw", "control")
"""Starting points; the noise of each step; coins of controllers that flip them."""


class BlockStreams:
    """The generators of consecutive blocks, one for each use.

    Examples:
        >>> one, two = BlockStreams(7, [0, 1]), BlockStreams(7, [1])
        >>> bool(one.generators["draw"][1].random() == two.generators["draw"][0].random())
        True
    """

    def __init__(self, root: int, blocks: Sequence[int]) -> None:
        self.generators = {
            use: [
                np.random.Generator(
                    np.random.Philox(np.random.SeedSequence(root, spawn_key=(block, number)))
                )
                for block in blocks
            ]
            for number, use in enumerate(USES)
        }

    def state(self) -> dict[str, AnyArray]:
        """Where every generator stands, as plain arrays."""
        arrays: dict[str, AnyArray] = {}
        for use, generators in self.generators.items():
            states = [_plain(generator.bit_generator.state) for generator in generators]
            for name in states[0]:
                arrays[f"{use}/{name}"] = np.stack([state[name] for state in states])
        return arrays

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Continue where `state` was taken.

        Examples:
            >>> streams = BlockStreams(0, [0]); kept = streams.state()
            >>> first = streams.generators["draw"][0].random()
            >>> streams.restore(kept)
            >>> bool(first == streams.generators["draw"][0].random())
            True
        """
        for use, generators in self.generators.items():
            for index, generator in enumerate(generators):
                counter, key, buffer, rest = (
                    arrays[f"{use}/{name}"][index] for name in ("counter", "key", "buffer", "rest")
                )
                generator.bit_generator.state = {
                    "bit_generator": "Philox",
                    "state": {"counter": counter, "key": key},
                    "buffer": buffer,
                    "buffer_pos": int(rest[0]),
                    "has_uint32": int(rest[1]),
                    "uinteger": int(rest[2]),
                }


def _plain(state: Mapping[str, Any]) -> dict[str, AnyArray]:
    rest = [state["buffer_pos"], state["has_uint32"], state["uinteger"]]
    return {
        "counter": np.asarray(state["state"]["counter"], dtype=np.uint64),
        "key": np.asarray(state["state"]["key"], dtype=np.uint64),
        "buffer": np.asarray(state["buffer"], dtype=np.uint64),
        "rest": np.asarray(rest, dtype=np.uint64),
    }


def concatenate(parts: Sequence[Any]) -> Any:
    """Draws of several blocks as one: arrays joined along their first axis, any nesting kept.

    Examples:
        >>> concatenate([{"z": np.zeros((2, 3))}, {"z": np.ones((1, 3))}])["z"].shape
        (3, 3)
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, dict):
        return {key: concatenate([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        fields = [concatenate(column) for column in zip(*parts, strict=True)]
        return type(first)(*fields) if hasattr(first, "_fields") else tuple(fields)
    if isinstance(first, np.ndarray) and first.ndim:
        return np.concatenate(parts)
    return first  # None, or a number that does not depend on the seed


def first_seeds(draw: Any, n: int) -> Any:
    """The first n seeds of a draw.

    Examples:
        >>> first_seeds((np.zeros((4, 2)), None), 3)[0].shape
        (3, 2)
    """
    if isinstance(draw, dict):
        return {key: first_seeds(value, n) for key, value in draw.items()}
    if isinstance(draw, tuple):
        fields = [first_seeds(value, n) for value in draw]
        return type(draw)(*fields) if hasattr(draw, "_fields") else tuple(fields)
    return draw[:n] if isinstance(draw, np.ndarray) and draw.ndim else draw
