"""The answer, from saved results only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.authority import figures
from simulations.analysis.authority.decomposition import PARTS
from simulations.analysis.question import Figure, Finding, Part, Section, finite
from simulations.sweeps.summary import mean_interval

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["answer"]

_ESTIMATE, _PRIOR, _CAP = PARTS.index("estimate"), PARTS.index("prior"), PARTS.index("cap")
SHOWN_REGIME = "rl_step"


def answer(title: str, parts: Mapping[str, Part], results: Results) -> Section:
    """Findings, paragraphs and figures of the question.

    Args:
        title: The question.
        parts: Its parts: "linear", "movement", "regimes" and "recording".
        results: Where they are saved.

    Raises:
        GACError: A part is missing, or holds a value that is not finite.
    """
    found = {key: results.read(part) for key, part in parts.items()}
    for key in ("regimes", "recording"):
        for name in ("covariance", "path"):
            finite(found[key][name], f"{name} of {parts[key].name}")
    variants = list(parts["linear"].settings["variants"])
    linear = _linear(variants, found["linear"], parts["linear"].name)
    movement = _movement(parts["movement"], found["movement"])
    shares = _shares(variants, found["regimes"], parts["regimes"])
    recorded = _recorded(variants, found["recording"], parts["recording"].name)
    return Section(
        title,
        (*_theory(linear, movement), *_measured(shares, recorded)),
        (*linear.values(), *movement, *shares.values(), *recorded.values()),
        _figures(variants, parts, found),
    )


def _linear(variants: list[str], values: Mapping[str, AnyArray], part: str) -> dict[str, Finding]:
    out = {
        f"gain {name}": Finding.exact(
            f"authority of the estimate, {name}", values["gain"][v], "1", part
        )
        for v, name in enumerate(variants)
    }
    for key, label, unit in (
        ("pole", "pole of the default guards", "1"),
        ("settling", "settling time of the default guards (2 %)", "steps"),
        ("half_power", "half-power frequency of the default guards", "rad/step"),
    ):
        out[key] = Finding.exact(label, values[key][variants.index("default")], unit, part)
    out["internal settling"] = Finding.exact(
        "settling time with internal feedback (2 %)",
        values["settling"][variants.index("internal")],
        "steps",
        part,
    )
    out["statistics"] = Finding.exact(
        "settling time of the statistics before the guards (2 %)",
        float(values["statistics_settling"]),
        "steps",
        part,
    )
    out["lambda"] = Finding.exact(
        "blend weight that gives the released feedback half of the authority",
        float(values["lambda_for_half"]),
        "1",
        part,
    )
    return out


def _movement(part: Part, values: Mapping[str, AnyArray]) -> list[Finding]:
    settings = part.settings
    span = f"raw estimate {settings['low']:g} against {settings['high']:g}"
    return [
        Finding.exact(
            f"largest movement of mu, {span}, {settings['steps']} steps, lambda {lam:g}",
            values["measured"][index],
            "1",
            part.name,
        )
        for index, lam in enumerate(settings["blend_weights"])
    ]


def _over_seeds(shares: FloatArray, label: str, part: str) -> Finding:
    """Mean over regimes first, [R, n] -> [n]: the seeds are what is independent."""
    per_seed = shares.mean(axis=0)
    return Finding(label, *mean_interval(per_seed), per_seed.size, "1", part)


def _shares(variants: list[str], values: Mapping[str, AnyArray], part: Part) -> dict[str, Finding]:
    out: dict[str, Finding] = {}
    for v, name in enumerate(variants):
        for kind, phrase in (("covariance", "variance of mu"), ("path", "steps taken")):
            out[f"{kind} {name}"] = _over_seeds(
                values[kind][v, :, _ESTIMATE],
                f"estimate's share of the {phrase}, {name}, mean of the regimes",
                part.name,
            )
    default = variants.index("default")
    for key, index in (("prior", _PRIOR), ("cap", _CAP)):
        for kind, phrase in (("covariance", "variance of mu"), ("path", "steps taken")):
            out[f"{key} {kind}"] = _over_seeds(
                values[kind][default, :, index],
                f"{key}'s share of the {phrase}, default, mean of the regimes",
                part.name,
            )
    for name in ("default", "internal"):
        mu = values["mu"][variants.index(name)]
        raw = values["raw"][variants.index(name)]
        out[f"spread {name}"] = Finding(
            f"largest difference of mean mu between two regimes at one step, {name}",
            float(np.ptp(mu, axis=0).max()),
            math.nan,
            math.nan,
            part.settings["seeds"],
            "1",
            part.name,
        )
        out["spread raw"] = Finding(
            "largest difference of the mean raw estimate between two regimes at one step",
            float(np.ptp(raw, axis=0).max()),
            math.nan,
            math.nan,
            part.settings["seeds"],
            "1",
            part.name,
        )
    out["last capped"] = Finding(
        "last step at which the cap acted in any regime, default",
        float(values["last_capped"][default].max()),
        math.nan,
        math.nan,
        part.settings["seeds"],
        "1",
        part.name,
    )
    out["residual"] = Finding.exact(
        "largest distance of the summed parts from mu", float(values["residual"]), "1", part.name
    )
    return out


def _recorded(variants: list[str], values: Mapping[str, AnyArray], part: str) -> dict[str, Finding]:
    out: dict[str, Finding] = {}
    for v, name in enumerate(variants):
        for kind, phrase in (("covariance", "variance of mu"), ("path", "steps taken")):
            out[f"{kind} {name}"] = Finding(
                f"estimate's share of the {phrase} on the recorded run, {name}",
                float(values[kind][v, _ESTIMATE]),
                math.nan,
                math.nan,
                1,
                "1",
                part,
            )
    out["residual"] = Finding.exact(
        "largest distance of the summed parts from mu on the recorded run",
        float(values["residual"]),
        "1",
        part,
    )
    return out


def _theory(linear: Mapping[str, Finding], movement: list[Finding]) -> tuple[str, ...]:
    text = {key: finding.text() for key, finding in linear.items()}
    moves = ", ".join(
        f"{finding.text()} ({finding.label.rsplit(', ', 1)[1]})" for finding in movement
    )
    return (
        "Between bounds the guards are a linear filter. With the released feedback its steady "
        r"state gives the estimate the weight $\lambda(1-\beta)/(1-\lambda\beta)$: "
        f"**{text['gain default']}** at the defaults, the rest to the prior. It is reached within "
        f"{text['settling']}, so the estimate is not slow, it is faint: the filter passes about "
        "the same hundredth of a fast and of a slow change. A blend weight of "
        f"{text['lambda']} would be needed for an authority of one half.",
        "On the released controller, holding the raw estimate at one end of its range against the "
        f"other for the whole run moves mu by at most {moves}; the linear theory with the clip "
        "gives the same numbers.",
        f"Feeding the weight EMA its own state raises the authority to {text['gain internal']} "
        f"(it is then lambda), and the price is a settling time of {text['internal settling']}. "
        f"Lowering beta to 0.9 in the released feedback gives {text['gain beta 0.9']}, raising "
        f"lambda to 0.9 gives {text['gain lambda 0.9']}; only without the prior is it "
        f"{text['gain no prior']}. In front of all this, the statistics EMA with a refresh every "
        f"10 steps needs {text['statistics']} to settle, longer than most runs.",
    )


def _measured(shares: Mapping[str, Finding], recorded: Mapping[str, Finding]) -> tuple[str, ...]:
    text = {key: finding.text() for key, finding in shares.items()}
    there = {key: finding.text() for key, finding in recorded.items()}
    return (
        "Runs were split exactly into what estimate, prior, initial value, cap and clip "
        f"contributed; the parts sum to mu within {text['residual']}. With the default guards the "
        f"estimate has {text['covariance default']} of the variance of mu over a run (seven noise "
        f"regimes), and {text['path default']} of the steps taken; the prior has "
        f"{text['prior covariance']} and {text['prior path']}, the cap {text['cap covariance']} "
        f"and {text['cap path']}. The cap last acts at step {text['last capped']}, while the "
        "prior, which starts at 0, pulls mu away from its initial value; it never acts on a "
        "jumping estimate.",
        "Between two regimes the mean raw estimate differs by up to "
        f"{text['spread raw']}, and the mean applied mu by up to {text['spread default']} with the "
        f"default guards and {text['spread internal']} with internal feedback. What looks like an "
        "adaptive decay of mu is, at the defaults, the schedule.",
        "With internal feedback the estimate's share of the steps taken is "
        f"{text['path internal']}, and with beta 0.9 besides {text['path internal, beta 0.9']}; "
        f"its share of the variance stays at {text['covariance internal']}, because the prior "
        "moves further than the estimate does. Without the prior all of it is the estimate "
        f"({text['covariance no prior']}).",
        "The shipped recording of a real training run says the same: with the default guards the "
        f"estimate has {there['covariance default']} of the variance and {there['path default']} "
        f"of the steps; with internal feedback {there['covariance internal']} and "
        f"{there['path internal']}. One run, so without an interval.",
    )


def _figures(
    variants: list[str], parts: Mapping[str, Part], found: Mapping[str, Mapping[str, AnyArray]]
) -> tuple[Figure, ...]:
    linear, regimes, recording = found["linear"], found["regimes"], found["recording"]
    default = variants.index("default")
    internal = variants.index("internal")
    shown = list(parts["regimes"].settings["regimes"]).index(SHOWN_REGIME)
    usual = GACConfig()
    lam, forget = usual.blend_weight, 1.0 - usual.ema_beta
    gain = linear["gain"][default]
    marks = [(lam, forget, f"default, {gain:.2g}"), (1.0, forget, "controller alone, 1")]
    intervals = np.array(
        [mean_interval(regimes["path"][v, :, _ESTIMATE].mean(axis=0)) for v in range(len(variants))]
    )

    def contributions(axes: AnyArray) -> AnyArray:
        for ax, v in zip(axes, (default, internal), strict=True):
            figures.draw_contributions(regimes["parts"][v, shown], ax, legend=v == internal)
        limits = np.array([ax.get_ylim() for ax in axes])
        for ax in axes:  # `sharey` would keep the first panel's limits
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        axes[1].set_ylabel("")
        return axes

    return (
        Figure(
            "authority-gain",
            "Steady-state weight of the estimate in mu over the blend weight and the EMA's "
            "forgetting rate, released feedback. The integration's default and the controller's "
            "own are marked.",
            lambda ax: figures.draw_gain_map(
                linear["map_lambda"], linear["map_forget"], linear["map"], marks, ax
            ),
        ),
        Figure(
            "authority-step",
            "Change of mu after a lasting rise of the raw estimate by 1. The statistics EMA, which "
            "delays the estimate itself, is not included.",
            lambda ax: figures.draw_step_responses(variants, linear["step_response"], ax),
        ),
        Figure(
            "authority-contributions",
            "Contributions to the movement of mu while the RL noise rises ninefold at step 100, "
            "mean over seeds: default guards (left), internal feedback (right).",
            contributions,
            size=(7.5, 3.2),
            panels=2,
        ),
        Figure(
            "authority-recording",
            "The same split on the shipped recording of a real training run, default guards.",
            lambda ax: figures.draw_contributions(recording["parts"][default], ax),
        ),
        Figure(
            "authority-shares",
            "Share of the estimate in all steps that the parts of mu take, by variant; interval "
            "over seeds.",
            lambda ax: figures.draw_shares(
                variants, intervals, recording["path"][:, _ESTIMATE], ax
            ),
        ),
    )
