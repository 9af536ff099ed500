"""Bounds of the scalar stages, from the statistics EMA to the applied weight."""

from __future__ import annotations

import math

import numpy as np

from gac_ref.alpha import ERROR_CLIP
from gac_ref.conformance.tolerance.primitives import (
    EITHER,
    EXACT,
    MARGIN,
    Arithmetic,
    Budget,
    Tolerance,
    Work,
)

__all__ = [
    "alpha",
    "change_cap",
    "clip",
    "closed_form",
    "prior_blend",
    "statistics_ema",
    "weight_ema",
]


def _average(
    budget: Budget, where: Arithmetic, weight: float, old: tuple[float, float],
    new: tuple[float, float], result: float, *, from_either: bool = False,
) -> None:  # fmt: skip
    r"""Errors of :math:`\beta x + (1 - \beta) v`, so or as a step from one towards the other.

    With :math:`1 - \beta` rounded: two products, :math:`\beta |x| + 2 (1 - \beta) |v|`; a step
    from x towards v, :math:`3 (1 - \beta) |v - x|`; one from v towards x,
    :math:`2 \beta |v - x|`, natural where v is the heavier one, or the two are alike
    (`from_either`). A rounded :math:`\beta` spoils :math:`1 - \beta` by :math:`u \beta`, which
    for a beta near 1 is many units of :math:`1 - \beta`.
    """
    (x, x_error), (v, v_error) = old, new
    u = where.u
    rest, apart = 1.0 - weight, abs(v - x)
    back = 2.0 * weight * apart if from_either or weight < 0.5 else 0.0
    budget.add("old value", weight * x_error, "{b} * {e}", b=weight, e=x_error)
    budget.add("new value", rest * v_error, "{b} * {e}", b=rest, e=v_error)
    budget.add("rounded weight", where.constant * weight * (abs(x) + abs(v)),
               "{u} * {b} (|{x}| + |{v}|)", u=where.constant, b=weight, x=x, v=v)  # fmt: skip
    products = max(weight * abs(x) + 2.0 * rest * abs(v), 3.0 * rest * apart, back)
    budget.add("products", u * products,
               "{u} max(beta |old| + 2 (1 - beta) |new|, 3 (1 - beta) |new - old|, {b})",
               u=u, b=back)  # fmt: skip
    budget.add("sum", u * abs(result), "{u} * |{x}|", u=u, x=result)


def _finish(budget: Budget, golden: float, where: Arithmetic) -> Tolerance:
    tolerance: Tolerance = budget.tolerance(golden, where.tiny)
    return tolerance


def _pass(work: Work, error: float, golden: float) -> Tolerance:
    """A value handed on as it is."""
    budget = work.linear(work.scalars)
    budget.add("carried", error, "error of the input")
    return _finish(budget, golden, work.scalars) if error else EXACT


def statistics_ema(work: Work) -> dict[str, Tolerance]:
    """The statistics EMA where a refresh is due; seeds and stand-ins are copies."""
    values, config = work.values, work.config
    last, step = int(values["previous_last_refresh"]), int(values["step"])
    due = last < 0 or step - last >= config.mu_update_freq
    out = dict.fromkeys(("count_s", "count_r", "count_delta", "last_refresh", "not_ready"), EXACT)
    for branch, name in (("s", "sigma_s2"), ("r", "sigma_r2"), ("delta", "delta_g2")):
        out[name] = _smoothed(work, branch, name, due)
    return out


def _smoothed(work: Work, branch: str, name: str, due: bool) -> Tolerance:
    values, config, where = work.values, work.config, work.scalars
    golden = float(values[name])
    if int(values[f"count_{branch}"]) == 0 or not math.isfinite(golden):
        return EXACT  # a stand-in, or NaN
    old = work.real(f"previous_{name}", where)
    has = due and bool(values[f"has_{branch}"])
    if not due or (not has and config.missing_branch == "hold"):
        return _pass(work, old[1], golden)
    new = work.real(f"proxy_{name}", where) if has else (0.0, 0.0)
    if branch == "delta":  # a negative estimate counts as 0, which is continuous
        new = (max(new[0], 0.0), new[1])
    if int(values[f"previous_count_{branch}"]) == 0:
        return _pass(work, new[1], golden)
    budget = work.linear(work.scalars)
    _average(budget, where, config.ema_beta, old, new, golden)
    return _finish(budget, golden, where)


