"""Naming dtypes as frameworks do, and choosing those to check."""

from __future__ import annotations

from collections.abc import Sequence

from gac_ref.conformance.formats import FORMATS, format_named
from gac_ref.conformance.port import Port

__all__ = ["dtype_named", "dtypes_of"]

_ALIASES = {
    **{"float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32"},
    **{"float16": "fp16", "half": "fp16", "bfloat16": "bf16"},
}


def dtype_named(name: str) -> str:
    """The dtype of that name, or of a framework's name for it.

    Examples:
        >>> dtype_named("bfloat16"), dtype_named("fp32")
        ('bf16', 'fp32')
    """
    return format_named(_ALIASES.get(name, name)).name


def dtypes_of(port: Port, wanted: Sequence[str]) -> list[str]:
    """The dtypes to check: those wanted, all that the port claims, or the widest of them.

    Args:
        port: The port.
        wanted: Names of dtypes; "all" for those that the port claims; none for the widest.
    """
    claimed = [name for name in FORMATS if name in port.hello().get("dtypes", ())]
    if "all" in wanted:
        return claimed
    return list(dict.fromkeys(wanted)) or claimed[:1]
