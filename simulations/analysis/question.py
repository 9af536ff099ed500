"""A question, its saved parts, and the answer that is read from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.errors import fail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulations.analysis.results import Results

__all__ = ["Figure", "Finding", "Part", "Question", "Section", "finite"]


@dataclass(frozen=True)
class Part:
    """One computation whose result is saved: a pure function of its settings.

    Args:
        name: ``QUESTION.PART``, as ``python -m simulations analyse`` takes it.
        compute: Settings -> plain arrays (no objects); the same settings, the same bytes.
        settings: JSON values, passed to `compute` as keywords; they name the saved file.

    Examples:
        >>> import numpy as np
        >>> part = Part("example.square", lambda x: {"square": np.array(x * x)}, {"x": 3})
        >>> int(part.compute(**part.settings)["square"])
        9
    """

    name: str
    compute: Callable[..., Mapping[str, AnyArray]]
    settings: Mapping[str, Any]

    @property
    def command(self) -> str:
        """What computes it again."""
        return f"python -m simulations analyse {self.name} --again"


class Finding(NamedTuple):
    """A number that answers something, with what is needed to trust and to repeat it.

    Args:
        label: What the number is, a short phrase.
        value: The number.
        low: Lower end of its 95 % interval; equal to `value` where it is exact, NaN where there is
            no interval.
        high: Upper end.
        n: Independent observations behind it; 0 where it is exact.
        unit: Its unit, "1" for a pure number.
        part: The part that it was read from; its file and command are printed beside the number.

    Examples:
        >>> Finding.exact("pole of the released guards", 0.99, "1", "authority.linear").n
        0
    """

    label: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    part: str

    @classmethod
    def exact(cls, label: str, value: float, unit: str, part: str) -> Finding:
        """A number without sampling error."""
        return cls(label, float(value), float(value), float(value), 0, unit, part)

    def text(self) -> str:
        """The number with its interval, to the digits that the interval leaves.

        Examples:
            >>> Finding("gain", 0.51234, 0.4912, 0.5331, 40, "1", "a.b").text()
            '0.512 [0.491, 0.533]'
            >>> Finding.exact("pole", 0.99, "1", "a.b").text()
            '0.99'
        """
        unit = "" if self.unit == "1" else f" {self.unit}"
        if self.n == 0 and self.low == self.value == self.high:
            return f"{self.value:.4g}{unit}"
        if math.isnan(self.low):
            return f"{self.value:.3g}{unit}"
        width = self.high - self.low
        if not 1e-6 < width < math.inf:
            return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]{unit}"
        decimals = max(0, 1 - math.floor(math.log10(width)))
        value, low, high = (f"{x:.{decimals}f}" for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]{unit}"


class Figure(NamedTuple):
    """A picture of a section.

    Args:
        name: File name without ending.
        caption: What a reader sees, one or two sentences.
        draw: Draws on the axes that it is given and returns them.
        size: Width and height in inches.
        panels: Axes side by side that `draw` is given, as an array where there are several.
    """

    name: str
    caption: str
    draw: Callable[[Any], Axes | AnyArray]
    size: tuple[float, float] = (5.5, 3.2)
    panels: int = 1


class Section(NamedTuple):
    """The answer to a question.

    Args:
        title: The question, one sentence.
        answer: Paragraphs in Markdown; numbers in them come from the findings.
        findings: The numbers.
        figures: The pictures.
    """

    title: str
    answer: tuple[str, ...]
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...]


class Question(Protocol):
    """What a package of this folder offers."""

    name: str
    title: str

    def parts(self) -> tuple[Part, ...]:
        """What is computed and saved."""

    def section(self, results: Results) -> Section:
        """The answer, from saved results only.

        Raises:
            GACError: A result is missing, damaged or not a number.
        """


def finite(values: AnyArray, where: str) -> AnyArray:
    """The values, once none of them is NaN or infinite; nothing is averaged over silently.

    Raises:
        GACError: Some are not finite.

    Examples:
        >>> finite(np.array([1.0, np.nan]), "loss_final of mgda")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: loss_final of mgda: 1 of 2 values are not finite; leave them out \
by name, or mend what made them
    """
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        fail(
            f"{where}: {bad} of {np.size(values)} values are not finite; leave them out by name, "
            "or mend what made them"
        )
    return values
