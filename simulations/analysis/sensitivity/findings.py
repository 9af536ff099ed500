"""The numbers of the answer, each read from a saved part."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.question import Finding, Part, finite
from simulations.analysis.sensitivity.local import CONTINUOUS
from simulations.analysis.sensitivity.scaling import PROXIES
from simulations.analysis.statistics.estimate import Estimate
from simulations.analysis.statistics.paired import mean_estimate, paired_difference

__all__ = ["changes", "effects", "global_", "local", "noise", "plug_in", "scaled", "scaling"]

Values = Mapping[str, AnyArray]
RELATIVE_CHANGE = 0.1
SHOWN_FACTORS = 5


def _estimated(label: str, found: Estimate, unit: str, part: Part) -> Finding:
    return Finding(label, *found, unit, part.name)


def effects(values: Values, variant: int) -> dict[str, FloatArray]:
    """Change of mu for a 10 % change of each hyperparameter, name -> [T, n].

    Of `ema_beta`, 10 % of the forgetting rate 1 - beta.
    """
    finite(values["slope"], "derivatives")
    return {
        name: RELATIVE_CHANGE * values["scale"][variant, p] * values["slope"][variant, p]
        for p, name in enumerate(CONTINUOUS)
    }


def local(part: Part, values: Values) -> dict[str, Finding]:
    """Largest effect over the run of +10 % of each hyperparameter, default and internal."""
    out: dict[str, Finding] = {}
    for v, variant in enumerate(part.settings["variants"]):
        for name, effect in effects(values, v).items():
            largest = np.abs(effect).max(axis=0)
            if largest.any():
                out[f"{variant} {name}"] = _estimated(
                    f"largest change of mu over a run for +10 % of {name}, {variant}",
                    mean_estimate(largest),
                    "1",
                    part,
                )
    return out


def changes(part: Part, values: Values) -> dict[str, Finding]:
    """What whole changes do to the replayed recording."""
    out: dict[str, Finding] = {}
    for change, raw, mu in zip(
        part.settings["changes"], values["raw_change"], values["mu_change"], strict=True
    ):
        ((name, value),) = change.items()
        for what, number in (("the raw estimate", raw), ("mu", mu)):
            out[f"{name} {value} {what}"] = Finding(
                f"largest change of {what} on the recorded run with {name} = {value:g}",
                float(number),
                math.nan,
                math.nan,
                1,
                "1",
                part.name,
            )
    return out


def global_(part: Part, values: Values) -> dict[str, Finding]:
    """The leading total indices, those of alpha and of the scales, and the outcome's range."""
    names = [factor[0] for factor in part.settings["factors"]]
    out: dict[str, Finding] = {}
    for output, phrase in (("mu", "the last mu"), ("outcome", f"the {part.settings['outcome']}")):
        total, low, high = (
            finite(values[f"{output}/salib/{field}"], f"{field} of {part.name}")
            for field in ("total", "total_low", "total_high")
        )
        lead = list(np.argsort(total)[::-1][:SHOWN_FACTORS])
        always = [names.index(name) for name in ("alpha", "scale_s", "scale_r", "scale_d")]
        for rank, index in enumerate([*lead, *(i for i in always if i not in lead)]):
            finding = Finding(
                f"total Sobol index of {names[index]} for {phrase}",
                float(total[index]),
                float(low[index]),
                float(high[index]),
                int(values[f"{output}/salib/n"]),
                "1",
                part.name,
            )
            out[f"{output} {names[index]}"] = finding
            if rank < SHOWN_FACTORS:
                out[f"{output} #{rank}"] = finding
        quantiles = values[f"{output}/quantiles"]
        out[f"{output} range"] = Finding(
            f"width of the central 95 % of {phrase} over the design",
            float(quantiles[2] - quantiles[0]),
            math.nan,
            math.nan,
            int(values[f"{output}/salib/n"]),
            "1" if output == "mu" else str(part.settings["outcome"]),
            part.name,
        )
        apart = [
            np.abs(values[f"{output}/salib/{field}"] - values[f"{output}/scipy/{field}"]).max()
            for field in ("first", "total")
        ]
        out[f"{output} libraries"] = Finding.exact(
            f"largest difference of an index between SALib and SciPy, {phrase}",
            max(apart),
            "1",
            part.name,
        )
    return out


