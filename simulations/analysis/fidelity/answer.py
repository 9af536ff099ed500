"""The answer, from saved results only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gac_ref._typing import AnyArray
from simulations.analysis.fidelity import measure
from simulations.analysis.fidelity.falsify import FALSIFICATIONS, STATISTICS
from simulations.analysis.fidelity.measure import CLAIMED, LABELS, Table
from simulations.analysis.fidelity.pictures import section_figures
from simulations.analysis.question import Part, Section

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["answer"]

Saved = Mapping[str, Mapping[str, AnyArray]]


def answer(title: str, parts: Mapping[str, Part], results: Results) -> Section:
    """Findings, paragraphs and figures of the question.

    Args:
        title: The question.
        parts: Its parts: "training", "random", "recording" and "study".
        results: Where they are saved.

    Raises:
        GACError: A part is missing, or holds a value that is not finite.
    """
    saved = {key: results.read(part) for key, part in parts.items()}
    recorded = measure.recorded_run(saved["recording"], parts["recording"])
    repeated = measure.repeated_runs(saved["study"], parts["study"])
    training = measure.exact_training(saved["training"], parts["training"])
    random, undefined = measure.exact_random(saved["random"], parts["random"])
    share = _share(saved, parts)
    models = list(parts["training"].settings["models"])
    return Section(
        title,
        (
            *_claim(recorded, repeated, training, random, models),
            *_variances(recorded, repeated, training, models),
            _calibration(recorded, random, models),
            *_falsification(saved["recording"], recorded, random, undefined, models),
            _beyond(share),
            _method(recorded),
        ),
        tuple(
            finding
            for table in (recorded, repeated, training, random, share)
            for finding in table.values()
        ),
        section_figures(saved, recorded, repeated, training, random, models),
    )


def _share(saved: Saved, parts: Mapping[str, Part]) -> Table:
    recording, study, training = saved["recording"], saved["study"], saved["training"]
    found = measure.partial_correlation(recording, parts["recording"])
    found["r2 recorded"] = measure.beyond_share(
        recording["share"],
        recording["proxies"][1],
        int(recording["group_size"]),
        "recorded run",
        parts["recording"],
    )
    found["r2 repeated"] = measure.beyond_share(
        study["share"],
        study["sigma_r2"],
        int(study["group_size"]),
        "repeated training",
        parts["study"],
    )
    for m, model in enumerate(parts["training"].settings["models"]):
        found[f"r2 {model}"] = measure.beyond_share(
            training["share"][m],
            training["one"][m, 1],
            int(training["group_size"][m]),
            model,
            parts["training"],
        )
    return found


def _claim(
    recorded: Table, repeated: Table, training: Table, random: Table, models: list[str]
) -> tuple[str, ...]:
    tested = {
        "recorded run": recorded["pearson delta_g2"],
        "recorded run (released)": recorded["pearson delta_g2_released"],
        "repeated training": repeated["pearson delta_g2"],
        "repeated training (released)": repeated["pearson delta_g2_released"],
    }
    for model in models:
        tested[f"{model} (runs)"] = training[f"mean {model} delta_g2"]
        tested[f"{model} (random points)"] = random[f"pearson {model} delta_g2"]
    reach = [name for name, finding in tested.items() if finding.low <= CLAIMED <= finding.high]
    above = [name for name, finding in tested.items() if finding.low > CLAIMED]
    negative = [name for name, finding in tested.items() if finding.high < 0.0]
    where = (
        f"{CLAIMED:g} is inside the interval in {_list(reach)} alone"
        if reach
        else f"{CLAIMED:g} is outside every one of these {len(tested)} intervals"
    )
    beyond = f", and below the whole interval in {_list(above)}" if above else ""
    signs = f" In {_list(negative)} the correlation is below 0." if negative else ""
    pairs = [
        (training[f"one {model} delta_g2"], training[f"mean {model} delta_g2"]) for model in models
    ]
    exact = "; ".join(
        f"{model} {one.text()} from one batch and {mean.text()} from sixteen"
        for model, (one, mean) in zip(models, pairs, strict=True)
    )
    signs_kept = all(one.value * mean.value > 0.0 for one, mean in pairs)
    random_points = ", ".join(
        f"{model} {random[f'pearson {model} delta_g2'].text()}" for model in models
    )
    return (
        f"The claim is a correlation of about {CLAIMED:g} between the disagreement proxy and the "
        "true disagreement. In the recorded training of a small transformer it is "
        f"**{recorded['pearson delta_g2'].text()}** as documented and "
        f"{recorded['pearson delta_g2_released'].text()} as released; within the seeds of the "
        f"repeated training {repeated['pearson delta_g2'].text()} and "
        f"{repeated['pearson delta_g2_released'].text()}. {where}{beyond}.{signs} The repeated "
        "training has points of several rules; without SFT, then RL, "
        "whose true values in its second stage are far from all others, it gives "
        f"{repeated['without delta_g2'].text()} and "
        f"{repeated['without delta_g2_released'].text()}.",
        "A noisy proxy correlates less than a good one should, so in the exact models the proxy "
        f"was also averaged over 16 batches at the same parameters. Along runs: {exact}; over "
        f"random points, sixteen batches: {random_points}. "
        + (
            "No sign changes with the averaging, so the signs are the statistic's own and not its "
            "sampling noise; and they differ from model to model."
            if signs_kept
            else "A sign changes with the averaging: one batch is too noisy to judge the statistic."
        ),
    )


def _variances(
    recorded: Table, repeated: Table, training: Table, models: list[str]
) -> tuple[str, ...]:
    lines = []
    for name in ("sigma_r2", "sigma_s2"):
        along = ", ".join(
            f"{training[f'mean {model} {name}'].text()} ({model})" for model in models
        )
        lines.append(
            f"{LABELS[name]}: {recorded[f'pearson {name}'].text()} on the recorded run "
            f"({recorded[f'smoothed {name}'].text()} after the statistics EMA), "
            f"{repeated[f'pearson {name}'].text()} within the seeds of the repeated training "
            f"({repeated[f'without {name}'].text()} without SFT, then RL), and "
            f"in the exact models, along runs and averaged over 16 batches, {along}."
        )
    return tuple(lines)


def _calibration(recorded: Table, random: Table, models: list[str]) -> str:
    slopes = []
    for name in STATISTICS[:3]:
        there = ", ".join(f"{random[f'slope {model} {name}'].text()} ({model})" for model in models)
        slopes.append(
            f"{LABELS[name]} {recorded[f'slope {name}'].text()} (recorded, R^2 "
            f"{recorded[f'r2 {name}'].text()}), {there}"
        )
    return (
        "Calibration: where a proxy were the truth in another unit, the line of log proxy on log "
        f"truth would have slope 1. It has: {'; '.join(slopes)}. The closed form compares the "
        "three with one another, so a slope near 0 means that mu hardly notices when the truth "
        "changes by a factor."
    )


def _falsification(
    recording: Mapping[str, AnyArray],
    recorded: Table,
    random: Table,
    undefined: list[str],
    models: list[str],
) -> tuple[str, ...]:
    def listed(name: str) -> str:
        found = [
            f"{falsification} {recorded[f'{falsification} {name}'].text()}"
            for falsification in FALSIFICATIONS
            if f"{falsification} {name}" in recorded
        ]
        return ", ".join(found)

    immune = "; ".join(
        f"{LABELS[name]}: {_list(measure.unmoved(recording, name))}"
        for name in STATISTICS
        if measure.unmoved(recording, name)
    )
    flat = [
        f"{LABELS[name]} under {falsification}"
        for name in STATISTICS
        for falsification in measure.flattened(recording, name)
    ]
    exact = ", ".join(
        f"{model} {random[f'pearson {model} delta_g2'].text()} becomes "
        f"{random[f'shuffled phi {model} delta_g2'].text()}"
        for model in models
    )
    text = (
        "Falsification on the recorded batches (mean and range over the shuffles). Disagreement "
        f"as documented, {recorded['pearson delta_g2'].text()} unbroken: {listed('delta_g2')}. As "
        f"released, {recorded['pearson delta_g2_released'].text()} unbroken: "
        f"{listed('delta_g2_released')}. RL noise, {recorded['pearson sigma_r2'].text()} unbroken: "
        f"{listed('sigma_r2')}. SFT noise, {recorded['pearson sigma_s2'].text()} unbroken: "
        f"{listed('sigma_s2')}."
    )
    definition = f" Unchanged by their definition, so that the test cannot fail: {immune}."
    constant = f" Constant, so without a correlation: {_list(flat)}." if flat else ""
    return (
        text + definition + constant,
        f"In the exact models, over random points with shuffled phi, {exact}. Where a correlation "
        "survives the shuffle it does not come from the agreement of the two coefficient streams."
        + (f" Constant there: {_list(undefined)}." if undefined else ""),
    )


def _beyond(share: Table) -> str:
    left = [finding.text() for key, finding in share.items() if key.startswith("r2 ")]
    partial = share["partial"]
    verdict = (
        "so nothing is seen of it beyond the share"
        if partial.low <= 0.0 <= partial.high
        else "so it carries something beyond the share"
    )
    return (
        r"The RL noise proxy is $\frac{G-1}{G}$ times the share of groups with spread: without any "
        f"fit, that leaves {', '.join(left)} of its variance unexplained (recorded run, repeated "
        f"training, then the exact models), a spread of {share['left'].text()} on the recorded "
        "run. There the share alone correlates with the true RL noise at "
        f"{share['share alone'].text()}, and the proxy given the share at {partial.text()}, "
        f"{verdict}."
    )


def _method(recorded: Table) -> str:
    return (
        "Intervals. Along the one recorded run neighbouring points are not independent: Fisher's "
        "interval is taken at the effective number of pairs (Bartlett), "
        f"{recorded['pearson delta_g2'].n} of 30 for the disagreement. "
        "Repeated training and exact runs give one correlation a seed, averaged on Fisher's scale "
        "with Student's interval, so that nothing is assumed about points of one run. Random "
        "points are independent. The share of time shifts whose correlation is as strong is "
        f"{recorded['shift delta_g2'].text()} for the disagreement and "
        f"{recorded['shift sigma_r2'].text()} for the RL noise."
    )


def _list(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
