"""GAC itself as one of the rules: a :class:`gac_ref.GACConfig` behind the common pair."""

from __future__ import annotations

from typing import Any

from gac_ref import controller
from gac_ref.baselines._reader import Reader, require_state
from gac_ref.baselines.protocol import advance, start
from gac_ref.baselines.signals import Signals
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.controller import GACInfo
from gac_ref.proxies import Proxies
from gac_ref.state import GACState


@start.register(GACConfig)
def _start(rule: GACConfig, shape: tuple[int, ...]) -> GACState:
    return controller.init(rule, shape)


@advance.register(GACConfig)
def _advance(rule: GACConfig, state: GACState, signals: Any, step: int) -> tuple[GACState, GACInfo]:
    if isinstance(signals, Batch):
        require_state(rule, state, GACState)
        return controller.update(rule, state, signals, step=step)
    return controller.update_from_proxies(
        rule, state, _proxies(Reader(rule, state, signals, GACState)), step=step
    )


def _proxies(reader: Reader) -> Proxies:
    """The proxies, with `Signals.kl` for their KL where that is given."""
    signals: Signals = reader.signals
    proxies = reader.proxies()
    return proxies if signals.kl is None else proxies._replace(kl=signals.kl)
