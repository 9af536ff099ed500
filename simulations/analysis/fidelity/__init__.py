"""Fidelity: what the affordable proxies say about the true noise and disagreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.analysis.fidelity import exact, recorded
from simulations.analysis.question import Part, Section
from simulations.recording.study.store import study_digest

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["name", "parts", "section", "title"]

name = "fidelity"
title = "Do the proxies follow the noise and the disagreement that they stand for?"

MODELS: dict[str, dict[str, object]] = {"bandit": {}, "token_policy": {}, "mlp": {}}


def parts() -> tuple[Part, ...]:
    """Exact models along runs and at random points, the shipped recording, the shipped study.

    Examples:
        >>> [part.name for part in parts()][0]
        'fidelity.training'
    """
    return (
        Part(
            "fidelity.training",
            exact.training,
            {
                "models": MODELS,
                "seed": 0,
                "seeds": 16,
                "steps": 200,
                "every": 10,
                "draws": 16,
                "mu": 0.5,
                "learning_rate": 0.5,
            },
        ),
        Part(
            "fidelity.random",
            exact.random_points,
            {"models": MODELS, "seed": 1, "points": 256, "draws": 16, "start_spread": 1.0},
        ),
        Part("fidelity.recording", recorded.recording, {"seed": 0, "shuffles": 32}),
        Part("fidelity.study", recorded.study, {"results": study_digest()}),
    )


def section(results: Results) -> Section:
    """The answer, from saved results only."""
    from simulations.analysis.fidelity.answer import answer

    keys = ("training", "random", "recording", "study")
    return answer(title, dict(zip(keys, parts(), strict=True)), results)
