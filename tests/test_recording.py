"""The shipped recording, the task behind it, and (with torch and TRL) recording a new one."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gac_ref.config import GACConfig
from gac_ref.errors import GACError
from gac_ref.replay import Comparison, replay
from gac_ref.traces import TraceReader, TraceStep
from simulations.recording import SHIPPED_TRACE, clock, task
from simulations.recording.__main__ import main
from simulations.recording.settings import Settings

ROOT = Path(__file__).resolve().parent.parent

LEAST_STEPS = 200
MOST_BYTES = 5_000_000

SPREAD_SHARE = 0.8
"""Least share of all groups whose rewards differ; the others have no advantage to learn from."""

REPLAY_RTOL = 1e-12
"""Zero on the machine that recorded; another processor's `exp` may differ in the last bit, and 300
steps of averages do not amplify it."""

FLOAT32_RTOL = 1e-4
"""The trainer's float32 arithmetic against ours in float64, relative to the terms' magnitude."""

ADVANTAGE_ATOL = 1.2e-3
"""A float32 rounding of a group's mean reward (1.2e-7) over the least divisor (a spread of 0, plus
1e-4): equal rewards that float32 cannot average exactly really have such advantages."""

TIMING_RTOL = 1e-4
"""Seconds are kept to the microsecond, and the estimator takes some tenths of a second."""

GRADIENT_RTOL = 1e-3
"""Two orders of float32 sums over the same batch, relative to the largest component."""


@pytest.fixture(scope="module")
def steps() -> list[TraceStep]:
    """Every step of the shipped recording, in memory (2 MB)."""
    return list(TraceReader(SHIPPED_TRACE))


@pytest.fixture(scope="module")
def meta() -> dict[str, Any]:
    """What the shipped recording says of itself."""
    return TraceReader(SHIPPED_TRACE).meta


def rollout_groups(step: TraceStep, values: np.ndarray) -> list[np.ndarray]:
    """`values` [B] of each group of rollouts."""
    rollouts = ~step.batch.is_expert
    ids = step.batch.group_ids
    assert ids is not None
    return [values[rollouts & (ids == group)] for group in np.unique(ids[rollouts])]


# The shipped recording


def test_every_step_is_there_and_valid(steps: list[TraceStep], meta: dict[str, Any]) -> None:
    assert len(steps) == meta["settings"]["steps"] >= LEAST_STEPS
    assert [step.step for step in steps] == list(range(len(steps)))


def test_it_is_small() -> None:
    assert sum(f.stat().st_size for f in SHIPPED_TRACE.rglob("*") if f.is_file()) < MOST_BYTES


def test_the_default_settings_made_it(meta: dict[str, Any]) -> None:
    recorded = {**meta["settings"], "gac": tuple(meta["settings"]["gac"])}
    assert Settings(**recorded) == Settings()
    assert meta["seed"] == Settings().seed
    assert GACConfig.from_dict(meta["config"]) == Settings().config()


def test_meta_says_what_made_it_and_what_it_cost(meta: dict[str, Any]) -> None:
    assert {"torch", "trl", "transformers", "numpy", "python"} <= set(meta["versions"])
    timing = meta["timing"]
    assert timing["steps"] == meta["settings"]["steps"]
    assert 0.0 < timing["estimator_share"] < 1.0
    assert timing["estimator_share"] == pytest.approx(
        timing["estimator_seconds"] / timing["step_seconds"], rel=TIMING_RTOL
    )
    for name in ("task", "loss", "loss_rl", "loss_sft", "oracle", "reproducible"):
        assert meta[name]


def test_meta_has_no_absolute_path() -> None:
    text = (SHIPPED_TRACE / "trace.json").read_text()
    assert not re.findall(r"""(?:^|[\s"'=:])(?:/|~/|[A-Z]:\\)\w+""", text)


def test_replay_with_the_recorded_settings_equals_the_live_controller(
    steps: list[TraceStep], meta: dict[str, Any]
) -> None:
    comparison = Comparison(rtol=REPLAY_RTOL, atol=0.0)
    for row in replay(steps, GACConfig.from_dict(meta["config"])):
        comparison.add(row)
    assert comparison.first is None
    assert comparison.steps == len(steps)
    assert {"mu", "mu_raw", "mu_ada", "alpha", "proxy_delta_g2"} <= set(comparison.largest)


def test_replay_with_other_settings_differs(steps: list[TraceStep]) -> None:
    comparison = Comparison(rtol=REPLAY_RTOL, atol=0.0)
    for row in replay(steps, GACConfig.released()):
        comparison.add(row)
    assert comparison.first is not None


def test_rows_are_whole_groups_of_rollouts_then_demonstrations(
    steps: list[TraceStep], meta: dict[str, Any]
) -> None:
    settings = meta["settings"]
    rollouts = settings["groups"] * settings["group_size"]
    for step in steps:
        batch = step.batch
        assert batch.shape == (rollouts + settings["experts"], settings["response_tokens"])
        assert not batch.is_expert[:rollouts].any()
        assert batch.is_expert[rollouts:].all()
        assert batch.rewards is not None
        sizes = [len(group) for group in rollout_groups(step, batch.rewards)]
        assert sizes == [settings["group_size"]] * settings["groups"]


def test_groups_spread(steps: list[TraceStep]) -> None:
    spread = [
        [np.ptp(group) > 0.0 for group in rollout_groups(step, step.batch.rewards)]
        for step in steps
        if step.batch.rewards is not None
    ]
    assert len(spread) == len(steps)
    assert np.mean(spread) >= SPREAD_SHARE
    assert all(any(groups) for groups in spread)


def test_advantages_are_the_rewards_normalised_by_group(steps: list[TraceStep]) -> None:
    for step in steps:
        assert step.batch.rewards is not None
        rewards = rollout_groups(step, step.batch.rewards)
        advantages = rollout_groups(step, step.batch.advantages)
        for r, a in zip(rewards, advantages, strict=True):
            expected = (r - r.mean()) / (r.std(ddof=1) + 1e-4)
            np.testing.assert_allclose(a, expected, rtol=FLOAT32_RTOL, atol=ADVANTAGE_ATOL)
        assert not step.batch.advantages[step.batch.is_expert].any()


def test_the_logged_loss_is_the_mixture_at_the_logged_mu(steps: list[TraceStep]) -> None:
    for step in steps:
        logged = step.logged
        mixed = (1.0 - logged["mu"]) * logged["loss_rl"] + logged["mu"] * logged["loss_sft"]
        assert logged["loss"] == pytest.approx(mixed, rel=FLOAT32_RTOL, abs=FLOAT32_RTOL)


def test_the_logged_sft_loss_is_that_of_the_recorded_demonstrations(
    steps: list[TraceStep],
) -> None:
    for step in steps:
        rows, batch = step.batch.is_expert, step.batch
        sums = np.where(batch.response_mask, -batch.logprob, 0.0)[rows].sum(axis=1)
        assert step.logged["loss_sft"] == pytest.approx(
            np.mean(sums / batch.lengths[rows]), rel=FLOAT32_RTOL
        )


def test_later_passes_over_the_same_rollouts_are_off_policy(
    steps: list[TraceStep], meta: dict[str, Any]
) -> None:
    iterations = meta["settings"]["iterations"]
    assert iterations > 1
    for step in steps:
        batch = step.batch
        assert (batch.old_logprob is not None) == (step.step % iterations > 0)
        if batch.old_logprob is not None:
            rollout_tokens = batch.response_mask & ~batch.is_expert[:, None]
            assert (batch.logprob != batch.old_logprob)[rollout_tokens].any()


def test_true_gradient_space_values_are_there_and_finite(
    steps: list[TraceStep], meta: dict[str, Any]
) -> None:
    every = meta["settings"]["oracle_every"]
    known = [step for step in steps if step.oracle]
    assert [step.step for step in known] == list(range(0, len(steps), every))
    for step in known:
        assert {"sigma_s2", "sigma_r2", "delta_g2"} <= set(step.oracle)
        assert np.isfinite(list(step.oracle.values())).all()
        assert step.oracle["sigma_s2"] > 0.0
        assert step.oracle["sigma_r2"] > 0.0


def test_the_policy_learned(steps: list[TraceStep]) -> None:
    rewards = [step.logged["reward_mean"] for step in steps]
    tenth = len(rewards) // 10
    assert np.mean(rewards[-tenth:]) > 1.2 * np.mean(rewards[:tenth])


def test_mu_is_moved_by_the_estimate_and_not_by_the_prior_alone(steps: list[TraceStep]) -> None:
    last = steps[-1].logged
    assert abs(last["mu"] - last["mu_raw"]) < abs(last["mu"] - last["prior"])


# The task


@pytest.mark.parametrize("module", [task, clock])
def test_examples_in_the_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_working_and_answer_agree() -> None:
    for problem in task.sample_problems(np.random.default_rng(0), 500, max_operand_digits=3):
        working, answer = problem.worked.split(":")
        columns, carried = working.replace("+", ""), working.endswith("+")
        assert ("1" if carried else "") + columns[::-1] == answer
        assert int(answer) == problem.left + problem.right
        assert set(problem.prompt + problem.worked) <= set(task.ALPHABET)


def test_operand_lengths_are_uniform() -> None:
    problems = task.sample_problems(np.random.default_rng(1), 3000, max_operand_digits=3)
    counts = np.bincount([len(str(problem.left)) for problem in problems], minlength=4)[1:]
    # Six standard errors of a share of one third in 3000 draws.
    assert np.abs(counts / 3000 - 1 / 3).max() < 6 * np.sqrt(2 / 9 / 3000)


def test_demonstrations_err_in_one_digit_at_the_given_rate() -> None:
    problems = task.sample_problems(np.random.default_rng(2), 2000, max_operand_digits=2)
    rng = np.random.default_rng(3)
    wrong = 0
    for problem in problems:
        text = task.demonstration(rng, problem, error_rate=0.25)
        different = sum(a != b for a, b in zip(text, problem.worked, strict=True))
        assert different <= 1
        score = task.reward(text, problem.answer, ended=True)
        assert (score == 1.0) == (different == 0)
        wrong += different
    # Five standard errors of a share of one quarter in 2000 draws.
    assert abs(wrong / 2000 - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("432", 1.0),
        ("2+3+4:432", 1.0),
        ("9+9+9:432", 1.0),  # the answer is verified, not the working
        ("431", 0.4),
        ("32", 0.4),
        ("999", 0.2),
        ("", 0.0),
        ("432:", 0.0),
        ("4+32", 0.0),
    ],
)
def test_the_reward_is_format_then_digits_then_the_exact_sum(response: str, score: float) -> None:
    assert task.reward(response, "432", ended=True) == score
    assert task.reward(response, "432", ended=False) == 0.0


