"""Properties that every policy model has, checked on the small models of each test module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _policies import enumerate_exactly, gradient, stack, table_of

import gac_ref
from gac_ref import GACConfig
from gac_ref.baselines import Signals
from gac_ref.errors import GACError
from simulations.models.observation import observed_proxies, observed_signals, to_batch
from simulations.problem import Problem

SUM_TOL = 1e-12
"""Sums of a few thousand products of order one, in a different order."""

ERRORS = 5.0
"""Standard errors of a Monte Carlo mean; seeds are fixed, so this is not a rate of failure."""

SEEDS = 6000
"""Independent batches in a Monte Carlo check; a few tenths of a second."""

CONFIGS = (
    GACConfig(),
    GACConfig.released(),
    GACConfig(use_phi=False, trim_ratio=0.3),
    GACConfig(disagreement_rows="all", mask_eps=0.5),
    GACConfig(coefficient_normalization="none", eps=0.3),
)


def near(actual: Any, expected: Any, tol: float = SUM_TOL) -> None:
    """Equal within `tol` of the larger of 1 and the largest expected entry."""
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tol * scale)


def some_theta(model: Any, seed: int = 0, spread: float = 1.0) -> Any:
    """A point away from the reference policy."""
    return model.reference() + spread * np.random.default_rng(seed).normal(size=model.dimension)


def check_is_problem(model: Any) -> None:
    assert isinstance(model, Problem)
    theta = model.start(np.random.default_rng(0), 3)
    assert theta.shape == (3, model.dimension)
    assert set(model.outcomes(theta, 0)) == set(model.units)
    assert hash(model) == hash(type(model)(**{k: getattr(model, k) for k in vars(model)}))


def check_truth_and_outcomes(model: Any) -> None:
    theta = some_theta(model)
    exact, truth = enumerate_exactly(model, theta), model.truth(theta, 0)
    seen = model.outcomes(theta, 0)
    near(truth.g_s, exact.g_s)
    near(truth.g_r, exact.g_r)
    near(truth.g_r + truth.bias_r, exact.mean_r)
    near(truth.sigma_s2, exact.sigma_s2)
    near(truth.sigma_r2, exact.sigma_r2)
    near(truth.kappa, exact.kappa)
    near(truth.delta_g2, np.sum((exact.g_s - exact.g_r) ** 2))
    near(seen["reward"], exact.reward)
    near(seen["loss"], model.best_value() - exact.reward)
    near(seen["sft_loss"], exact.sft_loss)
    near(seen["kl"], exact.kl)
    near(seen["entropy"], exact.entropy)


def check_batch_gradients(model: Any) -> None:
    """The sampled gradients are derivatives of the sampled losses, by complex step."""
    theta, rng = some_theta(model), np.random.default_rng(1)
    draw = model.draw(rng, 2, 0)
    points = stack(theta, 2)
    sample, seen = model.sample(points, 0, draw), model.observe(points, draw)
    of_theta = table_of(model)
    for i in range(2):

        def loss_s(z: Any, i: int = i) -> Any:
            flat = of_theta(model, z).reshape(len(z), -1)
            return -flat[:, seen.demonstrations[i]].sum(axis=1).mean(axis=-1)

        def loss_r(z: Any, i: int = i) -> Any:
            flat = of_theta(model, z).reshape(len(z), -1)
            return -(flat[:, seen.rollouts[i]].sum(axis=1) * seen.advantages[i]).mean(axis=-1)

        near(sample.grad_s[i], gradient(loss_s, theta))
        near(sample.grad_r[i], gradient(loss_r, theta))
    assert np.abs(sample.grad_s).max() > 0.0


def check_phi_gradient(model: Any) -> None:
    """The derivative of the demonstrations' loss with tokens weighted by a constant p (1 - p)."""
    theta = some_theta(model)
    draw, points = model.draw(np.random.default_rng(5), 2, 0), stack(theta, 2)
    sample, seen = model.sample(points[None], 0, draw), model.observe(points, draw)
    of_theta = table_of(model)
    p = np.exp(of_theta(model, theta).real.reshape(-1))
    for i, found in enumerate(sample.move(np.ones((1, 2)), 1.0, [0])[0]):
        codes = seen.demonstrations[i]
        weights = p[codes] * (1.0 - p[codes])

        def loss(z: Any, codes: Any = codes, weights: Any = weights) -> Any:
            flat = of_theta(model, z).reshape(len(z), -1)
            return -(weights * flat[:, codes]).sum(axis=1).mean(axis=-1)

        near(found, gradient(loss, theta))


