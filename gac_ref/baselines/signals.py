"""What mixing rules look at, and how a training batch supplies it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.proxies import Proxies, batch_kl, proxies

__all__ = ["Signals", "reads", "signals_from_batch"]


class Signals(NamedTuple):
    r"""The observations of one step, for one trajectory or for thousands at once.

    Every field is None where nobody supplies it; a rule asks only for what it needs (see
    :func:`reads`). NaN inside an array marks a trajectory where the value is unknown now.
    [...] is the trajectories' shape; values broadcast to it.

    Args:
        proxies: Statistics of the two branches; `GACConfig` and `InverseVariance` read them.
        kl: KL to the reference policy, nats per token, [...]; an estimate may be negative.
        entropy: Mean token entropy of the policy, nats, [...], >= 0.
        solved: Correct rollouts of each prompt, [..., P], >= 0; NaN drops a prompt.
        gated_share: Share of the prompts that `HPT` or `SuperRL` sends to SFT, [...], in [0, 1],
            for a caller that has counted already; read where the counts are absent.
        any_rewarded: Whether a prompt has a rewarded rollout, [..., P], boolean or 0/1; NaN drops
            a prompt.
        grad_norm_s: Norm of the newest SFT gradient, before clipping, [...], >= 0.
        grad_norm_r: Norm of the newest RL gradient, before clipping, [...], >= 0.
        utility_gradient: Derivative of the validation utility with respect to mu, [...].
        gram_ss: :math:`|g_s|^2`, [...], >= 0.
        gram_sr: :math:`\langle g_s, g_r\rangle`, [...].
        gram_rr: :math:`|g_r|^2`, [...], >= 0.
        true_sigma_s2: Exact noise of the SFT gradient, [...], >= 0.
        true_sigma_r2: Exact noise of the RL gradient, [...], >= 0.
        true_delta_g2: Exact squared disagreement, [...], >= 0.
        uniform: A number drawn uniformly from [0, 1) for each trajectory, [...].
        rng: A generator to draw `uniform` from, where that is None.

    Examples:
        >>> Signals(entropy=[0.5, 0.7]).entropy
        [0.5, 0.7]
    """

    proxies: Proxies | None = None
    kl: ArrayLike | None = None
    entropy: ArrayLike | None = None
    solved: ArrayLike | None = None
    gated_share: ArrayLike | None = None
    any_rewarded: ArrayLike | None = None
    grad_norm_s: ArrayLike | None = None
    grad_norm_r: ArrayLike | None = None
    utility_gradient: ArrayLike | None = None
    gram_ss: ArrayLike | None = None
    gram_sr: ArrayLike | None = None
    gram_rr: ArrayLike | None = None
    true_sigma_s2: ArrayLike | None = None
    true_sigma_r2: ArrayLike | None = None
    true_delta_g2: ArrayLike | None = None
    uniform: ArrayLike | None = None
    rng: np.random.Generator | None = None


def reads(rule: Any) -> tuple[str, ...]:
    """Names of the signals that a rule asks for.

    Args:
        rule: A rule of this package or a :class:`gac_ref.GACConfig`, instance or class.

    Returns:
        Field names of `Signals`.

    Raises:
        GACError: `rule` is not a mixing rule.

    Examples:
        >>> from gac_ref import GACConfig, baselines
        >>> reads(baselines.AMFT), reads(GACConfig())
        (('entropy', 'utility_gradient'), ('proxies',))
    """
    if isinstance(rule, GACConfig) or rule is GACConfig:
        return ("proxies",)
    names = getattr(rule, "reads", None)
    if not isinstance(names, tuple):
        fail(f"rule = {rule!r} is not a mixing rule; pass one of gac_ref.baselines")
    return names


def signals_from_batch(rule: Any, batch: Batch, **others: Any) -> Signals:
    """The signals that a rule needs, as far as a training batch holds them.

    Proxies are taken with the rule's own configuration; KL is the batch's, or the k3 estimate
    from `ref_logprob`; correct and rewarded rollouts are counted by `group_ids` (expert rows are
    never counted, and prompts without rollouts drop out). What a batch cannot hold (gradient
    norms, a utility gradient, random numbers, exact values) is added by name.

    Args:
        rule: A rule of this package, or a :class:`gac_ref.GACConfig`.
        batch: The batch of this step.
        **others: Further fields of `Signals`; they take precedence.

    Returns:
        The signals. A field that the rule reads and that nobody supplies stays None; NaN where
        the batch has none of the rows that it is measured on.

    Raises:
        GACError: A name in `others` is not a signal; the batch is not a `Batch`.

    Examples:
        >>> from gac_ref import Batch, baselines
        >>> batch = Batch([[-1.0]] * 3, [[1]] * 3, [0.0, 1.0, -1.0], [True, False, False],
        ...               group_ids=[7, 7, 7], rewards=[0.0, 1.0, 0.0], entropy=0.5)
        >>> signals_from_batch(baselines.HPT(), batch).solved.tolist()
        [1.0]
        >>> signals_from_batch(baselines.AMFT(), batch, utility_gradient=0.1)[2]
        0.5
    """
    if not isinstance(batch, Batch):
        fail(f"batch is a {type(batch).__name__}; pass a gac_ref.Batch")
    unknown = others.keys() - set(Signals._fields)
    if unknown:
        fail(f"{min(unknown)!r} is not a signal; the signals are {', '.join(Signals._fields)}")
    found: dict[str, Any] = {
        name: _DERIVED[name](rule, batch) for name in reads(rule) if name in _DERIVED
    }
    return Signals(**{**found, **others})


def _proxies(rule: Any, batch: Batch) -> Proxies:
    return proxies(rule if isinstance(rule, GACConfig) else rule.statistics, batch)


def _kl(rule: Any, batch: Batch) -> float | None:
    if batch.rollout_rows.size and batch.kl is None and batch.ref_logprob is None:
        return None
    # A configuration with a static alpha would spare itself the k3 estimate.
    return batch_kl(GACConfig(alpha_mode="kl"), batch)


def _entropy(rule: Any, batch: Batch) -> float | None:
    return batch.entropy


def _solved(rule: Any, batch: Batch) -> FloatArray | None:
    return _count(batch, rule.success, strict=False)


def _any_rewarded(rule: Any, batch: Batch) -> FloatArray | None:
    count = _count(batch, rule.threshold, strict=True)
    return None if count is None else np.asarray(count > 0.0, dtype=np.float64)


def _count(batch: Batch, level: float, *, strict: bool) -> FloatArray | None:
    """Rollouts of each prompt whose reward reaches (or exceeds) `level`, [P], by ascending id."""
    if batch.rewards is None or batch.group_ids is None:
        return None
    rows = batch.rollout_rows
    rewards = batch.rewards[rows]
    hit = rewards > level if strict else rewards >= level
    _, prompt = np.unique(batch.group_ids[rows], return_inverse=True)
    return np.bincount(prompt.reshape(-1), weights=hit).astype(np.float64)


_DERIVED: dict[str, Callable[[Any, Batch], Any]] = {
    "proxies": _proxies,
    "kl": _kl,
    "entropy": _entropy,
    "solved": _solved,
    "any_rewarded": _any_rewarded,
}
