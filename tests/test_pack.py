"""The released conformance pack: what it covers, that it is right, and that damage is noticed."""

from __future__ import annotations

import ast
import base64
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _asserts import refuses
from _samplers import all_pairs, pairs_of
from _vectors.build import record
from _vectors.draft import Draft
from _vectors.families import drafts
from _vectors.impostors import passing
from _vectors.margins import MARGIN, step_margins
from _vectors.pairwise import STEP_AXES
from _vectors.release import LARGEST

from gac_ref import GACConfig
from gac_ref.conformance import agreement, vectors_command
from gac_ref.conformance.case import Case, Exchange, show
from gac_ref.conformance.export import export
from gac_ref.conformance.formats import FORMATS, widen
from gac_ref.conformance.pack import (
    VECTORS,
    canonical,
    case_hash,
    load_pack,
)
from gac_ref.conformance.stages import STAGES

PINNED = "a20a38a8621f9a8c9d365e72ccc9c381ff7612af98632ab454ecb5054420d465"
"""The pack of version 1. It is never made again: a correction is a new version."""

AGREEMENT = 64.0
"""Units of u S that the estimator may be away from 50 digits: a few roundings a stage, some fifty
in a row of stages whose conditions multiply."""


SECTION_5 = {
    1: ("step/coefficients-are-not-normalised", "step/coefficients-are-normalised"),
    2: ("trajectory/mu-is-not-rounded-to-float32",),
    3: ("trajectory/all-expert-updates-fed-zero",),
    4: ("step/shards-without-a-branch", "trajectory/shards"),
    5: (
        "sequences/infinity-in-the-padding-select",
        "sequences/infinity-in-the-padding-multiply",
        "step/infinity-in-the-padding-select",
        "step/infinity-in-the-padding-multiply",
        "trajectory/poisoned-for-good",
    ),
    6: ("sequences/tokens-counted-in-bf16", "step/tokens-counted-in-bf16"),
    7: ("step/group-normalised-advantages",),
    8: ("step/disagreement-of-all-rows", "step/disagreement-of-rollouts"),
}
"""What the released code does that a port author should know, by number."""

USER_REPORTS = {
    "a split into micro-batches changes the loss": (
        "loss/micro-batch-split-tokens",
        "loss/micro-batch-split-sequences",
    ),
    "a per-rank mean over-weights short ranks": ("step/per-rank-mean-then-average",),
    "NaN at a masked token poisons sequence means": (
        "loss/nan-at-a-masked-token-seq-mean-token-mean",
        "loss/nan-at-a-masked-token-seq-mean-token-sum",
        "loss/nan-at-a-masked-token-token-mean",
    ),
    "a micro-batch without demonstrations is NaN": ("loss/micro-batch-without-demonstrations",),
    "ragged SFT and RL shapes": (
        "sequences/ragged-sft-and-rl-shapes",
        "loss/ragged-sft-and-rl-shapes",
    ),
    "the normaliser is counted twice": ("loss/normaliser-counted-once",),
    "p versus log p": ("coefficients/p-versus-log-p", "loss/phi-of-p-not-of-log-p"),
    "a mixed loss that is a switch": ("loss/mixed-is-not-a-switch",),
    "which step drives the schedule": ("trajectory/step-index-drives-the-schedule",),
    "a reference of the mix without a framework": ("loss/reference-of-the-mix",),
}
"""What users of public trainers report."""

IDENTITIES = {"alpha/static"}
"""Cases beside transport in which the right answer is an input."""

PACK = load_pack()


def calls() -> Iterator[tuple[Case, str, Exchange]]:
    for case in PACK.cases:
        for dtype in case.dtypes:
            for exchange in case.exchanges(dtype):
                yield case, dtype, exchange


# What it says


def test_the_estimator_agrees_with_every_golden_value() -> None:
    assert agreement.verify(PACK) == []


def test_the_stated_agreement_of_the_oracles_is_a_few_roundings() -> None:
    assert PACK.agreement.keys() == STAGES.keys()
    assert max(PACK.agreement.values()) <= AGREEMENT


@pytest.mark.parametrize(("name", "value"), [("mu_raw", 0.4999), ("flat_risk", True)])
def test_a_wrong_golden_value_is_found_by_the_estimator(name: str, value: Any) -> None:
    case = PACK.case("closed_form/interior")
    exchange = case.exchanges("fp64")[0]
    worse = exchange._replace(expected=exchange.expected | {name: value})
    wrong = dataclasses.replace(case, load=lambda dtype: (worse, *case.exchanges(dtype)[1:]))
    lines = agreement.verify(PACK._replace(cases=(wrong,)))
    assert lines
    assert f"closed_form/interior, fp64, exchange 0: {name} differs" in lines[0]


