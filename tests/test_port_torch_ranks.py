"""The torch port over real processes: one batch, dealt in every awkward way, and the same bits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gac_ref
from gac_ref import GACConfig

torch = pytest.importorskip("torch", reason="the torch port needs torch")

from _torch_batches import some_batch  # noqa: E402

from gac_ref.ports.torch import Batch, init, update  # noqa: E402

ROOT = Path(gac_ref.__file__).parents[1]

RANK_SECONDS = 120.0
"""A rank imports torch, on a busy machine; a collective gives up after twenty."""


WORKER = """
import json, os, sys
from datetime import timedelta
import torch, torch.distributed as dist
sys.path.insert(0, {tests!r})
from gac_ref import GACError
from test_port_torch_ranks import deal, init, some_batch, update
rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo", timeout=timedelta(seconds=20))
calls = 0
def counted(*args, real=dist.all_gather_into_tensor, **kwargs):
    global calls
    calls += 1
    return real(*args, **kwargs)
dist.all_gather_into_tensor = counted
found = {{}}
for name, (config, kl, parts, options, spoil) in deal(ranks).items():
    calls, state, out = 0, init(config), []
    try:
        for step in range(3):
            batch = some_batch(seed=step, rows=17)
            mine = torch.tensor(parts[rank], dtype=torch.long)
            batch = batch._replace(**{{k: getattr(batch, k)[mine] for k in
                ("logprob", "response_mask", "advantages", "is_expert", "ref_logprob")}})
            batch = batch._replace(kl=kl)
            if spoil == "values" and rank == ranks - 1:
                batch = batch._replace(logprob=batch.logprob.abs())
            if spoil == "shape" and rank == ranks - 1:
                batch = batch._replace(advantages=batch.advantages[:, :2])
            mine = config.replace(alpha=0.3) if spoil == "config" and rank == 1 else config
            state, info = update(mine, state, batch, step=step, group=dist.group.WORLD, **options)
            out.append(info.mu.hex())
    except GACError as error:
        out = str(error)
    found[name] = [out, calls]
print("RESULT" + json.dumps(found))
dist.destroy_process_group()
"""


def deal(ranks: int) -> dict[str, tuple[GACConfig, float | None, list[list[int]], Any, str]]:
    """Ways to deal the 17 rows of a batch (the experts are every third)."""
    rows = list(range(17))
    experts, rollouts = rows[::3], [row for row in rows if row % 3]
    first, rest = [[] for _ in range(ranks - 1)], [[] for _ in range(ranks - 2)]
    open_guards = {"weight_ema": "off", "prior": "none", "mu_change_cap": 1.0, "mu_update_freq": 1}
    config = GACConfig(**open_guards, ema_beta=0.5, alpha_mode="kl", mu_min=0.0, mu_max=1.0)
    uneven = [rows[rank::ranks] for rank in range(ranks - 1)]
    uneven.append([row for row in rows if not any(row in part for part in uneven)])
    branches = [experts, rollouts, *rest]
    return {
        "interleaved": (config, None, uneven, {}, ""),
        "a branch each": (config, None, branches, {}, ""),
        "all on the last": (config, None, [*first, rows], {}, ""),
        "nothing anywhere": (config, None, [[] for _ in range(ranks)], {}, ""),
        "KL as given": (config, 0.031, branches, {}, ""),
        "released": (
            GACConfig.released(mu_update_freq=2, mu_change_cap=1.0),
            None,
            branches,
            {},
            "",
        ),
        "more rows than declared": (config, None, branches, {"max_rows": 2}, ""),
        "a rank with bad values": (config, None, uneven, {}, "values"),
        "a rank with a bad shape": (config, None, uneven, {}, "shape"),
        "a rank with another config": (config, None, uneven, {}, "config"),
    }


@pytest.fixture(scope="module", params=[2, 3])
def found(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What each rank found in each of the deals."""
    ranks = request.param
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER.format(tests=str(Path(__file__).parent))],
            env={
                **os.environ,
                **place,
                "RANK": str(rank),
                "WORLD_SIZE": str(ranks),
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        outputs = [process.communicate(timeout=RANK_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(text.partition("RESULT")[2]) for text, _ in outputs]


@pytest.mark.parametrize(
    "name",
    [
        "interleaved",
        "a branch each",
        "all on the last",
        "nothing anywhere",
        "KL as given",
        "released",
        "more rows than declared",
    ],
)
def test_every_rank_has_the_bits_of_the_whole_batch(found: list[dict[str, Any]], name: str) -> None:
    config, kl, parts, _, _ = deal(len(found))[name]
    state, expected = init(config), []
    for step in range(3):
        batch = some_batch(seed=step, rows=17)._replace(kl=kl)
        if not any(parts):
            batch = Batch(*(x[:0] if isinstance(x, torch.Tensor) else x for x in batch))
        state, info = update(config, state, batch, step=step)
        expected.append(info.mu.hex())
    assert [rank[name][0] for rank in found] == [expected] * len(found)


def test_one_collective_a_refresh_and_one_more_where_a_rank_has_undeclared_rows(
    found: list[dict[str, Any]],
) -> None:
    for rank in found:
        assert rank["interleaved"][1] == rank["nothing anywhere"][1] == 3
        assert rank["released"][1] == 2  # due at steps 0 and 2 only
        assert rank["more rows than declared"][1] == 6


def test_a_batch_refused_on_one_rank_is_refused_on_all(found: list[dict[str, Any]]) -> None:
    for name, own in (("a rank with bad values", "logprob["), ("a rank with a bad shape", "shape")):
        said = [rank[name][0] for rank in found]
        assert own in said[-1]
        assert all(f"rank {len(found) - 1} refused its batch" in text for text in said[:-1])


def test_ranks_of_different_configurations_are_told(found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert "rank 1 has another config, state or step" in rank["a rank with another config"][0]
