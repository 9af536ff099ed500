"""Self-consistency of the exact oracles; the package under test is not imported here."""

from __future__ import annotations

import math
import random
from fractions import Fraction as Q
from itertools import pairwise

import pytest
from _oracles import (
    authority,
    bounds,
    controller,
    exact,
    gradients,
    guards,
    priors,
    risk,
    simplex,
    statistics,
)
from mpmath import mp

SEARCH_TOL = mp.mpf(10) ** -40
"""The search stops at a width of 1e-45; derived values lose a few digits."""

DIGITS_TOL = mp.mpf(10) ** -45
"""50-digit arithmetic over a few hundred operations."""

FLOAT_TOL = 1e-12
"""A float64 recomputation of short, well-conditioned sums."""

SETTLE_TOL = mp.mpf(10) ** -38
"""A one-step movement of 1e-42 over a contraction of 0.99 leaves at most 1e-40."""


def rational(rng: random.Random, low: int = 0, high: int = 40) -> Q:
    """Random rational in [low, high]."""
    return Q(rng.randint(low * 7, high * 7), 7)


def near(x, y, tol=DIGITS_TOL) -> bool:
    """Agreement relative to ``1 + |y|``."""
    a, b = exact.real(x), exact.real(y)
    return bool(abs(a - b) <= tol * (1 + abs(b)))


# exact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.1, -3.7e-310, 1e300, 2.0**-1074, 7, -0.0])
def test_conversions_keep_every_float(x):
    assert exact.frac(x) == Q(x)
    assert exact.frac(exact.real(x)) == Q(x)


def test_golden_section_finds_interior_boundary_and_unbounded_minima():
    assert near(exact.golden_section(lambda x: (x - mp.mpf(1) / 3) ** 2, 0, 1), Q(1, 3), SEARCH_TOL)
    assert near(exact.golden_section(lambda x: abs(x - mp.mpf(1) / 7), 0, 1), Q(1, 7), SEARCH_TOL)
    assert exact.golden_section(lambda x: x, 0, 1) == 0
    assert exact.golden_section(lambda x: -x, 0, 1) == 1
    for centre in (-973, 5, 12345):
        found = exact.golden_section_unbounded(lambda x, c=centre: (x - c) ** 2)
        assert near(found, centre, SEARCH_TOL)


# risk ----------------------------------------------------------------------------------------


def random_vector_problem(rng: random.Random) -> dict:
    """Random biased problem with admissible rational kappa."""
    s2_s, s2_r = rational(rng), rational(rng)
    return {
        "alpha": Q(rng.randint(0, 10), 10),
        "delta": [rational(rng, -5, 5) for _ in range(3)],
        "b_s": [rational(rng, -3, 3) for _ in range(3)],
        "b_r": [rational(rng, -3, 3) for _ in range(3)],
        "s2_s": s2_s,
        "s2_r": s2_r,
        "kappa": Q(rng.randint(-9, 9), 10) * min(s2_s, s2_r),
    }


@pytest.mark.parametrize("seed", range(10))
def test_vector_risk_is_a_parabola_with_the_stated_curvature_and_minimiser(seed):
    problem = random_vector_problem(random.Random(seed))
    best = risk.minimiser_vectors(**problem)
    shape = {k: v for k, v in problem.items() if k != "alpha"}
    a = risk.curvature_vectors(**shape)
    lowest = risk.risk_vectors(best, **problem)
    for mu in (Q(-2), Q(0), Q(1, 3), Q(1), Q(5)):
        assert risk.risk_vectors(mu, **problem) - lowest == a * (mu - best) ** 2
    slope = [
        d + s - r for d, s, r in zip(problem["delta"], problem["b_s"], problem["b_r"], strict=True)
    ]
    pull = sum(
        c * (problem["alpha"] * d - r)
        for c, d, r in zip(slope, problem["delta"], problem["b_r"], strict=True)
    )
    assert best == (pull + problem["s2_r"] - problem["kappa"]) / a


@pytest.mark.parametrize("seed", range(10))
def test_vector_form_without_bias_reduces_to_the_scalar_form(seed):
    problem = random_vector_problem(random.Random(seed))
    problem.pop("b_s")
    problem.pop("b_r")
    scalar = {k: v for k, v in problem.items() if k != "delta"}
    scalar["d2"] = sum(d * d for d in problem["delta"])
    assert risk.minimiser(**scalar) == risk.minimiser_vectors(**problem)
    for mu in (Q(0), Q(2, 7), Q(1)):
        assert risk.risk(mu, **scalar) == risk.risk_vectors(mu, **problem)


