"""What the README says runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import gac_ref

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_run_and_are_ten(capsys):
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) >= 2
    assert sum(1 for line in BLOCKS[0].splitlines() if line.strip()) == 10


def test_the_recording_example_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {
        "steps": 2, "mu": 0.5, "logprob": np.full((2, 3), -1.0), "mask": np.ones((2, 3)),
        "advantages": np.array([0.0, 1.0]), "is_expert": np.array([True, False]),
    }  # fmt: skip
    exec(compile(BLOCKS[1], "README.md", "exec"), values)
    assert len(gac_ref.TraceReader("my-run")) == 2


def test_every_public_name_is_documented_with_an_example():
    for name in gac_ref.__all__:
        value = getattr(gac_ref, name)
        if callable(value):
            assert value.__doc__, f"{name} has no docstring"
            assert value.__doc__.count("\n") > 3, f"{name} has one line only"


@pytest.mark.parametrize("name", ["GACConfig", "Batch", "update", "authority", "TraceWriter"])
def test_lazy_and_eager_names_resolve(name):
    assert name in dir(gac_ref)
    assert getattr(gac_ref, name) is getattr(gac_ref, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        gac_ref.nonsense  # noqa: B018
