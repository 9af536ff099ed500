"""Situations of the pack that only a few cases show: each is still the one it was made for."""

from __future__ import annotations

import numpy as np
import pytest

from gac_ref.conformance.case import Exchange
from gac_ref.conformance.pack import load_pack

PACK = load_pack()


def fp64(case_id: str) -> tuple[Exchange, ...]:
    return PACK.case(case_id).exchanges("fp64")


def test_some_step_is_decided_by_the_clip_and_not_by_the_cap() -> None:
    at_a_bound, sides = set(), set()
    for exchange in fp64("step/candidate-beyond-the-bounds"):
        out, mu = exchange.expected, exchange.expected["mu"]
        assert out["mu_clipped"]
        assert not out["change_capped"]
        sides.add(out["mu_capped"] > mu)
        if exchange.inputs["previous_mu"] == mu:
            at_a_bound.add(out["mu_capped"] > mu)
    assert sides == at_a_bound == {False, True}


def test_some_step_tells_the_cap_before_the_clip_from_the_clip_before_the_cap() -> None:
    case = PACK.case("step/previous-weight-outside-the-bounds")
    low, high, most = case.config.mu_min, case.config.mu_max, case.config.mu_change_cap
    exchanged = []
    for exchange in fp64(case.id):
        before = exchange.inputs["previous_mu"]
        clipped = min(max(exchange.expected["mu_candidate"], low), high)
        exchanged.append(before + min(max(clipped - before, -most), most))
        assert not low <= before <= high
    apart = [abs(e.expected["mu"] - x) > 0.1 for e, x in zip(fp64(case.id), exchanged, strict=True)]
    assert apart == [True, True, False]


def test_three_demonstrations_are_not_trimmed_where_the_ratio_would_take_one() -> None:
    case = PACK.case("proxies/three-experts-are-not-trimmed")
    exchange = fp64(case.id)[0]
    nll = exchange.inputs["nll"][exchange.inputs["is_expert"]]
    assert len(nll) == 3
    assert int(3 * case.config.trim_ratio) == 1
    assert exchange.expected["proxy_sigma_s2"] == pytest.approx(np.var(nll), rel=1e-12)


@pytest.mark.parametrize("rule", ["hold", "unit"])
def test_the_disagreement_alone_makes_a_step_not_ready(rule: str) -> None:
    outputs = [e.expected for e in fp64(f"statistics_ema/disagreement-alone-unseen-{rule}")]
    assert [out["not_ready"] for out in outputs] == [True, True, False]
    assert [out["count_delta"] for out in outputs] == [0, 0, 1]
    assert [out["delta_g2"] for out in outputs[:2]] == [0.0, 0.0]
    assert all(out["count_s"] and out["count_r"] for out in outputs)


@pytest.mark.parametrize(
    "case_id", ["sequences/branches-hold-zscore", "step/missing-branches-hold-zscore"]
)
def test_held_rollouts_without_a_token_have_no_disagreement(case_id: str) -> None:
    assert PACK.case(case_id).config.coefficient_normalization == "zscore"
    masked = fp64(case_id)[2]
    rollouts = ~masked.inputs["is_expert"]
    assert rollouts.any()
    assert not masked.inputs["response_mask"][rollouts].any()
    assert not masked.expected["disagreement"].any()
    assert not masked.expected["sft_stream_constant"]
    assert fp64(case_id)[0].expected["disagreement"].all()
