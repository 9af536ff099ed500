r"""MLP token policy: embedding of the context, hidden tanh, softmax; backward written by hand.

Prompts share parameters, and so do positions, so that an update for one state moves all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.models._checks import real, whole
from simulations.models.mlp_tables import context_rows, sequence_paths
from simulations.models.sequences import SequenceTask
from simulations.models.softmax import log_softmax

__all__ = ["Layers", "MLPPolicy"]

MAX_SEQUENCES = 4096
"""The exact noise enumerates V^T sequences for every trajectory; above this it is too slow."""


class Layers(NamedTuple):
    """Theta [..., d] as matrices, in the order of packing.

    Args:
        embedding: E, [..., F, K]: rows for the X prompts, the T positions, the V previous tokens
            and the start symbol; F = X + T + V + 1.
        hidden_weight: W, [..., H, K].
        hidden_bias: b, [..., H].
        output_weight: U, [..., V, H].
        output_bias: c, [..., V].

    Examples:
        >>> policy = MLPPolicy(hidden=5, embedding=3)
        >>> policy.unpack(policy.reference()).hidden_weight.shape
        (5, 3)
    """

    embedding: FloatArray
    hidden_weight: FloatArray
    hidden_bias: FloatArray
    output_weight: FloatArray
    output_bias: FloatArray


@dataclass(frozen=True, kw_only=True)
class MLPPolicy(SequenceTask):
    r"""Two-layer policy over the states (prompt, position, previous token).

    .. math::
        e = E_x + E_t + E_u, \qquad h = \tanh(W e + b), \qquad z = U h + c, \qquad
        \pi(\cdot | x, t, u) = \mathrm{softmax}(z)

    and backward, from :math:`\delta = \partial L / \partial z`,

    .. math::
        \partial U = \delta h^\top,\; \partial c = \delta,\;
        \gamma = (U^\top \delta) \odot (1 - h^2),\;
        \partial W = \gamma e^\top,\; \partial b = \gamma,\;
        \partial E_x = \partial E_t = \partial E_u = W^\top \gamma

    summed over the states. True gradients, bias, value, entropy and KL come from the dynamic
    programme of :class:`SequenceTask` and this backward pass; the noise needs
    :math:`E|\nabla \ln \pi(\tau)|^2`, in which the tokens of a sequence interact through the
    shared parameters, and enumerates the V^T sequences with the Gram matrix of the token scores.

    Args:
        embedding: Width K of the embedding, >= 1.
        hidden: Hidden units H, >= 1.
        start_scale: Scale of the reference parameters, >= 0: standard normals times this over the
            square root of the fan-in; biases 0.

    The other fields are those of :class:`~simulations.models.sequences.SequenceTask` and
    :class:`~simulations.models.policy.PolicyModel`.

    Raises:
        GACError: A field is out of range, or V^T is above 4096.

    Examples:
        >>> policy = MLPPolicy(prompts=2, vocabulary=3, horizon=3, embedding=4, hidden=8)
        >>> policy.dimension  # 9 * 4 + 8 * 4 + 8 + 3 * 8 + 3
        103
        >>> rng = np.random.default_rng(0)
        >>> theta = policy.start(rng, 4)
        >>> policy.sample(theta, 0, policy.draw(rng, 4, 0)).grad_s.shape
        (4, 103)
        >>> MLPPolicy(vocabulary=10, horizon=6)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: MLPPolicy: vocabulary ** horizon = 1000000 is above 4096; lower one
    """

    prompts: int = 2
    vocabulary: int = 3
    horizon: int = 3
    embedding: int = 4
    hidden: int = 8
    start_scale: float = 1.0

    name: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "embedding", "hidden", low=1)
        real(self, "start_scale", low=0.0)
        SequenceTask.__post_init__(self)
        sequences = self.vocabulary**self.horizon
        if sequences > MAX_SEQUENCES:
            fail(
                f"MLPPolicy: vocabulary ** horizon = {sequences} is above {MAX_SEQUENCES}; "
                "lower one"
            )

    @property
    def features(self) -> int:
        """Rows of the embedding, F = X + T + V + 1."""
        return self.prompts + self.horizon + self.vocabulary + 1

    @property
    def dimension(self) -> int:
        """F K + H K + H + V H + V."""
        return sum(math.prod(shape) for shape in self._shapes())

    def reference(self) -> FloatArray:
        """Parameters of the reference policy, [d]."""
        return _reference(self)

    def unpack(self, theta: FloatArray) -> Layers:
        """The layers of theta [..., d].

        Examples:
            >>> policy = MLPPolicy()
            >>> [part.ndim for part in policy.unpack(np.zeros((7, policy.dimension)))]
            [3, 3, 2, 3, 2]
        """
        parts, at = [], 0
        for shape in self._shapes():
            size = math.prod(shape)
            parts.append(
                np.ascontiguousarray(theta[..., at : at + size]).reshape(*theta.shape[:-1], *shape)
            )
            at += size
        return Layers(*parts)

    def pack(self, layers: Layers) -> FloatArray:
        """Theta [..., d] of the layers; undoes `unpack`.

        Examples:
            >>> policy = MLPPolicy()
            >>> theta = np.arange(policy.dimension, dtype=float)
            >>> bool((policy.pack(policy.unpack(theta)) == theta).all())
            True
        """
        lead = layers.output_bias.shape[:-1]
        return np.concatenate([part.reshape(*lead, -1) for part in layers], axis=-1)

    def logits(self, theta: FloatArray) -> FloatArray:
        """Forward pass on every state, [..., X, S, V]."""
        layers = self.unpack(theta)
        _, h = self._activations(layers)
        z = np.matmul(h, np.swapaxes(layers.output_weight, -1, -2))
        table = z + layers.output_bias[..., None, :]
        prompts, _, states, actions = self.shape
        return np.asarray(table.reshape(*theta.shape[:-1], prompts, states, actions))

    def pullback(self, theta: FloatArray, table: FloatArray) -> FloatArray:
        """Backward pass, summed over the states; one matrix product a trajectory and layer."""
        layers = self.unpack(theta)
        e, h = self._activations(layers)
        delta = table.reshape(*table.shape[:-3], -1, table.shape[-1])
        gamma = np.matmul(delta, layers.output_weight) * (1.0 - h * h)
        back = np.matmul(gamma, layers.hidden_weight)
        return self.pack(
            Layers(
                embedding=np.matmul(context_rows(self).T, back),
                hidden_weight=np.matmul(np.swapaxes(gamma, -1, -2), e),
                hidden_bias=gamma.sum(axis=-2),
                output_weight=np.matmul(np.swapaxes(delta, -1, -2), h),
                output_bias=delta.sum(axis=-2),
            )
        )

    def scores(self, theta: FloatArray) -> FloatArray:
        """Per-sample backward: the score of each single pair, [..., X, S, V, d]."""
        layers = self.unpack(theta)
        e, h = (part[..., :, None, :] for part in self._activations(layers))
        lead = theta.shape[:-1]
        prompts, _, states, actions = self.shape
        p = np.exp(log_softmax(self.logits(theta))).reshape(*lead, prompts * states, 1, actions)
        delta = np.eye(actions) - p
        slope = 1.0 - h * h
        gamma = np.matmul(delta, layers.output_weight[..., None, :, :]) * slope
        back = np.matmul(gamma, layers.hidden_weight[..., None, :, :])
        context = context_rows(self)[:, None, :, None]
        parts = (
            context * back[..., None, :],
            gamma[..., :, None] * e[..., None, :],
            gamma,
            delta[..., :, None] * h[..., None, :],
            delta,
        )
        shape = (*lead, prompts, states, actions)
        return np.concatenate([part.reshape(*shape, -1) for part in parts], axis=-1)

    def score_gram(self, theta: FloatArray, joint: FloatArray, scores: FloatArray) -> FloatArray:
        """J K J' with K the Gram matrix of a prompt's token scores, [..., X, R, R]."""
        weights = np.ascontiguousarray(joint).reshape(*joint.shape[:-2], -1)
        kernel = self._kernel(theta)
        return np.asarray(
            np.matmul(np.matmul(weights, kernel), np.swapaxes(weights, -1, -2).copy())
        )

    def score_squares(self, theta: FloatArray, p: FloatArray, joint: FloatArray) -> FloatArray:
        """Sum over all V^T sequences of chance times squared score, [..., X, L + 1]."""
        paths = sequence_paths(self)
        pairs = self.shape.states * self.shape.actions
        kernel = self._kernel(theta)
        flat = kernel.reshape(*kernel.shape[:-2], pairs * pairs)
        squares = flat.take(paths.pairs, axis=-1).sum(axis=-1)
        chance = p.reshape(*p.shape[:-2], pairs).take(paths.codes, axis=-1).prod(axis=-1)
        at_level = chance[..., None, :] * paths.at_level
        weight = np.concatenate(
            (
                at_level,
                np.broadcast_to(paths.by_expert, (*at_level.shape[:-2], 1, len(paths.codes))),
            ),
            axis=-2,
        )
        return np.asarray((weight * squares[..., None, :]).sum(axis=-1))

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return (
            (self.features, self.embedding),
            (self.hidden, self.embedding),
            (self.hidden,),
            (self.vocabulary, self.hidden),
            (self.vocabulary,),
        )

    def _activations(self, layers: Layers) -> tuple[FloatArray, FloatArray]:
        """Embeddings [..., X S, K] and hidden activations [..., X S, H] of all states."""
        e = np.matmul(context_rows(self), layers.embedding)
        z = np.matmul(e, np.swapaxes(layers.hidden_weight, -1, -2))
        return e, np.tanh(z + layers.hidden_bias[..., None, :])

    def _kernel(self, theta: FloatArray) -> FloatArray:
        """Inner products of the scores of one prompt's pairs, [..., X, S V, S V]."""
        scores = self.scores(theta)
        flat = scores.reshape(*theta.shape[:-1], self.prompts, -1, self.dimension)
        return np.asarray(np.matmul(flat, np.swapaxes(flat, -1, -2)))


@lru_cache(maxsize=64)
def _reference(policy: MLPPolicy) -> FloatArray:
    # The task's own generator is taken by the targets; this is its second child.
    rng = np.random.default_rng([policy.task_seed, 1])
    theta = policy.start_scale * rng.standard_normal(policy.dimension)
    layers = policy.unpack(theta)
    return frozen(
        policy.pack(
            Layers(
                embedding=layers.embedding,
                hidden_weight=layers.hidden_weight / math.sqrt(policy.embedding),
                hidden_bias=np.zeros_like(layers.hidden_bias),
                output_weight=layers.output_weight / math.sqrt(policy.hidden),
                output_bias=np.zeros_like(layers.output_bias),
            )
        )
    )
