"""The hybrid loss: its branches, any split of it, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _loss_cases import ALL, ROUNDING, SPLIT, B, Case, T, make
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gac_ref._typing import FloatArray
from gac_ref.errors import GACError
from gac_ref.losses import (
    aggregation_count,
    clipped_surrogate_loss,
    hybrid_loss,
    sft_loss,
    sft_phi_loss,
)


def hybrid(case: Case, mu: float, **options: Any) -> Any:
    return hybrid_loss(
        case.logprob,
        case.mask,
        case.expert,
        mu,
        old_logprob=case.old,
        advantages=case.advantages,
        ref_logprob=case.ref,
        kl_coef=0.05,
        **options,
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sft", ["nll", "phi"])
def test_hybrid_is_the_weighted_sum_of_branches_on_their_own_rows(name: str, sft: Any) -> None:
    case = make(16)
    got = hybrid(case, 0.3, sft=sft, rl_aggregation=name, sft_aggregation=name)
    r, e = ~case.expert, case.expert
    rl = clipped_surrogate_loss(
        case.logprob[r],
        case.old[r],
        case.advantages[r],
        case.mask[r],
        ref_logprob=case.ref[r],
        kl_coef=0.05,
        aggregation=name,
    )
    term = sft_loss if sft == "nll" else sft_phi_loss
    supervised = term(case.logprob[e], case.mask[e], aggregation=name)
    assert got.value == pytest.approx(0.7 * rl.value + 0.3 * supervised.value, rel=ROUNDING)
    assert (got.rl.value, got.sft.value) == (rl.value, supervised.value)
    np.testing.assert_allclose(got.grad[r], 0.7 * rl.grad, rtol=ROUNDING)
    np.testing.assert_allclose(got.grad[e], 0.3 * supervised.grad, rtol=ROUNDING)


def test_ends_of_mu_are_the_pure_objectives() -> None:
    case = make(17)
    ends = hybrid(case, 0.0), hybrid(case, 1.0)
    assert ends[0].value == ends[0].rl.value
    assert ends[1].value == ends[1].sft.value
    assert not ends[0].grad[case.expert].any()
    assert not ends[1].grad[~case.expert].any()
    middle = hybrid(case, 0.25).value
    slope = ends[0].sft.value - ends[0].rl.value
    assert middle == pytest.approx(ends[0].value + 0.25 * slope, rel=ROUNDING)


@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize("sft", ["nll", "phi"])
@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_one_branch_has_zero_in_the_other(only: bool, sft: Any, name: str) -> None:
    case = make(18)._replace(expert=np.full(B, only))
    for count in (None, 50.0):
        got = hybrid(
            case,
            0.5,
            sft=sft,
            rl_aggregation=name,
            sft_aggregation=name,
            rl_normalizer=count,
            sft_normalizer=count,
        )
        empty, full = (got.rl, got.sft) if only else (got.sft, got.rl)
        assert empty.value == 0.0
        assert not empty.grad.any()
        assert got.value == 0.5 * full.value != 0.0


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=15, deadline=None)
@given(pieces=st.lists(st.integers(0, 2), min_size=B, max_size=B), seed=st.integers(0, 99))
@example(pieces=[0, 1, 0, 1, 1, 0], seed=0)  # no micro-batch holds both branches
def test_hybrid_of_any_split_adds_up_to_the_whole(name: str, pieces: list[int], seed: int) -> None:
    case = make(seed)
    options = {"rl_aggregation": name, "sft_aggregation": name}
    whole = hybrid(case, 0.4, **options)
    counts = {
        "rl_normalizer": aggregation_count(case.mask[~case.expert], name),
        "sft_normalizer": aggregation_count(case.mask[case.expert], name),
    }
    value, gradient = 0.0, np.zeros((B, T))
    for piece in range(3):
        rows = np.array(pieces) == piece
        part = hybrid(Case(*(array[rows] for array in case)), 0.4, **options, **counts)
        value += part.value
        gradient[rows] = part.grad
    scale = float(np.sum(np.abs(whole.grad))) + abs(whole.value)
    assert value == pytest.approx(whole.value, rel=SPLIT, abs=SPLIT * 10.0 * scale)
    np.testing.assert_array_equal(gradient, whole.grad)


def test_expert_rows_need_no_rollout_data() -> None:
    case = make(19)
    blank = np.where(case.expert[:, np.newaxis], np.nan, 1.0)
    bare = case._replace(
        old=case.old * blank, ref=case.ref * blank, advantages=case.advantages * blank
    )
    assert hybrid(bare, 0.4).value == hybrid(case, 0.4).value


def call(**changes: Any) -> Any:
    case = make(20, ragged=False)
    arguments: dict[str, Any] = {
        "logprob": case.logprob,
        "response_mask": case.mask,
        "is_expert": case.expert,
        "mu": 0.5,
        "old_logprob": case.old,
        "advantages": case.advantages,
    }
    return hybrid_loss(**(arguments | changes))


def with_entry(value: float, row: int, column: int, base: str = "logprob") -> FloatArray:
    array: FloatArray = getattr(make(20, ragged=False), base).copy()
    array[row, column] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logprob": with_entry(0.25, 3, 2)}, r"logprob\[3, 2\] = 0.25 is above 0; log-prob"),
        ({"logprob": with_entry(-math.inf, 4, 1)}, r"logprob\[4, 1\] = -inf is not finite"),
        ({"old_logprob": with_entry(math.nan, 5, 1, "old")}, r"old_logprob\[5, 1\] = nan"),
        ({"advantages": with_entry(math.inf, 2, 4)}, r"advantages\[2, 4\] = inf"),
        ({"advantages": np.zeros(B + 1)}, r"advantages has shape \(7,\); pass \(6,\) or \(6, 7\)"),
        ({"old_logprob": np.zeros((T, B))}, r"old_logprob has shape \(7, 6\); pass \(6, 7\)"),
        ({"response_mask": np.full((B, T), 0.5)}, r"response_mask\[0, 0\] = 0.5"),
        ({"response_mask": np.ones(T)}, r"response_mask has shape \(7,\)"),
        ({"logprob": np.zeros(T)}, r"logprob has shape \(7,\)"),
        ({"mu": 1.5}, r"mu = 1.5 is outside \[0, 1\]"),
        ({"mu": math.nan}, "mu = nan"),
        ({"sft": "dft"}, "sft = 'dft' is unknown"),
        ({"cutoff": 0.5}, "cutoff = 0.5 has no meaning"),
        ({"cutoff": 0.0, "sft": "phi"}, r"cutoff = 0.0 is outside \(0, 1\]"),
        ({"clip_low": -0.1}, "clip_low = -0.1"),
        ({"dual_clip": 1.0}, "dual_clip = 1.0 is not above 1"),
        ({"kl_coef": 0.1}, "kl_coef = 0.1 needs ref_logprob"),
        ({"rl_aggregation": "mean"}, "aggregation = 'mean' is unknown; pass one of token_mean"),
        ({"rl_normalizer": 14.0}, "normalizer = 14.0 is below this part's own count of 21 tokens"),
        ({"sft_normalizer": math.nan}, "normalizer = nan is not a finite count"),
        ({"sft_normalizer": 0.0, "sft_aggregation": "dr_grpo"}, "normalizer = 0.0"),
        (
            {"old_logprob": np.full((B, T), -800.0), "advantages": -np.ones(B)},
            "= inf is not finite",
        ),
    ],
)
def test_malformed_input_names_the_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=message) as caught:
        call(**changes)
    assert "\n" not in str(caught.value)
