"""Tiny ports for tests: right ones, and ones with a fault each."""

from __future__ import annotations

import ast
from pathlib import Path


def faults_named() -> list[str]:
    """The garbled replies of faults.py, read from its text: it is a program, not a module."""
    tree = ast.parse((Path(__file__).parent / "faults.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "GARBLED":
            assert isinstance(node.value, ast.Dict)
            return [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
    raise AssertionError("faults.py has no GARBLED")
