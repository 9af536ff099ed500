"""What is said of the bounds: how loose they are, and what their minimisers cost."""

from __future__ import annotations

from functools import partial

import numpy as np

from simulations.analysis.bounds import figures
from simulations.analysis.bounds.declared import BY_NAME
from simulations.analysis.bounds.geometry import GEOMETRIES
from simulations.analysis.bounds.prose import Piece, Saved, exact, mean, sampled, share
from simulations.analysis.bounds.rules import BOUND_RULES, PLAIN_RULES, ROUNDING, RULES
from simulations.analysis.question import Figure

__all__ = ["looseness", "rules"]


def looseness(dimension: Saved, bias: Saved) -> Piece:
    """How far the bounds are above the risk."""
    asked = BY_NAME["dimension"].settings
    z = (np.abs(dimension["mean"] - dimension["exact_mean"]) / dimension["error"]).max()
    draws, unit = asked["draws"], "standard errors"
    miss = sampled("largest miss of the mean risk over directions", z, draws, "dimension", unit)
    two, last = asked["dimensions"][1], asked["dimensions"][-1]
    spans = {
        d: [
            sampled(
                f"triangle bound over exact risk, {name} of directions, d = {d}",
                value,
                draws,
                "dimension",
            )
            for name, value in zip(
                ("5 %", "median", "95 %"), dimension["quantiles"][0, :, place], strict=True
            )
        ]
        for place, d in ((1, two), (-1, last))
    }
    typical = exact(
        "triangle bound over mean risk, biases of the size of the rest",
        bias["triangle"][0, np.argmin(np.abs(bias["sizes"] - 1.0))],
        "bias",
    )
    widest = exact("the same, largest over sizes of the biases", bias["triangle"][0].max(), "bias")
    young = exact("Young's bound at eta = 1 over mean risk, largest", bias["young"].max(), "bias")
    allowed = BY_NAME["bias"].settings["correlations"][-1]
    loose = exact(
        f"factor on the triangle bound by allowing for correlation up to {allowed:g}, small biases",
        bias["triangle"][-1, 0] / bias["triangle"][0, 0],
        "bias",
    )
    text = (
        "Norms do not say how the biases lie. Averaged over random directions the exact risk is "
        "the effective-noise surrogate in every dimension (exact; sampled directions miss it by "
        f"at most {miss.text()}), and its spread falls as one over the root of the dimension. The "
        "triangle bound is, at each weight, the largest risk over directions. So with biases of "
        f"the size of the rest, in {two} dimensions the bound is {spans[two][0].text()} to "
        f"{spans[two][2].text()} times the risk (5 to 95 % of directions), and in {last} "
        f"dimensions {spans[last][0].text()} to {spans[last][2].text()}: in high dimension it is "
        f"loose by a factor of {typical.text()} almost surely, and of at most {widest.text()} for "
        f"any size of these biases. Young's bound at eta = 1 reaches {young.text()}; at its "
        f"best eta it is the triangle bound. Allowing for correlation up to {allowed:g} that is "
        f"not there costs another factor of {loose.text()} where biases are small.",
    )
    drawn = (
        Figure(
            "bounds_dimension",
            "Bound over exact risk for random directions of the biases and the disagreement: "
            "medians and 5 to 95 % bands. Below 1 the surrogate is no bound.",
            partial(figures.draw_dimension, dimension, asked["dimensions"]),
        ),
        Figure(
            "bounds_bias",
            "Bound over the mean risk of random directions as both biases grow, by the noise "
            "correlation that the bound allows (there is none). The RL bias is twice the SFT bias, "
            "the disagreement four times the noise of each branch. Exact.",
            partial(figures.draw_bias, bias, BY_NAME["bias"].settings["correlations"]),
        ),
    )
    every = [item for group in spans.values() for item in group]
    return text, (miss, *every, typical, widest, young, loose), drawn


CRITERIA = (
    ("triangle", "average", "average over directions"),
    ("effective noise", "worst", "worst directions"),
)
"""The minimisers that are not made for a criterion, and that criterion."""


