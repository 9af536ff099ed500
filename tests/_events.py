"""Hand-made events of a check: what the reports are drawn from, without a port."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]


def start(dtype: str = "bf16", **changes: Any) -> Event:
    return {
        "event": "start",
        "port": "torch",
        "version": "0.3",
        "spec": "my.port:adapter",
        "dtype": dtype,
        "device": "cuda",
        "pack": 1,
        "pack_sha256": "9f2c" * 16,
        "precision": {"tokens": "fp32", "scalars": "fp64"},
        "environment": {"python": "3.12.1", "gpu": "a GPU"},
        "command": f"gac-ref check my.port:adapter --dtype {dtype}",
        **changes,
    }


def check(case: str, mode: str = "injected", status: str = "pass", **changes: Any) -> Event:
    return {
        "event": "check",
        "case": case,
        "exchange": 0,
        "stage": case.partition("/")[0],
        "mode": mode,
        "step": None,
        "status": status,
        "ratio": 0.25,
        "output": "",
        "index": [],
        "got": None,
        "expected": None,
        "bound": None,
        "reason": "",
        "replay": "",
        **changes,
    }


def failing(case: str, mode: str = "injected", **changes: Any) -> Event:
    values: Event = {
        "ratio": 7.25,
        "output": "proxy_sigma_r2",
        "got": 1.5,
        "expected": 1.0,
        "bound": 0.069,
        "replay": f"gac-ref check my.port:adapter --dtype bf16 --case {case}",
        "comment": "Sample and population variance differ by half.",
    }
    return check(case, mode, "fail", **{**values, **changes})


def end(verdict: str = "ok", **changes: Any) -> Event:
    return {
        "event": "end",
        "verdict": verdict,
        "executed": 2,
        "total": 2,
        "unsupported": 0,
        "skipped": 0,
        "failed": 0,
        "expected_failures": 0,
        "origin": None,
        "first_bad_step": None,
        "hint": "",
        "statement": "",
        "headline": "OK torch/cuda/fp32 - executed 2 of 2; worst 0.25x bound",
        "worst": 0.25,
        **changes,
    }


def good_run(dtype: str = "fp32") -> list[Event]:
    return [start(dtype), check("coefficients/a"), check("proxies/b"), end()]


def bad_run() -> list[Event]:
    """A fault in proxies: seen by itself, propagated to closed_form, and at the end of a step."""
    return [
        start(),
        check("coefficients/a"),
        check("advantages/c", status="unsupported", ratio=None, reason="not offered"),
        failing("proxies/sample"),
        check("step/s", "consistent", stage="closed_form", ratio=0.0),
        failing("step/s", "tapped", stage="closed_form", ratio=3.0, output="mu_raw"),
        failing("step/s", "black_box", ratio=2.0, output="mu"),
        end(
            "divergence",
            executed=5,
            total=6,
            unsupported=1,
            failed=3,
            origin="proxies",
            hint='agrees with "sample variance" on 1 of 1 cases',
            statement="proxies is wrong by itself, on golden inputs",
            headline="FAIL torch/cuda/bf16 - origin: proxies (proxy_sigma_r2, 7.2x bound), 3 of 5 "
            "failed; executed 5 of 6; 1 unsupported",
            worst=7.25,
        ),
    ]
