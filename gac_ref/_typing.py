"""Array types used in signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

# numpy.typing is a module of its own, and costs a tenth of the time that this package may take.
if TYPE_CHECKING:
    from numpy.typing import ArrayLike as ArrayLike
else:
    ArrayLike = Any

FloatArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.float64]]
BoolArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.bool_]]
IntArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.int64]]
AnyArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]
