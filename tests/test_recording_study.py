"""The study on the recording's transformer: the shipped results, their file, and running it."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gac_ref import GACConfig, baselines, controller
from gac_ref.batch import Batch
from gac_ref.errors import GACError
from gac_ref.schedules import warmup_cosine
from gac_ref.traces import TraceReader
from simulations.recording import SHIPPED_TRACE, live, task
from simulations.recording.settings import Settings
from simulations.recording.study import SHIPPED_STUDY, held_out, observer, plan, store
from simulations.recording.study.__main__ import main
from simulations.sweeps.files import read_arrays

ROOT = Path(__file__).resolve().parent.parent

LEAST_SEEDS = 5
MOST_BYTES = 300_000
PROMISED = {
    *("gac_documented", "gac_released", "gac_decoupled"),
    *("fixed_0.1", "chord_mu", "sft_then_rl", "inverse_variance"),
}

FLOAT32_RTOL = 1e-6
"""The series are kept as float32: half a unit in the last place is 6e-8."""

COMPARED_STEPS = 100
"""Steps of the recorded run that are compared: one differing bit grows within a few of them."""


@pytest.fixture(scope="module")
def study() -> store.Study:
    """The shipped study."""
    return store.load_study()


def of(study: store.Study, controller_name: str, series: str) -> np.ndarray:
    """One series of one controller, [seeds, steps]."""
    return study.series[series][study.controllers.index(controller_name)]


# The shipped results


def test_every_promised_controller_has_enough_seeds(study: store.Study) -> None:
    assert set(study.controllers) >= PROMISED
    assert study.seeds.tolist() == list(range(study.seeds.size))
    assert study.seeds.size >= LEAST_SEEDS


def test_they_are_small() -> None:
    assert SHIPPED_STUDY.stat().st_size < MOST_BYTES


def test_the_default_plan_and_rules_made_them(study: store.Study) -> None:
    assert study.meta["plan"] == json.loads(json.dumps(plan.Plan().to_dict()))
    rules = plan.controllers(plan.Plan())
    assert study.meta["rules"] == json.loads(
        json.dumps({name: plan.rule_to_dict(rules[name]) for name in study.controllers})
    )


def test_meta_says_how_to_make_them_again(study: store.Study) -> None:
    assert study.meta["command"].startswith("python -m simulations.recording.study --out out/study")
    assert {"torch", "trl", "transformers", "numpy", "python"} <= set(study.meta["versions"])
    text = json.dumps(study.meta)
    assert not re.findall(r"""(?:^|[\s"'=:])(?:/|~/|[A-Z]:\\)\w+""", text)


def test_all_controllers_of_a_seed_start_from_the_same_model(study: store.Study) -> None:
    for held in (study.held_exact, study.held_reward):
        assert np.ptp(held[:, :, 0], axis=0).max() == 0.0
    first = study.series["reward"][:, :, 0]
    assert np.ptp(first, axis=0).max() == 0.0
    assert np.ptp(study.held_reward[0, :, 0]) > 0.0  # and seeds do not


def test_gac_decoupled_with_seed_0_is_the_recorded_run(study: store.Study) -> None:
    steps = study.series["mu"].shape[2]
    at = study.seeds.tolist().index(0)
    for item in TraceReader(SHIPPED_TRACE):
        if item.step >= min(steps, COMPARED_STEPS):
            break
        for name, logged in (("mu", "mu"), ("reward", "reward_mean"), ("loss_sft", "loss_sft")):
            kept = of(study, "gac_decoupled", name)[at, item.step]
            assert kept == pytest.approx(item.logged[logged], rel=FLOAT32_RTOL), name


def test_rules_without_signals_gave_what_their_schedules_say(study: store.Study) -> None:
    steps = np.arange(study.series["mu"].shape[2])
    rules = plan.controllers(plan.Plan())
    chord, switch = rules["chord_mu"], rules["sft_then_rl"]
    assert isinstance(chord, baselines.CHORDMu)
    assert isinstance(switch, baselines.SFTThenRL)
    expected = {
        "fixed_0.1": np.full(steps.size, 0.1),
        "chord_mu": warmup_cosine(
            steps,
            warmup=chord.warmup,
            decay=chord.decay,
            peak=chord.peak,
            valley=chord.valley,
        ),
        "sft_then_rl": (steps < switch.switch_step).astype(float),
    }
    for name, mu in expected.items():
        np.testing.assert_allclose(
            of(study, name, "mu"), np.tile(mu, (study.seeds.size, 1)), rtol=FLOAT32_RTOL
        )


def test_sft_then_rl_spends_the_weight_of_chord_mu(study: store.Study) -> None:
    spent = of(study, "sft_then_rl", "mu").sum(axis=1)
    assert np.abs(spent - of(study, "chord_mu", "mu").sum(axis=1)).max() <= 0.5 + 1e-3


def test_inverse_variance_follows_the_kept_proxies(study: store.Study) -> None:
    s, r = (of(study, "inverse_variance", name) for name in ("sigma_s2", "sigma_r2"))
    np.testing.assert_allclose(
        of(study, "inverse_variance", "mu"), r / (s + r), rtol=10 * FLOAT32_RTOL
    )


@pytest.mark.parametrize("name", ["gac_documented", "gac_released", "gac_decoupled"])
def test_gac_kept_its_guards(study: store.Study, name: str) -> None:
    config = plan.controllers(plan.Plan())[name]
    assert isinstance(config, GACConfig)
    mu = of(study, name, "mu")
    assert mu.min() >= config.mu_min * (1.0 - FLOAT32_RTOL)
    assert mu.max() <= config.mu_max * (1.0 + FLOAT32_RTOL)
    assert np.abs(np.diff(mu, axis=1)).max() <= config.mu_change_cap + FLOAT32_RTOL
    assert np.isfinite(of(study, name, "mu_raw")).all()


def test_the_rl_noise_proxy_is_the_share_of_groups_with_spread(study: store.Study) -> None:
    size = study.meta["plan"]["recording"]["group_size"]
    predicted = (size - 1) / size * study.series["spread"]
    # Float32 averages of equal rewards and the trainer's 1e-4 beside a spread.
    assert np.abs(study.series["sigma_r2"] - predicted).max() < 0.02


# The file


def small_pack(path: Path, **changes: Any) -> Path:
    """Two controllers, two seeds, three steps of made-up results."""
    rng = np.random.default_rng(0)

    def one() -> dict[str, np.ndarray]:
        arrays = {name: rng.random(3).astype(np.float32) for name in observer.SERIES}
        arrays |= {f"true_{name}": rng.random(1) for name in observer.TRUTHS}
        return {**arrays, "held_exact": rng.random(2), "held_reward": rng.random(2)}

    runs = {(name, seed): {**one(), **changes} for name in ("a", "b") for seed in (0, 1)}
    meta = {key: {"x": 1} for key in ("command", "versions", "plan", "rules", "description")}
    store.pack(path, runs, evaluated=(0, 3), oracle_steps=(1,), meta=meta)
    return path


def test_what_is_packed_is_what_is_loaded(tmp_path: Path) -> None:
    loaded = store.load_study(small_pack(tmp_path / "study.npz", mu=np.float32([0.1, 0.2, 0.3])))
    assert loaded.controllers == ("a", "b")
    assert loaded.series["mu"].shape == (2, 2, 3)
    np.testing.assert_allclose(loaded.series["mu"][1, 0], [0.1, 0.2, 0.3], rtol=FLOAT32_RTOL)
    assert loaded.truths["sigma_s2"].shape == (2, 2, 1)


def test_the_same_runs_pack_to_the_same_bytes(tmp_path: Path) -> None:
    first, second = (small_pack(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert first.read_bytes() == second.read_bytes()


def repacked(path: Path, **changes: Any) -> Path:
    """The file with some arrays replaced (None: dropped) and the old digest."""
    with np.load(path) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    arrays |= changes
    np.savez_compressed(path, **{name: x for name, x in arrays.items() if x is not None})
    return path


def test_a_changed_number_is_found(tmp_path: Path) -> None:
    path = small_pack(tmp_path / "study.npz")
    mu = read_arrays(path)["mu"]
    mu[0, 0, 0] += np.float32(1e-3)
    with pytest.raises(GACError, match="do not match their digest"):
        store.load_study(repacked(path, mu=mu))


def test_a_dropped_array_is_found(tmp_path: Path) -> None:
    with pytest.raises(GACError, match="do not match their digest"):
        store.load_study(repacked(small_pack(tmp_path / "study.npz"), kl=None))


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    path = repacked(small_pack(tmp_path / "study.npz"), mu=np.array([{"a": 1}], dtype=object))
    with pytest.raises(GACError, match="not readable as an npz of plain arrays"):
        store.load_study(path)


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    path = small_pack(tmp_path / "study.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(GACError, match="damaged"):
        store.load_study(path)
    with pytest.raises(GACError, match="not readable"):
        store.study_digest(path)


def test_a_missing_file_is_one_line_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(GACError, match=r"python -m simulations\.recording\.study"):
        store.load_study(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": np.float32([0.1, 1.2, 0.3])}, r"mu\[0, 0, 1\] = 1\.2\d* is not a number in \[0, 1"),
        ({"reward": np.float32([0.1, np.nan, 0.3])}, r"reward\[0, 0, 1\] = nan is not a number"),
        ({"sigma_s2": np.float32([0.1, -1.0, 0.3])}, r"sigma_s2\[0, 0, 1\] = -1.0 is not a number"),
        ({"mu": np.array([1, 0, 1])}, "mu is int64"),
        ({"held_exact": np.zeros(3)}, r"held_exact is float64 \(2, 2, 3\), not"),
        ({"extra": np.zeros(3)}, "arrays differ from the schema's in extra"),
    ],
)
def test_a_value_out_of_the_schema_is_refused(
    tmp_path: Path, changes: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(GACError, match=message):
        store.load_study(small_pack(tmp_path / "study.npz", **changes))


def test_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_pack(tmp_path / "study.npz")
    monkeypatch.setattr(store, "SCHEMA", "gac-transformer-study/2")
    with pytest.raises(GACError, match="schema 'gac-transformer-study/1' is not"):
        store.load_study(path)


def test_a_controller_without_a_seed_is_refused(tmp_path: Path) -> None:
    runs = {("a", 0): {}, ("a", 1): {}, ("b", 0): {}}
    with pytest.raises(GACError, match="no run of b with seed 1"):
        store.pack(tmp_path / "x.npz", runs, evaluated=(), oracle_steps=(), meta={})


def test_a_run_of_another_plan_is_not_taken(tmp_path: Path) -> None:
    path = store.run_file(tmp_path, "fixed_0.1", 3)
    store.write_run(path, {"mu": np.ones(2)}, {"steps": 2})
    kept = store.read_run(path, {"steps": 2})
    assert kept is not None
    assert kept["mu"].tolist() == [1.0, 1.0]
    assert store.read_run(path, {"steps": 3}) is None
    path.write_bytes(b"")
    assert store.read_run(path, {"steps": 2}) is None


# What is run


@pytest.mark.parametrize("module", [live, plan, held_out, observer, store])
def test_examples_in_the_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_held_out_problems_were_never_shown() -> None:
    settings = Settings(seed=4, warm_start_steps=20)
    problems = held_out.held_out_problems(settings, 500)
    assert len(set(problems)) == 500
    shown = {
        problem
        for batch, _ in task.warm_start_batches(settings, task.warm_start_rng(settings))
        for problem in batch
    }
    for draw in (task.rollout_problems, task.demonstrated_problems, task.validation_problems):
        shown |= set(draw(settings))
    assert not shown & set(problems)
    assert max(problem.left for problem in problems) < 10**settings.max_operand_digits


def test_more_held_out_problems_than_there_are_is_an_error() -> None:
    with pytest.raises(GACError, match="are never shown"):
        held_out.held_out_problems(Settings(max_operand_digits=1), 5)


def batch_fields(rng: np.random.Generator) -> dict[str, Any]:
    """A batch of six rollouts in two groups and two demonstrations."""
    return {
        "logprob": -rng.exponential(0.5, (8, 3)),
        "response_mask": np.ones((8, 3), dtype=bool),
        "advantages": np.append(rng.normal(size=6), [0.0, 0.0]),
        "is_expert": np.arange(8) >= 6,
        "group_ids": np.array([0, 0, 0, 1, 1, 1, 2, 3]),
        "rewards": rng.random(8),
        "kl": np.float64(0.1),
    }


MEASURED = {
    "entropy": 0.4,
    "utility_gradient": 0.2,
    "grad_norm_s": 1.5,
    "grad_norm_r": 0.5,
    "gram_ss": 2.25,
    "gram_sr": 0.1,
    "gram_rr": 0.25,
    "true_sigma_s2": 1.0,
    "true_sigma_r2": 2.0,
    "true_delta_g2": 0.5,
    "uniform": 0.3,
}


@pytest.mark.parametrize("name", sorted(baselines.RULES))
def test_any_rule_can_be_driven_live(name: str) -> None:
    rules: dict[str, Any] = {"sft_then_rl": baselines.SFTThenRL(switch_step=1)}
    rule = rules[name] if name in rules else baselines.RULES[name]()  # type: ignore[call-arg]
    driven = live.LiveRule(rule)
    state = baselines.init(rule)
    rng = np.random.default_rng(0)
    for step in range(3):
        fields = batch_fields(rng)
        _, info = driven.decide(fields, MEASURED, step=step)
        others = {key: MEASURED[key] for key in driven.asks}
        signals = baselines.signals_from_batch(rule, Batch(**fields), **others)
        state, expected = baselines.update(rule, state, signals, step=step)
        assert float(info.mu) == float(expected.mu)
    assert set(driven.asks) <= set(MEASURED)


def test_gac_driven_live_is_the_controller_itself() -> None:
    config = GACConfig(alpha_mode="kl", mu_update_freq=2)
    driven, state = live.LiveRule(config), controller.init(config)
    rng = np.random.default_rng(1)
    for step in range(5):
        fields = batch_fields(rng)
        _, info = driven.decide(fields, {}, step=step)
        state, expected = controller.update(config, state, Batch(**fields), step=step)
        assert (float(info.mu), info.refreshed) == (float(expected.mu), expected.refreshed)


def test_the_study_keeps_what_a_step_was() -> None:
    fields = batch_fields(np.random.default_rng(2))
    fields["rewards"] = np.array([1.0, 0.0, 0.5, 0.4, 0.4, 0.4, 1.0, 1.0])
    watched = observer.StudyObserver(baselines.Fixed(mu=0.25))
    info = watched.control(fields, {"entropy": 0.7}, step=0)
    truths = {name: float(i) for i, name in enumerate(observer.TRUTHS)}
    watched.write(0, fields, info, report={"loss_sft": 2.0}, oracle=truths)
    kept = watched.arrays()
    expected = {
        **{"mu": 0.25, "reward": 2.7 / 6.0, "exact": 1.0 / 6.0, "spread": 0.5, "kl": 0.1},
        **{"entropy": 0.7, "loss_sft": 2.0},
    }
    for name, value in expected.items():
        assert kept[name].tolist() == pytest.approx([value], rel=FLOAT32_RTOL), name
    assert np.isnan(kept["mu_raw"]).all()
    assert kept["true_delta_g2"].tolist() == [2.0]


# The command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds 0 is below 1"),
        (["--steps", "0"], "steps = 0 is below 1"),
        (["--held-out", "0"], "held_out = 0 is below 1"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "runs"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_unknown_controller_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--controllers", "gac"])


# Running it: needs requirements/record.txt

SMALL = (
    *("--steps", "2", "--warm-start-steps", "3", "--hidden-size", "16", "--heads", "2"),
    *("--groups", "3", "--group-size", "4", "--experts", "5", "--problems", "64"),
    *("--demonstrations", "32", "--oracle-samples", "16", "--oracle-every", "1"),
    *("--held-out", "20", "--evaluate-every", "2", "--seeds", "1"),
)


def run_small(out: Path, *names: str) -> str:
    """Two steps of a tiny model in another process, so that torch's settings stay there."""
    command = [sys.executable, "-m", "simulations.recording.study", "--out", str(out), *SMALL]
    done = subprocess.run(
        [*command, "--controllers", *names], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stderr


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("trl")
    names = ("fixed_0.1", "gac_released")
    assert "2/2" in run_small(tmp_path, *names)
    found = store.load_study(tmp_path / "study.npz")
    assert found.series["mu"].shape == (2, 1, 2)
    assert found.oracle_steps.tolist() == [1]
    assert found.evaluated.tolist() == [0, 2]
    assert "--steps 2" in found.meta["command"]
    assert "--controllers gac_released fixed_0.1" in found.meta["command"] or (
        "--controllers fixed_0.1 gac_released" in found.meta["command"]
    )
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("*.npz")}
    # Made alone and not after another: a run does not depend on those before it.
    store.run_file(tmp_path, "gac_released", 0).unlink()
    assert "1 of 2 runs are kept" in run_small(tmp_path, *names)
    assert whole == {path.name: path.read_bytes() for path in tmp_path.glob("*.npz")}


EVERY_SIGNAL = """
from simulations.recording.settings import Settings
from simulations.recording.study.plan import Plan
from simulations.recording.study.run import WarmStart, run
from gac_ref import baselines as b
plan = Plan(
    recording=Settings(
        steps=2, warm_start_steps=2, hidden_size=16, heads=2, groups=3, group_size=4, experts=5,
        problems=64, demonstrations=32, oracle_samples=16, oracle_every=0,
    ),
    held_out=20, evaluate_every=2,
)
start = WarmStart(plan, 0, lambda step: None)
for rule in (b.SASR(), b.MGDA(), b.AMFT(), b.OracleGAC(), b.SRFT(), b.HPT()):
    mu = run(plan, rule, start, lambda *step: None)["mu"]
    print(type(rule).__name__, len(mu), bool(((mu >= 0) & (mu <= 1)).all()))
"""


@pytest.mark.slow
def test_the_trainer_measures_what_any_rule_asks_for() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("trl")
    done = subprocess.run(
        [sys.executable, "-c", EVERY_SIGNAL], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[:-1] == [
        f"{name} 2 True" for name in ("SASR", "MGDA", "AMFT", "OracleGAC", "SRFT", "HPT")
    ]


@pytest.mark.slow
def test_gradient_signals_are_those_of_a_quadratic() -> None:
    torch = pytest.importorskip("torch")
    from simulations.recording.gradients import branch_signals, utility_gradient

    w = torch.tensor([1.0, 2.0], requires_grad=True)
    # Gradients at w: (2, 4) of |w|^2 and (3, 0) of 3 w_0; validation (0, 1).
    sft, rl, validation = (w**2).sum(), 3.0 * w[0], w[1]
    found = branch_signals(sft, rl, [w])
    assert found == pytest.approx(
        {
            "grad_norm_s": np.sqrt(20.0),
            "grad_norm_r": 3.0,
            "gram_ss": 20.0,
            "gram_sr": 6.0,
            "gram_rr": 9.0,
        }
    )
    # <(0, 1), (2, 4) - (3, 0)> = 4, times the step size.
    assert utility_gradient(validation, sft, rl, [w], 0.5) == pytest.approx(2.0)
