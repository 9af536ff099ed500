"""Faults in the hybrid loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import WIDE_ONLY, fault
from gac_ref.losses import AGGREGATIONS

__all__ = ["FAULTS"]

_fault = partial(fault, "loss")
Values = Any
Terms = tuple[AnyArray, AnyArray]


def _sft(change: Callable[[Model, Values, AnyArray, AnyArray], Terms]) -> dict[str, Any]:
    return {"sft_terms": lambda s, v: change(s, v, *Model.sft_terms(s, v))}


def _rl(change: Callable[[Model, Values, AnyArray, AnyArray], Terms]) -> dict[str, Any]:
    return {"rl_terms": lambda s, v: change(s, v, *Model.rl_terms(s, v))}


def _inputs(change: Callable[[Model, Values], dict[str, Any]]) -> dict[str, Any]:
    """The loss of other inputs."""
    return {"loss": lambda s, v: Model.loss(s, {**v, **change(s, v)})}


def _outputs(change: Callable[[Model, Values, dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    def loss(port: Model, v: Values) -> dict[str, Any]:
        outputs = Model.loss(port, v)
        return {**outputs, **change(port, v, outputs)}

    return {"loss": loss}


def _own_count(port: Model, v: Values, branch: str, mask: AnyArray) -> float:
    """This micro-batch's own count: the mean of means is not the mean."""
    unit = AGGREGATIONS[v[f"{branch}_aggregation"]].unit
    counts = {"tokens": mask.sum(), "nonempty_sequences": mask.any(axis=-1).sum()}
    if unit in counts:
        return float(counts[unit])
    return Model.normalizer(port, v, branch, mask)


