"""Reaching a port: a Python object, a shared library behind a C ABI, or any program over stdio.

Each is opened by :func:`open_port` from a text, and answers the same four calls. A port runs in a
process of its own, so that its crash, hang or stray output is a named failure of one case.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from gac_ref.conformance.adapters.failures import (
    AbiMismatch,
    AdapterFailure,
    BadReply,
    Crashed,
    NotFound,
    PortError,
    TimedOut,
    WrongArchitecture,
)
from gac_ref.conformance.adapters.in_process import InProcessPort, load
from gac_ref.conformance.adapters.process import START_TIMEOUT, ProcessPort
from gac_ref.conformance.adapters.replies import decoded
from gac_ref.conformance.adapters.smoke import smoke
from gac_ref.conformance.adapters.templates import template
from gac_ref.conformance.port import Port

__all__ = [
    "AbiMismatch",
    "AdapterFailure",
    "BadReply",
    "Crashed",
    "InProcessPort",
    "NotFound",
    "PortError",
    "ProcessPort",
    "Spec",
    "TimedOut",
    "WrongArchitecture",
    "command_of",
    "decoded",
    "open_port",
    "smoke",
    "template",
]

Spec: TypeAlias = "str | Sequence[str] | Port"

_HOSTS = "gac_ref.conformance.adapters"
_STDIO = "stdio:"
_LIBRARIES = (".so", ".dylib", ".dll")


def open_port(
    spec: Spec,
    *,
    timeout: float = 10.0,
    start_timeout: float = START_TIMEOUT,
    in_process: bool = False,
    environment: Mapping[str, str] | None = None,
) -> ProcessPort | InProcessPort:
    """The port that `spec` names, as a context manager that ends it.

    Args:
        spec: "package.module:attribute", an object, class or factory in Python; a path to a
            shared library with the functions of ``gac_port.h``; "stdio: COMMAND ARGUMENTS" or a
            list of them, a program that speaks JSON lines; or a port object, called directly.
        timeout: Seconds for one call.
        start_timeout: Seconds for hello and the first configure, which may import a framework.
        in_process: Call a Python port directly: faster, but a crash or hang in it is ours.
        environment: Variables added to our environment for the process.

    Raises:
        AdapterFailure: There is nothing by that name, or it cannot be loaded here. A port in a
            process is started at its first call, and that call raises.

    Examples:
        >>> with open_port("gac_ref.conformance.reference:Reference", in_process=True) as port:
        ...     port.hello()["name"]
        'gac_ref reference'
    """
    if not isinstance(spec, str | Sequence):
        return InProcessPort(spec)
    if in_process:
        if not isinstance(spec, str) or spec.startswith(_STDIO) or _is_library(spec):
            raise NotFound(f"{spec!r} is not a Python port, so it cannot run in this process")
        return InProcessPort(load(spec))
    return ProcessPort(
        command_of(spec),
        environment={**_environment(), **(environment or {})},
        timeout=timeout,
        start_timeout=start_timeout,
    )


def command_of(spec: str | Sequence[str]) -> list[str]:
    """The command that starts the port's process.

    Examples:
        >>> command_of("stdio: ./port --device 'cpu 0'")
        ['./port', '--device', 'cpu 0']
    """
    if not isinstance(spec, str):
        command = list(spec)
    elif spec.startswith(_STDIO):
        try:
            command = shlex.split(spec[len(_STDIO) :])
        except ValueError as error:
            raise NotFound(f"{spec!r} does not split into words: {error}") from None
    elif _is_library(spec):
        from gac_ref.conformance.adapters.library_file import check_library_file

        check_library_file(spec)
        command = [sys.executable, "-m", f"{_HOSTS}.c_host", os.path.abspath(spec)]
    elif ":" in spec:
        command = [sys.executable, "-m", f"{_HOSTS}.python_host", spec]
    else:
        raise NotFound(
            f"{spec!r} names no port; write package.module:attribute, a path to a shared library, "
            "or stdio: COMMAND"
        )
    if not command or not command[0]:
        raise NotFound(f"{spec!r} has no command; write stdio: COMMAND ARGUMENTS")
    return command


def _is_library(spec: str) -> bool:
    name = os.path.basename(spec)
    return name.endswith(_LIBRARIES) or ".so." in name or (os.sep in spec and os.path.isfile(spec))


def _environment() -> dict[str, str]:
    """Ours, and the folders that this process imports from, as a child of its own would not."""
    paths = sysconfig.get_paths()
    own = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    added = [path or os.getcwd() for path in sys.path if path not in own]
    kept = [path for path in added if os.path.isdir(path) and "lib-dynload" not in path]
    unique = dict.fromkeys(os.path.abspath(path) for path in kept if os.pathsep not in path)
    environment = dict(os.environ)
    with contextlib.suppress(KeyError):
        del environment["PYTHONSTARTUP"]
    if unique:
        environment["PYTHONPATH"] = os.pathsep.join(unique)
    return environment
