"""Tables and help texts that are taken from the program while building, never copied."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shlex

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gac_ref.conformance.stages import STAGES, Field

COLUMNS = "79"  # of a help text
PROGRAMS = {
    "gac-ref": "gac_ref.cli",
    "python -m simulations": "simulations.cli",
    "python -m paper_figures": "paper_figures.cli",
    "python -m overview": "overview.cli",
}


class CommandHelp(SphinxDirective):
    """What ``COMMAND --help`` prints."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Call the program's own main."""
        command = self.arguments[0]
        program = next(name for name in PROGRAMS if command.startswith(name))
        main = importlib.import_module(PROGRAMS[program]).main
        text = io.StringIO()
        before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), COLUMNS
        try:
            with contextlib.redirect_stdout(text):
                code = main([*shlex.split(command.removeprefix(program)), "--help"])
        except SystemExit as stop:
            code = stop.code
        finally:
            os.environ["COLUMNS"] = before or ""
            if before is None:
                del os.environ["COLUMNS"]
        if code:
            raise self.error(f"{command} --help ended with {code}")
        return [nodes.literal_block(text.getvalue(), text.getvalue(), language="text")]


class StageTable(SphinxDirective):
    """The stages of a step with the fields that they take and return; inside ``eval-rst``."""

    def run(self) -> list[nodes.Node]:
        """One definition list: a stage, its inputs, its outputs."""
        lines: list[str] = []
        for stage in STAGES.values():
            lines += [f".. rubric:: {stage.name}", "", f"{stage.doc}", ""]
            lines += [".. list-table::", "   :header-rows: 1", "   :widths: 10 25 20 45", ""]
            lines += ["   * - ", "     - field", "     - shape, kind", "     - what"]
            for side, fields in (("in", stage.inputs), ("out", stage.outputs)):
                for field in fields:
                    lines += [f"   * - {side}", *(f"     - {cell}" for cell in described(field))]
            lines.append("")
        container = nodes.container()
        self.state.nested_parse(StringList(lines, "stages"), self.content_offset, container)
        return list(container.children)


def described(field: Field) -> tuple[str, str, str]:
    """Name, shape and kind, meaning of one field, as reStructuredText."""
    shape = f"[{', '.join(field.shape)}] " if field.shape else ""
    notes = [*(() if field.rows == "all" else (field.rows,)), *(("optional",) * field.optional)]
    kind = f"{field.kind}{f' ({chr(44).join(notes)})' if notes else ''}"
    return f"``{field.name}``", f"{shape}{kind}", field.doc.replace("|", "\\|").replace("*", "\\*")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add both directives."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("stage-table", StageTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
