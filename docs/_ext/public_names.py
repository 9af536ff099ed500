"""Every public name is on the site, or the build fails.

A module is public unless a part of its path begins with an underscore or it belongs to a program
(`PROGRAMS`); a name is public if the module's ``__all__`` lists it. The directive
``public-names`` lists the names of a module with links to where each is described.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc.mock import mock, undecorate
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

ROOTS = (
    "gac_ref",
    "paper_figures.catalog",
    "paper_figures.computing",
    "paper_figures.spec",
    "paper_figures.style",
    "paper_figures.tables",
    "paper_figures.venues",
    # Of the analyses, what notebooks and guides import; the rest answers the report's questions.
    "simulations.analysis.authority.decomposition",
    "simulations.analysis.authority.guarded_run",
    "simulations.analysis.authority.linear",
    "simulations.analysis.palette",
    "simulations.analysis.statistics",
    "simulations.engine",
    "simulations.folds",
    "simulations.models",
    "simulations.noise",
    "simulations.problem",
    "simulations.registry",
    "simulations.sweeps",
)
# Reached by a command, never by an import: what is public of them is the command line.
PROGRAMS = (
    "gac_ref.conformance.adapters.c_host",
    "gac_ref.conformance.adapters.python_host",
    "gac_ref.conformance.adapters.template_files",
    "gac_ref.conformance.check_command",
    "gac_ref.conformance.cli",
    "gac_ref.conformance.fuzz_command",
    "gac_ref.conformance.power",
    "gac_ref.conformance.report",
    "gac_ref.conformance.suite",
    "gac_ref.conformance.vectors_command",
)
CONSTANTS = "constants.toml"  # beside the pages of the reference


def is_public(module: str) -> bool:
    """Whether what a module exports is meant to be imported."""
    within = any(module == program or module.startswith(f"{program}.") for program in PROGRAMS)
    return not within and not any(part.startswith("_") for part in module.split("."))


def public_modules() -> Iterator[ModuleType]:
    """Every public module with an ``__all__`` below the roots, imported."""
    for root in ROOTS:
        package = importlib.import_module(root)
        below = pkgutil.walk_packages(getattr(package, "__path__", ()), f"{root}.")
        for name in [root, *(module.name for module in below if is_public(module.name))]:
            module = importlib.import_module(name)
            if hasattr(module, "__all__"):
                yield module


def homes(modules: list[ModuleType]) -> dict[tuple[str, int], list[str]]:
    """Under which full names each object is exported, by its name and identity."""
    found: dict[tuple[str, int], list[str]] = {}
    for module in modules:
        for name in module.__all__:
            full = f"{module.__name__}.{name}"
            value = undecorate(getattr(module, name))
            key = (name, id(value))
            found.setdefault(key, []).append(full)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[key].append(f"{value.__module__}.{value.__qualname__}")
    return found


def undocumented(modules: list[ModuleType], described: set[str]) -> list[str]:
    """The public names that no page describes."""
    exported = homes(modules)
    missing = []
    for module in modules:
        for name in module.__all__:
            value = undecorate(getattr(module, name))
            known = exported[name, id(value)]
            if inspect.ismodule(value):
                known = [value.__name__]
            if described.isdisjoint(known):
                missing.append(f"{module.__name__}.{name}")
    return missing


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name without a description; ``-W`` makes the build fail of it."""
    domain = env.domains["py"]
    assert isinstance(domain, PythonDomain)
    described = set(domain.objects) | set(domain.modules)
    with mock(app.config.autodoc_mock_imports):
        modules = list(public_modules())
    for name in undocumented(modules, described):
        logger.warning(
            "public name %s is described on no page of docs/reference: give it a docstring "
            "(a constant: a comment that begins with '#:', or a line in docs/reference/%s) and its "
            "module an automodule directive",
            name,
            CONSTANTS,
            type="public_names",
        )


def describe_constants(app: Sphinx) -> None:
    """Give constants without a comment of their own their line of the table, as if it were one."""
    path = Path(app.srcdir) / "reference" / CONSTANTS
    with mock(app.config.autodoc_mock_imports):
        for name, rows in tomllib.loads(path.read_text()).items():
            module = importlib.import_module(name)
            analyzer = ModuleAnalyzer.for_module(name)
            analyzer.analyze()
            for constant, text in rows.items():
                if constant not in module.__all__:
                    logger.warning("%s names %s.%s, which is not public", path, name, constant)
                analyzer.attr_docs["", constant] = [text, ""]


def skip(
    app: Sphinx, what: str, name: str, value: object, skipped: bool, options: object
) -> bool | None:
    """Leave out what is described elsewhere.

    The fields of a named tuple stand in the docstring of its class, with shape and unit; what a
    module takes from another public module stands there.
    """
    if type(value).__name__ == "_tuplegetter":
        return True
    home = getattr(value, "__module__", None)
    here = app.env.current_document.autodoc_module
    if what != "module" or not isinstance(home, str) or not callable(value):
        return None
    elsewhere = home != here and home.startswith(ROOTS) and is_public(home)
    return True if elsewhere and hasattr(sys.modules.get(home), "__all__") else None


class PublicNames(SphinxDirective):
    """A table of the names that a module exports: what each is, in its own first line.

    For reStructuredText, in which docstrings are written: inside ``eval-rst``.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the rows as a list table, so that links and mathematics work in them."""
        with mock(self.config.autodoc_mock_imports):
            module = importlib.import_module(self.arguments[0])
            lines = [".. list-table::", "   :widths: 30 70", ""]
            for name in module.__all__:
                value = undecorate(getattr(module, name))
                if not name.startswith("__") and not inspect.ismodule(value):
                    home = home_of(module, name, value)
                    lines.append(f"   * - :py:obj:`{name} <{home}.{name}>`")
                    lines.append(f"     - {first_line(home, name, value)}")
        container = nodes.container()
        self.state.nested_parse(
            StringList(lines, self.arguments[0]), self.content_offset, container
        )
        return list(container.children)


def is_definition(value: object) -> bool:
    """Whether a value is a class or function, with a docstring and a module of its own."""
    return inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__")


def home_of(module: ModuleType, name: str, value: object) -> str:
    """The module in which a name is described: where it is defined, if that is public."""
    homes = [
        other
        for other in public_modules()
        if name in other.__all__ and undecorate(getattr(other, name)) is value
    ]
    for other in homes:
        if is_definition(value):
            found = getattr(value, "__module__", None) == other.__name__
        else:
            found = ("", name) in ModuleAnalyzer.for_module(other.__name__).find_attr_docs()
        if found:
            return other.__name__
    return homes[-1].__name__ if homes else module.__name__


def first_line(home: str, name: str, value: object) -> str:
    """The summary of a function or class; the comment on a constant."""
    if is_definition(value):
        text = inspect.getdoc(value) or ""
    else:
        lines = ModuleAnalyzer.for_module(home).find_attr_docs().get(("", name), [])
        text = "\n".join(lines)
    return text.split("\n\n")[0].strip().replace("\n", " ")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the check, the table of constants and the directive to the build."""
    app.connect("env-check-consistency", lambda app, env: check(app, env))
    app.connect("builder-inited", describe_constants)
    app.connect("autodoc-skip-member", skip)
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
