"""The answer, from saved results only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.question import Figure, Finding, Part, Section
from simulations.analysis.sensitivity import figures, findings
from simulations.analysis.statistics.paired import mean_estimate

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["answer"]

Found = Mapping[str, Mapping[str, Finding]]

_READERS: dict[str, Callable[[Part, Mapping[str, AnyArray]], dict[str, Finding]]] = {
    "local": findings.local,
    "changes": findings.changes,
    "quadratic": findings.global_,
    "quadratic_internal": findings.global_,
    "bandit": findings.global_,
    "scaling": findings.scaling,
    "scaled_runs": findings.scaled,
    "plug_in": findings.plug_in,
    "noise": findings.noise,
}

SHOWN_SLOPES = ("prior_valley", "prior_peak", "blend_weight", "ema_beta", "alpha", "init_mu")


def answer(title: str, parts: Mapping[str, Part], results: Results) -> Section:
    """Findings, paragraphs and figures of the question.

    Args:
        title: The question.
        parts: Its parts by their short names.
        results: Where they are saved.

    Raises:
        GACError: A part is missing, or holds a value that is not finite.
    """
    values = {key: results.read(part) for key, part in parts.items()}
    found = {key: read(parts[key], values[key]) for key, read in _READERS.items()}
    every = {id(f): f for group in found.values() for f in group.values()}
    return Section(
        title,
        (_local(found), _global(found, parts), _scales(found), _plug_in(found), _noisy(found)),
        tuple(every.values()),
        _figures(parts, values),
    )


def _local(found: Found) -> str:
    t = {key: f.text() for key, f in found["local"].items()}
    c = {key: f.text() for key, f in found["changes"].items()}
    return (
        "At the defaults mu follows the prior: +10 % of `prior_peak` moves it by up to "
        f"{t['default prior_peak']} during a run, +10 % of `prior_valley` by "
        f"{t['default prior_valley']}, but +10 % of `alpha`, the target of the whole method, by "
        f"{t['default alpha']}, and 10 % more forgetting in the EMAs by {t['default ema_beta']}. "
        f"With internal feedback `alpha` has {t['internal alpha']} and `blend_weight` "
        f"{t['internal blend_weight']}. On the shipped recording `trim_ratio` 0 in the place of "
        f"0.1 changes the raw estimate by up to {c['trim_ratio 0.0 the raw estimate']} and mu by "
        f"{c['trim_ratio 0.0 mu']}; half the warm-up changes mu by {c['prior_warmup 100 mu']}."
    )


def _leaders(group: Mapping[str, Finding], output: str) -> str:
    shown = []
    for rank in range(findings.SHOWN_FACTORS):
        finding = group[f"{output} #{rank}"]
        name = finding.label.split(" of ", 1)[1].split(" for ", 1)[0]
        if finding.low > 0.0:
            shown.append(f"`{name}` {finding.text()}")
    return ", ".join(shown) if shown else "no single factor"


def _global(found: Found, parts: Mapping[str, Part]) -> str:
    q, i, b = (found[key] for key in ("quadratic", "quadratic_internal", "bandit"))
    largest = max(
        (group[f"{output} libraries"] for group in (q, i, b) for output in ("mu", "outcome")),
        key=lambda finding: finding.value,
    )
    return (
        "Over broad ranges of all hyperparameters, and of the scales of the proxies by a factor of "
        "ten either way, the total Sobol indices of the last mu on the quadratic bowls are led by "
        f"{_leaders(q, 'mu')}; `alpha` has {q['mu alpha'].text()}, the scale of `sigma_r2` "
        f"{q['mu scale_r'].text()}. Its final loss is led by {_leaders(q, 'outcome')}. With "
        f"internal feedback mu is led by {_leaders(i, 'mu')}, and the loss by "
        f"{_leaders(i, 'outcome')}: the proxies' scales matter where the estimate has authority. "
        f"The bandit's final reward is led by {_leaders(b, 'outcome')}, but the central 95 % of "
        "all rewards span only "
        f"{b['outcome range'].text()}: within this toy the hyperparameters decide little. SALib "
        f"and SciPy agree within {largest.text()} on the same evaluations. The intervals are wide "
        f"({parts['quadratic'].settings['rows']} rows of the design), so the order of close "
        "factors is not settled."
    )


def _scales(found: Found) -> str:
    s = {key: f.text() for key, f in found["scaling"].items()}
    r = {key: f.text() for key, f in found["scaled_runs"].items()}
    best = found["scaled_runs"]["no prior best"]
    surprise = (
        "Right scales are not the best ones here: without the prior, "
        f"{best.label.split(' minus')[0]} changes by {best.text()}, since the weight of "
        "least gradient risk is not the weight of least final loss."
        if best.high < 0.0
        else "No wrong scale does better than the right one."
    )
    return (
        "Nothing calibrates the three proxies to one another. In the closed form a factor of ten "
        f"on `sigma_s2`, `sigma_r2` or `delta_g2` costs up to {s['sigma_s2 1']}, "
        f"{s['sigma_r2 1']} and {s['delta_g2 1']} of the smallest risk (disagreements of 0.1 to 10 "
        f"times the noise); a factor of a hundred up to {s['sigma_s2 2']}, {s['sigma_r2 2']} and "
        f"{s['delta_g2 2']}. In training the default guards hide this: over four decades of the "
        f"worst proxy the run's mean mu spans {r['default mu']}, with internal feedback "
        f"{r['internal mu']}, without the prior {r['no prior mu']}. The loss rises by at most "
        f"{r['default worst']}, {r['internal worst']} and {r['no prior worst']}. " + surprise
    )


def _plug_in(found: Found) -> str:
    p = {key: f.text() for key, f in found["plug_in"].items()}
    return (
        "The squared distance of two batch means contains their noise, and taking it off is what "
        "makes D2 unbiased. In high dimension (d = 256, four samples a branch) that cuts the "
        f"relative regret at small disagreement from {p['plain 256 4 low']} to "
        f"{p['unbiased 256 4 low']}, at no cost above {p['harm 256 4']} anywhere. In low dimension "
        f"it can hurt: with d = 2 and two samples it adds up to {p['harm 2 2']} (at D2/noise "
        f"{p['harm at 2 2']}), with d = 4 and four samples {p['harm 4 4']} (at "
        f"{p['harm at 4 4']}), because the estimate varies more and is negative, so clipped, with "
        f"a chance of {p['clipped 2 2']} and {p['clipped 4 4']} at a ratio of 1. Where alpha "
        "equals the inverse-variance weight the disagreement does not matter, its bias only "
        "shrinks towards the right answer, and the share of cells where removing it hurts is "
        f"{p['harmed 0.8']}, against {p['harmed 0.5']} at alpha 0.5. What counts is the effective "
        "dimension of the noise, which in a large model is large. Simulated gradients agree with "
        "the exact "
        f"integrals within {p['z']}."
    )


def _noisy(found: Found) -> str:
    n = {key: f.text() for key, f in found["noise"].items()}
    return (
        "The closed form is forgiving of independent relative errors: 10 % in all three proxies "
        f"costs at most {n['0.1']} of the smallest risk, 30 % {n['0.3']}, 100 % {n['1']}. A wrong "
        "scale of one proxy is the greater danger than noise in all of them."
    )


def _figures(
    parts: Mapping[str, Part], values: Mapping[str, Mapping[str, AnyArray]]
) -> tuple[Figure, ...]:
    local, scaling = values["local"], values["scaling"]
    shown = list(parts["scaling"].settings["ratios"]).index(1.0)

    def slopes(axes: AnyArray) -> AnyArray:
        for ax, variant in zip(axes, (0, 1), strict=True):
            effect = findings.effects(local, variant)
            curves = {name: effect[name].mean(axis=-1) for name in SHOWN_SLOPES}
            figures.draw_derivatives(local["steps"], curves, ax, legend=variant == 1)
        _same_height(axes)
        axes[1].set_ylabel("")
        return axes

    def bars(key: str) -> Callable[[AnyArray], AnyArray]:
        def draw(axes: AnyArray) -> AnyArray:
            names = [factor[0] for factor in parts[key].settings["factors"]]
            for ax, output in zip(axes, ("mu", "outcome"), strict=True):
                first, total = (
                    _interval(values[key], f"{output}/salib/{order}")
                    for order in ("first", "total")
                )
                figures.draw_indices(names, first, total, ax, label=output == "mu")
                what = (
                    r"last $\mu$" if output == "mu" else f"final {parts[key].settings['outcome']}"
                )
                ax.set_xlabel(f"share of the variance, {what}")
            axes[1].legend(frameon=False, fontsize=8, loc="lower right")
            return axes

        return draw

    def runs(axes: AnyArray) -> AnyArray:
        return _draw_runs(parts["scaled_runs"], values["scaled_runs"], axes)

    def regret(axes: AnyArray) -> AnyArray:
        return _draw_plug_in(parts["plug_in"], values["plug_in"], axes)

    tall = (7.5, 4.6)
    return (
        Figure(
            "sensitivity-local",
            "Change of mu for +10 % of a hyperparameter (of 1 - beta for `ema_beta`) along a run "
            "in which the RL noise rises ninefold at step 100: default guards (left), internal "
            "feedback (right).",
            slopes,
            size=(7.5, 3.2),
            panels=2,
        ),
        Figure(
            "sensitivity-quadratic",
            "Sobol indices on the quadratic bowls, default feedback, with 95 % intervals.",
            bars("quadratic"),
            size=tall,
            panels=2,
        ),
        Figure(
            "sensitivity-quadratic-internal",
            "The same with internal feedback.",
            bars("quadratic_internal"),
            size=tall,
            panels=2,
        ),
        Figure(
            "sensitivity-bandit",
            "Sobol indices on the bandit, default feedback and KL-driven alpha.",
            bars("bandit"),
            size=(7.5, 5.4),
            panels=2,
        ),
        Figure(
            "sensitivity-scaling",
            "Exact regret of the closed form with one proxy off by a factor, disagreement equal to "
            "the noise.",
            lambda ax: figures.draw_scaling(scaling["factors"], scaling["relative"][shown], ax),
        ),
        Figure(
            "sensitivity-scaled-runs",
            "Final loss of training with one proxy off by a factor, 95 % intervals over seeds.",
            runs,
            size=(7.5, 3.0),
            panels=3,
        ),
        Figure(
            "sensitivity-plug-in",
            "Relative regret of the plug-in weight, plain, half and unbiased removal of the noise "
            "in D2: exact (lines) and simulated with 95 % intervals (points; plain and unbiased).",
            regret,
            size=(7.5, 3.2),
            panels=3,
        ),
    )


def _same_height(axes: AnyArray) -> None:
    """The same limits of y, those that hold everything; `sharey` would keep the first panel's."""
    limits = np.array([ax.get_ylim() for ax in axes])
    for ax in axes:
        ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _interval(values: Mapping[str, AnyArray], name: str) -> FloatArray:
    return np.stack([values[name], values[f"{name}_low"], values[f"{name}_high"]])


