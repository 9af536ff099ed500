"""What the controller carries from step to step: ten plain numbers, the same on every rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gac_ref.errors import fail

__all__ = ["GACState", "load_state_dict", "state_dict"]


class GACState(NamedTuple):
    """The controller's state, float64 on the host.

    Args:
        mu: The weight applied last, after every guard.
        mu_ada: The weight EMA's last value.
        alpha: The target ratio.
        sigma_s2: Smoothed SFT noise, nats^2; 0 while its count is 0.
        sigma_r2: Smoothed RL noise; 0 while its count is 0.
        delta_g2: Smoothed disagreement; 0 while its count is 0.
        count_s: Refreshes that fed sigma_s2.
        count_r: Refreshes that fed sigma_r2.
        count_delta: Refreshes that fed delta_g2.
        last_refresh: Step of the last refresh; -1 before any.

    Examples:
        >>> GACState(mu=0.5, mu_ada=0.5, alpha=0.5).last_refresh
        -1
    """

    mu: float
    mu_ada: float
    alpha: float
    sigma_s2: float = 0.0
    sigma_r2: float = 0.0
    delta_g2: float = 0.0
    count_s: int = 0
    count_r: int = 0
    count_delta: int = 0
    last_refresh: int = -1


def state_dict(state: GACState) -> dict[str, float]:
    """The state as a dictionary of plain numbers, for the trainer's checkpoint.

    Examples:
        >>> state = GACState(mu=0.5, mu_ada=0.5, alpha=0.5)
        >>> load_state_dict(state_dict(state)) == state
        True
    """
    return state._asdict()


def load_state_dict(values: Mapping[str, Any]) -> GACState:
    """The state that :func:`state_dict` wrote.

    Raises:
        GACError: A field is missing, unknown or not a number.

    Examples:
        >>> load_state_dict({"mu": 0.5})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: state lacks mu_ada, alpha, sigma_s2, ...
    """
    fields = GACState._fields
    missing = [name for name in fields if name not in values]
    if missing:
        fail(f"state lacks {', '.join(missing)}; pass what state_dict returned")
    for name, value in values.items():
        if name not in fields:
            fail(f"unknown state field {name!r}; the fields are {', '.join(fields)}")
        whole = name.startswith("count") or name == "last_refresh"
        if isinstance(value, bool) or not isinstance(value, int if whole else float | int):
            wanted = "whole number" if whole else "number"
            fail(f"state field {name} = {value!r} is not a {wanted}; pass what state_dict returned")
    return GACState(**values)
