"""A case of the pack: what a port is asked, and what two oracles say it should answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.formats import format_named
from gac_ref.errors import fail

__all__ = ["Case", "CaseKind", "Exchange", "show"]

CaseKind = Literal["stage", "step", "trajectory"]
KINDS: tuple[str, ...] = get_args(CaseKind)


class Exchange(NamedTuple):
    """One call of a port, in one dtype.

    Args:
        inputs: As they are sent: token arrays in the storage of the dtype (``uint16`` bits for
            bf16), other arrays bool, int64 or float64, scalars plain. All arrays are read-only.
        wide: The same with the token arrays widened to float64, exactly.
        expected: The golden outputs by name: float64, bool or int64 arrays, or plain scalars. What
            an output's `rows` leave out of the comparison may hold anything, NaN included.
    """

    inputs: dict[str, Any]
    wide: dict[str, Any]
    expected: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One case: a configuration and the calls made under it.

    Args:
        id: "<stage>/<slug>", stable, never used again.
        kind: "stage" and "step" cases hold independent exchanges; those of a "trajectory" are
            consecutive steps since `reset`.
        stage: The stage that is called; "step" and "trajectory" for these kinds.
        config: The configuration.
        tags: Names to select by, sorted: "near_kink", "section-5", "user-report", "shards", ...
        comment: What the case is there to catch.
        dtypes: The dtypes that it exists in.
        sha256: Of its content, wherever it is stored.
        load: Gives the exchanges of a dtype; called once a dtype.

    Examples:
        >>> from gac_ref.conformance.pack import load_pack
        >>> case = load_pack().case("clip/both-bounds")
        >>> case.exchanges("fp64")[0].expected
        {'mu': 0.85, 'mu_clipped': True}
    """

    id: str
    kind: CaseKind
    stage: str
    config: GACConfig
    tags: tuple[str, ...]
    comment: str
    dtypes: tuple[str, ...]
    sha256: str
    load: Callable[[str], tuple[Exchange, ...]] = field(repr=False)
    _cache: dict[str, tuple[Exchange, ...]] = field(default_factory=dict, init=False, repr=False)

    def exchanges(self, dtype: str) -> tuple[Exchange, ...]:
        """The calls in one dtype, with their golden answers.

        Raises:
            GACError: The case does not exist in that dtype.
        """
        format_named(dtype)
        if dtype not in self.dtypes:
            fail(f"case {self.id} has no dtype {dtype!r}; it has {', '.join(self.dtypes)}")
        if dtype not in self._cache:
            self._cache[dtype] = self.load(dtype)
        return self._cache[dtype]


def show(case: Case, dtype: str | None = None) -> str:
    """A case in readable form: what it is for, its configuration and its exchanges.

    Args:
        case: The case.
        dtype: Whose values to print; by default the first that the case has.

    Examples:
        >>> from gac_ref.conformance.pack import load_pack
        >>> print(show(load_pack().case("clip/both-bounds")).splitlines()[0])
        clip/both-bounds  [stage]
    """
    dtype = case.dtypes[0] if dtype is None else dtype
    default = GACConfig().to_dict()
    changed = [f"{k}={v}" for k, v in case.config.to_dict().items() if v != default[k]]
    exchanges = case.exchanges(dtype)
    lines = [
        f"{case.id}  [{case.kind}]",
        case.comment,
        f"stage    {case.stage}",
        f"tags     {', '.join(case.tags) or 'none'}",
        f"dtypes   {', '.join(case.dtypes)} (shown: {dtype})",
        f"config   documented{''.join(f', {item}' for item in changed)}",
        f"sha256   {case.sha256}",
    ]
    for number, exchange in enumerate(exchanges, start=1):
        lines.append(f"exchange {number} of {len(exchanges)}")
        for title, values in (("in ", exchange.wide), ("out", exchange.expected)):
            lines += [f"  {title}  {name} = {_readable(value)}" for name, value in values.items()]
    return "\n".join(lines)


SHOWN = 24
"""Elements of an array that are printed at its beginning and its end."""


def _readable(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    flat: Sequence[Any] = value.ravel().tolist()
    texts = [_short(x) for x in flat[:SHOWN]]
    if len(flat) > 2 * SHOWN:
        texts.append("...")
    texts += [_short(x) for x in flat[max(SHOWN, len(flat) - SHOWN) :]]
    return f"{value.dtype.name}{list(value.shape)} [{' '.join(texts)}]"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
