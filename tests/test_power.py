"""The library of faulty, pretending and correct ports, and the measurement made with it."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest

from gac_ref import AGGREGATIONS, CONVENTIONS, GACConfig
from gac_ref.conformance.compare import target
from gac_ref.conformance.formats import FORMATS, narrow
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.power import estimator_faults, measure, torch_faults
from gac_ref.conformance.power.arithmetic import ALL_SINGLE, PHIS, TOTALS, VARIANCES
from gac_ref.conformance.power.controls import controls
from gac_ref.conformance.power.equivalent import EQUIVALENT
from gac_ref.conformance.power.impostors import impostors
from gac_ref.conformance.power.jobs import Job, Outcome, jobs, run_job
from gac_ref.conformance.power.measure import PowerReport
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants import mutant_named, mutants
from gac_ref.conformance.power.mutants._mutant import under
from gac_ref.conformance.power.page import as_markdown, as_text
from gac_ref.conformance.power.planted import (
    COPY,
    ESTIMATOR,
    PlantedFault,
    changed,
    planted,
    sources,
)
from gac_ref.conformance.power.resolution import Resolution, _smallest, resolutions
from gac_ref.conformance.reference import Reference
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.errors import GACError
from gac_ref.losses import aggregation_count

AGREEMENT = 1e-9
"""Two float64 implementations of the method; a fault of any kind is far above it."""

SUM_UNITS = 40.0
"""Forty float32 terms, added in any order: within n u of the sum of their absolute values."""

ORIGINS = {*PIPELINE, "advantages", "loss", "wiring", "order", "state"}


def some_config(rng: np.random.Generator) -> GACConfig:
    pick = {
        "ema_beta": (0.0, 0.5, 0.99),
        "mu_update_freq": (1, 2, 3),
        "trim_ratio": (0.0, 0.1, 0.29, 0.4),
        "delta_g2_cap_ratio": (0.0, 0.1, 2.0),
        "mu_change_cap": (0.01, 0.1, 1.0),
        "mask_eps": (0.0, 1e-8),
        "blend_weight": (0.3, 0.5, 0.9),
        "prior": ("none", "warmup_cosine"),
        "prior_warmup": (0, 3, 200),
        "prior_decay": (0, 1, 5, 800),
        "use_phi": (True, False),
        "coefficient_normalization": ("none", "zscore"),
        "disagreement_rows": ("all", "rollouts"),
        "weight_ema": ("applied", "internal", "off"),
        "missing_branch": ("zero", "hold"),
        "unseen_statistic": ("unit", "hold"),
        "masking": ("select", "multiply"),
        "flat_risk": ("zero", "alpha"),
        "alpha_mode": ("static", "kl"),
    }
    return GACConfig(**{name: values[rng.integers(len(values))] for name, values in pick.items()})


def some_batch(rng: np.random.Generator, dtype: str) -> dict[str, Any]:
    rows, width = int(rng.integers(2, 9)), int(rng.integers(2, 12))
    logprob = -rng.exponential(1.5, (rows, width))
    mask = rng.random((rows, width)) < 0.7
    mask[:, 0] = True
    shape = (rows, width) if rng.random() < 0.5 else (rows,)
    advantages = np.full(shape, 0.3) if rng.random() < 0.15 else rng.normal(size=shape)
    reference = np.where(mask, logprob, -1.0) * rng.uniform(0.8, 1.2, (rows, width))
    if rng.random() < 0.2:
        logprob[~mask] = rng.choice([-np.inf, np.nan, 3.0])
    return {
        "logprob": narrow(logprob, dtype),
        "response_mask": mask,
        "advantages": narrow(advantages, dtype),
        "is_expert": rng.random(rows) < rng.choice([0.0, 0.4, 1.0]),
        "ref_logprob": narrow(reference, dtype),
    }


def comparable(values: dict[str, Any], batch: dict[str, Any], config: GACConfig) -> dict[str, Any]:
    """With zeros in the rows and at the tokens that mean nothing."""
    expert = batch["is_expert"]
    compared = expert | ~expert if config.disagreement_rows == "all" else ~expert
    keep = {
        "c_s": batch["response_mask"],
        "c_r": batch["response_mask"],
        "nll": expert,
        "advantage": ~expert,
        "disagreement": compared,
    }
    return {n: np.where(keep[n], v, 0.0) if n in keep else v for n, v in values.items()}


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(got) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            np.asarray(got[name], dtype=np.float64),
            np.asarray(value, dtype=np.float64),
            rtol=AGREEMENT,
            atol=AGREEMENT,
            err_msg=name,
        )


class TestPlainPort:
    """Independent of the estimator, and equal to it."""

    @pytest.mark.parametrize("seed", range(60))
    def test_trajectories_agree_with_the_estimator(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        config, step = some_config(rng), 0
        golden, plain = Reference(), Model()
        for port in (golden, plain):
            port.configure(config.to_dict(), dtype="fp64", device="cpu")
        for _ in range(4):
            batch = {**some_batch(rng, "fp64"), "step": step}
            step += int(rng.integers(1, 4))
            expected = comparable(golden.run("trajectory", batch), batch, config)
            assert_same(comparable(plain.run("trajectory", batch), batch, config), expected)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_advantages_agree_with_the_estimator(self, convention: str) -> None:
        rng = np.random.default_rng(0)
        for _ in range(20):
            groups = np.repeat([5, 2, 9], (3, 1, 4))[rng.permutation(8)]
            inputs = {
                "rewards": rng.choice([0.0, 0.1, 1.0], 8),
                "group_ids": groups,
                "is_expert": np.zeros(8, dtype=np.bool_),
                "convention": convention,
            }
            assert_same(Model().run("advantages", inputs), Reference().run("advantages", inputs))

    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    @pytest.mark.parametrize("sft", ["nll", "phi"])
    def test_losses_agree_with_the_estimator(self, aggregation: str, sft: str) -> None:
        rng = np.random.default_rng(1)
        for _ in range(5):
            batch = some_batch(rng, "fp64")
            mask, expert = batch["response_mask"], batch["is_expert"]
            inputs = {
                **{n: batch[n] for n in ("logprob", "response_mask", "is_expert", "advantages")},
                "old_logprob": batch["ref_logprob"],
                "mu": 0.3,
                "clip_low": 0.2,
                "clip_high": 0.28,
                "sft": sft,
                "rl_aggregation": aggregation,
                "sft_aggregation": aggregation,
                "rl_normalizer": aggregation_count(mask[~expert], aggregation),
                "sft_normalizer": aggregation_count(mask[expert], aggregation),
            }
            assert_same(Model().run("loss", inputs), Reference().run("loss", inputs))

    def test_its_scalars_stay_in_the_declared_format(self) -> None:
        port = Model(ALL_SINGLE)
        port.configure(GACConfig(prior_warmup=0).to_dict(), dtype="fp64", device="cpu")
        batch = {**some_batch(np.random.default_rng(3), "fp64"), "step": 0}
        outputs = port.run("trajectory", batch)
        for stage in ("statistics_ema", "closed_form", "weight_ema", "change_cap", "clip"):
            for field in STAGES[stage].outputs:
                if field.kind == "real":
                    assert isinstance(outputs[field.name], np.float32), field.name
        assert isinstance(port.run("clip", {"mu_capped": 0.01})["mu"], np.float32)


class TestArithmetic:
    """Each way to add or to take a variance is right to within its rounding."""

    @pytest.mark.parametrize("name", TOTALS)
    def test_sums_are_within_their_rounding(self, name: str) -> None:
        x = np.random.default_rng(5).normal(size=(3, 40)).astype(np.float32)
        for values in (x, x[:, :1], x[:, :0]):
            got = TOTALS[name](values)
            exact = np.array([math.fsum(row) for row in values.tolist()])
            size = np.abs(values).astype(np.float64).sum(axis=-1)
            assert np.asarray(got).dtype == np.float32
            assert np.all(np.abs(got - exact) <= SUM_UNITS * 2.0**-24 * size)

    @pytest.mark.parametrize("name", VARIANCES)
    def test_variances_are_population_variances(self, name: str) -> None:
        x = np.random.default_rng(6).normal(3.0, 1.0, 40)
        got = VARIANCES[name](TOTALS["pairwise"], x)
        assert got == pytest.approx(float(np.var(x)), rel=AGREEMENT)
        assert VARIANCES[name](TOTALS["pairwise"], np.full(7, 0.1)) == 0.0

    @pytest.mark.parametrize("name", PHIS)
    def test_phi_is_p_times_one_minus_p(self, name: str) -> None:
        p = np.linspace(0.01, 1.0, 50)
        np.testing.assert_allclose(PHIS[name](np.log(p)), p * (1.0 - p), atol=AGREEMENT)


class TestLibrary:
    """What there is, and that each of it does something."""

    def test_it_is_as_large_as_promised(self) -> None:
        assert len(mutants()) >= 130
        assert len(estimator_faults.FAULTS) >= 40
        assert len(impostors()) >= 10
        assert len(controls()) >= 36

    def test_names_are_unique(self) -> None:
        for library in (mutants(), controls(), impostors(), estimator_faults.FAULTS):
            names = [entry.name for entry in library]
            assert len(set(names)) == len(names)

    def test_every_origin_has_mutants(self) -> None:
        assert {mutant.stage for mutant in mutants()} == ORIGINS
        assert all(mutants(stage) for stage in ORIGINS)
        assert {fault.stage for fault in estimator_faults.FAULTS} <= ORIGINS

    def test_overrides_name_methods_of_the_port(self) -> None:
        """A misspelt one would change nothing."""
        known = {*dir(Model), "chain"}
        for entry in (*mutants(), *controls()):
            assert set(entry.methods) <= known, entry.name

    def test_what_is_not_seen_everywhere_says_why(self) -> None:
        for mutant in mutants():
            assert set(mutant.dtypes) <= set(FORMATS)
            assert bool(mutant.reason) == (set(mutant.dtypes) != set(FORMATS)), mutant.name

    def test_equivalent_mutants_exist_and_have_a_proof(self) -> None:
        for name, proof in EQUIVALENT.items():
            assert mutant_named(name).name == name
            assert len(proof) > 40

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(GACError, match="no mutant is named 'x'"):
            mutant_named("x")

    def test_a_changed_configuration_is_put_back(self) -> None:
        port, changed_clip = Model(), under("clip", mu_max=0.6)
        assert changed_clip(port, {"mu_capped": 0.8})["mu"] == 0.6
        assert port.clip({"mu_capped": 0.8})["mu"] == 0.8


class TestPlanted:
    """One line of a copy of the package."""

    @pytest.mark.parametrize(
        ("plant", "faults"),
        [(ESTIMATOR, estimator_faults.FAULTS), (torch_faults.PLANT, torch_faults.FAULTS)],
        ids=["estimator", "torch"],
    )
    def test_every_row_of_the_tables_still_fits(self, plant: Any, faults: Any) -> None:
        texts = sources(plant)
        for fault in faults:
            assert changed(fault, texts[fault.file]) != texts[fault.file], fault.name

    def test_text_that_is_not_there_once_is_refused(self) -> None:
        fault = PlantedFault("gone", "clip", "guards.py", "no such text", "")
        with pytest.raises(GACError, match=r"'gone': its text occurs 0 times in guards\.py"):
            changed(fault, sources(ESTIMATOR)["guards.py"])

    def test_a_copy_without_a_fault_is_the_estimator(self) -> None:
        config = GACConfig(prior_warmup=0)
        batch = {**some_batch(np.random.default_rng(2), "fp64"), "step": 0}
        golden = Reference()
        golden.configure(config.to_dict(), dtype="fp64", device="cpu")
        with planted(ESTIMATOR, None) as port:
            assert type(port).__module__.startswith(COPY)
            port.configure(config.to_dict(), dtype="fp64", device="cpu")
            assert_same(port.run("trajectory", batch), golden.run("trajectory", batch))

    def test_nothing_of_it_stays(self) -> None:
        path = list(sys.path)
        with planted(ESTIMATOR, estimator_faults.FAULTS[0]) as port:
            wrong = port.run("clip", {"mu_capped": 0.95})
        assert wrong["mu"] == 0.9
        assert sys.path == path
        assert not [name for name in sys.modules if name.split(".")[0] == COPY]

    def test_a_planted_fault_acts_in_the_copy_alone(self) -> None:
        fault = next(f for f in estimator_faults.FAULTS if f.name == "error clip of 0.1")
        inputs = {"previous_alpha": 0.5, "kl": 1.0}
        golden = Reference()
        golden.configure(GACConfig(alpha_mode="kl").to_dict(), dtype="fp64", device="cpu")
        with planted(ESTIMATOR, fault) as port:
            port.configure(GACConfig(alpha_mode="kl").to_dict(), dtype="fp64", device="cpu")
            assert port.run("alpha", inputs)["alpha"] == pytest.approx(0.505)
            assert golden.run("alpha", inputs)["alpha"] == pytest.approx(0.51)


class TestResolution:
    """The smallest fault that is seen."""

    @pytest.mark.parametrize("limit", [1e-3, 1e-9])
    def test_it_is_the_bound_over_the_value(self, limit: float) -> None:
        goal = target(STAGES["clip"].output("mu"), 0.5, limit)
        assert _smallest(goal) == pytest.approx(limit / 0.5, rel=1e-3)

    def test_a_zero_shows_no_relative_fault(self) -> None:
        assert _smallest(target(STAGES["clip"].output("mu"), 0.0, 1e-3)) == math.inf

    def test_the_last_stages_are_resolved_to_a_rounding(self) -> None:
        pack = load_pack()
        few = pack._replace(cases=pack.select(stages=["change_cap", "clip"]))
        found = {r.stage: r for r in resolutions(few, "fp64", every=8)}
        assert set(found) == {"change_cap", "clip"}
        assert all(r.multiple <= 8.0 for r in found.values())


def report_of(*outcomes: Outcome) -> PowerReport:
    found = Resolution("clip", "fp64", "mu", 4e-16, 2e-16, 3.0)
    return PowerReport(outcomes, (found,), 1, "ab" * 32, 1.5, False)


def outcome(group: str, name: str, stage: str, *, failed: bool, origin: str | None) -> Outcome:
    return Outcome(group, name, stage, "fp64", failed, origin, int(failed), 2.0, "line")


class TestReport:
    """The numbers, from outcomes that are known."""

    FOUND = outcome("mutant", "a", "clip", failed=True, origin="clip")
    ACCUSED = outcome("planted in estimator", "b", "alpha", failed=True, origin="clip")
    ALIVE = outcome("mutant", "c", "alpha", failed=False, origin=None)
    PRETENDER = outcome("impostor", "zeros", "", failed=True, origin="transport")
    RIGHT = outcome("control", "tree", "", failed=False, origin=None)
    WRONGED = outcome("control", "Kahan", "", failed=True, origin="clip")

    def test_each_number_counts_what_it_says(self) -> None:
        report = report_of(
            self.FOUND, self.ACCUSED, self.ALIVE, self.PRETENDER, self.RIGHT, self.WRONGED
        )
        d = report.to_dict()
        assert (d["mutants"], d["killed"]) == (3, 2)
        assert [o["name"] for o in d["survivors"]] == ["c"]
        assert (d["impostors"], d["impostors_killed"]) == (1, 1)
        assert (d["controls"], d["false_positives"]) == (2, 1)
        assert d["origin_accuracy"] == 0.5
        assert d["resolution"]["clip"]["fp64"]["multiple"] == 2.0
        assert d["kill_matrix"]["alpha"]["fp64"] == [1, 2]
        assert d["confusion"]["alpha"] == {"clip": 1}
        json.loads(json.dumps(d))

    def test_a_mutant_found_in_one_dtype_only_is_not_killed(self) -> None:
        other = self.FOUND._replace(dtype="bf16", failed=False, origin=None)
        assert report_of(self.FOUND, other).to_dict()["killed"] == 0

    def test_equivalent_mutants_are_not_counted(self) -> None:
        name = next(iter(EQUIVALENT))
        same = outcome("mutant", name, "advantages", failed=False, origin=None)
        assert report_of(self.FOUND, same).to_dict()["mutants"] == 1

    def test_what_falls_short_is_listed(self) -> None:
        report = report_of(self.ALIVE, self.WRONGED, self.ACCUSED)
        for text in (as_text(report), as_markdown(report)):
            assert "alpha: c, fp64" in text
            assert "Kahan, fp64" in text
            assert "alpha: b (planted in estimator), fp64, named clip" in text

    def test_the_page_has_its_tables(self) -> None:
        page = as_markdown(report_of(self.FOUND, self.RIGHT))
        assert "| mutants found | 1 of 1 (1 in the library) |" in page
        assert "| clip | 1 / 1 |" in page
        assert "| clip | 2 (3) |" in page
        assert "Nothing in this measurement." in page


class TestMeasurement:
    """The real thing, on a sample."""

    def test_a_sample_of_the_library_is_found_and_no_correct_port_failed(self) -> None:
        report = measure.measure(quick=True, workers=1)
        d = report.to_dict()
        assert d["survivors"] == []
        assert d["surviving_impostors"] == []
        assert d["failed_controls"] == []
        assert d["mutants"] >= 10
        assert d["worst_resolution"] <= 8.0

    def test_processes_of_their_own_measure_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        few = [job for job in jobs(every=40, dtypes=("fp64",)) if job.group == "mutant"][:2]
        monkeypatch.setattr(measure, "jobs", lambda **_: few)
        monkeypatch.setattr(measure, "resolutions", lambda *_, **__: [])
        alone = measure.measure(dtypes=("fp64",), workers=1)
        expected = [o for job in few for o in run_job(job)]
        assert sorted(alone.outcomes) == sorted(expected)

    def test_a_fault_that_is_not_there_survives(self) -> None:
        """The measurement can say no: the plain port itself is no mutant."""
        plain = next(i for i, c in enumerate(controls()) if c.name == "plain")
        (found,) = run_job(Job("control", plain, ("fp64",)))
        assert not found.failed