def _draw_runs(part: Part, values: Mapping[str, AnyArray], axes: AnyArray) -> AnyArray:
    labels = (r"$\sigma_s^2$", r"$\sigma_r^2$", r"$\Delta^2$")
    for k, ax in enumerate(axes):
        intervals = {
            variant: np.array([mean_estimate(row)[:3] for row in values["outcome"][v, k]])
            for v, variant in enumerate(part.settings["variants"])
        }
        unit = f"final {part.settings['outcome']}" if k == 0 else ""
        figures.draw_scaled_runs(values["factors"], intervals, ax, unit=unit)
        ax.set_xlabel(f"factor on {labels[k]}")
    _same_height(axes)
    axes[1].legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=3
    )
    return axes


def _draw_plug_in(part: Part, values: Mapping[str, AnyArray], axes: AnyArray) -> AnyArray:
    settings: Mapping[str, Any] = part.settings
    names = {0.0: "plain", 0.5: "half", 1.0: "unbiased"}
    sizes = [tuple(size) for size in settings["sizes"]]
    # Regret over relative regret is the smallest risk: it turns simulated regrets into relative.
    smallest = values["regret"][0, 0, 0] / values["relative"][0, 0, 0]
    for ax, size in zip(axes, ((2, 2), (4, 4), (32, 4)), strict=True):
        i = sizes.index(size)
        exact = {names[c]: values["relative"][0, i, j] for j, c in enumerate(settings["removals"])}
        simulated = None
        if i in settings["checked"]:
            drawn = values["simulated"][list(settings["checked"]).index(i)]
            simulated = {
                name: np.array(
                    [mean_estimate(row[j])[:3] for row in drawn / smallest[:, None, None]]
                )
                for j, name in enumerate(("plain", "unbiased"))
            }
        figures.draw_plug_in(values["ratios"], exact, ax, simulated=simulated)
        ax.text(
            0.97,
            0.95,
            f"d = {size[0]}, n = {size[1]}",
            transform=ax.transAxes,
            ha="right",
            va="top",
            fontsize=8,
        )
    axes[0].set_ylabel("regret, % of the smallest risk")
    axes[1].legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=3
    )
    return axes
