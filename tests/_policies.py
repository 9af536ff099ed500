"""Policies by brute force: every sequence, every group of rollouts, derivatives by complex step.

Nothing of the models' arithmetic is used; only their fields, targets and tables of chances.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gac_ref import group_advantages

STEP = 1e-30
"""A complex step cannot cancel, so it can be small enough for its error to vanish."""


class Plan(NamedTuple):
    """One rollout's possible outcomes at prompt x: actions, reward, chance given the actions."""

    actions: tuple[int, ...]
    reward: float
    chance: float


def outcomes_of(model: Any, x: int) -> list[Plan]:
    """All (sequence, reward) outcomes of a prompt."""
    v, t = model.shape.actions, model.shape.horizon
    plans = []
    for actions in itertools.product(range(v), repeat=t):
        if hasattr(model, "success"):
            rho = float(model.success()[x, actions[0]])
            plans += [Plan(actions, 1.0, rho), Plan(actions, 0.0, 1.0 - rho)]
        else:
            matches = sum(a == y for a, y in zip(actions, model.targets()[x], strict=True))
            if model.reward == "partial":
                reward = matches / t
            else:
                reward = float(matches >= (model.required or t))
            plans.append(Plan(actions, reward, 1.0))
    return plans


def states_of(model: Any, actions: tuple[int, ...]) -> list[int]:
    """The state at each position: 0, then 1 + (t - 1) V + the previous token."""
    v = model.shape.actions
    return [0 if t == 0 else 1 + (t - 1) * v + actions[t - 1] for t in range(len(actions))]


def log_softmax(z: Any) -> Any:
    """Over the last axis; complex-safe."""
    shifted = z - z.real.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def tabular_logp(model: Any, theta: Any) -> Any:
    """Log-probability table [..., X, S, V] of a tabular policy."""
    x, _, s, v = model.shape
    return log_softmax(theta.reshape(*theta.shape[:-1], x, s, v))


