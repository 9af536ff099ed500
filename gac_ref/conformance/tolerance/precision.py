"""In what arithmetic a port says that it computes: all that a tolerance depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gac_ref.conformance.formats import FORMATS, format_named
from gac_ref.errors import fail

__all__ = ["ACCUMULATIONS", "Precision"]

ACCUMULATIONS = ("sequential", "tree")
"""How long a chain of additions is: n for n terms, or about log2 n."""


class Precision(NamedTuple):
    """The formats that a port computes in.

    Args:
        tokens: Format of the token-level work: coefficients, sequence sums, losses, advantages.
        scalars: Format of the controller's scalar stages, from the statistics EMA to mu.
        accumulation: "sequential" or "tree". A port that adds blocks one after another is
            sequential.

    Examples:
        >>> Precision("fp32", "fp64").accumulation
        'sequential'
    """

    tokens: str
    scalars: str
    accumulation: str = "sequential"

    @classmethod
    def declared(cls, hello: Mapping[str, Any], dtype: str) -> Precision:
        """What a port's `hello` says for one dtype of the inputs.

        Without a word it is fp64 for fp64 and fp32 for the narrower dtypes, as trainers compute.

        Raises:
            GACError: An unknown format or accumulation, or a declaration of another form.

        Examples:
            >>> Precision.declared({"accumulation": "tree"}, "bf16")
            Precision(tokens='fp32', scalars='fp32', accumulation='tree')
            >>> hello = {"precision": {"bf16": {"scalars": "fp64"}}}
            >>> Precision.declared(hello, "bf16").scalars
            'fp64'
        """
        default = "fp64" if format_named(dtype).name == "fp64" else "fp32"
        table = hello.get("precision", {})
        if not isinstance(table, Mapping):
            fail(f"hello: precision = {table!r} is not an object; map a dtype to its formats")
        entry = table.get(dtype, {})
        if not isinstance(entry, Mapping) or not set(entry) <= {"tokens", "scalars"}:
            fail(
                f"hello: precision[{dtype!r}] = {entry!r} is not of the form "
                '{"tokens": FORMAT, "scalars": FORMAT}'
            )
        formats = {name: entry.get(name, default) for name in ("tokens", "scalars")}
        for name, value in formats.items():
            if not isinstance(value, str) or value not in FORMATS:
                fail(
                    f"hello: precision[{dtype!r}][{name!r}] = {value!r} is unknown; "
                    f"pass one of {', '.join(FORMATS)}"
                )
        accumulation = hello.get("accumulation", "sequential")
        if accumulation not in ACCUMULATIONS:
            fail(
                f"hello: accumulation = {accumulation!r} is unknown; "
                f"pass one of {', '.join(ACCUMULATIONS)}"
            )
        return cls(formats["tokens"], formats["scalars"], str(accumulation))
