"""A cell: one problem, all controllers, a few blocks of seeds; the unit that is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gac_ref import GACConfig, baselines
from gac_ref import __version__ as core_version
from gac_ref._typing import AnyArray
from gac_ref.errors import fail
from simulations.engine.controllers import Controller
from simulations.engine.curves import merge_curves
from simulations.engine.outcomes import metric_units
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.engine.streams import BLOCK
from simulations.registry import build_problem
from simulations.sweeps.provenance import computed_with

__all__ = [
    "SCHEMA",
    "Cell",
    "Checkpoint",
    "blocks_at_once",
    "cell_configuration",
    "cell_name",
    "compute_cell",
]

SCHEMA = "gac-simulation-cell/2"
"""Raised whenever the same configuration would give other numbers."""

TARGET_ELEMENTS = 262_144
"""Parameters in a chunk, about: enough trajectories to hide the cost of a controller's calls."""


@dataclass(frozen=True)
class Cell:
    """A cell by its full configuration, a tree of JSON values.

    Args:
        configuration: `schema`, `core`, `problem`, `controllers`, `run`, `first_seed`, `seeds`.

    Examples:
        >>> len(Cell({"schema": SCHEMA}).name)
        64
    """

    configuration: Mapping[str, Any]

    @cached_property
    def name(self) -> str:
        """SHA-256 of the configuration in a canonical form."""
        return cell_name(self.configuration)

    @cached_property
    def plan(self) -> Plan:
        """What to simulate."""
        tree = self.configuration
        return Plan(
            problem=build_problem(tree["problem"]),
            controllers=tuple(_controller(table) for table in tree["controllers"]),
            settings=RunSettings(**tree["run"]),
            first_seed=tree["first_seed"],
            seeds=tree["seeds"],
        )