def alpha(work: Work) -> dict[str, Tolerance]:
    """The target ratio; its clip is continuous, its flag may be either near a bound."""
    values, config, where = work.values, work.config, work.scalars
    golden, kl = float(values["alpha"]), float(values["kl"])
    previous, error = work.real("previous_alpha", where)
    if config.alpha_mode == "static" or math.isnan(kl):
        return {"alpha": _pass(work, error, golden), "alpha_clipped": EXACT}
    u, constant = where.u, where.constant
    ratio, kl_error = kl / config.kl_target, work.real("kl", where)[1]
    change = ratio - 1.0
    change_error = kl_error / config.kl_target + abs(ratio) * (constant + u) + u * abs(change)
    if abs(change) - change_error > ERROR_CLIP:
        change_error = constant * ERROR_CLIP
    bounded = min(max(change, -ERROR_CLIP), ERROR_CLIP)
    gain = config.kl_gain
    factor = 1.0 + gain * bounded
    proposed = previous * factor
    budget = work.linear(work.scalars)
    budget.add("previous alpha", abs(factor) * error, "{f} * {e}", f=factor, e=error)
    budget.add("relative KL", (abs(previous) + error) * gain * change_error, "alpha g * {e}",
               e=change_error)  # fmt: skip
    budget.add("factor", abs(previous) * ((constant + u) * abs(gain * bounded) + u * factor),
               "alpha (({c} + {u}) |g e| + {u} (1 + g e))", c=constant, u=u)  # fmt: skip
    budget.add("product", u * abs(proposed), "{u} * {a}", u=u, a=proposed)
    return _bounded(work, budget, proposed, (config.alpha_min, config.alpha_max), "alpha",
                    "alpha_clipped")  # fmt: skip


def _bounded(
    work: Work, budget: Budget, value: float, bounds: tuple[float, float], name: str, flag: str
) -> dict[str, Tolerance]:
    """A clip: 1-Lipschitz; where a bound surely acts only the rounding of the bound is left."""
    where, golden = work.scalars, float(work.values[name])
    margin = MARGIN * budget.total + where.tiny
    # An injected value that is the bound itself rounds as the bound does: it is not clipped.
    if work.injected and value in bounds and budget.count <= 1:
        return {name: _finish(budget, golden, where), flag: EXACT}
    either = False
    for bound, side in zip(bounds, (1.0, -1.0), strict=True):
        slack = margin + where.constant * abs(bound) + 2.0**-52 * abs(bound)
        if side * (bound - value) > slack:
            budget = work.linear(work.scalars)
            budget.add("the bound is a constant", where.constant * abs(bound), "{u} * {b}",
                       u=where.constant, b=bound)  # fmt: skip
            return {name: _finish(budget, golden, where), flag: EXACT}
        if abs(bound - value) <= slack:
            either = True
            budget.add("the bound is a constant", where.constant * abs(bound), "{u} * {b}",
                       u=where.constant, b=bound)  # fmt: skip
    return {name: _finish(budget, golden, where), flag: EITHER if either else EXACT}


