"""Build the CUDA port: for devices by nvcc, or its very source for the CPU by g++.

    python -m gac_ref.ports.cuda.build --host [--sanitize] [--out FOLDER]
    python -m gac_ref.ports.cuda.build --device [--out FOLDER]

Every build turns warnings into errors. The library holds both C ABIs: that of ``gac_cuda.h``, for
programs and torch, and that of the conformance suite.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gac_ref.conformance.adapters.templates import header_folder
from gac_ref.errors import GACError, fail

__all__ = ["ARCHITECTURES", "KINDS", "SOURCES", "build", "command", "sanitizer_environment"]

SOURCES = ("gac_cuda.cu", "port.cpp")
"""What is compiled; the rest is included."""

ARCHITECTURES = ("80", "90")
"""Compute capabilities of the device build, without their point."""

KINDS = {
    "host": "libgac_cuda_host.so",
    "sanitized": "libgac_cuda_sanitized.so",
    "device": "libgac_cuda.so",
}
"""The builds and their files."""

_STRICT = ("-Wall", "-Wextra", "-Werror")
# The wide reads look at the caller's memory as packs of elements; _FORTIFY_SOURCE takes the jumps
# between the emulated threads for errors.
_HOST = ("-O1", "-g", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-ffp-contract=off")
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_SECONDS = 600.0


def command(kind: str, target: Path, sources: Path | None = None) -> list[str]:
    """The compiler's command line.

    Args:
        kind: One of :data:`KINDS`.
        target: The library to write.
        sources: The folder of the sources; None for the package's own.

    Examples:
        >>> command("host", Path("port.so"))[:3]
        ['g++', '-x', 'c++']
        >>> "-Werror" in command("device", Path("port.so"))
        True
    """
    if kind not in KINDS:
        fail(f"kind = {kind!r} is unknown; pass one of {', '.join(KINDS)}")
    folder = Path(__file__).parent if sources is None else sources
    files = [str(folder / name) for name in SOURCES]
    shared = ["-shared", "-std=c++20", "-I", header_folder(), "-o", str(target)]
    if kind == "device":
        code = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
        strict = ["-Werror", "all-warnings", f"-Xcompiler=-fPIC,{','.join(_STRICT)}"]
        return ["nvcc", "-O3", *code, *strict, *shared, *files]
    extra = _SANITIZE if kind == "sanitized" else ()
    return ["g++", "-x", "c++", "-fPIC", *_STRICT, *_HOST, *extra, *shared, *files]


def build(kind: str, out: Path, sources: Path | None = None) -> Path:
    """Build one library.

    Args:
        kind: One of :data:`KINDS`.
        out: The folder to write to; made where it is missing.
        sources: The folder of the sources; None for the package's own.

    Returns:
        The library.

    Raises:
        GACError: There is no compiler, or it refuses; with its first lines.
    """
    target = out / KINDS[kind] if kind in KINDS else out
    line = command(kind, target, sources)
    if shutil.which(line[0]) is None:
        fail(f"there is no {line[0]} on the PATH; install it to build the {kind} library")
    out.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(line, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        said = " | ".join((done.stderr or done.stdout).strip().splitlines()[:3])
        fail(f"{line[0]} refused the {kind} library: {said}")
    return target


def sanitizer_environment() -> dict[str, str]:
    """What a process needs in its environment to load the sanitized library.

    The sanitizer's runtime has to come first; an interpreter is not free of leaks.
    """
    asked = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    return {"LD_PRELOAD": asked.stdout.strip(), "ASAN_OPTIONS": options}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the path of each library on a line."""
    parser = argparse.ArgumentParser(prog="python -m gac_ref.ports.cuda.build", description=__doc__)
    parser.add_argument("--host", action="store_true", help="for the CPU, by g++")
    parser.add_argument("--device", action="store_true", help="for sm_80 and sm_90, by nvcc")
    parser.add_argument("--sanitize", action="store_true", help="the host build, sanitized")
    parser.add_argument("--out", type=Path, default=Path("out") / "cuda", help="folder")
    chosen = parser.parse_args(arguments)
    kinds = ["device"] if chosen.device else []
    if chosen.host or chosen.sanitize or not kinds:
        kinds.insert(0, "sanitized" if chosen.sanitize else "host")
    try:
        for kind in kinds:
            print(os.fspath(build(kind, chosen.out)))
    except GACError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
