"""The comparator: which entry it names, which decisions are exact, which values are not read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gac_ref import GACConfig
from gac_ref.conformance.compare import (
    Difference,
    compare,
    compared_rows,
    decides_nothing,
    target,
    worst,
)
from gac_ref.conformance.stages import STAGES, Field

MU = STAGES["clip"].output("mu")
FLAG = STAGES["clip"].output("mu_clipped")
COUNT = STAGES["statistics_ema"].output("count_s")
TOKENS = STAGES["sequences"].output("tokens")
NLL = STAGES["sequences"].output("nll")
C_S = STAGES["coefficients"].output("c_s")
FLAGS = Field("flags", ("B",), "flag", "flags of rows")


def same(found: Difference, wanted: Difference) -> bool:
    """Equality of all fields, NaN being equal to itself."""
    return all(a == b or (a != a and b != b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("field", "expected", "limit", "got", "ratio", "kind"),
    [
        (MU, 1.0, 0.5, 1.75, 1.5, "value"),
        (MU, 1.0, 0.5, 0.25, 1.5, "value"),
        (MU, 1.0, 4.0, 3.0, 0.5, "value"),
        (MU, 1.0, 0.0, 1.0, 0.0, "value"),
        (MU, 1.0, 0.0, 1.5, math.inf, "value"),
        (MU, 1.0, 0.5, math.nan, math.inf, "nan"),
        (MU, math.nan, 0.5, math.nan, 0.0, "value"),
        (MU, math.nan, 0.5, 1.0, math.inf, "nan"),
        (MU, math.inf, 0.5, math.inf, 0.0, "value"),
        (MU, math.inf, 0.5, -math.inf, math.inf, "nan"),
        (FLAG, 1.0, 0.0, 1.0, 0.0, "flag"),
        (FLAG, 1.0, 0.0, 0.0, math.inf, "flag"),
        (FLAG, 1.0, 1.0, 0.0, 0.0, "flag"),
        (COUNT, 3.0, 0.0, 4.0, math.inf, "flag"),
        (COUNT, 3.0, 2.0, 5.0, 0.0, "flag"),
        (COUNT, 3.0, 2.0, 6.0, 1.5, "flag"),
    ],
)
@pytest.mark.parametrize("rows", [False, True])
def test_a_difference_says_what_differs_where_and_by_how_much(
    field: Field, expected: float, limit: float, got: float, ratio: float, kind: str, rows: bool
) -> None:
    if not rows:
        found = compare(target(field, expected, limit), got)
        assert same(found, Difference(ratio, field.name, (), got, expected, limit, kind))
        return
    field = {FLAG: FLAGS, COUNT: TOKENS}.get(field, NLL)
    goal = target(field, np.array([7.0, expected]), np.array([0.25, limit]))
    found = compare(goal, np.array([7.0, got]))
    if ratio == 0.0:
        assert (found.ratio, found.output) == (0.0, field.name)
    else:
        # Of an array the kind is that of its worst entry; NaN in a flag is a wrong flag.
        assert same(found, Difference(ratio, field.name, (1,), got, expected, limit, kind))


def test_equal_arrays_name_their_first_entry() -> None:
    goal = target(NLL, np.array([3.0, 2.0]), np.array([0.5, 0.25]))
    assert compare(goal, np.array([3.0, 2.0])) == Difference(
        0.0, "nll", (0,), 3.0, 3.0, 0.5, "value"
    )
    square = target(C_S, np.full((2, 3), 4.0), 0.5)
    assert compare(square, np.full((2, 3), 4.0)).place == (0, 0)


def test_no_entries_are_right_and_are_named_by_the_output_alone() -> None:
    nothing = Difference(0.0, "nll", (), math.nan, math.nan, 0.0, "value")
    assert same(compare(target(NLL, np.zeros(0), 0.5), np.zeros(0)), nothing)
    goal = target(NLL, np.array([1.0]), 0.5, where=np.array([False]))
    assert same(compare(goal, np.array([9.0])), nothing)


def test_the_place_is_the_index_in_the_whole_output_where_only_some_entries_count() -> None:
    mask = np.array([[False, True, True], [True, False, True]])
    expected = np.arange(6.0).reshape(2, 3)
    got = expected.copy()
    got[1, 1] += 100.0  # does not count
    got[1, 0] += 1.0
    got[1, 2] += 3.0
    found = compare(target(C_S, expected, np.full((2, 3), 2.0), where=mask), got)
    assert found == Difference(1.5, "c_s", (1, 2), 8.0, 5.0, 2.0, "value")


def test_one_limit_serves_every_entry() -> None:
    found = compare(target(NLL, np.array([1.0, 2.0]), 0.5), np.array([1.25, 2.75]))
    assert (found.ratio, found.place, found.bound) == (1.5, (1,), 0.5)


@pytest.mark.parametrize("limit", [math.nan, -1.0, 0.0])
def test_a_limit_that_is_not_positive_allows_nothing(limit: float) -> None:
    assert compare(target(MU, 1.0, limit), 1.0 + 1e-15).ratio == math.inf
    assert compare(target(NLL, np.ones(2), limit), np.array([1.0, 1.0 + 1e-15])).ratio == math.inf


def test_an_open_flag_does_not_excuse_another_entry() -> None:
    goal = target(FLAGS, np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0]))
    assert compare(goal, np.array([0.0, 1.0, 0.0])).ratio == 0.0
    found = compare(goal, np.array([0.0, 0.0, 1.0]))
    assert (found.ratio, found.place, found.kind) == (math.inf, (2,), "flag")


def test_nan_in_one_entry_does_not_hide_a_wrong_one_or_excuse_itself() -> None:
    goal = target(NLL, np.array([math.nan, 1.0, math.inf]), 0.5)
    assert compare(goal, np.array([math.nan, 1.25, math.inf])).ratio == 0.5
    assert compare(goal, np.array([math.nan, 2.0, math.inf])).ratio == 2.0
    assert compare(goal, np.array([0.0, 1.0, math.inf])).kind == "nan"
    assert compare(goal, np.array([math.nan, 1.0, -math.inf])).place == (2,)


def test_the_nearest_alternative_counts_and_its_values_are_reported() -> None:
    goal = target(MU, 0.0, 0.5, alternatives=(4.0, 8.0, 12.0))
    assert compare(goal, 8.25) == Difference(0.5, "mu", (), 8.25, 8.0, 0.5, "value")
    far = compare(goal, 9.0)
    assert (far.ratio, far.expected) == (2.0, 8.0)
    assert compare(goal, -1.0) == Difference(2.0, "mu", (), -1.0, 0.0, 0.5, "value")
    rows = target(NLL, np.zeros(2), 0.5, alternatives=([4.0, 4.0], [8.0, 8.0], [12.0, 12.0]))
    assert compare(rows, np.array([8.25, 8.0])).ratio == 0.5
    assert compare(rows, np.array([9.0, 8.0])).expected == 8.0


def test_an_answer_within_its_bound_is_not_measured_against_alternatives() -> None:
    found = compare(target(MU, 0.0, 0.5, alternatives=(0.5,)), 0.5)
    assert (found.ratio, found.expected) == (1.0, 0.0)


def test_alternatives_are_cut_to_the_entries_that_count() -> None:
    mask = np.array([True, False])
    goal = target(NLL, np.zeros(2), 0.0, alternatives=(np.array([1.0, 5.0]),), where=mask)
    assert compare(goal, np.array([1.0, -7.0])).ratio == 0.0


def test_the_worst_of_the_answered_outputs_is_found() -> None:
    goals = [target(MU, 0.0, 1.0), target(FLAG, 1.0, 0.0), target(COUNT, 2.0, 4.0)]
    found = worst(goals, {"mu": 3.0, "count_s": 2.0})
    assert found is not None
    assert (found.output, found.ratio) == ("mu", 3.0)
    first = worst([*goals[::2], target(NLL, np.zeros(1), 1.0)], {"mu": 3.0, "nll": np.array([3.0])})
    assert first is not None
    assert first.output == "mu"  # the earlier stage of two that are equally wrong
    assert worst(goals, {"alpha": 0.5}) is None
    last = worst(goals, {"mu": 0.5, "count_s": 9.0})
    assert last is not None
    assert last.output == "count_s"


@pytest.mark.parametrize(("rows", "wanted"), [("rollouts", [False, True]), ("all", None)])
def test_the_rows_of_the_disagreement_are_those_of_the_configuration(
    rows: Any, wanted: list[bool] | None
) -> None:
    field = STAGES["sequences"].output("disagreement")
    found = compared_rows(field, GACConfig(disagreement_rows=rows), {"is_expert": [1, 0]})
    assert (None if found is None else found.tolist()) == wanted
    gain = compared_rows(
        STAGES["sequences"].output("advantage"),
        GACConfig(disagreement_rows=rows),
        {"is_expert": [1, 0]},
    )
    assert gain is not None
    assert gain.tolist() == [False, True]  # whatever the rows of the disagreement are


def test_rows_are_booleans_whatever_was_given() -> None:
    mask = compared_rows(C_S, GACConfig(), {"response_mask": [[1, 0]]})
    experts = compared_rows(NLL, GACConfig(), {"is_expert": [1, 0]})
    for found in (mask, experts):
        assert found is not None
        assert found.dtype == np.bool_


@pytest.mark.parametrize(
    ("name", "count"),
    [("sigma_s2", "count_s"), ("sigma_r2", "count_r"), ("delta_g2", "count_delta")],
)
def test_a_statistic_decides_nothing_only_before_it_was_seen_and_held(
    name: str, count: str
) -> None:
    hold, unit = GACConfig(unseen_statistic="hold"), GACConfig(unseen_statistic="unit")
    assert decides_nothing(name, hold, {count: 0, "not_ready": True})
    assert not decides_nothing(name, hold, {count: 1, "not_ready": True})
    assert not decides_nothing(name, hold, {})
    assert not decides_nothing(name, unit, {count: 0, "not_ready": True})


@pytest.mark.parametrize("name", ["delta_g2_capped", "mu_raw", "disagreement_capped", "flat_risk"])
def test_the_closed_form_decides_nothing_only_while_it_is_held(name: str) -> None:
    hold, unit = GACConfig(unseen_statistic="hold"), GACConfig(unseen_statistic="unit")
    assert decides_nothing(name, hold, {"not_ready": True})
    assert not decides_nothing(name, hold, {"not_ready": False})
    assert not decides_nothing(name, hold, {})  # the stage on its own: its inputs are given
    assert not decides_nothing(name, unit, {"not_ready": True})


def test_the_kl_decides_nothing_where_alpha_is_static() -> None:
    assert decides_nothing("kl", GACConfig(alpha_mode="static"), {})
    for unseen in ("hold", "unit"):
        config = GACConfig(alpha_mode="kl", unseen_statistic=unseen)
        assert not decides_nothing("kl", config, {"not_ready": True})
    assert not decides_nothing("alpha", GACConfig(), {"not_ready": True})