# The clock


def test_a_step_is_not_charged_for_what_only_the_recording_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    timer = clock.Clock()
    timer.begin()
    for name, seconds in (("estimator", 1.0), ("oracle", 50.0), ("writing", 7.0), ("", 9.0)):
        with timer.part(name):
            now += seconds
    timer.end()
    summary = timer.summary()
    assert summary["step_seconds"] == 10.0
    assert summary["estimator_share"] == summary["estimator_share_median"] == 0.1
    assert summary["oracle_seconds"] == 50.0


# The command line


def test_a_missing_module_is_one_line_that_names_the_requirements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "trl" else find(name)
    )
    monkeypatch.setattr("simulations.recording.__main__.NEEDED", ("json", "trl"))
    assert main(["--out", str(tmp_path / "trace")]) == 2
    assert capsys.readouterr().err == (
        "error: recording needs trl; run: pip install -r requirements/record.txt\n"
    )
    assert not (tmp_path / "trace").exists()


def test_an_existing_trace_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simulations.recording.__main__.NEEDED", ())
    header = tmp_path / "trace.json"
    header.write_text("{}")
    assert main(["--out", str(tmp_path)]) == 2
    assert "pass --force to replace it" in capsys.readouterr().err
    assert header.read_text() == "{}"


def test_force_does_not_remove_what_is_not_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simulations.recording.__main__.NEEDED", ())
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["--out", str(tmp_path), "--force"]) == 2
    assert "is not a trace" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps = 0 is below 1"),
        ({"group_size": 1}, "group_size = 1 is below 2"),
        ({"expert_error_rate": 1.5}, r"expert_error_rate = 1.5 is outside \[0, 1\]"),
        ({"hidden_size": 20, "heads": 4}, "hidden_size = 20 is not a multiple of 2"),
        ({"oracle_samples": 12, "group_size": 8}, "oracle_samples = 12 is not a multiple of"),
    ],
)
def test_a_setting_that_cannot_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=message):
        Settings(**changes)


