r"""Coefficient streams: what each objective puts in front of a token's score function.

The gradient of either loss is a sum over tokens of a coefficient times
:math:`\nabla \log p`; comparing the coefficients is the affordable stand-in for comparing the
gradients. The SFT stream is :math:`c_s = -\varphi(p)`, or :math:`-1` without phi; the RL stream is
:math:`c_r = -A` on rollouts and 0 on expert rows. Both signs are dropped in the code: only
:math:`(c_s - c_r)^2` is ever used.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import AnyArray, ArrayLike, FloatArray

__all__ = ["phi", "phi_into"]


def phi(logprob: ArrayLike) -> FloatArray:
    r"""CHORD's token weight :math:`\varphi(p) = p (1 - p)`, with :math:`p = e^{\ell}`.

    Small where the token is certain either way, at most 1/4, at p = 1/2. The absolute error is
    of order 1e-16; relative to phi it grows as 1/(1 - p), since p itself is rounded. Computing
    1 - p by ``expm1`` would mend that at twice the cost of the whole estimator.

    Args:
        logprob: Log-probabilities, nats, any shape.

    Returns:
        The weights, float64, of the same shape, in [0, 1/4].

    Examples:
        >>> phi(np.log([0.5, 1.0])).tolist()
        [0.25, 0.0]

    References:
        CHORD-phi, arXiv:2508.11408.
    """
    source = np.asarray(logprob)
    out = np.empty(source.shape)
    return phi_into(source, out, np.empty(source.shape))


def phi_into(logprob: AnyArray, out: FloatArray, spare: FloatArray) -> FloatArray:
    """`phi` into `out`, widening `logprob` on the way; `spare` is overwritten."""
    p = np.exp(logprob, out=out, dtype=np.float64, casting="unsafe")
    # p (1 - p), not p - p * p: 1 - p is exact from 1/2 up, where phi is small.
    return np.multiply(p, np.subtract(1.0, p, out=spare), out=p)
