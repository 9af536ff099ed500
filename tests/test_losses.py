"""Losses: values by hand and by loops, gradients by finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _loss_cases import (
    ALL,
    DIFFERENCE,
    KINK_MARGIN,
    ROUNDING,
    B,
    Case,
    T,
    loop_aggregate,
    make,
    numeric_gradient,
    surrogate,
)

from gac_ref._typing import FloatArray
from gac_ref.errors import GACError
from gac_ref.losses import (
    aggregation_weights,
    clipped_surrogate_loss,
    sft_loss,
    sft_phi_loss,
)

# Masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e300])
def test_masked_positions_are_never_read(name: str, poison: float) -> None:
    case = make(8)
    logprob, old, ref, advantages = (np.where(case.mask, a, poison) for a in case[:4])
    poisoned = Case(logprob, old, ref, advantages, case.mask, case.expert)
    clean, dirty = (surrogate(c, c.logprob, aggregation=name) for c in (case, poisoned))
    assert dirty.value == clean.value
    np.testing.assert_array_equal(dirty.grad, clean.grad)
    for loss in (sft_loss, sft_phi_loss):
        pair = [loss(c.logprob, c.mask, aggregation=name) for c in (case, poisoned)]
        assert pair[0].value == pair[1].value
        np.testing.assert_array_equal(pair[0].grad, pair[1].grad)
    assert np.all(dirty.grad[~case.mask] == 0.0)
    assert np.any(dirty.grad[case.mask] != 0.0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(0, 4), (3, 4)])
def test_nothing_unmasked_is_zero_and_not_nan(name: str, shape: tuple[int, int]) -> None:
    nothing, mask = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
    for normalizer in (None, 10.0):
        options: dict[str, Any] = {"aggregation": name, "normalizer": normalizer}
        losses = [
            sft_loss(nothing, mask, **options),
            sft_phi_loss(nothing, mask, **options),
            clipped_surrogate_loss(nothing, nothing, nothing, mask, **options),
        ]
        for loss in losses:
            assert loss.value == 0.0
            np.testing.assert_array_equal(loss.grad, np.zeros(shape))


# Terms and their gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_sft_gradient_is_minus_the_weights(name: str) -> None:
    case = make(9)
    loss = sft_loss(case.logprob, case.mask, aggregation=name)
    np.testing.assert_array_equal(loss.grad, -aggregation_weights(case.mask, name))
    assert loss.value == pytest.approx(float(np.sum(loss.grad * case.logprob)), rel=ROUNDING)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kl_coef", [0.0, 0.05])
def test_surrogate_gradient_matches_central_differences(name: str, kl_coef: float) -> None:
    case = make(10)
    ratio = np.exp(case.logprob - case.old)
    for kink in (0.8, 1.3, 2.0):
        assert np.abs(np.log(ratio / kink))[case.mask].min() > KINK_MARGIN
    regimes = [
        (a > 0, r < 0.8, r > 1.3, r > 2.0)
        for a, r in zip(case.advantages[case.mask], ratio[case.mask], strict=True)
    ]
    assert len(set(regimes)) >= 5  # clipped low, high, dual and not, for either sign

    def value(logprob: FloatArray) -> float:
        return surrogate(case, logprob, aggregation=name, kl_coef=kl_coef).value

    analytic = surrogate(case, case.logprob, aggregation=name, kl_coef=kl_coef).grad
    numeric = numeric_gradient(value, case.logprob, case.mask)
    np.testing.assert_allclose(analytic, numeric, atol=DIFFERENCE * 10.0)


@pytest.mark.parametrize("cutoff", [1.0, 0.5])
def test_phi_gradient_holds_phi_constant(cutoff: float) -> None:
    case = make(11)
    capped = math.log(cutoff)
    assert np.abs(case.logprob - capped)[case.mask].min() > KINK_MARGIN
    p = np.exp(case.logprob)
    frozen = aggregation_weights(case.mask, "token_mean") * p * (1.0 - p)

    def detached(logprob: FloatArray) -> float:
        return -float(np.sum(frozen * np.minimum(logprob, capped)))

    def attached(logprob: FloatArray) -> float:
        return sft_phi_loss(logprob, case.mask, cutoff=cutoff).value

    loss = sft_phi_loss(case.logprob, case.mask, cutoff=cutoff)
    assert loss.value == pytest.approx(detached(case.logprob), rel=ROUNDING)
    numeric = numeric_gradient(detached, case.logprob, case.mask)
    np.testing.assert_allclose(loss.grad, numeric, atol=DIFFERENCE)
    through = sft_phi_loss(case.logprob, case.mask, cutoff=cutoff, detach=False)
    assert through.value == loss.value
    numeric = numeric_gradient(attached, case.logprob, case.mask)
    np.testing.assert_allclose(through.grad, numeric, atol=DIFFERENCE)
    assert np.abs(through.grad - loss.grad).max() > 0.001


def test_attached_phi_pushes_likely_tokens_up_and_unlikely_ones_down() -> None:
    tokens = np.log([[0.9, 0.5, 0.01]])
    mask = np.ones((1, 3))
    assert np.all(sft_phi_loss(tokens, mask).grad < 0.0)
    assert np.sign(sft_phi_loss(tokens, mask, detach=False).grad).tolist() == [[-1.0, -1.0, 1.0]]


@pytest.mark.parametrize("cutoff", [0.3, 0.7])
def test_cutoff_silences_tokens_more_probable_than_it(cutoff: float) -> None:
    p = np.array([[0.1, 0.29, cutoff, 0.71, 0.999]])
    loss = sft_phi_loss(np.log(p), np.ones((1, 5)), cutoff=cutoff)
    assert ((loss.grad < 0.0) == (p <= cutoff)).all()
    expected = np.mean(-p * (1.0 - p) * np.log(np.minimum(p, cutoff)))
    assert loss.value == pytest.approx(expected, rel=ROUNDING)


def test_phi_keeps_its_digits_near_certainty() -> None:
    loss = sft_phi_loss([[-1e-12]], [[1]])
    assert loss.grad[0, 0] == pytest.approx(-1e-12, rel=1e-11)  # phi = x - 3x^2/2 at x = 1e-12


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "slope"),
    [
        (2.0, 1.1, -2.2, -2.2),
        (2.0, 1.5, -2.4, 0.0),
        (2.0, 0.1, -0.2, -0.2),
        (-2.0, 1.1, 2.2, 2.2),
        (-2.0, 0.5, 1.4, 0.0),
        (-2.0, 2.5, 5.0, 5.0),
        (-2.0, 4.0, 6.0, 0.0),
        (0.0, 4.0, 0.0, 0.0),
    ],
)
def test_clip_by_hand(advantage: float, ratio: float, loss: float, slope: float) -> None:
    old = [[math.log(0.1)]]
    new = [[math.log(0.1) + math.log(ratio)]]
    got = clipped_surrogate_loss(
        new, old, [advantage], [[1]], clip_low=0.3, clip_high=0.2, dual_clip=3.0
    )
    assert got.value == pytest.approx(loss, rel=ROUNDING)
    assert got.grad[0, 0] == pytest.approx(slope, rel=ROUNDING)


def test_agrees_with_the_three_way_form_of_verl_and_the_capped_form_of_trl() -> None:
    case = make(12)
    r, a = np.exp(case.logprob - case.old), case.advantages
    plain = np.maximum(-a * r, -a * np.clip(r, 0.8, 1.3))
    verl = np.where(a < 0.0, np.minimum(-a * 2.0, plain), plain)
    trl = -np.minimum(np.minimum(r, 2.0) * a, np.clip(r, 0.8, 1.3) * a)
    got = surrogate(case, case.logprob, kl_coef=0.0).value
    assert got == pytest.approx(loop_aggregate(verl, case.mask, "token_mean"), rel=ROUNDING)
    assert got == pytest.approx(loop_aggregate(trl, case.mask, "token_mean"), rel=ROUNDING)
    assert np.any((verl != plain) & case.mask)
    without = surrogate(case, case.logprob, kl_coef=0.0, dual_clip=None).value
    assert without == pytest.approx(loop_aggregate(plain, case.mask, "token_mean"), rel=ROUNDING)


def test_on_policy_surrogate_is_policy_gradient() -> None:
    case = make(13)
    got = clipped_surrogate_loss(case.old, case.old, case.advantages, case.mask)
    weights = aggregation_weights(case.mask)
    np.testing.assert_array_equal(got.grad, np.where(case.mask, -weights * case.advantages, 0.0))


def test_one_advantage_a_sequence_is_the_same_on_each_token() -> None:
    case = make(14)
    a = case.advantages[:, 0]
    short = clipped_surrogate_loss(case.logprob, case.old, a, case.mask)
    tiled = np.repeat(a, T).reshape(B, T)
    assert short.value == clipped_surrogate_loss(case.logprob, case.old, tiled, case.mask).value


def test_k3_penalty_is_nonnegative_and_flat_at_the_reference() -> None:
    case = make(15)
    zero = np.zeros(B)
    away, home = (
        clipped_surrogate_loss(
            case.logprob, case.old, zero, case.mask, ref_logprob=ref, kl_coef=2.0
        )
        for ref in (case.ref, case.logprob)
    )
    x = case.ref - case.logprob
    expected = 2.0 * loop_aggregate(np.exp(x) - x - 1.0, case.mask, "token_mean")
    assert away.value == pytest.approx(expected, rel=ROUNDING)
    assert home.value == 0.0
    assert not home.grad.any()


# Inputs -----------------------------------------------------------------------------------------


def test_probabilities_in_place_of_their_logs_are_refused_by_every_loss() -> None:
    p, mask = np.array([[0.3, 0.9]]), np.ones((1, 2))
    log_p = np.log(p)
    complaint = "logs, so pass values <= 0"
    with pytest.raises(GACError, match=complaint):
        sft_loss(p, mask)
    with pytest.raises(GACError, match=complaint):
        sft_phi_loss(p, mask)
    with pytest.raises(GACError, match=complaint):
        clipped_surrogate_loss(p, log_p, [1.0], mask)
    with pytest.raises(GACError, match=complaint):
        clipped_surrogate_loss(log_p, p, [1.0], mask)


def test_narrow_floats_are_widened_exactly() -> None:
    case = make(21)
    for dtype in (np.float16, np.float32):
        narrow = case.logprob.astype(dtype)
        wide = narrow.astype(np.float64)
        assert sft_phi_loss(narrow, case.mask).value == sft_phi_loss(wide, case.mask).value


def test_sum_does_not_depend_on_the_order_of_the_rows() -> None:
    case = make(22)
    back = case.logprob[::-1], case.mask[::-1]
    assert sft_phi_loss(*back).value == sft_phi_loss(case.logprob, case.mask).value