def test_an_unknown_controller_field_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "trace"), "--set", "ema_bta=0.5"]) == 2
    assert "ema_bta" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


# A new recording: needs requirements/record.txt

SMALL = (
    *("--steps", "6", "--warm-start-steps", "10", "--hidden-size", "16", "--heads", "2"),
    *("--groups", "3", "--group-size", "4", "--experts", "5", "--problems", "64"),
    *("--demonstrations", "32", "--oracle-samples", "16", "--seed", "3"),
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[TraceReader, TraceReader]:
    """Six steps of a tiny model, with true values at steps 0 and 3, and the same without.

    One after the other in another process, so that torch's global settings stay there, and what
    the first leaves behind meets the second.
    """
    pytest.importorskip("torch")
    pytest.importorskip("trl")
    folder = tmp_path_factory.mktemp("small")
    every = {"with": "3", "without": "0"}
    command = ["from simulations.recording.__main__ import main"]
    for name, steps in every.items():
        arguments = ["--out", str(folder / name), *SMALL, "--oracle-every", steps]
        command.append(f"assert main({arguments}) == 0")
    program = [sys.executable, "-c", "\n".join(command)]
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True)
    return TraceReader(folder / "with"), TraceReader(folder / "without")


@pytest.mark.slow
def test_a_new_recording_replays_bit_for_bit(recorded: tuple[TraceReader, TraceReader]) -> None:
    small, _ = recorded
    comparison = Comparison(rtol=0.0, atol=0.0)
    rows = list(replay(small, GACConfig.from_dict(small.meta["config"])))
    for row in rows:
        comparison.add(row)
    assert comparison.first is None
    assert comparison.steps == len(rows) == 6
    assert [row.step for row in rows if row.oracle] == [0, 3]
    assert 0.0 < small.meta["timing"]["estimator_share"] < 1.0


