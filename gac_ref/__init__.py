"""GAC, the Guided Adaptive Controller: its golden reference in NumPy.

Data flows one way: a recording or a generator gives a :class:`Batch`, its :func:`proxies` go
through the closed form and the guards (:func:`update`), and out comes mu. Where a function has the
name of its module (`risk`, `proxies`, `authority`) the attribute of this package is the function;
the module is reached with ``from gac_ref.risk import ...``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gac_ref.authority import Authority, authority
from gac_ref.batch import Batch
from gac_ref.config import VARIANTS, GACConfig
from gac_ref.controller import GACInfo, init, update, update_from_proxies
from gac_ref.errors import GACError
from gac_ref.proxies import (
    Proxies,
    ProxySums,
    batch_kl,
    merge,
    partial_sums,
    proxies,
    proxies_from_sums,
)
from gac_ref.reductions import Moments, masked_mean, trimmed_variance
from gac_ref.risk import (
    Sensitivities,
    Shrinkage,
    bias_aware_minimiser,
    closed_form,
    correlated_closed_form,
    curvature,
    regret,
    risk,
    risk_from_vectors,
    sensitivities,
    shrinkage,
)
from gac_ref.state import GACState, load_state, save_state

if TYPE_CHECKING:
    from gac_ref import baselines
    from gac_ref.advantages import (
        CONVENTIONS,
        AdvantageConvention,
        group_advantages,
    )
    from gac_ref.alpha import (
        kl_alpha,
    )
    from gac_ref.bounds import (
        effective_noise,
        effective_noise_minimiser,
        triangle_bound,
        triangle_minimiser,
        young_bound,
        young_minimiser,
    )
    from gac_ref.coefficients import (
        phi,
    )
    from gac_ref.losses import (
        AGGREGATIONS,
        Aggregation,
        HybridLoss,
        Loss,
        aggregate,
        aggregation_count,
        aggregation_weights,
        clipped_surrogate_loss,
        hybrid_loss,
        sft_loss,
        sft_phi_loss,
    )
    from gac_ref.oracles import (
        GradientMoments,
        GradientOracle,
        TwoBatchSize,
        gradient_moments,
        gradient_oracle,
        oracle_from_moments,
        two_batch_size,
    )
    from gac_ref.schedules import (
        linear,
        warmup_cosine,
    )
    from gac_ref.simplex import (
        simplex_minimiser,
        simplex_risk,
    )
    from gac_ref.traces import (
        TraceReader,
        TraceStep,
        TraceWriter,
    )

__version__ = "0.1.0"

__all__ = [
    "AGGREGATIONS",
    "CONVENTIONS",
    "VARIANTS",
    "AdvantageConvention",
    "Aggregation",
    "Authority",
    "Batch",
    "GACConfig",
    "GACError",
    "GACInfo",
    "GACState",
    "GradientMoments",
    "GradientOracle",
    "HybridLoss",
    "Loss",
    "Moments",
    "Proxies",
    "ProxySums",
    "Sensitivities",
    "Shrinkage",
    "TraceReader",
    "TraceStep",
    "TraceWriter",
    "TwoBatchSize",
    "__version__",
    "aggregate",
    "aggregation_count",
    "aggregation_weights",
    "authority",
    "baselines",
    "batch_kl",
    "bias_aware_minimiser",
    "clipped_surrogate_loss",
    "closed_form",
    "correlated_closed_form",
    "curvature",
    "effective_noise",
    "effective_noise_minimiser",
    "gradient_moments",
    "gradient_oracle",
    "group_advantages",
    "hybrid_loss",
    "init",
    "kl_alpha",
    "linear",
    "load_state",
    "masked_mean",
    "merge",
    "oracle_from_moments",
    "partial_sums",
    "phi",
    "proxies",
    "proxies_from_sums",
    "regret",
    "risk",
    "risk_from_vectors",
    "save_state",
    "sensitivities",
    "sft_loss",
    "sft_phi_loss",
    "shrinkage",
    "simplex_minimiser",
    "simplex_risk",
    "triangle_bound",
    "triangle_minimiser",
    "trimmed_variance",
    "two_batch_size",
    "update",
    "update_from_proxies",
    "warmup_cosine",
    "young_bound",
    "young_minimiser",
]

# Imported when first used: the estimator should cost little more than NumPy to import.
_LAZY = {
    "advantages": (
        "CONVENTIONS",
        "AdvantageConvention",
        "group_advantages",
    ),
    "alpha": ("kl_alpha",),
    "bounds": (
        "effective_noise",
        "effective_noise_minimiser",
        "triangle_bound",
        "triangle_minimiser",
        "young_bound",
        "young_minimiser",
    ),
    "coefficients": ("phi",),
    "losses": (
        "AGGREGATIONS",
        "Aggregation",
        "HybridLoss",
        "Loss",
        "aggregate",
        "aggregation_count",
        "aggregation_weights",
        "clipped_surrogate_loss",
        "hybrid_loss",
        "sft_loss",
        "sft_phi_loss",
    ),
    "oracles": (
        "GradientMoments",
        "GradientOracle",
        "TwoBatchSize",
        "gradient_moments",
        "gradient_oracle",
        "oracle_from_moments",
        "two_batch_size",
    ),
    "schedules": (
        "linear",
        "warmup_cosine",
    ),
    "simplex": (
        "simplex_minimiser",
        "simplex_risk",
    ),
    "traces": (
        "TraceReader",
        "TraceStep",
        "TraceWriter",
    ),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "baselines":
        return import_module("gac_ref.baselines")
    if name in _HOME:
        return getattr(import_module(f"gac_ref.{_HOME[name]}"), name)
    raise AttributeError(f"module 'gac_ref' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
