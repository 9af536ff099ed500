"""Token-level batches: valid ones, with the stated shares and the stated expected proxies."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from _asserts import refuses
from _noise_cases import ROUNDING, STANDARD_ERRORS, assert_mean_is
from scipy import integrate, stats

from gac_ref import Batch, GACConfig, init, proxies, update
from simulations.noise import LengthLaw, TokenBatches, token_moments

BATCHES = 300
LAWS = {
    "uniform": LengthLaw(law="uniform", low=2, high=9),
    "geometric": LengthLaw(law="geometric", low=1, high=20, mean=6.0),
    "lognormal": LengthLaw(law="lognormal", low=1, high=24, mean=5.0, spread=0.7),
    "two_point": LengthLaw(law="two_point", low=1, high=12),
    "constant": LengthLaw(low=6, high=6),
}
CASES = {
    "default": TokenBatches(prompts=32, experts=64, zero_groups=6),
    "equal": TokenBatches(
        prompts=16, group_size=4, experts=24, zero_groups=4, nll_success=0.7, nll_failure=0.7,
        rollout_lengths=LAWS["constant"], per_token=True, padding="nan",
    ),
    "ragged": TokenBatches(
        prompts=20, group_size=6, experts=28, zero_groups=4, solved_groups=4, pass_rate=0.2,
        convention="verl", rollout_lengths=LAWS["two_point"], expert_lengths=LAWS["geometric"],
        nll_success=0.3, nll_failure=2.0, mistake_rate=0.4, padding="random",
    ),
    "undivided": TokenBatches(
        prompts=3, group_size=5, experts=4, zero_groups=0, convention="dr_grpo", pass_rate=0.8,
        expert_lengths=LAWS["lognormal"], nll_spread=0.0, mistake_rate=1.0, mistake_nll=3.0,
    ),
    "all_zero": TokenBatches(prompts=3, group_size=3, experts=4, zero_groups=3),
    "missing": TokenBatches(
        prompts=3, group_size=3, experts=4, missing_experts=0.3, missing_rollouts=0.2
    ),
}  # fmt: skip
UNTRIMMED = {"trim_ratio": 0.0, "mask_eps": 0.0, "eps": 0.0}


def batches(case, n=BATCHES, seed=0):
    rng = np.random.default_rng(seed)
    return [CASES[case].batch(rng) for _ in range(n)]


@pytest.fixture(scope="module")
def drawn():
    return {name: batches(name) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_batches_are_valid_and_ragged_as_stated(drawn, name):
    spec = CASES[name]
    for batch in drawn[name]:
        assert isinstance(batch, Batch)
        assert batch.shape[1] == spec.width
        assert batch.has_token_advantages == spec.per_token
        assert np.all(batch.lengths >= 1)
        assert batch.rollout_rows.size in (0, spec.prompts * spec.group_size)
        assert batch.expert_rows.size in (0, spec.experts)
    for rows, law in (("rollout_rows", spec.rollout_lengths), ("expert_rows", spec.expert_lengths)):
        lengths = np.concatenate([b.lengths[getattr(b, rows)] for b in drawn[name]])
        shares = lengths[:, None] == law.lengths
        assert_mean_is(shares, law.probabilities)


@pytest.mark.parametrize("name", [n for n in CASES if n != "missing"])
def test_groups_without_spread_are_exactly_as_many_as_stated(drawn, name):
    spec, moments = CASES[name], token_moments(CASES[name])
    for batch in drawn[name][:300]:
        rewards = batch.rewards[batch.rollout_rows].reshape(spec.prompts, spec.group_size)
        assert np.mean(~rewards.any(axis=1)) == moments.zero_group_share
        spread = rewards.min(axis=1) < rewards.max(axis=1)
        assert np.mean(spread) == moments.spread_group_share
        ids = batch.group_ids[batch.rollout_rows]
        assert set(Counter(ids.tolist()).values()) == {spec.group_size}


@pytest.mark.parametrize("name", ["default", "ragged", "undivided"])
def test_success_counts_of_mixed_groups_are_a_conditioned_binomial(drawn, name):
    spec = CASES[name]
    k, share = spec.success_counts
    law = stats.binom(spec.group_size, spec.pass_rate)
    np.testing.assert_allclose(share, law.pmf(k) / law.pmf(k).sum(), rtol=ROUNDING)
    counts = np.concatenate([
        b.rewards[b.rollout_rows].reshape(spec.prompts, -1).sum(axis=1) for b in drawn[name]
    ])  # fmt: skip
    mixed = counts[(counts > 0) & (counts < spec.group_size)]
    assert_mean_is(mixed[:, None] == k, share)


@pytest.mark.parametrize("name", [n for n in CASES if n != "missing"])
def test_expected_proxies_are_the_stated_ones(drawn, name):
    exact = token_moments(CASES[name])
    plain = {"coefficient_normalization": "none"}
    stated = [
        (plain, {field: getattr(exact, field) for field in ("sigma_s2", "sigma_r2", "delta_g2")}),
        (plain | {"disagreement_rows": "all"}, {"delta_g2": exact.delta_g2_all}),
    ]
    if name == "undivided":
        stated.append((plain | {"use_phi": False}, {"delta_g2": exact.delta_g2_no_phi}))
    if name == "equal":
        stated.append(({}, {"delta_g2": exact.delta_g2_zscore}))
    for changes, pairs in stated:
        found = [proxies(GACConfig(**UNTRIMMED, **changes), batch) for batch in drawn[name]]
        for field, value in pairs.items():
            assert_mean_is([getattr(p, field) for p in found], value)
    assert math.isnan(exact.delta_g2_zscore) == (name != "equal")
    assert exact.kappa == 0.0


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("mistake_rate", [0.0, 0.3])
def test_sequence_means_of_demonstrations_have_the_stated_mean_and_variance(law, mistake_rate):
    spec = TokenBatches(
        prompts=1, group_size=2, experts=20_000, zero_groups=0, expert_lengths=LAWS[law],
        mistake_rate=mistake_rate,
    )  # fmt: skip
    exact, batch = token_moments(spec), spec.batch(np.random.default_rng(1))
    rows = batch.expert_rows
    nll = np.where(batch.response_mask[rows], -batch.logprob[rows], 0.0)
    means = nll.sum(axis=1) / batch.lengths[rows]
    assert_mean_is(means, exact.sequence_nll)
    assert_mean_is((means - exact.sequence_nll) ** 2, exact.sequence_nll_variance)
    assert_mean_is(1.0 - batch.rewards[rows], mistake_rate)


def test_branch_statistics_do_not_correlate(drawn):
    found = [proxies(GACConfig(), batch) for batch in drawn["ragged"]]
    s, r = (np.array([getattr(p, f) for p in found]) for f in ("sigma_s2", "sigma_r2"))
    assert_mean_is((s - s.mean()) * (r - r.mean()), 0.0)


def test_branches_are_missing_as_often_as_stated_and_never_both():
    exact = token_moments(CASES["missing"])
    assert (exact.missing_experts, exact.missing_rollouts) == (0.3, 0.2)
    many = batches("missing", n=1_500, seed=2)
    no_s = np.array([b.expert_rows.size == 0 for b in many])
    no_r = np.array([b.rollout_rows.size == 0 for b in many])
    assert_mean_is(no_s, 0.3)
    assert_mean_is(no_r, 0.2)
    assert not np.any(no_s & no_r)


@pytest.mark.parametrize("config", [GACConfig(), GACConfig.released(), GACConfig.decoupled()])
@pytest.mark.parametrize("name", CASES)
def test_batches_go_through_the_controller(drawn, config, name):
    if config.masking == "multiply" and CASES[name].padding == "nan":
        pytest.skip("multiplying by the mask lets NaN in the padding through, as released")
    config = config.replace(mu_update_freq=1)
    state = init(config)
    for step, batch in enumerate(drawn[name][:12]):
        state, info = update(config, state, batch, step=step)
        assert info.refreshed
        assert config.mu_min <= float(info.mu) <= config.mu_max
    if name == "all_zero":
        assert info.proxies.sigma_r2_floored


def test_padding_does_not_matter():
    spec = TokenBatches(prompts=2, group_size=3, experts=4, per_token=True, padding="nan")
    for padding in ("zero", "nan", "random"):
        batch = TokenBatches(
            prompts=2, group_size=3, experts=4, per_token=True, padding=padding
        ).batch(np.random.default_rng(8))
        outside = batch.logprob[~batch.response_mask]
        assert outside.size > 0
        assert np.isnan(outside).all() == (padding == "nan")
        reference = spec.batch(np.random.default_rng(8))
        assert proxies(GACConfig(), batch) == pytest.approx(
            proxies(GACConfig(), reference), rel=ROUNDING, nan_ok=True
        )


def test_kl_and_entropy_are_carried():
    batch = TokenBatches(kl=0.03, entropy=1.2).batch(np.random.default_rng(0))
    assert (batch.kl, batch.entropy) == (0.03, 1.2)


# Length laws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAWS)
def test_length_laws_have_the_stated_probabilities_and_moments(name):
    law = LAWS[name]
    assert law.probabilities.sum() == pytest.approx(1.0, rel=ROUNDING)
    drawn = law.draw(np.random.default_rng(0), 40_000)
    assert_mean_is(drawn[:, None] == law.lengths, law.probabilities)
    for power in (1, 2, -1, -2):
        assert_mean_is(drawn.astype(float) ** power, law.moment(power))


def test_named_laws_are_the_ones_they_are_named_after():
    geometric = LAWS["geometric"]
    ratio = geometric.probabilities[1:] / geometric.probabilities[:-1]
    np.testing.assert_allclose(ratio, 1.0 - 1.0 / 6.0, rtol=ROUNDING)
    lognormal = LAWS["lognormal"]
    density = stats.lognorm(0.7, scale=5.0).pdf(lognormal.lengths)
    np.testing.assert_allclose(lognormal.probabilities, density / density.sum(), rtol=ROUNDING)
    assert LAWS["two_point"].probabilities[[0, -1]].tolist() == [0.5, 0.5]
    assert LAWS["constant"].probabilities.tolist() == [1.0]


def test_phi_moments_of_an_exponential_nll_match_quadrature():
    spec = TokenBatches(
        prompts=1, group_size=2, zero_groups=1, nll_success=0.4, nll_failure=0.9,
        nll_spread=0.0, nll_expert=0.6, mistake_rate=1.0, mistake_nll=2.0, experts=2,
        expert_lengths=LengthLaw(low=1, high=1),
    )  # fmt: skip

    def phi2(mean, offset):
        def integrand(x):
            p = math.exp(-x * mean - offset)
            return (p * (1.0 - p)) ** 2 * math.exp(-x)

        return integrate.quad(integrand, 0.0, math.inf)[0]

    exact = token_moments(spec)
    assert exact.delta_g2 == pytest.approx(phi2(0.9, 0.0), rel=1e-9)  # all rollouts fail
    both = 0.5 * (phi2(0.9, 0.0) + phi2(0.6, 2.0))
    assert exact.delta_g2_all == pytest.approx(both, rel=1e-9)


def test_sigma_r2_is_the_share_of_groups_with_spread_times_g_minus_one_over_g():
    spec = TokenBatches(prompts=4, zero_groups=1, group_size=8, convention="verl")
    # Up to the 1e-6 that this convention adds to a spread of about 1/2.
    assert token_moments(spec).sigma_r2 == pytest.approx(0.75 * 7.0 / 8.0, rel=2e-5)


def test_trimming_has_no_closed_form_and_cuts_the_mistakes(drawn):
    trimmed = [proxies(GACConfig(trim_ratio=0.2), b).sigma_s2 for b in drawn["default"]]
    error = np.std(trimmed) / math.sqrt(BATCHES)
    assert np.mean(trimmed) < token_moments(CASES["default"]).sigma_s2 - STANDARD_ERRORS * error


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: TokenBatches(group_size=1), "group_size = 1 is not a whole number >= 2"),
        (lambda: TokenBatches(prompts=2, zero_groups=2, solved_groups=1), "= 3 is above prompts"),
        (lambda: TokenBatches(pass_rate=1.0), r"pass_rate = 1\.0"),
        (lambda: TokenBatches(convention="trl_batch"), "convention = 'trl_batch'"),
        (lambda: TokenBatches(missing_experts=0.6, missing_rollouts=0.6), "never lacks both"),
        (lambda: TokenBatches(nll_spread=1.0), r"nll_spread = 1\.0"),
        (lambda: TokenBatches(nll_success=0.0), r"nll_success = 0\.0"),
        (lambda: TokenBatches(mistake_rate=-0.1), r"mistake_rate = -0\.1"),
        (lambda: TokenBatches(rollout_lengths=8), "rollout_lengths = 8 is not a LengthLaw"),
        (lambda: TokenBatches(per_token=1), "per_token = 1"),
        (lambda: TokenBatches(padding="inf"), "padding = 'inf'"),
        (lambda: TokenBatches(entropy=-1.0), r"entropy = -1\.0"),
        (lambda: LengthLaw(law="zipf"), "law = 'zipf'"),
        (lambda: LengthLaw(low=5, high=4), "low = 5 is above high = 4"),
        (lambda: LengthLaw(law="geometric", mean=1.0), r"mean = 1\.0"),
    ],
)
def test_impossible_batches_are_refused_in_one_line(make, match):
    with refuses(match):
        make()