def closed_form(work: Work) -> dict[str, Tolerance]:
    """The cap of the disagreement and the closed form; jumps where the risk turns flat."""
    values, config, where = work.values, work.config, work.scalars
    u, constant = where.u, where.constant
    s, s_error = work.real("sigma_s2", where)
    r, r_error = work.real("sigma_r2", where)
    d, d_error = work.real("delta_g2", where)
    a, a_error = work.real("alpha", where)
    capped, mu = float(values["delta_g2_capped"]), float(values["mu_raw"])
    budget, flag = work.linear(work.scalars), EXACT
    ratio = config.delta_g2_cap_ratio
    if ratio == 0.0 or not math.isfinite(s + r + d):
        budget.add("carried", d_error, "error of the input")
    else:
        limit = ratio * (s + r + config.eps)
        limit_error = ratio * (s_error + r_error) + limit * (3.0 * u + 2.0 * constant)
        either = abs(d - limit) <= MARGIN * (d_error + limit_error)
        flag = EITHER if either else EXACT
        acts = d > limit
        worse = max(d_error, limit_error)
        size = worse if either else (limit_error if acts else d_error)
        budget.add("cap or input", size, "cap {c} +- {e}, input {d}", c=limit, e=limit_error, d=d)
    out = {
        "delta_g2_capped": _finish(budget, capped, where) if budget.total else EXACT,
        "disagreement_capped": flag,
    }
    if not math.isfinite(s + r + capped + mu):  # NaN in, NaN out
        return out | {"mu_raw": EXACT, "flat_risk": EXACT}
    d_error = budget.total
    floor = 2.0 * config.eps
    size, size_error = max(s, r, capped), max(s_error, r_error, d_error)
    near = abs(size - floor) <= MARGIN * size_error + constant * floor + where.tiny
    near = near and not (work.injected and size == floor)  # both round alike
    out["flat_risk"] = EITHER if near else EXACT
    flat = size <= floor
    if config.flat_risk == "alpha" and flat and not near:
        return out | {"mu_raw": _pass(work, a_error, mu)}
    zero = config.flat_risk == "zero"
    bottom = capped + s + r + (config.eps if zero else 0.0)
    if bottom == 0.0:
        return out | {"mu_raw": _pass(work, a_error, mu)}
    quotient = (a * capped + r) / bottom
    mu_budget = work.budget()
    mu_budget.add("alpha", a_error * capped / bottom, "D2/D * {e}", e=a_error)
    mu_budget.add("disagreement", abs(a - quotient) / bottom * d_error, "|alpha - mu|/D * {e}",
                  e=d_error)  # fmt: skip
    mu_budget.add("SFT noise", abs(quotient) / bottom * s_error, "mu/D * {e}", e=s_error)
    mu_budget.add("RL noise", abs(1.0 - quotient) / bottom * r_error, "(1 - mu)/D * {e}", e=r_error)
    mu_budget.add("operations", 6.0 * u * quotient, "6 * {u} * {m}", u=u, m=quotient)
    if zero:
        mu_budget.add("the guard eps", quotient / bottom * (constant * config.eps + where.tiny),
                      "mu/D * {u} eps", u=constant)  # fmt: skip
    alternatives: tuple[float, ...] = ()
    if near and config.flat_risk == "alpha":
        mu_budget.add("alpha where flat", a_error, "{e}", e=a_error)
        alternatives = (quotient if flat else float(a),)
    tolerance: Tolerance = mu_budget.tolerance(mu, where.tiny, alternatives)
    return out | {"mu_raw": tolerance}


def weight_ema(work: Work) -> dict[str, Tolerance]:
    """The weight EMA and its clip."""
    values, config, where = work.values, work.config, work.scalars
    source = "previous_mu_ada" if config.weight_ema == "internal" else "previous_mu"
    old = work.real(source, where)
    budget = work.linear(work.scalars)
    if config.unseen_statistic == "hold" and values["not_ready"]:
        value = old[0]
        budget.add("carried", old[1], "error of {x}", x=old[0])
    else:
        new = work.real("mu_raw", where)
        if not math.isfinite(new[0]):
            return {"mu_ada": EXACT, "mu_ada_clipped": EXACT}
        if config.weight_ema == "off":
            value = new[0]
            budget.add("carried", new[1], "error of {x}", x=new[0])
        else:
            value = config.ema_beta * old[0] + (1.0 - config.ema_beta) * new[0]
            _average(budget, where, config.ema_beta, old, new, value)
    return _bounded(work, budget, value, (config.mu_min, config.mu_max), "mu_ada", "mu_ada_clipped")


def prior_blend(work: Work) -> dict[str, Tolerance]:
    """The schedule prior and the blend."""
    values, config, where = work.values, work.config, work.scalars
    golden, ada = float(values["mu_candidate"]), work.real("mu_ada", where)
    if not math.isfinite(ada[0]):
        ada = (ada[0], 0.0)
    if config.prior == "none":
        return {"prior": EXACT, "mu_candidate": _pass(work, ada[1], golden)}
    prior = float(values["prior"])
    budget = work.linear(work.scalars)
    _prior(budget, work, int(values["step"]), prior)
    error = budget.total
    out = {"prior": _finish(budget, prior, where) if error else EXACT}
    blend = work.linear(work.scalars)
    # lambda is what is given, and 1 - lambda, the weight of the prior, what is rounded.
    _average(blend, where, config.blend_weight, ada, (prior, error), golden, from_either=True)
    return out | {"mu_candidate": _finish(blend, golden, where)}


