"""The statistics that each controller is due to read, computed once a set of choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref.proxies import CHOICES as CHOICES_OF_SUMS
from gac_ref.smoothing import refresh_due
from simulations.engine.controllers import Controller
from simulations.problem import Sample

__all__ = ["CHOICES", "NOT_DUE", "Wanted", "separated", "taken", "wanted_statistics"]

CHOICES = (*CHOICES_OF_SUMS, "missing_branch", "trim_ratio", "eps")
"""The fields of a configuration that the proxies of a batch depend on."""

NOT_DUE = Proxies(0.0, 0.0, 0.0)
"""What a controller gets between two refreshes, when it looks at no statistic."""


class Wanted(NamedTuple):
    """Controllers that take the same statistics at this step.

    Args:
        config: Their common choices.
        controllers: Their places on the first axis.
    """

    config: GACConfig
    controllers: tuple[int, ...]


def wanted_statistics(
    controllers: Sequence[Controller], states: Sequence[Any], step: int, *, tokens: bool
) -> list[Wanted]:
    """The distinct sets of choices of the controllers that read statistics at this step.

    Args:
        controllers: All controllers.
        states: Their states.
        step: The step.
        tokens: Whether the statistics are those of tokens; else choices make no difference.

    Examples:
        >>> from gac_ref import baselines
        >>> rules = [GACConfig(), GACConfig.released(), GACConfig(alpha=0.2), baselines.MGDA()]
        >>> controllers = [Controller(str(i), rule) for i, rule in enumerate(rules)]
        >>> states = [baselines.init(rule) for rule in rules]
        >>> [group.controllers for group in wanted_statistics(controllers, states, 0, tokens=True)]
        [(0, 2), (1,)]
    """
    groups: dict[tuple[Any, ...], Wanted] = {}
    for c, (controller, state) in enumerate(zip(controllers, states, strict=True)):
        rule = controller.rule
        config = rule if isinstance(rule, GACConfig) else getattr(rule, "statistics", None)
        if config is None or (config is rule and not refresh_due(rule, state, step)):
            continue
        key = tuple(getattr(config, name) for name in CHOICES) if tokens else ()
        group = groups.get(key, Wanted(config, ()))
        groups[key] = group._replace(controllers=(*group.controllers, c))
    return list(groups.values())


def taken(sample: Sample, wanted: Sequence[Wanted]) -> list[Proxies] | None:
    """The statistics of one sample for each group, [group, n] each; None where it has none."""
    take = sample.statistics
    return None if take is None else [take(group.config, group.controllers) for group in wanted]


def separated(wanted: Sequence[Wanted], tiles: Sequence[Sequence[Proxies]]) -> dict[int, Proxies]:
    """The statistics of each controller, [n], joined from those of several tiles.

    Values without an axis of controllers, [n] or scalars, are the same for all.
    """
    out: dict[int, Proxies] = {}
    for index, group in enumerate(wanted):
        fields = [
            np.concatenate(values, axis=-1) if np.ndim(values[0]) else values[0]
            for values in zip(*(tile[index] for tile in tiles), strict=True)
        ]
        for place, c in enumerate(group.controllers):
            out[c] = Proxies(*(value[place] if np.ndim(value) > 1 else value for value in fields))
    return out
