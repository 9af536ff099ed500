"""What the runs say: losses, policies, stability."""

from __future__ import annotations

from functools import partial

import numpy as np

from simulations.analysis.convergence import figures
from simulations.analysis.convergence.declared import BY_NAME
from simulations.analysis.convergence.prose import Piece, Saved, exact, found, sampled, sign
from simulations.analysis.palette import look
from simulations.analysis.question import Figure, Finding
from simulations.analysis.statistics.estimate import Estimate
from simulations.analysis.statistics.paired import mean_estimate, paired_difference

__all__ = ["losses", "policies", "stability"]

ROUNDING = 1e-9
"""Relative error of a mean below which all seeds are the same, as at a common start."""


def losses(curves: Saved, settled: Saved) -> Piece:
    """The recursion beside the simulation, and where constant weights settle."""
    known = curves["error"] > ROUNDING * curves["mean"]
    z = np.abs(curves["mean"] - curves["exact"])[known] / curves["error"][known]
    total = settled["misplaced"] + settled["noise"]
    least = float(settled["least"])
    places = [int(np.argmin(np.abs(settled["mus"] - mu))) for mu in settled["checked"]]
    ends = np.abs(settled["end_mean"] - least - total[:, places]) / settled["end_error"]
    seeds = BY_NAME["quadratic"].settings["run"]["seeds"]
    unit = "standard errors"
    worst = sampled("largest miss of the simulated loss", z.max(), seeds, "quadratic", unit)
    long = BY_NAME["settled"].settings["seeds"]
    last = sampled("the same at the end of long runs", ends.max(), long, "settled", unit)
    slow, fast = 0, len(settled["learning_rates"]) - 1
    rates = settled["learning_rates"].tolist()
    closed = exact("closed form at the target's minimum", settled["closed"], "settled")
    best = [
        exact(f"best constant weight at learning rate {rates[k]:g}", settled["best"][k], "settled")
        for k in (slow, fast)
    ]
    at = int(np.argmin(np.abs(settled["mus"] - float(settled["closed"]))))
    costs = [
        exact(
            f"stationary excess loss of the closed form over the best, learning rate {rates[k]:g}",
            total[k, at] / total[k].min(),
            "settled",
        )
        for k in (slow, fast)
    ]
    middle = int(np.argmin(np.abs(settled["mus"] - 0.5)))
    decay = exact(
        f"decay of the mean's error a step, mu = 0.5, learning rate {rates[1]:g}",
        settled["rate"][1, middle],
        "settled",
    )
    text = (
        "On quadratic bowls the exact recursion and the simulation agree: of "
        f"{z.size} comparisons over time the largest miss is {worst.text()}, and of {ends.size} "
        f"stationary ones {last.text()}.",
        "A constant weight settles with an excess of the target loss that has two parts: the "
        "mixed gradient vanishes at the wrong place unless mu is alpha, and noise keeps theta "
        "moving. The second part shrinks with the learning rate, the first does not, so the best "
        f"constant weight is {best[0].text()} at a learning rate of {rates[slow]:g} and "
        f"{best[1].text()} at {rates[fast]:g}. The closed form weighs one step's noise against the "
        f"disagreement and knows no learning rate: it says {closed.text()}, with "
        f"{costs[0].text()} times and {costs[1].text()} times the least excess loss. What "
        "minimises the gradient's mean square error is not what minimises the loss.",
    )
    labels = ["mu = 0.15", "mu = 0.5", "mu = 0.85", "GAC's prior", "SFT, then RL"]
    drawn = (
        Figure(
            "convergence_losses",
            "Expected target loss of SGD on two quadratic bowls under five schedules. Lines: exact "
            "recursion; points: mean of simulated seeds with 95 % intervals.",
            partial(figures.draw_losses, curves, labels),
        ),
        Figure(
            "convergence_settled",
            "Stationary excess of the target loss against a constant weight, by learning rate. "
            "Lines: exact; points: simulated, with 95 % intervals.",
            partial(figures.draw_settled, settled, least),
        ),
    )
    return text, (worst, last, decay, *best, closed, *costs), drawn


