"""What is said of independence and of clipping."""

from __future__ import annotations

from functools import partial

import numpy as np

from simulations.analysis.bounds import figures
from simulations.analysis.bounds.declared import BY_NAME
from simulations.analysis.bounds.prose import Piece, Saved, exact, sampled
from simulations.analysis.question import Figure, Finding

__all__ = ["clipping", "independence"]


def independence(saved: Saved) -> Piece:
    """What ignoring the correlation of the noise costs."""
    asked = BY_NAME["independence"].settings
    ratios, gaps = asked["noise_ratios"], asked["gaps"]
    known = saved["error"] > 0.0
    z = np.abs(saved["measured"] - saved["checked_free"])[known] / saved["error"][known]
    draws = asked["checked"]["draws"]
    unit = "standard errors"
    miss = sampled("largest miss of the measured price", z.max(), draws, "independence", unit)
    at = {rho: int(np.argmin(np.abs(saved["rho"] - rho))) for rho in (-0.8, 0.4, 0.8)}

    def cost(gap: int, ratio: int, rho: float, kind: str = "free") -> Finding:
        over = "over the best weight in [0, 1]" if kind == "bounded" else "over the best weight"
        return exact(
            f"excess risk {over}, noise ratio {ratios[ratio]:g}, correlation {rho:g}, "
            f"disagreement {gaps[gap]:g} of the noise",
            100.0 * saved[kind][gap, ratio, at[rho]],
            "independence",
            "%",
        )

    last = len(ratios) - 1
    mild, strong, inside = cost(0, last, 0.4), cost(0, last, 0.8), cost(0, last, 0.8, "bounded")
    against, far = cost(0, last, -0.8), cost(len(gaps) - 1, last, 0.8)
    text = (
        "Taking correlated noise for independent costs exactly A (mu* - mu*_kappa)^2: nothing "
        "where both branches are equally noisy and alpha is one half, whatever the correlation. "
        f"At a noise ratio of {ratios[last]:g} and a disagreement of {gaps[0]:g} of the noise it "
        f"costs {mild.text()} of the least risk at a correlation of 0.4, {strong.text()} at 0.8 "
        f"({inside.text()} where weights are kept in [0, 1]) and {against.text()} at -0.8; with a "
        f"disagreement as large as the noise {far.text()} at 0.8. Sampled gradients agree: of "
        f"{z.size} comparisons the largest miss is {miss.text()}.",
    )
    drawn = Figure(
        "bounds_independence",
        "Excess risk of the closed form where the noise is correlated, by noise ratio, at a "
        f"disagreement of {gaps[0]:g} of the noise. Lines: exact; points: sampled gradients with "
        "95 % intervals. Linear below 1 %.",
        partial(figures.draw_independence, saved, ratios),
    )
    return text, (miss, mild, strong, inside, against, far), (drawn,)


def clipping(saved: Saved) -> Piece:
    """What clipping gains, and what ignoring its bias costs."""
    z = (np.abs(saved["measured"] - saved["checked_blind"]) / saved["error"]).max()
    draws = BY_NAME["clipping"].settings["draws"]
    miss = sampled("largest miss of the measured risk", z, draws, "clipping", "standard errors")
    best = int(np.argmin(saved["blind"]))
    where = exact(
        "threshold of the least risk, bias ignored",
        saved["thresholds"][best],
        "clipping",
        "gradient lengths",
    )
    least = exact(
        "least risk over thresholds, bias ignored", saved["blind"][best], "clipping", "gradient^2"
    )
    plain = exact("risk without clipping", saved["unclipped"], "clipping", "gradient^2")
    extra = 100.0 * (saved["blind"] / saved["best"] - 1.0)
    worst = int(np.argmax(extra))
    price = exact("largest excess risk of ignoring the bias", extra[worst], "clipping", "%")
    there = exact(
        "threshold of that excess", saved["thresholds"][worst], "clipping", "gradient lengths"
    )
    mus = [
        exact(f"weight {name}, at that threshold", saved[key][worst], "clipping")
        for name, key in (("of the closed form", "mu_blind"), ("that is best", "mu_best"))
    ]
    floor = exact(
        "risk under the most aggressive clipping", saved["blind"][0], "clipping", "gradient^2"
    )
    text = (
        "Clipping each branch's gradient by its norm trades noise for bias, and here it pays: the "
        f"risk falls from {plain.text()} to {least.text()} at a threshold of {where.text()}, "
        f"below the length of the true gradients. Below that the bias takes over, up to "
        f"{floor.text()} at the smallest threshold. What the closed form loses by seeing the "
        f"reduced noise and not the bias is {price.text()} at most, at {there.text()}: it says "
        f"{mus[0].text()} where {mus[1].text()} is best, since both branches are cut to the "
        "same length, and of the noisier one less is the true gradient. Samples agree within "
        f"{miss.text()}.",
    )
    drawn = Figure(
        "bounds_clipping",
        "Exact risk of mixing clipped gradients against the threshold; the points are measured on "
        "samples, with 95 % intervals.",
        partial(figures.draw_clipping, saved),
    )
    return text, (miss, where, least, plain, floor, price, there, *mus), (drawn,)
