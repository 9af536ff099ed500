"""What pytest loads of gac-ref at its start: options and fixtures, and nothing that they need.

It lies beside the package, because a plugin within would import NumPy into every pytest run of an
environment that has gac-ref, and before coverage starts. See
:mod:`gac_ref.conformance.pytest_plugin`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("gac-ref", "checking a port of the Guided Adaptive Controller")
    group.addoption(
        "--gac-port",
        metavar="SPEC",
        help="the port: package.module:attribute, a shared library, or 'stdio: COMMAND'",
    )
    group.addoption(
        "--gac-dtype",
        action="append",
        default=[],
        metavar="DTYPE",
        help="fp64, fp32, fp16 or bf16; may be repeated (default: all that the port claims)",
    )
    group.addoption("--gac-device", default="cpu", help="passed on to the port (default cpu)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the dtypes that were not asked for."""
    if not config.getoption("gac_dtype") or "gac_ref.conformance.case" not in sys.modules:
        return
    from gac_ref.conformance.pytest_plugin import unwanted

    left_out = unwanted(items, config.getoption("gac_dtype"))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        dropped = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in dropped]


@pytest.fixture(scope="session")
def gac_device(request: pytest.FixtureRequest) -> str:
    """The device of ``--gac-device``."""
    return str(request.config.getoption("gac_device"))


@pytest.fixture(scope="session")
def gac_port(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The port of ``--gac-port``, opened once a session; tests are skipped without one."""
    spec = request.config.getoption("gac_port")
    if not spec:
        pytest.skip("no port to check; pass --gac-port SPEC")
    from gac_ref.conformance.pytest_plugin import opened

    yield from opened(spec)