def test_the_exact_oracle_imports_neither_the_estimator_nor_numpy() -> None:
    folder = Path(__file__).parent / "_oracles"
    for path in (folder / f"{name}.py" for name in ("stages", "measures", "objectives")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            assert not {name.split(".")[0] for name in names} & {"gac_ref", "numpy"}


def test_the_released_pack_is_the_one_that_was_released() -> None:
    assert PACK.sha256 == PINNED


@pytest.mark.slow
def test_all_drafts_give_the_released_pack_again() -> None:
    everything = list(drafts())
    check_rebuilt(everything)
    assert [one.id for one in everything] == [case.id for case in PACK.cases]


def check_rebuilt(some: list[Draft]) -> None:
    for one in some:
        made = record(one)
        assert case_hash(canonical(made.case), made.arrays) == PACK.case(one.id).sha256, one.id


# What it covers


def test_every_stage_has_cases_in_every_dtype() -> None:
    for stage in STAGES:
        for dtype in FORMATS:
            assert PACK.select(dtype, stages=[stage]), (stage, dtype)


def test_every_pair_of_configuration_values_occurs_in_a_whole_step() -> None:
    assert set(STEP_AXES) == {field.name for field in dataclasses.fields(GACConfig)}
    designs = [case.config.to_dict() for case in PACK.select(stages=["step"], tags=["pairwise"])]
    covered = set().union(*(pairs_of(design) for design in designs))
    assert all_pairs(STEP_AXES) <= covered


@pytest.mark.parametrize("number", SECTION_5)
def test_each_numbered_case_of_the_method_page_has_a_case(number: int) -> None:
    for case_id in SECTION_5[number]:
        assert PACK.case(case_id).tags or case_id.endswith(("normalised", "rollouts"))
    assert any("section-5" in PACK.case(case_id).tags for case_id in SECTION_5[number])


@pytest.mark.parametrize("report", USER_REPORTS)
def test_each_user_report_has_a_case(report: str) -> None:
    for case_id in USER_REPORTS[report]:
        assert "user-report" in PACK.case(case_id).tags


def test_axes_have_distinct_sizes() -> None:
    for case, _, exchange in calls():
        mask = exchange.inputs.get("response_mask")
        if mask is None or mask.shape[0] < 4:
            continue
        rows, width = mask.shape
        experts = int(exchange.inputs["is_expert"].sum())
        assert rows != width, case.id
        if 0 < experts < rows:
            assert width not in (experts, rows - experts), case.id
            # The rows of a part are as they fall.
            assert experts != rows - experts or "micro-batch" in case.id, case.id


def test_no_width_fills_a_tile_but_where_that_is_the_point() -> None:
    for case, _, exchange in calls():
        mask = exchange.inputs.get("response_mask")
        if mask is not None:
            assert mask.shape[1] % 8 or case.id.endswith("multiple-of-8"), case.id


def test_demonstrations_stand_between_rollouts() -> None:
    for case, _, exchange in calls():
        if case.kind == "stage" or "shards-without" in case.id:
            continue
        expert = exchange.inputs["is_expert"]
        if 2 <= expert.sum() <= len(expert) - 2:
            assert np.count_nonzero(np.diff(expert.astype(int))) >= 2, case.id


def test_log_probabilities_stay_in_range_after_narrowing() -> None:
    for case, dtype, exchange in calls():
        mask = exchange.inputs.get("response_mask")
        for name in ("logprob", "ref_logprob"):
            if mask is not None and name in exchange.wide:
                values = exchange.wide[name][mask]
                assert np.isfinite(values).all(), (case.id, dtype)
                assert (values <= 0.0).all(), (case.id, dtype)


def test_wide_inputs_are_the_sent_bits() -> None:
    for case, dtype, exchange in calls():
        tokens = [f.name for f in STAGES[case.stage].inputs if f.kind == "token"]
        for name in tokens:
            if name in exchange.inputs:
                sent = exchange.inputs[name]
                assert sent.dtype.str == FORMATS[dtype].storage
                np.testing.assert_array_equal(widen(sent, dtype), exchange.wide[name])


def test_steps_stay_away_from_kinks_unless_they_are_about_one() -> None:
    for case in PACK.cases:
        if case.kind == "stage" or "near_kink" in case.tags or "fp32" not in case.dtypes:
            continue
        for number, margins in enumerate(step_margins(case, "fp32")):
            for name, margin in margins.items():
                assert margin >= 0.999 * MARGIN, (case.id, number, name)


def test_no_impostor_passes_a_case() -> None:
    previous: dict[str, Exchange] = {}
    for case in PACK.cases:
        if case.stage == "transport":
            continue
        dtype = case.dtypes[-1]
        found = list(passing(case, dtype, previous.get(case.stage)))
        previous[case.stage] = case.exchanges(dtype)[-1]
        if case.id not in IDENTITIES:
            assert not found, (case.id, found)


def test_the_parts_of_every_split_add_up_to_the_whole() -> None:
    for name in ("tokens", "sequences"):
        exchanges = PACK.case(f"loss/micro-batch-split-{name}").exchanges("fp64")
        cuts = [(start, stop) for start in range(5) for stop in range(start + 1, 6)]
        loss = {cut: e.expected["loss_value"] for cut, e in zip(cuts, exchanges, strict=True)}
        for splits in range(16):
            edges = [0, *(i for i in range(1, 5) if splits >> (i - 1) & 1), 5]
            total = sum(loss[cut] for cut in itertools.pairwise(edges))
            np.testing.assert_allclose(total, loss[0, 5], rtol=1e-13, atol=1e-14)


def test_the_pack_is_small() -> None:
    size = sum(path.stat().st_size for path in (VECTORS / "v1").iterdir())
    assert size <= LARGEST


# How it is read


def test_cases_are_found_by_dtype_stage_tag_and_id() -> None:
    assert all(case.stage == "loss" for case in PACK.select(stages=["loss"]))
    shards = PACK.select("bf16", stages=["step"], tags=["shards", "section-5"])
    assert shards
    assert all({"shards", "section-5"} <= set(case.tags) for case in shards)
    assert [c.id for c in PACK.select(ids=["clip/both-bounds"])] == ["clip/both-bounds"]
    only = PACK.case("trajectory/mu-is-not-rounded-to-float32")
    assert only not in PACK.select("bf16")


def test_an_unknown_case_is_refused_with_those_like_it() -> None:
    with refuses("no case 'clip/both-bound' in the pack; did you mean clip/both-bounds"):
        PACK.case("clip/both-bound")
    with refuses("no case has the tag 'section5'; did you mean section-5"):
        PACK.select(tags=["section5"])
    with refuses("has no dtype 'bf16'; it has fp64"):
        PACK.case("trajectory/mu-is-not-rounded-to-float32").exchanges("bf16")


def test_inputs_cannot_be_written() -> None:
    for _, _, exchange in calls():
        for value in (*exchange.inputs.values(), *exchange.wide.values()):
            assert not (isinstance(value, np.ndarray) and value.flags.writeable)


def test_a_case_is_shown_with_its_comment_configuration_and_values() -> None:
    text = show(PACK.case("alpha/both-bounds"))
    for part in ("alpha stops at its bounds", "kl_gain=0.9", "previous_alpha = 0.79"):
        assert part.lower() in text.lower()
    long = show(PACK.case("sequences/width-1031"), "bf16")
    assert "float64[4, 1031]" in long
    assert "shown: bf16" in long


def test_the_command_exports_the_pack_and_a_readable_file_a_case(tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert vectors_command.export(str(target)) == 0
    assert load_pack(target).sha256 == PACK.sha256
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    sealed = {"manifest.json", "cases.jsonl", "arrays.bin"}
    assert found == {"README.md", *sealed, *(f"{case.id}.json" for case in PACK.cases)}
    assert PACK.sha256 in (target / "README.md").read_text()
    stated = {p.name: json.loads(p.read_text())["sha256"] for p in target.glob("clip/*.json")}
    assert stated == {
        f"{case.id.split('/')[1]}.json": case.sha256 for case in PACK.select(stages=["clip"])
    }
    with refuses("exists and is no empty directory"):
        vectors_command.export(str(target))


def test_exported_files_carry_every_bit(tmp_path: Path) -> None:
    some = PACK._replace(cases=(PACK.cases[0], *PACK.select(stages=["step"])[:2]))
    files = export(some, tmp_path / "out")
    assert files[0].name == "README.md"
    for case, path in zip(some.cases, files[1:], strict=True):
        fields = json.loads(path.read_text())
        assert GACConfig.from_dict(fields["config"]) == case.config
        for dtype in case.dtypes:
            pairs = zip(fields["exchanges"][dtype], case.exchanges(dtype), strict=True)
            for stored, exchange in pairs:
                for name, value in exchange.inputs.items():
                    if isinstance(value, np.ndarray):
                        data = base64.b64decode(stored["inputs"][name]["data"])
                        assert data == value.tobytes()
                        assert stored["inputs"][name]["shape"] == list(value.shape)
