"""A port in C behind the ABI: right answers, and faults that memory would otherwise hide."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from gac_ref import GACConfig
from gac_ref.conformance.adapters import (
    AbiMismatch,
    AdapterFailure,
    BadReply,
    Crashed,
    NotFound,
    TimedOut,
    WrongArchitecture,
    decoded,
    open_port,
)
from gac_ref.conformance.adapters.library_file import check_library_file
from gac_ref.conformance.adapters.templates import header_folder, template
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.port import Unsupported
from gac_ref.conformance.reference import Reference

HEADER = Path(header_folder()) / "gac_port.h"
SOURCE = Path(__file__).parent / "_ports" / "example.c"
TIMEOUT = 1.0  # seconds: the port answers in microseconds
ULPS = 4 * 2.0**-53  # a formula of a few operations, and the libm of C for exp and cos
UNIT = {"c_s": 1.0, "c_r": 1.0}
"""The size of a standardised coefficient: a difference of numbers of order one, which may cancel.
A rounding of exp is relative to them, and another processor rounds another way."""
RIGHT = {"mu_capped": 0.95}

Build = Callable[..., str]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("libraries")

    def compiled(*flags: str, source: Path = SOURCE, compiler: str = "cc") -> str:
        if shutil.which(compiler) is None:
            pytest.skip(f"there is no {compiler}")
        library = folder / f"{compiler}-{source.name}{''.join(flags)}.so".replace("/", "_")
        if not library.exists():
            strict = ["-Wall", "-Wextra", "-Werror"]
            shared = ["-shared", "-fPIC", "-I", str(HEADER.parent), "-o", str(library)]
            subprocess.run(
                [compiler, *strict, *shared, *flags, str(source), "-lm"], check=True, timeout=60
            )
        return str(library)

    return compiled


def test_the_c_example_agrees_with_the_reference_in_every_dtype(build: Build) -> None:
    direct, pack, asked = Reference(), load_pack(), set()
    with open_port(build()) as port:
        for dtype in ("fp64", "fp32", "fp16", "bf16"):
            for stage in port.hello()["stages"]:
                for case in pack.select(dtype=dtype, stages=[stage])[:4]:
                    for which in (port, direct):
                        which.configure(case.config.to_dict(), dtype=dtype, device="cpu")
                    for exchange in case.exchanges(dtype):
                        asked.add((dtype, stage))
                        mine, its = (
                            decoded(stage, which.run(stage, exchange.inputs), exchange.inputs)
                            for which in (direct, port)
                        )
                        assert mine.keys() == its.keys()
                        for name, value in mine.items():
                            with np.errstate(invalid="ignore"):
                                size = np.maximum(np.abs(value), UNIT.get(name, 0.0))
                                near = np.abs(its[name] * 1.0 - value) <= ULPS * size
                            same = (its[name] == value) | (np.isnan(value) & np.isnan(its[name]))
                            assert np.all(near | same), (case.id, dtype, name)
        assert len(asked) == 4 * len(port.hello()["stages"])


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("OVERRUN", BadReply, "run clip: the port wrote outside of output 'mu'"),
        ("UNDERRUN", BadReply, "run clip: the port wrote outside of output 'mu'"),
        ("UNWRITTEN", BadReply, "mu is marked as written, but entry 0 of its 1 was not"),
        ("UNMARKED", BadReply, "mu was filled, but its `written` is not set"),
        ("BAD_FLAG", BadReply, "mu_clipped holds a byte that is neither 0 nor 1"),
        ("SPOIL", BadReply, "the port wrote to its input 'mu_capped'"),
        ("STATUS", BadReply, "gac_port_run returned 42; return 0, 1, 2 or 3"),
        ("SEGFAULT", Crashed, "died of SIGSEGV where the reply to run clip was due"),
        ("ABORT", Crashed, "died of SIGABRT .*its stderr ends: assertion failed: mu is finite"),
        ("HANG", TimedOut, "no reply to run clip within 1 s; it hangs"),
    ],
)
def test_a_fault_in_c_is_named_and_the_other_stages_are_still_answered(
    fault: str, kind: type[AdapterFailure], said: str, build: Build
) -> None:
    with open_port(build(f"-DBREAK={fault}"), timeout=TIMEOUT) as port:
        port.configure(GACConfig(mu_change_cap=0.02).to_dict(), dtype="fp64", device="cpu")
        with pytest.raises(kind, match=said):
            port.run("clip", RIGHT)
        inputs = {"mu_candidate": 0.9, "previous_mu": 0.5}
        assert port.run("change_cap", inputs) == {"mu_capped": 0.52, "change_capped": True}


def test_what_c_prints_never_reaches_the_protocol(build: Build) -> None:
    with open_port(build("-DBREAK=NOISE")) as port:
        port.configure(GACConfig().to_dict(), dtype="fp64", device="cpu")
        assert port.run("clip", RIGHT) == {"mu": 0.9, "mu_clipped": True}


def test_a_refusal_in_c_keeps_its_words(build: Build) -> None:
    with open_port(build()) as port:
        with pytest.raises(Unsupported, match="only the CPU"):
            port.configure(GACConfig().to_dict(), dtype="fp64", device="cuda")
        with pytest.raises(Unsupported, match="not a scalar stage"):
            port.run("proxies", {"tokens": np.array([3]), "is_expert": np.array([True])})


def test_a_library_of_another_abi_or_without_the_symbols_is_named(
    build: Build, tmp_path: Path
) -> None:
    with open_port(build("-DVERSION=2")) as port, pytest.raises(AbiMismatch, match="has ABI 2"):
        port.hello()
    with open_port(build("-DBREAK=BAD_HELLO")) as port, pytest.raises(BadReply, match="not JSON"):
        port.hello()
    empty = tmp_path / "empty.c"
    empty.write_text("int gac_port_abi(void) { return 1; }\n")
    with (
        open_port(build(source=empty)) as port,
        pytest.raises(NotFound, match="does not export gac_port_hello, gac_port_configure"),
    ):
        port.hello()
    mangled = tmp_path / "mangled.cpp"
    mangled.write_text("int gac_port_abi() { return 1; }\n")
    with (
        open_port(build(source=mangled, compiler="g++")) as port,
        pytest.raises(NotFound, match='declare them extern "C"'),
    ):
        port.hello()
    undefined = tmp_path / "undefined.c"
    undefined.write_text("extern int elsewhere;\nint *gac_port_abi(void) { return &elsewhere; }\n")
    with (
        open_port(build(source=undefined)) as port,
        pytest.raises(NotFound, match=r"cannot load .*elsewhere"),
    ):
        port.hello()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({18: 183}, "made for 64-bit AArch64, and this Python is 64-bit"),
        ({4: 1, 18: 40}, "made for 32-bit ARM"),
        ({5: 2, 18: 0, 19: 22}, "made for 64-bit IBM Z, big-endian"),
        ({16: 1}, "is no shared library"),
        ({0: 0}, "no shared library: it begins with"),
    ],
)
def test_a_library_for_another_machine_is_refused_before_it_is_loaded(
    change: dict[int, int], said: str, build: Build, tmp_path: Path
) -> None:
    header = bytearray(Path(build()).read_bytes())
    if change.get(5) == 2:
        header[16:18] = header[17], header[16]
    for at, value in change.items():
        header[at] = value
    other = tmp_path / "other.so"
    other.write_bytes(header)
    with pytest.raises(WrongArchitecture, match=said):
        open_port(str(other))
    check_library_file(build())


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\xcf\xfa\xed\xfe", "a Mach-O file"),
        (b"MZ\x90\0", "a Windows file"),
        (b"!<arch>\n", "a static archive; link it with -shared"),
        (b"#!/bin/sh\n", "a script; to run it as a program write stdio: COMMAND"),
        (b"", "begins with b''"),
    ],
)
def test_another_kind_of_file_is_called_by_its_name(
    start: bytes, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "port.so"
    file.write_bytes(start)
    with pytest.raises(WrongArchitecture, match=said):
        open_port(str(file))


def test_the_header_has_the_fields_and_choices_of_the_configuration() -> None:
    text = HEADER.read_text()
    body = re.search(r"typedef struct gac_config \{(.*?)\}", text, re.S)
    assert body is not None
    declared = re.findall(r"(double|int32_t) (\w+);", body[1])
    fields = dataclasses.fields(GACConfig)
    kinds: dict[Any, str] = {float: "double"}
    assert declared == [(kinds.get(field.type, "int32_t"), field.name) for field in fields]
    for field in fields:
        for place, choice in enumerate(get_args(field.type)):
            assert f"GAC_{field.name}_{choice}".upper() + f" = {place}" in text


@pytest.mark.parametrize(("compiler", "flags"), [("cc", ["-std=c99"]), ("g++", ["-x", "c++"])])
def test_the_template_compiles_as_c_and_as_cpp_and_answers(
    compiler: str, flags: list[str], build: Build, tmp_path: Path
) -> None:
    source = tmp_path / "port.c"
    source.write_text(template("c"))
    with open_port(build(*flags, source=source, compiler=compiler)) as port:
        port.configure(GACConfig().to_dict(), dtype="fp32", device="cpu")
        assert port.run("clip", RIGHT) == {"mu": 0.9, "mu_clipped": True}
        with pytest.raises(Unsupported, match="no such dtype"):
            port.configure(GACConfig().to_dict(), dtype="bf16", device="cpu")
