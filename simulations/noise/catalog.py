"""Every piece as a plain dictionary and back, for study files and configuration hashes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gac_ref.errors import fail
from simulations.noise.clipping import Clipping
from simulations.noise.gaussian import Anisotropic, Dense, Isotropic, LowRank
from simulations.noise.joint import Correlated, Independent, JointGaussian, PairSum
from simulations.noise.lengths import LengthLaw
from simulations.noise.multiplicative import Multiplicative
from simulations.noise.plane import PlaneVector
from simulations.noise.regimes import Burst, Constant, Product, Ramp, Seasonal, Step
from simulations.noise.synthetic import SyntheticGradients
from simulations.noise.tails import Contaminated, Laplace, StudentT
from simulations.noise.tokens import TokenBatches
from simulations.noise.walk import RandomWalk
from simulations.registry import suggest

__all__ = ["KINDS", "from_dict", "to_dict"]

_PIECES: tuple[type[Any], ...] = (
    Isotropic, Anisotropic, LowRank, Dense, Multiplicative, StudentT, Laplace, Contaminated,
    Independent, Correlated, JointGaussian, PairSum, Clipping, Constant, Step, Ramp, Burst,
    Seasonal, Product, RandomWalk, PlaneVector, SyntheticGradients, LengthLaw, TokenBatches,
)  # fmt: skip


def _kind(piece: type[Any]) -> str:
    return next(str(f.default) for f in dataclasses.fields(piece) if f.name == "kind")


#: Kind -> class of every piece, read-only.
KINDS: Mapping[str, type[Any]] = MappingProxyType({_kind(piece): piece for piece in _PIECES})


def to_dict(piece: Any) -> dict[str, Any]:
    """The fields of a piece, nested, with its `kind`; plain numbers, strings, lists and None.

    Raises:
        GACError: `piece` is not one of this library's.

    Examples:
        >>> to_dict(KINDS["constant"](value=2.0))
        {'kind': 'constant', 'value': 2.0}
    """
    if type(piece) not in _PIECES:
        fail(f"{piece!r} is not a piece of this library; pass one of {', '.join(KINDS)}")
    fields = {f.name: _plain(getattr(piece, f.name)) for f in dataclasses.fields(piece) if f.init}
    return {"kind": piece.kind, **fields}


def from_dict(values: Mapping[str, Any]) -> Any:
    """The piece that :func:`to_dict` describes; fields that are left out keep their defaults.

    Raises:
        GACError: No kind, an unknown kind or field, or a value that the piece refuses.

    Examples:
        >>> from_dict({"kind": "student_t", "df": 3.0, "base": {"kind": "isotropic"}}).df
        3.0
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    if kind is None:
        given = ", ".join(fields) or "nothing"
        fail(f"the table has {given} and no kind; add one of {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        fail(f"kind = {kind!r} is unknown; {suggest(str(kind), list(KINDS))}")
    piece = KINDS[kind]
    known = [f.name for f in dataclasses.fields(piece) if f.init]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        fail(f"{kind} has no field {unknown[0]!r}; the fields are {', '.join(known)}")
    for field in dataclasses.fields(piece):
        required = field.default is field.default_factory is dataclasses.MISSING
        if field.init and required and field.name not in fields:
            fail(f"{kind} needs {field.name!r}, which has no default; add it")
    return piece(**{name: _piece(value) for name, value in fields.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_dict(value) if dataclasses.is_dataclass(value) else value


def _piece(value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_dict(value)
    return tuple(_piece(item) for item in value) if isinstance(value, list | tuple) else value
