"""Ranks of real processes: right ones pass however the rows are dealt, wrong ones are named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from _processes import running, wait_until
from hypothesis import given
from hypothesis import strategies as st

from gac_ref.conformance.adapters.dealing import deals, shard
from gac_ref.conformance.adapters.distributed import check_ranks
from gac_ref.conformance.adapters.world import World
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.errors import GACError

PATTERNS = [
    "uneven",
    "a rank without experts",
    "a rank without rollouts",
    "an empty rank",
    "all on the last rank",
]
TIMEOUT = 1.0  # seconds: the ranks answer in milliseconds
HANG_LIMIT = 10.0  # seconds for a start, a hang and its diagnosis on a busy machine
CASE = "step/documented"


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack()


def events(
    name: str,
    pack: Any,
    ranks: int = 2,
    *,
    dtype: str = "fp64",
    ids: Sequence[str] = (CASE,),
    patterns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The events of a toy adapter on one case."""
    found = list(
        check_ranks(
            f"_ports.ranks:{name}",
            ranks,
            dtype=dtype,
            pack=pack,
            timeout=TIMEOUT,
            ids=ids,
            patterns=patterns,
        )
    )
    assert [event["pattern"] for event in found] == [*(patterns or PATTERNS)] * len(ids)
    assert all((event["event"], event["mode"]) == ("check", "ranks") for event in found)
    return found


@given(st.lists(st.booleans(), max_size=20), st.integers(2, 5))
def test_every_row_is_dealt_to_one_rank(experts: list[bool], ranks: int) -> None:
    is_expert = np.array(experts, dtype=np.bool_)
    dealt = deals(is_expert, ranks)
    assert list(dealt) == PATTERNS
    for parts in dealt.values():
        assert len(parts) == ranks
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(experts)))
    has = {name: [is_expert[part] for part in parts] for name, parts in dealt.items()}
    assert not any(rank.any() for rank in has["a rank without experts"][:1])
    assert all(rank.all() for rank in has["a rank without rollouts"][-1:])
    assert has["an empty rank"][-1].size == 0
    assert all(rank.size == 0 for rank in has["all on the last rank"][:-1])


def test_uneven_is_uneven_and_leaves_each_rank_both_branches() -> None:
    is_expert = np.arange(12) % 3 == 0
    for ranks in (2, 3):
        sizes = [len(part) for part in deals(is_expert, ranks)["uneven"]]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) > 1
        for part in deals(is_expert, ranks)["uneven"]:
            assert 0 < is_expert[part].sum() < len(part)


