"""State on disk: exact to the bit, whole or not at all, and never a pickle."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _samplers import AXES, pairwise_designs, same_bits, seeded_fields, to_batch

from gac_ref import (
    GACConfig,
    GACError,
    GACState,
    Proxies,
    init,
    load_state,
    save_state,
    update,
    update_from_proxies,
)

STEPS = 30
DESIGNS = pairwise_designs(AXES, seed=1)


def proxies_at(step: int, shape: tuple[int, ...]) -> Proxies:
    rng = np.random.default_rng(step)
    return Proxies(
        *rng.random((3, *shape)),
        *(rng.random((3, *shape)) < 0.8),
        kl=rng.choice([np.nan, 0.01, 0.05], size=shape),
    )


def advanced(steps: int = 3, shape: tuple[int, ...] = ()) -> tuple[GACConfig, GACState]:
    config = GACConfig(mu_update_freq=1)
    state = init(config, shape)
    for step in range(steps):
        state, _ = update_from_proxies(config, state, proxies_at(step, shape), step=step)
    return config, state


# Exactness


@pytest.mark.parametrize("index", range(0, len(DESIGNS), 2))
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_resuming_at_any_step_equals_the_uninterrupted_run(
    index: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    config = GACConfig(**DESIGNS[index])
    file = tmp_path / "state.npz"
    whole = resumed = init(config, shape)
    for step in range(STEPS):
        save_state(file, config, resumed)
        loaded, resumed = load_state(file)
        assert loaded == config
        assert same_bits(resumed, whole)
        values = proxies_at(step, shape)
        whole, expected = update_from_proxies(config, whole, values, step=step)
        resumed, info = update_from_proxies(loaded, resumed, values, step=step)
        assert same_bits(resumed, whole)
        assert same_bits(info[2:-1], expected[2:-1])
        assert info.acted() == expected.acted()


@pytest.mark.parametrize("interrupted", [1, 7, 12])
def test_a_run_on_batches_resumes_exactly(interrupted: int, tmp_path: Path) -> None:
    config = GACConfig.decoupled(alpha_mode="kl", mu_update_freq=3)
    rng = np.random.default_rng(0)
    batches = [to_batch(seeded_fields(rng, 6, 4, experts=i % 7)) for i in range(20)]
    whole = init(config)
    for step, batch in enumerate(batches):
        whole, _ = update(config, whole, batch, step=step)
    state = init(config)
    for step, batch in enumerate(batches):
        if step == interrupted:
            save_state(tmp_path / "s.npz", config, state)
            _, state = load_state(tmp_path / "s.npz")
        state, _ = update(config, state, batch, step=step)
    assert same_bits(state, whole)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,)])
def test_shapes_and_dtypes_survive(shape: tuple[int, ...], tmp_path: Path) -> None:
    config, state = advanced(shape=shape)
    save_state(tmp_path / "s.npz", config, state)
    _, loaded = load_state(tmp_path / "s.npz")
    for name in GACState._fields[:-1]:
        left, right = np.asarray(getattr(loaded, name)), np.asarray(getattr(state, name))
        assert (left.shape, left.dtype) == (right.shape, right.dtype)
    assert type(loaded.last_refresh) is int


def test_awkward_floats_survive(tmp_path: Path) -> None:
    config = GACConfig(alpha=0.1 + 0.2, eps=5e-324)
    values = np.array([5e-324, 1e308, 0.1, np.nextafter(1.0, 0.0)])
    state = init(config, (4,))._replace(sigma_s2=values)
    save_state(tmp_path / "s.npz", config, state)
    loaded_config, loaded = load_state(tmp_path / "s.npz")
    assert loaded_config == config
    assert same_bits(loaded, state)


def test_a_poisoned_run_survives_too(tmp_path: Path) -> None:
    config, state = advanced(shape=(2,))  # NaN is what `released` makes of junk in the padding
    state = state._replace(mu=np.array([np.nan, 0.5]), sigma_s2=np.array([np.nan, 1.0]))
    save_state(tmp_path / "s.npz", config, state)
    assert same_bits(load_state(tmp_path / "s.npz")[1], state)


# Files


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    config, state = advanced()
    file = tmp_path / "run.state"  # the name is kept: no suffix is added
    for _ in range(2):
        save_state(str(file), config, state)
        assert os.listdir(tmp_path) == ["run.state"]


def test_a_failed_write_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = advanced()
    file = tmp_path / "s.npz"
    save_state(file, config, state)
    before = file.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(file, config, advanced(5)[1])
    assert file.read_bytes() == before


def test_the_file_is_a_plain_npz_without_objects(tmp_path: Path) -> None:
    config, state = advanced()
    save_state(tmp_path / "s.npz", config, state)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {"schema", "config", *GACState._fields}
        assert str(archive["schema"]) == "gac-state/1"
        assert json.loads(str(archive["config"])) == config.to_dict()


# Damage


def refused(file: Path, *parts: str) -> None:
    with pytest.raises(GACError) as error:
        load_state(file)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(file), *parts):
        assert part in message, (part, message)


def rewrite(tmp_path: Path, **changes: Any) -> Path:
    """A saved state with fields replaced (None: removed)."""
    config, state = advanced(shape=(2,))
    file = tmp_path / "s.npz"
    save_state(file, config, state)
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file


def test_an_untouched_rewrite_loads(tmp_path: Path) -> None:
    assert same_bits(load_state(rewrite(tmp_path))[1], advanced(shape=(2,))[1])


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.npz", "no such file")
    refused(tmp_path, "no such file")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    file = rewrite(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    refused(file, "not readable")


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    file = rewrite(tmp_path)
    file.write_bytes(file.read_bytes()[:200])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        refused(file)
        gc.collect()
    assert [str(warning.message) for warning in seen] == []


def test_a_flipped_byte_in_any_array_is_refused(tmp_path: Path) -> None:
    file = rewrite(tmp_path)
    whole = file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = archive.infolist()
    for member in members:
        # Past the 30-byte header, the name and NumPy's extra field: the last byte of the data.
        name_size, extra_size = (
            int.from_bytes(whole[member.header_offset + i : member.header_offset + i + 2], "little")
            for i in (26, 28)
        )
        start = member.header_offset + 30 + name_size + extra_size
        damaged = bytearray(whole)
        damaged[start + member.compress_size - 1] ^= 0x01
        file.write_bytes(bytes(damaged))
        refused(file, "not readable")


@pytest.mark.parametrize("content", [b"", b"not an archive\n", b"\x93NUMPY", b"PK\x03\x04"])
def test_what_is_not_an_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "s.npz"
    file.write_bytes(content)
    refused(file)


def test_a_single_array_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.npz"
    with file.open("wb") as out:
        np.save(out, np.zeros(3))
    refused(file)


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.npz"
    file.write_bytes(pickle.dumps(Bomb()))
    refused(file, "not readable")
    bombs = np.empty(2, dtype=object)
    bombs[:] = [Bomb(), Bomb()]
    for name in ("mu", "config", "schema", "last_refresh"):
        refused(rewrite(tmp_path, **{name: bombs}), "not readable")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("schema", ["gac-state/2", "gac-trace/1", "", None])
def test_another_schema_is_refused(tmp_path: Path, schema: str | None) -> None:
    file = rewrite(tmp_path, schema=None if schema is None else np.array(schema))
    refused(file, "schema", "gac-state/1", repr("missing" if schema is None else schema))


@pytest.mark.parametrize("name", ["config", *GACState._fields])
def test_a_missing_field_is_refused_by_name(tmp_path: Path, name: str) -> None:
    refused(rewrite(tmp_path, **{name: None}), "lacks", name)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "config"),
        ("", "config"),
        ("[]", "config"),
        ("null", "config"),
        ("3", "config"),
        ('["alpha"]', "config"),
        ('{"alpha": 1.5}', "alpha = 1.5"),
        ('{"emma_beta": 0.9}', "emma_beta"),
        ('{"alpha": "high"}', "alpha = 'high'"),
        ('{"alpha": NaN}', "alpha = nan"),
    ],
)
def test_an_invalid_config_is_refused(tmp_path: Path, text: str, part: str) -> None:
    refused(rewrite(tmp_path, config=np.array(text)), part)


FLOAT_FIELDS = ("mu", "mu_ada", "alpha", "sigma_s2", "sigma_r2", "delta_g2")
COUNT_FIELDS = ("count_s", "count_r", "count_delta")


@pytest.mark.parametrize("name", FLOAT_FIELDS)
@pytest.mark.parametrize("bad", [np.zeros(2, np.float32), np.zeros(2, np.int64), np.array("mu")])
def test_a_float_field_of_another_dtype_is_refused(tmp_path: Path, name: str, bad: Any) -> None:
    refused(rewrite(tmp_path, **{name: bad}), name, bad.dtype.name)


@pytest.mark.parametrize("name", COUNT_FIELDS)
@pytest.mark.parametrize("bad", [np.zeros(2), np.zeros(2, np.int32)])
def test_a_count_of_another_dtype_is_refused(tmp_path: Path, name: str, bad: Any) -> None:
    refused(rewrite(tmp_path, **{name: bad}), name, bad.dtype.name)


@pytest.mark.parametrize("name", [*FLOAT_FIELDS[1:], *COUNT_FIELDS])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1)])
def test_a_field_of_another_shape_is_refused(tmp_path: Path, name: str, shape: Any) -> None:
    kind = np.int64 if name in COUNT_FIELDS else np.float64
    refused(rewrite(tmp_path, **{name: np.zeros(shape, kind)}), name, str(shape))


@pytest.mark.parametrize(
    "bad", [np.array("3"), np.array([1, 2]), np.array(2.5), np.array(np.nan), np.array(-2)]
)
def test_a_last_refresh_that_is_no_step_is_refused(tmp_path: Path, bad: Any) -> None:
    refused(rewrite(tmp_path, last_refresh=bad), "last_refresh")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("mu", [0.5, 1.5]),
        ("mu_ada", [-0.1, 0.5]),
        ("alpha", [0.5, 2.0]),
        ("sigma_s2", [-1.0, 0.0]),
        ("sigma_r2", [0.0, -1e-300]),
        ("delta_g2", [-1.0, 0.0]),
        ("count_s", [-1, 0]),
    ],
)
def test_a_value_that_no_run_can_reach_is_refused(tmp_path: Path, name: str, bad: Any) -> None:
    refused(rewrite(tmp_path, **{name: np.array(bad)}), name)
