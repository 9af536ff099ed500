"""Group-relative advantages: each convention against an independent one, and its properties."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gac_ref._typing import FloatArray
from gac_ref.advantages import CONVENTIONS, AdvantageConvention, group_advantages
from gac_ref.errors import GACError

# Mean, square root, sum and quotient round a few times each; groups have at most 12 members.
ROUNDING = 64 * np.finfo(np.float64).eps
# The largest relative effect of eps = 1e-4 on an advantage when the spread is at least 0.2.
TRL_EPS_EFFECT = 1e-4 / 0.2
# A spread below this meets the variance floor 1e-6 of verl's vectorised form.
VERL_KNEE = 1e-3

ALL = sorted(CONVENTIONS)
CENTRED = sorted(set(ALL) - {"luffy_split", "trinity_mix"})

rewards_in_groups = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([-1.5, 0.0, 0.1, 0.3, 1.0, 2.0]), st.booleans()),
    min_size=1,
    max_size=12,
)


def reference(
    rewards: list[float], ids: list[int], experts: list[bool], convention: str
) -> list[float]:
    """Advantages by dictionaries and exact fractions, written from the trainers' descriptions."""
    exact = [Fraction(r) for r in rewards]
    splits = convention in ("luffy_split", "trinity_mix")
    groups: dict[int, list[Fraction]] = defaultdict(list)
    for r, g, e in zip(exact, ids, experts, strict=True):
        if not (splits and e):
            groups[g].append(r)
    everything = [r for members in groups.values() for r in members]

    def sample_std(members: list[Fraction]) -> float:
        if len(members) < 2:
            return 0.0
        mean = sum(members, Fraction(0)) / len(members)
        return math.sqrt(sum((r - mean) ** 2 for r in members) / Fraction(len(members) - 1))

    answers = []
    for r, g, e in zip(exact, ids, experts, strict=True):
        if convention == "trinity_mix" and e:
            answers.append(0.0)
            continue
        members = groups[g]
        mean, std = sum(members, Fraction(0)) / len(members), sample_std(members)
        eps = 1e-6
        if convention in ("trl", "trl_batch", "dr_grpo"):
            eps = 1e-4
            std = sample_std(everything) if convention == "trl_batch" else std
        elif len(members) == 1:
            mean, std = Fraction(0), 1.0
        elif convention == "verl_vectorized":
            std = math.sqrt(max(std**2, 1e-6))
        elif convention == "luffy_split" and std == 0.0:
            std = 1.0
        undivided = convention in ("dr_grpo", "verl_unscaled")
        answers.append(float(r - mean) / (1.0 if undivided else std + eps))
    return answers


@pytest.mark.parametrize("convention", ALL)
@settings(max_examples=60, deadline=None)
@given(rows=rewards_in_groups)
@example(rows=[(3, 0.1, False)] * 3)
@example(rows=[(0, 2.0, False), (0, -1.5, True), (1, 0.3, False), (0, 2.0, False)])
@example(rows=[(2, 1.0, False), (2, 2.0, True)])
def test_agrees_with_exact_fractions(convention: str, rows: list[tuple[int, float, bool]]) -> None:
    with_rollout = {g for g, _, e in rows if not e}
    kept = [(g, r, e) for g, r, e in rows if g in with_rollout or convention != "luffy_split"]
    ids, rewards, experts = (
        (list(column) for column in zip(*kept, strict=True)) if kept else ([], [], [])
    )
    got = group_advantages(rewards, ids, convention=convention, is_expert=experts)
    want = reference(rewards, ids, experts, convention)
    np.testing.assert_allclose(got, want, rtol=ROUNDING, atol=ROUNDING)


