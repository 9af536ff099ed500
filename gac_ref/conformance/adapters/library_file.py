"""What a file says that it is, before it is loaded: the loader's own words name no architecture."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from gac_ref.conformance.adapters.failures import NotFound, WrongArchitecture

__all__ = ["Machine", "check_library_file", "machine_of"]

_ELF = b"\x7fELF"
_HEADER = 20  # up to and with e_machine
_PROGRAM, _SHARED = 2, 3  # e_type
_MACHINES = {
    3: "x86",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC 64",
    22: "IBM Z",
    40: "ARM",
    62: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}
_OTHERS = {
    b"\xcf\xfa\xed\xfe": "a Mach-O file (macOS)",
    b"\xce\xfa\xed\xfe": "a Mach-O file (macOS)",
    b"\xca\xfe\xba\xbe": "a universal Mach-O file (macOS)",
    b"MZ": "a Windows file",
    b"!<arch>": "a static archive; link it with -shared",
    b"#!": "a script; to run it as a program write stdio: COMMAND",
}


class Machine(NamedTuple):
    """What an ELF file is made for.

    Args:
        name: The architecture, such as "x86-64".
        bits: 32 or 64.
        big_endian: Its byte order.
        shared: Whether it can be loaded: a shared library, or a position-independent program.

    Examples:
        >>> str(Machine("AArch64", 64, False, True))
        '64-bit AArch64'
    """

    name: str
    bits: int
    big_endian: bool
    shared: bool

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.name}{', big-endian' if self.big_endian else ''}"


def machine_of(path: str) -> Machine | None:
    """What the ELF header of a file says; None where it has none.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER)
    if len(head) < _HEADER or head[:4] != _ELF:
        return None
    big = head[5] == 2
    order = "big" if big else "little"
    number = int.from_bytes(head[18:20], order)  # type: ignore[arg-type]
    name = _MACHINES.get(number, f"architecture {number}")
    shared = int.from_bytes(head[16:18], order) == _SHARED  # type: ignore[arg-type]
    return Machine(name, 64 if head[4] == 2 else 32, big, shared)


def check_library_file(path: str) -> None:
    """Refuse what the loader could not load, in words that say why.

    Raises:
        NotFound: There is no such file, or it cannot be read.
        WrongArchitecture: It is no shared library, or one for another machine.
    """
    try:
        ours = machine_of(sys.executable)
        machine = machine_of(path)
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise NotFound(f"cannot read the library {path}: {error.strerror}") from None
    if ours is None:
        return  # not a system of ELF files: its loader decides
    if machine is None:
        kind = next((text for magic, text in _OTHERS.items() if start.startswith(magic)), None)
        found = kind or f"no shared library: it begins with {start!r}"
        raise WrongArchitecture(f"{path} is {found}; this Python is {ours} and loads ELF files")
    if machine[:3] != ours[:3]:
        raise WrongArchitecture(
            f"{path} is made for {machine}, and this Python is {ours}; build it for {ours.name}, "
            f"or run the suite on a {machine.name} machine"
        )
    if not machine.shared:
        raise WrongArchitecture(
            f"{os.path.basename(path)} is no shared library (a program or an object file); link it "
            "with -shared, or run a program with stdio: COMMAND"
        )
