"""K-signal weights over the simplex by exhaustive support enumeration (method.md, section 1)."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

from .exact import fracs, matrix


def simplex_risk(w: Any, gram: Any, noise: Any, target: Any) -> Fraction:
    """Risk ``(w - a)' G (w - a) + w' S w``, with ``gram`` G, ``noise`` S and ``target`` a."""
    weights, a = fracs(w), fracs(target)
    gap = [wi - ai for wi, ai in zip(weights, a, strict=True)]
    return _quadratic(matrix(gram), gap) + _quadratic(matrix(noise), weights)


def simplex_minimiser(gram: Any, noise: Any, target: Any) -> tuple[list[Fraction], Fraction, bool]:
    """Exact minimiser over the simplex: ``(weights, risk, unique)``.

    Each support's equality-constrained problem is one linear system. A minimiser of smallest
    support makes its system regular (else one could slide along the kernel to the boundary), so
    singular systems are skipped without loss; every vertex of the set of minimisers is found, so
    ``unique`` is exact. When not unique, the weights of the first support found are returned.
    """
    g, s, a = matrix(gram), matrix(noise), fracs(target)
    k = len(a)
    _check_symmetric(g, k, "gram")
    _check_symmetric(s, k, "noise")
    hessian = [[g[i][j] + s[i][j] for j in range(k)] for i in range(k)]
    pull = [sum((g[i][j] * a[j] for j in range(k)), Fraction(0)) for i in range(k)]
    candidates: list[tuple[Fraction, list[Fraction]]] = []
    for size in range(1, k + 1):
        for support in combinations(range(k), size):
            weights = _on_support(hessian, pull, support, k)
            if weights is not None and min(weights) >= 0:
                candidates.append((simplex_risk(weights, g, s, a), weights))
    lowest = min(value for value, _ in candidates)
    best = [weights for value, weights in candidates if value == lowest]
    return best[0], lowest, all(weights == best[0] for weights in best)


def solve(rows: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Solve a square rational system by Gauss-Jordan elimination; None when it is singular."""
    n = len(right)
    table = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for column in range(n):
        pivot = next((i for i in range(column, n) if table[i][column] != 0), None)
        if pivot is None:
            return None
        table[column], table[pivot] = table[pivot], table[column]
        scale = table[column][column]
        table[column] = [value / scale for value in table[column]]
        for i in range(n):
            factor = table[i][column]
            if i != column and factor != 0:
                table[i] = [x - factor * y for x, y in zip(table[i], table[column], strict=True)]
    return [row[-1] for row in table]


def _on_support(
    hessian: list[list[Fraction]], pull: list[Fraction], support: tuple[int, ...], k: int
) -> list[Fraction] | None:
    one, zero = Fraction(1), Fraction(0)
    rows = [[*(hessian[i][j] for j in support), one] for i in support]
    rows.append([one] * len(support) + [zero])
    solution = solve(rows, [*(pull[i] for i in support), one])
    if solution is None:
        return None
    weights = [zero] * k
    for position, i in enumerate(support):
        weights[i] = solution[position]
    return weights


def _quadratic(m: list[list[Fraction]], x: list[Fraction]) -> Fraction:
    total = Fraction(0)
    for i, xi in enumerate(x):
        for j, xj in enumerate(x):
            total += xi * m[i][j] * xj
    return total


def _check_symmetric(m: list[list[Fraction]], k: int, name: str) -> None:
    if len(m) != k or any(len(row) != k for row in m):
        raise ValueError(f"simplex: {name} is not {k} x {k}")
    if any(m[i][j] != m[j][i] for i in range(k) for j in range(i)):
        raise ValueError(f"simplex: {name} is not symmetric")