def uneven(seed: int, scale: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Rewards of 7 groups of sizes 2..8 in random order, every group with spread."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(7) * 11 - 5, np.arange(2, 9)))
    return scale * rng.normal(size=ids.size), ids


@pytest.mark.parametrize("convention", CENTRED)
def test_sums_to_zero_within_each_group(convention: str) -> None:
    rewards, ids = uneven(0)
    advantages = group_advantages(rewards, ids, convention=convention)
    for g in np.unique(ids):
        assert abs(math.fsum(advantages[ids == g])) < ROUNDING
    assert np.abs(advantages).max() > 1.0


@pytest.mark.parametrize("convention", CENTRED)
def test_shift_of_one_groups_rewards_changes_nothing(convention: str) -> None:
    rewards, ids = uneven(1)
    # Quarters stay exact under these shifts, so the invariance is exact too.
    rewards = np.round(4 * rewards) / 4
    shift = np.where(ids == ids[0], 1024.0, -3.5)
    if convention == "trl_batch":
        shift = np.full_like(rewards, 1024.0)  # its spread is the batch's, so one shift for all
    before = group_advantages(rewards, ids, convention=convention)
    after = group_advantages(rewards + shift, ids, convention=convention)
    np.testing.assert_allclose(after, before, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("convention", ALL)
def test_permutation_equivariant_and_blind_to_the_labels(convention: str) -> None:
    rewards, ids = uneven(2)
    order = np.random.default_rng(3).permutation(ids.size)
    before = group_advantages(rewards, ids, convention=convention)
    after = group_advantages(rewards[order], 1000 - 3 * ids[order], convention=convention)
    np.testing.assert_allclose(after, before[order], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("convention", CENTRED)
def test_scaling_multiplies_or_cancels(convention: str) -> None:
    rewards, ids = uneven(4)
    rule = CONVENTIONS[convention]
    once = group_advantages(rewards, ids, convention=convention)
    tripled = group_advantages(3.0 * rewards, ids, convention=convention)
    if not rule.divides:
        np.testing.assert_allclose(tripled, 3.0 * once, rtol=ROUNDING, atol=ROUNDING)
        return
    # s/(s + eps) grows with the scale: the same sign and at most eps/s away from invariance.
    assert np.all(np.abs(tripled) > np.abs(once))
    smallest = min(np.std(rewards[ids == g], ddof=1) for g in np.unique(ids))
    assert np.all(np.abs(tripled) < np.abs(once) * (1.0 + rule.eps / smallest))


@pytest.mark.parametrize("scale", [2.0**-700, 2.0**500])
def test_extreme_rewards_keep_their_digits(scale: float) -> None:
    rewards, ids = uneven(5)
    rule = dataclasses.replace(CONVENTIONS["verl"], eps=1e-300)
    got = group_advantages(rewards * scale, ids, convention=rule)
    np.testing.assert_allclose(got, group_advantages(rewards, ids, convention=rule), rtol=ROUNDING)


@pytest.mark.parametrize("spread", [0.0, 1e-8, 9.9e-4, 1.01e-3, 0.5])
def test_the_two_verl_forms_differ_exactly_when_the_spread_is_below_the_floor(
    spread: float,
) -> None:
    # Two rewards a distance d apart have the sample deviation d / sqrt(2).
    rewards = [0.0, spread * math.sqrt(2.0)]
    loop = group_advantages(rewards, [0, 0], convention="verl")
    vectorised = group_advantages(rewards, [0, 0], convention="verl_vectorized")
    if 0.0 < spread < VERL_KNEE:
        ratio = (spread + 1e-6) / (VERL_KNEE + 1e-6)
        np.testing.assert_allclose(vectorised, loop * ratio, rtol=ROUNDING)
        assert abs(vectorised[0]) < abs(loop[0])
    else:
        np.testing.assert_array_equal(vectorised, loop)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("trl", 0.0),
        ("trl_batch", 0.0),
        ("dr_grpo", 0.0),
        ("verl_unscaled", 0.7),
        ("verl", 0.7 / (1.0 + 1e-6)),
        ("verl_vectorized", 0.7 / (1.0 + 1e-6)),
        ("trinity", 0.7 / (1.0 + 1e-6)),
        ("trinity_mix", 0.7 / (1.0 + 1e-6)),
        ("luffy_split", 0.7 / (1.0 + 1e-6)),
    ],
)
def test_group_of_one(convention: str, expected: float) -> None:
    assert group_advantages([0.7], [4], convention=convention).tolist() == [expected]


@pytest.mark.parametrize("convention", ALL)
@pytest.mark.parametrize("reward", [0.1, 1.0 / 3.0, 1e17])
def test_group_without_spread_is_exactly_zero(convention: str, reward: float) -> None:
    # 0.1 added three times is not 0.3, so a rounded mean would leave a residue over 1e-6.
    assert group_advantages([reward] * 3, [0] * 3, convention=convention).tolist() == [0.0] * 3


def test_a_demonstration_is_measured_against_the_rollouts_it_does_not_enter() -> None:
    rewards, experts = [1.0, 0.0, 0.5], [True, False, False]
    scale = math.sqrt(0.125) + 1e-6
    split = group_advantages(rewards, [0] * 3, convention="luffy_split", is_expert=experts)
    np.testing.assert_allclose(split, [0.75 / scale, -0.25 / scale, 0.25 / scale], rtol=ROUNDING)
    mixed = group_advantages(rewards, [0] * 3, convention="trinity_mix", is_expert=experts)
    np.testing.assert_allclose(mixed, [0.0, -0.25 / scale, 0.25 / scale], rtol=ROUNDING)
    pooled = group_advantages(rewards, [0] * 3, convention="verl", is_expert=experts)
    assert pooled.tolist() == group_advantages(rewards, [0] * 3, convention="verl").tolist()


def test_a_demonstration_against_rollouts_without_spread_gets_its_distance() -> None:
    got = group_advantages(
        [1.0, 0.0, 0.0], [0] * 3, convention="luffy_split", is_expert=[True, False, False]
    )
    assert got.tolist() == [1.0 / (1.0 + 1e-6), 0.0, 0.0]


def test_a_demonstration_never_moves_the_rollouts() -> None:
    rewards, ids = uneven(6)
    experts = np.arange(ids.size) % 5 == 0
    for convention in ("luffy_split", "trinity_mix"):
        calm = group_advantages(rewards, ids, convention=convention, is_expert=experts)
        wild = np.where(experts, 1e6, rewards)
        moved = group_advantages(wild, ids, convention=convention, is_expert=experts)
        np.testing.assert_array_equal(moved[~experts], calm[~experts])
        alone = group_advantages(rewards[~experts], ids[~experts], convention=convention)
        np.testing.assert_allclose(calm[~experts], alone, rtol=ROUNDING)


@pytest.mark.parametrize("convention", ["trl", "verl", "trinity"])
@pytest.mark.parametrize(("group_size", "share"), [(2, 1.0), (4, 0.5), (8, 0.25)])
def test_variance_of_normalised_advantages_counts_groups_with_spread(
    convention: str, group_size: int, share: float
) -> None:
    rng = np.random.default_rng(7)
    groups = 32
    rewards = np.zeros((groups, group_size))
    rewards[: int(share * groups), 0] = 1.0
    rewards = rng.permuted(rewards, axis=1)
    advantages = group_advantages(
        rewards.ravel(), np.repeat(np.arange(groups), group_size), convention=convention
    )
    sigma_r2 = float(np.var(advantages))
    limit = (group_size - 1) / group_size * share
    assert sigma_r2 < limit
    assert sigma_r2 > limit * (1.0 - 2.0 * TRL_EPS_EFFECT)


def test_variance_carries_nothing_of_the_rewards_but_which_groups_vary() -> None:
    ids = np.repeat(np.arange(6), 4)
    rng = np.random.default_rng(8)
    spread = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 4)
    narrow, wide = (s * spread * rng.normal(size=24) for s in (1.0, 50.0))
    variances = [float(np.var(group_advantages(r, ids, convention="verl"))) for r in (narrow, wide)]
    assert variances == pytest.approx([0.5, 0.5], rel=1e-4)  # eps against spreads above 0.02


