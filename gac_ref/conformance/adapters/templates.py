"""Where a port begins: a template for each way of being reached."""

from __future__ import annotations

import os

from gac_ref.errors import fail

__all__ = ["TEMPLATES", "header_folder", "template"]

_FOLDER = os.path.dirname(os.path.abspath(__file__))

TEMPLATES = {"python": "port.py", "c": "port.c", "stdio": "port.sh"}
"""The file of each kind."""


def template(kind: str) -> str:
    """The text of a template: a port of one stage, to be filled with the others.

    Args:
        kind: "python", "c" or "stdio".

    Raises:
        GACError: There is none of that kind.

    Examples:
        >>> template("stdio").splitlines()[0]
        '#!/bin/sh'
    """
    if kind not in TEMPLATES:
        fail(f"unknown template {kind!r}; pass one of {', '.join(TEMPLATES)}")
    with open(os.path.join(_FOLDER, "template_files", TEMPLATES[kind]), encoding="utf-8") as file:
        return file.read()


def header_folder() -> str:
    """The folder of ``gac_port.h``, for ``cc -I``.

    Examples:
        >>> os.path.exists(os.path.join(header_folder(), "gac_port.h"))
        True
    """
    return _FOLDER
