r"""Linear and logistic regression on a finite data set: true labels (RL), a biased teacher (SFT).

With features :math:`x_i`, logits :math:`z_i = \langle x_i, \theta\rangle`, mean function f (the
identity, or the logistic function) and labels :math:`y_{k,i}` of branch k,

.. math::
    \nabla L_k(\theta) = \frac1N \sum_i \bigl(f(z_i) - y_{k,i}\bigr) x_i + \lambda\theta,
    \qquad g_s - g_r = \frac1N \sum_i (y_{r,i} - y_{s,i})\, x_i

The disagreement does not depend on theta: with these links the labels enter linearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gac_ref import Proxies
from gac_ref._typing import ArrayLike, FloatArray, IntArray
from gac_ref.baselines import Signals
from gac_ref.errors import fail
from simulations.models._checks import (
    CONDITION_MAX,
    choice,
    constant,
    draw_matches,
    finite,
    flag,
    point,
    real,
    whole,
)
from simulations.models.quadratic_bowls import dot
from simulations.models.regression_data import (
    RegressionData,
    RegressionDraw,
    batch_moments,
    logits,
    make_data,
    mean_function,
    mean_losses,
    minimise,
    pointwise_entropy,
    weighted_features,
)
from simulations.problem import Sample, Truth

__all__ = ["Regression"]


@dataclass(frozen=True, kw_only=True)
class Regression:
    r"""Two regressions on the same features, sampled by minibatches with replacement.

    The features are Gaussian with eigenvalues ``condition**(-i / (d - 1))`` of their covariance.
    The true weights have length `signal` in a random direction, the teacher's are shifted by
    `teacher_bias` in another. Labels are :math:`y = \langle x, w\rangle + c\,\epsilon` ("linear",
    Gaussian :math:`\epsilon`) or :math:`y = 1[\langle x, w\rangle + c\,\epsilon > 0]` ("logistic",
    logistic :math:`\epsilon`, so that c = 1 is the model that the regression fits). All of it is
    drawn once, from `data_seed`; what follows is exact for that data set.

    A batch gradient is the mean over independent uniform rows, so with :math:`x_k` the gradient
    of one row

    .. math::
        \sigma_k^2 = \frac{E|x_k|^2 - |g_k|^2}{B_k}, \qquad
        \kappa = \frac{E\langle x_s, x_r\rangle - \langle g_s, g_r\rangle}{B}
        \text{ (shared batch), or } 0

    Proxies are "exact", or "estimated" from the rows of this step's batches by the formulas of
    :func:`gac_ref.gradient_oracle`, paired where the batch is shared.

    Args:
        link: "linear" (squared loss) or "logistic" (cross-entropy, nats).
        dimension: Features d, >= 1.
        examples: Rows N of the data set, >= 1.
        data_seed: Seed of the data set, >= 0.
        condition: Ratio of the largest to the smallest feature variance, in [1, 1e12]; 1 for
            d = 1.
        signal: Length of the true weights, >= 0.
        teacher_bias: Distance of the teacher's weights from the true ones, >= 0.
        noise_s: Scale c of the noise in the teacher's labels, >= 0.
        noise_r: Scale c of the noise in the true labels, >= 0.
        ridge: :math:`\lambda`, >= 0; > 0 for "logistic", whose loss has no minimum where the
            labels can be separated, and wherever there are fewer rows than features.
        batch_s: Rows in an SFT batch, >= 1; >= 2 for estimated proxies.
        batch_r: Rows in an RL batch, >= 1; >= 2 for estimated proxies.
        shared_batch: Whether both branches use the same rows; then the sizes are equal.
        start_spread: Root mean square length of the starting points, >= 0.
        alpha: Weight of the SFT loss in the target loss, in [0, 1].
        proxy: "exact" or "estimated".

    Raises:
        GACError: A field is out of range, or two of them exclude each other.

    Examples:
        >>> problem = Regression(dimension=3, teacher_bias=0.0, noise_s=0.0, noise_r=0.0)
        >>> truth = problem.truth(np.zeros((1, 3)), 0)
        >>> truth.delta_g2.tolist(), bool((truth.g_s == truth.g_r).all())
        ([0.0], True)
        >>> Regression(batch_s=0)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: Regression: batch_s = 0 is not a whole number >= 1; pass one

    References:
        McCullagh and Nelder, "Generalized Linear Models", section 2.2 (canonical links); the
        specification's sections 1 and 2.
    """

    link: str = "linear"
    dimension: int = 8
    examples: int = 64
    data_seed: int = 0
    condition: float = 1.0
    signal: float = 2.0
    teacher_bias: float = 1.0
    noise_s: float = 0.5
    noise_r: float = 0.5
    ridge: float = 0.01
    batch_s: int = 8
    batch_r: int = 8
    shared_batch: bool = False
    start_spread: float = 0.0
    alpha: float = 0.5
    proxy: str = "exact"

    def __post_init__(self) -> None:
        """Validate."""
        choice(self, "link", ("linear", "logistic"))
        choice(self, "proxy", ("exact", "estimated"))
        whole(self, "dimension", "examples", low=1)
        whole(self, "data_seed", low=0)
        whole(self, "batch_s", "batch_r", low=2 if self.proxy == "estimated" else 1)
        real(self, "condition", low=1.0, high=CONDITION_MAX)
        real(self, "signal", "teacher_bias", "noise_s", "noise_r", "ridge", low=0.0)
        real(self, "start_spread", low=0.0)
        real(self, "alpha", low=0.0, high=1.0)
        flag(self, "shared_batch")
        if self.dimension == 1 and self.condition != 1.0:
            fail(
                f"Regression: condition = {self.condition!r} needs two features and dimension is "
                "1; pass condition=1.0"
            )
        if self.shared_batch and self.batch_s != self.batch_r:
            fail(
                f"Regression: batch_s = {self.batch_s} and batch_r = {self.batch_r} differ, but "
                "the batch is shared; pass equal sizes"
            )
        if self.ridge == 0.0 and self.link == "logistic":
            fail(
                "Regression: ridge = 0.0 leaves a logistic loss without a minimum on separable "
                "labels; pass ridge > 0"
            )
        if self.ridge == 0.0 and self.examples < self.dimension:
            fail(
                f"Regression: examples = {self.examples} rows do not determine dimension = "
                f"{self.dimension} weights; pass more rows, or ridge > 0"
            )

    @property
    def name(self) -> str:
        """Short name."""
        return f"{self.link}_regression"

    @property
    def exact(self) -> bool:
        """`truth` is exact."""
        return True

    @property
    def tokens(self) -> bool:
        """There are labels and no tokens: neither log-probabilities nor advantages."""
        return False

    @property
    def units(self) -> dict[str, str]:
        """Unit of each outcome."""
        loss = "label^2" if self.link == "linear" else "nat"
        units = {"loss": loss, "loss_s": loss, "loss_r": loss, "distance": "parameter"}
        return units if self.link == "linear" else {**units, "accuracy": "1", "entropy": "nat"}

    @cached_property
    def data(self) -> RegressionData:
        """The data set."""
        return make_data(
            self.link,
            self.data_seed,
            shape=(self.examples, self.dimension),
            condition=self.condition,
            signal=self.signal,
            teacher_bias=self.teacher_bias,
            noise=(self.noise_s, self.noise_r),
        )

    def minimiser(self, mu: ArrayLike) -> FloatArray:
        r"""The minimum of :math:`\mu L_s + (1 - \mu) L_r`.

        The mixed loss is the same regression on the labels :math:`\mu y_s + (1 - \mu) y_r`.

        Args:
            mu: Weight on SFT, [...].

        Returns:
            The minimum, [..., d], to rounding.

        Raises:
            GACError: `mu` is not finite.

        Examples:
            >>> problem = Regression(dimension=2)
            >>> halfway = problem.minimiser([0.0, 1.0]).mean(axis=0)
            >>> bool(np.allclose(halfway, problem.minimiser(0.5)))
            True
        """
        weights = finite("Regression", "mu", mu)
        out = np.empty((*weights.shape, self.dimension))
        for index in np.ndindex(weights.shape):
            labels = weights[index] * self.data.y_s + (1.0 - weights[index]) * self.data.y_r
            out[index] = minimise(self.link, self.data.x, labels, self.ridge)
        return out

    @cached_property
    def optimum(self) -> FloatArray:
        """The minimum of the target loss, alpha L_s + (1 - alpha) L_r, [d]."""
        return constant(self.minimiser(self.alpha))

    @cached_property
    def largest_curvature(self) -> float:
        """Largest eigenvalue of either Hessian ("linear"), or a bound on it at any theta."""
        x = self.data.x
        top = float(np.linalg.eigvalsh(x.T @ x / len(x))[-1])
        return (top if self.link == "linear" else 0.25 * top) + self.ridge

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Starting points of n seeds, [n, d]: Gaussian around 0."""
        z = rng.standard_normal((n, self.dimension))
        return self.start_spread / math.sqrt(self.dimension) * z

    def draw(self, rng: np.random.Generator, n: int, step: int) -> RegressionDraw:
        """The rows of both batches of one step, for n seeds."""
        rows_s = rng.integers(self.examples, size=(n, self.batch_s))
        if self.shared_batch:
            return RegressionDraw(rows_s, rows_s)
        return RegressionDraw(rows_s, rng.integers(self.examples, size=(n, self.batch_r)))

    def truth(self, theta: FloatArray, step: int, draw: Any = None) -> Truth:
        """Exact values at theta [..., d]."""
        theta, data = point(self, theta), self.data
        fitted = mean_function(self.link, logits(theta, data.columns))
        s = batch_moments(fitted - data.y_s, data.columns, data.norm2)
        r = batch_moments(fitted - data.y_r, data.columns, data.norm2)
        # Over the whole data set the mean is not an estimate, so the divisor is N, not N - 1.
        sigma_s2 = s.scatter / (self.examples * self.batch_s)
        sigma_r2 = r.scatter / (self.examples * self.batch_r)
        kappa = np.zeros(theta.shape[:-1])
        if self.shared_batch:
            kappa = s.joint_scatter(r, data.norm2) / (self.examples * self.batch_s)
            bound = np.sqrt(sigma_s2 * sigma_r2)  # which rounding may cross
            kappa = np.clip(kappa, -bound, bound)
        # Constant in theta; from the labels, so that rounding does not make it move.
        delta = weighted_features(data.y_r - data.y_s, data.columns) / self.examples
        return Truth(
            g_s=s.mean + self.ridge * theta,
            g_r=r.mean + self.ridge * theta,
            sigma_s2=sigma_s2,
            sigma_r2=sigma_r2,
            delta_g2=np.full(theta.shape[:-1], np.sum(delta * delta)),
            kappa=kappa,
        )

    def sample(self, theta: FloatArray, step: int, draw: RegressionDraw) -> Sample:
        """Minibatch gradients, proxies, and for "logistic" the batch's entropy, at [..., n, d]."""
        theta, data = point(self, theta), self.data
        draw_matches(self, theta, len(draw.rows_s))
        columns_s, z_s = self._batch(theta, draw.rows_s)
        columns_r, z_r = (columns_s, z_s) if self.shared_batch else self._batch(theta, draw.rows_r)
        rows_s, rows_r = draw.rows_s, draw.rows_s if self.shared_batch else draw.rows_r
        residual_s = mean_function(self.link, z_s) - data.y_s[rows_s]
        residual_r = mean_function(self.link, z_r) - data.y_r[rows_r]
        s = batch_moments(residual_s, columns_s, data.norm2[rows_s])
        r = batch_moments(residual_r, columns_r, data.norm2[rows_r])
        pull = self.ridge * theta
        entropy = None
        if self.link == "logistic":
            entropy = pointwise_entropy(z_r).sum(axis=-1) / self.batch_r
        if self.proxy == "exact":
            truth = self.truth(theta, step)
            proxies = Proxies(truth.sigma_s2, truth.sigma_r2, truth.delta_g2)
        else:
            pairs_s = self.batch_s * (self.batch_s - 1)
            sigma_s2 = s.scatter / pairs_s
            sigma_r2 = r.scatter / (self.batch_r * (self.batch_r - 1))
            difference = s.mean - r.mean
            delta_g2 = dot(difference, difference) - sigma_s2 - sigma_r2
            if self.shared_batch:
                delta_g2 += 2.0 * s.joint_scatter(r, data.norm2[rows_s]) / pairs_s
            proxies = Proxies(sigma_s2, sigma_r2, delta_g2)
        return Sample(s.mean + pull, r.mean + pull, Signals(proxies=proxies, entropy=entropy))

    def _batch(self, theta: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Feature columns [d, n, B] and logits [..., n, B] of the sampled rows."""
        columns = np.take(self.data.columns, rows, axis=1)
        return columns, logits(theta, columns)

    def outcomes(self, theta: FloatArray, step: int) -> dict[str, FloatArray]:
        """The losses and the distance from the target's minimum; accuracy, entropy if logistic."""
        theta, data = point(self, theta), self.data
        z = logits(theta, data.columns)
        penalty = 0.5 * self.ridge * (theta * theta).sum(axis=-1)
        loss_s, loss_r = (loss + penalty for loss in mean_losses(self.link, z, data.y_s, data.y_r))
        found = {
            "loss": self.alpha * loss_s + (1.0 - self.alpha) * loss_r,
            "loss_s": loss_s,
            "loss_r": loss_r,
            "distance": np.sqrt(((theta - self.optimum) ** 2).sum(axis=-1)),
        }
        if self.link == "logistic":
            found["accuracy"] = ((z > 0.0) == (data.y_r > 0.5)).sum(axis=-1) / self.examples
            found["entropy"] = pointwise_entropy(z).sum(axis=-1) / self.examples
        return found
