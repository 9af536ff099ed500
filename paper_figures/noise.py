"""The study of the noise regimes, with the controllers that a paper shows, as one saved result."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from simulations.analysis.question import Part, finite

__all__ = ["NAME", "SHOWN", "part", "regrets"]

NAME = "noise.regimes"

STUDY, SEEDS = "default", 64

SHOWN = (
    "gac_documented",
    "gac_decoupled",
    "gac_no_prior",
    "fixed_0.1",
    "sft_then_rl",
    "linear",
    "chord_mu",
    "kl_control",
    "sasr",
    "inverse_variance",
    "pcgrad",
)
"""Controllers of the study, as many as a reader tells apart in grey: MGDA's and IMTL-G's marks are
the inverse variance's there. GAC as released is not among them: without tokens it reads the same
statistics as the documented one and has the same guards, and so the same weights."""


def regrets(declaration: Mapping[str, Any]) -> dict[str, AnyArray]:
    """Run a declared study from nothing, into a folder that is thrown away.

    Args:
        declaration: The study's tree.

    Returns:
        ``regret`` [R, C, seeds] in squared gradient, the names of ``controllers`` [C] and of
        ``regimes`` [R].

    Examples:
        >>> found = regrets({"name": "tiny", "problem": {"kind": "noisy_quadratic"},
        ...                  "controllers": {"fixed": {"kind": "fixed"}},
        ...                  "run": {"horizon": 20, "seeds": 3}})
        >>> found["regret"].shape
        (1, 1, 3)
    """
    from simulations.sweeps.run import run_study
    from simulations.sweeps.store import Store
    from simulations.sweeps.study import Study
    from simulations.sweeps.summary import read_point

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        points = run_study(Study.from_tree(declaration, NAME), store)
        values = [read_point(point, store) for point in points]
    return {
        "regret": finite(np.stack([each.metrics["regret"] for each in values]), NAME),
        "controllers": np.array(values[0].controllers),
        "regimes": np.array([point.label for point in points]),
    }


@cache
def part() -> Part:
    """The study as a saved part."""
    from simulations.sweeps.study import find_study

    study = find_study(STUDY).keeping("controllers", ",".join(SHOWN))
    declaration = study.with_settings([f"seeds={SEEDS}"]).to_tree()
    return Part(NAME, regrets, {"declaration": declaration})
