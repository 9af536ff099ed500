"""What failing cases have in common, where there is nothing else to go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gac_ref.conformance.case import Case

__all__ = ["common_axis"]


def common_axis(failing: Sequence[Case], passing: Sequence[Case]) -> str:
    """What tells failing cases from passing ones in their configuration or tags; "" if nothing.

    Args:
        failing: Cases with a wrong step.
        passing: Cases with a right one.
    """
    ids = {case.id for case in failing}
    passing = [case for case in {case.id: case for case in passing}.values() if case.id not in ids]
    failing = list({case.id: case for case in failing}.values())
    if not failing or not passing:
        return ""
    best, share = "", 0.5  # an axis that half of the passing cases share says nothing
    for words, has in _axes(failing[0]):
        if not all(has(case) for case in failing):
            continue
        also = sum(has(case) for case in passing)
        if also / len(passing) < share:
            share = also / len(passing)
            rest = f"; so have {also} of {len(passing)} passing" if also else ", and no passing one"
            best = f"all {len(failing)} failing cases have {words}{rest}"
    return best


def _axes(case: Case) -> Iterable[tuple[str, Callable[[Case], bool]]]:
    for name, value in case.config.to_dict().items():
        if isinstance(value, str | bool):
            yield (
                f"{name}={value}",
                lambda c, n=name, v=value: bool(getattr(c.config, n) == v),  # type: ignore[misc]
            )
    for tag in case.tags:
        yield f"the tag {tag}", lambda c, t=tag: t in c.tags  # type: ignore[misc]
