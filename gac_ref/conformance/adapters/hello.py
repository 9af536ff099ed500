"""What a port says about itself, checked before anything relies on it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from gac_ref.conformance.adapters.failures import BadReply
from gac_ref.conformance.adapters.wire import shown
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.port import PROTOCOL
from gac_ref.conformance.stages import STAGES

__all__ = ["checked_hello"]


def checked_hello(hello: Any) -> dict[str, Any]:
    """`hello` as a dictionary, with "devices" filled in.

    Raises:
        BadReply: A field is missing, unknown to the suite, or of the wrong kind.

    Examples:
        >>> checked_hello({"protocol": 1, "name": "p", "version": "1", "stages": ["clip"],
        ...                "dtypes": ["fp32"]})["devices"]
        ['cpu']
    """
    if not isinstance(hello, Mapping):
        raise BadReply(
            f"hello is {shown(hello)}; reply an object with protocol, name, version, ..."
        )
    if hello.get("protocol") != PROTOCOL or isinstance(hello.get("protocol"), bool):
        raise BadReply(
            f"hello: protocol is {shown(hello.get('protocol'))}; this suite speaks {PROTOCOL}"
        )
    for field in ("name", "version"):
        if not isinstance(hello.get(field), str) or not hello[field]:
            raise BadReply(f"hello: {field} is {shown(hello.get(field))}; reply a text")
    checked = dict(hello)
    checked["stages"] = _names(hello, "stages", STAGES)
    checked["dtypes"] = _names(hello, "dtypes", FORMATS)
    checked["devices"] = _names({"devices": ["cpu"], **hello}, "devices", None)
    if not isinstance(hello.get("ranks", False), bool):
        raise BadReply(f"hello: ranks is {shown(hello['ranks'])}; reply true or false")
    if hello.get("arrays", "base64") not in ("base64", "lists"):
        raise BadReply(f'hello: arrays is {shown(hello["arrays"])}; reply "base64" or "lists"')
    return checked


def _names(hello: Mapping[str, Any], field: str, known: Mapping[str, Any] | None) -> list[str]:
    names = hello.get(field)
    listed = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if not listed or not names or not all(isinstance(name, str) for name in names):
        raise BadReply(f"hello: {field} is {shown(names)}; reply a list of names, at least one")
    for name in names:
        if known is not None and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadReply(f"hello: {field} holds {name!r}, not one of {', '.join(known)}{hint}")
    return list(names)
