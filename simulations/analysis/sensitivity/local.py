r"""Derivatives of the applied weight to every continuous hyperparameter.

At constant proxies and prior, between bounds, mu after t steps of the released feedback is

.. math::
    \mu_t = m + (\mu_0 - m) a^t, \qquad a = \lambda\beta, \qquad
    m = P + w\,(\mu^* - P), \qquad w = \frac{\lambda(1-\beta)}{1-\lambda\beta}

and all derivatives are closed forms. Anywhere else they follow from one run with an imaginary
perturbation of 1e-30 in each hyperparameter, which is exact to rounding and sees every saturation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from gac_ref.risk import closed_form, sensitivities
from simulations.analysis.sensitivity.hyper import (
    HYPERPARAMETERS,
    Values,
    advance,
    begin,
    hyperparameters,
)

__all__ = ["CONTINUOUS", "complex_step", "constant_input_derivatives"]

CONTINUOUS = HYPERPARAMETERS[:-3]
"""The hyperparameters that derivatives exist to; the last three are whole numbers."""

STEP = 1e-30
"""Imaginary perturbation: its square is below every rounding, and nothing is subtracted."""


def constant_input_derivatives(
    config: GACConfig, sigma_s2: float, sigma_r2: float, delta_g2: float, *, steps: int
) -> dict[str, FloatArray]:
    r"""Derivatives of mu after `steps` steps of constant proxies under a constant prior.

    With :math:`P` the prior's valley, reached at once (no warm-up, no decay), the released
    feedback, and neither cap nor clips acting:

    .. math::
        \frac{\partial m}{\partial\lambda} = \frac{(1-\beta)(\mu^* - P)}{(1-\lambda\beta)^2},
        \quad
        \frac{\partial m}{\partial\beta} = \frac{\lambda(1-\lambda)(P - \mu^*)}{(1-\lambda\beta)^2},
        \quad
        \frac{\partial\mu_t}{\partial x} = (1 - a^t) \frac{\partial m}{\partial x}
        + (\mu_0 - m)\, t a^{t-1} \frac{\partial a}{\partial x}

    and :math:`\partial m / \partial P = 1 - w`, :math:`\partial m / \partial \mu^* = w`; the
    derivatives of :math:`\mu^*` are those of :func:`gac_ref.risk.sensitivities`.

    Args:
        config: The configuration; `weight_ema` "applied" and a prior without warm-up and decay.
        sigma_s2: SFT noise, > 0.
        sigma_r2: RL noise, > 0.
        delta_g2: Disagreement, >= 0.
        steps: t, >= 1.

    Returns:
        By name: `ema_beta`, `blend_weight`, `alpha`, `prior_valley`, `init_mu`, `sigma_s2`,
        `sigma_r2` and `delta_g2`.

    Raises:
        GACError: A configuration that this theory is not of.

    Examples:
        >>> config = GACConfig(prior_warmup=0, prior_decay=0)
        >>> found = constant_input_derivatives(config, 1.0, 3.0, 4.0, steps=10_000)
        >>> round(float(found["alpha"]), 6), round(float(found["prior_valley"]), 4)
        (0.00495, 0.9901)
    """
    if config.weight_ema != "applied" or config.prior == "none":
        fail("these derivatives are of the released feedback with a prior; pass such a config")
    if config.prior_warmup or config.prior_decay:
        fail(
            f"prior_warmup = {config.prior_warmup} and prior_decay = {config.prior_decay} make the "
            "prior move; pass 0 for both"
        )
    beta, lam, prior = config.ema_beta, config.blend_weight, config.prior_valley
    raw = closed_form(sigma_s2, sigma_r2, delta_g2, config.alpha)
    local = sensitivities(sigma_s2, sigma_r2, delta_g2, config.alpha)
    a, t = lam * beta, steps
    w = lam * (1.0 - beta) / (1.0 - a)
    rest = prior + w * (raw - prior)
    arrived, moving = 1.0 - a**t, (config.init_mu - rest) * t * a ** (t - 1)
    scale = (raw - prior) / (1.0 - a) ** 2
    found = {
        "ema_beta": arrived * -lam * (1.0 - lam) * scale + moving * lam,
        "blend_weight": arrived * (1.0 - beta) * scale + moving * beta,
        "prior_valley": arrived * (1.0 - w),
        "init_mu": a**t,
        **{name: arrived * w * value for name, value in local._asdict().items()},
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}


def complex_step(
    config: GACConfig, values: Sequence[Values], names: Sequence[str] = CONTINUOUS
) -> tuple[FloatArray, FloatArray]:
    r"""Derivative of the applied weight at every step, :math:`\mathrm{Im}\,\mu_t(x + ih) / h`.

    Where a guard is about to act or to let go, the two one-sided derivatives differ, and this is
    that of the side that the run is on.

    Args:
        config: The configuration.
        values: Proxies of step 0, 1, ..., broadcastable against [P, n].
        names: The hyperparameters, [P].

    Returns:
        The weights, [T, n], and the derivatives, [P, T, n].

    Raises:
        GACError: A name that no derivative exists to.

    Examples:
        >>> mu, slope = complex_step(GACConfig(mu_change_cap=0.01), [Values(1.0, 1.0, 0.0)] * 3,
        ...                          ["mu_change_cap"])
        >>> slope[0, :, 0].round(12).tolist()
        [-1.0, -2.0, -3.0]

    References:
        Squire and Trapp, SIAM Review 40(1), 1998; Martins, Sturdza and Alonso, ACM Transactions
        on Mathematical Software 29(3), 2003.
    """
    for name in names:
        if name not in CONTINUOUS:
            fail(f"no derivative to {name!r}; pass some of {', '.join(CONTINUOUS)}")
    count = len(names)
    changes = {}
    for p, name in enumerate(names):
        column = np.full((count, 1), complex(getattr(config, name)))
        column[p] += 1j * STEP
        changes[name] = column
    h = hyperparameters(config, changes)
    width = np.broadcast_shapes((count, 1), *(np.shape(x) for x in values[0][:3]))
    state = begin(h, width)
    mu = []
    for step, now in enumerate(values):
        state, _ = advance(config, h, state, now, step)
        mu.append(state.mu)
    path = np.stack(mu, axis=1)
    return np.asarray(path[0].real), np.asarray(path.imag / STEP)
