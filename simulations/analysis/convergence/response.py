r"""How long the controller takes after a change of regime, in closed form and as it runs.

Let the two variances change places at a refresh, their sum and the disagreement fixed, so that the
closed form is linear in the smoothed statistics. After n steps, f steps a refresh, what is left of
the change in the raw estimate is :math:`\beta^{\lceil n / f \rceil}`, and in mu, whose loop has the
pole p (:math:`\beta` with an internal state or without a prior, :math:`\lambda\beta` with the
applied mu fed back, 0 without a weight EMA),

.. math::
    y_n = p\, y_{n-1} + (1 - p)\, \beta^{\lceil n / f \rceil}, \qquad y_0 = 1
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies, authority, init, update_from_proxies
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = ["Switch", "remaining", "run_switch", "steps_to"]

SETTLED = 1e-12
"""What may be left of the start when the change of regime comes."""


class Switch(NamedTuple):
    """A response to a change of regime.

    Args:
        exact: Share of the change that is left after n = 1, 2, ... steps, [T].
        measured: The same in a run of the controller, [T].
        size: How far mu moves in the end, a number.
        capped: Whether the change cap acted anywhere.
    """

    exact: FloatArray
    measured: FloatArray
    size: FloatArray
    capped: FloatArray


def remaining(steps: ArrayLike, *, pole: float, beta: float, refresh: int) -> FloatArray:
    r"""Share of a change of regime that mu has not followed yet, in closed form.

    With :math:`a = p^f`, j whole refreshes and k steps more (n = f j + k),

    .. math::
        Y_j = a^j + (1 - a)\,\beta\,\frac{\beta^j - a^j}{\beta - a}, \qquad
        y_n = p^k Y_j + (1 - p^k)\,\beta^{j+1}

    Args:
        steps: n >= 0, [...].
        pole: p, in [0, 1).
        beta: In (0, 1).
        refresh: f >= 1.

    Returns:
        The share, [...], from 1 down to 0.

    Examples:
        >>> remaining([0, 1, 2, 3], pole=0.0, beta=0.5, refresh=2).tolist()
        [1.0, 0.5, 0.5, 0.25]
    """
    n = np.asarray(steps, dtype=np.int64)
    j, k = n // refresh, n % refresh
    a = pole**refresh
    power_a, power_b = a**j, beta**j
    summed = j * power_b if a == beta else beta * (power_b - power_a) / (beta - a)
    whole = power_a + (1.0 - a) * summed
    part = np.power(pole, k)
    return np.asarray(part * whole + (1.0 - part) * power_b * beta)


def steps_to(share: float, *, pole: float, beta: float, refresh: int) -> int:
    """Steps until mu has made a share of its way, by bisection of the closed form.

    Args:
        share: In (0, 1), e.g. 0.9.
        pole: Pole of the weight loop.
        beta: Of the statistics.
        refresh: Steps between two refreshes.

    Returns:
        The least n.

    Raises:
        GACError: `share` is not inside (0, 1).

    Examples:
        >>> steps_to(0.9, pole=0.0, beta=0.99, refresh=10)
        2291
    """
    if not 0.0 < share < 1.0:
        fail(f"share = {share!r} is not inside (0, 1); pass such a share")
    high = 1
    while float(remaining(high, pole=pole, beta=beta, refresh=refresh)) > 1.0 - share:
        high *= 2
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        left = float(remaining(middle, pole=pole, beta=beta, refresh=refresh))
        low, high = (middle, high) if left > 1.0 - share else (low, middle)
    return high


def run_switch(config: Mapping[str, Any], *, variant: str, after: int) -> Switch:
    """Let the controller run through a change of regime, under a constant prior.

    sigma_s2 and sigma_r2 are 3 and 1, and change places; mu_raw goes from 1/4 to 3/4.

    Args:
        config: Fields of :class:`gac_ref.GACConfig` to change.
        variant: Name of the variant.
        after: Steps after it.

    Returns:
        The closed form and the run.

    Examples:
        >>> switch = run_switch({"ema_beta": 0.9}, variant="decoupled", after=50)
        >>> float(abs(switch.exact - switch.measured).max()) < 1e-9
        True
    """
    settings = GACConfig.variant(variant, prior_warmup=0, prior_decay=0, **config)
    theory, refresh = authority(settings), settings.mu_update_freq
    settle = math.ceil(math.log(SETTLED) / math.log(max(theory.pole, settings.ema_beta)))
    settle += -settle % refresh
    state = init(settings)
    mu, capped = np.empty(after + 1), False
    for step in range(settle + after):
        new = step >= settle
        values = Proxies(1.0 if new else 3.0, 3.0 if new else 1.0, 0.0)
        state, info = update_from_proxies(settings, state, values, step=step)
        if step >= settle - 1:
            mu[step - settle + 1] = float(info.mu)
            capped |= bool(info.flags["change_capped"])
    size = 0.5 * theory.weight
    steps = np.arange(1, after + 1)
    exact = remaining(steps, pole=theory.pole, beta=settings.ema_beta, refresh=refresh)
    return Switch(exact, 1.0 - (mu[1:] - mu[0]) / size, np.asarray(size), np.asarray(capped))