@pytest.mark.parametrize("seed", range(6))
def test_closed_form_beats_a_grid_and_equals_the_shrinkage_rule(seed):
    rng = random.Random(seed)
    terms = {
        "alpha": Q(rng.randint(0, 10), 10),
        "d2": rational(rng),
        "s2_s": rational(rng) + 1,
        "s2_r": rational(rng),
    }
    best = risk.closed_form(**terms)
    assert 0 <= best <= 1
    lowest = risk.risk(best, **terms)
    for i in range(-20, 121):
        mu = Q(i, 100)
        assert risk.risk(mu, **terms) >= lowest
        spread = {k: v for k, v in terms.items() if k != "alpha"}
        assert risk.regret(mu, **terms) == risk.curvature(**spread) * (mu - best) ** 2
    w, mu_iv = risk.shrinkage(d2=terms["d2"], s2_s=terms["s2_s"], s2_r=terms["s2_r"])
    assert best == w * terms["alpha"] + (1 - w) * mu_iv


def test_hand_computed_risk():
    terms = {"alpha": Q(1, 2), "d2": 4, "s2_s": 1, "s2_r": 3}
    assert risk.closed_form(**terms) == Q(5, 8)
    assert risk.risk(Q(5, 8), **terms) == Q(7, 8)
    assert risk.minimiser(**terms, kappa=-5) == Q(10, 18)
    assert risk.minimiser(alpha=1, d2=0, s2_s=1, s2_r=9, kappa=2) == Q(7, 6)
    assert risk.clip01(Q(7, 6)) == 1
    assert risk.closed_form(alpha=1, d2=0, s2_s=0, s2_r=0) is None


def test_sensitivities_match_the_short_forms_and_exact_differences():
    terms = {"alpha": Q(3, 10), "d2": Q(7, 3), "s2_s": Q(5, 4), "s2_r": Q(2, 9)}
    found = risk.sensitivities(**terms)
    best = risk.closed_form(**terms)
    total = terms["d2"] + terms["s2_s"] + terms["s2_r"]
    assert found["alpha"] == terms["d2"] / total
    assert found["s2_r"] == (1 - best) / total
    assert found["s2_s"] == -best / total
    assert found["d2"] == (terms["alpha"] - best) / total
    h = Q(1, 10**12)
    for name, value in found.items():
        moved = risk.closed_form(**{**terms, name: terms[name] + h})
        assert abs((moved - best) / h - value) < 10 * h


# bounds --------------------------------------------------------------------------------------


BOUND_TERMS = {"alpha": 0.3, "d2": 2.5, "s2_s": 0.7, "s2_r": 1.9, "beta_s": 0.6, "beta_r": 0.25}


def test_triangle_bound_holds_and_is_attained_by_aligned_biases():
    size = Q(3, 2)
    terms = {"alpha": Q(3, 10), "s2_s": Q(7, 10), "s2_r": Q(19, 10)}
    norms = {**terms, "d2": size**2, "beta_s": Q(3, 5), "beta_r": Q(1, 4)}
    for mu in (Q(i, 10) for i in range(11)):
        bound = bounds.triangle_bound(mu, **norms)
        aligned = 1 if mu >= terms["alpha"] else -1
        values = [
            risk.risk_vectors(mu, delta=[size, 0], b_s=b_s, b_r=b_r, **terms)
            for b_s, b_r in (
                ([aligned * Q(3, 5), 0], [aligned * Q(1, 4), 0]),
                ([Q(9, 25), Q(-12, 25)], [0, Q(1, 4)]),
            )
        ]
        assert near(bound, values[0])
        assert bound >= exact.real(values[1])


def test_young_family_lies_above_the_triangle_bound_and_touches_it():
    terms = {**BOUND_TERMS, "rho": 0.5}
    for mu in (0, 0.1, 0.5, 0.9, 1):
        bound = bounds.triangle_bound(mu, **terms)
        for eta in (0.01, 0.3, 1, 5):
            assert bounds.young_bound(mu, eta=eta, **terms) >= bound
        eta = bounds.best_eta(mu, alpha=0.3, d2=2.5, beta_s=0.6, beta_r=0.25)
        assert near(bounds.young_bound(mu, eta=eta, **terms), bound)


