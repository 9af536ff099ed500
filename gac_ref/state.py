"""The controller's state: explicit, broadcast over trajectories, exact on disk."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from gac_ref._files import write_atomically
from gac_ref._typing import FloatArray, IntArray
from gac_ref.config import GACConfig
from gac_ref.errors import fail

__all__ = ["GACState", "load_state", "save_state"]

SCHEMA = "gac-state/1"


class GACState(NamedTuple):
    """Everything that the controller carries from one step to the next.

    Args:
        mu: The weight applied last, [...], in [mu_min, mu_max].
        mu_ada: The weight EMA's last value, [...], in [mu_min, mu_max].
        alpha: The target ratio, [...].
        sigma_s2: Smoothed SFT noise, [...]; without meaning while `count_s` is 0.
        sigma_r2: Smoothed RL noise, [...]; without meaning while `count_r` is 0.
        delta_g2: Smoothed disagreement, [...]; without meaning while `count_delta` is 0.
        count_s: How many refreshes fed sigma_s2, [...].
        count_r: How many refreshes fed sigma_r2, [...].
        count_delta: How many refreshes fed delta_g2, [...].
        last_refresh: The step of the last refresh, common to all trajectories; -1 before any.

    Examples:
        >>> import gac_ref
        >>> gac_ref.init(GACConfig(), shape=(3,)).mu.tolist()
        [0.5, 0.5, 0.5]
    """

    mu: FloatArray
    mu_ada: FloatArray
    alpha: FloatArray
    sigma_s2: FloatArray
    sigma_r2: FloatArray
    delta_g2: FloatArray
    count_s: IntArray
    count_r: IntArray
    count_delta: IntArray
    last_refresh: int


def save_state(path: str | os.PathLike[str], config: GACConfig, state: GACState) -> None:
    """Write configuration and state to one npz file, atomically, to the last bit.

    Args:
        path: The file; written under a temporary name beside it, synced, then renamed.
        config: The configuration that the state belongs to.
        state: The state.

    Examples:
        >>> import tempfile, gac_ref
        >>> config = GACConfig()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_state(f"{folder}/state.npz", config, gac_ref.init(config))
        ...     load_state(f"{folder}/state.npz")[0] == config
        True
    """
    import json

    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state._asdict().items()}
    arrays |= {"schema": np.asarray(SCHEMA), "config": np.asarray(json.dumps(config.to_dict()))}
    write_atomically(path, lambda file: np.savez(file, **arrays))


def load_state(path: str | os.PathLike[str]) -> tuple[GACConfig, GACState]:
    """Read what `save_state` wrote; a run resumed from it equals an uninterrupted one.

    Raises:
        GACError: The file is missing, damaged, of another schema, or holds pickled objects.

    Examples:
        >>> load_state("nowhere.npz")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: nowhere.npz: no such file; pass a file that save_state wrote
    """
    import json

    name = os.fspath(path)
    if not os.path.isfile(path):
        fail(f"{name}: no such file; pass a file that save_state wrote")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            stored = {key: file[key] for key in file.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own on damage
        fail(f"{name}: not readable as an npz of plain arrays ({error}); write it again")
    schema = str(stored.pop("schema", "missing"))
    if schema != SCHEMA:
        fail(f"{name}: schema is {schema!r}; this version reads {SCHEMA!r}")
    missing = {"config", *GACState._fields} - stored.keys()
    if missing:
        fail(f"{name}: lacks {', '.join(sorted(missing))}; write it again with save_state")
    try:
        loaded = json.loads(str(stored["config"]))
        if not isinstance(loaded, dict):
            raise ValueError(f"{loaded!r} is not an object of fields")
        config = GACConfig.from_dict(loaded)
    except ValueError as error:
        fail(f"{name}: config is invalid: {error}")
    fields = {key: stored[key] for key in GACState._fields if key != "last_refresh"}
    for key, value in fields.items():
        wanted = "int64" if key.startswith("count") else "float64"
        if value.dtype != wanted or value.shape != fields["mu"].shape:
            fail(
                f"{name}: {key} is {value.dtype.name} {value.shape}; expected {wanted} "
                f"{fields['mu'].shape}"
            )
    last = stored["last_refresh"]
    if last.dtype != "int64" or last.shape != () or last < -1:
        fail(f"{name}: last_refresh = {last.tolist()!r} is not a step or -1; write it again")
    for key, value in fields.items():
        high = 1.0 if key in ("mu", "mu_ada", "alpha") else np.inf
        bad = (value < 0) | (value > high)
        if bad.any():
            fail(f"{name}: {key} = {value[bad].flat[0].item()!r} is out of range; write it again")
    return config, GACState(**fields, last_refresh=int(last))
