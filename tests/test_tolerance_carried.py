"""Errors that come in leave by the derivatives: no less, and not much more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _carried import GUARDED, LINEAR, ROUNDING, SMALL, bounds, passes

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.conformance.reference import evaluate

STATISTICS: dict[str, Any] = {
    "proxy_sigma_s2": 0.031, "proxy_sigma_r2": 0.17, "proxy_delta_g2": 0.23,
    "has_s": True, "has_r": True, "has_delta": True,
    "previous_sigma_s2": 0.41, "previous_sigma_r2": 0.019, "previous_delta_g2": 0.0071,
    "previous_count_s": 2, "previous_count_r": 1, "previous_count_delta": 3,
    "previous_last_refresh": 3, "step": 13,
}  # fmt: skip
NAMES = {"s": "sigma_s2", "r": "sigma_r2", "delta": "delta_g2"}


@pytest.mark.parametrize("branch", NAMES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"step": 12},  # not due
        {"previous_last_refresh": -1, "step": 0},  # the first one is
        {"has_s": False, "has_r": False, "has_delta": False},
        {"previous_count_s": 0, "previous_count_r": 0, "previous_count_delta": 0},
        {"proxy_delta_g2": -0.1},
    ],
)
@pytest.mark.parametrize("missing", ["hold", "zero"])
def test_the_statistics_ema(branch: str, changes: dict[str, Any], missing: Any) -> None:
    config = GACConfig(ema_beta=0.8, mu_update_freq=10, missing_branch=missing)
    inputs, name = {**STATISTICS, **changes}, NAMES[branch]
    found = evaluate("statistics_ema", config, inputs)
    if found[f"count_{branch}"] == 0:
        return
    uncertain: tuple[str, ...] = (f"proxy_{name}", f"previous_{name}")
    if inputs[f"proxy_{name}"] < 0.0:
        uncertain = uncertain[1:]
    passes("statistics_ema", config, inputs, {name: LINEAR}, uncertain)


@pytest.mark.parametrize("count", [0, 2])
def test_a_stand_in_for_a_statistic_that_was_never_seen_is_exact(count: int) -> None:
    config = GACConfig(unseen_statistic="unit")
    inputs = {**STATISTICS, "previous_count_s": count, "has_s": False}
    errors = {"previous_sigma_s2": 1e-3, "proxy_sigma_s2": 1e-3}
    limit = float(bounds("statistics_ema", config, inputs, errors)["sigma_s2"].limit)
    assert limit == 0.0 if count == 0 else limit > 0.9e-3


@pytest.mark.parametrize("kl", [0.0213, 0.019, 0.05, 0.001])
def test_alpha(kl: float) -> None:
    config = GACConfig(alpha_mode="kl", kl_gain=0.7)
    inputs = {"previous_alpha": 0.31, "kl": kl}
    passes("alpha", config, inputs, {"alpha": LINEAR}, ("previous_alpha", "kl"))


@pytest.mark.parametrize("mode", ["kl", "static"])
def test_alpha_without_a_kl_is_handed_on(mode: Any) -> None:
    inputs = {"previous_alpha": 0.31, "kl": math.nan if mode == "kl" else 0.03}
    config = GACConfig(alpha_mode=mode, alpha=0.31)
    found = bounds("alpha", config, inputs, {"previous_alpha": 1e-3})
    assert float(found["alpha"].limit) == pytest.approx(1e-3)
    assert float(found["alpha_clipped"].limit) == 0.0


@pytest.mark.parametrize("flat", ["zero", "alpha"])
@pytest.mark.parametrize("ratio", [0.0, 0.7, 5.0])
def test_the_closed_form(ratio: float, flat: Any) -> None:
    config = GACConfig(delta_g2_cap_ratio=ratio, flat_risk=flat, eps=3e-3)
    inputs = {"sigma_s2": 0.31, "sigma_r2": 0.17, "delta_g2": 0.9, "alpha": 0.23}
    capped = ("sigma_s2", "sigma_r2", "delta_g2")
    passes("closed_form", config, inputs, {"delta_g2_capped": LINEAR}, capped)
    if ratio == 0.7:
        # s and r come in twice, through the cap and beside it: the derivatives have other signs.
        passes("closed_form", config, inputs, {"mu_raw": GUARDED}, ("alpha", "delta_g2"))
        passes("closed_form", config, inputs, {"mu_raw": 2.0}, (*capped, "alpha"))
    else:
        passes("closed_form", config, inputs, {"mu_raw": GUARDED}, (*capped, "alpha"))


@pytest.mark.parametrize("kind", ["applied", "internal", "off"])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("raw", [0.22, 4.0])
def test_the_weight_ema(kind: Any, held: bool, raw: float) -> None:
    config = GACConfig(weight_ema=kind, ema_beta=0.8)
    inputs = {"previous_mu": 0.31, "previous_mu_ada": 0.7, "mu_raw": raw, "not_ready": held}
    names = ("previous_mu", "previous_mu_ada", "mu_raw")
    passes("weight_ema", config, inputs, {"mu_ada": LINEAR}, names)


@pytest.mark.parametrize("prior", ["warmup_cosine", "none"])
@pytest.mark.parametrize("step", [7, 30, 70])
def test_the_blend(prior: Any, step: int) -> None:
    config = GACConfig(prior=prior, prior_warmup=10, prior_decay=40, blend_weight=0.3)
    inputs = {"mu_ada": 0.29, "step": step}
    passes("prior_blend", config, inputs, {"mu_candidate": LINEAR}, ("mu_ada",))


@pytest.mark.parametrize("candidate", [0.313, 0.29, 0.7, 0.1])
def test_the_change_cap(candidate: float) -> None:
    config = GACConfig(mu_change_cap=0.04)
    inputs = {"mu_candidate": candidate, "previous_mu": 0.31}
    passes("change_cap", config, inputs, {"mu_capped": LINEAR}, ("mu_candidate",))
    if abs(candidate - 0.31) > 0.04:
        passes("change_cap", config, inputs, {"mu_capped": LINEAR}, ("previous_mu",))


@pytest.mark.parametrize("value", [0.31, 0.95, 0.01])
def test_the_clip(value: float) -> None:
    passes("clip", GACConfig(), {"mu_capped": value}, {"mu": LINEAR}, ("mu_capped",))


@pytest.mark.parametrize("eps", [1e-8, 100.0])
@pytest.mark.parametrize("trim", [0.0, 0.2])
def test_the_proxies(trim: float, eps: float) -> None:
    rng = np.random.default_rng(5)
    expert = np.arange(14) % 2 == 0
    inputs = {
        "tokens": np.full(14, 5),
        "nll": rng.uniform(0.2, 3.0, 14),
        "advantage": rng.normal(0.4, 1.0, 14),
        "disagreement": rng.uniform(0.1, 2.0, 14),
        "is_expert": expert,
    }
    config = GACConfig(trim_ratio=trim, eps=eps)
    for name, source in (("proxy_sigma_s2", "nll"), ("proxy_sigma_r2", "advantage")):
        passes("proxies", config, inputs, {name: GUARDED}, (source,))
    passes("proxies", config, inputs, {"proxy_delta_g2": LINEAR}, ("disagreement",))


def streams(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(9)
    shape, expert = (4, 5), np.array([False, True, False, False])
    mask = rng.random(shape) < 0.8
    inputs = {
        "logprob": -rng.uniform(0.1, 3.0, shape),
        "response_mask": mask,
        "advantages": rng.normal(0.3, 1.0, shape),
        "is_expert": expert,
    }
    return {**inputs, **evaluate("coefficients", GACConfig(), inputs), **changes}


@pytest.mark.parametrize(("normalization", "loose"), [("none", 1.11), ("zscore", 3.5)])
@pytest.mark.parametrize("source", ["c_s", "c_r"])
def test_the_disagreement(source: str, normalization: Any, loose: float) -> None:
    """Of a z-score the bound adds up what goes through the mean, the spread and the token."""
    config = GACConfig(coefficient_normalization=normalization)
    inputs = streams()
    kept = inputs["response_mask"] & ~inputs["is_expert"][:, None]
    error = np.where(kept, SMALL * np.abs(inputs[source]), 0.0)
    golden = evaluate("sequences", config, inputs)["disagreement"]

    def disagreement(c_s: FloatArray, c_r: FloatArray) -> Any:
        pair = [np.where(kept, one, 0.0) for one in (c_s, c_r)]
        if normalization == "zscore":
            pair = [np.where(kept, one - one[kept].mean(), 0.0) / one[kept].std() for one in pair]
        squares: FloatArray = (pair[0] - pair[1]) ** 2
        return squares.sum(axis=-1) / (inputs["response_mask"].sum(axis=-1) + 1e-8)

    rows = ~inputs["is_expert"]
    np.testing.assert_allclose(disagreement(inputs["c_s"], inputs["c_r"])[rows], golden[rows])
    total = np.zeros(4)
    for place in zip(*np.nonzero(error), strict=True):
        moved = {name: inputs[name].copy() for name in ("c_s", "c_r")}
        moved[source][place] += error[place]
        total += np.abs(disagreement(**moved) - disagreement(inputs["c_s"], inputs["c_r"]))
    limit = bounds("sequences", config, inputs, {source: error})["disagreement"].limit
    assert np.all(limit[rows] >= (1.0 - 1e-4) * total[rows])
    assert np.all(limit[rows] <= loose * total[rows] + ROUNDING), limit[rows] / total[rows]


def test_the_kl_that_is_given() -> None:
    config, inputs = GACConfig(alpha_mode="kl"), streams(batch_kl=0.037)
    passes("sequences", config, inputs, {"kl": LINEAR}, ("batch_kl",))


@pytest.mark.parametrize(
    ("convention", "loose"),
    [("trl", 9.0), ("trl_batch", 4.5), ("dr_grpo", 1.9), ("verl", 9.0), ("verl_vectorized", 9.0)],
)
def test_the_group_advantages(convention: str, loose: float) -> None:
    """The reward, the mean and the spread are bounded one by one, and partly cancel."""
    inputs = {
        "rewards": np.array([0.5, 1.25, 3.0, -0.75, 2.0, 0.25, -1.5]),
        "group_ids": np.array([0, 0, 0, 0, 1, 1, 1]),
        "is_expert": np.zeros(7, dtype=np.bool_),
        "convention": convention,
    }
    passes("advantages", GACConfig(), inputs, {"group_advantages": loose}, ("rewards",))


@pytest.mark.parametrize(
    ("convention", "scale"), [("verl", 1.0 / (1.0 + 1e-6)), ("verl_unscaled", 1.0)]
)
def test_a_group_of_one_hands_on_its_reward(convention: str, scale: float) -> None:
    inputs = {
        "rewards": np.array([0.7]), "group_ids": np.array([3]), "is_expert": np.array([False]),
        "convention": convention,
    }  # fmt: skip
    found = bounds("advantages", GACConfig(), inputs, {"rewards": 1e-3})["group_advantages"]
    np.testing.assert_allclose(found.limit, 1.1e-3 * scale, rtol=1e-9)


def test_demonstrations_do_not_enter_the_mean_where_they_are_references() -> None:
    expert = np.array([False, False, False, True])
    inputs = {
        "rewards": np.array([0.5, 1.25, 3.0, -0.75]),
        "group_ids": np.zeros(4, dtype=np.int64),
        "is_expert": expert,
    }
    errors = {"rewards": np.where(expert, 1e-6, 0.0)}
    for convention, others in (("luffy_split", False), ("trinity_mix", False), ("trl", True)):
        chosen = {**inputs, "convention": convention}
        limit = bounds("advantages", GACConfig(), chosen, errors)["group_advantages"].limit
        assert bool(np.all(limit[:3] > 1e-8)) is others
        if convention == "trinity_mix":
            assert limit[3] == 0.0  # 0 whatever the reward is
        else:
            assert limit[3] > 0.5e-6


def test_the_weight_of_the_branches_in_the_loss() -> None:
    shape = (2, 3)
    inputs = {
        "logprob": -np.array([[0.2, 1.5, 0.7], [2.0, 0.3, 0.9]]),
        "old_logprob": -np.array([[0.2, 1.5, 0.7], [2.1, 0.25, 0.85]]),
        "response_mask": np.ones(shape, dtype=np.bool_),
        "is_expert": np.array([True, False]),
        "advantages": np.array([[0.0] * 3, [0.5, 1.5, 2.0]]),
        "mu": 0.375, "clip_low": 0.2, "clip_high": 0.3, "sft": "phi",
        "rl_aggregation": "token_mean", "sft_aggregation": "token_mean",
        "rl_normalizer": 3.0, "sft_normalizer": 3.0,
    }  # fmt: skip
    for name in ("loss_value", "loss_grad"):
        # Of the value the two branches are bounded one by one, and partly cancel.
        loose = GUARDED if name == "loss_grad" else 2.5
        passes("loss", GACConfig(), inputs, {name: loose}, ("mu",))