def cell_name(configuration: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration; equal trees have equal names, whatever the order of keys.

    Examples:
        >>> cell_name({"a": 1, "b": 2.0}) == cell_name({"b": 2.0, "a": 1})
        True
    """
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def cell_configuration(
    problem: Mapping[str, Any],
    controllers: list[dict[str, Any]],
    settings: RunSettings,
    first_seed: int,
) -> dict[str, Any]:
    """The full configuration of the cell that starts at `first_seed`.

    Examples:
        >>> cell_configuration({}, [], RunSettings(seeds=300), 256)["seeds"]
        44
    """
    run = settings.to_dict()
    seeds = min(settings.seeds_per_cell, settings.seeds - first_seed)
    return {
        "schema": SCHEMA,
        "core": core_version,
        "problem": dict(problem),
        "controllers": controllers,
        # How many seeds there are in all, and how they are cut, is not this cell's business.
        "run": {k: v for k, v in run.items() if k not in ("seeds", "seeds_per_cell")},
        "first_seed": first_seed,
        "seeds": seeds,
    }


def _controller(table: Mapping[str, Any]) -> Controller:
    fields = {key: value for key, value in table.items() if key not in ("name", "kind")}
    if isinstance(fields.get("statistics"), Mapping):
        fields["statistics"] = GACConfig.from_dict(fields["statistics"])
    return Controller(table["name"], baselines.RULES[table["kind"]](**fields))


class Checkpoint(Protocol):
    """Where an unfinished cell is kept."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def load(self) -> dict[str, AnyArray] | None:
        """What was saved last for this cell, or None."""

    def save(self, arrays: Mapping[str, AnyArray]) -> None:
        """Keep the state; a failure to do so must not stop the cell."""


def compute_cell(
    configuration: Mapping[str, Any],
    *,
    chunk_blocks: int | None = None,
    checkpoint: Checkpoint | None = None,
    steps_between: int = 16,
) -> dict[str, AnyArray]:
    """Simulate a cell, from its last checkpoint where there is one.

    Args:
        configuration: The cell's full configuration.
        chunk_blocks: Blocks of seeds that are computed together; None to fit the cache. It does
            not change the result.
        checkpoint: Where the state is kept while it runs.
        steps_between: Steps between two questions to the checkpoint whether it is due.

    Returns:
        Plain arrays: ``metric/NAME`` [C, n], ``curve_*`` [1, V, K, C], ``trace`` [S, V, K, C], and
        the names of their axes.

    Examples:
        >>> from simulations.engine.controllers import build_controllers, describe
        >>> controllers = [describe(c) for c in build_controllers({"fixed": {}})]
        >>> tree = cell_configuration({"kind": "quadratic"}, controllers,
        ...                           RunSettings(horizon=2, seeds=70), 0)
        >>> arrays = compute_cell(tree)
        >>> arrays["metric/mu_final"].shape, arrays["controllers"].tolist()
        ((1, 70), ['fixed'])
    """
    plan = Cell(configuration).plan
    size = chunk_blocks or blocks_at_once(plan)
    groups = [plan.blocks[i : i + size] for i in range(0, len(plan.blocks), size)]
    saved = checkpoint.load() if checkpoint is not None else None
    parts: list[dict[str, AnyArray]] = []
    # Half a cell by one code and half by another would be stored as the work of the second.
    mine = saved is not None and str(saved.get("computed_with")) == _made()
    if saved is not None and mine and int(saved["size"]) == size:
        parts = [_prefixed(saved, f"part/{i}/") for i in range(int(saved["parts"]))]
    else:
        saved = None
    names: tuple[str, ...] = ()
    for index in range(len(parts), len(groups)):
        chunk = Chunk(plan, groups[index])
        if saved is not None and "chunk/step" in saved:
            chunk.restore(_prefixed(saved, "chunk/"))
        saved = None
        while not chunk.done:
            chunk.advance(steps_between)
            if checkpoint is not None and checkpoint.due():
                checkpoint.save(_state(size, parts, chunk))
        parts.append(chunk.result())
        names = tuple(chunk.curves.names)
    if not names:  # every chunk came from the checkpoint
        names = tuple(Chunk(plan, groups[0]).curves.names)
    return _joined(plan, parts, names)


def blocks_at_once(plan: Plan) -> int:
    """How many blocks fit the cache together."""
    return max(1, TARGET_ELEMENTS // (len(plan.controllers) * BLOCK * plan.problem.dimension))


def _prefixed(arrays: Mapping[str, AnyArray], prefix: str) -> dict[str, AnyArray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _state(size: int, parts: list[dict[str, AnyArray]], chunk: Chunk) -> dict[str, AnyArray]:
    arrays: dict[str, AnyArray] = {
        "computed_with": np.array(_made()),
        "size": np.asarray(size),
        "parts": np.asarray(len(parts)),
    }
    for index, part in enumerate(parts):
        arrays |= {f"part/{index}/{name}": value for name, value in part.items()}
    arrays |= {f"chunk/{name}": value for name, value in chunk.state().items()}
    return arrays


def _joined(
    plan: Plan, parts: list[dict[str, AnyArray]], names: tuple[str, ...]
) -> dict[str, AnyArray]:
    if not parts:
        fail("a cell without seeds; pass seeds >= 1")
    out: dict[str, AnyArray] = {
        name: np.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
        if name.startswith("metric/")
    }
    out |= merge_curves(parts)
    out["trace"] = parts[0]["trace"]
    out["controllers"] = np.array([controller.name for controller in plan.controllers])
    out["curve_names"] = np.array(names)
    out["curve_steps"] = np.array(plan.settings.times(plan.settings.curve_every), dtype=np.int64)
    out["trace_steps"] = np.array(plan.settings.times(plan.settings.trace_interval), dtype=np.int64)
    out["units"] = np.array(json.dumps(_units(plan), sort_keys=True))
    out["computed_with"] = np.array(_made())
    return out


def _made() -> str:
    return json.dumps(computed_with(), sort_keys=True)


def _units(plan: Plan) -> dict[str, str]:
    units = plan.problem.units
    return {**units, **metric_units(units), "mu": "1", "mu_best": "1"}
