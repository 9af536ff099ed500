"""Risk and regret against their definition."""

from __future__ import annotations

import numpy as np

from simulations.engine.outcomes import risk_and_regret
from simulations.problem import Truth

RISK_RTOL = 1e-12
"""The same few products in another order."""


def test_regret_is_the_difference_of_exact_risks_with_bias_and_correlation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        g_s, g_r, b_s, b_r = rng.normal(size=(4, 3))
        s2, r2 = rng.exponential(size=2)
        kappa = rng.uniform(-0.9, 0.9) * np.sqrt(s2 * r2)
        truth = Truth(
            g_s, g_r, np.asarray(s2), np.asarray(r2), np.sum((g_s - g_r) ** 2), kappa, b_s, b_r
        )
        mu, alpha = rng.uniform(size=2)

        def exact(m: float, truth: Truth = truth, a: float = alpha) -> float:
            error = (m - a) * (truth.g_s - truth.g_r) + m * truth.bias_s + (1 - m) * truth.bias_r
            noise = m**2 * truth.sigma_s2 + (1 - m) ** 2 * truth.sigma_r2
            return float(error @ error + noise + 2 * m * (1 - m) * truth.kappa)

        value, regret, best = (float(x) for x in risk_and_regret(mu, truth, alpha))
        np.testing.assert_allclose(value, exact(mu), rtol=RISK_RTOL)
        np.testing.assert_allclose(
            regret, exact(mu) - exact(best), rtol=RISK_RTOL, atol=RISK_RTOL * exact(mu)
        )
        grid = np.linspace(0.0, 1.0, 101)
        assert exact(best) <= min(exact(m) for m in grid) * (1.0 + RISK_RTOL)
        assert regret >= 0.0