def policies(tokens: Saved, bandit: Saved) -> Piece:
    """Reward and KL over time."""
    findings: list[Finding] = []
    texts: list[str] = []
    ends = {
        name: [
            _weight(name, saved, part, model)
            for part, saved, model in (
                ("tokens", tokens, "token policy"),
                ("bandit", bandit, "bandit"),
            )
        ]
        for name in ("gac_documented", "gac_no_prior")
    }
    for part, saved, model in (("tokens", tokens, "token policy"), ("bandit", bandit, "bandit")):
        names = saved["controllers"].tolist()
        final = dict(zip(names, saved["reward_final"], strict=True))
        drift = dict(zip(names, saved["kl_mean"], strict=True))
        rewards = {
            name: found(
                f"final reward of {look(name).label}, {model}",
                mean_estimate(values),
                part,
                "reward",
            )
            for name, values in final.items()
        }
        ranked = sorted(names, key=lambda name: -float(final[name].mean()))
        paired = [
            found(
                f"final reward, {look(name).label} minus {look(other).label}, {model}",
                paired_difference(final[name], final[other]),
                part,
                "reward",
            )
            for name, other in (
                ("gac_documented", "fixed_0.1"),
                ("gac_decoupled", "fixed_0.1"),
                ("gac_no_prior", "fixed_0.1"),
                ("gac_released", "gac_documented"),
            )
        ]
        kl = found(
            f"mean KL, {look('gac_documented').label} minus {look('fixed_0.1').label} 0.1, {model}",
            paired_difference(drift["gac_documented"], drift["fixed_0.1"]),
            part,
            "nat / token",
        )
        findings += [*rewards.values(), *paired, kl]
        texts.append(
            f"On the {model} the final rewards are, best first: "
            + "; ".join(f"{look(name).label} {rewards[name].text()}" for name in ranked)
            + f". Against the constant weight 0.1, seed by seed, documented GAC is "
            f"{sign(paired[0])} ({paired[0].text()}), decoupled GAC {sign(paired[1])} "
            f"({paired[1].text()}), and GAC without prior {sign(paired[2])} ({paired[2].text()}); "
            f"released minus documented GAC is {paired[3].text()}; "
            f"documented GAC's KL averaged over the run is {sign(kl)} ({kl.text()})."
        )
    texts.append(
        "These are two small tasks in which the reward is all that counts at the end, and a weight "
        "that stays high keeps imitating an imperfect expert. At the last step mu is, on the two "
        f"models, {_both(ends['gac_documented'])} for documented GAC, whose prior ends in its "
        f"valley, and {_both(ends['gac_no_prior'])} without prior, where the estimate from proxies "
        "without a common unit stands alone."
    )
    findings += [finding for pair in ends.values() for finding in pair]
    drawn = tuple(
        Figure(
            f"convergence_policy_{part}",
            f"Exact reward and KL of the {model} over time, mean over seeds with 95 % bands (most "
            "are narrower than the lines). The fixed weight is 0.1; GAC's prior is shortened to 50 "
            "+ 200 steps.",
            partial(figures.draw_policy, saved),
            (7.0, 3.2),
            2,
        )
        for part, saved, model in (("tokens", tokens, "token policy"), ("bandit", bandit, "bandit"))
    )
    return tuple(texts), tuple(findings), drawn


def stability(additive: Saved, rows: Saved) -> Piece:
    """What diverges, and the boundaries."""
    asked, row_asked = BY_NAME["additive_noise"].settings, BY_NAME["row_noise"].settings
    rates = np.asarray(asked["learning_rates"])[:, None]
    above = rates > additive["limit"]
    distance = np.abs(rates / additive["limit"] - 1.0)
    wrong = [
        sampled(
            f"largest distance from the boundary of a cell on its wrong side, noise {level:g}",
            100.0 * np.where(np.abs(share - above) > 0.0, distance, 0.0).max(),
            asked["run"]["seeds"],
            "additive_noise",
            "%",
        )
        for level, share in zip(asked["noise_levels"], additive["share"], strict=True)
    ]
    row_rates, mus = np.asarray(row_asked["learning_rates"])[:, None], np.asarray(row_asked["mus"])
    below = row_rates < rows["mean_square"][:, None, :]
    early = sampled(
        f"diverged share below the covariance's boundary, largest of {below.sum()} cells",
        np.where(below, rows["share"], 0.0).max(),
        row_asked["run"]["seeds"],
        "row_noise",
    )
    square = rows["mean_square"][1]
    best = int(np.argmax(square))
    limits = [
        exact(
            f"largest stable learning rate, batches 8 and 1, mu = {mus[k]:g}",
            square[k],
            "row_noise",
        )
        for k in (0, best)
    ]
    gap = ~below & (rows["growth"] < 0.0)
    between = sampled(
        "cells with a diverging covariance and settling typical paths",
        gap.sum(),
        row_asked["chains"],
        "row_noise",
        "cells",
    )
    text = (
        "With noise that does not depend on theta the exact boundary 2 / lambda_max(H_mu) "
        f"separates what settles from what diverges. Of {above.size} cells of the map, those with "
        f"a seed on the wrong side are within {wrong[0].text()} of it at noise "
        f"{asked['noise_levels'][0]:g} and within {wrong[1].text()} at noise "
        f"{asked['noise_levels'][1]:g}, where divergence takes longer than the run. Noise of this "
        "kind does not move the boundary.",
        "Minibatch noise grows with the error, and moves the boundary: with 8 SFT rows and 1 RL "
        f"row the covariance stays finite up to a learning rate of {limits[0].text()} at mu = 0, "
        f"and up to {limits[1].text()} at mu = {mus[best]:g}, beyond both pure "
        "branches, since independent batches average each other's noise. Below that boundary the "
        f"largest diverged share is {early.text()}. In {between.text()} above it typical paths "
        "still settle: there the covariance is carried by rare large excursions.",
    )
    grids = [
        (asked["mus"], asked["learning_rates"]),
        (row_asked["mus"], row_asked["learning_rates"]),
    ]
    labels = ["additive noise"] + [f"rows: {s} SFT, {r} RL" for s, r in row_asked["batches"]]
    drawn = Figure(
        "convergence_stability",
        "Share of diverged seeds (dark: all) by weight and learning rate, with the exact "
        "boundaries of mean and covariance, and the estimated one of typical paths.",
        partial(figures.draw_stability, additive, rows, grids, labels),
        (7.0, 3.2),
        3,
    )
    return text, (*wrong, early, *limits, between), (drawn,)


def _weight(name: str, saved: Saved, part: str, model: str) -> Finding:
    """The weight at the last measured step."""
    index = saved["controllers"].tolist().index(name)
    value = float(saved["mu"][index, -1])
    half = figures.TWO_SIDED * float(saved["mu_error"][index, -1])
    seeds = saved["reward_final"].shape[1]
    estimate = Estimate(value, value - half, value + half, seeds)
    return found(f"mu at the end, {look(name).label}, {model}", estimate, part, "1")


def _both(pair: list[Finding]) -> str:
    return " and ".join(finding.text() for finding in pair)
