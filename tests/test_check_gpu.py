"""The command for a GPU, rehearsed on the CPU: its parts find what they are there to find."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _cuda import built

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import check_gpu  # noqa: E402
import gpu_checks  # noqa: E402
import gpu_device  # noqa: E402
import gpu_exercise  # noqa: E402
from gpu_checks import FAILED, NOT_RUN, PASSED, Part, Subject  # noqa: E402
from gpu_plan import CPU, GPU, RUNS, Model  # noqa: E402

from gac_ref.ports.cuda.binding import Library  # noqa: E402
from gac_ref.ports.cuda.build import KINDS  # noqa: E402

REPORTS = ROOT / "docs" / "reports"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory, "host")


def test_off_a_gpu_the_command_says_in_one_line_what_it_needs() -> None:
    if gpu_device.gpu() is not None:
        pytest.skip("there is a GPU")
    command = [sys.executable, str(ROOT / "benchmarks" / "check_gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"{check_gpu.NEEDS}\n"
    assert "\n" not in check_gpu.NEEDS


def test_without_the_driver_there_is_no_gpu() -> None:
    assert gpu_device.gpu("libnone.so") is None


class Driver:
    """A driver with one device, as far as it is asked."""

    def __init__(self, count: int = 1, started: int = 0) -> None:
        self.count, self.started = count, started

    def cuInit(self, flags: int) -> int:
        return self.started

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:
        return index

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:
        name.value = b"A GPU 80GB"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, handle: Any) -> int:
        memory._obj.value = 80 * 2**30
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13_010
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, handle: Any) -> int:
        value._obj.value = {75: 9, 76: 0, 16: 132, 38: 50 * 2**20}[which]
        return 0


def test_the_device_is_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    found = gpu_device.gpu()
    assert found == ("A GPU 80GB", "9.0", 132, 80 * 2**30, 50 * 2**20, "CUDA 13.1")
    for absent in (Driver(count=0), Driver(started=100)):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, absent=absent: absent)
        assert gpu_device.gpu() is None


# The parts


def test_conformance_goes_through_the_front_door_in_every_dtype(host: Path) -> None:
    plan = CPU._replace(stages=("closed_form",))
    part = gpu_checks.conformance(plan, Subject("CUDA C++", str(host), "cpu"))
    assert part.outcome == PASSED
    assert [re.match(r"OK cuda/cpu/(\w+) ", line)[1] for line in part.lines] == [  # type: ignore[index]
        *("fp64", "fp32", "fp16", "bf16")
    ]


@pytest.mark.parametrize(
    ("spec", "said"), [("_bad_ports:WrongClosedForm", "FAIL"), ("nowhere:port", "did not answer")]
)
def test_a_wrong_port_and_an_absent_one_fail(
    spec: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    plan = CPU._replace(stages=("closed_form",))
    part = gpu_checks.conformance(plan, Subject("wrong", spec, "cpu"))
    assert part.outcome == FAILED
    assert any(said in line for line in part.lines)


def test_what_is_not_installed_is_not_run_and_says_so(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "has", lambda name: False)
    there = gpu_checks.subjects(CPU, host, "")
    assert [bool(subject.missing) for subject in there] == [True, True, True, False]
    for subject in there[:3]:
        for part in (gpu_checks.conformance(CPU, subject), gpu_checks.repeated(CPU, subject)):
            assert part.outcome == NOT_RUN
            assert "not installed" in part.lines[0]
    absent = gpu_checks.subjects(CPU, None, "there is no nvcc")[3]
    assert gpu_checks.conformance(CPU, absent).lines == ("there is no nvcc",)


class Unsteady:
    """A port whose answer is another one at one call in many."""

    def __init__(self, wrong: int) -> None:
        self.calls, self.wrong = 0, wrong

    def __enter__(self) -> Unsteady:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def hello(self) -> dict[str, Any]:
        return {"dtypes": ["fp64"]}

    def configure(self, config: Any, *, dtype: str, device: str) -> None:
        pass

    def run(self, stage: str, inputs: Any) -> dict[str, Any]:
        self.calls += 1
        return {"mu": 0.5, "nll": np.array([1.0, -0.0 if self.calls == self.wrong else 0.0])}


@pytest.mark.parametrize(("wrong", "outcome"), [(0, PASSED), (1, FAILED), (RUNS, FAILED)])
def test_one_bit_in_one_of_the_runs_fails_the_determinism_check(
    wrong: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "open_port", lambda *args, **more: Unsteady(wrong))
    part = gpu_checks.repeated(CPU, Subject("unsteady", "x:y", "cpu"))
    assert part.outcome == outcome
    assert ("2 different answers" in part.lines[0]) == (outcome == FAILED)


def test_a_real_port_answers_the_repeated_step(host: Path) -> None:
    part = gpu_checks.repeated(CPU, Subject("CUDA C++", str(host), "cpu"))
    assert part.outcome == PASSED
    assert len(part.lines) == 4


def test_one_block_size_with_other_bits_fails(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, real = Library(host), gpu_checks.rows_of
    assert gpu_checks.blocks(CPU, library).outcome == PASSED

    def bent(library: Library, dtype: str, batch: Any, block: int = 0, grid: int = 0) -> Any:
        rows = real(library, dtype, batch, block, grid)
        return np.nextafter(rows, 9.0) if (dtype, block, grid) == ("bf16", 96, 7) else rows

    monkeypatch.setattr(gpu_checks, "rows_of", bent)
    part = gpu_checks.blocks(CPU, library)
    assert part.outcome == FAILED
    assert "2 different" in part.lines[3]


def test_the_host_build_has_its_own_bits(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "build", lambda kind, folder: host)
    part = gpu_checks.against_host(CPU, Library(host), tmp_path)
    assert all(re.search(r"(\d+) of \1 numbers .* 0\.0e\+00", line) for line in part.lines)


def test_the_exercise_reaches_every_dtype_and_ends_well(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_exercise.py", str(host)])
    monkeypatch.setattr(gpu_exercise, "SHAPES", ((1, 1), (3, 7), (4, 0)))
    assert gpu_exercise.main() == 0


@pytest.mark.parametrize(("code", "outcome"), [(0, PASSED), (9, FAILED)])
def test_every_tool_of_the_sanitizer_is_run_on_the_device_build(
    code: int, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "compute-sanitizer"
    complaint = "ERROR SUMMARY: 1 error" if code else ""
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\necho "{complaint}"\nexit {code}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu_checks, "build", lambda kind, folder: folder / KINDS[kind])
    part = gpu_checks.sanitized(GPU, tmp_path)
    assert part.outcome == outcome
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == len(part.lines) == len(gpu_checks.TOOLS)
    for line, name in zip(said, gpu_checks.TOOLS, strict=True):
        assert line.startswith(f"--tool {name} --error-exitcode 9 ")
        assert line.endswith(f"gpu_exercise.py {tmp_path / KINDS['device']}")


def test_without_the_sanitizer_or_a_compiler_that_part_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_checks.sanitized(GPU, tmp_path).outcome == NOT_RUN
    assert gpu_checks.sanitized(CPU, tmp_path).outcome == NOT_RUN


@pytest.mark.slow
def test_the_sanitized_build_is_clean_in_the_rehearsal(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "build", lambda kind, _: built(tmp_path_factory, kind))
    part = gpu_checks.sanitized(CPU, tmp_path)
    assert part.outcome == PASSED, part.lines


# Speed


def test_the_speeds_are_measured_and_not_judged_on_the_cpu(host: Path) -> None:
    pytest.importorskip("torch")
    import gpu_speed

    part = gpu_speed.speed(CPU._replace(calls=1, rounds=1), Library(host), "")
    assert part.outcome == PASSED
    text = "\n".join(part.lines)
    assert text.count("not judged on the CPU") == 2
    assert "met)" not in text
    assert "MISSED" not in text


def test_on_a_device_the_goals_are_judged() -> None:
    import gpu_speed

    assert [gpu_speed.verdict(GPU, met) for met in (True, False)] == ["met", "MISSED"]


def test_the_batches_of_the_ring_are_in_memory_of_their_own(host: Path) -> None:
    pytest.importorskip("torch")
    import gpu_speed

    seen = []

    class Watched(Library):
        def call_fused_rows(self, config: Any, batch: Any, rows: Any, **more: Any) -> None:
            seen.append((batch.logprob.data, batch.advantages.data, rows.data))

    fused, _, size = gpu_speed.passes(CPU, Watched(host))
    for _ in range(40):
        fused()
    rows, width = CPU.measured
    assert size == rows * (5 * width + 1 + 128)
    distinct = len(set(seen))
    assert distinct * size >= CPU.ring
    assert len({address for each in seen for address in each}) == 3 * distinct
    assert seen[:distinct] == seen[distinct : 2 * distinct]


def test_the_transformer_learns_from_every_parameter_and_its_operations_are_counted() -> None:
    torch = pytest.importorskip("torch")
    from gpu_model import build as build_model
    from gpu_model import operations

    model = Model(layers=2, width=16, heads=2, vocabulary=32, tokens=8)
    decoder = build_model(model, "cpu")
    loss = decoder(torch.randint(32, (1, 8), generator=torch.Generator().manual_seed(0)))
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert all(p.grad is not None and bool(p.grad.any()) for p in decoder.parameters())
    # Per layer 12 w^2 weights, 9 w biases and 4 w of the normalisations; two tables of v w.
    count = sum(p.numel() for p in decoder.parameters())
    assert count == 2 * (12 * 16**2 + 13 * 16) + 2 * 32 * 16
    assert operations(model, count) == 6 * count * 8 + 6 * 2 * 16 * 8**2


def test_the_position_of_no_later_token_is_seen() -> None:
    torch = pytest.importorskip("torch")
    from gpu_model import Block

    torch.manual_seed(0)
    block, x = Block(16, 2), torch.randn(1, 6, 16)
    later = x.clone()
    later[:, 4:] += 1.0
    torch.testing.assert_close(block(later)[:, :4], block(x)[:, :4])
    assert not torch.allclose(block(later)[:, 4:], block(x)[:, 4:])


# The page


def test_a_rehearsal_says_that_no_number_is_of_a_gpu() -> None:
    text = check_gpu.page(None, [Part("Speed", PASSED, ("1 GB/s",))])
    assert check_gpu.REHEARSAL in text.split("\n")[:4]
    found = gpu_device.Device("A GPU", "9.0", 132, 2**36, 2**25, "CUDA 13.0")
    text = check_gpu.page(found, [Part("Speed", FAILED, ("1 GB/s",))])
    assert check_gpu.REHEARSAL not in text
    for fact in ("A GPU", "9.0", "132", "commit", "torch", "jax", "nvcc", "Failed.", "* 1 GB/s"):
        assert fact in text, fact


def test_a_part_that_breaks_is_reported_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> Part:
        raise RuntimeError("an illegal\nmemory access")

    good = lambda *arguments: Part("good", PASSED, ("fine",))  # noqa: E731
    for name in ("conformance", "repeated", "sanitized", "speed"):
        monkeypatch.setattr(check_gpu, name, broken if name == "repeated" else good)
    for name in ("conformance", "repeated"):
        getattr(check_gpu, name).__name__ = name

    def absent(kind: str, folder: Path) -> Path:
        raise check_gpu.GACError("there is no compiler")

    monkeypatch.setattr(check_gpu, "build", absent)
    assert check_gpu.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    text = (tmp_path / "gpu-rehearsal.md").read_text("utf-8")
    assert text.count("RuntimeError: an illegal memory access") == 4  # one a port
    assert text.count("| good | passed |") == 6
    assert check_gpu.UNFINISHED not in text
    assert "rehearsal" in capsys.readouterr().out


def test_what_was_found_before_an_interruption_is_kept_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(plan: Any, folder: Path) -> Iterator[Part]:
        yield Part("first", PASSED, ("fine",))
        raise KeyboardInterrupt

    monkeypatch.setattr(check_gpu, "parts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_gpu.main(["--device", "cpu", "--out", str(tmp_path)])
    text = (tmp_path / "gpu-rehearsal.md").read_text("utf-8")
    assert check_gpu.UNFINISHED in text
    assert "| first | passed |" in text


def test_the_reports_say_what_has_been_measured_and_what_has_not() -> None:
    text = (REPORTS / "README.md").read_text("utf-8")
    reports = sorted(path.name for path in REPORTS.glob("gpu-*.md"))
    assert ("No GPU was at hand" in text) == (not reports)
    assert all(name in text for name in reports)
    for path in map(REPORTS.joinpath, reports):
        assert "rehearsal" not in path.read_text("utf-8")
