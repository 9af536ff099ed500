"""A finished study as one xarray dataset, and that as one netCDF file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.errors import fail
from simulations.engine.controllers import GRID_MARK
from simulations.sweeps.store import Store, StoreFull
from simulations.sweeps.study import Point, Study
from simulations.sweeps.summary import Values, hindsight, primary_metric, read_point

__all__ = ["collect", "write_netcdf"]

SCHEMA = "gac-simulation/1"
STEP = {"units": "step"}


def collect(study: Study, points: Sequence[Point], store: Store) -> Any:
    """Every seed of every point, the curves and the traces, with units and provenance.

    Args:
        study: The study.
        points: Its points, finished.
        store: Where its cells are.

    Returns:
        An `xarray.Dataset` with the dimensions point, controller, seed, curve_index, trace_index
        and trace_seed. ``NAME`` (point, controller, seed) is a metric; ``curve_NAME_mean``,
        ``curve_NAME_std`` (point, controller, curve_index) are moments across seeds, ddof 1, at
        ``curve_step``; ``trace_NAME`` (point, controller, trace_seed, trace_index) are single
        seeds. What a point does not have is NaN.

    Raises:
        GACError: Something is not finished, or points have different controllers.
    """
    import xarray as xr

    values = [read_point(point, store) for point in points]
    names = values[0].controllers
    for point, value in zip(points, values, strict=True):
        if value.controllers != names:
            fail(f"{point.label!r} has other controllers than {points[0].label!r}; export apart")
    variables: dict[str, Any] = {}
    units = {name: unit for value in values for name, unit in value.units.items()}
    for metric in dict.fromkeys(name for value in values for name in value.metrics):
        table = _padded([value.metrics.get(metric) for value in values])
        attributes = {"units": units.get(metric, "1")}
        variables[metric] = (("point", "controller", "seed"), table, attributes)
    variables |= _curves(values, units) | _traces(values, units)
    coordinates: dict[str, Any] = {
        "point": [point.label for point in points],
        "controller": names,
        "regime": ("point", [point.regime for point in points]),
        "cells": ("point", [" ".join(cell.name for cell in point.cells) for point in points]),
    }
    for path in dict.fromkeys(path for point in points for path in point.parameters):
        found = [point.parameters[path] for point in points]
        coordinates[_name(path)] = ("point", found, {"parameter": path})
    _add_hindsight(study, values, variables)
    return xr.Dataset(variables, coordinates, _attributes(study, points, values))


def _curves(values: Sequence[Values], units: dict[str, str]) -> dict[str, Any]:
    dims = ("point", "controller", "curve_index")
    out: dict[str, Any] = {
        "curve_step": (dims[::2], _padded([v.axes["curve_steps"] for v in values]), STEP),
    }
    for name in _names(values):
        mean: list[AnyArray | None] = []
        std: list[AnyArray | None] = []
        for value in values:
            place = _place(value, name)
            if place is None:
                mean.append(None)
                std.append(None)
                continue
            weight = value.curves["curve_weight"][0, place]
            scatter = value.curves["curve_scatter"][0, place]
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = np.sqrt(scatter / np.where(weight > 1.0, weight - 1.0, np.nan))
            mean.append(value.curves["curve_mean"][0, place].T)
            std.append(spread.T)
        attributes = {"units": units.get(name, "1")}
        out[f"curve_{name}_mean"] = (dims, _padded(mean), attributes)
        out[f"curve_{name}_std"] = (dims, _padded(std), attributes)
    return out


def _traces(values: Sequence[Values], units: dict[str, str]) -> dict[str, Any]:
    if not any(value.curves["trace"].size for value in values):
        return {}
    dims = ("point", "controller", "trace_seed", "trace_index")
    out: dict[str, Any] = {
        "trace_step": (
            ("point", "trace_index"),
            _padded([v.axes["trace_steps"] for v in values]),
            STEP,
        ),
    }
    for name in _names(values):
        tables: list[AnyArray | None] = []
        for value in values:
            place = _place(value, name)
            trace = value.curves["trace"]  # [S, V, K, C]
            tables.append(None if place is None else np.moveaxis(trace[:, place], 2, 0))
        out[f"trace_{name}"] = (dims, _padded(tables), {"units": units.get(name, "1")})
    return out


def _add_hindsight(study: Study, values: Sequence[Values], variables: dict[str, Any]) -> None:
    grids = dict.fromkeys(
        name.partition(GRID_MARK)[0] for name in values[0].controllers if GRID_MARK in name
    )
    maximise = bool(study.summary.get("maximise", False))
    for grid in grids:
        best = []
        for value in values:
            primary = primary_metric(study, value.metrics)
            index = hindsight(value, grid, primary, maximise=maximise)
            best.append(float(value.controllers[index].partition(GRID_MARK)[2]))
        note = f"the weight of the grid with the best mean {primary}, over the same seeds"
        variables[_name(f"{grid}_mu")] = ("point", best, {"units": "1", "comment": note})


def _attributes(study: Study, points: Sequence[Point], values: Sequence[Values]) -> dict[str, Any]:
    made = sorted({text for value in values for text in value.made_with})
    packages = {name: metadata.version(name) for name in ("numpy", "xarray", "h5netcdf", "h5py")}
    run = points[0].cells[0].configuration["run"]
    return {
        "schema": SCHEMA,
        "study": json.dumps(study.to_tree()),  # the order of the controllers matters
        "title": study.title or study.name,
        "seed": run["seed"],
        "computed_with": made,
        "collected_with": json.dumps(packages, sort_keys=True),
    }


def _names(values: Sequence[Values]) -> list[str]:
    return list(dict.fromkeys(n for v in values for n in v.axes["curve_names"].tolist()))


def _place(value: Values, name: str) -> int | None:
    names = value.axes["curve_names"].tolist()
    return names.index(name) if name in names else None


def _padded(tables: Sequence[AnyArray | None]) -> AnyArray:
    """Tables of equal rank side by side along a new first axis, NaN where one ends early."""
    known = [np.asarray(table, dtype=np.float64) for table in tables if table is not None]
    shape = tuple(max(sizes) for sizes in zip(*(table.shape for table in known), strict=True))
    out = np.full((len(tables), *shape), np.nan)
    for index, table in enumerate(tables):
        if table is not None:
            out[index][tuple(slice(size) for size in np.shape(table))] = table
    return out


def _name(path: str) -> str:
    return re.sub(r"\W", "_", path)


def write_netcdf(dataset: Any, target: Path) -> None:
    """Write a dataset as netCDF-4, whole or not at all; every number as float64.

    Raises:
        StoreFull: The file cannot be written.
    """
    # h5py stores float32 where nothing is said.
    encoding = {
        name: {"dtype": "float64", "zlib": True, "complevel": 4}
        for name, variable in dataset.variables.items()
        if variable.dtype.kind == "f"
    }
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        # HDF5 puts its own account of the error where the system's word would be.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreFull(
            f"{target}: cannot write ({reason}); make room, or pass another --to"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