def _prior(budget: Budget, work: Work, step: int, prior: float) -> None:
    config, where = work.config, work.scalars
    u, constant = where.u, where.constant
    start, length = config.prior_warmup, max(1, config.prior_decay)
    if step < start:
        budget.add("ramp", (2.0 * u + constant) * prior, "(2 * {u} + {c}) * {p}", u=u, c=constant,
                   p=prior)  # fmt: skip
        return
    if step >= start + config.prior_decay:
        budget.add("the valley is a constant", constant * prior, "{u} * {p}", u=constant, p=prior)
        return
    angle = math.pi * (step - start) / length
    drop = config.prior_peak - config.prior_valley
    half = abs(drop) * 0.5
    turn = math.sin(angle) * 3.0 * u * angle  # the quotient, pi, and their product
    budget.add("angle", half * turn, "drop/2 * sin({a}) * 3 * {u} * {a}", a=angle, u=u)
    budget.add("cosine", half * where.exp * abs(math.cos(angle)), "drop/2 * {e} |cos {a}|",
               e=where.exp, a=angle)  # fmt: skip
    rise = 1.0 + math.cos(angle)
    size = config.prior_peak + config.prior_valley
    budget.add("peak - valley", 0.5 * rise * (constant * size + u * abs(drop)) + constant
               * config.prior_valley, "(1 + cos)/2 ({c} (peak + valley) + {u} drop) + {c} valley",
               c=constant, u=u)  # fmt: skip
    budget.add("products and sum", u * (3.0 * half * rise + prior),
               "{u} (3 drop/2 (1 + cos) + {p})", u=u, p=prior)  # fmt: skip


def change_cap(work: Work) -> dict[str, Tolerance]:
    """The change cap: continuous, so near its kink both branches are within one bound."""
    where, cap = work.scalars, work.config.mu_change_cap
    golden = float(work.values["mu_capped"])
    candidate, c_error = work.real("mu_candidate", where)
    previous, p_error = work.real("previous_mu", where)
    if not math.isfinite(golden):
        return {"mu_capped": EXACT, "change_capped": EXACT}
    u, change = where.u, candidate - previous
    margin = MARGIN * (c_error + p_error + u * abs(change) + where.constant * cap)
    margin += 2.0**-52 * max(abs(candidate), abs(previous))
    either = abs(abs(change) - cap) <= margin
    if either and work.injected and previous + change == candidate:  # a tie without any rounding?
        numbers = np.array([candidate, previous, change, cap])
        either = abs(change) != cap or bool(np.any(where.rounding(numbers)))
    budget = work.linear(work.scalars)
    if either or abs(change) > cap:
        budget.add("previous mu", p_error, "error of {x}", x=previous)
        budget.add("the cap is a constant", where.constant * cap, "{u} * {c}", u=where.constant,
                   c=cap)  # fmt: skip
    if either or abs(change) <= cap:
        budget.add("candidate", c_error, "error of {x}", x=candidate)
        budget.add("difference", u * abs(change), "{u} * |{x}|", u=u, x=change)
    budget.add("sum", u * abs(golden), "{u} * {x}", u=u, x=golden)
    return {"mu_capped": _finish(budget, golden, where),
            "change_capped": EITHER if either else EXACT}  # fmt: skip


def clip(work: Work) -> dict[str, Tolerance]:
    """The bounds of mu."""
    value, error = work.real("mu_capped", work.scalars)
    if not math.isfinite(value):
        return {"mu": EXACT, "mu_clipped": EXACT}
    budget = work.linear(work.scalars)
    budget.add("carried", error, "error of {x}", x=value)
    bounds = (work.config.mu_min, work.config.mu_max)
    return _bounded(work, budget, float(value), bounds, "mu", "mu_clipped")
