"""Reference controller in 50 digits (the contract's "Order of one update"; method.md, section 4).

Scalar trajectories only. State and info are plain dicts with the contract's field names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import guards
from .exact import real
from .priors import prior_at
from .statistics import batch_kl
from .statistics import proxies as batch_proxies

DOCUMENTED: dict[str, Any] = {
    "ema_beta": 0.99,
    "mu_min": 0.05,
    "mu_max": 0.9,
    "init_mu": 0.5,
    "mu_change_cap": 0.01,
    "blend_weight": 0.5,
    "mu_update_freq": 10,
    "trim_ratio": 0.1,
    "alpha": 0.5,
    "alpha_min": 0.1,
    "alpha_max": 0.95,
    "kl_target": 0.02,
    "kl_gain": 0.1,
    "eps": 1e-8,
    "mask_eps": 1e-8,
    "delta_g2_cap_ratio": 0.0,
    "prior": "warmup_cosine",
    "prior_warmup": 200,
    "prior_decay": 800,
    "prior_peak": 0.85,
    "prior_valley": 0.15,
    "use_phi": True,
    "coefficient_normalization": "zscore",
    "disagreement_rows": "rollouts",
    "weight_ema": "applied",
    "missing_branch": "hold",
    "unseen_statistic": "hold",
    "masking": "select",
    "flat_risk": "alpha",
    "alpha_mode": "static",
}

VARIANTS: dict[str, dict[str, Any]] = {
    "documented": {},
    "released": {
        "coefficient_normalization": "none",
        "disagreement_rows": "all",
        "weight_ema": "applied",
        "missing_branch": "zero",
        "unseen_statistic": "unit",
        "masking": "multiply",
        "flat_risk": "zero",
    },
    "decoupled": {"weight_ema": "internal"},
}

CHOICES: dict[str, tuple[str, ...]] = {
    "prior": ("warmup_cosine", "none"),
    "coefficient_normalization": ("zscore", "none"),
    "disagreement_rows": ("rollouts", "all"),
    "weight_ema": ("applied", "internal", "off"),
    "missing_branch": ("hold", "zero"),
    "unseen_statistic": ("hold", "unit"),
    "masking": ("select", "multiply"),
    "flat_risk": ("alpha", "zero"),
    "alpha_mode": ("static", "kl"),
}

STATISTICS = (
    ("sigma_s2", "has_s", "count_s", 1),
    ("sigma_r2", "has_r", "count_r", 1),
    ("delta_g2", "has_delta", "count_delta", 0),
)
"""Statistic, its presence key, its count, and its stand-in while never seen ("unit")."""


def make_config(variant: str = "documented", **changes: Any) -> dict[str, Any]:
    """Configuration dict of a named variant with changes; an unknown field or choice raises."""
    config = {**DOCUMENTED, **VARIANTS[variant], **changes}
    unknown = sorted(set(config) - set(DOCUMENTED))
    if unknown:
        raise ValueError(f"make_config: unknown fields {unknown}")
    for name, allowed in CHOICES.items():
        if config[name] not in allowed:
            raise ValueError(f"make_config: {name} = {config[name]!r} is none of {allowed}")
    return config


def init(config: dict[str, Any]) -> dict[str, Any]:
    """State before the first step; a statistic is None while its count is 0."""
    return {
        "mu": real(config["init_mu"]),
        "mu_ada": real(config["init_mu"]),
        "alpha": real(config["alpha"]),
        "sigma_s2": None,
        "sigma_r2": None,
        "delta_g2": None,
        "count_s": 0,
        "count_r": 0,
        "count_delta": 0,
        "last_refresh": -1,
    }


def update(
    config: dict[str, Any], state: dict[str, Any], batch: dict[str, Any], *, step: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One step from a batch (nested lists, see ``statistics``): ``(state, info)``."""
    return _update(config, state, batch_kl(batch), lambda: batch_proxies(config, batch), step)


