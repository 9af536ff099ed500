"""The picture of the HTML page: error over bound by stage and dtype, as inline SVG."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from html import escape

from gac_ref.conformance.report import words
from gac_ref.conformance.report.summary import Check, Run
from gac_ref.conformance.stages import STAGES

__all__ = ["DTYPES", "draw", "lanes"]

DTYPES = ("fp64", "fp32", "fp16", "bf16")
"""Those with a colour and a lane of their own; the style sheet names it ``--fp64`` and so on."""

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 136, 90, 40, 34
_LANE, _PAD = 11, 9  # height of the lane of one dtype; white between two stages
_LOW, _HIGH = -4, 3  # decades drawn at least; what is smaller, exact values too, goes to the left
_CEILING = 9  # decades drawn at most; what is larger, infinities too, goes to the right
_GUTTER = 56  # room on both sides for what lies off the scale
_OFF = 40  # where in it the dots are


def lanes(runs: Sequence[Run]) -> list[str]:
    """The dtypes of the runs, each once and in order: one lane each, whatever the ranks.

    Examples:
        >>> from gac_ref.conformance.report.summary import runs_from
        >>> starts = [{"event": "start", "dtype": d, "ranks": r} for r in (0, 2) for d in ("bf16",
        ...           "fp64")]
        >>> lanes(runs_from(starts))
        ['fp64', 'bf16']
    """
    found = {run.dtype for run in runs}
    return [name for name in DTYPES if name in found] + sorted(found - set(DTYPES))


def draw(runs: Sequence[Run]) -> str:
    """One dot a check, one lane a dtype, one row a stage; log scale, with a line at 1.

    Args:
        runs: The runs to put into one picture.

    Returns:
        An ``<svg>`` element with a title and a description, coloured by the page's style sheet.
    """
    found = {check.stage for run in runs for check in run.checks}
    stages = [name for name in STAGES if name in found] + sorted(found - set(STAGES))
    if not stages:
        return ""
    scale = _Scale(runs)
    row = len(lanes(runs)) * _LANE + _PAD
    height = _TOP + row * len(stages) + _BOTTOM
    parts = [
        f'<svg class="picture" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-labelledby="picture-title picture-desc" xmlns="http://www.w3.org/2000/svg">',
        '<title id="picture-title">Error over bound, by stage and dtype</title>',
        f'<desc id="picture-desc">{escape(_description(runs, stages))}</desc>',
    ]
    # In the order of painting: stripes, the grid upon them, dots, and the bound over all.
    parts += [_stripe(_TOP + number * row, row) for number in range(0, len(stages), 2)]
    parts += _axes(scale, height)
    for number, stage in enumerate(stages):
        parts += _stage(stage, _TOP + number * row, row, runs, scale)
    edge = scale.x(1.0)
    parts.append(f'<path class="limit" d="M{edge:.1f} {_TOP - 6}V{height - _BOTTOM}"/>')
    parts.append(
        f'<text class="limit-label" x="{edge:.1f}" y="{_TOP - 12}">the derived bound</text>'
    )
    return "\n".join([*parts, "</svg>"])


class _Scale:
    """From an error over its bound to a place on the picture."""

    def __init__(self, runs: Sequence[Run]) -> None:
        worst = [c.ratio for run in runs for c in run.checks if 0 < c.ratio < math.inf]
        largest = math.ceil(math.log10(max(worst, default=1.0)))
        self.low, self.high = _LOW, min(max(1, largest), _CEILING)
        if largest > 1:
            self.high = min(max(_HIGH, largest), _CEILING)

    def x(self, ratio: float) -> float:
        """Where a ratio is drawn."""
        left, right = _LEFT + _GUTTER, _WIDTH - _RIGHT - _GUTTER
        if ratio < 10.0**self.low:
            return left - _OFF
        if ratio > 10.0**self.high:
            return right + _OFF
        share = (math.log10(ratio) - self.low) / (self.high - self.low)
        return left + share * (right - left)


def _axes(scale: _Scale, height: int) -> Iterator[str]:
    bottom = height - _BOTTOM
    edge, right = scale.x(1.0), _WIDTH - _RIGHT
    yield (
        f'<rect class="beyond" x="{edge:.1f}" y="{_TOP}" width="{right - edge:.1f}" '
        f'height="{bottom - _TOP}"/>'
    )
    for decade in range(scale.low, scale.high + 1):
        x = scale.x(10.0**decade)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 15}">{_tick(decade)}</text>'
    first = _LEFT + _GUTTER - _OFF
    yield f'<text class="tick" x="{first}" y="{bottom + 15}">smaller</text>'
    last = right - _GUTTER + _OFF
    yield f'<text class="tick" x="{last}" y="{bottom + 15}">differs</text>'
    yield (
        f'<text class="axis" x="{(_LEFT + right) / 2}" y="{bottom + 30}">'
        "largest error of a check over its bound</text>"
    )
    yield f'<text class="worst head" x="{_WIDTH - 6}" y="{_TOP - 12}">worst</text>'


def _tick(decade: int) -> str:
    """A power of ten: plain near 1, raised further out.

    Examples:
        >>> _tick(-1), _tick(2)
        ('0.1', '100')
    """
    if -2 <= decade <= 3:
        return f"{10.0**decade:g}"
    return f'10<tspan class="raised" dy="-4">{str(decade).replace("-", chr(0x2212))}</tspan>'


def _stripe(top: float, height: float) -> str:
    return f'<rect class="stripe" x="0" y="{top:g}" width="{_WIDTH}" height="{height:g}" rx="3"/>'


def _stage(
    stage: str, top: float, height: float, runs: Sequence[Run], scale: _Scale
) -> Iterator[str]:
    middle = top + height / 2
    origin = " origin" if any(run.end.get("origin") == stage for run in runs) else ""
    yield f'<text class="stage{origin}" x="10" y="{middle + 4:g}">{escape(stage)}</text>'
    worst = [c.ratio for run in runs for c in run.checks if c.stage == stage and c.ratio >= 0]
    if worst:
        bad = " bad" if max(worst) > 1 else ""
        yield (
            f'<text class="worst{bad}" x="{_WIDTH - 6}" y="{middle + 4:g}">'
            f"{words.ratio(max(worst))}</text>"
        )
    else:
        ran = any(c.status == "pass" for run in runs for c in run.checks if c.stage == stage)
        said = "passes" if ran else "not run"
        yield f'<text class="worst" x="{_WIDTH - 6}" y="{middle + 4:g}">{said}</text>'
    order = lanes(runs)
    for run in runs:
        y = top + _PAD / 2 + (order.index(run.dtype) + 0.5) * _LANE
        yield from _dots([c for c in run.checks if c.stage == stage], y, run, scale)


def _dots(checks: Sequence[Check], y: float, run: Run, scale: _Scale) -> Iterator[str]:
    """Those within the bound as one path, for size; each of the others as a shape with a name."""
    colour = f"dtype-{run.dtype}" if run.dtype in DTYPES else "dtype-other"
    shown = [check for check in checks if check.ratio >= 0]
    inside = sorted(
        {
            (round(scale.x(check.ratio), 1), round(y + _jitter(check), 1))
            for check in shown
            if check.ratio <= 1
        }
    )
    if inside:
        path = "".join(f"M{x:g} {place:g}h0" for x, place in inside)
        yield f'<path class="dots {colour}" d="{path}"/>'
    for check in shown:
        if check.ratio > 1:
            kind = check.status if check.status in ("propagated", "expected") else "wrong"
            text = f"{words.title(check)}: {words.ratio(check.ratio)} {kind}"
            yield (
                f'<circle class="out {kind} {colour}" cx="{scale.x(check.ratio):.1f}" '
                f'cy="{y + _jitter(check):.1f}" r="3.2"><title>{escape(text)}</title></circle>'
            )


def _jitter(check: Check) -> float:
    """A small shift that is the same in every report, so that equal errors do not hide."""
    key = f"{check.case} {check.stage} {check.mode} {check.step}".encode()
    return (zlib.crc32(key) / 2**32 - 0.5) * (_LANE - 4)


def _description(runs: Sequence[Run], stages: Sequence[str]) -> str:
    worst = ", ".join(f"{run.label} {words.ratio(run.worst)}" for run in runs)
    return (
        f"Each dot is one check. {len(stages)} stages from {stages[0]} to {stages[-1]}; "
        f"the worst error over bound is {worst}; a value above 1 is a divergence."
    )
