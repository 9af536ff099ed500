"""A new port: a folder with one function a stage, two of them written, and what to run next."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gac_ref.conformance.adapters.templates import header_folder
from gac_ref.conformance.stages import PIPELINE, STAGES, Field, Stage
from gac_ref.errors import fail

__all__ = ["KINDS", "WRITTEN", "new_port"]

KINDS = ("python", "c", "stdio")
"""What a port can be; as the templates' kinds."""

WRITTEN = ("transport", "clip")
"""The stages that a new port answers."""

_CLAIMED = (*PIPELINE, "step", "trajectory")
_WIDTH = 96
_EXECUTABLE = 0o755
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "template_files", "new")


class _Kind(NamedTuple):
    files: tuple[str, ...]
    spec: str
    build: str = ""


_PYTHON = _Kind(("port.py",), "port:Port")
_C = _Kind(("port.c", "Makefile", "gac_port.h"), "./libport.so", "make")
_NODE = _Kind(("port.mjs",), "'stdio: ./port.mjs'")
_SHELL = _Kind(("port.sh",), "'stdio: ./port.sh'")


def new_port(kind: str, folder: str | os.PathLike[str], *, node: bool | None = None) -> list[str]:
    """Write a new port into a folder, which is made where it is missing.

    It claims every stage of the controller and answers two; the others are declined as not
    written. `gac-ref adapter smoke` is content with that; `gac-ref check` fails, and names them,
    until the last is written.

    Args:
        kind: One of :data:`KINDS`.
        folder: Where to; a file that is there is never written over.
        node: For stdio, JavaScript (True) or a POSIX shell script; by default whether there is
            a ``node`` on the PATH.

    Returns:
        The paths written, then the commands to run next, a line each.

    Raises:
        GACError: There is no such kind, or a file is there already; nothing is written.
        OSError: The folder cannot be written to.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     new_port("python", folder)[-1]
        'next: gac-ref check port:Port'
    """
    if kind not in KINDS:
        fail(f"unknown kind {kind!r} of a port; pass one of {', '.join(KINDS)}")
    chosen = _chosen(kind, node)
    target = os.fspath(folder)
    texts = {name: _text(name) for name in chosen.files} | {"README.md": _readme(chosen)}
    there = [name for name in texts if os.path.lexists(os.path.join(target, name))]
    if there:
        fail(f"{os.path.join(target, there[0])} is there already; pass a folder without it")
    os.makedirs(target, exist_ok=True)
    for name, text in texts.items():
        path = os.path.join(target, name)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        if text.startswith("#!"):
            os.chmod(path, _EXECUTABLE)
    moves = [] if os.path.realpath(target) == os.getcwd() else [f"cd {target}"]
    lines = [f"wrote {os.path.join(target, name)}" for name in texts]
    return [*lines, *(f"next: {command}" for command in (*moves, *_commands(chosen)))]


def _chosen(kind: str, node: bool | None) -> _Kind:
    if kind != "stdio":
        return _PYTHON if kind == "python" else _C
    has_node = shutil.which("node") is not None if node is None else node
    return _NODE if has_node else _SHELL


def _commands(kind: _Kind) -> list[str]:
    """The build, if there is one; then smoke, one stage, all stages."""
    spec = kind.spec
    checks = [f"adapter smoke {spec}", f"check {spec} --stage clip", f"check {spec}"]
    return [*([kind.build] if kind.build else []), *(f"gac-ref {check}" for check in checks)]


def _text(name: str) -> str:
    """A file of the templates; one that ends in ".in" has places for the stages of the table."""
    if name in _FILLERS:
        with open(os.path.join(_FOLDER, f"{name}.in"), encoding="utf-8") as file:
            return _FILLERS[name](file.read())
    home = header_folder() if name.endswith(".h") else _FOLDER
    with open(os.path.join(home, name), encoding="utf-8") as file:
        return file.read()


def _shapes(fields: tuple[Field, ...]) -> str:
    """Names with their axes; "~" is a space that no line breaks at."""
    axes = {field.name: f"~[{',~'.join(field.shape)}]" if field.shape else "" for field in fields}
    return ", ".join(f"{f.name}{axes[f.name]}{'~(optional)' * f.optional}" for f in fields)


def _notes(stage: Stage, margin: str) -> Iterator[str]:
    """What a stage computes, takes and returns, in lines that begin with `margin`."""
    yield f"{margin}{stage.doc[0].upper()}{stage.doc[1:]}."
    for text in (f"Takes {_shapes(stage.inputs)}.", f"Returns {_shapes(stage.outputs)}."):
        for line in textwrap.wrap(text, _WIDTH, initial_indent=margin, subsequent_indent=margin):
            yield line.replace("~", " ")


