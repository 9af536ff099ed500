"""Results of the study: a file a run, and all of them in one small file. NumPy only.

OUT/CONTROLLER-seedN.npz   one run, with the plan and the rule that made it
OUT/study.npz              all runs, [controllers, seeds, ...], compressed, with provenance
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, FloatArray, IntArray
from gac_ref.errors import GACError, fail
from simulations.recording.study import SHIPPED_STUDY
from simulations.recording.study.observer import SERIES, TRUTHS
from simulations.sweeps.files import Damaged, read_arrays, replace_file, write_arrays

__all__ = ["Study", "load_study", "pack", "read_run", "run_file", "study_digest", "write_run"]

SCHEMA = "gac-transformer-study/1"
"""Raised whenever the names, shapes or meanings in a packed file change."""

HELD_OUT = ("held_exact", "held_reward")

_UNIT = ("mu", "reward", "exact", "spread", *HELD_OUT)
_NON_NEGATIVE = ("entropy", "loss_sft", "sigma_s2", "sigma_r2", "delta_g2", "delta_g2_released")
_META = ("command", "versions", "plan", "rules", "description")


class Study(NamedTuple):
    """All runs of a study.

    Args:
        controllers: Names, C of them.
        seeds: Seeds, [S].
        evaluated: Steps ahead of which the held-out test was taken, [E].
        oracle_steps: Steps with true values, [P].
        series: By name, [C, S, steps]; see `simulations.recording.study.observer.SERIES`.
        truths: True gradient-space values by name, [C, S, P].
        held_exact: Share of the held-out problems that greedy decoding answers, [C, S, E].
        held_reward: Mean reward of the same answers, [C, S, E].
        meta: Command, versions, plan, rules and description.

    Examples:
        >>> study = load_study()
        >>> study.series["mu"].shape[:2] == (len(study.controllers), len(study.seeds))
        True
    """

    controllers: tuple[str, ...]
    seeds: IntArray
    evaluated: IntArray
    oracle_steps: IntArray
    series: dict[str, FloatArray]
    truths: dict[str, FloatArray]
    held_exact: FloatArray
    held_reward: FloatArray
    meta: dict[str, Any]


def run_file(folder: Path, controller: str, seed: int) -> Path:
    """Where a run is kept."""
    return folder / f"{controller}-seed{seed}.npz"


def write_run(path: Path, arrays: Mapping[str, AnyArray], made_by: Mapping[str, Any]) -> None:
    """Keep a run, whole or not at all."""
    write_arrays(path, {**arrays, "made_by": np.array(json.dumps(made_by, sort_keys=True))})


def read_run(path: Path, made_by: Mapping[str, Any]) -> dict[str, AnyArray] | None:
    """What `write_run` kept; None where it is missing, damaged, or made by something else."""
    try:
        arrays = read_arrays(path)
    except Damaged:
        return None
    same = str(arrays.pop("made_by", "")) == json.dumps(made_by, sort_keys=True)
    return arrays if same else None


def pack(
    path: Path,
    runs: Mapping[tuple[str, int], Mapping[str, AnyArray]],
    *,
    evaluated: Sequence[int],
    oracle_steps: Sequence[int],
    meta: Mapping[str, Any],
) -> None:
    """Write all runs, every controller with every seed, as one compressed file.

    Raises:
        GACError: A controller lacks a seed that another has.
    """
    names = list(dict.fromkeys(name for name, _ in runs))
    seeds = sorted({seed for _, seed in runs})
    for name in names:
        for seed in seeds:
            if (name, seed) not in runs:
                fail(f"no run of {name} with seed {seed}; every controller needs every seed")
    arrays = {
        key: np.stack([[runs[name, seed][key] for seed in seeds] for name in names])
        for key in runs[names[0], seeds[0]]
    }
    arrays |= {
        "controllers": np.array(names),
        "seeds": np.array(seeds, dtype=np.int64),
        "evaluated": np.array(evaluated, dtype=np.int64),
        "oracle_steps": np.array(oracle_steps, dtype=np.int64),
        "meta": np.array(json.dumps({"schema": SCHEMA, **meta}, sort_keys=True)),
    }
    with tempfile.TemporaryDirectory() as scratch:
        # Written plainly first, for the digest that goes with the arrays.
        plain = Path(scratch) / "plain.npz"
        write_arrays(plain, arrays)
        with np.load(plain, allow_pickle=False) as file:
            whole: dict[str, Any] = {name: file[name] for name in file.files}
    replace_file(path, lambda file: np.savez_compressed(file, **whole))


def load_study(path: Path = SHIPPED_STUDY) -> Study:
    """Read a packed study, and refuse what is not one.

    Args:
        path: The file; the shipped one by default.

    Raises:
        GACError: The file is missing or damaged, of another schema, or holds an array of a wrong
            shape or a value out of range.
    """
    if not path.is_file():
        fail(f"{path}: no such file; make it with: python -m simulations.recording.study")
    try:
        arrays = read_arrays(path)
    except Damaged as error:
        raise GACError(f"{path}: damaged ({error}); restore it from the repository") from error
    meta = _meta(path, arrays)
    _require_arrays(path, arrays)
    return Study(
        controllers=tuple(str(name) for name in arrays["controllers"]),
        seeds=arrays["seeds"],
        evaluated=arrays["evaluated"],
        oracle_steps=arrays["oracle_steps"],
        series={name: arrays[name].astype(np.float64) for name in SERIES},
        truths={name: arrays[f"true_{name}"] for name in TRUTHS},
        held_exact=arrays["held_exact"],
        held_reward=arrays["held_reward"],
        meta=meta,
    )


def study_digest(path: Path = SHIPPED_STUDY) -> str:
    """The first digits of the digest that a packed study carries of its arrays.

    Raises:
        GACError: The file is missing or has no digest.

    Examples:
        >>> len(study_digest())
        16
    """
    try:
        # Opened here: NumPy leaves its own handle open where the archive is damaged.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return str(file["digest"])[:16]
    except Exception as error:  # zipfile and NumPy each raise their own on damage
        raise GACError(f"{path}: not readable ({error}); restore it from the repository") from error


def _meta(path: Path, arrays: Mapping[str, AnyArray]) -> dict[str, Any]:
    try:
        meta = json.loads(str(arrays["meta"]))
        schema = meta["schema"]
    except (KeyError, ValueError, TypeError) as error:
        raise GACError(f"{path}: not a study ({error!r}); pass a file that the study wrote") from (
            error
        )
    if schema != SCHEMA:
        fail(f"{path}: schema {schema!r} is not {SCHEMA!r}; make it again with this version")
    missing = [name for name in _META if not meta.get(name)]
    if missing:
        fail(f"{path}: meta lacks {', '.join(missing)}; make it again with this version")
    return dict(meta)


def _require_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> None:
    lengths = {
        **dict.fromkeys(SERIES, "steps"),
        **{f"true_{name}": "oracle_steps" for name in TRUTHS},
        **dict.fromkeys(HELD_OUT, "evaluated"),
    }
    wanted = {*lengths, "controllers", "seeds", "evaluated", "oracle_steps", "meta"}
    if set(arrays) != wanted:
        odd = ", ".join(sorted(set(arrays) ^ wanted))
        fail(f"{path}: arrays differ from the schema's in {odd}; make it again with this version")
    runs = (arrays["controllers"].size, arrays["seeds"].size)
    steps = arrays["mu"].shape[-1] if arrays["mu"].ndim else 0
    for name, along in lengths.items():
        length = steps if along == "steps" else arrays[along].size
        array = arrays[name]
        if array.dtype.kind != "f" or array.shape != (*runs, length):
            fail(
                f"{path}: {name} is {array.dtype} {array.shape}, not floating point "
                f"{(*runs, length)}; make it again with this version"
            )
        _require_range(path, name, array)


def _require_range(path: Path, name: str, array: AnyArray) -> None:
    low = 0.0 if name in (*_UNIT, *_NON_NEGATIVE) else -np.inf
    high = 1.0 if name in _UNIT else np.inf
    good = (array >= low) & (array <= high) & np.isfinite(array)
    if name == "mu_raw":  # only GAC has one
        good |= np.isnan(array)
    if not good.all():
        index = tuple(int(i) for i in np.argwhere(~good)[0])
        fail(
            f"{path}: {name}{list(index)} = {float(array[index])!r} is not a number in "
            f"[{low:g}, {high:g}]; restore the file from the repository"
        )
