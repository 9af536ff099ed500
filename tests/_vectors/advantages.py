"""Group-relative advantages under every convention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from _oracles.objectives import CONVENTIONS

from .draft import Draft, Values, draft


def group(rewards: Sequence[float], ids: Sequence[int], expert: Sequence[int] = ()) -> Values:
    """Rewards, their groups, and which rows are demonstrations."""
    return {
        "rewards": np.array(rewards, dtype=np.float64),
        "group_ids": np.array(ids, dtype=np.int64),
        "is_expert": np.array([i in expert for i in range(len(ids))], dtype=np.bool_),
    }


def drafts() -> Iterator[Draft]:
    ids = (7, 3, 3, 12, 7, 3, 7, 12, 12, 7)
    mixed = (1.0, 0.25, 0.75, 2.0, -0.5, 0.0, 0.5, 2.5, 3.75, 1.25)
    for name in CONVENTIONS:

        def named(fields: Values, convention: str = name) -> Values:
            return fields | {"convention": convention}

        slug = name.replace("_", "-")
        yield draft(
            f"advantages/{slug}",
            "Interleaved groups of 3 and 4 under this convention, without and with experts.",
            [
                named(group(mixed, ids)),
                named(group(mixed, ids, expert=(2, 4, 8))),
                named(group(mixed[:5], (1, 2, 1, 2, 1))),
            ],
        )
        yield draft(
            f"advantages/{slug}-small-groups",
            "A group of one, a group without spread, and one with a spread of the order of eps.",
            [
                named(
                    group(
                        (0.75, 2.0, 2.0, 2.0, 1.0, 1.0005, 0.9996, 0.3, 0.3 + 2.0**-22),
                        (4, 1, 1, 1, 9, 9, 9, 6, 6),
                    )
                ),
                named(group((1.5, 0.5, 0.5, 0.5, 2.5, 0.25), (1, 1, 1, 2, 1, 2), expert=(0, 4))),
            ],
        )
        yield draft(
            f"advantages/{slug}-large-offset",
            "Rewards of 4096 with spreads of 1/8: centre first, then square.",
            [named(group((4096.0, 4096.125, 4096.5, 4095.75, 4096.25), (5, 5, 8, 5, 8)))],
        )