def update_from_proxies(
    config: dict[str, Any], state: dict[str, Any], proxies: dict[str, Any], *, step: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One step from proxies: ``(state, info)``.

    ``proxies`` holds ``sigma_s2``, ``sigma_r2``, ``delta_g2`` (None or absent: missing), optional
    ``has_s``, ``has_r``, ``has_delta`` (False: missing) and ``kl``. Values enter as they are.
    """
    return _update(config, state, proxies.get("kl"), lambda: proxies, step)


def run(
    config: dict[str, Any],
    items: Iterable[dict[str, Any]],
    *,
    first_step: int = 0,
    from_proxies: bool = False,
    state: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run consecutive steps over batches or proxies: ``(final state, infos)``."""
    current = init(config) if state is None else state
    one = update_from_proxies if from_proxies else update
    infos = []
    for step, item in enumerate(items, start=first_step):
        current, info = one(config, current, item, step=step)
        infos.append(info)
    return current, infos


def weight_chain(
    config: dict[str, Any], mu: Any, mu_ada: Any, mu_raw: Any, prior: Any
) -> dict[str, Any]:
    """Steps 5 to 8 of one update: weight EMA, blend, change cap, clip, with their flags."""
    low, high = config["mu_min"], config["mu_max"]
    if config["weight_ema"] == "off":
        smoothed = real(mu_raw)
    else:
        previous = mu if config["weight_ema"] == "applied" else mu_ada
        smoothed = guards.ema(previous, mu_raw, config["ema_beta"])
    ada, ada_clipped = guards.clip(smoothed, low, high)
    if config["prior"] == "none":
        candidate = ada
    else:
        candidate = guards.blend(prior, ada, config["blend_weight"])
    capped, change_capped = guards.cap_change(mu, candidate, config["mu_change_cap"])
    value, mu_clipped = guards.clip(capped, low, high)
    return {
        "mu_ada": ada,
        "mu_candidate": candidate,
        "mu_capped": capped,
        "mu": value,
        "flags": {
            "mu_ada_clipped": ada_clipped,
            "change_capped": change_capped,
            "mu_clipped": mu_clipped,
        },
    }


def _update(
    config: dict[str, Any],
    state: dict[str, Any],
    kl: Any,
    get_proxies: Callable[[], dict[str, Any]],
    step: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    new = dict(state)
    new["alpha"], flags = _alpha(config, state["alpha"], kl)

    last = state["last_refresh"]
    refreshed = last == -1 or step - last >= config["mu_update_freq"]
    taken = get_proxies() if refreshed else None
    if taken is not None:
        new["last_refresh"] = step
        _feed(config, new, taken)
        flags.update(taken.get("flags", {}))
        for name, present, _, _ in STATISTICS:
            flags[f"missing_{present.removeprefix('has_')}"] = not _has(taken, name, present)

    used, unseen = _as_used(config, new)
    flags["not_ready"] = unseen and config["unseen_statistic"] == "hold"
    flags["unit_stand_in"] = unseen and config["unseen_statistic"] == "unit"
    if flags["not_ready"]:
        capped, mu_raw = None, state["mu_ada" if config["weight_ema"] == "internal" else "mu"]
        flags["delta_capped"] = flags["flat_risk"] = False
    else:
        s, r, d = used["sigma_s2"], used["sigma_r2"], used["delta_g2"]
        capped, flags["delta_capped"] = guards.cap_ratio(
            d, s, r, ratio=config["delta_g2_cap_ratio"], eps=config["eps"]
        )
        mu_raw, flags["flat_risk"] = guards.closed_form(
            new["alpha"], capped, s, r, eps=config["eps"], flat_risk=config["flat_risk"]
        )

    prior = prior_at(config, step)
    chain = weight_chain(config, state["mu"], state["mu_ada"], mu_raw, prior)
    flags.update(chain.pop("flags"))
    new["mu"], new["mu_ada"] = chain["mu"], chain["mu_ada"]
    info = {
        "refreshed": refreshed,
        "proxies": taken,
        **used,
        "delta_g2_capped": capped,
        "alpha": new["alpha"],
        "mu_raw": mu_raw,
        "prior": prior,
        **chain,
        "flags": flags,
    }
    return new, info


def _alpha(config: dict[str, Any], alpha: Any, kl: Any) -> tuple[Any, dict[str, bool]]:
    if config["alpha_mode"] == "static" or kl is None:
        return alpha, {"alpha_error_clipped": False, "alpha_clipped": False}
    value, error_clipped, clipped = guards.kl_alpha(
        alpha,
        kl,
        target=config["kl_target"],
        gain=config["kl_gain"],
        low=config["alpha_min"],
        high=config["alpha_max"],
    )
    return value, {"alpha_error_clipped": error_clipped, "alpha_clipped": clipped}


def _has(taken: dict[str, Any], name: str, present: str) -> bool:
    return taken.get(name) is not None and bool(taken.get(present, True))


def _feed(config: dict[str, Any], new: dict[str, Any], taken: dict[str, Any]) -> None:
    for name, present, count, _ in STATISTICS:
        if _has(taken, name, present):
            value = taken[name]
        elif config["missing_branch"] == "zero":
            value = 0
        else:
            continue
        new[name], new[count] = guards.seeded_ema(new[name], new[count], value, config["ema_beta"])


def _as_used(config: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    used, unseen = {}, False
    for name, _, count, stand_in in STATISTICS:
        used[name] = state[name]
        if state[count] == 0:
            unseen = True
            used[name] = real(stand_in) if config["unseen_statistic"] == "unit" else None
    return used, unseen
