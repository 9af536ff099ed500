"""Running the controller over a recording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from gac_ref.config import GACConfig
from gac_ref.controller import GACInfo, init, update
from gac_ref.errors import GACError, fail
from gac_ref.proxies import Proxies
from gac_ref.replay.rows import ReplayRow
from gac_ref.risk import closed_form
from gac_ref.state import GACState
from gac_ref.traces import TraceReader, TraceStep

__all__ = ["recorded_config", "replay"]


def replay(trace: Iterable[TraceStep], config: GACConfig) -> Iterator[ReplayRow]:
    """The controller's answer to each recorded step, one step in memory at a time.

    The controller runs on its own state: the logged mu is never fed back into it.

    Args:
        trace: A :class:`gac_ref.traces.TraceReader`, or any steps in order.
        config: The controller's choices.

    Yields:
        One :class:`ReplayRow` a step.

    Raises:
        GACError: A step is missing or malformed; every row before it has been yielded.

    Examples:
        >>> from gac_ref.batch import Batch
        >>> batch = Batch([[-0.1], [-0.7]], [[1], [1]], [0.0, 1.5], [True, False])
        >>> steps = [TraceStep(step=t, batch=batch) for t in range(3)]
        >>> [round(row.mu, 4) for row in replay(steps, GACConfig(prior="none"))]
        [0.5, 0.5, 0.5]
    """
    state = init(config)
    for recorded in trace:
        try:
            state, info = update(config, state, recorded.batch, step=recorded.step)
        except GACError as error:
            raise GACError(f"step {recorded.step} of the trace: {error}") from None
        yield _row(config, recorded, state, info)


def recorded_config(reader: TraceReader) -> GACConfig:
    """The choices that a recording says it was made with, its ``meta.config``.

    Raises:
        GACError: The recording does not say, or a choice is none.

    Examples:
        >>> recorded_config(TraceReader("simulations/recording/trace")).kl_target
        0.6
    """
    recorded = reader.meta.get("config")
    if not isinstance(recorded, dict):
        fail(f"{reader.path / 'trace.json'}: meta.config is not there; pass another --variant")
    return GACConfig.from_dict(recorded)


def _row(config: GACConfig, recorded: TraceStep, state: GACState, info: GACInfo) -> ReplayRow:
    held = config.unseen_statistic == "hold"
    statistics = {
        name: math.nan if held and int(count) == 0 else float(value)
        for name, count, value in (
            ("sigma_s2", state.count_s, info.sigma_s2),
            ("sigma_r2", state.count_r, info.sigma_r2),
            ("delta_g2", state.count_delta, info.delta_g2),
            ("delta_g2_capped", state.count_delta, info.delta_g2_capped),
        )
    }
    return ReplayRow(
        step=recorded.step,
        refreshed=bool(info.refreshed),
        **_found(info.proxies),
        **statistics,
        mu_raw=float(info.mu_raw),
        mu_ada=float(info.mu_ada),
        prior=float(info.prior),
        alpha=float(info.alpha),
        mu_candidate=float(info.mu_candidate),
        mu_capped=float(info.mu_capped),
        mu=float(info.mu),
        mu_oracle=_oracle_mu(recorded.oracle, float(info.alpha)),
        flags=info.acted(),
        missing_before=recorded.missing_before,
        logged=recorded.logged,
        oracle=recorded.oracle,
        rank_logged=recorded.rank_logged,
    )


def _found(proxies: Proxies | None) -> dict[str, float]:
    """The batch's own proxies; NaN without a refresh, or without the branch."""
    names = {"sigma_s2": "has_s", "sigma_r2": "has_r", "delta_g2": "has_delta"}
    return {
        f"proxy_{name}": math.nan
        if proxies is None or not getattr(proxies, has)
        else float(getattr(proxies, name))
        for name, has in names.items()
    }


def _oracle_mu(oracle: dict[str, float], alpha: float) -> float:
    """The closed form on true values. An unbiased disagreement can be negative; 0 stands for it."""
    try:
        sigma_s2, sigma_r2 = oracle["sigma_s2"], oracle["sigma_r2"]
        delta_g2 = max(oracle["delta_g2"], 0.0)
    except KeyError:
        return math.nan
    return float(closed_form(sigma_s2, sigma_r2, delta_g2, alpha=alpha))
