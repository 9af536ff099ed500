"""Problems by their short name, imported when first asked for."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gac_ref.errors import GACError, fail
from simulations.problem import Problem

__all__ = ["PROBLEMS", "build_problem", "describe_problem", "parameters", "suggest"]

PROBLEMS: dict[str, str] = {
    "quadratic": "simulations.models.quadratic:Quadratic",
    "noisy_quadratic": "simulations.models.noisy_quadratic:NoisyQuadratic",
    "regression": "simulations.models.regression:Regression",
    "bandit": "simulations.models.bandit:Bandit",
    "token_policy": "simulations.models.token_policy:TokenPolicy",
    "mlp": "simulations.models.mlp:MLPPolicy",
    "synthetic": "simulations.noise.synthetic:SyntheticGradients",
}
"""Kind -> module:class. "scenario", with a name of ``simulations.noise.SCENARIOS``, is one more."""


LIKENESS = 0.7
"""Of two names, between 0 and 1; at 0.6 "alpha" would be a guess for "kappa"."""

FEW = 12
"""Names that an error message lists beside the one that was probably meant."""


def suggest(name: str, known: list[str]) -> str:
    """The known names for an error message, a close match first; it alone where many are known.

    Examples:
        >>> suggest("horizn", ["seeds", "horizon"])
        "did you mean 'horizon'? known: seeds, horizon"
        >>> suggest("horizn", ["horizon", *"abcdefghijklm"])
        "did you mean 'horizon'?"
    """
    known = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=LIKENESS)
    hint = f"did you mean {close[0]!r}?" if close else ""
    if hint and len(known) > FEW:
        return hint
    return f"{hint} known: {', '.join(known) or 'none'}".lstrip()


def problem_class(kind: str) -> Any:
    """The class of a kind of problem.

    Raises:
        GACError: Unknown kind.

    Examples:
        >>> problem_class("quadratic").__name__
        'Quadratic'
    """
    target = PROBLEMS["synthetic"] if kind == "scenario" else PROBLEMS.get(kind)
    if target is None:
        fail(f"problem kind {kind!r} is unknown; {suggest(str(kind), [*PROBLEMS, 'scenario'])}")
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def parameters(kind: str) -> list[str]:
    """Names of the parameters of a kind of problem.

    Examples:
        >>> "rotation" in parameters("quadratic")
        True
    """
    own = [field.name for field in dataclasses.fields(problem_class(kind)) if field.init]
    return ["scenario", *own] if kind == "scenario" else own


def build_problem(table: Mapping[str, Any]) -> Problem:
    """A problem from its declaration: `kind` and the fields of its class.

    Fields that are tables themselves are pieces of :mod:`simulations.noise`, with a `kind` each.

    Raises:
        GACError: Unknown kind or field, or a value that the problem refuses.

    Examples:
        >>> build_problem({"kind": "quadratic", "dimension": 3}).dimension
        3
        >>> build_problem({"kind": "scenario", "scenario": "calm"}).name
        'calm'
    """
    fields = dict(table)
    kind = fields.pop("kind", None)
    if kind is None:
        fail(f"the problem has no kind; {suggest('', [*PROBLEMS, 'scenario'])}")
    cls, known = problem_class(kind), parameters(kind)
    for name, value in fields.items():
        if name not in known:
            fail(f"unknown parameter {name!r} of problem {kind!r}; {suggest(name, known)}")
        fields[name] = _piece(name, value)
    try:
        if kind == "scenario":
            from simulations.noise import scenario

            made: Problem = scenario(fields.pop("scenario", ""), **fields)
        else:
            made = cls(**fields)
    except GACError:
        raise
    except (TypeError, ValueError) as error:
        fail(f"problem {kind!r}: {error}; check its parameters")
    return made


def describe_problem(problem: Any) -> dict[str, Any]:
    """Kind and every field of a problem as JSON values: what its results depend on.

    Examples:
        >>> describe_problem(build_problem({"kind": "quadratic"}))["kind"]
        'quadratic'
    """
    cls = type(problem)
    place = f"{cls.__module__}:{cls.__name__}"
    kind = next(kind for kind, target in PROBLEMS.items() if target == place)
    fields = {
        field.name: _plain(getattr(problem, field.name))
        for field in dataclasses.fields(problem)
        if field.init
    }
    return {"kind": kind, **fields}


def _piece(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        from simulations.noise import from_dict

        try:
            return from_dict(value)
        except GACError as error:
            fail(f"{name}: {error}")
    return tuple(_piece(name, item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        from simulations.noise import to_dict

        return to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