def test_bounds_without_bias_reduce_to_the_closed_form():
    terms = {**BOUND_TERMS, "beta_s": 0, "beta_r": 0}
    best = risk.closed_form(alpha=0.3, d2=2.5, s2_s=0.7, s2_r=1.9)
    assert near(bounds.triangle_minimiser(**terms), best, SEARCH_TOL)
    assert near(bounds.effective_noise_minimiser(**terms), best, SEARCH_TOL)
    assert near(bounds.effective_noise_minimiser(unconstrained=True, **terms), best, SEARCH_TOL)


def test_effective_noise_and_young_minimisers_match_their_parabolas():
    found = bounds.effective_noise_minimiser(**BOUND_TERMS)
    s2_s, s2_r = Q(0.7) + Q(0.6) ** 2, Q(1.9) + Q(0.25) ** 2
    assert near(found, risk.closed_form(alpha=0.3, d2=2.5, s2_s=s2_s, s2_r=s2_r), SEARCH_TOL)
    c = Q(0.6) - Q(0.25)
    top = 2 * Q(0.3) * Q(2.5) - 2 * c * Q(0.25) + Q(1.9)
    best = top / (2 * Q(2.5) + 2 * c * c + Q(0.7) + Q(1.9))
    for unconstrained in (False, True):
        found = bounds.young_minimiser(eta=1, unconstrained=unconstrained, **BOUND_TERMS)
        assert near(found, best, SEARCH_TOL)


def test_bound_minimisers_beat_a_grid_and_the_unconstrained_one_may_leave_the_interval():
    best = bounds.triangle_minimiser(**BOUND_TERMS)
    lowest = bounds.triangle_bound(best, **BOUND_TERMS)
    for i in range(101):
        assert bounds.triangle_bound(mp.mpf(i) / 100, **BOUND_TERMS) >= lowest
    steep = {"alpha": 1, "d2": 1, "s2_s": 0, "s2_r": 0, "beta_s": 0, "beta_r": 100, "eta": 1}
    assert bounds.young_minimiser(**steep) == 1
    outside = {"alpha": 0, "d2": 0, "s2_s": 1, "s2_r": 16, "rho": 1}
    assert bounds.effective_noise_minimiser(**outside) == 1
    free = bounds.effective_noise_minimiser(unconstrained=True, **outside)
    assert near(free, Q(4, 3), SEARCH_TOL)


# simplex -------------------------------------------------------------------------------------


def gram_of(vectors: list[list[Q]]) -> list[list[Q]]:
    """Gram matrix of vectors."""
    return [[exact.dot(x, y) for y in vectors] for x in vectors]


@pytest.mark.parametrize("seed", range(8))
def test_two_signals_reduce_to_the_correlated_closed_form(seed):
    rng = random.Random(seed)
    g = [[rational(rng, -4, 4) for _ in range(3)] for _ in range(2)]
    s2_s, s2_r = rational(rng) + 1, rational(rng) + 1
    kappa = Q(rng.randint(-9, 9), 10) * min(s2_s, s2_r)
    alpha = Q(rng.randint(0, 10), 10)
    noise = [[s2_s, kappa], [kappa, s2_r]]
    weights, value, unique = simplex.simplex_minimiser(gram_of(g), noise, [alpha, 1 - alpha])
    d2 = sum((x - y) ** 2 for x, y in zip(*g, strict=True))
    terms = {"alpha": alpha, "d2": d2, "s2_s": s2_s, "s2_r": s2_r, "kappa": kappa}
    mu = risk.clip01(risk.minimiser(**terms))
    assert unique
    assert weights == [mu, 1 - mu]
    assert value == risk.risk(mu, **terms)


@pytest.mark.parametrize("seed", range(6))
def test_three_signals_beat_a_grid_and_satisfy_the_kkt_conditions(seed):
    rng = random.Random(seed)
    gram = gram_of([[rational(rng, -4, 4) for _ in range(3)] for _ in range(3)])
    noise = gram_of([[rational(rng, -3, 3) for _ in range(3)] for _ in range(3)])
    target = [Q(1, 5), Q(3, 10), Q(1, 2)]
    weights, value, _ = simplex.simplex_minimiser(gram, noise, target)
    for i in range(16):
        for j in range(16 - i):
            point = [Q(i, 15), Q(j, 15), Q(15 - i - j, 15)]
            assert simplex.simplex_risk(point, gram, noise, target) >= value
    slopes = [
        sum(gram[i][j] * (weights[j] - target[j]) + noise[i][j] * weights[j] for j in range(3))
        for i in range(3)
    ]
    level = min(slopes)
    assert sum(weights) == 1
    assert all(s == level for s, w in zip(slopes, weights, strict=True) if w > 0)


