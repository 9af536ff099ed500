"""Tuning with the same small budget for every method, on seeds that no answer is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.analysis.question import finite

__all__ = ["Tuned", "best_of", "choose", "split"]


class Tuned(NamedTuple):
    """The settings that a method runs with.

    Args:
        settings: Place of the chosen controller in each regime, [R].
        score: Its mean score on the tuning seeds, [R].
    """

    settings: IntArray
    score: FloatArray


def split(values: FloatArray, evaluation: int) -> tuple[FloatArray, FloatArray]:
    """Evaluation seeds, the first ones, and tuning seeds, the rest, of [R, C, n].

    Raises:
        GACError: No seeds are left to tune on, or fewer than two to evaluate.

    Examples:
        >>> [part.shape for part in split(np.zeros((2, 3, 10)), 6)]
        [(2, 3, 6), (2, 3, 4)]
    """
    n = values.shape[-1]
    if not 2 <= evaluation < n:
        fail(f"evaluation = {evaluation} of {n} seeds; pass at least 2 and leave some to tune on")
    return values[..., :evaluation], values[..., evaluation:]


def choose(
    scores: FloatArray, controllers: Sequence[str], families: Mapping[str, Sequence[str]]
) -> dict[str, Tuned]:
    """For each method and regime the setting with the best mean score.

    Args:
        scores: On the tuning seeds, larger is better, [R, C, n].
        controllers: Names along C.
        families: Method -> its controllers, one a setting; the first wins a tie.

    Returns:
        Method -> its choice.

    Raises:
        GACError: A controller is missing, or a score is not finite.

    Examples:
        >>> found = choose(np.array([[[1.0], [3.0]]]), ["a_1", "a_2"], {"a": ["a_1", "a_2"]})
        >>> found["a"].settings.tolist()
        [1]
    """
    means = finite(scores, "scores on the tuning seeds").mean(axis=-1)
    out: dict[str, Tuned] = {}
    for method, members in families.items():
        absent = [name for name in members if name not in controllers]
        if absent or not members:
            fail(f"method {method!r} lacks the controller {absent or members!r}; run it first")
        places = np.array([list(controllers).index(name) for name in members])
        best = means[:, places].argmax(axis=1)
        out[method] = Tuned(places[best], means[np.arange(len(means)), places[best]])
    return out


def best_of(tuned: Mapping[str, Tuned], methods: Sequence[str]) -> tuple[list[str], Tuned]:
    """In each regime the method with the best score on the tuning seeds, and its setting.

    Examples:
        >>> tuned = {"a": Tuned(np.array([0]), np.array([1.0])),
        ...          "b": Tuned(np.array([4]), np.array([2.0]))}
        >>> best_of(tuned, ["a", "b"])[0]
        ['b']
    """
    scores = np.stack([tuned[name].score for name in methods])
    places = np.stack([tuned[name].settings for name in methods])
    best, regimes = scores.argmax(axis=0), np.arange(scores.shape[1])
    names = [methods[index] for index in best]
    return names, Tuned(places[best, regimes], scores[best, regimes])
