"""Saved results: one file a part, named by what was asked, read back or refused.

OUT/QUESTION.PART-HASH.npz    the arrays, the settings, and what computed them
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.errors import GACError, fail
from simulations.analysis.question import Part
from simulations.arguments import RESULTS
from simulations.sweeps.cell import cell_name
from simulations.sweeps.files import Damaged, read_arrays, write_arrays
from simulations.sweeps.provenance import computed_with, digest_of

__all__ = ["Results", "compute_parts", "sound"]

SCHEMA = "gac-analysis-part/1"
"""Raised whenever the same settings would give other numbers."""


class Results:
    """A folder of saved parts.

    Args:
        root: The folder; made when first written to.

    Examples:
        >>> import tempfile
        >>> part = Part("example.square", lambda x: {"square": np.array(x * x)}, {"x": 3})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = Results(folder)
        ...     results.write(part, part.compute(**part.settings))
        ...     int(results.read(part)["square"])
        9
    """

    def __init__(self, root: str | os.PathLike[str] = RESULTS) -> None:
        self.root = Path(root)

    def path(self, part: Part) -> Path:
        """Where a part lies; other settings, another file."""
        return self.root / f"{part.name}-{cell_name(_configuration(part))[:12]}.npz"

    def has(self, part: Part) -> bool:
        """Whether it was computed (the file may be damaged)."""
        return self.path(part).is_file()

    def read(self, part: Part) -> dict[str, AnyArray]:
        """The arrays of a part.

        Raises:
            GACError: It was not computed, or its file is damaged.
        """
        path = self.path(part)
        if not path.is_file():
            fail(
                f"{path}: missing; compute it with: python -m simulations analyse {part.name}"
                f"{self._out}"
            )
        try:
            arrays = read_arrays(path)
            named = json.loads(str(arrays.pop("configuration")))
        except (Damaged, KeyError, ValueError) as error:
            raise GACError(f"{path}: damaged ({error}); run: {part.command}{self._out}") from error
        if named != json.loads(json.dumps(_configuration(part))):
            fail(f"{path}: holds other settings than its name says; run: {part.command}{self._out}")
        arrays.pop("computed_with")
        return arrays

    def computed_with(self, part: Part) -> dict[str, str]:
        """Code and versions that computed a part."""
        try:
            found = json.loads(str(read_arrays(self.path(part))["computed_with"]))
        except (Damaged, KeyError, ValueError) as error:
            raise GACError(f"{self.path(part)}: damaged ({error}); run: {part.command}") from error
        return {str(name): str(value) for name, value in found.items()}

    def write(self, part: Part, arrays: Mapping[str, AnyArray]) -> None:
        """Save a part, whole or not at all.

        Raises:
            GACError: The folder cannot be written.
        """
        whole = {
            **{name: np.asarray(value) for name, value in arrays.items()},
            "configuration": np.array(json.dumps(_configuration(part), sort_keys=True)),
            "computed_with": np.array(json.dumps(_made_with(), sort_keys=True)),
        }
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_arrays(self.path(part), whole)
        except OSError as error:
            raise GACError(
                f"{self.root}: cannot write ({error.strerror or error}); pass another --out"
            ) from error

    def stale(self, part: Part) -> bool:
        """Whether other source code than today's computed it."""
        return self.computed_with(part) != _made_with()

    @property
    def _out(self) -> str:
        return "" if self.root == RESULTS else f" --out {self.root}"


def compute_parts(parts: Sequence[Part], results: Results) -> int:
    """Compute and save what is missing or damaged, one part after the other.

    Returns:
        How many were computed.
    """
    missing = [part for part in parts if not sound(part, results)]
    for part in missing:
        results.write(part, part.compute(**part.settings))
    return len(missing)


def sound(part: Part, results: Results) -> bool:
    """Whether a part is saved and whole."""
    if not results.has(part):
        return False
    try:
        results.read(part)
    except GACError:
        return False
    return True


def _made_with() -> dict[str, str]:
    """As of a simulated cell, and the digest of the analysis; whatever the commit."""
    made = {name: value for name, value in computed_with().items() if name != "commit"}
    analysis = digest_of("simulations/analysis", apart=("simulations/analysis/report/",))
    return {**made, "analysis": analysis}


def _configuration(part: Part) -> dict[str, Any]:
    return {"schema": SCHEMA, "part": part.name, "settings": dict(part.settings)}
