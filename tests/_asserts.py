"""Exact comparisons, refusals, the settings profile and the float strategies of property tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from _oracles.exact import frac
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from mpmath import mp

from gac_ref.errors import GACError

EXACT_RTOL = 1e-13
"""About 450 roundings: the formulas under test round a few dozen times at most."""

PROPERTY = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    # Hypothesis draws constants from whatever modules are loaded, so how many of its draws a filter
    # drops changes with code that a test never sees.
    suppress_health_check=[HealthCheck.filter_too_much],
)
"""The shared profile: the same examples on every run, and no time limit on a busy machine."""

SEARCHED = settings(PROPERTY, max_examples=25)
"""The same for properties whose oracle searches or simulates (tens of milliseconds each)."""

magnitudes = st.one_of(
    st.just(0.0),
    st.builds(lambda m, e: m * 10.0**e, st.floats(1.0, 10.0), st.integers(-12, 11)),
)
"""Variances and squared norms: 0, or log-uniform over 24 decades (squares neither overflow nor
become subnormal)."""

positives = magnitudes.filter(lambda x: x > 0.0)
"""The same without 0."""

units = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(1e-6, 1.0 - 1e-6))
"""Weights in [0, 1] with both ends; nothing so small that its square is subnormal."""

weights = st.one_of(units, st.floats(-3.0, -1e-6), st.floats(1.0, 4.0))
"""Weights on either side of [0, 1]: the risk is a parabola on the whole line."""

correlations = st.one_of(st.just(0.0), st.floats(-0.999, -1e-6), st.floats(1e-6, 0.999))
"""Noise correlations inside Cauchy-Schwarz; the bound itself has its own examples."""


def assert_matches_exact(
    actual: Any, exact: Any, rtol: float = EXACT_RTOL, *, condition: Any = 1
) -> None:
    """`actual` is `exact` within `rtol` times `condition`, relative to `exact`, and exactly at 0.

    The difference is taken in rationals, so that the comparison itself does not round. `condition`
    is a sum of absolute terms over the absolute result.
    """
    assert_within(actual, exact, frac(rtol) * frac(condition) * abs(frac(exact)))


def assert_matches_sum(
    actual: Any, exact: Any, terms: Iterable[Any], rtol: float = EXACT_RTOL
) -> None:
    """As :func:`assert_matches_exact` at the condition of a sum of `terms`; the sum may be 0."""
    assert_within(actual, exact, frac(rtol) * sum((abs(frac(t)) for t in terms), Fraction(0)))


def assert_matches_ratio(
    actual: Any,
    exact: Any,
    top: Iterable[Any],
    bottom: Iterable[Any],
    rtol: float = EXACT_RTOL,
) -> None:
    """`actual` is the ratio `exact` of two sums, at the condition of both."""
    assert_within(actual, exact, ratio_error(exact, top, bottom, rtol))


def ratio_error(
    exact: Any, top: Iterable[Any], bottom: Iterable[Any], rtol: float = EXACT_RTOL
) -> Fraction:
    """What rounding may move the ratio `exact` of two sums by, given their terms."""
    bottom = [frac(t) for t in bottom]
    above = sum((abs(frac(t)) for t in top), Fraction(0))
    below = sum((abs(t) for t in bottom), Fraction(0))
    return frac(rtol) * (above + abs(frac(exact)) * below) / abs(sum(bottom))


def assert_within(actual: Any, exact: Any, error: Any) -> None:
    """`actual` is within the absolute `error` of `exact`, compared in rationals."""
    assert np.isfinite(actual), f"{actual!r} is not finite"
    difference = abs(frac(float(actual)) - frac(exact))
    assert difference <= frac(error), (
        f"{float(actual)!r} is {float(difference):.3g} from {mp.nstr(mp.mpf(float(exact)), 17)}; "
        f"allowed {float(error):.3g}"
    )


def assert_equals_loop(
    function: Callable[..., Any], *arrays: Any, core: tuple[int, ...] | None = None
) -> None:
    """Broadcasting over leading axes gives, to the bit, what a loop over them gives.

    `core` says how many trailing axes of each argument belong to a single problem.
    """
    arrays = tuple(np.asarray(a, dtype=np.float64) for a in arrays)
    core = core or (0,) * len(arrays)
    lead = np.broadcast_shapes(*(a.shape[: a.ndim - c] for a, c in zip(arrays, core, strict=True)))
    spread = [
        np.broadcast_to(a, lead + a.shape[a.ndim - c :]) for a, c in zip(arrays, core, strict=True)
    ]
    whole = function(*arrays)
    fields = whole if isinstance(whole, tuple) else (whole,)
    assert np.prod(lead) > 1
    for index in np.ndindex(*lead):
        one = function(*(a[index] for a in spread))
        parts = one if isinstance(one, tuple) else (one,)
        for field, part in zip(fields, parts, strict=True):
            field, trailing = np.asarray(field), np.shape(part)
            # A field may be constant along an axis that it does not depend on.
            field = np.broadcast_to(field, lead + trailing)
            np.testing.assert_array_equal(field[index], part)


@contextlib.contextmanager
def refuses(match: str, *values: Any) -> Iterator[None]:
    """The body raises a GACError that matches, on one line, and shows each of `values`."""
    with pytest.raises(GACError, match=match) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert message.strip() == message
    for value in values:
        assert str(value) in message
