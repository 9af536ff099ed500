"""How far every discrete decision of a step is from its kink, relative to what it compares.

A port in a narrower format may decide either way near a kink, so that cases which are not about
one stay away from all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from _oracles import stages as oracle
from _oracles.exact import plain

from gac_ref.conformance.case import Case

from .build import as_lists, sent_inputs
from .draft import Draft, Values

MARGIN = 1e-3
"""Far above what float32 sums of a few hundred terms can move."""

TELLING = 1.2 * 2.0**-6
"""A fifth farther from the answer than an impostor may come."""

SPREAD = 1e-2
"""A stream that is not constant has at least this share of its rms as spread."""


def nearest_kink(one: Draft, dtype: str) -> tuple[float, str]:
    """The smallest margin over the exchanges of a step or trajectory case, and of what."""
    worst, where = math.inf, "nothing"
    for number, (inputs, outputs) in enumerate(run(one, dtype)):
        for name, margin in _margins(one.config, inputs, outputs).items():
            if margin < worst:
                worst, where = margin, f"{name} of exchange {number}"
    return worst, where


def run(one: Draft, dtype: str) -> Iterator[tuple[Values, Values]]:
    """The inputs, with the state, and the outputs of each exchange of a draft."""
    state = oracle.initial(one.config)
    for given in one.exchanges:
        inputs = as_lists(one.stage, sent_inputs(one, given, dtype), dtype)
        if one.stage == "trajectory":
            inputs |= state
        state, outputs = oracle.step(one.config, inputs)
        yield inputs, outputs


def telling(one: Draft, last: float) -> bool:
    """Whether some mu of a draft is neither an input nor the answer before it."""
    fresh = new = False
    for inputs, outputs in run(one, one.dtypes[-1]):
        mu = float(outputs["mu"])
        if math.isnan(mu):
            return True
        given = [float(inputs[name]) for name in inputs if name.startswith("previous_")]
        if one.stage == "trajectory":
            given = []
        given += [float(inputs.get("batch_kl") or 0.0), float(inputs["step"]), 0.0, 0.5, 1.0]
        fresh = fresh or all(_apart(mu, value) > TELLING for value in given)
        new = new or _apart(mu, last) > TELLING
        last = mu
    return fresh and new


def step_margins(case: Case, dtype: str) -> Iterator[dict[str, float]]:
    """The margins of each exchange of a stored case, from its golden values."""
    config = case.config.to_dict()
    state = oracle.initial(config)
    for exchange in case.exchanges(dtype):
        out = {name: plain(value) for name, value in exchange.expected.items()}
        inputs = {name: plain(value) for name, value in exchange.wide.items()}
        if case.kind == "trajectory":
            inputs |= state
        yield _margins(config, inputs, out)
        carried = {"previous_mu": "mu", "previous_mu_ada": "mu_ada", "previous_alpha": "alpha"}
        state = {**state, **{name: out[source] for name, source in carried.items()}}


def _margins(config: Values, inputs: Values, out: Values) -> dict[str, float]:
    known = {**inputs, **out}
    found: dict[str, float] = {}
    if "nll" in out:
        raw = oracle.evaluate("proxies", config | {"eps": 0.0}, known)
        for name in ("s", "r"):
            value = float(raw[f"proxy_sigma_{name}2"])
            # A variance of exactly 0 is that of one value, or of zeros: no format moves it.
            if raw[f"has_{name}"] and value:
                found[f"floor of sigma_{name}2"] = _apart(value, config["eps"])
        if config["coefficient_normalization"] == "zscore":
            found |= _spreads(config, known)
    held = out["not_ready"] and config["unseen_statistic"] == "hold"
    if not held:
        s, r, d = (float(out[name]) for name in ("sigma_s2", "sigma_r2", "delta_g2"))
        if config["delta_g2_cap_ratio"] > 0.0:
            found["cap of delta_g2"] = _apart(
                d, config["delta_g2_cap_ratio"] * (s + r + config["eps"])
            )
        found["flat risk"] = _apart(max(float(out["delta_g2_capped"]), s, r), 2.0 * config["eps"])
    if config["alpha_mode"] == "kl" and not math.isnan(float(out["kl"])):
        free = oracle.evaluate("alpha", config | {"alpha_min": 0.0, "alpha_max": 2.0}, known)
        for bound in ("alpha_min", "alpha_max"):
            found[bound] = _apart(float(free["alpha"]), config[bound])
    return found | _weight_margins(config, known, bool(held))


def _weight_margins(config: Values, known: Values, held: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    known = {"mu_raw": 0.0, **known}
    free = oracle.evaluate("weight_ema", config | {"mu_min": -9.0, "mu_max": 9.0}, known)
    for bound in ("mu_min", "mu_max"):
        ada = _apart(float(free["mu_ada"]), config[bound])
        # What was not moved is on the bound to the last bit, in any format.
        if not (held and ada == 0.0):
            found[f"{bound} of the weight EMA"] = ada
        copied = known["mu_ada_clipped"] or held
        margin = _apart(float(known["mu_capped"]), config[bound])
        if not (copied and margin == 0.0 and float(known["mu_candidate"]) == config[bound]):
            found[f"{bound} of mu"] = margin
    change = abs(float(known["mu_candidate"]) - float(known["previous_mu"]))
    found["change cap"] = _apart(change, config["mu_change_cap"])
    return found


def _spreads(config: Values, known: Values) -> dict[str, float]:
    """The spread of each stream over its rms, in units that put `SPREAD` at `MARGIN`."""
    found = {}
    every = config["disagreement_rows"] == "all"
    for name in ("c_s", "c_r"):
        values = [
            float(value)
            for row, mask, expert in zip(
                plain(known[name]), known["response_mask"], known["is_expert"], strict=True
            )
            for value, kept in zip(row, mask, strict=True)
            if kept and (every or not expert)
        ]
        if len(set(values)) < 2:
            continue  # exactly constant, and of few bits; see the assertion below
        mean = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        rms = math.sqrt(math.fsum(v * v for v in values) / len(values))
        found[f"spread of {name}"] = (spread / rms) * MARGIN / SPREAD
    return found


def _apart(value: Any, bound: Any) -> float:
    """The distance of two numbers relative to the larger; NaN decides nothing."""
    a, b = float(value), float(bound)
    if math.isnan(a):
        return math.inf
    size = max(abs(a), abs(b))
    return abs(a - b) / size if size else 1.0
