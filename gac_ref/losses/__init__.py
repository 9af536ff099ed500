"""Hybrid post-training losses: value and analytic derivative, with every named aggregation."""

from __future__ import annotations

from gac_ref.losses._tokens import Loss
from gac_ref.losses.aggregation import (
    AGGREGATIONS,
    Aggregation,
    aggregate,
    aggregation_count,
    aggregation_weights,
)
from gac_ref.losses.hybrid import HybridLoss, hybrid_loss
from gac_ref.losses.terms import clipped_surrogate_loss, sft_loss, sft_phi_loss

__all__ = [
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
]
