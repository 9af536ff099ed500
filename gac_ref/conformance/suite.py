"""A ready-made test of a port: ``pytest --gac-port SPEC --pyargs gac_ref.conformance.suite``."""

from __future__ import annotations

from typing import Any

from gac_ref.conformance.case import Case
from gac_ref.conformance.pytest_plugin import check_case, parametrize_with_vectors

__all__ = ["test_port"]


@parametrize_with_vectors()
def test_port(gac_port: Any, gac_device: str, case: Case, dtype: str, request: Any) -> None:
    """One released case in one dtype."""
    spec = request.config.getoption("gac_port")
    check_case(gac_port, case, dtype, spec=spec, device=gac_device)
