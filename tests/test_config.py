"""GACConfig: three named variants, one range a field, and a clear answer to anything else."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from _oracles import controller as exact_controller
from _samplers import AXES, PROPERTY, configs
from hypothesis import given

from gac_ref import VARIANTS, GACConfig, GACError

FIELDS = {field.name: field.default for field in dataclasses.fields(GACConfig)}
KINDS = get_type_hints(GACConfig)
CHOICES = {name: get_args(kind) for name, kind in KINDS.items() if get_args(kind)}

UNIT_FIELDS = ("blend_weight", "alpha", "prior_peak", "prior_valley")
OUT_OF_RANGE: list[tuple[str, Any]] = [
    *((name, value) for name in UNIT_FIELDS for value in (-1e-9, 1.0 + 1e-9)),
    *((name, value) for name in ("mu_min", "mu_max", "init_mu") for value in (-0.1, 1.1)),
    *((name, value) for name in ("alpha_min", "alpha_max") for value in (-0.1, 1.1)),
    *(("ema_beta", value) for value in (-0.01, 1.0, 1.5)),
    *(("mu_change_cap", value) for value in (0.0, -0.01)),
    *(("mu_update_freq", value) for value in (0, -1)),
    *(("trim_ratio", value) for value in (-0.1, 0.5, 0.7)),
    *(("kl_target", value) for value in (0.0, -0.02)),
    *(("kl_gain", value) for value in (-0.1, 5.0)),
    *((name, -1e-12) for name in ("eps", "mask_eps", "delta_g2_cap_ratio")),
    *((name, -1) for name in ("prior_warmup", "prior_decay")),
]


def one_line(error: pytest.ExceptionInfo[GACError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, (part, message)


# Variants


def test_the_default_is_documented_with_the_defaults_of_the_specification() -> None:
    assert GACConfig() == GACConfig.documented() == GACConfig.variant("documented")
    expected = {**exact_controller.DOCUMENTED, "mask_eps": 1e-8, "kl_gain": 0.1}
    assert GACConfig().to_dict() == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_makes_the_choices_of_the_specification(name: str) -> None:
    built = getattr(GACConfig, name)()
    assert built == GACConfig.variant(name)
    assert built.to_dict() == exact_controller.make_config(name)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_takes_changes_and_leaves_the_rest(name: str) -> None:
    base, changed = GACConfig.variant(name), GACConfig.variant(name, alpha=0.25, prior="none")
    assert changed == base.replace(alpha=0.25, prior="none")
    assert changed.to_dict() == {**base.to_dict(), "alpha": 0.25, "prior": "none"}


def test_a_change_overrides_the_choice_of_the_variant_itself() -> None:
    assert GACConfig.released(masking="select").masking == "select"
    assert GACConfig.decoupled(weight_ema="off").weight_ema == "off"


def test_the_configuration_is_frozen_keyword_only_and_hashable() -> None:
    config = GACConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.alpha = 0.1  # type: ignore[misc]
    with pytest.raises(TypeError):
        GACConfig(0.9)  # type: ignore[misc]
    assert len({GACConfig(), GACConfig.documented(), GACConfig.released()}) == 2


# Round trips


@PROPERTY
@given(configs())
def test_to_dict_and_from_dict_are_inverse_through_json(config: GACConfig) -> None:
    assert GACConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.replace() == config


@PROPERTY
@given(configs())
def test_settings_as_text_rebuild_any_configuration(config: GACConfig) -> None:
    texts = [f"{name}={value}" for name, value in config.to_dict().items()]
    assert GACConfig.released().with_settings(texts) == config


def test_from_dict_fills_missing_fields_with_the_default() -> None:
    assert GACConfig.from_dict({}) == GACConfig()
    assert GACConfig.from_dict({"weight_ema": "internal"}) == GACConfig.decoupled()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("alpha=0.25", "alpha", 0.25),
        (" alpha = 1e-1 ", "alpha", 0.1),
        ("alpha=1", "alpha", 1.0),
        ("mu_update_freq=7", "mu_update_freq", 7),
        ("mu_update_freq=1e1", "mu_update_freq", 10),
        ("use_phi=false", "use_phi", False),
        ("use_phi=TRUE", "use_phi", True),
        ("use_phi=0", "use_phi", False),
        ("use_phi=1", "use_phi", True),
        ("weight_ema=off", "weight_ema", "off"),
    ],
)
def test_a_setting_is_parsed_by_the_type_of_its_field(text: str, field: str, value: Any) -> None:
    parsed = getattr(GACConfig().with_settings([text]), field)
    assert parsed == value
    assert type(parsed) is type(value)


def test_later_settings_win_and_bounds_are_checked_on_the_result() -> None:
    assert GACConfig().with_settings(["alpha=0.1", "alpha=0.2"]).alpha == 0.2
    config = GACConfig().with_settings(["mu_min=0.6", "init_mu=0.7"])  # 0.6 alone would not do
    assert (config.mu_min, config.init_mu) == (0.6, 0.7)


# Values


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("alpha", np.float32(0.25), 0.25),
        ("alpha", np.float64(0.3), 0.3),
        ("alpha", 1, 1.0),
        ("mu_update_freq", np.int32(4), 4),
        ("mu_update_freq", 4.0, 4),
        ("use_phi", np.bool_(False), False),
    ],
)
def test_numpy_scalars_are_stored_as_plain_python(field: str, value: Any, stored: Any) -> None:
    kept = getattr(GACConfig(**{field: value}), field)
    assert kept == stored
    assert type(kept) is KINDS[field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ema_beta", 0.0),
        ("mu_min", 0.0),
        ("mu_max", 1.0),
        ("blend_weight", 0.0),
        ("blend_weight", 1.0),
        ("mu_update_freq", 1),
        ("trim_ratio", 0.0),
        ("trim_ratio", math.nextafter(0.5, 0.0)),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("kl_gain", 0.0),
        ("eps", 0.0),
        ("mask_eps", 0.0),
        ("prior_warmup", 0),
        ("prior_decay", 0),
        ("mu_change_cap", 1e-300),
    ],
)
def test_the_closed_ends_of_each_range_are_legal(field: str, value: Any) -> None:
    assert getattr(GACConfig(**{field: value}), field) == value


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_an_out_of_range_value_is_refused_by_name_and_value(field: str, value: Any) -> None:
    with pytest.raises(GACError) as error:
        GACConfig(**{field: value})
    one_line(error, field, repr(value))


def test_every_number_has_a_range_test() -> None:
    numbers = {name for name, kind in KINDS.items() if kind in (int, float)}
    assert numbers == {field for field, _ in OUT_OF_RANGE}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", [n for n, kind in KINDS.items() if kind in (int, float)])
def test_a_number_must_be_finite(field: str, bad: float) -> None:
    with pytest.raises(GACError) as error:
        GACConfig(**{field: bad})
    one_line(error, field, repr(bad))


@pytest.mark.parametrize("bad", ["0.5", b"1", None, True, [0.5], 1j, {}])
@pytest.mark.parametrize("field", ["alpha", "mu_update_freq"])
def test_what_is_not_a_number_is_refused(field: str, bad: Any) -> None:
    with pytest.raises(GACError) as error:
        GACConfig(**{field: bad})
    one_line(error, field, repr(bad))


def test_a_whole_number_field_refuses_a_fraction() -> None:
    with pytest.raises(GACError) as error:
        GACConfig(mu_update_freq=2.5)  # type: ignore[arg-type]
    one_line(error, "mu_update_freq", "2.5", "whole number")


@pytest.mark.parametrize("bad", ["yes", 1, 0, None, "True"])
def test_a_boolean_field_refuses_anything_else(bad: Any) -> None:
    with pytest.raises(GACError) as error:
        GACConfig(use_phi=bad)
    one_line(error, "use_phi", repr(bad))


@pytest.mark.parametrize("field", sorted(CHOICES))
@pytest.mark.parametrize("bad", ["Zscore", "", None, 0, True])
def test_a_choice_refuses_an_unknown_name_and_lists_the_known(field: str, bad: Any) -> None:
    with pytest.raises(GACError) as error:
        GACConfig(**{field: bad})
    one_line(error, field, repr(bad), *map(repr, CHOICES[field]))


@pytest.mark.parametrize("field", sorted(CHOICES))
def test_the_covering_design_knows_every_choice(field: str) -> None:
    assert set(AXES[field]) == set(CHOICES[field])


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"mu_min": 0.6}, ("init_mu = 0.5", "mu_min", "0.6")),
        ({"mu_max": 0.4}, ("init_mu = 0.5", "mu_max", "0.4")),
        ({"mu_min": 0.9, "mu_max": 0.1, "init_mu": 0.5}, ("mu_min = 0.9", "mu_max = 0.1")),
        ({"alpha_min": 0.8, "alpha_max": 0.2}, ("alpha_min = 0.8", "alpha_max = 0.2")),
        ({"alpha_mode": "kl", "alpha": 0.05}, ("alpha = 0.05", "0.1", "0.95")),
        ({"alpha_mode": "kl", "alpha": 0.99}, ("alpha = 0.99", "0.1", "0.95")),
    ],
)
def test_bounds_must_enclose_what_they_bound(changes: Any, names: tuple[str, ...]) -> None:
    with pytest.raises(GACError) as error:
        GACConfig(**changes)
    one_line(error, *names)


def test_a_static_alpha_may_lie_outside_the_range_of_the_driven_one() -> None:
    assert GACConfig(alpha=0.0).alpha == 0.0


# Unknown names


@pytest.mark.parametrize(
    "build",
    [
        GACConfig.documented,
        GACConfig.released,
        GACConfig.decoupled,
        GACConfig().replace,
        lambda **changes: GACConfig.from_dict(changes),
        lambda **changes: GACConfig.variant("released", **changes),
        lambda **changes: GACConfig().with_settings([f"{k}={v}" for k, v in changes.items()]),
    ],
)
def test_an_unknown_field_is_refused_by_name(build: Any) -> None:
    with pytest.raises(GACError) as error:
        build(emma_beta=0.9)
    one_line(error, "unknown config field 'emma_beta'", "ema_beta")


def test_the_constructor_itself_names_an_unknown_field() -> None:
    with pytest.raises(GACError, match="unknown config field 'emma_beta'"):
        GACConfig(emma_beta=0.9)  # type: ignore[call-arg]


def test_an_unknown_variant_is_refused_and_the_known_are_listed() -> None:
    for name in ("v0.1.0", "_build", "replace", ""):
        with pytest.raises(GACError) as error:
            GACConfig.variant(name)
        one_line(error, repr(name), *VARIANTS)


@pytest.mark.parametrize("text", ["alpha", "alpha:0.3", "", "nothing"])
def test_a_setting_without_an_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(GACError) as error:
        GACConfig().with_settings([text])
    one_line(error, repr(text), "field=value")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("alpha=half", ("alpha", "'half'")),
        ("alpha=", ("alpha", "''")),
        ("alpha=0.3=4", ("alpha", "'0.3=4'")),
        ("alpha=nan", ("alpha", "nan")),
        ("mu_update_freq=2.5", ("mu_update_freq", "2.5")),
        ("use_phi=maybe", ("use_phi", "'maybe'")),
        ("prior=cosine", ("prior", "'cosine'")),
    ],
)
def test_a_setting_that_does_not_parse_is_refused(text: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(GACError) as error:
        GACConfig().with_settings([text])
    one_line(error, *parts)


def test_the_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="alpha"):
        GACConfig(alpha=2.0)


def test_an_error_stays_on_one_line_whatever_the_value() -> None:
    with pytest.raises(GACError) as error:
        GACConfig(alpha="a\nb" + " " * 30 + "c")  # type: ignore[arg-type]
    one_line(error, "alpha")