def mlp_logp(model: Any, theta: Any) -> Any:
    """Log-probability table of the MLP, one state after the other, no shared code."""
    x_count, t_count, s_count, v = model.shape
    k, h = model.embedding, model.hidden
    f = x_count + t_count + v + 1
    lead = theta.shape[:-1]
    cuts = np.cumsum([f * k, h * k, h, v * h])
    e, w, b, u, c = np.split(theta, cuts, axis=-1)
    e, w, u = e.reshape(*lead, f, k), w.reshape(*lead, h, k), u.reshape(*lead, v, h)
    table = np.empty((*lead, x_count, s_count, v), dtype=theta.dtype)
    for x in range(x_count):
        for s in range(s_count):
            t, previous = (0, v) if s == 0 else (1 + (s - 1) // v, (s - 1) % v)
            rows = (x, x_count + t, x_count + t_count + previous)
            context = sum(e[..., row, :] for row in rows)
            hidden = np.tanh(np.einsum("...hk,...k->...h", w, context) + b)
            table[..., x, s, :] = np.einsum("...vh,...h->...v", u, hidden) + c
    return log_softmax(table)


def table_of(model: Any) -> Callable[[Any, Any], Any]:
    return mlp_logp if hasattr(model, "hidden") else tabular_logp


def gradient(function: Callable[[Any], Any], theta: Any) -> Any:
    """Complex-step derivative of a function of [d, d] points, each a row; shape [d, ...]."""
    d = theta.size
    return function(theta + 1j * STEP * np.eye(d)).imag / STEP


def sequence_logp(model: Any, logp: Any, x: int, actions: tuple[int, ...]) -> Any:
    """Log-probability of a sequence, [...]."""
    pairs = zip(states_of(model, actions), actions, strict=True)
    return sum(logp[..., x, s, a] for s, a in pairs)


class Exact(NamedTuple):
    """What the models claim, by enumeration, at one theta."""

    reward: float
    sft_loss: float
    entropy: float
    kl: float
    g_s: Any
    g_r: Any
    mean_r: Any
    sigma_s2: float
    sigma_r2: float
    kappa: float


def enumerate_exactly(model: Any, theta: Any) -> Exact:
    """Sums over prompts, sequences and groups of rollouts."""
    of_theta = table_of(model)
    prompts, horizon = model.shape.prompts, model.shape.horizon
    logp = of_theta(model, theta)
    ref = of_theta(model, model.reference())
    expert = model.expert()

    def value(points: Any) -> Any:
        table = of_theta(model, points)
        return sum(
            np.exp(sequence_logp(model, table, x, o.actions)) * o.reward * o.chance / prompts
            for x in range(prompts)
            for o in outcomes_of(model, x)
        )

    sequences = list(itertools.product(range(model.shape.actions), repeat=horizon))
    reward = sft = entropy = kl = square_s = 0.0
    mean_s, second, m_s, m_r = np.zeros(theta.size), 0.0, [], []
    for x in range(prompts):
        scores = {
            q: gradient(lambda z, x=x, q=q: sequence_logp(model, of_theta(model, z), x, q), theta)
            for q in sequences
        }
        own = np.zeros(theta.size)
        for q in sequences:
            lp = float(sequence_logp(model, logp, x, q))
            lr = float(sequence_logp(model, ref, x, q))
            states = zip(states_of(model, q), q, strict=True)
            of_expert = float(np.prod([expert[x, s, a] for s, a in states]))
            entropy -= np.exp(lp) * lp / (prompts * horizon)
            kl += np.exp(lp) * (lp - lr) / (prompts * horizon)
            sft -= of_expert * lp / prompts
            own -= of_expert * scores[q]
            square_s += of_expert * float(scores[q] @ scores[q]) / prompts
        m_s.append(own)
        mean_s += own / prompts
        mean, square = _group(model, logp, x, scores)
        m_r.append(mean)
        second += square / prompts
    reward = float(value(theta))
    mean_r = sum(m_r) / prompts
    kappa = 0.0
    if model.paired:
        within = sum(float(a @ b) for a, b in zip(m_s, m_r, strict=True)) / prompts
        kappa = (within - float(mean_s @ mean_r)) / model.groups
    return Exact(
        reward=reward,
        sft_loss=sft,
        entropy=entropy,
        kl=kl,
        g_s=mean_s,
        g_r=-gradient(value, theta),
        mean_r=mean_r,
        sigma_s2=(square_s - float(mean_s @ mean_s)) / model.experts,
        sigma_r2=(second - float(mean_r @ mean_r)) / model.groups,
        kappa=kappa,
    )


def _group(model: Any, logp: Any, x: int, scores: Any) -> tuple[Any, float]:
    """Mean and mean square of a group's gradient over every tuple of rollouts."""
    plans = outcomes_of(model, x)
    chance = [float(np.exp(sequence_logp(model, logp, x, o.actions))) * o.chance for o in plans]
    baseline = sum(c * o.reward for c, o in zip(chance, plans, strict=True))
    kept = [i for i, c in enumerate(chance) if c > 0.0]
    mean, square = np.zeros_like(scores[plans[0].actions]), 0.0
    cache: dict[tuple[float, ...], Any] = {}
    for chosen in itertools.product(kept, repeat=model.group_size):
        rewards = tuple(plans[i].reward for i in chosen)
        if rewards not in cache:
            cache[rewards] = (
                np.array(rewards) - baseline
                if model.advantage == "value"
                else group_advantages(rewards, [0] * len(rewards), convention=model.advantage)
            )
        weight = float(np.prod([chance[i] for i in chosen]))
        pairs = zip(cache[rewards], chosen, strict=True)
        h = -sum(a * scores[plans[i].actions] for a, i in pairs) / model.group_size
        mean = mean + weight * h
        square += weight * float(h @ h)
    return mean, square


def stack(theta: Any, n: int) -> Any:
    """The same theta for n seeds."""
    return np.broadcast_to(theta, (n, theta.size)).copy()
