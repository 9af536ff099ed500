"""The one exception that malformed input raises."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["GACError"]


class GACError(ValueError):
    """Malformed input: one line that says where, what is wrong, the value, and what to do.

    Degenerate numbers (a flat risk, a stream without spread, a branch without sequences) are not
    errors; they are answered, and a flag in :class:`gac_ref.GACInfo` says so.

    Examples:
        >>> import gac_ref
        >>> gac_ref.GACConfig(ema_beta=1.5)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: ema_beta = 1.5 is outside [0, 1); pass a value in that range
    """


def fail(message: str) -> NoReturn:
    """Raise :class:`GACError` with `message` folded onto one line."""
    raise GACError(" ".join(message.split()))
