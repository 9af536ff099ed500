r"""The guards as a linear filter: from the raw estimate and from the prior to the applied weight.

Between bounds, and while the cap does not act, every channel has one pole at most,

.. math:: H(z) = \frac{b}{1 - a z^{-1}}

==========  ==========================================  ===================================
weight EMA  from the estimate                           from the prior
==========  ==========================================  ===================================
applied     :math:`b=\lambda(1-\beta), a=\lambda\beta`  :math:`b=1-\lambda, a=\lambda\beta`
internal    :math:`b=\lambda(1-\beta), a=\beta`         :math:`b=1-\lambda, a=0`
off         :math:`b=\lambda, a=0`                      :math:`b=1-\lambda, a=0`
==========  ==========================================  ===================================
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gac_ref import GACConfig
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = [
    "Channel",
    "Stack",
    "blend_weight_for",
    "dc_gain",
    "delay",
    "frequency_response",
    "gain_map",
    "half_power_frequency",
    "linear_stack",
    "noise_gain",
    "settling_steps",
    "step_response",
]


ComplexArray: TypeAlias = npt.NDArray[np.complex128]


class Channel(NamedTuple):
    """A first-order filter b / (1 - a / z).

    Args:
        b: Share of an input's change that arrives in the same step.
        a: The pole, in [0, 1).
    """

    b: float
    a: float


class Stack(NamedTuple):
    """The two channels of a configuration's guards; their DC gains sum to 1."""

    estimate: Channel
    prior: Channel


def linear_stack(config: GACConfig) -> Stack:
    """The channels from the raw estimate and from the prior to the applied weight.

    Examples:
        >>> stack = linear_stack(GACConfig.released())
        >>> round(dc_gain(stack.estimate), 4), round(stack.estimate.a, 4)
        (0.0099, 0.495)
        >>> linear_stack(GACConfig.decoupled()).prior
        Channel(b=0.5, a=0.0)

    References:
        docs/method.md, section 4; :func:`gac_ref.authority.authority`.
    """
    beta = config.ema_beta
    lam = config.blend_weight if config.prior != "none" else 1.0
    if config.weight_ema == "applied":
        return Stack(Channel(lam * (1.0 - beta), lam * beta), Channel(1.0 - lam, lam * beta))
    if config.weight_ema == "internal":
        return Stack(Channel(lam * (1.0 - beta), beta), Channel(1.0 - lam, 0.0))
    return Stack(Channel(lam, 0.0), Channel(1.0 - lam, 0.0))


def dc_gain(channel: Channel) -> float:
    """What arrives in the end of a lasting change of the input: b / (1 - a).

    Examples:
        >>> dc_gain(Channel(0.25, 0.5))
        0.5
    """
    return channel.b / (1.0 - channel.a)


def step_response(channel: Channel, steps: int) -> FloatArray:
    r"""Output after each of `steps` steps at an input of 1, from rest:
    :math:`b (1 - a^{t+1}) / (1 - a)`.

    Examples:
        >>> step_response(Channel(0.25, 0.5), 3).tolist()
        [0.25, 0.375, 0.4375]
    """
    t = np.arange(1, steps + 1)
    return np.asarray(dc_gain(channel) * (1.0 - channel.a**t))


def frequency_response(channel: Channel, omega: ArrayLike) -> ComplexArray:
    r"""Gain and phase at angular frequencies, :math:`b / (1 - a e^{-i\omega})`.

    Args:
        channel: The filter.
        omega: Radians a step, any shape, in [0, pi].

    Examples:
        >>> abs(frequency_response(Channel(0.25, 0.5), np.pi)).round(12).item()
        0.166666666667
    """
    turn = np.exp(-1j * np.asarray(omega, dtype=np.float64))
    return np.asarray(channel.b / (1.0 - channel.a * turn), dtype=np.complex128)


def half_power_frequency(channel: Channel) -> float:
    r"""Radians a step at which the power has halved, :math:`\cos\omega = (4a - 1 - a^2)/(2a)`.

    NaN for poles up to :math:`3 - 2\sqrt 2`, whose filters never lose half of it.

    Examples:
        >>> round(half_power_frequency(Channel(0.01, 0.99)), 5)
        0.01005
        >>> half_power_frequency(Channel(0.9, 0.1))
        nan
    """
    a = channel.a
    if a <= 3.0 - 2.0 * math.sqrt(2.0):
        return math.nan
    return math.acos((4.0 * a - 1.0 - a * a) / (2.0 * a))


def settling_steps(channel: Channel, band: float = 0.02) -> int:
    """The least n with a ** n <= band: steps until all but that share has arrived.

    Examples:
        >>> settling_steps(Channel(0.01, 0.99))
        390
    """
    if not 0.0 < band < 1.0:
        fail(f"band = {band!r} is outside (0, 1); pass the share that may still be missing")
    return 1 if channel.a <= band else math.ceil(math.log(band) / math.log(channel.a))


def delay(channel: Channel) -> float:
    """Mean delay of a slow change, a / (1 - a) steps.

    Examples:
        >>> delay(Channel(0.1, 0.5))
        1.0
    """
    return channel.a / (1.0 - channel.a)


def noise_gain(channel: Channel) -> float:
    r"""Variance of the output for independent inputs of variance 1, :math:`b^2 / (1 - a^2)`.

    Examples:
        >>> noise_gain(Channel(1.0, 0.0))
        1.0
    """
    return channel.b**2 / (1.0 - channel.a**2)


def gain_map(blend_weight: ArrayLike, ema_beta: ArrayLike) -> FloatArray:
    r"""Authority of the released feedback, :math:`\lambda(1-\beta)/(1-\lambda\beta)`.

    Args:
        blend_weight: :math:`\lambda`, broadcastable, in [0, 1].
        ema_beta: :math:`\beta`, broadcastable, in [0, 1).

    Examples:
        >>> gain_map([0.5, 1.0], 0.99).round(4).tolist()
        [0.0099, 1.0]
    """
    lam, beta = (np.asarray(x, dtype=np.float64) for x in (blend_weight, ema_beta))
    return np.asarray(lam * (1.0 - beta) / (1.0 - lam * beta))


def blend_weight_for(authority: ArrayLike, ema_beta: ArrayLike) -> FloatArray:
    r"""The blend weight that gives the released feedback a wanted authority w.

    .. math:: \lambda = \frac{w}{1 - \beta + w \beta}

    Args:
        authority: w, broadcastable, in [0, 1].
        ema_beta: :math:`\beta`, broadcastable, in [0, 1).

    Examples:
        >>> round(float(blend_weight_for(0.5, 0.99)), 4)
        0.9901
    """
    w, beta = (np.asarray(x, dtype=np.float64) for x in (authority, ema_beta))
    return np.asarray(w / (1.0 - beta + w * beta))