def test_a_shard_has_the_rows_of_all_row_inputs_and_what_is_no_row_as_it_was() -> None:
    inputs = {"logprob": np.arange(6.0).reshape(3, 2), "advantages": np.arange(3.0), "step": 4}
    part = shard(inputs, np.array([2, 0]))
    assert part["logprob"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert part["advantages"].tolist() == [2.0, 0.0]
    assert part["step"] == 4
    assert shard(inputs, np.array([], dtype=int))["logprob"].shape == (0, 2)


@pytest.mark.parametrize(("ranks", "dtype"), [(2, "bf16"), (3, "fp64")])
@pytest.mark.parametrize("name", ["AllGather", "MuOnly"])
def test_a_right_adapter_passes_in_every_pattern(
    name: str, ranks: int, dtype: str, pack: Pack
) -> None:
    found = events(name, pack, ranks, dtype=dtype)
    assert {event["status"] for event in found} == {"pass"}
    assert all(event["ratio"] <= 1.0 for event in found)


def test_a_trajectory_keeps_its_state_on_every_rank(pack: Pack) -> None:
    only = SimpleNamespace(select=lambda **_: [pack.case("trajectory/shards")])
    found = events("AllGather", only)
    assert {event["status"] for event in found} == {"pass"}
    wrong = events("LocalExperts", only)
    assert {event["status"] for event in wrong} == {"fail"}
    assert all(event["step"] is not None for event in wrong)


@pytest.mark.parametrize("name", ["Local", "LocalExperts"])
def test_local_statistics_are_named_with_their_ranks(name: str, pack: Pack) -> None:
    found = events(name, pack)
    assert {event["status"] for event in found} == {"fail"}
    uneven = found[0]
    assert uneven["output"] == "proxy_sigma_s2"
    assert "uneven, 2 ranks: proxy_sigma_s2 differs between ranks (rank 0: " in uneven["reason"]
    assert uneven["replay"].endswith("--case step/documented --ranks 2")


def test_behind_the_guards_a_wrong_statistic_hides_so_they_are_opened(pack: Pack) -> None:
    found = events("LocalMuOnly", pack)
    assert {event["status"] for event in found} == {"fail"}
    assert all("with the guards open, mu differs" in e["reason"] for e in found)


def test_ranks_that_agree_on_the_wrong_rows_fail(pack: Pack) -> None:
    found = events("FirstRankOnly", pack)
    assert found[0]["status"] == "fail"
    assert "not that of the whole batch, on any rank" in found[0]["reason"]


def test_one_bit_between_the_ranks_is_a_failure(pack: Pack) -> None:
    found = events("NearlyEqual", pack)
    assert {event["status"] for event in found} == {"fail"}
    assert all(event["ratio"] <= 1.0 for event in found)


def test_a_collective_that_a_rank_skips_is_a_hang_within_seconds_and_awaited_once(
    pack: Pack,
) -> None:
    ids, lacking = ["step/documented", "step/released"], "a rank without rollouts"
    start = time.monotonic()
    found = events("SkipsCollective", pack, ids=ids, patterns=["uneven", lacking])
    assert time.monotonic() - start < HANG_LIMIT
    assert [e["status"] for e in found if e["pattern"] == "uneven"] == ["pass", "pass"]
    hung, left_out = (e for e in found if e["pattern"] == lacking)
    assert (hung["status"], left_out["status"]) == ("timeout", "skipped")
    said = "rank 0 gave no answer within 1 s, rank 1 answered: a rank waits in a collective"
    assert said in hung["reason"]
    assert "not dealt so again, since step/documented hung" in left_out["reason"]


def test_a_rank_that_dies_is_named_and_the_others_are_ended() -> None:
    with World("_ports.ranks:Dies", 3, timeout=TIMEOUT) as world:
        world.together(lambda _, port: port.hello())
        pids = [port._child.pid for port in world.ports if port._child]
        assert len(pids) == 3
    wait_until(lambda: not any(map(running, pids)), "the ranks to end")


def test_the_rank_that_died_is_the_reason(pack: Pack) -> None:
    (event,) = events("Dies", pack, 3, patterns=["uneven"])
    assert event["status"] == "crash"
    assert "rank 1: the port ended with exit code 7" in event["reason"]
    assert "out of memory" in event["reason"]


def test_an_adapter_that_claims_no_ranks_is_unsupported(pack: Pack) -> None:
    spec = "gac_ref.conformance.reference:Reference"
    found = list(check_ranks(spec, 2, pack=pack, timeout=TIMEOUT, ids=[CASE]))
    assert {event["status"] for event in found} <= {"unsupported", "skipped"}
    assert all('does not say "ranks": true' in event["reason"] for event in found)


def test_an_adapter_that_does_not_start_is_tried_once(pack: Pack) -> None:
    found = list(check_ranks("nowhere:port", 2, pack=pack, timeout=TIMEOUT, ids=[CASE]))
    assert [event["status"] for event in found] == ["error"] + ["skipped"] * 4
    assert "no module 'nowhere'" in found[0]["reason"]


def test_one_rank_is_refused(pack: Pack) -> None:
    with pytest.raises(GACError, match="ranks = 1 is no distribution; pass 2 or more"):
        list(check_ranks("_ports.ranks:AllGather", 1, pack=pack))
