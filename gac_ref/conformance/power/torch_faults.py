"""Faults planted in the source text of the torch port.

As for the estimator, "wiring" and "state" are the origins where every stage is right by itself
and the whole step is not.
"""

from __future__ import annotations

from gac_ref.conformance.power.planted import Plant, PlantedFault

__all__ = ["FAULTS", "PLANT"]

PLANT = Plant("torch", "gac_ref.ports.torch:adapter", ("ports/torch",))
"""The torch port."""

_HALF = ("fp16", "bf16")


def _rows(stage: str, file: str, *rows: tuple[str, str, str]) -> tuple[PlantedFault, ...]:
    return tuple(
        PlantedFault(name, stage, f"ports/torch/{file}.py", old, new) for name, old, new in rows
    )


FAULTS: tuple[PlantedFault, ...] = (
    *_rows(
        "coefficients",
        "tokens",
        ("phi with the sign lost", "return torch.exp(logprob) * torch.expm1(logprob), c_r",
         "return -torch.exp(logprob) * torch.expm1(logprob), c_r"),
        ("phi = 1 - p", "torch.exp(logprob) * torch.expm1(logprob)", "torch.expm1(logprob)"),
        ("phi of base 2", "torch.exp(logprob) *", "torch.exp2(logprob) *"),
        ("RL coefficient with the sign lost",
         "torch.where(batch.is_expert[:, None], 0.0, -advantages)",
         "torch.where(batch.is_expert[:, None], 0.0, advantages)"),
        ("experts keep their advantages", "torch.where(batch.is_expert, 0.0, -advantages)[:, None]",
         "(-advantages)[:, None]"),
        ("SFT coefficient of the wrong sign without phi", "torch.full_like(logprob, -1.0)",
         "torch.full_like(logprob, 1.0)"),
    ),
    *_rows(
        "sequences",
        "tokens",
        ("masked positions counted", '"tokens": mask.sum(dim=-1)}',
         '"tokens": torch.ones_like(mask).sum(dim=-1)}'),
        ("NLL without its minus", "nll = -(logprob * ones).sum(dim=-1)",
         "nll = (logprob * ones).sum(dim=-1)"),
        ("advantage with the coefficient's sign", "advantage = -(pivot_r.to(wide)",
         "advantage = (pivot_r.to(wide)"),
        ("pivot not multiplied by the count", "pivot_r.to(wide) * count +", "pivot_r.to(wide) +"),
        ("masking always multiplies", 'if config.masking == "select":', "if False:"),
        ("cross moment left out", '(centred_s * centred_r).sum', '(centred_s * 0.0).sum'),
        ("deviations not masked", "centred = (relative - shift[:, None]) * ones",
         "centred = relative - shift[:, None]"),
        ("row mean over the width", "shift = relative.sum(dim=-1) / count.clamp(min=1.0)",
         "shift = relative.sum(dim=-1) / relative.shape[1] / torch.ones_like(count)"),
        ("row mean forgets the pivot",
         "return pivot.to(count.dtype) + shift.to(count.dtype), centred",
         "return shift.to(count.dtype), centred"),
        ("sum of the streams", "difference = (c_s - c_r) * ones",
         "difference = (c_s + c_r) * ones"),
        ("absolute difference", "total = (difference * difference).sum(dim=-1)",
         "total = difference.abs().sum(dim=-1)"),
        ("masked mean off by one", "below = count + config.mask_eps", "below = count + 1.0"),
        ("KL without its linear term", "return (torch.expm1(d) - d).sum(dim=-1)",
         "return torch.expm1(d).sum(dim=-1)"),
        ("KL of the other direction", "d = torch.where(here, reference - inside, 0.0)",
         "d = torch.where(here, inside - reference, 0.0)"),
    ),
    *_rows(
        "sequences",
        "proxies",
        ("pooled mean by rows", "total(count * (x - x[0])) / weight for x in means",
         "total(x - x[0]) / len(x) for x in means"),
        ("spread with ddof 1", "weight = total(count) or 1.0",
         "weight = max(total(count) - 1.0, 1.0)"),
        ("spread within rows only", "math.sqrt(total(own + count * d * d) / weight)",
         "math.sqrt(total(own) / weight)"),
        ("cross term once", "- 2.0 * u_s * u_r *", "- 1.0 * u_s * u_r *"),
        ("offset of a row left out", "+ count * offset * offset\n", "+ 0.0 * offset\n"),
        ("disagreement over the wrong rows", 'if config.disagreement_rows == "all" else ~expert',
         'if config.disagreement_rows == "all" else expert'),
        ("constant streams too readily found", "SPREAD_RTOL = 2.0**-40", "SPREAD_RTOL = 0.5"),
    ),
    *_rows(
        "sequences",
        "controller",
        ("KL over the experts, too", 'rollouts = column["expert"] == 0.0',
         'rollouts = column["expert"] >= 0.0'),
        ("KL by the rows", "apart, 0.0)) / tokens", "apart, 0.0)) / len(count)"),
    ),
    *_rows(
        "proxies",
        "proxies",
        ("trimming on one side", "values.sort().values[dropped : n - dropped]",
         "values.sort().values[dropped:]"),
        ("trimming unsorted", "values.sort().values[dropped", "values[dropped"),
        ("trimming rounds", "int(n * trim_ratio) if n >= 4", "round(n * trim_ratio) if n >= 4"),
        ("trimming from three on", "if n >= 4 else 0", "if n >= 3 else 0"),
        ("sample variance", "return _mean(deviation * deviation)",
         "return total(deviation * deviation) / max(len(values) - 1, 1)"),
        ("second moment for variance", "deviation = values - _mean(values)", "deviation = values"),
        ("floor left out", "config.eps if floored_s else sigma_s2", "sigma_s2"),
        ("token-less branches present", 'config.missing_branch == "zero" else (tokens',
         'config.missing_branch != "" else (tokens'),
    ),
    *_rows(
        "statistics_ema",
        "guards",
        ("EMA with beta and its complement swapped",
         "return beta * previous + (1.0 - beta) * value",
         "return (1.0 - beta) * previous + beta * value"),
        ("EMA seeded by zero", "if count else value), count + 1", "), count + 1"),
        ("missing branch always held", 'if config.missing_branch == "hold":', "if True:"),
        ("missing branch always fed zero", 'if config.missing_branch == "hold":', "if False:"),
        ("refresh one step late", ">= config.mu_update_freq", "> config.mu_update_freq"),
        ("a negative disagreement enters", "0.0 if new.delta_g2 < 0.0 else new.delta_g2",
         "new.delta_g2"),
        ("stand-in of zero", "state.sigma_s2 if state.count_s > 0 else 1.0", "state.sigma_s2"),
        ("ready once any statistic is",
         "min(state.count_s, state.count_r, state.count_delta)",
         "max(state.count_s, state.count_r, state.count_delta)"),
    ),
    *_rows(
        "alpha",
        "guards",
        ("KL error unclipped", "clip(kl / config.kl_target - 1.0, -KL_ERROR_CLIP, KL_ERROR_CLIP)",
         "clip(kl / config.kl_target - 1.0, -9.0, 9.0)"),
        # One function bounds alpha, the weight EMA and mu; alpha comes first.
        ("upper bound left out", "if value > high:", "if False:"),
        ("KL gain of the wrong sign", "alpha * (1.0 + config.kl_gain * error)",
         "alpha * (1.0 - config.kl_gain * error)"),
    ),
    *_rows(
        "closed_form",
        "guards",
        ("alpha on the wrong side", "top, bottom = alpha * d + r, d + s + r",
         "top, bottom = (1.0 - alpha) * d + r, d + s + r"),
        ("SFT noise on top", "top, bottom = alpha * d + r, d + s + r",
         "top, bottom = alpha * d + s, d + s + r"),
        ("cap without eps", "config.delta_g2_cap_ratio * (s + r + config.eps)",
         "config.delta_g2_cap_ratio * (s + r)"),
        ("flat risk falls to zero", "return d, alpha, capped, flat", "return d, 0.0, capped, flat"),
        ("eps left out of the released form", "bottom += config.eps", "bottom += 0.0"),
    ),
    *_rows(
        "weight_ema",
        "guards",
        ("weight EMA fed by the applied weight",
         'previous = mu_ada if config.weight_ema == "internal" else mu', "previous = mu"),
        ("weight EMA moves while held", "    if hold:\n", "    if False:\n"),
        ("weight EMA never off", 'elif config.weight_ema == "off":', "elif False:"),
    ),
    *_rows(
        "prior_blend",
        "guards",
        ("blend with its weights swapped", "return prior, (1.0 - weight) * prior + weight * mu_ada",
         "return prior, weight * prior + (1.0 - weight) * mu_ada"),
        ("prior one step late", "since = step - config.prior_warmup",
         "step = max(step - 1, 0)\n    since = step - config.prior_warmup"),
        ("half a cosine too slow", "math.cos(math.pi *", "math.cos(0.5 * math.pi *"),
    ),
    *_rows(
        "change_cap",
        "guards",
        ("cap of the wrong sign", "return mu + math.copysign(", "return mu - math.copysign("),
        ("cap downwards only", "if abs(change) > config.mu_change_cap:",
         "if -change > config.mu_change_cap:"),
    ),
    *_rows(
        "wiring",
        "controller",
        ("clip before the cap",
         "limited, change_capped = guards.cap_change(config, candidate, state.mu)",
         "candidate = guards.clip(candidate, config.mu_min, 0.6)[0]\n"
         "    limited, change_capped = guards.cap_change(config, candidate, state.mu)"),
        ("blend of the raw estimate", "guards.prior_blend(config, mu_ada, step)",
         "guards.prior_blend(config, mu_raw, step)"),
        ("change capped against the weight EMA", "guards.cap_change(config, candidate, state.mu)",
         "guards.cap_change(config, candidate, state.mu_ada)"),
        ("closed form on the last alpha", "guards.closed_form(config, statistics, alpha)",
         "guards.closed_form(config, statistics, state.alpha)"),
        ("closed form on the unsmoothed noise", "statistics = guards.smoothed(state)",
         "statistics = guards.smoothed(\n"
         "        state if new is None else state._replace(sigma_s2=new.sigma_s2)\n    )"),
    ),
    *_rows(
        "state",
        "controller",
        ("weight EMA not kept", "_replace(mu=mu, mu_ada=mu_ada, alpha=alpha), info",
         "_replace(mu=mu, alpha=alpha), info"),
        ("alpha not kept", "_replace(mu=mu, mu_ada=mu_ada, alpha=alpha), info",
         "_replace(mu=mu, mu_ada=mu_ada), info"),
        ("weight kept from before the clip", "_replace(mu=mu, mu_ada=mu_ada, alpha=alpha), info",
         "_replace(mu=candidate, mu_ada=mu_ada, alpha=alpha), info"),
    ),
    *_rows(
        "advantages",
        "advantages",
        ("ddof ignored", "(self.members - ddof)", "self.members"),
        ("groups of one not raw", 'if rule.singleton == "raw":', "if False:"),
        ("eps left out", "(std[group] + rule.eps)", "std[group].clamp(min=1e-12)"),
        ("batch spread by group", 'if rule.spread == "batch":', "if False:"),
        ("demonstrations in the statistics",
         'if is_expert is not None and rule.experts != "pooled":',
         "if False:"),
        ("variance floor taken for a spread", "math.sqrt(rule.variance_floor)",
         "rule.variance_floor"),
    ),
    *_rows(
        "loss",
        "losses",
        ("branches swapped", "(1.0 - mu) * rl + mu * supervised",
         "mu * rl + (1.0 - mu) * supervised"),
        ("clips swapped", "torch.where(gain < 0.0, below, above)",
         "torch.where(gain < 0.0, above, below)"),
        ("ratio inverted", "shift = torch.where(on_rollouts, tokens - old, 0.0)",
         "shift = torch.where(on_rollouts, old - tokens, 0.0)"),
        ("phi attached", "fixed = tokens.detach()", "fixed = tokens"),
        ("row weight over the width", "row = 1.0 / (mask.sum(dim=-1)",
         "row = 1.0 / (torch.ones_like(mask).sum(dim=-1)"),
        ("normaliser ignored", "if normalizer is None:", "if True:"),
        ("NaN in the padding reaches the loss",
         "tokens = torch.where(inside, logprob.to(dtype), 0.0)", "tokens = logprob.to(dtype)"),
    ),
)  # fmt: skip
"""Each with the stage that a check should name."""

FAULTS += (
    PlantedFault(
        "bfloat16 by way of float16",
        "transport",
        "ports/torch/port.py",
        "torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)",
        "torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).half().bfloat16()",
        ("bf16",),
        "the others do not come as integers",
    ),
    PlantedFault(
        "tokens summed in the dtype of the inputs",
        "coefficients",
        "ports/torch/batch.py",
        "return torch.float64 if wide else torch.float32",
        "return tensors[0].dtype",
        _HALF,
        "fp64 and fp32 are computed in their own dtype anyway",
    ),
    PlantedFault(
        "tokens of float64 in float32",
        "coefficients",
        "ports/torch/batch.py",
        "return torch.float64 if wide else torch.float32",
        "return torch.float32",
        ("fp64",),
        "the others are computed in float32 anyway",
    ),
)