def check_move(model: Any) -> None:
    """The move is the rate times the mixture of the gradients, phi-weighted where asked for."""
    rng = np.random.default_rng(12)
    points = model.laid(model.start(rng, 4) + rng.normal(size=(3, 4, model.dimension)))
    draw, mu = model.draw(rng, 4, 0), rng.random((3, 4))
    sample = model.sample(points, 0, draw)
    of_sft = sample.grad_s.copy()
    of_sft[1] = sample.move(np.ones((3, 4)), 1.0, [1])[1]
    expected = 0.5 * (mu[..., None] * of_sft + (1.0 - mu[..., None]) * sample.grad_r)
    moves = [each(mu, 0.5, [1]) for each in (sample.move, model.move(points, 0, draw))]
    near(moves[0], expected)
    np.testing.assert_array_equal(*moves)
    assert np.abs(of_sft - sample.grad_s).max() > 1e-3
    for some in ([], [2, 0]):
        few = model.sample(points, 0, draw, gradients_of=some)
        np.testing.assert_array_equal(few.grad_s, sample.grad_s[some])
        np.testing.assert_array_equal(few.grad_r, sample.grad_r[some])


def check_measuring(model: Any) -> None:
    """Truth and outcomes together are those of each by itself."""
    rng = np.random.default_rng(13)
    points = model.start(rng, 4) + rng.normal(size=(2, 4, model.dimension))
    truth, outcomes = model.measure(points, 0)
    for found, wanted in zip(truth, model.truth(points, 0), strict=True):
        near(found, wanted)
    for name, wanted in model.outcomes(points, 0).items():
        near(outcomes[name], wanted)


def check_redrawing(model: Any) -> None:
    """Each generator gives the numbers of a draw of its own."""
    draw = model.draw(np.random.default_rng(0), 6, 0)
    model.redraw(draw, [np.random.default_rng(seed) for seed in (1, 2, 3)], 0)
    apart = [model.draw(np.random.default_rng(seed), 2, 0).numbers for seed in (1, 2, 3)]
    np.testing.assert_array_equal(draw.numbers, np.concatenate(apart))
    with pytest.raises(GACError, match="6 seeds have no equal shares for 4 generators"):
        model.redraw(draw, [np.random.default_rng(0)] * 4, 0)


def check_per_sample_gradients(model: Any) -> None:
    points, rng = model.start(np.random.default_rng(3), 4), np.random.default_rng(2)
    points = points + rng.normal(size=points.shape)
    draw = model.draw(rng, 4, 0)
    sample, (x_s, x_r) = model.sample(points, 0, draw), model.sample_gradients(points, draw)
    assert x_s.shape == (4, model.experts, model.dimension)
    assert x_r.shape == (4, model.groups * model.group_size, model.dimension)
    near(x_s.mean(axis=-2), sample.grad_s)
    near(x_r.mean(axis=-2), sample.grad_r)


def check_agrees_with_package_losses(model: Any) -> None:
    """Chain rule through gac_ref's losses: their slopes times the tokens' scores."""
    points = stack(some_theta(model), 2)
    draw = model.draw(np.random.default_rng(4), 2, 0)
    seen, sample = model.observe(points, draw), model.sample(points, 0, draw)
    table = model.scores(points)[0].reshape(-1, model.dimension)
    batch = to_batch(seen, (0,))
    codes = np.concatenate((seen.demonstrations[0].T, seen.rollouts[0].T))
    how = {"aggregation": "seq_mean_token_sum"}
    for rows, grad in ((batch.expert_rows, sample.grad_s), (batch.rollout_rows, sample.grad_r)):
        logprob, mask = batch.logprob[rows], batch.response_mask[rows]
        if rows is batch.expert_rows:
            loss = gac_ref.sft_loss(logprob, mask, **how)
        else:
            loss = gac_ref.clipped_surrogate_loss(
                logprob, batch.old_logprob[rows], batch.advantages[rows], mask, **how
            )
        near(grad[0], np.einsum("bt,btd->d", loss.grad, table[codes[rows]]))


def check_monte_carlo(model: Any) -> None:
    """Mean, noise and correlation of the sampled gradients, within k standard errors."""
    theta = some_theta(model, spread=0.5)
    sample = model.sample(stack(theta, SEEDS), 0, model.draw(np.random.default_rng(5), SEEDS, 0))
    truth = model.truth(theta, 0)
    noise = {
        "s": sample.grad_s - truth.g_s - truth.bias_s,
        "r": sample.grad_r - truth.g_r - truth.bias_r,
    }
    for k, sigma2 in (("s", truth.sigma_s2), ("r", truth.sigma_r2)):
        square = np.sum(noise[k].mean(axis=0) ** 2)
        assert square < ERRORS**2 * sigma2 / SEEDS
        within(np.sum(noise[k] ** 2, axis=-1), sigma2)
    within(np.sum(noise["s"] * noise["r"], axis=-1), truth.kappa)


def within(values: Any, expected: Any) -> None:
    """The mean of independent values is `expected` within k standard errors, and not trivially."""
    error = np.std(values) / np.sqrt(len(values))
    assert error > 0.0
    assert abs(np.mean(values) - expected) < ERRORS * error


def check_gradient_oracle(model: Any, seeds: int = 400) -> None:
    """gac_ref's unbiased oracle on per-sample gradients has the truth as its mean."""
    theta = some_theta(model, spread=0.5)
    draw = model.draw(np.random.default_rng(6), seeds, 0)
    x_s, x_r = model.sample_gradients(stack(theta, seeds), draw)
    groups = x_r.reshape(seeds, model.groups, model.group_size, -1).mean(axis=2)
    found = [gac_ref.gradient_oracle(s, r) for s, r in zip(x_s, groups, strict=True)]
    truth = model.truth(theta, 0)
    mean_r = truth.g_r + truth.bias_r
    within([o.sigma_s2 for o in found], truth.sigma_s2)
    within([o.sigma_r2 for o in found], truth.sigma_r2)
    if not model.paired:
        within([o.delta_g2 for o in found], np.sum((truth.g_s - mean_r) ** 2))


