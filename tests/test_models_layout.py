"""How tables lie in memory, what is sampled from them there, and that it changes no value."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.engine.controllers import build_controllers
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.engine.streams import BLOCK
from simulations.models.groups import ADVANTAGES, advantages_of, relative_advantages
from simulations.models.layout import by_column, by_entry, by_row, columns, flat, rows, tables
from simulations.models.policy_paths import (
    codes_of,
    over_controllers,
    places_of,
    sample_paths,
    table_weights,
)
from simulations.models.policy_tables import Shape
from simulations.models.softmax import cumulative
from simulations.models.token_policy import TokenPolicy

LEAD = (2, 5)
SHAPE = Shape.of(prompts=3, horizon=3, actions=4)

ADVANTAGE_TOL = 1e-12
"""Sums of a few squares in another order."""


def some_table(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(SHAPE.actions), (*LEAD, *SHAPE.table[:2]))


def test_a_layout_changes_no_value() -> None:
    table = some_table()
    laid = by_column(table)
    np.testing.assert_array_equal(laid, table)
    np.testing.assert_array_equal(tables(columns(table)), table)
    np.testing.assert_array_equal(rows(np.moveaxis(table, (0, 1), (-2, -1)), 3), table)
    assert columns(laid).flags.c_contiguous
    back = by_row(np.add, laid, laid)
    np.testing.assert_array_equal(back, 2.0 * table)
    assert back.flags.c_contiguous
    entries = by_entry(np.add, laid, laid)
    np.testing.assert_array_equal(entries, back)
    assert np.shares_memory(entries.reshape(*LEAD, -1), entries)


def test_a_place_is_where_a_code_stands_among_the_tables_of_all_trajectories() -> None:
    table = some_table()
    pairs = np.random.default_rng(1).integers(0, np.prod(SHAPE.table), (7, *LEAD))
    found = flat(table).take(places_of(pairs, LEAD))
    by_code = table.reshape(*LEAD, -1)
    for index in np.ndindex(pairs.shape):
        assert found[index] == by_code[(*index[1:], codes_of(pairs[index], SHAPE))]


def test_paths_are_those_of_a_loop_over_single_tokens() -> None:
    rng, table, lanes = np.random.default_rng(2), some_table(), int(np.prod(LEAD))
    prompts = rng.integers(0, SHAPE.prompts, (6, LEAD[-1]))
    uniforms = rng.random((SHAPE.horizon, 6, LEAD[-1]))
    start = places_of(over_controllers(prompts, LEAD) * SHAPE.states, LEAD)
    places, actions = sample_paths(
        flat(cumulative(table)), start, over_controllers(uniforms, LEAD), SHAPE, lanes
    )
    codes = codes_of(places // lanes, SHAPE)
    for n, c, i in np.ndindex(6, *LEAD):
        state = 0
        for t in range(SHAPE.horizon):
            x = prompts[n, i]
            sums = np.cumsum(table[c, i, x, state])[:-1]
            action = int((uniforms[t, n, i] >= sums).sum())
            assert actions[t, n, c, i] == action
            assert codes[t, n, c, i] == (x * SHAPE.states + state) * SHAPE.actions + action
            state = 1 + t * SHAPE.actions + action


def test_weights_add_up_where_they_are_used() -> None:
    rng = np.random.default_rng(3)
    pairs = rng.integers(0, np.prod(SHAPE.table), (SHAPE.horizon, 6, *LEAD))
    weights = rng.normal(size=(6, *LEAD))
    expected = np.zeros((*LEAD, int(np.prod(SHAPE.table))))
    for t, n, c, i in np.ndindex(pairs.shape):
        expected[c, i, codes_of(pairs[t, n, c, i], SHAPE)] += weights[n, c, i]
    found = table_weights(places_of(pairs, LEAD), weights, SHAPE, LEAD)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("convention", ADVANTAGES[1:])
@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.0, 0.5, 1.0)])
@pytest.mark.parametrize("size", [2, 7])
def test_advantages_looked_up_are_those_computed(
    convention: str, levels: tuple[float, ...], size: int
) -> None:
    rewards = np.random.default_rng(size).choice(levels, (3, size, 2, 20))
    computed = np.moveaxis(relative_advantages(np.moveaxis(rewards, 1, -1), convention), -1, 1)
    found = advantages_of(rewards, levels, convention)
    np.testing.assert_allclose(found, computed, rtol=0.0, atol=ADVANTAGE_TOL)


def test_a_seed_alone_has_the_bits_that_it_has_among_others() -> None:
    """With one trajectory every axis but the table's has length one, and sums may run otherwise."""
    settings = RunSettings(horizon=12, seeds=BLOCK + 1, learning_rate=0.5, measure_every=3)
    plan = Plan(
        problem=TokenPolicy(required=2, horizon=9),
        controllers=build_controllers({"gac": {}}),
        settings=settings,
    )
    results = []
    for blocks in (plan.blocks, plan.blocks[1:]):
        chunk = Chunk(plan, blocks)
        chunk.advance(settings.horizon)
        results.append(chunk.result())
    for name, value in results[1].items():
        if name.startswith("metric/"):
            np.testing.assert_array_equal(results[0][name][:, BLOCK:], value, err_msg=name)
