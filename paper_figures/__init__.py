"""Figures and tables that go into a paper unchanged, built from saved results.

``python -m paper_figures`` builds all of them. A figure is a module of
:mod:`paper_figures.figures`; its colours come from :mod:`simulations.analysis.palette`, its size
from :mod:`paper_figures.venues`.
"""