def _unclipped(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    plain = -port.token_advantages(v) * port.ratio(v)
    return plain, plain


def _hard_clip(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    """The ratio is clipped on both sides, whatever the sign of the advantage."""
    ratio = port.ratio(v)
    low, high = 1.0 - v["clip_low"], 1.0 + v["clip_high"]
    gain = port.token_advantages(v)
    inside = (low <= ratio) & (ratio <= high)
    return -gain * np.clip(ratio, low, high), np.where(inside, -gain * ratio, 0.0)


def _optimistic(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    """The minimum of the losses, not the maximum: the clip acts on the wrong side."""
    ratio, gain = port.ratio(v), port.token_advantages(v)
    low, high = 1.0 - v["clip_low"], 1.0 + v["clip_high"]
    plain, bounded = -gain * ratio, -gain * np.clip(ratio, low, high)
    acts = bounded < plain
    return np.minimum(plain, bounded), np.where(acts, 0.0, plain)


def _straight_through(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    return loss, -port.token_advantages(v) * port.ratio(v)


def _policy_gradient(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    gain = port.token_advantages(v)
    return -gain * v["logprob"], -gain


def _value_slope(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    return loss, loss


def _attached(port: Model, v: Values, loss: AnyArray, slope: AnyArray) -> Terms:
    if v["sft"] != "phi":
        return loss, slope
    p = np.exp(v["logprob"])
    return loss, slope - p * (1.0 - 2.0 * p) * v["logprob"]


def _halved(port: Model, mu: Any, rl: Any, sft: Any) -> Any:
    return 0.5 * rl + 0.5 * sft


def _gradient_only(change: Callable[[Values, AnyArray], AnyArray]) -> dict[str, Any]:
    return _outputs(lambda s, v, out: {"loss_grad": change(v, out["loss_grad"])})


def _experts(v: Values) -> AnyArray:
    return np.asarray(v["is_expert"][:, None])


def _multiplied(port: Model, x: AnyArray, mask: AnyArray) -> AnyArray:
    return np.asarray(x * mask.astype(x.dtype))


def _half(port: Model, weights: AnyArray, terms: AnyArray, mask: AnyArray) -> Any:
    """A running sum in float16."""
    total = np.float16(0.0)
    for term in port.chosen(weights * terms, mask).reshape(-1):
        total = np.float16(total + np.float16(term))
    return port.wide(total)


FAULTS = (
    _fault("mean of means", "Each micro-batch is divided by its own count (verl, issue 7200).",
           normalizer=_own_count),
    _fault("normaliser counted twice", "The sum is divided by the count, then again (TRL, 5619).",
           normalizer=lambda s, v, branch, mask: Model.normalizer(s, v, branch, mask) ** 2),
    _fault("normalisers of the branches swapped", "SFT by the rollouts' count, and back.",
           normalizer=lambda s, v, branch, mask: Model.normalizer(
               s, v, "rl" if branch == "sft" else "sft", mask)),
    _fault("one normaliser for both branches", "The sum of the counts.",
           normalizer=lambda s, v, branch, mask: float(v["rl_normalizer"] + v["sft_normalizer"])),
    _fault("no normaliser", "Sums, not means.", normalizer=lambda s, v, branch, mask: 1.0),
    _fault("rows not averaged", "Row means are left out where they are asked for.",
           row_weight=lambda s, rule, n: np.ones(len(n))),
    _fault("rows always averaged", "Row means where row sums are asked for.",
           row_weight=lambda s, rule, n: 1.0 / np.maximum(n, 1)),
    _fault("row eps of 1e-3", "Another constant.",
           row_weight=lambda s, rule, n: Model.row_weight(s, rule, n) if not rule.row_mean
           else 1.0 / (n + 1e-3)),
    _fault("row eps left out", "Nothing is added to a row's count.", dtypes=WIDE_ONLY,
           reason="1e-8 of one token is below the rounding of float32",
           row_weight=lambda s, rule, n: Model.row_weight(s, rule, n) if not rule.row_mean
           else 1.0 / np.maximum(n, 1)),
    _fault("aggregations of the branches swapped", "SFT by the RL rule, and back.",
           **_inputs(lambda s, v: {"rl_aggregation": v["sft_aggregation"],
                                   "sft_aggregation": v["rl_aggregation"]})),
    _fault("ratio clip missing", "The plain importance-weighted objective.", **_rl(_unclipped)),
    _fault("clip on both sides", "The ratio is clipped whatever the advantage.", **_rl(_hard_clip)),
    _fault("clip wrong side", "The smaller of the two losses.", **_rl(_optimistic)),
    _fault("gradient through the clip", "The slope ignores that the clip acts.",
           **_rl(_straight_through)),
    _fault("gradient of the clipped loss", "Where the clip acts the slope is the loss.",
           **_rl(_value_slope)),
    _fault("clip widths swapped", "The lower for the upper.",
           **_inputs(lambda s, v: {"clip_low": v["clip_high"], "clip_high": v["clip_low"]})),
    _fault("one clip width", "The lower one on both sides.",
           **_inputs(lambda s, v: {"clip_high": v["clip_low"]})),
    _fault("clip width fixed at 0.2", "The arguments are not read.",
           **_inputs(lambda s, v: {"clip_low": s.real(0.2), "clip_high": s.real(0.2)})),
    _fault("ratio inverted", "old over new.", ratio=lambda s,
           v: np.exp(v["old_logprob"] - v["logprob"])),
    _fault("ratio not exponentiated", "1 + the log-ratio.",
           ratio=lambda s, v: 1.0 + v["logprob"] - v["old_logprob"]),
    _fault("ratio of probabilities of the current policy", "The old policy is not read.",
           ratio=lambda s, v: np.ones_like(v["logprob"])),
    _fault("sequence-level ratio", "The geometric mean over the row (GSPO).",
           ratio=lambda s, v: np.broadcast_to(np.exp(s.masked_mean(
               v["logprob"] - v["old_logprob"], v["response_mask"]))[:, None], v["logprob"].shape)),
    _fault("REINFORCE", "-A log p.", **_rl(_policy_gradient)),
    _fault("RL loss negated", "The advantage is minimised.", **_rl(lambda s, v, a, b: (-a, -b))),
    _fault("SFT loss negated", "The likelihood is minimised.", **_sft(lambda s, v, a, b: (-a, -b))),
    _fault("phi not detached", "The gradient goes through the weight (ms-swift, early versions).",
           **_sft(_attached)),
    _fault("phi missing in the loss", "Plain NLL where phi is asked for.",
           **_inputs(lambda s,
           v: {"sft": "nll"})),
    _fault("phi always in the loss", "phi where plain NLL is asked for.",
           **_inputs(lambda s, v: {"sft": "phi"})),
    _fault("phi in the value only", "The slope has no weight.",
           **_sft(lambda s, v, a, b: (a, -np.ones_like(b)))),
    _fault("phi in the slope only", "The value has no weight.",
           **_sft(lambda s, v, a, b: (-v["logprob"], b))),
    _fault("phi = p in the loss", "The weight is the probability.",
           loss_phi=lambda s, x: np.exp(x)),
    _fault("phi squared in the loss", "The weight enters twice.",
           loss_phi=lambda s, x: np.square(Model.loss_phi(s, x))),
    _fault("SFT gradient by p", "The derivative is taken with respect to p.",
           **_sft(lambda s, v, a, b: (a, b * np.exp(-v["logprob"])))),
    _fault("gradient lacks mu", "The branches' gradients are added unweighted.",
           **_outputs(lambda s, v, out: {"loss_grad": out["loss_grad"] / np.where(
               _experts(v), v["mu"] or 1.0, 1.0 - v["mu"] or 1.0)})),
    _fault("value lacks mu", "The branches' values are averaged.",
           **_outputs(lambda s, v, out: {"loss_value": Model.loss(
               s, {**v, "mu": s.real(0.5)})["loss_value"]})),
    _fault("mu of the wrong branch", "mu weights RL.",
           mixed=lambda s, mu, rl, sft: Model.mixed(s, mu, sft, rl)),
    _fault("RL not weighted", "RL + mu SFT.", mixed=lambda s, mu, rl, sft: rl + mu * sft),
    _fault("SFT not weighted", "(1 - mu) RL + SFT.",
           mixed=lambda s, mu, rl, sft: (s.wide(1.0) - mu) * rl + sft),
    _fault("mu not read", "Half and half.", mixed=_halved),
    _fault("mu as a switch", "The larger weight takes all (Unify-Post-Training, issue 7).",
           mixed=lambda s, mu, rl, sft: sft if mu > 0.5 else rl),
    _fault("mu in bfloat16", "The weight is rounded to bfloat16.",
           mixed=lambda s, mu, rl, sft: Model.mixed(
               s, s.wide((np.float32(mu).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)),
               rl, sft)),
    _fault("mask ignored in the loss", "The padding counts.",
           loss_mask=lambda s, v: np.ones_like(v["response_mask"])),
    _fault("masked NaN", "The padding is multiplied by zero (verl, pull request 6349).",
           chosen=_multiplied),
    _fault("gradient at masked positions", "The mask is not applied to the slopes.",
           **_gradient_only(lambda v, g: np.where(v["response_mask"], g, g.dtype.type(1e-3)))),
    _fault("demonstrations in the RL loss", "Every row is a rollout, too.",
           **_outputs(lambda s, v, out: {n: out[n] + x for n, x in Model.loss(
               s, {**v, "is_expert": np.zeros_like(v["is_expert"]),
                   "response_mask": v["response_mask"] & _experts(v)}).items()})),
    _fault("rollouts in the SFT loss", "Every row is a demonstration, too.",
           **_outputs(lambda s, v, out: {n: out[n] + x for n, x in Model.loss(
               s, {**v, "is_expert": np.ones_like(v["is_expert"]),
                   "response_mask": v["response_mask"] & ~_experts(v)}).items()})),
    _fault("SFT gradient missing", "The value is right, the gradient is of RL alone.",
           **_gradient_only(lambda v, g: np.where(_experts(v), g.dtype.type(0.0), g))),
    _fault("RL gradient missing", "The value is right, the gradient is of SFT alone.",
           **_gradient_only(lambda v, g: np.where(_experts(v), g, g.dtype.type(0.0)))),
    _fault("gradient negated", "Ascent for descent.", **_gradient_only(lambda v, g: -g)),
    _fault("gradient shifted by one token", "Labels and logits are not aligned.",
           **_gradient_only(lambda v, g: np.roll(g, 1, axis=1))),
    _fault("sequence advantages of the wrong rows", "One advantage a sequence, row order reversed.",
           **_inputs(lambda s, v: {"advantages": v["advantages"][::-1]
                                   if v["advantages"].ndim == 1 else v["advantages"]})),
    _fault("loss summed in float16", "A running sum in float16.", summed=_half),
    _fault("empty branch is NaN", "0 / 0 without demonstrations (LUFFY, issue 24).",
           **_outputs(lambda s, v, out: {} if v["is_expert"].any() else {
               "loss_value": s.wide("nan")})),
)  # fmt: skip
