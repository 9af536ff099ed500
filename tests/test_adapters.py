"""Ports in processes of their own: every way in which one can fail is a failure by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _ports import faults_named
from _processes import running, wait_until

from gac_ref import GACConfig
from gac_ref.conformance.adapters import (
    AdapterFailure,
    BadReply,
    Crashed,
    NotFound,
    PortError,
    ProcessPort,
    TimedOut,
    WrongArchitecture,
    decoded,
    open_port,
)
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.port import Skipped, Unsupported
from gac_ref.conformance.reference import Reference
from gac_ref.conformance.stages import STAGES

PORTS = Path(__file__).parent / "_ports"
REFERENCE = "gac_ref.conformance.reference:Reference"
TIMEOUT = 1.0  # seconds: a hundred times what the ports here need for a call
CONFIG = GACConfig(mu_max=0.7).to_dict()
WRONG, RIGHT = {"mu_capped": 0.25}, {"mu_capped": 0.95}


def program(fault: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(PORTS / "faults.py"), fault]


@contextmanager
def faulty(fault: str, **options: Any) -> Iterator[ProcessPort]:
    with ProcessPort(program(fault), timeout=TIMEOUT, **options) as port:
        port.configure(CONFIG, dtype="fp64", device="cpu")
        yield port


@pytest.mark.parametrize("in_process", [True, False])
def test_a_python_port_gives_the_same_answers_by_either_path(in_process: bool) -> None:
    direct, pack = Reference(), load_pack()
    with open_port(REFERENCE, in_process=in_process) as port:
        assert port.hello() == direct.hello()
        for stage in STAGES:
            for case in pack.select(dtype="bf16", stages=[stage])[:2]:
                for which in (port, direct):
                    which.configure(case.config.to_dict(), dtype="bf16", device="cpu")
                for exchange in case.exchanges("bf16"):
                    answers = [
                        decoded(stage, which.run(stage, exchange.inputs), exchange.inputs)
                        for which in (port, direct)
                    ]
                    assert answers[0].keys() == answers[1].keys()
                    for name, value in answers[0].items():
                        assert value.tobytes() == answers[1][name].tobytes(), (case.id, name)


@pytest.mark.parametrize("fault", faults_named())
def test_a_garbled_reply_is_a_bad_reply_and_the_next_call_works(fault: str) -> None:
    with faulty(fault) as port:
        with pytest.raises(BadReply, match="clip"):
            port.run("clip", WRONG)
        # 0.7 and not 0.9: a port that was started again has the same configuration.
        assert port.run("clip", RIGHT) == {"mu": 0.7, "mu_clipped": True}


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("exit", Crashed, r"exit code 3 .*; its stderr ends: first line \| no memory left"),
        ("exit without a newline", Crashed, "exit code 0 .*without a newline"),
        ("signal", Crashed, "died of SIGSEGV where the reply to run clip was due"),
        ("a closed output", Crashed, "closed its standard output"),
        ("hang", TimedOut, "no reply to run clip within 1 s; it hangs"),
        ("grandchild", TimedOut, "it hangs"),
        ("hang after half a line", TimedOut, "without a newline: end each reply with one"),
        ("no flush", TimedOut, "its standard output is buffered, flush it"),
        ("an endless line", BadReply, "longer than 1000000 bytes; it starts 'xxx"),
    ],
)
def test_a_port_that_ends_or_hangs_is_named_and_started_again(
    fault: str, kind: type[AdapterFailure], said: str
) -> None:
    with faulty(fault, limit=1_000_000) as port:
        with pytest.raises(kind, match=said):
            port.run("clip", WRONG)
        assert port.run("clip", RIGHT) == {"mu": 0.7, "mu_clipped": True}
        assert port.starts == 2


def test_a_crash_tells_its_signal_or_exit_code() -> None:
    with faulty("signal") as port, pytest.raises(Crashed) as by_signal:
        port.run("clip", WRONG)
    assert (by_signal.value.signal, by_signal.value.exit_code) == ("SIGSEGV", None)
    with faulty("exit") as port, pytest.raises(Crashed) as by_exit:
        port.run("clip", WRONG)
    assert (by_exit.value.signal, by_exit.value.exit_code) == (None, 3)
    assert by_exit.value.stderr == ("first line", "no memory left")


def test_a_port_that_fills_its_stderr_is_not_blocked() -> None:
    with faulty("much on stderr") as port:
        assert port.run("clip", WRONG)["mu"] == 0.25
        assert port.starts == 1


def test_a_port_that_never_starts_is_given_up() -> None:
    with ProcessPort(program("a start that fails"), timeout=TIMEOUT) as port:
        for _ in range(5):
            with pytest.raises(Crashed, match=r"exit code 1 .*no device"):
                port.hello()
        assert port.starts == 3


@pytest.mark.parametrize("killed_by", ["close", "time-out"])
def test_nothing_that_a_port_started_outlives_it(killed_by: str) -> None:
    with faulty("grandchild") as port:
        with pytest.raises(TimedOut) as failure:
            port.run("clip", WRONG)
        pids = [int(word) for word in failure.value.stderr[0].split()[1:]]
        assert len(pids) == 2
        if killed_by == "close":
            port.close()
        wait_until(lambda: not any(map(running, pids)), "the port and its child to end")


def test_ports_end_with_a_host_that_is_killed() -> None:
    script = f"""
