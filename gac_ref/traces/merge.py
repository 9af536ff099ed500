"""The ranks of one step as one batch, one oracle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.batch import Batch
from gac_ref.errors import GACError, fail
from gac_ref.traces.files import FIELDS, MEANS, PER_ROW


def group_of(arrays: Mapping[str, AnyArray], group: str) -> dict[str, float]:
    """The scalars ``group/NAME``, by name."""
    return {
        name.removeprefix(f"{group}/"): float(value)
        for name, value in arrays.items()
        if name.startswith(f"{group}/")
    }


def oracle_of(
    files: Mapping[int | None, Path], contents: Mapping[int | None, Mapping[str, AnyArray]]
) -> dict[str, float]:
    """The true values, which belong to the whole batch: ranks that give them must agree."""
    oracle: dict[str, float] = {}
    for rank, arrays in contents.items():
        for name, value in group_of(arrays, "oracle").items():
            if abs(value) == float("inf"):
                fail(f"{files[rank]}: oracle/{name} = {value!r}; write a finite value, or none")
            if name in ("sigma_s2", "sigma_r2") and value < 0.0:
                fail(f"{files[rank]}: oracle/{name} = {value!r} is negative; variances are >= 0")
            if oracle.get(name, value) != value:
                fail(
                    f"{files[rank]}: oracle/{name} = {value!r}, but {oracle[name]!r} in a lower "
                    "rank; it belongs to the whole batch, so write it on one rank"
                )
            if value == value:
                oracle[name] = value
    return oracle


def batch_of(
    files: Mapping[int | None, Path], contents: Mapping[int | None, Mapping[str, AnyArray]]
) -> Batch:
    """The ranks' rows as one batch; an error names the file that caused it."""
    shards = {files[rank]: _fields(arrays) for rank, arrays in contents.items()}
    if len(shards) == 1:
        ((file, fields),) = shards.items()
        return _validated(file, fields)
    try:
        return Batch(**_concatenated(shards))
    except GACError:
        for file, fields in shards.items():  # the file with the fault, not a row of the union
            _validated(file, fields)
        raise


def _validated(file: Path, fields: Mapping[str, Any]) -> Batch:
    try:
        return Batch(**fields)
    except GACError as error:
        raise GACError(f"{file}: {error}") from None


def _fields(arrays: Mapping[str, AnyArray]) -> dict[str, Any]:
    return {name: arrays[name] for name in FIELDS if name in arrays}


def _concatenated(shards: Mapping[Path, Mapping[str, AnyArray]]) -> dict[str, Any]:
    """Concatenate along B, with masked zeros up to the widest T. Empty shards add nothing."""
    filled = {file: fields for file, fields in shards.items() if len(fields["logprob"])}
    if not filled:
        return dict(next(iter(shards.values())))
    (first, model), *others = filled.items()
    for file, fields in others:
        if odd := (set(fields) ^ set(model)) - set(MEANS):
            fail(f"{file}: {min(odd)} is in this file or in {first.name}, not in both; write both")
        if fields["advantages"].ndim != model["advantages"].ndim:
            fail(
                f"{file}: advantages has shape {fields['advantages'].shape}, but "
                f"{model['advantages'].shape} in {first.name}; write [B] or [B, T] on every rank"
            )
    width = max(fields["logprob"].shape[1] for fields in filled.values())
    merged: dict[str, Any] = {}
    for name, kept in model.items():
        if name in MEANS:
            continue
        parts = [fields[name] for fields in filled.values()]
        if name in PER_ROW or kept.ndim == 1:
            merged[name] = np.concatenate(parts)
        else:
            pads = [((0, 0), (0, width - part.shape[1])) for part in parts]
            merged[name] = np.concatenate([np.pad(p, w) for p, w in zip(parts, pads, strict=True)])
    return {**merged, **_means(filled)}


def _means(shards: Mapping[Path, Mapping[str, AnyArray]]) -> dict[str, float]:
    """Batch means of the ranks, weighted by the rollouts' response tokens that they are over.

    A rank without such tokens has no mean: what it holds there, NaN or nothing, is not read.
    """
    tokens = {
        file: np.count_nonzero(fields["response_mask"][np.asarray(fields["is_expert"]) == 0])
        for file, fields in shards.items()
    }
    measured = {file: fields for file, fields in shards.items() if tokens[file]}
    means: dict[str, float] = {}
    for name in MEANS:
        with_it = [file for file, fields in measured.items() if name in fields]
        if without := [file for file in measured if file not in with_it]:
            if with_it:
                fail(f"{without[0]}: {name} is in {with_it[0].name} but not here; write both")
            continue
        if with_it:
            parts = [float(measured[file][name]) for file in with_it]
            means[name] = float(np.average(parts, weights=[tokens[file] for file in with_it]))
    return means
