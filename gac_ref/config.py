"""Every semantic choice of the controller, by name, with where its default comes from."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np

from gac_ref.errors import fail

__all__ = ["VARIANTS", "GACConfig"]


@dataclass(frozen=True, kw_only=True)
class GACConfig:
    r"""Hyperparameters and semantic choices of the Guided Adaptive Controller.

    ``GACConfig()`` is the variant `documented`: the method as its documents state it, with the
    safe answer where they are silent. :meth:`released` is the public PyTorch code v0.1.1 to the
    letter, :meth:`decoupled` is `documented` with the weight EMA fed by its own state.

    Sources of the defaults: [R] the released controller's constructor, [I] its integration
    example, [D] the method notes and paper, [O] ours, where neither says anything.

    Args:
        ema_beta: :math:`\beta` of the statistics EMA and of the weight EMA, in [0, 1). [R] 0.99.
        mu_min: Lower bound of the applied weight, in [0, 1]. [R] 0.05.
        mu_max: Upper bound of the applied weight, in [mu_min, 1]. [R] 0.9.
        init_mu: Applied weight before the first update, in [mu_min, mu_max]. [R] 0.5.
        mu_change_cap: Largest change of the applied weight in one step, > 0. [R] 0.01.
        blend_weight: :math:`\lambda`, the share of the adaptive weight in the prior blend, in
            [0, 1]. [I] 0.5 (the controller's own default is 1, which ignores the prior).
        mu_update_freq: Steps between two refreshes of the statistics, >= 1. [R] 10.
        trim_ratio: Share of the expert sequences dropped at each end of the sorted NLLs before
            their variance is taken, in [0, 0.5). [R] 0.1.
        alpha: Target ratio, the weight of the SFT gradient in the local target
            :math:`\alpha g_s + (1-\alpha) g_r`, in [0, 1]. [R] 0.5. The start value when
            `alpha_mode` is "kl".
        alpha_min: Lower bound of the KL-driven alpha, in [0, 1]. [D] 0.1.
        alpha_max: Upper bound of the KL-driven alpha, in [alpha_min, 1]. [D] 0.95.
        kl_target: KL to the reference policy (nats) at which alpha rests, > 0. [D] 0.02.
        kl_gain: Gain of the proportional rule for alpha, in [0, 1/0.2). [O] 0.1.
        eps: Floor of both variances; also the guard of the released denominator, >= 0. [R] 1e-8.
        mask_eps: Added to the token count in a masked mean, >= 0. [R] 1e-8.
        delta_g2_cap_ratio: The disagreement is capped at this multiple of
            ``sigma_s2 + sigma_r2 + eps``; 0 switches the cap off. [R] 0.
        prior: "warmup_cosine" or "none". [D] the CHORD schedule.
        prior_warmup: Steps of the linear warm-up, >= 0. [I] 200.
        prior_decay: Steps of the cosine decay, >= 0. [I] 800.
        prior_peak: Prior at the end of the warm-up, in [0, 1]. [I] 0.85.
        prior_valley: Prior after the decay, in [0, 1]. [I] 0.15.
        use_phi: Take :math:`\varphi(p) = p(1-p)` as the SFT coefficient, else 1. [R] True.
        coefficient_normalization: "zscore" normalises both coefficient streams over the batch
            [D]; "none" compares them as they are [R].
        disagreement_rows: "rollouts" compares the streams where both objectives live [D];
            "all" adds the expert rows, with an RL coefficient of 0 [R].
        weight_ema: What feeds the weight EMA: "applied", the mu of the last step after every
            guard [R, D]; "internal", its own last value; "off", nothing (no smoothing).
        missing_branch: A batch without response tokens of a branch holds that branch's
            statistic ("hold") [O]; or one without sequences of it feeds 0.0 in ("zero") [R].
        unseen_statistic: Before a statistic was ever seen there is no estimate: leave the weight
            EMA where it is, so that the prior alone guides ("hold") [O], or take 1 for the
            variances and 0 for the disagreement ("unit") [R].
        masking: Masked positions are never read ("select") [O], or multiplied by zero, which
            turns an infinity in the padding into NaN ("multiply") [R].
        flat_risk: The estimate where there is neither noise nor disagreement: "alpha" [O], or
            "zero", which adds eps to the denominator of the closed form everywhere [R].
        alpha_mode: "static", or "kl", driven by the KL to the reference policy. [R] static.

    Raises:
        GACError: A field is out of its range or not one of its choices.

    Examples:
        >>> GACConfig().coefficient_normalization
        'zscore'
        >>> GACConfig.released().coefficient_normalization
        'none'
        >>> GACConfig.decoupled(ema_beta=0.9).weight_ema
        'internal'

    References:
        Hu, Yu, Liu, Cheng, Song, "GAC: Noise-Aware Adaptive Mixing for Hybrid SFT-RL
        Post-Training", arXiv:2605.26184, sections 3.1-3.4; its public PyTorch code v0.1.1.
    """

    ema_beta: float = 0.99
    mu_min: float = 0.05
    mu_max: float = 0.9
    init_mu: float = 0.5
    mu_change_cap: float = 0.01
    blend_weight: float = 0.5
    mu_update_freq: int = 10
    trim_ratio: float = 0.1
    alpha: float = 0.5
    alpha_min: float = 0.1
    alpha_max: float = 0.95
    kl_target: float = 0.02
    kl_gain: float = 0.1
    eps: float = 1e-8
    mask_eps: float = 1e-8
    delta_g2_cap_ratio: float = 0.0
    prior: Literal["warmup_cosine", "none"] = "warmup_cosine"
    prior_warmup: int = 200
    prior_decay: int = 800
    prior_peak: float = 0.85
    prior_valley: float = 0.15
    use_phi: bool = True
    coefficient_normalization: Literal["none", "zscore"] = "zscore"
    disagreement_rows: Literal["all", "rollouts"] = "rollouts"
    weight_ema: Literal["applied", "internal", "off"] = "applied"
    missing_branch: Literal["zero", "hold"] = "hold"
    unseen_statistic: Literal["unit", "hold"] = "hold"
    masking: Literal["multiply", "select"] = "select"
    flat_risk: Literal["zero", "alpha"] = "alpha"
    alpha_mode: Literal["static", "kl"] = "static"

    def __new__(cls, **fields: Any) -> Self:
        """Refuse unknown fields with their name and the list of those that exist."""
        for name in fields:
            _require_field(name)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Validate every field; store numbers as plain ``float``, ``int`` and ``bool``."""
        for name, kind in _FIELD_TYPES.items():
            object.__setattr__(self, name, _coerce(name, kind, getattr(self, name)))
        for name, (inside, interval) in _RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and inside(value)):
                fail(f"{name} = {value!r} is outside {interval}; pass a value in that range")
        for low, high in (("mu_min", "mu_max"), ("alpha_min", "alpha_max")):
            a, b = getattr(self, low), getattr(self, high)
            if a > b:
                fail(f"{low} = {a!r} is above {high} = {b!r}; pass {low} <= {high}")
        if not self.mu_min <= self.init_mu <= self.mu_max:
            fail(
                f"init_mu = {self.init_mu!r} is outside [mu_min, mu_max] = "
                f"[{self.mu_min!r}, {self.mu_max!r}]; pass a value inside"
            )
        if self.alpha_mode == "kl" and not self.alpha_min <= self.alpha <= self.alpha_max:
            fail(
                f"alpha = {self.alpha!r} is outside [alpha_min, alpha_max] = "
                f"[{self.alpha_min!r}, {self.alpha_max!r}]; with alpha_mode = 'kl' it is the start "
                "value, so pass one inside"
            )

    @classmethod
    def documented(cls, **changes: Any) -> Self:
        """The method as documented, with safe answers where the documents are silent.

        Examples:
            >>> GACConfig.documented() == GACConfig()
            True
        """
        return cls._build({}, changes)

    @classmethod
    def released(cls, **changes: Any) -> Self:
        """The public PyTorch code v0.1.1 to the letter, as one process runs it in float64.

        What depends on the dtype or the process layout is not a choice of the estimator and has
        no field: with bfloat16 inputs that code counts tokens in bfloat16, over several ranks it
        reduces sigma_r2 only, and its v0.1.0 rounds mu to float32 twice a step.

        Examples:
            >>> GACConfig.released().missing_branch
            'zero'
        """
        return cls._build(_RELEASED, changes)

    @classmethod
    def decoupled(cls, **changes: Any) -> Self:
        """`documented` with the weight EMA fed by its own state instead of the applied weight.

        Examples:
            >>> GACConfig.decoupled() == GACConfig(weight_ema="internal")
            True
        """
        return cls._build({"weight_ema": "internal"}, changes)

    @classmethod
    def variant(cls, name: str, **changes: Any) -> Self:
        """One of the named variants: "documented", "released" or "decoupled".

        Raises:
            GACError: No variant has that name, or a change is invalid.

        Examples:
            >>> GACConfig.variant("released") == GACConfig.released()
            True
        """
        if name not in VARIANTS:
            fail(f"variant = {name!r} is not one of {', '.join(VARIANTS)}; pass one of these")
        build: Callable[..., Self] = getattr(cls, name)
        return build(**changes)

    @classmethod
    def _build(cls, base: Mapping[str, Any], changes: Mapping[str, Any]) -> Self:
        return cls(**{**base, **changes})

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again.

        Examples:
            >>> GACConfig().replace(alpha=0.3).alpha
            0.3
        """
        return self._build(self.to_dict(), changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary of JSON values; `from_dict` is its inverse.

        Examples:
            >>> GACConfig.from_dict(GACConfig.released().to_dict()) == GACConfig.released()
            True
        """
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """A configuration from `to_dict`'s form; missing fields take their default.

        Raises:
            GACError: An unknown field or an invalid value.

        Examples:
            >>> GACConfig.from_dict({"alpha": 0.25}).alpha
            0.25
        """
        if not isinstance(fields, Mapping):
            fail(f"config = {fields!r} is not an object of fields; pass {{name: value, ...}}")
        return cls(**fields)

    def with_settings(self, settings: Iterable[str]) -> Self:
        """A copy with ``"field=value"`` texts applied, each parsed by its field's type.

        Raises:
            GACError: A text without "=", an unknown field, or a value that does not parse.

        Examples:
            >>> config = GACConfig().with_settings(["alpha=0.3", "use_phi=false", "prior=none"])
            >>> config.alpha, config.use_phi, config.prior
            (0.3, False, 'none')
        """
        changes: dict[str, Any] = {}
        for text in settings:
            name, separator, value = (part.strip() for part in text.partition("="))
            if not separator:
                fail(f"setting {text!r} has no '='; write field=value")
            _require_field(name)
            changes[name] = _parse(name, value)
        return self.replace(**changes)


