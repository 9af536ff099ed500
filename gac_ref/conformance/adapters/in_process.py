"""A Python object as a port: found by name, and called directly."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Self, cast

from gac_ref.conformance.adapters.failures import AdapterFailure, BadReply, NotFound, PortError
from gac_ref.conformance.adapters.hello import checked_hello
from gac_ref.conformance.adapters.wire import shown
from gac_ref.conformance.port import Port, Skipped, Unsupported

__all__ = ["InProcessPort", "described", "load"]

_CALLS = ("hello", "configure", "reset", "run")
_PASSED = (Unsupported, Skipped, AdapterFailure)


def load(spec: str) -> Port:
    """The port that "package.module:attribute" names: an object, or a class or factory of one.

    Raises:
        NotFound: There is no such module or attribute, or it is not a port.
        PortError: Importing the module, or making the port, raised.

    Examples:
        >>> load("gac_ref.conformance.reference:Reference").hello()["name"]
        'gac_ref reference'
    """
    module_name, separator, attribute = spec.partition(":")
    if not (separator and module_name and attribute) or os.sep in module_name:
        raise NotFound(f"{spec!r} names no port; write package.module:attribute, with dots")
    found: Any = _module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [n for n in dir(found) if n[0] != "_"], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise NotFound(f"{module_name} has no attribute {part!r}{hint}")
        found = getattr(found, part)
    if isinstance(found, type) or (callable(found) and not callable(getattr(found, "run", None))):
        try:
            found = found()
        except _PASSED:
            raise
        except Exception as error:
            raise PortError(f"{spec}() raised {described(error)}") from error
    for call in _CALLS:
        if not callable(getattr(found, call, None)):
            raise NotFound(
                f"{spec} gives a {type(found).__qualname__} without {call}(); a port has "
                f"{', '.join(_CALLS)}"
            )
    return cast(Port, found)


def _module(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # a console script has its own folder there instead
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise NotFound(
                f"there is no module {error.name!r}; run where it can be imported"
            ) from None
        raise PortError(f"importing {name} raised {described(error)}") from error
    except Exception as error:
        raise PortError(f"importing {name} raised {described(error)}") from error


def described(error: BaseException) -> str:
    """An exception as one line: its type, its text, and where it was raised.

    Examples:
        >>> described(KeyError("logprob"))
        "KeyError: 'logprob'"
    """
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last = frames[-1]
        text += f" ({os.path.basename(last.filename)}:{last.lineno} in {last.name})"
    return text


class InProcessPort:
    """A port object whose exceptions are named failures.

    Args:
        port: The object.

    Attributes:
        stray: Always empty: there is no process whose output could be told apart.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._hello: dict[str, Any] | None = None
        self.stray: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def hello(self) -> dict[str, Any]:
        """Who it is and what it claims; asked once."""
        if self._hello is None:
            try:
                said = self._port.hello()
            except _PASSED:
                raise
            except Exception as error:
                raise PortError(f"hello: {described(error)}") from error
            self._hello = checked_hello(said)
        return self._hello

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration, and start a new trajectory."""
        try:
            self._port.configure(config, dtype=dtype, device=device)
        except _PASSED:
            raise
        except Exception as error:
            raise PortError(f"configure: {described(error)}") from error

    def reset(self) -> None:
        """Forget everything but the configuration."""
        try:
            self._port.reset()
        except _PASSED:
            raise
        except Exception as error:
            raise PortError(f"reset: {described(error)}") from error

    def run(self, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The outputs of a stage by name."""
        try:
            reply = self._port.run(stage, inputs)
        except _PASSED:
            raise
        except Exception as error:
            raise PortError(f"run {stage}: {described(error)}") from error
        if not isinstance(reply, Mapping):
            raise BadReply(f"run {stage}: {shown(reply)} is no mapping of outputs by name")
        return reply