def test_simplex_inverse_variance_and_flat_cases():
    zero = [[Q(0)] * 3 for _ in range(3)]
    noise = [[Q(1), 0, 0], [0, Q(2), 0], [0, 0, Q(4)]]
    weights, _, unique = simplex.simplex_minimiser(zero, noise, [Q(1, 3)] * 3)
    assert weights == [Q(4, 7), Q(2, 7), Q(1, 7)]
    assert unique
    _, value, unique = simplex.simplex_minimiser(zero, zero, [Q(1, 3)] * 3)
    assert value == 0
    assert not unique


# gradients -----------------------------------------------------------------------------------


def test_hand_computed_gradient_estimates():
    x = [[1, 0], [3, 0], [2, 3]]
    y = [[0, 1], [3, -1], [0, 0]]
    assert gradients.s2_hat(x) == Q(8, 6)
    assert gradients.s2_hat(y) == Q(8, 6)
    assert gradients.kappa_hat(x, y) == Q((1 - 1) + (2 + 1) + 0, 6)
    assert gradients.plain_distance(x, y) == 2
    assert gradients.d2_hat(x, y) == 2 - Q(16, 6)
    assert gradients.d2_hat(x, y, paired=True) == 2 - Q(16, 6) + 1
    assert gradients.gradient_oracle(x, y)["kappa"] is None


def test_estimators_are_unbiased_over_all_samples_of_a_finite_population():
    population = [([0, 1], [2, 0]), ([1, 1], [0, 3]), ([4, -2], [1, 1])]
    n, runs = 2, []
    for a in population:
        for b in population:
            runs.append(([a[0], b[0]], [a[1], b[1]]))
    mean_x = gradients.mean_vector([p[0] for p in population])
    mean_y = gradients.mean_vector([p[1] for p in population])

    def cov(i: int, j: int) -> Q:
        centre = (mean_x, mean_y)
        total = Q(0)
        for pair in population:
            for k in range(2):
                total += (pair[i][k] - centre[i][k]) * (pair[j][k] - centre[j][k])
        return total / len(population) / n

    assert sum(gradients.s2_hat(x) for x, _ in runs) / len(runs) == cov(0, 0)
    assert sum(gradients.kappa_hat(x, y) for x, y in runs) / len(runs) == cov(0, 1)
    truth = sum((a - b) ** 2 for a, b in zip(mean_x, mean_y, strict=True))
    assert sum(gradients.d2_hat(x, y, paired=True) for x, y in runs) / len(runs) == truth
    crossed = [(x, y) for x, _ in runs for _, y in runs]
    assert sum(gradients.d2_hat(x, y) for x, y in crossed) / len(crossed) == truth


def test_a_batch_paired_with_itself_has_no_distance():
    x = [[0.1, 2.0], [-3.5, 1.0], [7.0, 0.3]]
    assert gradients.d2_hat(x, x, paired=True) == 0
    assert gradients.d2_hat(x, x) == -2 * gradients.s2_hat(x)


def test_two_batch_sizes_recover_the_model_and_the_published_form():
    g2, s = Q(5, 3), Q(11, 2)
    small, big = g2 + s / 4, g2 + s / 64
    assert gradients.two_batch_size(4, small, 64, big) == (g2, s)
    found = gradients.two_batch_size_vectors(2, [3, 4], 10, [1, 2])
    assert found == ((10 * Q(5) - 2 * Q(25)) / 8, Q(25 - 5) / (Q(1, 2) - Q(1, 10)))


# statistics ----------------------------------------------------------------------------------


BATCH = {
    "logprob": [[-0.5, -1.0, -2.0], [-0.25, -3.0, -9.0], [-1.5, -0.125, -0.75], [-4.0, -2.0, -1.0]],
    "response_mask": [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]],
    "advantages": [[1.0, 1.0, 1.0], [-0.5, 0.25, 8.0], [3.0, 3.0, 3.0], [2.0, 2.0, 2.0]],
    "is_expert": [False, False, True, True],
}
NO_EPS = {"mask_eps": 0.0}