def check_proxies_match_the_estimator(model: Any) -> None:
    points = stack(some_theta(model), 6)
    seen = model.observe(points, model.draw(np.random.default_rng(7), 6, 0))
    for config in CONFIGS:
        ours = observed_proxies(config, seen)
        for i in range(6):
            theirs = gac_ref.proxies(config, to_batch(seen, (i,)))
            for field in ("sigma_s2", "sigma_r2", "delta_g2"):
                near(getattr(ours, field)[i], getattr(theirs, field))
            for field in (
                "sigma_s2_floored",
                "sigma_r2_floored",
                "sft_stream_constant",
                "rl_stream_constant",
            ):
                assert bool(getattr(ours, field)[i]) == getattr(theirs, field)


def check_signals_match_the_batch(model: Any) -> None:
    points = stack(some_theta(model), 4)
    seen = model.observe(points, model.draw(np.random.default_rng(8), 4, 0))
    ours = observed_signals(seen)
    for i in range(4):
        batch = to_batch(seen, (i,))
        near(ours.kl[i], gac_ref.batch_kl(GACConfig(alpha_mode="kl"), batch))
        assert ours.entropy[i] == batch.entropy
        solved = gac_ref.baselines.signals_from_batch(gac_ref.baselines.HPT(), batch).solved
        assert ours.solved[i].tolist() == solved.tolist()
        rule = gac_ref.baselines.SuperRL()
        found = gac_ref.baselines.signals_from_batch(rule, batch).any_rewarded
        assert ours.any_rewarded[i].tolist() == found.tolist()


def leaves(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return [np.asarray(value)]


def check_bits_do_not_depend_on_the_company(model: Any) -> None:
    """Element [c, i] has the same bits in [C, n], in [n], and alone."""
    rng, n = np.random.default_rng(9), 5
    theta = model.start(rng, n) + rng.normal(size=(3, n, model.dimension))
    draw = model.draw(rng, n, 0)

    def everything(points: Any, of: Any) -> list[Any]:
        sample = model.sample(points, 0, of)
        return leaves(
            (
                sample[:2],
                sample.move(np.full(points.shape[:-1], 0.25), 0.5),
                sample.move(np.full(points.shape[:-1], 0.3), 0.5),
                model.sample(model.laid(points), 0, of)[:2],
                model.measure(points, 0),
                sample.on_demand(Signals._fields),
                [sample.statistics(config) for config in CONFIGS],
                tuple(model.truth(points, 0)),
                model.outcomes(points, 0),
                model.sample_gradients(points, of),
            )
        )

    whole = everything(theta, draw)
    assert len(whole) > 15
    for c in range(3):
        for i in range(0, n, 2):
            one = type(draw)(*(part[i : i + 1] for part in draw))
            for large, row, alone in zip(
                whole,
                everything(theta[c], draw),
                everything(theta[c, i : i + 1], one),
                strict=True,
            ):
                if large.ndim:
                    np.testing.assert_array_equal(large[c], row)
                    np.testing.assert_array_equal(row[i : i + 1], alone)


def check_survives_extreme_logits(model: Any, scale: float = 500.0) -> None:
    """Saturated policies give finite answers (warnings are errors)."""
    points = scale * np.random.default_rng(10).normal(size=(3, model.dimension))
    draw = model.draw(np.random.default_rng(11), 3, 0)
    for leaf in leaves((tuple(model.truth(points, 0)), model.outcomes(points, 0))):
        assert np.isfinite(leaf).all()
    sample = model.sample(points, 0, draw)
    assert np.isfinite(sample.grad_s).all()
    assert np.isfinite(sample.grad_r).all()
    truth = model.truth(points, 0)
    assert (truth.sigma_s2 >= 0.0).all()
    assert (truth.sigma_r2 >= 0.0).all()


def check_descent(model: Any, steps: int, rate: float) -> None:
    """Following -g_r raises the reward at every step, and in the end by most of what is missing."""
    theta = model.reference()
    losses = []
    for step in range(steps):
        losses.append(float(model.outcomes(theta, step)["loss"]))
        theta = theta - rate * model.truth(theta, step).g_r
    assert (np.diff(losses) < 0.0).all()
    assert losses[-1] < 0.35 * losses[0]


ALL = (
    check_is_problem,
    check_truth_and_outcomes,
    check_batch_gradients,
    check_phi_gradient,
    check_move,
    check_measuring,
    check_redrawing,
    check_per_sample_gradients,
    check_agrees_with_package_losses,
    check_proxies_match_the_estimator,
    check_signals_match_the_batch,
    check_bits_do_not_depend_on_the_company,
    check_survives_extreme_logits,
)
"""The checks that every configuration passes."""
