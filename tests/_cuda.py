"""The CUDA port's source, built once for all tests of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from _once import once

from gac_ref.ports.cuda import build as builder


def built(factory: pytest.TempPathFactory, kind: str) -> Path:
    """The library of a kind: "host", "sanitized" or "device"; skips without its compiler."""
    compiler = builder.command(kind, Path())[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    folder = once(factory, f"cuda-{kind}", lambda folder: builder.build(kind, folder))
    return folder / builder.KINDS[kind]