@pytest.mark.slow
def test_same_seed_same_training_with_or_without_an_oracle(
    recorded: tuple[TraceReader, TraceReader],
) -> None:
    small, again = recorded
    for number in small.steps:
        name = f"steps/{number:08d}.npz"
        if small.read(number).oracle:
            with np.load(small.path / name) as first, np.load(again.path / name) as second:
                assert {key for key in first if not key.startswith("oracle/")} == set(second)
                for key in second:
                    np.testing.assert_array_equal(first[key], second[key])
        else:
            assert (small.path / name).read_bytes() == (again.path / name).read_bytes()
    header = json.loads((again.path / "trace.json").read_text())
    assert header["meta"]["settings"]["oracle_every"] == 0


@pytest.mark.slow
def test_the_mean_of_per_sample_gradients_is_the_gradient_of_the_batch() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("trl")
    from simulations.recording import oracle
    from simulations.recording.model import build_model, token_logprob
    from simulations.recording.tokenizer import build_tokenizer, encode_pairs

    torch.manual_seed(0)
    settings = Settings(hidden_size=16, heads=2, response_tokens=8)
    tokenizer = build_tokenizer()
    model = build_model(settings, tokenizer)
    rows = encode_pairs(
        tokenizer, ["1+2=", "47+5=", "10+90="], ["3", "52", "99"], response_tokens=8
    )
    mask = rows["completion_mask"]
    advantages = torch.tensor([1.0, -0.5, 0.25])
    reference = -torch.rand(3, 8)

    def batch_gradient(losses: Any) -> np.ndarray:
        gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
        return np.concatenate([value.double().numpy().ravel() for value in gradients])

    def logprob() -> Any:
        ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], dim=1)
        return token_logprob(model, ids, torch.cat([rows["prompt_mask"], mask], dim=1), 8)

    rl_rows = {**rows, "advantages": advantages, "ref_logprob": reference}
    for per_sample, whole in (
        (oracle.sft_gradients(model, rows), oracle.sft_row_loss(logprob(), mask)),
        (
            oracle.rl_gradients(model, rl_rows, 0.3),
            oracle.rl_row_loss(logprob(), mask, advantages, reference, 0.3),
        ),
    ):
        expected = batch_gradient(whole)
        scale = np.abs(expected).max()
        assert scale > 0.0
        assert per_sample.shape == (3, expected.size)
        np.testing.assert_allclose(per_sample.mean(axis=0), expected, atol=GRADIENT_RTOL * scale)


@pytest.mark.slow
def test_oracle_values_are_unbiased_for_a_training_batch() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("trl")
    from simulations.recording.oracle import oracle_values

    rng = np.random.default_rng(0)
    trials, d, n, groups, size = 400, 5, 12, 6, 4
    shift = np.full(d, 0.7)
    found = []
    for _ in range(trials):
        x_s = shift + 2.0 * rng.standard_normal((n, d))
        # A component shared by a group: only whole groups are independent samples.
        shared = np.repeat(rng.standard_normal((groups, d)), size, axis=0)
        x_r = shared + rng.standard_normal((groups * size, d))
        found.append(oracle_values(x_s, x_r, experts=3, groups=2, group_size=size))
    truth = {
        "sigma_s2": 4.0 * d / 3,
        "sigma_r2_groups": d * (1.0 + 1.0 / size) / 2,
        "delta_g2_groups": float(shift @ shift),
    }
    for name, expected in truth.items():
        values = np.array([value[name] for value in found])
        # Five standard errors of the mean over the trials.
        assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(trials), name