def rules(costs: Saved, maps: Saved) -> Piece:
    """What the minimisers cost beside plain rules."""
    names, total = list(GEOMETRIES), int(costs["total"])
    means = {
        (geometry, rule): mean(
            f"mean excess risk over the least, {rule}, biases {geometry}",
            costs["mean"][names.index(geometry), RULES.index(rule)],
            costs["error"][names.index(geometry), RULES.index(rule)],
            total,
        )
        for geometry in names
        for rule in (*BOUND_RULES, "closed form")
    }
    losses = {
        (geometry, rule): share(
            f"settings in which {rule} does worse than the closed form, biases {geometry}",
            int(costs["worse"][g, k, PLAIN_RULES.index("closed form")]),
            total,
        )
        for g, geometry in enumerate(names)
        for k, rule in enumerate(BOUND_RULES)
    }
    ahead = [
        rule
        for rule in BOUND_RULES
        if all(means[g, rule].value < means[g, "closed form"].value for g in names)
    ]
    largest, behind = [], []
    for rule, criterion, words in CRITERIA:
        excess = maps[criterion][RULES.index(rule)]
        worse = excess > maps[criterion][RULES.index("closed form")] + ROUNDING
        largest.append(
            exact(f"largest excess of {rule}, {words}", 100.0 * excess.max(), "maps", "%")
        )
        behind.append(
            exact(
                f"share of the map in which {rule} is behind the closed form, {words}",
                100.0 * worse.mean(),
                "maps",
                "%",
            )
        )
    worst = max(names, key=lambda g: means[g, "triangle"].value)
    text = (
        "On average over directions the effective-noise minimiser is the best of all rules that "
        "know norms alone, and for the worst directions the triangle minimiser is: the first "
        "minimises the mean of the risk, the second its largest value. Neither is the best where "
        "the directions are others.",
        f"Over {total} settings with orthogonal biases (the average over random directions) the "
        "mean excess risk is "
        f"{means['orthogonal', 'triangle'].text()} times the least risk for the triangle "
        f"minimiser, {means['orthogonal', 'Young, eta = 1'].text()} for Young's and "
        f"{means['orthogonal', 'closed form'].text()} for the closed form, which knows no bias; "
        "yet the triangle minimiser does worse than the closed form in a share of "
        f"{losses['orthogonal', 'triangle'].text()} of them: its gains are large and its losses "
        f"small. With biases {worst} its mean excess is {means[worst, 'triangle'].text()} against "
        f"{means[worst, 'closed form'].text()}, and effective noise has "
        f"{means[worst, 'effective noise'].text()}. Better than the closed form on average in "
        f"every geometry: {' and '.join(ahead) if ahead else 'none of the three'}.",
        "With a biased SFT branch and RL noise nine times the SFT noise, the triangle minimiser is "
        f"behind the closed form on {behind[0].text()} of the map on average over directions (its "
        f"excess reaches {largest[0].text()}), and effective noise on {behind[1].text()} for the "
        f"worst directions (up to {largest[1].text()}).",
    )
    drawn = (
        Figure(
            "bounds_rules",
            f"Mean excess of the exact risk over the best weight, {total} log-uniform settings, by "
            "how the biases lie to the disagreement. Linear below 0.1.",
            partial(figures.draw_rules, costs, RULES, names),
        ),
        Figure(
            "bounds_losses",
            "Share of the same settings, in percent, in which the minimiser named below does worse "
            "than a plain rule.",
            partial(figures.draw_losses, costs, BOUND_RULES, PLAIN_RULES, names),
            (7.0, 3.0),
            len(BOUND_RULES),
        ),
        Figure(
            "bounds_maps",
            "Excess risk of two minimisers over the best rule that knows norms alone, with a "
            "biased SFT branch and nine times as much RL noise (dashed 3 %, solid 30 %); grey: the "
            "closed form without bias does better. Exact.",
            partial(figures.draw_maps, maps, RULES),
            (6.5, 3.2),
            2,
        ),
    )
    return text, (*means.values(), *losses.values(), *largest, *behind), drawn
