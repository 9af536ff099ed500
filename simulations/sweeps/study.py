"""A study: a problem, controllers, regimes and a design, declared in a small TOML file."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.errors import GACError, fail
from simulations.engine.controllers import build_controllers, describe
from simulations.engine.settings import RunSettings
from simulations.registry import build_problem, describe_problem, parameters, suggest
from simulations.sweeps.cell import Cell, cell_configuration
from simulations.sweeps.design import design_points

__all__ = ["FOLDER", "Point", "Study", "find_study", "studies"]

FOLDER = Path(__file__).parents[1] / "studies"
MOST_CELLS = 10_000
"""Of one point: each is a file."""

RUN_FIELDS = [item.name for item in dataclasses.fields(RunSettings)]


class Point(NamedTuple):
    """One place that a study looks at, ready to be simulated.

    Args:
        label: The regime, and the number of the design point where there are several.
        regime: Name of the regime.
        parameters: Values of the design's parameters, by path.
        cells: Its cells, in the order of their seeds.
    """

    label: str
    regime: str
    parameters: dict[str, Any]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """The declaration, as tables; `points` builds and checks everything.

    Args:
        name: Short name; the store's folder is called so.
        title: One line.
        problem: `kind` and fields of the problem.
        controllers: Declarations by name.
        run: Fields of :class:`simulations.engine.settings.RunSettings`.
        regimes: Name -> tables `problem` and `run` that are laid over the study's.
        design: See :func:`simulations.sweeps.design.design_points`.
        summary: `metrics` to print, the `primary` metric that picks the best fixed weight, and
            whether to `maximise` it.
        overrides: What the command line set; laid over everything else.

    Examples:
        >>> study = Study(name="tiny", problem={"kind": "quadratic"}, controllers={"fixed": {}})
        >>> [point.label for point in study.points()]
        ['base']
    """

    name: str
    title: str = ""
    problem: Mapping[str, Any] = field(default_factory=dict)
    controllers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    regimes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    design: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], where: str) -> Study:
        """A study from parsed TOML or JSON.

        Raises:
            GACError: An unknown or missing table.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for key, value in tree.items():
            if key not in known:
                fail(f"{where}: unknown table {key!r}; {suggest(key, known)}")
            wanted = str if key in ("name", "title") else dict
            if not isinstance(value, wanted):
                fail(f"{where}: {key} is not a {'text' if wanted is str else 'table'}")
        for key in ("name", "problem", "controllers"):
            if key not in tree:
                fail(f"{where}: lacks {key}; a study names its {key}")
        return cls(**tree)

    def to_tree(self) -> dict[str, Any]:
        """The declaration as JSON values; `from_tree` is its inverse."""
        return copy.deepcopy(dataclasses.asdict(self))

    def with_settings(self, settings: Iterable[str]) -> Study:
        """With ``path=value`` texts laid over everything.

        A path is ``run.X``, ``problem.X`` or ``controllers.NAME.X``; a bare X is looked up in run,
        then in the problem. Values are TOML, and plain text where that does not parse.

        Raises:
            GACError: No "=", or no such parameter.

        Examples:
            >>> study = Study(name="t", problem={"kind": "quadratic"}, controllers={"fixed": {}})
            >>> study.with_settings(["horizon=5", "fixed.mu=0.3"]).overrides
            {'run': {'horizon': 5}, 'controllers': {'fixed': {'mu': 0.3}}}
        """
        overrides = copy.deepcopy(dict(self.overrides))
        for text in settings:
            path, separator, value = (part.strip() for part in text.partition("="))
            if not separator:
                fail(f"setting {text!r} has no '='; write parameter=value")
            _put(overrides, self._resolve(path), _parsed(value))
        return dataclasses.replace(self, overrides=overrides)

    def keeping(self, kind: str, names: str | None) -> Study:
        """Only the controllers or regimes of a comma-separated list.

        Examples:
            >>> study = Study(name="t", controllers={"fixed": {}, "mgda": {}})
            >>> list(study.keeping("controllers", "mgda").controllers)
            ['mgda']
        """
        if names is None:
            return self
        tables: Mapping[str, Any] = getattr(self, kind)
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        for name in wanted:
            if name not in tables:
                fail(
                    f"unknown {kind[:-1]} {name!r} in study {self.name!r}; "
                    f"{suggest(name, list(tables))}"
                )
        if not wanted:
            fail(f"no {kind}; name at least one of {', '.join(tables)}")
        kept: dict[str, Any] = {kind: {name: tables[name] for name in wanted}}
        return dataclasses.replace(self, **kept)

    def points(self) -> list[Point]:
        """Every point with its cells, validated.

        Raises:
            GACError: A parameter, a controller or a regime is invalid; names the regime.
        """
        places = design_points(self.design)
        out = []
        for regime, patch in (self.regimes or {"base": {}}).items():
            for number, place in enumerate(places):
                label = regime if len(places) == 1 else f"{regime}/{number}"
                try:
                    cells = self._cells(patch, place)
                except GACError as error:
                    fail(f"study {self.name!r}, regime {label!r}: {error}")
                out.append(Point(label, regime, place, tuple(cells)))
        return out

    def _cells(self, patch: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Cell]:
        tree: dict[str, Any] = copy.deepcopy(
            {"problem": self.problem, "run": self.run, "controllers": self.controllers}
        )
        for table in patch:
            if table not in ("problem", "run"):
                fail(f"{table!r} is unknown; a regime changes problem or run")
        _lay(tree, patch)
        for path, value in parameters.items():
            _put(tree, self._resolve(path), value)
        _lay(tree, self.overrides)
        for name in tree["run"]:
            if name not in RUN_FIELDS:
                fail(f"unknown parameter 'run.{name}'; {suggest(name, RUN_FIELDS)}")
        settings = RunSettings(**tree["run"])
        problem = build_problem(tree["problem"])
        target = settings.target_outcome
        if target and target not in problem.units:
            fail(
                f"run.target_outcome = {target!r} is not an outcome of problem {problem.name!r}; "
                f"{suggest(target, list(problem.units))}"
            )
        described = describe_problem(problem)
        controllers = [describe(item) for item in build_controllers(tree["controllers"])]
        firsts = range(0, settings.seeds, settings.seeds_per_cell)
        if len(firsts) > MOST_CELLS:
            fail(
                f"run.seeds = {settings.seeds} makes {len(firsts)} cells of "
                f"{settings.seeds_per_cell} seeds; lower it, or raise run.seeds_per_cell"
            )
        return [
            Cell(cell_configuration(described, controllers, settings, first)) for first in firsts
        ]

    def _resolve(self, path: str) -> list[str]:
        """The full path of a parameter, as its parts."""
        head, *rest = path.split(".")
        kind = str(self.problem.get("kind"))
        of_problem = ["kind", *parameters(kind)]
        if not rest and head in RUN_FIELDS:
            return ["run", head]
        if head in of_problem:
            return ["problem", head, *rest]
        if head == "run" and rest[:1] and rest[0] in RUN_FIELDS:
            return [head, *rest]
        if head == "problem" and rest[:1] and rest[0] in of_problem:
            return [head, *rest]
        if head in self.controllers and len(rest) == 1:
            return ["controllers", head, *rest]
        if head == "controllers" and len(rest) == 2 and rest[0] in self.controllers:
            return [head, *rest]
        if head == "controllers" and rest and rest[0] not in self.controllers:
            fail(
                f"unknown controller {rest[0]!r} in {path!r}; "
                f"{suggest(rest[0], list(self.controllers))}"
            )
        tables = ["run", "problem", "controllers", *self.controllers]
        if rest and head not in tables:
            fail(f"unknown parameter {path!r}: {head!r} is no table; {suggest(head, tables)}")
        known = [*RUN_FIELDS, *of_problem, *(f"controllers.{name}.X" for name in self.controllers)]
        fail(f"unknown parameter {path!r}; {suggest(path.rpartition('.')[2], known)}")


def studies() -> dict[str, Path]:
    """The declared studies by name.

    Examples:
        >>> "default" in studies()
        True
    """
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def find_study(name: str) -> Study:
    """A declared study by its name, or one's own by the path of its file.

    Raises:
        GACError: No such study, or the file is malformed.

    Examples:
        >>> find_study("default").name
        'default'
    """
    known = studies()
    path = known.get(name)
    if path is None:
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            fail(f"unknown study {name!r}; {suggest(name, list(known))}, or the path of a .toml")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path}: not readable as TOML ({error}); correct it")
    return Study.from_tree(tree, str(path))


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _lay(tree: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """Lay `patch` over `tree`, table by table; a table of another kind replaces its predecessor."""
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), Mapping):
            if "kind" in value and value["kind"] != tree[key].get("kind", value["kind"]):
                tree[key] = copy.deepcopy(dict(value))
                continue
            tree[key] = dict(tree[key])
            _lay(tree[key], value)
        else:
            tree[key] = copy.deepcopy(value)