def test_masked_mean_by_hand_and_masking_rules():
    assert near(statistics.masked_mean([1, 2, 9], [1, 1, 0], mask_eps=0), Q(3, 2))
    assert near(statistics.masked_mean([1, 2, 9], [1, 1, 0], mask_eps=0.5), Q(6, 5))
    assert statistics.masked_mean([1.0, 2.0], [0, 0]) == 0
    for bad in (math.nan, -math.inf):
        row, mask = [1.0, bad], [1, 0]
        assert near(statistics.masked_mean(row, mask, mask_eps=0), 1)
        assert mp.isnan(statistics.masked_mean(row, mask, masking="multiply"))


def test_trim_count_truncates_the_float_product():
    assert [statistics.trim_count(n, 0.1) for n in (3, 4, 9, 10, 19, 20, 30)] == [
        0, 0, 0, 1, 1, 2, 3,
    ]  # fmt: skip
    assert statistics.trim_count(3, 0.4) == 0
    assert statistics.trim_count(4, 0.25) == 1
    assert statistics.trim_count(100, 0.29) == 28


def test_trimmed_variance_matches_fractions():
    values = [0.1, 5.0, -2.0, 7.5, 100.0, 3.0, 3.5, 4.0, -50.0, 1.0]
    kept = sorted(Q(v) for v in values)[1:-1]
    mean = sum(kept) / len(kept)
    expected = sum((v - mean) ** 2 for v in kept) / len(kept)
    assert near(statistics.trimmed_variance(values, 0.1), expected)
    assert near(statistics.trimmed_variance([1, 2, 9], 0.4), Q(38, 3))


def test_variances_by_hand():
    config = controller.make_config(**NO_EPS)
    assert near(statistics.sigma_r2_raw(config, BATCH), (Q(9, 8) / 2) ** 2)
    means = [Q(7, 16), Q(4)]
    assert near(statistics.sigma_s2_raw(config, BATCH), ((means[1] - means[0]) / 2) ** 2)


@pytest.mark.parametrize("use_phi", [True, False])
def test_unnormalised_disagreement_matches_a_float_recomputation(use_phi):
    config = controller.make_config("released", use_phi=use_phi)
    rows = []
    for lp, mask, adv, expert in zip(*BATCH.values(), strict=True):
        cells = []
        for x, kept, a in zip(lp, mask, adv, strict=True):
            c_s = -math.exp(x) * (1 - math.exp(x)) if use_phi else -1.0
            if kept:
                cells.append((c_s - (0.0 if expert else -a)) ** 2)
        rows.append(sum(cells) / (len(cells) + 1e-8))
    found, flags = statistics.delta_g2(config, BATCH)
    assert abs(float(found) - sum(rows) / 4) < FLOAT_TOL
    assert not any(flags.values())


def test_normalised_disagreement_is_two_minus_twice_the_correlation_on_equal_lengths():
    config = controller.make_config(**NO_EPS)
    batch = {**BATCH, "response_mask": [[1, 1, 1]] * 4}
    found, flags = statistics.delta_g2(config, batch)
    pairs = [
        (-math.exp(x) * (1 - math.exp(x)), -a)
        for lp, adv in zip(batch["logprob"][:2], batch["advantages"][:2], strict=True)
        for x, a in zip(lp, adv, strict=True)
    ]
    s, r = zip(*pairs, strict=True)
    ms, mr = sum(s) / 6, sum(r) / 6
    cov = sum((x - ms) * (y - mr) for x, y in pairs)
    r2 = math.sqrt(sum((x - ms) ** 2 for x in s) * sum((y - mr) ** 2 for y in r))
    assert abs(float(found) - 2 * (1 - cov / r2)) < FLOAT_TOL
    assert not any(flags.values())


def test_constant_streams_become_zero_and_flagged():
    config = controller.make_config(use_phi=False, **NO_EPS)
    batch = {**BATCH, "response_mask": [[1, 1, 1]] * 4}
    found, flags = statistics.delta_g2(config, batch)
    assert near(found, 1)
    assert flags == {"constant_s": True, "constant_r": False}
    found, flags = statistics.delta_g2(config, {**batch, "advantages": [1.0] * 4})
    assert found == 0
    assert all(flags.values())


def test_spread_threshold_sits_at_two_to_minus_forty_of_the_rms():
    def constant(h: float) -> bool:
        return statistics.znormalise([[1.0, 1.0 + h]], [[1, 1]])[1]

    assert constant(2.0**-39)
    assert not constant(2.0**-38.9)


def test_sequence_advantages_equal_repeated_token_advantages():
    config = controller.make_config()
    flat = {**BATCH, "advantages": [1.0, -2.0, 3.0, 2.0]}
    wide = {**BATCH, "advantages": [[a] * 3 for a in flat["advantages"]]}
    assert statistics.proxies(config, flat) == statistics.proxies(config, wide)


