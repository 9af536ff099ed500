"""A Python object behind the JSON-lines protocol, in a process of its own.

Run as ``python -m gac_ref.conformance.adapters.python_host package.module:attribute``.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from gac_ref.conformance.adapters.failures import AdapterFailure, BadReply
from gac_ref.conformance.adapters.in_process import described, load
from gac_ref.conformance.adapters.wire import decode_values, encode_values, parse
from gac_ref.conformance.port import Port, Skipped, Unsupported

__all__ = ["main", "serve"]

_KEPT_STRAY = 400
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class _Stray(io.TextIOBase):
    """What the port prints: sent on to stderr, and kept for the next reply to mention."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def write(self, text: str) -> int:
        if len(self.text) < _KEPT_STRAY:
            self.text += text
        sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def fileno(self) -> int:
        return 1

    def writable(self) -> bool:
        return True

    def take(self) -> str:
        """What was printed since the last time."""
        text, self.text = self.text, ""
        return text[:_KEPT_STRAY].strip()


def _protected_streams() -> tuple[BinaryIO, BinaryIO, _Stray]:
    """The protocol's two streams, moved to where neither a print nor an input() finds them."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what C code prints, and what child processes do
    stray = _Stray()
    sys.stdout = stray
    return requests, replies, stray


def serve(make: Callable[[], Port], *, stacks: bool = True) -> int:
    """Answer requests until "stop" or the end of the input; the port is made at hello.

    Args:
        make: Gives the port.
        stacks: On a fatal signal, write the Python stack to stderr.
    """
    requests, replies, stray = _protected_streams()
    if stacks:
        faulthandler.enable()
    port: Port | None = None
    for line in requests:
        request = parse(line)
        call = request.get("call")
        reply: dict[str, Any]
        try:
            if port is None:
                port = make()
            reply = {"ok": _answer(port, str(call), request)}
        except Unsupported as reason:
            reply = {"unsupported": str(reason)}
        except Skipped as reason:
            reply = {"skipped": str(reason)}
        except AdapterFailure as failure:
            reply = {"failure": {"kind": type(failure).__name__, "message": str(failure)}}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": described(error)}
        if stray.text:
            reply["stray"] = stray.take()
        replies.write((_encode({"id": request.get("id"), **reply}) + "\n").encode("ascii"))
        replies.flush()
        if call == "stop":
            break
    return 0


def _answer(port: Port, call: str, request: Mapping[str, Any]) -> Any:
    if call == "run":
        stage = request["stage"]
        outputs = port.run(stage, decode_values(request["inputs"]))
        if not isinstance(outputs, Mapping):
            raise BadReply(f"a {type(outputs).__qualname__} is no mapping of outputs by name")
        return encode_values(outputs)
    if call == "hello":
        return _json_safe(port.hello())
    if call == "configure":
        port.configure(request["config"], dtype=request["dtype"], device=request["device"])
    elif call == "reset":
        port.reset()
    return {}


def _json_safe(hello: Any) -> Any:
    """`hello` as JSON values; tuples become lists, and what is none of JSON's is refused."""
    try:
        return json.loads(_encode(dict(hello) if isinstance(hello, Mapping) else hello))
    except (TypeError, ValueError) as error:
        raise BadReply(f"hello holds what JSON cannot: {error}") from None


def main(arguments: list[str]) -> int:
    """Serve the port that the one argument names."""
    (spec,) = arguments
    return serve(lambda: load(spec))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
