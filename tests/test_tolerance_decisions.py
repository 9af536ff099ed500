"""A decision is open within 1.2 times the error of its kink, and decided beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from _carried import bounds

from gac_ref import GACConfig
from gac_ref.conformance.reference import evaluate


class TestDecisions:
    """Open within 1.2 times the error, decided beyond it."""

    @staticmethod
    def open(
        stage: str, config: GACConfig, inputs: Mapping[str, Any], flag: str, **errors: Any
    ) -> bool:
        limit = float(bounds(stage, config, inputs, errors)[flag].limit)
        assert limit in (0.0, 1.0)
        return limit == 1.0

    @pytest.mark.parametrize("bound", [0.1, 0.9])
    @pytest.mark.parametrize("side", [-1.0, 1.0])
    @pytest.mark.parametrize(("times", "wanted"), [(0.0, True), (1.15, True), (1.25, False)])
    def test_the_bounds_of_a_clip(
        self, bound: float, side: float, times: float, wanted: bool
    ) -> None:
        near = bound + side * times * 1e-3
        mu = GACConfig(mu_min=0.1, mu_max=0.9, weight_ema="off")
        assert self.open("clip", mu, {"mu_capped": near}, "mu_clipped", mu_capped=1e-3) is wanted
        raw = {"previous_mu": 0.3, "previous_mu_ada": 0.3, "mu_raw": near, "not_ready": False}
        assert self.open("weight_ema", mu, raw, "mu_ada_clipped", mu_raw=1e-3) is wanted
        alpha = GACConfig(alpha_mode="kl", alpha_min=0.1, alpha_max=0.9, kl_gain=0.0)
        last = {"previous_alpha": near, "kl": 0.02}
        assert self.open("alpha", alpha, last, "alpha_clipped", previous_alpha=1e-3) is wanted
        limit = float(bounds("clip", mu, {"mu_capped": near}, {"mu_capped": 1e-3})["mu"].limit)
        inside = wanted or 0.1 < near < 0.9
        assert limit == pytest.approx(1e-3) if inside else limit < 1e-15

    @pytest.mark.parametrize("side", [-1.0, 1.0])
    @pytest.mark.parametrize("beyond", [-1.0, 1.0])
    @pytest.mark.parametrize(("times", "wanted"), [(0.0, True), (1.15, True), (1.25, False)])
    def test_the_change_cap(self, side: float, beyond: float, times: float, wanted: bool) -> None:
        config = GACConfig(mu_change_cap=0.04)
        candidate = 0.31 + side * (0.04 + beyond * times * 3e-3)
        inputs = {"mu_candidate": candidate, "previous_mu": 0.31}
        errors = {"mu_candidate": 2e-3, "previous_mu": 1e-3}
        assert self.open("change_cap", config, inputs, "change_capped", **errors) is wanted
        limit = float(bounds("change_cap", config, inputs, errors)["mu_capped"].limit)
        # The candidate inside, the previous weight beyond, and near the cap either or both.
        assert limit == pytest.approx(3e-3 if wanted else (1e-3 if beyond > 0.0 else 2e-3))

    @pytest.mark.parametrize("beyond", [-1.0, 1.0])
    @pytest.mark.parametrize(("times", "wanted"), [(0.0, True), (1.15, True), (1.25, False)])
    def test_the_cap_of_the_disagreement(self, beyond: float, times: float, wanted: bool) -> None:
        config = GACConfig(delta_g2_cap_ratio=0.5, eps=1e-8)
        errors = {"sigma_s2": 2e-3, "sigma_r2": 4e-3, "delta_g2": 5e-3}
        kink, error = 0.5 * (0.6 + 0.2 + 1e-8), 5e-3 + 0.5 * (2e-3 + 4e-3)
        delta = kink + beyond * times * error
        inputs = {"sigma_s2": 0.6, "sigma_r2": 0.2, "delta_g2": delta, "alpha": 0.3}
        assert self.open("closed_form", config, inputs, "disagreement_capped", **errors) is wanted
        limit = float(bounds("closed_form", config, inputs, errors)["delta_g2_capped"].limit)
        assert limit == pytest.approx(5e-3 if wanted or beyond < 0.0 else 3e-3)

    @pytest.mark.parametrize("beyond", [-1.0, 1.0])
    @pytest.mark.parametrize("largest", ["sigma_s2", "sigma_r2", "delta_g2"])
    @pytest.mark.parametrize(("times", "wanted"), [(0.0, True), (1.15, True), (1.25, False)])
    def test_a_flat_risk(self, largest: str, beyond: float, times: float, wanted: bool) -> None:
        config = GACConfig(eps=0.1, alpha=0.3)
        error = 1e-3
        inputs = {"sigma_s2": 0.01, "sigma_r2": 0.02, "delta_g2": 0.03, "alpha": 0.3}
        inputs[largest] = 0.2 + beyond * times * error
        errors = {largest: error, "alpha": 1e-4}
        assert self.open("closed_form", config, inputs, "flat_risk", **errors) is wanted
        found = bounds("closed_form", config, inputs, errors)["mu_raw"]
        s, r, d = (inputs[name] for name in ("sigma_s2", "sigma_r2", "delta_g2"))
        quotient = (0.3 * d + r) / (s + r + d)
        if wanted:
            golden = evaluate("closed_form", config, inputs)["mu_raw"]
            (other,) = found.alternatives
            assert other == pytest.approx(quotient if golden == 0.3 else 0.3)
            assert float(found.limit) > 1e-4
        else:
            assert found.alternatives == ()
            if beyond < 0.0:
                assert float(found.limit) == pytest.approx(1e-4)  # alpha, and nothing else

    @pytest.mark.parametrize("beyond", [-1.0, 1.0])
    @pytest.mark.parametrize(("times", "wanted"), [(0.0, True), (0.9, True), (1.1, False)])
    def test_the_floor_of_a_variance(self, beyond: float, times: float, wanted: bool) -> None:
        sample = np.array([1.0, -1.0, 1.0, -1.0])
        error = 1e-3  # of the variance 1: 2 mean |x - m| e
        config = GACConfig(eps=1.0 - beyond * times * (2.0 * error + error**2))
        inputs = {
            "tokens": np.full(4, 5), "nll": np.zeros(4), "advantage": sample,
            "disagreement": np.ones(4), "is_expert": np.zeros(4, dtype=np.bool_),
        }  # fmt: skip
        flag = "sigma_r2_floored"
        assert self.open("proxies", config, inputs, flag, advantage=error) is wanted
        found = bounds("proxies", config, inputs, {"advantage": error})["proxy_sigma_r2"]
        loose = wanted or beyond > 0.0
        assert 2e-3 < float(found.limit) < 2.3e-3 if loose else float(found.limit) < 1e-15