import os, sys, threading
from gac_ref.conformance.adapters import ProcessPort
port = ProcessPort({program("grandchild")!r}, timeout=60)
port.configure({CONFIG!r}, dtype="fp64", device="cpu")
threading.Thread(target=port.run, args=("clip", {WRONG!r}), daemon=True).start()
while not (port._child and port._child.stderr):
    pass
print(port._child.stderr[0], flush=True)
os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, "PYTHONPATH": str(PORTS.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()[1:]]
    assert len(pids) == 2
    wait_until(lambda: not any(map(running, pids)), "the orphans to end")


def test_what_a_python_port_prints_never_reaches_the_protocol() -> None:
    with open_port("_ports.objects:Chatty") as port:
        port.configure(CONFIG, dtype="fp64", device="cpu")
        for _ in range(3):
            assert port.run("clip", RIGHT)["mu"] == 0.7
        assert port.stray == ["running clip"] * 3


@pytest.mark.parametrize("in_process", [True, False])
def test_what_a_port_raises_comes_back_by_kind(in_process: bool) -> None:
    with open_port("_ports.objects:Declines", in_process=in_process) as port:
        port.configure(CONFIG, dtype="fp64", device="cpu")
        with pytest.raises(Unsupported, match="no clip on this device"):
            port.run("clip", RIGHT)
        with pytest.raises(Skipped, match="the device is busy"):
            port.run("alpha", {"previous_alpha": 0.5, "kl": 0.1})
        with pytest.raises(PortError, match=r"division by zero \(objects.py:\d+ in run\)"):
            port.run("change_cap", {"mu_candidate": 0.5, "previous_mu": 0.5})
        with pytest.raises(BadReply, match="mapping"):
            port.run("prior_blend", {"mu_ada": 0.5, "step": 1})
        inputs = {"sigma_s2": 1.0, "sigma_r2": 1.0, "delta_g2": 1.0, "alpha": 0.5}
        with pytest.raises(BadReply, match="mu_raw"):
            decoded("closed_form", port.run("closed_form", inputs), inputs)


def test_inputs_are_read_only_in_the_child() -> None:
    with open_port("_ports.objects:Spoils") as port:
        port.configure(CONFIG, dtype="fp64", device="cpu")
        with pytest.raises(PortError, match="read-only"):
            port.run("transport", {"is_expert": np.array([False, True])})


@pytest.mark.parametrize("name", ["REFERENCE", "Reference", "factory"])
def test_a_spec_names_an_object_a_class_or_a_factory(name: str) -> None:
    with open_port(f"_ports.objects:{name}", in_process=True) as port:
        assert port.hello()["name"] == "gac_ref reference"


@pytest.mark.parametrize(
    ("spec", "kind", "said"),
    [
        ("nowhere", NotFound, "names no port; write package.module:attribute"),
        ("folder/port.py:port", NotFound, "write package.module:attribute, with dots"),
        ("nowhere.at_all:port", NotFound, "no module 'nowhere'"),
        ("_ports.objects:Refrence", NotFound, "did you mean 'Reference'"),
        ("_ports.objects:Mute", NotFound, r"a Mute without hello\(\)"),
        ("_ports.objects:broken_factory", PortError, "RuntimeError: no device"),
        ("unbuildable:port", PortError, "importing unbuildable raised OSError: no libcuda"),
        ("stdio: there-is-no-such-program", NotFound, "no program 'there-is-no-such-program'"),
        ("stdio:", NotFound, "has no command"),
        ("stdio: 'open", NotFound, "does not split into words"),
        ("gone.so", NotFound, "cannot read the library gone.so: No such file"),
        (str(PORTS / "faults.py"), WrongArchitecture, "begins with"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(
    spec: str,
    kind: type[AdapterFailure],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "unbuildable.py").write_text('raise OSError("no libcuda")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(kind, match=said), open_port(spec) as port:
        port.hello()


def test_a_hello_of_another_protocol_or_vocabulary_is_refused() -> None:
    for change, said in [
        ({"protocol": 2}, "protocol is 2; this suite speaks 1"),
        ({"stages": ["proxy"]}, "'proxy', not one of .* did you mean 'proxies'"),
        ({"dtypes": ["float32"]}, "'float32'"),
        ({"dtypes": "fp32"}, "reply a list of names"),
        ({"name": ""}, "name is ''; reply a text"),
    ]:
        port = Reference()
        hello = {**port.hello(), **change}
        port.hello = lambda hello=hello: hello  # type: ignore[method-assign]
        with pytest.raises(BadReply, match=said):
            open_port(port).hello()