def scaling(part: Part, values: Values) -> dict[str, Finding]:
    """Relative regret of the closed form at a factor of 10 either way, largest of the two."""
    out: dict[str, Finding] = {}
    for k, name in enumerate(PROXIES):
        for power in (1, 2):
            near = np.abs(np.abs(np.log10(values["factors"])) - power) < 1e-9
            out[f"{name} {power}"] = Finding.exact(
                f"largest relative regret with {name} off by 10^{power}, over the disagreements",
                float(finite(values["relative"], "relative regret")[:, k, near].max()),
                "1",
                part.name,
            )
    return out


def scaled(part: Part, values: Values) -> dict[str, Finding]:
    """Paired effect on the outcome of the worst and the best factor, and the movement of mu."""
    outcome = finite(values["outcome"], f"outcome of {part.name}")
    middle = values["factors"].size // 2
    unit = str(part.settings["outcome"])
    out: dict[str, Finding] = {}
    for v, variant in enumerate(part.settings["variants"]):
        mean = outcome[v].mean(axis=-1)
        for key, place in (("worst", mean.argmax()), ("best", mean.argmin())):
            k, f = (int(i) for i in np.unravel_index(place, mean.shape))
            found = paired_difference(outcome[v, k, f], outcome[v, k, middle])
            out[f"{variant} {key}"] = _estimated(
                f"{unit} with {PROXIES[k]} times {values['factors'][f]:g} minus that with right "
                f"scales, {variant} ({key})",
                found,
                unit,
                part,
            )
        span = np.ptp(values["mu"][v], axis=1)
        k = int(span.mean(axis=-1).argmax())
        out[f"{variant} mu"] = _estimated(
            f"span of the run's mean mu over {PROXIES[k]} times 10^-2 .. 10^2, {variant}",
            mean_estimate(span[k]),
            "1",
            part,
        )
    return out


def plug_in(part: Part, values: Values) -> dict[str, Finding]:
    """Plain against unbiased: where removing the noise bias helps, and where it hurts."""
    settings = part.settings
    relative = finite(values["relative"], f"relative regret of {part.name}")
    plain, unbiased = settings["removals"].index(0.0), settings["removals"].index(1.0)
    ratios = values["ratios"]
    out: dict[str, Finding] = {}

    def exact(key: str, label: str, number: float, unit: str = "1") -> None:
        out[key] = Finding.exact(label, float(number), unit, part.name)

    for i, (dimension, samples) in enumerate(settings["sizes"]):
        where = f"d = {dimension}, n = {samples}"
        for key, c in (("plain", plain), ("unbiased", unbiased)):
            exact(
                f"{key} {dimension} {samples} low",
                f"relative regret at D2/noise {ratios[0]:g}, {key}, {where}",
                relative[0, i, c, 0],
            )
        harm = relative[0, i, unbiased] - relative[0, i, plain]
        k = int(harm.argmax())
        exact(
            f"harm {dimension} {samples}",
            f"largest added relative regret by removing the bias, {where}",
            harm[k],
        )
        exact(f"harm at {dimension} {samples}", f"D2/noise where that is, {where}", ratios[k])
        clipped = values["clipped"][0, i, unbiased]
        exact(
            f"clipped {dimension} {samples}",
            f"chance of a negative estimate at D2/noise 1, {where}",
            clipped[int(np.abs(np.log(ratios)).argmin())],
        )
    harm = relative[..., unbiased, :] - relative[..., plain, :]
    for a, alpha in enumerate(settings["alphas"]):
        exact(
            f"harmed {alpha}",
            f"share of the cells where removing the bias hurts, alpha {alpha:g}",
            float((harm[a] > 0.0).mean()),
        )
    drawn = values["simulated"]
    error = drawn.std(axis=-1, ddof=1) / math.sqrt(drawn.shape[-1])
    theory = values["regret"][0][settings["checked"]][:, [plain, unbiased]].swapaxes(1, 2)
    out["z"] = Finding(
        f"largest distance of simulated from exact regret, {error.size} comparisons",
        float(np.abs((drawn.mean(axis=-1) - theory) / error).max()),
        math.nan,
        math.nan,
        drawn.shape[-1],
        "standard errors",
        part.name,
    )
    return out


def noise(part: Part, values: Values) -> dict[str, Finding]:
    """Relative regret where all three proxies are noisy."""
    found = finite(values["relative"], f"relative regret of {part.name}")
    return {
        f"{spread:g}": Finding.exact(
            f"largest relative regret with a relative error of {spread:g} in all three proxies",
            float(found[:, -1, s, 0].max()),
            "1",
            part.name,
        )
        for s, spread in enumerate(part.settings["spreads"])
    }