_BODIES = {
    "port.py": {
        "transport": "return dict(x)  # through your own tensors and back, once there are some",
        "clip": (
            'given, low, high = x["mu_capped"], self.config["mu_min"], self.config["mu_max"]\n'
            'return {"mu": min(max(given, low), high), "mu_clipped": given < low or given > high}'
        ),
    },
    "port.mjs": {
        "transport": "return x;",
        "clip": (
            "const [low, high] = [config.mu_min, config.mu_max];\n"
            "const outside = x.mu_capped < low || x.mu_capped > high; // not if it is NaN\n"
            "return { mu: Math.min(Math.max(x.mu_capped, low), high), mu_clipped: outside };"
        ),
    },
    "port.c": {
        "transport": (
            "static const int64_t bytes[] = {8, 4, 2, 2, 8, 1};\n"
            "for (int32_t i = 0; i < call->n_out; i++) {\n"
            "    const gac_array *from = gac_find(call->in, call->n_in, call->out[i].name);\n"
            "    memcpy(call->out[i].data, from->data, (size_t)(gac_size(from) * "
            "bytes[from->dtype]));\n"
            "    call->out[i].written = 1;\n"
            "}\n"
            "return GAC_OK;"
        ),
        "clip": (
            'const double given = gac_scalar(call->in, call->n_in, "mu_capped");\n'
            "const double low = config.mu_min, high = config.mu_max;\n"
            'gac_answer(call->out, call->n_out, "mu", given < low ? low : given > high ? high : '
            "given);\n"
            'gac_answer(call->out, call->n_out, "mu_clipped", given < low || given > high);\n'
            "return GAC_OK;"
        ),
    },
}


def _python(text: str) -> str:
    stages = []
    for name in _CLAIMED:
        body = _BODIES["port.py"].get(name, f'raise Unsupported("{name} is not written yet")')
        notes = "\n".join(_notes(STAGES[name], "        ")).lstrip()
        first, _, rest = notes.partition("\n")
        stages.append(
            f'    def stage_{name}(self, x: Values) -> Values:\n        """{first}\n\n{rest}\n'
            f'        """\n{textwrap.indent(body, " " * 8)}\n'
        )
    names = "".join(f'    "{name}",\n' for name in _CLAIMED)
    return text.replace("    # @names\n", names).replace("    # @stages\n", "\n".join(stages))


def _c(text: str) -> str:
    stages = []
    for name in _CLAIMED:
        body = _BODIES["port.c"].get(name, "return unwritten(call);")
        notes = "\n".join(_notes(STAGES[name], " * ")).removeprefix(" * ")
        stages.append(
            f"/* {notes} */\nstatic int32_t stage_{name}(const gac_call *call) {{\n"
            f"{textwrap.indent(body, ' ' * 4)}\n}}\n"
        )
    table = "".join(f'    {{"{name}", stage_{name}}},\n' for name in _CLAIMED)
    quoted = [f'\\"{name}\\"' for name in _CLAIMED]
    names = "".join(f'           "{name}{", " if name != quoted[-1] else ""}"\n' for name in quoted)
    text = text.replace("    /* @table */\n", table).replace("           /* @names */\n", names)
    return text.replace("/* @stages */\n", "\n".join(stages))


def _javascript(text: str) -> str:
    stages = []
    for name in _CLAIMED:
        notes = "\n".join(_notes(STAGES[name], "  // "))
        body = _BODIES["port.mjs"].get(name)
        stages.append(
            f"{notes}\n  {name}: unwritten,\n"
            if body is None
            else f"{notes}\n  {name}: (x) => {{\n{textwrap.indent(body, ' ' * 4)}\n  }},\n"
        )
    return text.replace("  // @stages\n", "\n".join(stages))


def _shell(text: str) -> str:
    names = ", ".join(f'"{name}"' for name in _CLAIMED)
    listed = textwrap.fill(
        ", ".join(_CLAIMED), _WIDTH, initial_indent=" " * 8 + "# ", subsequent_indent=" " * 8 + "# "
    )
    return text.replace("@names", names).replace("        # @stages", listed)


_FILLERS: dict[str, Callable[[str], str]] = {
    "port.py": _python,
    "port.c": _c,
    "port.mjs": _javascript,
    "port.sh": _shell,
}


def _readme(kind: _Kind) -> str:
    commands = "\n".join(f"    {command}" for command in _commands(kind))
    source = kind.files[0]
    left = len(_CLAIMED) - len(WRITTEN)
    return f"""# A port of GAC

`{source}` has one function a stage, {len(_CLAIMED)} of them, in the order of the data;
{" and ".join(f"`{name}`" for name in WRITTEN)} are written. In this folder:

{commands}

1. `smoke` says what answers. What is not written is listed as unsupported, and that is no failure.
2. With `--stage clip` the check is OK, exit code 0: that stage is right.
3. The whole check fails with exit code 3, and names what is not written under "Without":
   {left} failures, one a stage. Write the next of them, and there is one less.

A stage that is written and wrong makes the exit code 1, and is named as the origin of what fails.
With the last stage right the exit code is 0. Then check the other dtypes: `--dtype all`.

`advantages` and `loss` are a trainer's, not the controller's. Where your port has them, write a
function of that name and claim it in hello; gac_ref.conformance.stages.STAGES says what they take.
"""
