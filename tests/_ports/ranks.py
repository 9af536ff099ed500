"""Toy data-parallel adapters: an all-gather over loopback sockets before the reference."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref.conformance.adapters.wire import decode_values, encode_values
from gac_ref.conformance.reference import Reference

ROWS = ("logprob", "response_mask", "advantages", "is_expert", "ref_logprob")


class Star:
    """Rank 0 listens; the others connect to it, and it hands everybody everything."""

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        self.peers: dict[int, Any] = {}
        if self.rank == 0:
            listening = socket.create_server(address)
            for _ in range(1, self.size):
                peer = listening.accept()[0].makefile("rw")
                self.peers[int(peer.readline())] = peer
            return
        while True:
            try:
                peer = socket.create_connection(address).makefile("rw")
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        self.peers[0] = peer
        self._send(0, self.rank)

    def _send(self, rank: int, value: Any) -> None:
        self.peers[rank].write(json.dumps(value) + "\n")
        self.peers[rank].flush()

    def gather(self, value: Any) -> list[Any]:
        """The value of every rank, on every rank."""
        if self.rank:
            self._send(0, value)
            return list(json.loads(self.peers[0].readline()))
        values = [value, *(json.loads(self.peers[r].readline()) for r in range(1, self.size))]
        for rank in self.peers:
            self._send(rank, values)
        return values


class AllGather(Reference):
    """Right: the reference on all rows, in rank order."""

    def __init__(self) -> None:
        super().__init__()
        self.star = Star()

    def hello(self) -> dict[str, Any]:
        return {**super().hello(), "name": type(self).__name__, "ranks": True}

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = super().run(stage, self.whole(inputs))
        return {name: value for name, value in outputs.items() if np.ndim(value) == 0}

    def whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        mine = encode_values({name: inputs[name] for name in ROWS if name in inputs})
        parts = [decode_values(part) for part in self.star.gather(mine)]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in mine}
        return {**inputs, **rows}


class Local(AllGather):
    """Every rank keeps to its own rows."""

    def whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return dict(inputs)


class FirstRankOnly(AllGather):
    """All ranks agree, on the rows of rank 0."""

    def whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        mine = encode_values({name: inputs[name] for name in ROWS if name in inputs})
        return {**inputs, **decode_values(self.star.gather(mine)[0])}


class LocalExperts(AllGather):
    """Only what comes from the rollouts is shared: s2_s stays the rank's own."""

    def whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        whole, own = super().whole(inputs), inputs["is_expert"]
        shared = ~whole["is_expert"]
        rows = {
            name: np.concatenate([whole[name][shared], inputs[name][own]])
            for name in ROWS
            if name in inputs
        }
        return {**inputs, **rows}


class SkipsCollective(AllGather):
    """A rank without rollouts does not enter the collective that the others wait in."""

    def whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if inputs["is_expert"].all():
            return dict(inputs)
        return super().whole(inputs)


class Dies(AllGather):
    """Rank 1 ends before the collective."""

    def whole(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if self.star.rank == 1:
            sys.stderr.write("out of memory\n")
            os._exit(7)
        return super().whole(inputs)


class NearlyEqual(AllGather):
    """Right to within rounding, but each rank in its own way."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = super().run(stage, inputs)
        return {"mu": np.nextafter(outputs["mu"], 1.0) if self.star.rank else outputs["mu"]}


class MuOnly(AllGather):
    """Right, and reports nothing but mu."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"mu": super().run(stage, inputs)["mu"]}


class LocalMuOnly(LocalExperts):
    """Wrong, and reports nothing but mu."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"mu": super().run(stage, inputs)["mu"]}
