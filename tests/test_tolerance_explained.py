"""The derivation that is printed is the one that was used."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from gac_ref import GACConfig
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.tolerance import Precision, Tolerance, explain, stage_tolerances
from gac_ref.errors import GACError

ROUNDED = 2e-3
"""Sizes are printed to four digits, and terms below 1e-4 of the bound are left out."""

SINGLE = Precision("fp32", "fp32")


class Exchange(NamedTuple):
    wide: Mapping[str, Any]
    expected: Mapping[str, Any]


class Example(NamedTuple):
    """A case that is in no pack."""

    id: str
    stage: str
    config: GACConfig
    inputs: tuple[Mapping[str, Any], ...]

    def exchanges(self, dtype: str) -> list[Exchange]:
        return [Exchange(one, evaluate(self.stage, self.config, one)) for one in self.inputs]


def example(stage: str, *inputs: Mapping[str, Any], **config: Any) -> Example:
    return Example(f"{stage}/example", stage, GACConfig(**config), inputs)


def blocks(text: str) -> dict[str, list[str]]:
    """The lines about each output, by its name."""
    out: dict[str, list[str]] = {}
    for block in text.split("\n\n")[1:]:
        head, *rest = block.split("\n")
        out[re.split(r"[\[ :=]", head)[0]] = [head, *rest]
    return out


def sizes(lines: list[str]) -> tuple[list[float], float | None, float | None]:
    """The printed terms, the printed bound, and the printed relative bound."""
    terms, bound, relative = [], None, None
    for line in lines[1:]:
        if "absolute bound" in line:
            bound = float(line.split()[0])
        elif "relative to the golden value" in line:
            relative = float(line.split()[0])
        elif not line.lstrip().startswith("or"):
            terms.append(float(line.split()[0]))
    return terms, bound, relative


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_printed_terms_add_up_to_the_printed_bound(dtype: str) -> None:
    pack, seen = load_pack(), 0
    for stage in ("sequences", "proxies", "closed_form", "loss", "advantages", "step"):
        for case in pack.select(stages=[stage], dtype=dtype)[:4]:
            for lines in blocks(explain(case, dtype)).values():
                terms, bound, relative = sizes(lines)
                if not bound or "nan" in lines[0]:
                    continue
                seen += 1
                if terms:
                    assert math.fsum(terms) == pytest.approx(bound, rel=ROUNDED)
                golden = float(lines[0].split(" = ")[1])
                assert relative is None or relative == pytest.approx(bound / abs(golden), rel=1e-3)
    assert seen > 40


def test_every_stage_can_be_written_out() -> None:
    pack = load_pack()
    stages = {case.stage for case in pack.select(dtype="fp32")} - {"transport"}
    for stage in stages:
        for case in pack.select(stages=[stage], dtype="fp32")[:12]:
            text = explain(case, "fp32")
            assert text.startswith(f"{case.id} [fp32], exchange 0 of ")
            assert "{" not in text  # every number found its place
            assert "None" not in text


def test_terms_are_kept_where_they_are_asked_for_only_and_do_not_change_the_bound() -> None:
    pack = load_pack()
    for stage in ("coefficients", "sequences", "proxies", "loss", "advantages", "step"):
        case = pack.select(stages=[stage], dtype="fp32")[0]
        one = case.exchanges("fp32")[0]
        pair = [
            stage_tolerances(
                stage, case.config, one.wide, one.expected, precision=SINGLE, keep=keep
            )
            for keep in (False, True)
        ]
        assert any(found.terms for found in pair[1].values())
        for name, plain in pair[0].items():
            assert plain.terms == ()
            assert np.array_equal(plain.limit, pair[1][name].limit)
            kept: Tolerance = pair[1][name]
            if kept.terms and stage not in ("loss", "advantages"):  # their masked entries are 0
                total = sum((term.size for term in kept.terms), np.zeros(()))
                np.testing.assert_allclose(np.broadcast_to(total, kept.limit.shape), kept.limit)
                assert all(term.name and term.formula for term in kept.terms[:-1])


def test_the_head_says_what_the_bounds_depend_on() -> None:
    case = example("clip", {"mu_capped": 0.3}, {"mu_capped": 0.4})
    text = explain(case, "bf16", Precision("bf16", "fp64", "tree"), exchange=1)
    assert text.split("\n")[:2] == [
        "clip/example [bf16], exchange 1 of 2",
        "tokens in bf16, scalars in fp64, tree sums, lambda = 7.53 "
        "(failure probability 1e-06 over 1e+06 comparisons)",
    ]
    assert "tokens in fp32, scalars in fp32, sequential sums" in explain(case, "bf16")
    assert "mu = 0.3" in explain(case, "fp32")
    assert "mu = 0.4" in text
    for number in (-1, 2):
        with pytest.raises(GACError, match=f"exchanges 0 to 1; there is no {number}"):
            explain(case, "fp32", exchange=number)


def test_only_the_outputs_that_were_asked_for_are_shown() -> None:
    case = example("clip", {"mu_capped": 0.3})
    assert list(blocks(explain(case, "fp32"))) == ["mu", "mu_clipped"]
    assert list(blocks(explain(case, "fp32", outputs=["mu_clipped"]))) == ["mu_clipped"]
    assert list(blocks(explain(case, "fp32", outputs=["mu"]))) == ["mu"]


def test_a_flag_is_exact_or_open() -> None:
    for value, words in ((0.3, "exact"), (0.9 * (1.0 + 2.0**-26), "either value")):
        text = explain(example("clip", {"mu_capped": value}), "fp32", outputs=["mu_clipped"])
        assert words in text
        assert f"mu_clipped = {value > 0.9}: " in text


def test_what_is_exact_is_called_exact() -> None:
    off = example("prior_blend", {"mu_ada": 0.3, "step": 0}, prior="none")
    assert "prior = nan: exact" in explain(off, "fp32")
    static = example("alpha", {"previous_alpha": 0.5, "kl": 0.1}, alpha_mode="static")
    lines = blocks(explain(static, "fp64"))["alpha"]
    assert lines == ["alpha = 0.5", "   0.000e+00  absolute bound (exact)"]


def test_of_an_array_the_entry_with_the_largest_relative_bound_is_shown() -> None:
    logprob = np.array([[-0.125, -1.5], [-8.0, -0.0625]])
    inputs = {
        "logprob": logprob, "response_mask": np.ones((2, 2), dtype=np.bool_),
        "advantages": np.array([0.5, 0.0]), "is_expert": np.array([False, False]),
    }  # fmt: skip
    case = example("coefficients", inputs)
    limit = stage_tolerances(
        "coefficients", case.config, inputs, evaluate("coefficients", case.config, inputs),
        precision=SINGLE,
    )["c_s"].limit  # fmt: skip
    p = np.exp(logprob)
    relative = limit / (p * (1.0 - p))
    place = np.unravel_index(np.argmax(relative), relative.shape)
    lines = blocks(explain(case, "fp32"))["c_s"]
    assert lines[0].startswith(f"c_s[{place[0]}, {place[1]}] = -0.")
    assert float(lines[0].split(" = ")[1]) == pytest.approx(-(p * (1.0 - p))[place])
    assert sizes(lines)[1] == pytest.approx(limit[place], rel=1e-3)
    empty = {name: value[:0] for name, value in inputs.items()}
    assert "c_s: empty" in explain(example("coefficients", empty), "fp32")


def test_another_right_answer_is_named() -> None:
    inputs = {"sigma_s2": 1e-9, "sigma_r2": 2e-8 * (1.0 + 1e-8), "delta_g2": 0.0, "alpha": 0.3}
    case = example("closed_form", inputs, alpha=0.3)
    golden = case.exchanges("fp32")[0].expected["mu_raw"]
    lines = blocks(explain(case, "fp32"))["mu_raw"]
    other = float(lines[-1].removeprefix("  or within the same bound of "))
    assert {round(golden, 6), round(other, 6)} == {0.3, round(2e-8 / 2.1e-8, 6)}


def test_a_long_value_is_cut() -> None:
    case = example(
        "sequences",
        {
            "logprob": -np.ones((40, 2)), "response_mask": np.ones((40, 2), dtype=np.bool_),
            "advantages": np.arange(40.0), "is_expert": np.zeros(40, dtype=np.bool_),
            "c_s": -np.ones((40, 2)), "c_r": np.zeros((40, 2)),
        },
    )  # fmt: skip
    (line,) = (one for one in explain(case, "fp32").split("\n") if one.startswith("tokens = ["))
    assert line == "tokens = [" + "2, " * 18 + "2, ...: exact" or len(line) <= 60 + len(
        "tokens = : exact"
    )
    assert "...: exact" in line
