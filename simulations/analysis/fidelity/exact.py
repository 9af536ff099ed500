"""Proxies against exact values, where every true value can be computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from simulations.models import Bandit, MLPPolicy, TokenPolicy
from simulations.models.observation import Observation, observed_proxies
from simulations.models.policy import PolicyModel

__all__ = ["EXACT_FALSIFICATIONS", "MODELS", "random_points", "readings", "training"]

MODELS: Mapping[str, Callable[..., PolicyModel]] = {
    "bandit": Bandit,
    "token_policy": TokenPolicy,
    "mlp": MLPPolicy,
}

EXACT_FALSIFICATIONS = (
    "none",
    "shuffled advantages",
    "shuffled phi",
    "constant advantages",
    "constant phi",
)
"""What is destroyed of an observation; a rollout's advantage is one number, so that shuffling
advantages and permuting sequences are the same here."""

_DOCUMENTED, _RELEASED = GACConfig.documented(), GACConfig.released()


def training(
    *,
    models: Mapping[str, Mapping[str, Any]],
    seed: int,
    seeds: int,
    steps: int,
    every: int,
    draws: int,
    mu: float,
    learning_rate: float,
) -> dict[str, AnyArray]:
    """Statistics and truths along runs at a constant weight.

    Args:
        models: Fields of each model, by its name.
        seed: Of all random numbers.
        seeds: Runs of each model, n.
        steps: Their length.
        every: Steps between two looks.
        draws: Batches behind a mean.
        mu: The constant weight.
        learning_rate: Of plain gradient descent.

    Returns:
        For M models and P looks: `one` [M, 4, n, P], the statistics of one batch; `mean`
        [M, falsifications, 4, n, P], of `draws` batches each; `truths` [M, 3, n, P]; `share`
        [M, n, P], of the groups with spread in the one batch; `group_size` [M].
    """
    found = []
    for index, (name, fields) in enumerate(models.items()):
        model = _model(name, fields)
        rng = np.random.default_rng([seed, index])
        theta = model.start(rng, seeds)
        looks = []
        for step in range(steps):
            if step % every == 0:
                looks.append(readings(model, theta, step, rng, draws=draws))
            sample = model.sample(theta, step, model.draw(rng, seeds, step))
            theta = theta - learning_rate * (mu * sample.grad_s + (1.0 - mu) * sample.grad_r)
        stacked = {key: np.stack([look[key] for look in looks], axis=-1) for key in looks[0]}
        found.append({**stacked, "group_size": np.array(model.group_size)})
    return {key: np.stack([values[key] for values in found]) for key in found[0]}


def random_points(
    *,
    models: Mapping[str, Mapping[str, Any]],
    seed: int,
    points: int,
    draws: int,
    start_spread: float,
) -> dict[str, AnyArray]:
    """The same at independent parameters scattered around the reference policy.

    Args:
        models: Fields of each model, by its name.
        seed: Of all random numbers.
        points: How many, n.
        draws: Batches behind a mean.
        start_spread: Standard deviation of each parameter around the reference.

    Returns:
        As `training`, without the last axis.
    """
    found = []
    for index, (name, fields) in enumerate(models.items()):
        model = _model(name, {**fields, "start_spread": start_spread})
        rng = np.random.default_rng([seed, index])
        theta = model.start(rng, points)
        look = readings(model, theta, 0, rng, draws=draws)
        found.append({**look, "group_size": np.array(model.group_size)})
    return {key: np.stack([values[key] for values in found]) for key in found[0]}


def readings(
    model: PolicyModel, theta: FloatArray, step: int, rng: np.random.Generator, *, draws: int
) -> dict[str, FloatArray]:
    """Truths at theta [n, d], and the statistics of batches sampled there.

    Returns:
        `one` [4, n], `mean` [falsifications, 4, n], `truths` [3, n] and `share` [n].
    """
    truth = model.truth(theta, step)
    values = []
    share = np.empty(0)
    for draw in range(draws):
        seen = model.observe(theta, model.draw(rng, theta.shape[0], step))
        if draw == 0:
            share = (np.ptp(seen.rewards, axis=-1) > 0.0).mean(axis=-1)
        values.append(np.stack([_broken(name, seen, rng) for name in EXACT_FALSIFICATIONS]))
    return {
        "one": values[0][0],
        "mean": np.mean(values, axis=0),
        "truths": np.stack((truth.sigma_s2, truth.sigma_r2, truth.delta_g2)),
        "share": share,
    }


def _broken(name: str, seen: Observation, rng: np.random.Generator) -> FloatArray:
    """The four statistics [4, n] of an observation of which something is destroyed."""
    if name == "shuffled advantages":
        seen = seen._replace(advantages=rng.permuted(seen.advantages, axis=-1))
    elif name == "shuffled phi":
        seen = seen._replace(
            logprob_s=_shuffled(seen.logprob_s, rng), logprob_r=_shuffled(seen.logprob_r, rng)
        )
    elif name == "constant advantages":
        seen = seen._replace(advantages=np.ones_like(seen.advantages))
    use_phi = name != "constant phi"
    found = observed_proxies(_DOCUMENTED.replace(use_phi=use_phi), seen)
    released = observed_proxies(_RELEASED.replace(use_phi=use_phi), seen)
    values = (found.sigma_s2, found.sigma_r2, found.delta_g2, released.delta_g2)
    return np.stack([np.asarray(value, dtype=np.float64) for value in values])


def _shuffled(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Tokens of each trajectory in another order, [n, T, B]."""
    return rng.permuted(values.reshape(values.shape[0], -1), axis=-1).reshape(values.shape)


def _model(name: str, fields: Mapping[str, Any]) -> PolicyModel:
    if name not in MODELS:
        fail(f"unknown model {name!r}; pass one of {', '.join(MODELS)}")
    return MODELS[name](**fields)