def test_padding_is_unread_under_select_and_poisons_under_multiply():
    poisoned = {**BATCH, "logprob": [row[:] for row in BATCH["logprob"]]}
    poisoned["logprob"][3][2] = -math.inf
    select = controller.make_config("released", masking="select")
    assert statistics.proxies(select, poisoned) == statistics.proxies(select, BATCH)
    found = statistics.proxies(controller.make_config("released"), poisoned)
    assert mp.isnan(found["sigma_s2"])
    assert not mp.isnan(found["delta_g2"])
    released = statistics.proxies(controller.make_config("released"), BATCH)
    assert released == statistics.proxies(select, BATCH)


def test_missing_branches_and_floors_are_reported():
    config = controller.make_config()
    experts = {**BATCH, "is_expert": [True] * 4}
    found = statistics.proxies(config, experts)
    assert [found[k] for k in ("has_s", "has_r", "has_delta")] == [True, False, False]
    assert found["sigma_r2"] is None
    everywhere = controller.make_config(disagreement_rows="all")
    assert statistics.proxies(everywhere, experts)["has_delta"]
    single = {k: v[:1] for k, v in BATCH.items()}
    found = statistics.proxies(config, single)
    assert found["sigma_r2"] == exact.real(1e-8)
    assert found["flags"]["floored_r"]
    empty = {k: [] for k in BATCH}
    found = statistics.proxies(everywhere, empty)
    assert not any(found[k] for k in ("has_s", "has_r", "has_delta"))


def test_batch_kl_pools_rollout_tokens_and_prefers_the_explicit_value():
    ref = [[x + 0.5 for x in row] for row in BATCH["logprob"]]
    ref[2] = [50.0] * 3
    assert statistics.batch_kl(BATCH) is None
    found = statistics.batch_kl({**BATCH, "ref_logprob": ref})
    assert near(found, mp.exp(mp.mpf(1) / 2) - mp.mpf(3) / 2)
    assert statistics.batch_kl({**BATCH, "ref_logprob": ref, "kl": 0.25}) == 0.25
    ref[0] = BATCH["logprob"][0]
    found = statistics.batch_kl({**BATCH, "ref_logprob": ref})
    assert near(found, (mp.exp(mp.mpf(1) / 2) - mp.mpf(3) / 2) * 2 / 5)


def test_phi_is_exact_at_both_ends():
    assert statistics.phi(-math.inf) == 0
    assert statistics.phi(0.0) == 0
    assert near(statistics.phi(-1e-30) / mp.mpf(1e-30), 1, 1e-29)
    assert near(statistics.phi(mp.log(mp.mpf(1) / 2)), Q(1, 4))


# guards and priors ---------------------------------------------------------------------------


def test_guards_by_hand():
    assert guards.clip(3, 0, 1) == (1, True)
    assert guards.clip(1, 0, 1) == (1, False)
    assert guards.cap_ratio(10, 1, 2, ratio=2, eps=0) == (6, True)
    assert guards.cap_ratio(10, 1, 2, ratio=0, eps=0) == (10, False)
    assert guards.cap_change(0.5, 0.75, 0.125) == (0.625, True)
    assert guards.cap_change(0.5, 0.25, 0.125) == (0.375, True)
    assert guards.cap_change(0.5, 0.625, 0.125) == (0.625, False)
    assert guards.seeded_ema(None, 0, 7, 0.75) == (7, 1)
    assert guards.seeded_ema(4, 1, 8, 0.75) == (5, 2)
    assert guards.blend(1, 3, 0.25) == 1.5


def test_flat_risk_choices():
    flat = {"eps": 1e-8, "flat_risk": "alpha"}
    assert guards.closed_form(0.75, 0, 1e-8, 1e-8, **flat) == (0.75, True)
    value, acted = guards.closed_form(0.75, 0, 3e-8, 1e-8, **flat)
    assert near(value, Q(1e-8) / (Q(3e-8) + Q(1e-8)))
    assert not acted
    assert guards.closed_form(0.75, 0, 0, 0, eps=1e-8, flat_risk="zero") == (0, False)


