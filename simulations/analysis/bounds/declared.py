"""What is computed and saved for this question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.bounds.clipped import clipped, measured_clipped
from simulations.analysis.bounds.independence import measured_price, price
from simulations.analysis.bounds.looseness import by_bias, by_dimension
from simulations.analysis.bounds.rules import costs, maps
from simulations.analysis.question import Part

__all__ = ["BY_NAME"]

NORMS = [1.0, 1.0, 4.0, 0.3, 1.0, 2.0]
"""sigma_s2, sigma_r2, delta_g2, alpha, beta_s, beta_r: biases of the size of everything else."""


def _dimension(**settings: Any) -> dict[str, AnyArray]:
    return by_dimension(**settings)._asdict()


def _bias(
    norms: Sequence[float], mu: float, squares: Sequence[float], correlations: Sequence[float]
) -> dict[str, AnyArray]:
    sizes = _log_spaced(squares) ** 0.5
    return {**by_bias(norms, mu, sizes.tolist(), correlations)._asdict(), "sizes": sizes}


def _rules(settings: int, seed: int) -> dict[str, AnyArray]:
    return costs(settings, seed)._asdict()


def _maps(
    biases: Sequence[float], disagreements: Sequence[float], alpha: float, noise_ratio: float
) -> dict[str, AnyArray]:
    beta2, gap = _log_spaced(biases), _log_spaced(disagreements)
    found = maps(np.sqrt(beta2).tolist(), gap.tolist(), alpha, noise_ratio)
    return {**found._asdict(), "beta2": beta2, "delta_g2": gap}


def _independence(
    noise_ratios: Sequence[float],
    gaps: Sequence[float],
    alpha: float,
    points: int,
    checked: Mapping[str, Any],
) -> dict[str, AnyArray]:
    """Exact lines over the correlation, and measurements at some of its values."""
    rho = np.linspace(-0.95, 0.95, points)
    ratio, gap = np.asarray(noise_ratios)[None, :, None], np.asarray(gaps)[:, None, None]
    found = price(ratio, rho, gap, alpha)
    sampled = dict(checked)
    correlations = sampled.pop("correlations")
    measured = [
        [measured_price(k, c, gaps[0], alpha, **sampled) for c in correlations]
        for k in noise_ratios
    ]
    at = price(ratio[0], np.asarray(correlations), gaps[0], alpha)
    return {
        **found._asdict(),
        "rho": rho,
        "checked": np.asarray(correlations),
        "checked_free": at.free,
        "measured": np.array(measured)[..., 0],
        "error": np.array(measured)[..., 1],
    }


def _clipping(
    thresholds: Sequence[float], checked: Sequence[float], draws: int, seed: int, **branches: Any
) -> dict[str, AnyArray]:
    """Exact curves over the threshold, and measurements at some of them."""
    levels = _log_spaced(thresholds)
    mean, error = measured_clipped(checked, **branches, draws=draws, seed=seed)
    return {
        **clipped(levels.tolist(), **branches)._asdict(),
        "thresholds": levels,
        "checked": np.asarray(checked),
        "checked_blind": clipped(checked, **branches).blind,
        "measured": mean,
        "error": error,
    }


def _log_spaced(ends: Sequence[float]) -> FloatArray:
    """From two exponents of ten and a number of points."""
    low, high, points = ends
    return np.asarray(np.logspace(low, high, int(points)))


def _part(name: str, compute: Callable[..., dict[str, AnyArray]], **settings: Any) -> Part:
    return Part(f"bounds.{name}", compute, settings)


BY_NAME = {
    part.name.rpartition(".")[2]: part
    for part in (
        _part(
            "dimension",
            _dimension,
            norms=NORMS,
            mu=0.7,
            dimensions=[1, 2, 4, 16, 64, 256, 1024],
            draws=4000,
            seed=0,
        ),
        _part(
            "bias",
            _bias,
            norms=NORMS,
            mu=0.7,
            squares=[-3.0, 3.0, 61],
            correlations=[0.0, 0.5, 0.9],
        ),
        _part("rules", _rules, settings=4096, seed=0),
        _part(
            "maps",
            _maps,
            biases=[-2, 2, 81],
            disagreements=[-2, 2, 81],
            alpha=0.5,
            noise_ratio=9.0,
        ),
        _part(
            "independence",
            _independence,
            noise_ratios=[1.0, 4.0, 16.0],
            gaps=[0.1, 1.0],
            alpha=0.5,
            points=77,
            checked={
                "correlations": [-0.8, -0.4, 0.4, 0.8],
                "dimension": 16,
                "draws": 20000,
                "seed": 0,
            },
        ),
        _part(
            "clipping",
            _clipping,
            thresholds=[-1.5, 1.5, 61],
            checked=[0.1, 0.3, 1.0, 3.0, 10.0],
            draws=20000,
            seed=0,
            dimension=16,
            angle=1.0471975511965976,
            sigma_s2=1.0,
            sigma_r2=9.0,
            alpha=0.5,
        ),
    )
}
"""The parts by the last part of their names."""