_RELEASED: dict[str, str] = {
    "coefficient_normalization": "none",
    "disagreement_rows": "all",
    "weight_ema": "applied",
    "missing_branch": "zero",
    "unseen_statistic": "unit",
    "masking": "multiply",
    "flat_risk": "zero",
}

VARIANTS: tuple[str, ...] = ("documented", "released", "decoupled")
"""The names that :meth:`GACConfig.variant` takes."""

# Annotations are not postponed in this module: resolving their text would take longer than all
# the rest of the import.
_FIELD_TYPES: dict[str, Any] = dict(GACConfig.__annotations__)

_UNIT = (lambda x: 0.0 <= x <= 1.0, "[0, 1]")
_POSITIVE = (lambda x: x > 0.0, "(0, inf)")
_NON_NEGATIVE = (lambda x: x >= 0.0, "[0, inf)")
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "ema_beta": (lambda x: 0.0 <= x < 1.0, "[0, 1)"),
    "mu_min": _UNIT,
    "mu_max": _UNIT,
    "init_mu": _UNIT,
    "mu_change_cap": _POSITIVE,
    "blend_weight": _UNIT,
    "mu_update_freq": (lambda x: x >= 1, "[1, inf)"),
    "trim_ratio": (lambda x: 0.0 <= x < 0.5, "[0, 0.5)"),
    "alpha": _UNIT,
    "alpha_min": _UNIT,
    "alpha_max": _UNIT,
    "kl_target": _POSITIVE,
    # e is clipped to [-0.2, 0.2]; a gain of 5 would let one step turn alpha to zero.
    "kl_gain": (lambda x: 0.0 <= x < 5.0, "[0, 5)"),
    "eps": _NON_NEGATIVE,
    "mask_eps": _NON_NEGATIVE,
    "delta_g2_cap_ratio": _NON_NEGATIVE,
    "prior_warmup": _NON_NEGATIVE,
    "prior_decay": _NON_NEGATIVE,
    "prior_peak": _UNIT,
    "prior_valley": _UNIT,
}


def _require_field(name: str) -> None:
    if name not in _FIELD_TYPES:
        fail(f"unknown config field {name!r}; the fields are {', '.join(_FIELD_TYPES)}")


def _coerce(name: str, kind: Any, value: Any) -> Any:
    """`value` as the plain Python type of its field; bool is not a number here."""
    choices = get_args(kind)
    if choices:
        if not isinstance(value, str) or value not in choices:
            options = ", ".join(map(repr, choices))
            fail(f"{name} = {value!r} is not one of {options}; pass one of these")
        return value
    if kind is bool:
        if isinstance(value, bool | np.bool_):
            return bool(value)
        fail(f"{name} = {value!r} is not a boolean; pass True or False")
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        number = float(value)
        if kind is int:
            if number != int(number):
                raise ValueError
            return int(value)
        return number
    except (TypeError, ValueError, OverflowError):
        wanted = "whole number" if kind is int else "number"
        fail(f"{name} = {value!r} is not a {wanted}; pass one")


def _parse(name: str, text: str) -> Any:
    """`text` as a value of field `name`; what does not parse is left to `_coerce` to refuse."""
    kind = _FIELD_TYPES[name]
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind in (int, float):
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                return text
    return text
