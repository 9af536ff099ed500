"""Every stage of one controller step, and whole steps, in 50 digits.

A stage takes a configuration (a dict) and its inputs by name, in plain numbers and nested lists,
and returns its outputs by name: 50-digit numbers, booleans and integers. Sections 3 and 4 of
method.md and the contract's "Order of one update"; the stages that read a batch are in
``measures``, advantages and losses in ``objectives``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpmath import mp

from . import guards, measures, objectives
from .exact import real
from .priors import prior_at

Values = dict[str, Any]


def evaluate(stage: str, config: Values, inputs: Values) -> Values:
    """Outputs of a stage; for "step", every output of the pipeline that exists at this step."""
    return STAGES[stage](config, inputs)


def initial(config: Values) -> Values:
    """The ``previous_*`` of the first step."""
    mu = real(config["init_mu"])
    return {
        "previous_mu": mu,
        "previous_mu_ada": mu,
        "previous_alpha": real(config["alpha"]),
        "previous_sigma_s2": mp.mpf(0),
        "previous_sigma_r2": mp.mpf(0),
        "previous_delta_g2": mp.mpf(0),
        "previous_count_s": 0,
        "previous_count_r": 0,
        "previous_count_delta": 0,
        "previous_last_refresh": -1,
    }


def step(config: Values, inputs: Values) -> tuple[Values, Values]:
    """One whole step: the ``previous_*`` of the next one, and the outputs.

    Where a statistic was never seen and ``unseen_statistic = "hold"`` there is no estimate, and
    what only the closed form returns does not exist.
    """
    known = dict(inputs)
    refreshed = _due(config, inputs)
    outputs: Values = {}
    if refreshed:
        for name in ("coefficients", "sequences", "proxies"):
            new = STAGES[name](config, known)
            outputs |= new
            known |= new
    else:
        known |= {name: 0 for name in ("proxy_sigma_s2", "proxy_sigma_r2", "proxy_delta_g2")}
        known |= {name: False for name in ("has_s", "has_r", "has_delta")}
        outputs["kl"] = known["kl"] = measures.batch_kl(config, inputs)
    for name in _AFTER:
        new = STAGES[name](config, known)
        held = config["unseen_statistic"] == "hold" and known.get("not_ready", False)
        if not (name == "closed_form" and held):
            outputs |= new
        known |= new
    smoothed = _smoothed(config, inputs | known)
    after = {
        **smoothed,
        "previous_mu": known["mu"],
        "previous_mu_ada": known["mu_ada"],
        "previous_alpha": known["alpha"],
        "previous_last_refresh": known["last_refresh"],
    }
    return after, outputs


def trajectory(config: Values, steps: list[Values]) -> list[Values]:
    """The outputs of consecutive steps since the beginning; the state is never rounded."""
    state, out = initial(config), []
    for inputs in steps:
        state, outputs = step(config, inputs | state)
        out.append(outputs)
    return out


def _transport(config: Values, inputs: Values) -> Values:
    return dict(inputs)


def _due(config: Values, inputs: Values) -> bool:
    last = int(inputs["previous_last_refresh"])
    return last < 0 or int(inputs["step"]) - last >= config["mu_update_freq"]


_STATISTICS = (
    ("sigma_s2", "s", 1),
    ("sigma_r2", "r", 1),
    ("delta_g2", "delta", 0),
)


def _smoothed(config: Values, inputs: Values) -> Values:
    """The statistics and their counts after the EMA, as the next step finds them."""
    out: Values = {}
    for name, short, _ in _STATISTICS:
        value, count = real(inputs[f"previous_{name}"]), int(inputs[f"previous_count_{short}"])
        present = bool(inputs[f"has_{short}"])
        if _due(config, inputs) and (present or config["missing_branch"] == "zero"):
            new = real(inputs[f"proxy_{name}"]) if present else mp.mpf(0)
            if name == "delta_g2" and new < 0:
                new = mp.mpf(0)
            value, count = guards.seeded_ema(value, count, new, config["ema_beta"])
        out |= {f"previous_{name}": value, f"previous_count_{short}": count}
    return out


def _statistics_ema(config: Values, inputs: Values) -> Values:
    after = _smoothed(config, inputs)
    out: Values = {}
    for name, short, stand_in in _STATISTICS:
        count = after[f"previous_count_{short}"]
        out[f"count_{short}"] = count
        out[name] = after[f"previous_{name}"] if count else mp.mpf(stand_in)
    due = _due(config, inputs)
    out["last_refresh"] = int(inputs["step"] if due else inputs["previous_last_refresh"])
    out["not_ready"] = any(out[f"count_{short}"] == 0 for _, short, _ in _STATISTICS)
    return out


def _alpha(config: Values, inputs: Values) -> Values:
    previous, kl = real(inputs["previous_alpha"]), real(inputs["kl"])
    if config["alpha_mode"] == "static" or mp.isnan(kl):
        return {"alpha": previous, "alpha_clipped": False}
    value, _, clipped = guards.kl_alpha(
        previous,
        kl,
        target=config["kl_target"],
        gain=config["kl_gain"],
        low=config["alpha_min"],
        high=config["alpha_max"],
    )
    return {"alpha": value, "alpha_clipped": clipped}


def _closed_form(config: Values, inputs: Values) -> Values:
    s, r, d, eps = (
        *(real(inputs[name]) for name in ("sigma_s2", "sigma_r2", "delta_g2")),
        real(config["eps"]),
    )
    capped, acted = guards.cap_ratio(d, s, r, ratio=config["delta_g2_cap_ratio"], eps=eps)
    rule = config["flat_risk"]
    if rule == "zero" and capped + s + r + eps == 0:
        raw = mp.mpf(0)
    else:
        raw, _ = guards.closed_form(inputs["alpha"], capped, s, r, eps=eps, flat_risk=rule)
    return {
        "delta_g2_capped": capped,
        "mu_raw": raw,
        "disagreement_capped": acted,
        "flat_risk": bool(max(capped, s, r) <= 2 * eps),
    }


def _weight_ema(config: Values, inputs: Values) -> Values:
    previous = real(
        inputs["previous_mu_ada" if config["weight_ema"] == "internal" else "previous_mu"]
    )
    if inputs["not_ready"] and config["unseen_statistic"] == "hold":
        value = previous
    elif config["weight_ema"] == "off":
        value = real(inputs["mu_raw"])
    else:
        value = guards.ema(previous, inputs["mu_raw"], config["ema_beta"])
    ada, clipped = guards.clip(value, config["mu_min"], config["mu_max"])
    return {"mu_ada": ada, "mu_ada_clipped": clipped}


def _prior_blend(config: Values, inputs: Values) -> Values:
    prior, ada = prior_at(config, int(inputs["step"])), real(inputs["mu_ada"])
    without = config["prior"] == "none"
    candidate = ada if without else guards.blend(prior, ada, config["blend_weight"])
    return {"prior": prior, "mu_candidate": candidate}


def _change_cap(config: Values, inputs: Values) -> Values:
    capped, acted = guards.cap_change(
        inputs["previous_mu"], inputs["mu_candidate"], config["mu_change_cap"]
    )
    return {"mu_capped": capped, "change_capped": acted}


def _clip(config: Values, inputs: Values) -> Values:
    mu, acted = guards.clip(inputs["mu_capped"], config["mu_min"], config["mu_max"])
    return {"mu": mu, "mu_clipped": acted}


_AFTER = (
    "statistics_ema",
    "alpha",
    "closed_form",
    "weight_ema",
    "prior_blend",
    "change_cap",
    "clip",
)

STAGES: dict[str, Callable[[Values, Values], Values]] = {
    "transport": _transport,
    "coefficients": measures.coefficients,
    "sequences": measures.sequences,
    "proxies": measures.proxies,
    "statistics_ema": _statistics_ema,
    "alpha": _alpha,
    "closed_form": _closed_form,
    "weight_ema": _weight_ema,
    "prior_blend": _prior_blend,
    "change_cap": _change_cap,
    "clip": _clip,
    "step": lambda config, inputs: step(config, inputs)[1],
    "advantages": objectives.advantages,
    "loss": objectives.loss,
}
"""Each stage: ``(config, inputs) -> outputs``."""
