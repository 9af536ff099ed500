"""The protocol's document and templates: what they show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gac_ref
from gac_ref import GACConfig
from gac_ref.conformance.adapters import failures, open_port, smoke, template
from gac_ref.conformance.adapters.failures import AdapterFailure
from gac_ref.conformance.adapters.templates import TEMPLATES
from gac_ref.conformance.adapters.wire import parse
from gac_ref.conformance.port import Unsupported
from gac_ref.conformance.reference import Reference
from gac_ref.errors import GACError

TEXT = (Path(__file__).parents[1] / "docs" / "adapters.md").read_text()
TEMPLATE_LINES = 42  # "about thirty", with the blank ones


def conversation() -> list[str]:
    return [
        line for block in re.findall(r"```json\n(.*?)```", TEXT, re.S) for line in block.split("\n")
    ]


def test_the_conversation_in_the_document_is_what_a_program_reads_and_writes() -> None:
    lines = conversation()
    requests = [line[2:] for line in lines if line.startswith("> ")]
    shown = [line[2:] for line in lines if line.startswith("< ")][: len(requests)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gac_ref.conformance.adapters.python_host",
            "gac_ref.conformance.reference:Reference",
        ],
        input="".join(f"{line}\n" for line in requests),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    written = re.sub(r"reference.py:\d+", "reference.py:LINE", done.stdout)
    assert written.replace(gac_ref.__version__, "VERSION").splitlines() == shown


def test_every_kind_of_message_is_shown() -> None:
    messages = [parse(line[2:].encode()) for line in conversation() if line]
    calls = {message["call"] for message in messages if "call" in message}
    outcomes = {key for message in messages for key in message if "call" not in message}
    assert calls == {"hello", "configure", "run", "reset", "stop"}
    assert outcomes == {"id", "ok", "unsupported", "skipped", "error"}


def test_every_failure_is_listed_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]\w+)` \| (\w+) \|", TEXT, re.M))
    kinds = [getattr(failures, name) for name in failures.__all__ if name[0].isupper()]
    assert rows == {kind.__name__: kind.status for kind in kinds if kind is not AdapterFailure}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_templates_in_the_document_are_the_files(kind: str) -> None:
    assert template(kind) in TEXT
    assert len(template(kind).splitlines()) <= TEMPLATE_LINES


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(GACError, match="unknown template 'rust'; pass one of python, c, stdio"):
        template("rust")


@pytest.mark.parametrize("kind", ["python", "stdio"])
def test_a_template_answers_as_the_reference_does(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"my_{TEMPLATES[kind]}"
    file.write_text(template(kind))
    monkeypatch.syspath_prepend(tmp_path)
    spec = "my_port:Port" if kind == "python" else f"stdio: sh {file}"
    config = GACConfig(mu_min=0.1, mu_max=0.8).to_dict()
    reference = Reference()
    reference.configure(config, dtype="fp64", device="cpu")
    with open_port(spec) as port:
        port.configure(config, dtype="fp64", device="cpu")
        for value in (0.1, 0.1 + 2**-54, 1 / 3, 0.7999999999999999, 0.95, -0.5, 1e-300):
            inputs = {"mu_capped": value}
            assert port.run("clip", inputs) == reference.run("clip", inputs)
        port.reset()
        with pytest.raises(Unsupported):
            port.run("alpha", {"previous_alpha": 0.5, "kl": 0.5})
    assert smoke(spec)[-1] == (
        f"next: gac-ref check {spec!r} judges the values; after that, add the stage transport, and "
        "claim it in hello"
    )


@pytest.mark.parametrize(
    ("spec", "last"),
    [
        ("gac_ref.conformance.reference:Reference", "next: gac-ref check "),
        ("nowhere:port", "next: correct the spec 'nowhere:port'"),
        ("_ports.objects:broken_factory", "start and answer hello"),
        ("_ports.objects:Declines", "next: mend the stage"),
        ("_ports.objects:Chatty", "next: gac-ref check "),
    ],
)
def test_smoke_ends_with_the_one_thing_to_do(spec: str, last: str) -> None:
    lines = smoke(spec)
    assert last in lines[-1]
    assert sum(line.startswith("next: ") for line in lines) == 1
    if "Chatty" in spec:
        assert any(line.startswith("warn  stdout") for line in lines)
    if "Declines" in spec:
        assert any(line.startswith("FAIL  change_cap      PortError: ") for line in lines)
        assert any(line.startswith("-     clip            unsupported, though") for line in lines)