def test_kl_alpha_moves_with_drift_and_is_clipped():
    rule = {"target": 0.5, "gain": 0.5, "low": 0.25, "high": 0.75}
    assert guards.kl_alpha(0.5, 0.5, **rule) == (0.5, False, False)
    value, error_clipped, clipped = guards.kl_alpha(0.5, 9, **rule)
    assert near(value, Q(11, 20))
    assert (error_clipped, clipped) == (True, False)
    assert guards.kl_alpha(0.75, 9, **rule) == (0.75, True, True)
    assert guards.kl_alpha(0.25, 0, **rule) == (0.25, True, True)
    value, error_clipped, _ = guards.kl_alpha(0.5, 0.5625, **rule)
    assert near(value, Q(17, 32))
    assert not error_clipped


def test_prior_hits_its_corners():
    shape = {"warmup": 200, "decay": 800, "peak": 0.85, "valley": 0.15}
    expected = {0: Q(0), 100: Q(0.85) / 2, 200: Q(0.85), 600: (Q(0.85) + Q(0.15)) / 2}
    for step, value in {**expected, 1000: Q(0.15), 10**6: Q(0.15)}.items():
        assert near(priors.warmup_cosine(step, **shape), value)
    assert priors.warmup_cosine(0, warmup=0, decay=0, peak=0.85, valley=0.15) == 0.15
    assert priors.warmup_cosine(0, warmup=0, decay=5, peak=0.85, valley=0.15) == 0.85


# controller ----------------------------------------------------------------------------------


STEADY = {"sigma_s2": 1.0, "sigma_r2": 3.0, "delta_g2": 4.0}


def test_one_released_step_by_hand():
    config = controller.make_config("released")
    state, info = controller.update_from_proxies(config, controller.init(config), STEADY, step=0)
    raw = Q(5) / (8 + Q(1e-8))
    beta = Q(0.99)
    ada = beta / 2 + (1 - beta) * raw
    assert near(info["mu_raw"], raw)
    assert near(info["mu_ada"], ada)
    assert near(info["mu_candidate"], ada / 2)
    assert near(info["mu_capped"], Q(1, 2) - Q(0.01))
    assert info["flags"]["change_capped"]
    assert state["last_refresh"] == 0
    assert state["mu"] == info["mu"]


@pytest.mark.parametrize("variant", ["documented", "released", "decoupled"])
def test_internal_and_applied_weight_averages_differ_only_in_the_previous_weight(variant):
    config = controller.make_config(variant, mu_change_cap=1.0)
    state = controller.init(config)
    for step in range(15):
        previous = state["mu_ada"] if variant == "decoupled" else state["mu"]
        state, info = controller.update_from_proxies(config, state, STEADY, step=step)
        assert near(info["mu_ada"], guards.ema(previous, info["mu_raw"], 0.99))
        assert info["refreshed"] == (step in (0, 10))
        assert (info["proxies"] is None) == (not info["refreshed"])


def test_no_average_no_prior_no_cap_gives_the_closed_form_at_once():
    config = controller.make_config(weight_ema="off", prior="none", mu_change_cap=1.0)
    _, (info,) = controller.run(config, [STEADY], from_proxies=True)
    assert near(info["mu"], Q(5, 8))
    assert mp.isnan(info["prior"])


def test_missing_branch_hold_keeps_and_zero_decays_the_statistic():
    items = [STEADY, *[{**STEADY, "has_r": False}] * 50]
    hold = controller.make_config("released", missing_branch="hold", mu_update_freq=1)
    state, _ = controller.run(hold, items, from_proxies=True)
    assert (state["sigma_r2"], state["count_r"], state["count_s"]) == (3, 1, 51)
    zero = controller.make_config("released", mu_update_freq=1)
    state, _ = controller.run(zero, items, from_proxies=True)
    assert near(state["sigma_r2"], 3 * Q(0.99) ** 50)
    assert state["count_r"] == 51


def test_fifty_all_expert_updates_reproduce_the_reported_decay():
    assert round(1.384 * 0.99**50, 3) == 0.837
    config = controller.make_config("released", mu_update_freq=1)
    items = [{**STEADY, "sigma_r2": 1.384}, *[{"sigma_s2": 1.0, "delta_g2": 4.0}] * 50]
    state, _ = controller.run(config, items, from_proxies=True)
    assert round(float(state["sigma_r2"]), 3) == 0.837


