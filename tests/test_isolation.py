"""The core needs NumPy and nothing else: fresh interpreters without the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gac_ref

ROOT = Path(gac_ref.__file__).parents[1]
HIDDEN = (
    *("scipy", "torch", "matplotlib", "ml_dtypes", "mpmath", "pandas", "rich"),
    *("hypothesis", "pytest", "jax", "xarray", "trl", "transformers"),
)

BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN!r}:
            raise ModuleNotFoundError(f"{{name}} is hidden", name=name)
sys.meta_path.insert(0, Blocker())
"""

FULL_UPDATE = """
import tempfile
from pathlib import Path
import numpy as np
import gac_ref
rng = np.random.default_rng(0)
for name in gac_ref.VARIANTS:
    config = gac_ref.GACConfig.variant(name, alpha_mode="kl", mu_update_freq=2)
    state = gac_ref.init(config)
    for step in range(5):
        batch = gac_ref.Batch(
            -rng.exponential(size=(6, 4)).astype(np.float32), np.ones((6, 4)), rng.normal(size=6),
            np.arange(6) < 3, ref_logprob=-rng.exponential(size=(6, 4)),
        )
        state, info = gac_ref.update(config, state, batch, step=step)
        merged = gac_ref.merge(gac_ref.partial_sums(config, batch))
        gac_ref.update_from_proxies(
            config, state, gac_ref.proxies_from_sums(config, merged), step=step
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.npz"
            gac_ref.save_state(file, config, state)
            assert gac_ref.load_state(file)[0] == config
    assert 0.05 <= float(info.mu) <= 0.9
print("done")
"""


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def succeeds(code: str, *flags: str) -> str:
    result = python(code, *flags)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


def test_the_blocker_blocks() -> None:
    result = python(BLOCKER + "import hypothesis.strategies")
    assert result.returncode != 0
    assert "hypothesis is hidden" in result.stderr


def test_a_full_update_needs_numpy_alone() -> None:
    assert succeeds(BLOCKER + FULL_UPDATE, "-W", "error") == "done"


def test_the_import_warns_of_nothing() -> None:
    assert succeeds("import gac_ref; print(gac_ref.__version__)", "-W", "error") != ""


def test_the_import_loads_no_third_party_module_but_numpy() -> None:
    code = """
import sys
import numpy
before = set(sys.modules)
import gac_ref
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    # __mp_main__ is a second name that multiprocessing gives to __main__.
    assert set(succeeds(code).split()) <= {"gac_ref", "numpy", "__mp_main__"}


def test_the_import_does_not_load_what_only_the_tools_need() -> None:
    code = """
import sys
import numpy
before = set(sys.modules)
import gac_ref
print(*sorted(set(sys.modules) - before))
"""
    tools = {"argparse", "csv", "zipfile", "gac_ref.cli", "gac_ref._plot", "simulations"}
    assert set(succeeds(code).split()).isdisjoint(tools)


@pytest.mark.parametrize("module", ["scipy", "torch", "matplotlib", "ml_dtypes", "mpmath"])
def test_the_core_never_names_an_optional_module_at_import(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; import gac_ref; print('done')"
    assert succeeds(code, "-W", "error") == "done"


def test_every_module_but_ports_and_plugin_needs_numpy_alone() -> None:
    code = """
import sys
import numpy
before = set(sys.modules)
import importlib, pkgutil
import gac_ref
for module in pkgutil.walk_packages(gac_ref.__path__, "gac_ref."):
    if not module.name.endswith(("__main__", ".pytest_plugin", ".suite")):
        if ".ports." not in module.name:
            importlib.import_module(module.name)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    # __mp_main__ is a second name that multiprocessing gives to __main__.
    assert set(succeeds(code).split()) <= {"gac_ref", "numpy", "__mp_main__"}
