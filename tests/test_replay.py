"""Replay: the controller's own answers, in constant memory, held against what was logged."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _recordings import fields, step_file, write_trace

from gac_ref._typing import AnyArray
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.controller import GACInfo, init, update
from gac_ref.errors import GACError
from gac_ref.replay import QUANTITIES, Comparison, ReplayRow, Summary, replay
from gac_ref.traces import TraceReader, TraceStep, TraceWriter

VARIANTS = ("documented", "released", "decoupled")
# A step of the long trace is 0.4 MB as float64; reading, merging and z-scoring copy it in part.
STEP_BYTES, COPIES = 400_000, 5
# Welford's and NumPy's sums of 30 terms round differently, a few units in the last place each.
ROUNDING = 64 * np.finfo(np.float64).eps

REQUIRED_KEYS = (
    *("step", "sigma_s2", "sigma_r2", "delta_g2", "mu_raw", "mu", "prior", "alpha", "flags"),
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def live_run(trace: Path, config: GACConfig, steps: int) -> list[GACInfo]:
    """Train with the controller in the loop: record, and log everything that it computed."""
    state, infos = init(config), []
    with TraceWriter(trace) as writer:
        for step in range(steps):
            made = fields(rng(step))
            state, info = update(config, state, Batch(**made), step=step)
            logged = {name: getattr(info, name, None) for name in QUANTITIES}
            logged = {name: value for name, value in logged.items() if value is not None}
            if info.proxies is not None:
                for name in ("sigma_s2", "sigma_r2", "delta_g2"):
                    logged[f"proxy_{name}"] = getattr(info.proxies, name)
            writer.write(step, **made, logged=logged)
            infos.append(info)
    return infos


def row(**changes: Any) -> ReplayRow:
    values: dict[str, Any] = {name: 0.5 for name in QUANTITIES}
    values |= {"step": 0, "refreshed": True, "flags": [], "missing_before": 0, "mu_oracle": 0.5}
    return ReplayRow(**{**values, "logged": {}, "oracle": {}, "rank_logged": {}, **changes})


@pytest.mark.parametrize("variant", VARIANTS)
def test_replay_of_a_live_run_is_the_run(tmp_path: Path, variant: str) -> None:
    config = GACConfig.variant(variant, mu_update_freq=3)
    infos = live_run(tmp_path, config, 8)
    comparison = Comparison(rtol=0.0, atol=0.0)
    rows = list(replay(TraceReader(tmp_path), config))
    for got, info in zip(rows, infos, strict=True):
        assert comparison.add(got) == []
        assert (got.mu, got.mu_raw) == (float(info.mu), float(info.mu_raw))
        assert got.flags == info.acted()
        assert got.refreshed == (got.step % 3 == 0)
        assert math.isnan(got.proxy_delta_g2) == (got.step % 3 != 0)
    assert comparison.steps == 8
    assert set(comparison.largest) == set(QUANTITIES)


def test_two_replays_are_equal(tmp_path: Path) -> None:
    write_trace(tmp_path, 5, oracle_every=2)
    first, second = (
        [r.to_json() for r in replay(TraceReader(tmp_path), GACConfig())] for _ in range(2)
    )
    assert first == second


def test_the_logged_mu_is_not_fed_back(tmp_path: Path) -> None:
    rows = []
    for name, mu in (("a", 0.5), ("b", 0.9)):
        with TraceWriter(tmp_path / name) as writer:
            for step in range(3):
                writer.write(step, **fields(rng(step)), logged={"mu": mu})
        rows.append([r.mu for r in replay(TraceReader(tmp_path / name), GACConfig())])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("prior", ["none", "warmup_cosine"])
def test_every_row_is_strict_json(tmp_path: Path, variant: str, prior: str) -> None:
    with TraceWriter(tmp_path) as writer:
        for step in range(4):
            made = fields(rng(step), experts=8 if step < 3 else 4)
            writer.write(step, **made, logged={"nan": math.nan, "inf": math.inf, "mu": 0.5})

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    config = GACConfig.variant(variant, prior=prior, mu_update_freq=2)
    for got in replay(TraceReader(tmp_path), config):
        text = got.to_json()
        assert "\n" not in text
        parsed = json.loads(text, parse_constant=refuse)
        assert set(REQUIRED_KEYS) <= parsed.keys()
        assert parsed["logged"] == {"nan": None, "inf": None, "mu": 0.5}
        assert (parsed["prior"] is None) == (prior == "none")
        assert isinstance(parsed["flags"], list)


def test_a_statistic_not_seen_has_no_value_where_it_is_held(tmp_path: Path) -> None:
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **fields(rng(), experts=8))
    (held,) = replay(TraceReader(tmp_path), GACConfig())
    (unit,) = replay(TraceReader(tmp_path), GACConfig(unseen_statistic="unit"))
    assert math.isnan(held.sigma_r2)
    assert math.isnan(held.proxy_sigma_r2)
    assert held.sigma_s2 == held.proxy_sigma_s2 > 0.0
    assert (unit.sigma_r2, unit.delta_g2) == (1.0, 0.0)


def test_the_oracle_mu_is_the_closed_form_on_the_true_values(tmp_path: Path) -> None:
    with TraceWriter(tmp_path) as writer:
        for step, delta_g2 in enumerate((4.0, -1.0)):
            oracle = {"sigma_s2": 1.0, "sigma_r2": 3.0, "delta_g2": delta_g2}
            writer.write(step, **fields(rng()), oracle=oracle)
        writer.write(2, **fields(rng()), oracle={"sigma_s2": 1.0})
    rows = list(replay(TraceReader(tmp_path), GACConfig(alpha=0.25)))
    assert rows[0].mu_oracle == (0.25 * 4.0 + 3.0) / 8.0
    assert rows[1].mu_oracle == 0.75  # the negative estimate counts as no disagreement
    assert math.isnan(rows[2].mu_oracle)


def test_rows_before_a_damaged_step_are_given(tmp_path: Path) -> None:
    write_trace(tmp_path, 3)
    step_file(tmp_path, 2).write_bytes(b"")
    rows = replay(TraceReader(tmp_path), GACConfig())
    assert [next(rows).step, next(rows).step] == [0, 1]
    with pytest.raises(GACError, match=r"00000002\.npz"):
        next(rows)


def test_an_error_of_the_controller_names_the_step(tmp_path: Path) -> None:
    write_trace(tmp_path, 1)
    batch = TraceReader(tmp_path).read(0).batch
    steps = [TraceStep(step=20, batch=batch), TraceStep(step=5, batch=batch)]
    with pytest.raises(GACError, match="step 5 of the trace: step = 5 is before"):
        list(replay(steps, GACConfig()))


def test_replay_holds_one_step_at_a_time(tmp_path: Path) -> None:
    tokens = STEP_BYTES // 8 // 8 // 4  # 8 rows, 8 bytes, about 4 float arrays
    with TraceWriter(tmp_path, compress=False) as writer:
        for step in range(40):
            writer.write(step, **fields(rng(step), tokens=tokens))
    rows = replay(TraceReader(tmp_path), GACConfig(mu_update_freq=1))
    next(rows)
    tracemalloc.start()
    for _ in rows:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < COPIES * STEP_BYTES


# Comparison


@pytest.mark.parametrize("quantity", [q for q in QUANTITIES if not q.startswith("proxy_")])
def test_a_planted_difference_is_found_at_its_step_and_quantity(
    tmp_path: Path, quantity: str
) -> None:
    config = GACConfig()
    live_run(tmp_path, config, 4)
    file = step_file(tmp_path, 2)
    with np.load(file) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    wrong = arrays[f"logged/{quantity}"] + 1e-6
    arrays[f"logged/{quantity}"] = wrong
    arrays["logged/mu"] = arrays["logged/mu"] + 1e-3  # later in the order, and larger
    np.savez(file, **arrays)
    comparison = Comparison()
    for got in replay(TraceReader(tmp_path), config):
        comparison.add(got)
    first = comparison.first
    assert first is not None
    assert (first.step, first.quantity) == (2, quantity)
    assert comparison.different == 1
    if quantity != "mu":
        assert first.logged == wrong
    text = "\n".join(comparison.lines())
    assert f"the first is step 2: {quantity} is logged as {first.logged!r}" in text
    assert repr(first.reference) in text


def test_the_wrong_variant_differs_where_it_first_matters(tmp_path: Path) -> None:
    live_run(tmp_path, GACConfig.released(), 3)
    comparison = Comparison()
    for got in replay(TraceReader(tmp_path), GACConfig()):
        comparison.add(got)
    assert comparison.first is not None
    assert (comparison.first.step, comparison.first.quantity) == (0, "proxy_delta_g2")


@pytest.mark.parametrize(
    ("logged", "reference", "equal"),
    [
        (1.0 + 1e-9, 1.0, True),
        (1.0 + 3e-9, 1.0, False),
        (1e-12, 0.0, True),
        (3e-12, 0.0, False),
        (math.nan, math.nan, True),
        (0.5, math.nan, False),
        (math.nan, 0.5, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 0.5, False),
        (0.5, math.inf, False),
    ],
)
def test_tolerance_is_relative_to_the_reference_plus_absolute(
    logged: float, reference: float, equal: bool
) -> None:
    comparison = Comparison(rtol=1e-9 * (1 + 1e-3), atol=1e-12)
    found = comparison.add(row(mu=reference, logged={"mu": logged}))
    assert (found == []) == equal
    assert (comparison.first is None) == equal
    assert comparison.steps == 1


def test_every_rank_is_compared_and_the_one_that_differs_is_named() -> None:
    comparison = Comparison()
    ranks: dict[int | None, dict[str, float]] = {0: {"mu": 0.5}, 3: {"mu": 0.6, "loss": 1.0}}
    comparison.add(row(logged={"mu": 0.5}, rank_logged=ranks))
    assert comparison.first is not None
    assert (comparison.first.rank, comparison.first.logged) == (3, 0.6)
    assert "step 0 (rank 3): mu is logged as 0.6" in "\n".join(comparison.lines())
    assert comparison.ignored == {"loss"}


@pytest.mark.parametrize(
    ("quantity", "flags", "refreshed"),
    [
        ("proxy_sigma_s2", [], False),
        ("proxy_sigma_r2", ["missing_r"], True),
        ("sigma_r2", ["not_ready"], True),
        ("delta_g2_capped", ["not_ready"], False),
    ],
)
def test_nothing_is_compared_where_the_reference_has_no_value(
    quantity: str, flags: list[str], refreshed: bool
) -> None:
    absent = {quantity: math.nan, "flags": flags, "refreshed": refreshed}
    comparison = Comparison()
    assert comparison.add(row(**absent, logged={quantity: 0.0})) == []
    assert comparison.steps == 0
    # Without the reason for its absence a NaN is poison, and a logged number contradicts it.
    poisoned = {**absent, "flags": [], "refreshed": True}
    assert len(comparison.add(row(**poisoned, logged={quantity: 0.0}))) == 1


def test_a_float32_log_is_recognised() -> None:
    comparison = Comparison()
    comparison.add(row(mu=0.1, logged={"mu": float(np.float32(0.1))}))
    assert "equal as float32" in "\n".join(comparison.lines())
    wide = Comparison(rtol=1e-6)
    assert wide.add(row(mu=0.1, logged={"mu": float(np.float32(0.1))})) == []


@pytest.mark.parametrize("tolerance", [{"rtol": -1.0}, {"atol": math.nan}, {"rtol": math.inf}])
def test_meaningless_tolerances_are_refused(tolerance: dict[str, float]) -> None:
    with pytest.raises(GACError, match="outside"):
        Comparison(**tolerance)


# Summary


def test_the_summary_counts_what_the_rows_say() -> None:
    summary = Summary()
    made = rng().random((30, 2))
    for step, (mu, truth) in enumerate(made):
        flags = ["change_capped"] if step < 3 else []
        summary.add(row(step=step, mu=mu, mu_oracle=truth, flags=flags, missing_before=step == 9))
    summary.add(row(step=30, mu=0.5, mu_oracle=math.nan))
    text = "\n".join(summary.lines())
    low, high = made[:, 0].min(), made[:, 0].max()
    assert f"31 steps; mu from {low:.4f} to {high:.4f}, last 0.5000 at step 30" in text
    assert "change_capped 9.7%" in text
    assert "Steps missing: 1" in text
    pairs = summary.pairs["mu"]
    assert pairs.count == 30
    assert pairs.distance == pytest.approx(
        float(np.abs(made[:, 0] - made[:, 1]).mean()), rel=ROUNDING
    )
    expected: AnyArray = np.asarray(np.corrcoef(made.T))
    assert pairs.correlation == pytest.approx(float(expected[0, 1]), rel=ROUNDING)


def test_a_constant_has_no_correlation() -> None:
    summary = Summary()
    for truth in (0.1, 0.2):
        summary.add(row(mu=0.3, mu_oracle=truth))
    assert math.isnan(summary.pairs["mu"].correlation)


def test_an_empty_trace_has_an_empty_summary(tmp_path: Path) -> None:
    TraceWriter(tmp_path).close()
    assert list(replay(TraceReader(tmp_path), GACConfig())) == []
    assert Summary().lines() == ["The trace has no steps."]