@pytest.mark.parametrize("weight_ema", ["applied", "internal", "off"])
def test_an_unseen_statistic_holds_the_weight_or_stands_in_as_one(weight_ema):
    partial = {"sigma_s2": 1.0}
    hold = controller.make_config(weight_ema=weight_ema, prior="none")
    _, infos = controller.run(hold, [partial] * 3, from_proxies=True)
    assert all(near(info["mu"], Q(1, 2)) for info in infos)
    assert all(info["flags"]["not_ready"] for info in infos)
    assert infos[0]["sigma_r2"] is None
    unit = controller.make_config(unseen_statistic="unit", weight_ema=weight_ema, prior="none")
    _, (info,) = controller.run(unit, [{"sigma_s2": 3.0}], from_proxies=True)
    assert near(info["mu_raw"], Q(1, 4))
    assert info["flags"]["unit_stand_in"]


def test_disagreement_cap_enters_the_closed_form_but_not_the_state():
    config = controller.make_config(delta_g2_cap_ratio=0.5)
    state, (info,) = controller.run(config, [STEADY], from_proxies=True)
    cap = (4 + Q(1e-8)) / 2
    assert near(info["delta_g2_capped"], cap)
    assert near(info["mu_raw"], (cap / 2 + 3) / (4 + cap))
    assert info["flags"]["delta_capped"]
    assert state["delta_g2"] == 4


def test_alpha_updates_every_step_with_a_kl_and_only_then():
    config = controller.make_config(alpha_mode="kl")
    items = [{**STEADY, "kl": 1.0}, STEADY, {**STEADY, "kl": 1.0}]
    _, infos = controller.run(config, items, from_proxies=True)
    step = 1 + Q(0.1) / 5
    found = [info["alpha"] for info in infos]
    assert all(near(a, b) for a, b in zip(found, [step / 2, step / 2, step**2 / 2], strict=True))
    assert all(near(i["mu_raw"], (4 * exact.frac(i["alpha"]) + 3) / 8) for i in infos)
    static = controller.make_config()
    _, infos = controller.run(static, items, from_proxies=True)
    assert all(info["alpha"] == 0.5 for info in infos)


def test_batches_and_their_proxies_drive_the_same_trajectory():
    for variant in controller.VARIANTS:
        config = controller.make_config(variant, mu_update_freq=2, alpha_mode="kl")
        batches = [{**BATCH, "kl": 0.01 * i} for i in range(5)]
        ready = [statistics.proxies(config, batch) for batch in batches]
        direct, _ = controller.run(config, batches)
        assert direct == controller.run(config, ready, from_proxies=True)[0]


def test_weights_stay_in_range_and_within_the_cap():
    config = controller.make_config("decoupled", blend_weight=1.0, ema_beta=0.5)
    swing = [{**STEADY, "sigma_r2": 1e6 if i // 90 % 2 else 1e-6} for i in range(180)]
    config["mu_update_freq"] = 1
    state, infos = controller.run(config, swing, from_proxies=True)
    path = [exact.real(0.5), *[info["mu"] for info in infos]]
    steps = [abs(b - a) for a, b in pairwise(path)]
    assert max(steps) <= exact.real(0.01) + DIGITS_TOL
    assert all(exact.real(0.05) <= mu <= exact.real(0.9) for mu in path)
    assert any(info["flags"]["change_capped"] for info in infos)
    assert state["mu"] == path[-1]


def test_unknown_fields_and_choices_are_refused():
    with pytest.raises(ValueError, match="unknown fields"):
        controller.make_config(mu_mim=0.1)
    with pytest.raises(ValueError, match="none of"):
        controller.make_config(masking="neither")


# authority -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.25, 0.5, 0.9])
def test_authority_of_the_two_feedback_choices(lam):
    b, w = Q(0.99), Q(lam)
    applied = authority.gain(controller.make_config("released", blend_weight=lam))
    assert near(applied, w * (1 - b) / (1 - w * b), SETTLE_TOL)
    inside = {"low": 0.5, "high": 0.6, "prior": 0.5}
    internal = authority.gain(controller.make_config("decoupled", blend_weight=lam), **inside)
    assert near(internal, w, SETTLE_TOL)


def test_authority_is_full_without_a_prior_and_none_when_frozen():
    free = controller.make_config(prior="none", ema_beta=0.9)
    assert near(authority.gain(free), 1, SETTLE_TOL)
    assert authority.gain(controller.make_config(ema_beta=1.0)) == 0


def test_fixed_point_matches_the_stated_formula_at_the_defaults():
    b, w, prior, raw = Q(0.99), Q(1, 2), Q(0.15), Q(0.4)
    expected = ((1 - w) * prior + w * (1 - b) * raw) / (1 - w * b)
    found = authority.fixed_point(controller.make_config("released"), 0.4)
    assert near(found, expected, SETTLE_TOL)
