"""Declared controllers."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from _controllers import ALL_KINDS

from gac_ref import GACConfig, GACError
from simulations.engine.controllers import build_controllers, describe


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"x": {"kind": "nonsense"}}, "controller 'x': kind 'nonsense' is unknown"),
        ({"fixed": {"nu": 0.1}}, "unknown parameter 'nu'"),
        ({"fixed": {"mu": 1.5}}, "mu = 1.5 is outside"),
        ({"sft_then_rl": {}}, "needs 'switch_step'"),
        ({"gac": {"variant": "best"}}, "variant = 'best' is not one of"),
        ({"gac": {"ema": 0.9}}, "unknown config field 'ema'"),
        ({"g": {"kind": "fixed_grid", "points": 1}}, "points = 1"),
        ({"a@b": {"kind": "fixed"}}, "'@' in its name"),
        ({}, "no controllers"),
    ],
)
def test_a_bad_controller_is_a_one_line_error(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=re.escape(message)) as caught:
        build_controllers(tables)
    assert "\n" not in str(caught.value)


def test_a_description_has_every_field() -> None:
    for controller in build_controllers(ALL_KINDS):
        fields = {field.name for field in dataclasses.fields(controller.rule)}
        assert fields <= describe(controller).keys()
    assert describe(build_controllers({"gac": {}})[0])["ema_beta"] == GACConfig().ema_beta