@pytest.mark.parametrize("convention", ALL)
def test_no_sequences_no_advantages(convention: str) -> None:
    empty = group_advantages([], [], convention=convention, is_expert=[])
    assert empty.shape == (0,)
    assert empty.dtype == np.float64


def test_only_demonstrations_get_zero_where_experts_have_no_advantage() -> None:
    got = group_advantages([1.0, 2.0], [0, 0], convention="trinity_mix", is_expert=[1, 1])
    assert got.tolist() == [0.0, 0.0]


def test_narrow_and_integer_rewards_are_widened_exactly() -> None:
    ids = [0, 0, 1, 1, 1]
    wide = group_advantages([1.0, 0.0, 0.0, 1.0, 1.0], ids)
    for dtype in (np.float16, np.float32, np.int8, np.bool_):
        narrow = np.array([1, 0, 0, 1, 1], dtype=dtype)
        assert group_advantages(narrow, np.array(ids, dtype=np.uint8)).tolist() == wide.tolist()


def test_inputs_are_not_written() -> None:
    rewards, ids = uneven(9)
    for array in (rewards, ids):
        array.flags.writeable = False
    group_advantages(rewards, ids, convention="luffy_split")


def test_conventions_are_read_only_data() -> None:
    assert all(CONVENTIONS[name].name == name for name in ALL)
    with pytest.raises(TypeError):
        CONVENTIONS["trl"] = CONVENTIONS["verl"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONVENTIONS["trl"].eps = 1.0  # type: ignore[misc]


def test_population_variance_is_a_convention_of_ones_own() -> None:
    mine = AdvantageConvention(name="mine", source="here", ddof=0, eps=1e-12)
    got = group_advantages([0.0, 1.0], [0, 0], convention=mine)
    np.testing.assert_allclose(got, [-1.0, 1.0], rtol=1e-11)  # eps 1e-12 against a spread of 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, float("nan")], [0, 0]), r"rewards\[1\] = nan is not finite"),
        (([1.0, float("inf")], [0, 0]), r"rewards\[1\] = inf is not finite"),
        (([1.0, 2.0], [0, 0, 1]), r"group_ids has shape \(3,\) but rewards has"),
        (([[1.0, 2.0]], [[0, 0]]), r"rewards has shape \(1, 2\)"),
        (([1.0, 2.0], [0.0, 1.0]), "group_ids has dtype float64; pass integers"),
        (([1.0, 2.0], ["a", "b"]), "group_ids has dtype"),
        (([1.0, 2.0], [True, False]), "group_ids has dtype bool"),
        ((["1.0"], [0]), "rewards has dtype"),
        (([1.5e308, -1.5e308], [0, 0]), r"rewards\[0\] = 1.5e\+308 overflows"),
    ],
)
def test_malformed_input_names_the_value(arguments: tuple[object, object], message: str) -> None:
    with pytest.raises(GACError, match=message) as caught:
        group_advantages(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_unknown_convention_is_named_with_the_known_ones() -> None:
    with pytest.raises(GACError, match=r"convention = 'grpo' is unknown; pass one of trl, "):
        group_advantages([1.0], [0], convention="grpo")


def test_malformed_expert_flags_are_refused() -> None:
    with pytest.raises(GACError, match=r"is_expert has shape \(1,\)"):
        group_advantages([1.0, 2.0], [0, 0], is_expert=[True])
    with pytest.raises(GACError, match=r"is_expert\[1\] = 0.5"):
        group_advantages([1.0, 2.0], [0, 0], is_expert=[1.0, 0.5])


def test_demonstrations_without_any_rollout_of_their_prompt_are_refused() -> None:
    with pytest.raises(GACError, match="group 9 has demonstrations and no rollout"):
        group_advantages(
            [1.0, 2.0, 0.0], [3, 9, 3], convention="luffy_split", is_expert=[False, True, True]
        )


@pytest.mark.parametrize(
    "changes", [{"eps": 0.0}, {"eps": math.nan}, {"ddof": 2}, {"variance_floor": -1.0}]
)
def test_conventions_that_could_divide_by_zero_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(GACError, match=next(iter(changes))):
        dataclasses.replace(CONVENTIONS["trl"], **changes)  # type: ignore[arg-type]
