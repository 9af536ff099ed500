"""Hypothesis strategies for everything that a port takes, for port authors' own test suites.

They need Hypothesis, which gac_ref itself does not::

    from hypothesis import given
    from gac_ref.testing import batches, configs

    @given(configs(), batches("bf16"))
    def test_mu_stays_within_its_bounds(config, batch): ...

What is drawn is described in :mod:`gac_ref._drawing`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from gac_ref import _drawing as drawing
from gac_ref.config import GACConfig
from gac_ref.conformance.formats import format_named
from gac_ref.conformance.stages import stage_named
from gac_ref.errors import fail
from gac_ref.proxies import Proxies

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["batches", "configs", "proxies", "stage_inputs", "trajectories"]

Inputs = dict[str, Any]
T = TypeVar("T")


def configs(**fixed: Any) -> SearchStrategy[GACConfig]:
    """Configurations over every semantic choice, and a few values of every number.

    Args:
        fixed: Fields that every configuration has, such as ``prior="none"``.

    Raises:
        GACError: An unknown field, an invalid value, or Hypothesis is not installed.

    Examples:
        >>> configs(alpha=0.25).example().alpha  # doctest: +SKIP
        0.25
    """
    GACConfig(**fixed)
    return _strategy(lambda source: drawing.config(source, fixed))


def batches(
    dtype: str = "fp64",
    *,
    max_rows: int = 9,
    max_tokens: int = 12,
    per_token: bool | None = None,
    junk: bool = True,
    ref_logprob: bool | None = None,
    missing: bool = True,
) -> SearchStrategy[Inputs]:
    """Training batches as a port gets them: by name, token arrays in the storage of `dtype`.

    Args:
        dtype: "fp64", "fp32", "fp16" or "bf16" (``uint16`` bits).
        max_rows: Largest B, >= 1.
        max_tokens: Largest T, >= 1.
        per_token: Advantages [B, T] (True) or [B] (False); either by default.
        junk: Whether the padding may hold NaN and infinities.
        ref_logprob: Whether there are reference log-probabilities; either by default.
        missing: Whether a branch may be missing, and rows may have no response.

    Raises:
        GACError: An unknown dtype, or Hypothesis is not installed.

    Examples:
        >>> sorted(batches("bf16", ref_logprob=False).example())  # doctest: +SKIP
        ['advantages', 'is_expert', 'logprob', 'response_mask']
    """
    limits = drawing.Limits(max_rows, max_tokens, per_token, junk, ref_logprob, missing)
    name = format_named(dtype).name
    return _strategy(lambda source: drawing.batch(source, name, limits))


def proxies() -> SearchStrategy[Proxies]:
    """Proxies of one batch, with missing branches, values at the floor, and a wide range of sizes.

    Raises:
        GACError: Hypothesis is not installed.

    Examples:
        >>> float(proxies().example().sigma_s2) >= 0.0  # doctest: +SKIP
        True
    """
    return _strategy(drawing.proxies)


def trajectories(
    dtype: str = "fp64", *, max_steps: int = 6, config: GACConfig | None = None
) -> SearchStrategy[tuple[GACConfig, list[Inputs]]]:
    """Configurations with the inputs of consecutive steps since the start: batches with `step`.

    Args:
        dtype: Of the token arrays.
        max_steps: Most steps, >= 1.
        config: The configuration; any by default.

    Raises:
        GACError: An unknown dtype, or Hypothesis is not installed.

    Examples:
        >>> config, steps = trajectories(max_steps=3).example()  # doctest: +SKIP
        >>> 1 <= len(steps) <= 3  # doctest: +SKIP
        True
    """
    name = format_named(dtype).name

    def build(source: drawing.Source) -> tuple[GACConfig, list[Inputs]]:
        chosen = drawing.config(source, {}) if config is None else config
        return chosen, drawing.trajectory(source, chosen, name, max_steps)

    return _strategy(build)


def stage_inputs(
    stage: str, dtype: str = "fp64", *, config: GACConfig | None = None
) -> SearchStrategy[tuple[GACConfig, Inputs]]:
    """Configurations with inputs of one stage, as a port gets them.

    What a stage takes from an earlier one is what the golden reference makes of a drawn batch
    where it is an array of tokens, and drawn by itself where it is a number.

    Args:
        stage: A name in :data:`gac_ref.conformance.stages.STAGES` but "trajectory", for which
            there is :func:`trajectories`.
        dtype: Of the token arrays.
        config: The configuration; any by default.

    Raises:
        GACError: An unknown stage or dtype, or Hypothesis is not installed.

    Examples:
        >>> sorted(stage_inputs("clip").example()[1])  # doctest: +SKIP
        ['mu_capped']
    """
    name = format_named(dtype).name
    if stage_named(stage).name == "trajectory":
        fail("stage_inputs has no 'trajectory'; use trajectories, which draws consecutive steps")

    def build(source: drawing.Source) -> tuple[GACConfig, Inputs]:
        chosen = drawing.config(source, {}) if config is None else config
        return chosen, drawing.stage(source, stage, name, chosen)

    return _strategy(build)


class _Source:
    """Draws from Hypothesis; strategies are made once, since making one costs more than drawing."""

    def __init__(self, draw: DrawFn) -> None:
        self._draw = draw

    def pick(self, choices: tuple[T, ...]) -> T:
        picked: T = self._draw(_made("sampled_from", choices))
        return picked

    def integer(self, low: int, high: int) -> int:
        return int(self._draw(_made("integers", low, high)))

    def raw(self, size: int) -> bytes:
        return bytes(self._draw(_made("binary", size)))

    def number(self, low: float, high: float) -> float:
        return float(self._draw(_made("number", low, high)))


@functools.lru_cache(maxsize=4096)
def _made(kind: str, *arguments: Any) -> Any:
    st = _strategies()
    if kind == "binary":
        return st.binary(min_size=arguments[0], max_size=arguments[0])
    if kind == "number":
        low, high = arguments
        return st.sampled_from((low, high)) | st.floats(low, high, allow_subnormal=False)
    return getattr(st, kind)(*arguments)


def _strategy(build: Callable[[drawing.Source], T]) -> SearchStrategy[T]:
    def drawn(draw: DrawFn) -> T:
        return build(_Source(draw))

    made: SearchStrategy[T] = _strategies().composite(drawn)()
    return made


def _strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError:
        fail("gac_ref.testing needs hypothesis, which is not installed; pip install hypothesis")
    return strategies
