"""The stages of one controller step, in data-flow order: what each takes and what each returns.

This table is the whole vocabulary between the suite and a port. Names are unique over all stages,
so that a port may report everything that it knows as one flat mapping; values that a step reads
from the step before are called ``previous_*``, and the proxies of one batch ``proxy_*``, to tell
them from the smoothed statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from gac_ref.errors import fail

__all__ = ["BATCH", "PIPELINE", "STAGES", "STATE", "Field", "Stage", "stage_named"]

Kind = Literal["token", "real", "flag", "count", "text"]
Rows = Literal["all", "response", "experts", "rollouts", "compared"]


class Field(NamedTuple):
    """One named value that goes into a stage or comes out of it.

    Args:
        name: Unique over all stages.
        shape: Symbols of the axes, B sequences and T tokens; () for a scalar.
        kind: "token", floats in the dtype under test; "real", floats in the port's arithmetic,
            handed over as float64; "flag", booleans; "count", integers; "text".
        doc: What it is, with its unit.
        rows: Which entries mean something, and so are compared: "all"; the "response" tokens;
            the rows of "experts" or of "rollouts"; or the rows "compared" by the disagreement
            (rollouts, or all of them: `disagreement_rows`).
        optional: May be absent from the inputs.

    Examples:
        >>> STAGES["clip"].outputs[0].name
        'mu'
    """

    name: str
    shape: tuple[str, ...]
    kind: Kind
    doc: str
    rows: Rows = "all"
    optional: bool = False


class Stage(NamedTuple):
    """A stage: its name, its inputs and outputs, and what it computes."""

    name: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    doc: str

    def output(self, name: str) -> Field:
        """The output of that name."""
        for field in self.outputs:
            if field.name == name:
                return field
        fail(f"stage {self.name} has no output {name!r}; it returns {', '.join(self.output_names)}")

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(field.name for field in self.outputs)


_ROW, _TOKEN = ("B",), ("B", "T")

_LOGPROB = Field("logprob", _TOKEN, "token", "log-probability of each token, nats")
_MASK = Field("response_mask", _TOKEN, "flag", "which positions are response tokens")
_ADVANTAGES = Field("advantages", _TOKEN, "token", "advantages, [B, T] or one a sequence [B]")
_IS_EXPERT = Field("is_expert", _ROW, "flag", "demonstration (True) or rollout (False)")
_STEP = Field("step", (), "count", "the optimiser step, from 0")

BATCH: tuple[Field, ...] = (
    _LOGPROB,
    _MASK,
    _ADVANTAGES,
    _IS_EXPERT,
    Field("ref_logprob", _TOKEN, "token", "reference log-probability, nats", optional=True),
    Field("batch_kl", (), "real", "KL to the reference policy, nats a token", optional=True),
)
"""A training batch."""

STATE: tuple[Field, ...] = (
    Field("previous_mu", (), "real", "the weight applied at the last step"),
    Field("previous_mu_ada", (), "real", "the weight EMA's last value"),
    Field("previous_alpha", (), "real", "the target ratio of the last step"),
    Field("previous_sigma_s2", (), "real", "smoothed SFT noise; 0 while its count is 0"),
    Field("previous_sigma_r2", (), "real", "smoothed RL noise; 0 while its count is 0"),
    Field("previous_delta_g2", (), "real", "smoothed disagreement; 0 while its count is 0"),
    Field("previous_count_s", (), "count", "refreshes that fed sigma_s2"),
    Field("previous_count_r", (), "count", "refreshes that fed sigma_r2"),
    Field("previous_count_delta", (), "count", "refreshes that fed delta_g2"),
    Field("previous_last_refresh", (), "count", "step of the last refresh; -1 before any"),
)
"""What a step reads from the step before it."""

_STATE = {field.name: field for field in STATE}

_COEFFICIENTS = (
    Field("c_s", _TOKEN, "real", "SFT coefficient, -phi(p) or -1", "response"),
    Field("c_r", _TOKEN, "real", "RL coefficient, -A; 0 on expert rows", "response"),
)
_SEQUENCES = (
    Field("tokens", _ROW, "count", "response tokens"),
    Field("nll", _ROW, "real", "masked mean NLL, nats", "experts"),
    Field("advantage", _ROW, "real", "masked mean advantage", "rollouts"),
    Field(
        "disagreement",
        _ROW,
        "real",
        "masked mean of (c_s - c_r)^2, after z-normalisation where it is on",
        "compared",
    ),
    Field("sft_stream_constant", (), "flag", "the SFT coefficients have no spread"),
    Field("rl_stream_constant", (), "flag", "the advantages have no spread"),
    Field("kl", (), "real", "KL to the reference on the rollouts, nats a token; NaN if unknown"),
)
_PROXIES = (
    Field("proxy_sigma_s2", (), "real", "trimmed variance of the NLLs, nats^2; 0 if missing"),
    Field("proxy_sigma_r2", (), "real", "variance of the advantages; 0 if missing"),
    Field("proxy_delta_g2", (), "real", "mean disagreement; 0 if missing"),
    Field("has_s", (), "flag", "the batch measures sigma_s2"),
    Field("has_r", (), "flag", "the batch measures sigma_r2"),
    Field("has_delta", (), "flag", "the batch measures delta_g2"),
    Field("sigma_s2_floored", (), "flag", "the floor eps acted on sigma_s2"),
    Field("sigma_r2_floored", (), "flag", "the floor eps acted on sigma_r2"),
)
_SMOOTHED = (
    Field("sigma_s2", (), "real", "smoothed SFT noise, as used"),
    Field("sigma_r2", (), "real", "smoothed RL noise, as used"),
    Field("delta_g2", (), "real", "smoothed disagreement, as used"),
    Field("count_s", (), "count", "refreshes that fed sigma_s2"),
    Field("count_r", (), "count", "refreshes that fed sigma_r2"),
    Field("count_delta", (), "count", "refreshes that fed delta_g2"),
    Field("last_refresh", (), "count", "step of the last refresh"),
    Field("not_ready", (), "flag", "a statistic was never seen"),
)
_ALPHA = Field("alpha", (), "real", "the target ratio")
_NOT_READY = Field("not_ready", (), "flag", "a statistic was never seen")
_MU_RAW = Field("mu_raw", (), "real", "the closed form")
_MU_ADA = Field("mu_ada", (), "real", "after the weight EMA and its clip")
_MU_CANDIDATE = Field("mu_candidate", (), "real", "after the prior blend")
_MU_CAPPED = Field("mu_capped", (), "real", "after the change cap")
_MU = Field("mu", (), "real", "the weight to apply")


def _with(*names: str) -> tuple[Field, ...]:
    return tuple(_STATE[name] for name in names)


_SIDE = (
    Stage(
        "advantages",
        (
            Field("rewards", _ROW, "real", "reward of each sequence"),
            Field("group_ids", _ROW, "count", "prompt group of each sequence"),
            _IS_EXPERT,
            Field("convention", (), "text", "a name in gac_ref.CONVENTIONS"),
        ),
        (Field("group_advantages", _ROW, "real", "group-relative advantage"),),
        "group-relative advantages under a named convention",
    ),
    Stage(
        "loss",
        (
            _LOGPROB,
            _MASK,
            _IS_EXPERT,
            Field("old_logprob", _TOKEN, "token", "sampling-policy log-probability, nats"),
            _ADVANTAGES,
            Field("mu", (), "real", "weight of the SFT branch"),
            Field("clip_low", (), "real", "lower clip width of the ratio"),
            Field("clip_high", (), "real", "upper clip width of the ratio"),
            Field("sft", (), "text", "nll or phi"),
            Field("rl_aggregation", (), "text", "a name in gac_ref.AGGREGATIONS"),
            Field("sft_aggregation", (), "text", "a name in gac_ref.AGGREGATIONS"),
            Field("rl_normalizer", (), "real", "the whole batch's count over its rollouts"),
            Field("sft_normalizer", (), "real", "the whole batch's count over its experts"),
        ),
        (
            Field("loss_value", (), "real", "the hybrid loss"),
            Field("loss_grad", _TOKEN, "real", "d loss / d logprob; 0 at masked positions"),
        ),
        "the hybrid loss and its gradient",
    ),
)

_STAGES = (
    Stage("transport", BATCH, BATCH, "the batch, echoed as the port received it, to the bit"),
    Stage("coefficients", BATCH[:4], _COEFFICIENTS, "the coefficient streams"),
    Stage("sequences", (*BATCH, *_COEFFICIENTS), _SEQUENCES, "one number a sequence"),
    Stage("proxies", (*_SEQUENCES[:4], _IS_EXPERT), _PROXIES, "the three proxies of the batch"),
    Stage(
        "statistics_ema",
        (*_PROXIES[:6], *_with(*(f.name for f in STATE[3:])), _STEP),
        _SMOOTHED,
        "the statistics EMA, where a refresh is due",
    ),
    Stage(
        "alpha",
        (*_with("previous_alpha"), _SEQUENCES[-1]),
        (_ALPHA, Field("alpha_clipped", (), "flag", "a bound of alpha acted")),
        "static, or driven by the KL",
    ),
    Stage(
        "closed_form",
        (*_SMOOTHED[:3], _ALPHA),
        (
            Field("delta_g2_capped", (), "real", "the disagreement after its cap"),
            _MU_RAW,
            Field("disagreement_capped", (), "flag", "the cap of the disagreement acted"),
            Field("flat_risk", (), "flag", "the risk is flat"),
        ),
        "the disagreement cap and the closed form",
    ),
    Stage(
        "weight_ema",
        (*_with("previous_mu", "previous_mu_ada"), _MU_RAW, _NOT_READY),
        (_MU_ADA, Field("mu_ada_clipped", (), "flag", "a bound acted on the weight EMA")),
        "the weight EMA and its clip; unmoved where not ready and held",
    ),
    Stage(
        "prior_blend",
        (_MU_ADA, _STEP),
        (Field("prior", (), "real", "the schedule prior; NaN without one"), _MU_CANDIDATE),
        "the prior at this step, and the blend",
    ),
    Stage(
        "change_cap",
        (_MU_CANDIDATE, *_with("previous_mu")),
        (_MU_CAPPED, Field("change_capped", (), "flag", "the cap of the change acted")),
        "the largest change of a step",
    ),
    Stage(
        "clip",
        (_MU_CAPPED,),
        (_MU, Field("mu_clipped", (), "flag", "a bound of mu acted")),
        "the bounds of mu",
    ),
)

PIPELINE: tuple[str, ...] = tuple(stage.name for stage in _STAGES)
"""The stages of one step, in order; a fault in one shows in those after it."""

_WHOLE = (
    Stage(
        "step",
        (*BATCH, *STATE, _STEP),
        (_MU,),
        "one whole step from a given state; a port may report any output of the pipeline with mu",
    ),
    Stage(
        "trajectory",
        (*BATCH, _STEP),
        (_MU,),
        "one step on from the port's own state, since `reset`; outputs as for step",
    ),
)

STAGES: Mapping[str, Stage] = MappingProxyType(
    {stage.name: stage for stage in (*_STAGES, *_WHOLE, *_SIDE)}
)
"""Every stage by name: the pipeline, the whole step, a step of a trajectory, and the two that
stand beside the controller, advantages and loss."""


def stage_named(name: str) -> Stage:
    """The stage of that name.

    Raises:
        GACError: There is none.

    Examples:
        >>> stage_named("clip").output_names
        ('mu', 'mu_clipped')
    """
    if name not in STAGES:
        fail(f"unknown stage {name!r}; the stages are {', '.join(STAGES)}")
    return STAGES[name]
