"""The figures, by name, in the order in which a paper would show them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from gac_ref.errors import fail
from paper_figures.spec import PaperFigure
from simulations.registry import suggest

__all__ = ["FIGURES", "figure_named", "figures_named"]

FIGURES = (
    "risk_parabola",
    "mu_contributions",
    "guard_authority",
    "proxies_vs_oracles",
    "noise_regimes",
    "controllers_by_regime",
    "regime_switch",
    "sensitivity_indices",
    "convergence",
    "stability_map",
    "conformance_error",
    "claims_table",
)
"""Each is a module of :mod:`paper_figures.figures` with a constant ``FIGURE``."""


def figure_named(name: str) -> PaperFigure:
    """One figure.

    Raises:
        GACError: There is none of that name.

    Examples:
        >>> figure_named("risk_parabola").name
        'risk_parabola'
        >>> figure_named("risk_parabula")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: unknown figure 'risk_parabula'; did you mean 'risk_parabola'? \
known: risk_parabola, mu_contributions, guard_authority, proxies_vs_oracles, \
noise_regimes, controllers_by_regime, regime_switch, sensitivity_indices, convergence, \
stability_map, conformance_error, claims_table
    """
    if name not in FIGURES:
        fail(f"unknown figure {name!r}; {suggest(name, list(FIGURES))}")
    figure: PaperFigure = import_module(f"paper_figures.figures.{name}").FIGURE
    return figure


def figures_named(names: Sequence[str]) -> list[PaperFigure]:
    """Figures in the order of the catalog, each once; all for no names.

    Examples:
        >>> [figure.name for figure in figures_named(["stability_map", "risk_parabola"])]
        ['risk_parabola', 'stability_map']
    """
    for name in names:
        figure_named(name)
    return [figure_named(name) for name in FIGURES if name in names or not names]
