"""Mutants in source text: one line of a package changed, in a copy of it under another name.

What the plain port shows of a fault is that the pack can see it. That the estimator, or a port that
people use, would be caught is shown on their own code.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.port import Port
from gac_ref.errors import fail

__all__ = ["ESTIMATOR", "Plant", "PlantedFault", "planted", "sources"]

COPY = "gac_ref_planted"
"""The name of the copy; imports within it are rewritten to it."""


class Plant(NamedTuple):
    """Whose source text is changed.

    Args:
        name: What reports call it.
        spec: "module:attribute" of its port in the package; a class or a factory.
        parts: Folders of the package that it needs, besides the core.
    """

    name: str
    spec: str
    parts: tuple[str, ...] = ()


ESTIMATOR = Plant("estimator", "gac_ref.conformance.reference:Reference")
"""The golden reference itself."""

_CORE = ("", "losses")
_CONFORMANCE = ("__init__", "formats", "port", "reference", "stages")


class PlantedFault(NamedTuple):
    """One change of one line.

    Args:
        name: What is wrong, in words; unique within its table.
        stage: The origin that a check should name.
        file: The module, relative to the package.
        old: Text that occurs exactly once in it.
        new: What replaces it.
        dtypes: Where it can be seen at all.
        reason: Why not in the others.
    """

    name: str
    stage: str
    file: str
    old: str
    new: str
    dtypes: tuple[str, ...] = tuple(FORMATS)
    reason: str = ""


def sources(plant: Plant) -> dict[str, str]:
    """The source text of what a plant needs, by path within the package.

    Examples:
        >>> "controller.py" in sources(ESTIMATOR)
        True
    """
    root = Path(str(files("gac_ref")))
    found = [path for part in (*_CORE, *plant.parts) for path in sorted((root / part).glob("*.py"))]
    found += [root / "conformance" / f"{name}.py" for name in _CONFORMANCE]
    for part in plant.parts:  # their packages, up to the root
        parents = [parent for parent in (root / part).parents if root in parent.parents]
        found += [parent / "__init__.py" for parent in parents]
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in found}


def changed(fault: PlantedFault, text: str) -> str:
    """The module's text with the fault in it.

    Raises:
        GACError: The old text does not occur exactly once.
    """
    times = text.count(fault.old)
    if times != 1:
        fail(
            f"planted fault {fault.name!r}: its text occurs {times} times in {fault.file}; "
            "bring the table up to date"
        )
    return text.replace(fault.old, fault.new)


@contextmanager
def planted(plant: Plant, fault: PlantedFault | None) -> Iterator[Port]:
    """A port made of a copy of the package with the fault in it; None plants nothing.

    The copy is imported under a name of its own, so that nothing of it reaches the package, and is
    gone afterwards.

    Examples:
        >>> with planted(ESTIMATOR, None) as port:
        ...     port.hello()["name"]
        'gac_ref_planted reference'
    """
    folder = Path(tempfile.mkdtemp(prefix="gac-ref-planted-"))
    texts = sources(plant)
    if fault is not None:
        if fault.file not in texts:
            fail(f"planted fault {fault.name!r}: there is no {fault.file} in {plant.name}")
        texts[fault.file] = changed(fault, texts[fault.file])
    _forget()
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        for path, text in texts.items():
            target = folder / COPY / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_renamed(text), "utf-8")
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        module, attribute = _renamed(plant.spec).split(":")
        found: Any = getattr(importlib.import_module(module), attribute)
        yield found() if callable(found) else found
    finally:
        sys.dont_write_bytecode = written
        sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
        _forget()
        shutil.rmtree(folder, ignore_errors=True)


def _renamed(text: str) -> str:
    return re.sub(r"\bgac_ref\b", COPY, text)


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == COPY]:
        del sys.modules[name]
