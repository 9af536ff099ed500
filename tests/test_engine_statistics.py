"""Every controller reads the statistics that its own configuration asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _toy_problem import Toy

import gac_ref
from gac_ref import GACConfig, Proxies, baselines
from simulations.engine.controllers import build_controllers
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.engine.statistics import separated, taken, wanted_statistics
from simulations.engine.streams import BLOCK, BlockStreams
from simulations.models.bandit import Bandit
from simulations.models.observation import to_batch
from simulations.models.policy import PolicyModel
from simulations.models.token_policy import TokenPolicy
from simulations.problem import Sample

PROXIES_RTOL = 1e-12
"""Moments over rectangles against one pass a sequence: the same few dozen terms, regrouped."""

DENOMINATOR_ATOL = 1e-6
"""Released adds eps = 1e-8 to the denominator of the closed form, which is of order 0.1 or more."""

FREE = {"kind": "gac", "prior": "none", "weight_ema": "off", "mu_change_cap": 1.0}
CONTROLLERS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "documented": {**FREE, "variant": "documented"},
    "released": {**FREE, "variant": "released"},
    "other_alpha": {**FREE, "alpha": 0.3},
    "trimmed": {**FREE, "trim_ratio": 0.3, "disagreement_rows": "all"},
    "inverse_variance": {"statistics": {"trim_ratio": 0.3}},
}


def plan(problem: Any, horizon: int = 12, **run: Any) -> Plan:
    return Plan(
        problem=problem,
        controllers=build_controllers(CONTROLLERS),
        settings=RunSettings(horizon=horizon, seeds=70, learning_rate=0.5, **run),
    )


@pytest.mark.parametrize("model", [TokenPolicy(), Bandit(experts=3)], ids=["tokens", "bandit"])
def test_each_variant_reads_what_the_estimator_takes_from_the_same_batch(
    model: PolicyModel,
) -> None:
    chunk = Chunk(plan(model), [0])
    chunk.advance(1)
    streams = BlockStreams(0, [0]).generators
    theta = model.start(streams["start"][0], BLOCK)
    seen = model.observe(theta, model.draw(streams["draw"][0], BLOCK, 0))
    for c, controller in enumerate(chunk.plan.controllers):
        config = controller.rule
        if not isinstance(config, GACConfig):
            continue
        for seed in (0, 1, 63):  # the first value seeds the statistics' moving averages
            batch = to_batch(seen, (seed,))
            expected = gac_ref.proxies(config, batch)
            for name in ("sigma_s2", "sigma_r2", "delta_g2"):
                found = getattr(chunk.states[c], name)[seed]
                np.testing.assert_allclose(found, getattr(expected, name), rtol=PROXIES_RTOL)
            _, info = gac_ref.update(config, gac_ref.init(config), batch, step=0)
            mu = chunk.tally.arrays["mu"][c, seed]
            np.testing.assert_allclose(mu, info.mu, rtol=PROXIES_RTOL)


def test_released_differs_from_documented_where_there_are_tokens_and_only_there() -> None:
    with_tokens, without = Chunk(plan(TokenPolicy()), [0]), Chunk(plan(Toy()), [0])
    names = [controller.name for controller in with_tokens.plan.controllers]
    documented, released = names.index("documented"), names.index("released")
    for chunk, differs in ((with_tokens, True), (without, False)):
        chunk.advance(12)
        mu = chunk.result()["metric/mu_mean"]
        apart = np.abs(mu[documented] - mu[released])
        assert np.all((apart > DENOMINATOR_ATOL) == differs)


def test_the_statistics_are_taken_once_for_each_set_of_choices_and_when_due() -> None:
    chunk = Chunk(plan(TokenPolicy()), [0])
    controllers = chunk.plan.controllers
    groups = wanted_statistics(controllers, chunk.states, 0, tokens=True)
    assert [group.controllers for group in groups] == [(1, 3), (2,), (4,), (5,)]
    chunk.advance(1)
    assert [
        group.controllers for group in wanted_statistics(controllers, chunk.states, 9, tokens=True)
    ] == [(5,)]
    assert wanted_statistics(controllers, chunk.states, 10, tokens=True) == groups


def test_tiles_are_joined_and_controllers_get_their_own_row() -> None:
    def statistics(config: GACConfig, places: Any = None) -> Proxies:
        value = 10.0 * np.asarray(places)[:, None] + np.arange(2.0)
        return Proxies(value, value, value + config.trim_ratio)

    rules = [GACConfig(), GACConfig.released(), GACConfig(trim_ratio=0.2), GACConfig(alpha=0.3)]
    controllers = build_controllers({str(i): {"kind": "fixed"} for i in range(4)})
    controllers = tuple(
        controller._replace(rule=rule) for controller, rule in zip(controllers, rules, strict=True)
    )
    wanted = wanted_statistics(
        controllers, [baselines.init(rule) for rule in rules], 0, tokens=True
    )
    sample = Sample(np.zeros(1), np.zeros(1), baselines.Signals(), statistics)
    parts = taken(sample, wanted)
    assert parts is not None
    found = separated(wanted, [parts, parts])
    assert sorted(found) == [0, 1, 2, 3]
    for c, proxies in found.items():
        np.testing.assert_array_equal(proxies.sigma_s2, 10.0 * c + np.array([0.0, 1.0, 0.0, 1.0]))
    assert np.asarray(found[2].delta_g2)[0] == 20.2
