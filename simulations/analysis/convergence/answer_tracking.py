"""What is said of tracking: the average's memory, and a change of regime."""

from __future__ import annotations

from functools import partial

import numpy as np

from gac_ref import GACConfig, authority
from simulations.analysis.convergence import figures
from simulations.analysis.convergence.declared import BY_NAME
from simulations.analysis.convergence.prose import Piece, Saved, exact, sampled
from simulations.analysis.convergence.response import steps_to
from simulations.analysis.convergence.tracking import drift_for, ema_error, kalman_gain
from simulations.analysis.question import Figure, Finding

__all__ = ["switching", "tracking"]


def tracking(saved: Saved, recorded: Saved) -> Piece:
    """The best average, the default, and the drift of the recorded statistics."""
    asked, default = BY_NAME["tracking"].settings, GACConfig()
    betas, ratios = np.asarray(asked["betas"]), np.asarray(asked["drift_ratios"])
    theory = ema_error(betas[None, :], ratios[:, None], 1.0).total
    z = np.abs(saved["mean"] - theory) / saved["error"]
    worst = sampled(
        "largest miss of the simulated tracking error",
        z.max(),
        asked["trajectories"],
        "tracking",
        "standard errors",
    )
    suited = exact(
        "drift for which 0.99 is best, variance a refresh over observation variance",
        drift_for(default.ema_beta),
        "tracking",
    )
    costs = [
        exact(
            f"error of 0.99 over the least, drift ratio {ratio:g}",
            ema_error(default.ema_beta, ratio, 1.0).total / kalman_gain(ratio),
            "tracking",
        )
        for ratio in (1e-5, 1e-2, 1e-1)
    ]
    fitted, names = [], recorded["names"].tolist()
    moving = [name for name, low in zip(names, recorded["low"], strict=True) if low > 0.0]
    for index, name in enumerate(names):
        value, low, high = (
            float(1.0 - kalman_gain(default.mu_update_freq * recorded[key][index]))
            for key in ("ratio", "high", "low")
        )
        fitted.append(
            Finding(
                f"best ema_beta for the recorded {name}, a refresh every 10 steps",
                value,
                low,
                high,
                int(recorded["n"][index]),
                "1",
                "convergence.recorded",
            )
        )
    outside = [
        name
        for name, item in zip(names, fitted, strict=True)
        if not item.low <= default.ema_beta <= item.high
    ]
    text = (
        "An exponential average of a drifting statistic has a lag and a variance; the sum is "
        "least at the steady Kalman gain. The controller's own average does as the formula says "
        f"(largest of {z.size} misses {worst.text()}). The default 0.99 is the best for a drift "
        f"variance of {suited.text()} of the observation's a refresh; it costs {costs[0].text()} "
        f"times the least error at 1e-05, {costs[1].text()} times at 0.01 and {costs[2].text()} "
        "times at 0.1.",
        "In the recorded transformer drift is told from none "
        + (f"for {' and '.join(moving)}" if moving else "for no statistic")
        + f" in {int(recorded['n'][0])} steps. The best ema_beta there, with a refresh every "
        f"{default.mu_update_freq} steps, is "
        + ", ".join(f"{item.text()} for {name}" for item, name in zip(fitted, names, strict=True))
        + f" (95 % profile intervals of a Gaussian local-level model); {default.ema_beta:g} is "
        + (f"outside for {' and '.join(outside)}." if outside else "inside all of them."),
    )
    drawn = (
        Figure(
            "convergence_tracking",
            "Mean square error of an exponential average of a random walk, by drift q over noise "
            "r. Lines: exact; stars: the Kalman optimum; points: the controller's own average, "
            "simulated, with 95 % intervals.",
            partial(figures.draw_tracking, saved, asked["betas"], asked["drift_ratios"]),
        ),
        Figure(
            "convergence_default_cost",
            "What the default 0.99 costs against the best average (star: where it is the best), "
            "and the drift of the recorded statistics with 95 % intervals (cut off at the left "
            "where no drift is compatible).",
            partial(figures.draw_default_cost, recorded, default.mu_update_freq),
        ),
    )
    return text, (worst, suited, *costs, *fitted), drawn


def switching(saved: Saved) -> Piece:
    """How long mu takes after a change of regime."""
    variants = BY_NAME["switch"].settings["variants"]
    lags, moves = [], []
    for index, name in enumerate(variants):
        config = GACConfig.variant(name)
        steps = steps_to(
            0.9, pole=authority(config).pole, beta=config.ema_beta, refresh=config.mu_update_freq
        )
        lags.append(exact(f"steps to 90 % of a change of regime, {name}", steps, "switch", "steps"))
        moves.append(
            exact(f"how far mu moves when mu* moves 0.5, {name}", saved["size"][index], "switch")
        )
    miss = exact(
        "largest difference of the run from the closed form",
        np.abs(saved["exact"] - saved["measured"]).max(),
        "switch",
    )
    whole = GACConfig().prior_warmup + GACConfig().prior_decay
    text = (
        f"After a change of regime the {variants[0]} controller needs {lags[0].text()} and the "
        f"{variants[1]} one {lags[1].text()} for 90 % of its move (closed form, met by the run "
        f"within {miss.text()}), more than the whole schedule of {whole} steps: the statistics "
        "are refreshed every 10 steps, and each refresh takes in 1 %. Of a change of 0.5 in the "
        f"best weight, mu then makes {moves[0].text()} and {moves[1].text()}.",
    )
    drawn = Figure(
        "convergence_switch",
        "What is left of a change of regime. Lines: closed form; points: the controller's run. "
        "The variants move by different amounts.",
        partial(figures.draw_switch, saved, variants),
    )
    return text, (*lags, *moves, miss), (drawn,)
