"""The released variant against a plain eager PyTorch version, written apart from it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from gac_ref import Batch, GACConfig, init, proxies, update
from gac_ref.schedules import prior_at

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from eager_torch import EagerController, released_proxies  # noqa: E402

# Both sum some hundreds of float64 terms of one sign: sqrt(1e3) * 2**-53 is 4e-15 relative, and
# the variances lose up to two digits to their means.
RTOL = 1e-12


def arrays(rng, step):
    b, t = 24, 17
    mask = np.arange(t) < rng.integers(1, t + 1, size=(b, 1))
    is_expert = {0: rng.random(b) < 0.5, 1: np.ones(b, bool), 2: np.zeros(b, bool)}[step % 3]
    return -rng.exponential(size=(b, t)), mask, rng.normal(size=(b, t)), is_expert


@pytest.mark.parametrize("seed", range(4))
def test_the_proxies_of_a_batch_agree(seed):
    rng = np.random.default_rng(seed)
    for step in range(3):
        data = arrays(rng, step)
        ours = proxies(GACConfig.released(), Batch(*data))
        theirs = released_proxies(*(torch.from_numpy(x) for x in data))
        np.testing.assert_allclose(
            [ours.sigma_s2, ours.sigma_r2, ours.delta_g2], theirs, rtol=RTOL, atol=0.0
        )


def test_a_run_with_missing_branches_agrees():
    config = GACConfig.released(mu_update_freq=3, prior_warmup=20, prior_decay=60)
    state, theirs = init(config), EagerController(**config.to_dict())
    rng = np.random.default_rng(7)
    for step in range(120):
        data = arrays(rng, step)
        state, info = update(config, state, Batch(*data), step=step)
        tensors = [torch.from_numpy(x) for x in data]
        mu = theirs.step(released_proxies(*tensors), step, prior_at(config, step))
        assert float(info.mu) == pytest.approx(mu, rel=RTOL, abs=0.0)
