"""Faults planted in the source text of the JavaScript port; each runs in a Node of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.port import Port
from gac_ref.conformance.power.planted import PlantedFault, changed

__all__ = ["FAULTS", "planted_port"]


def _rows(stage: str, file: str, *rows: tuple[str, str, str]) -> tuple[PlantedFault, ...]:
    return tuple(
        PlantedFault(name, stage, f"ports/javascript/{file}", old, new) for name, old, new in rows
    )


FAULTS: tuple[PlantedFault, ...] = (
    *_rows(
        "coefficients",
        "proxies.mjs",
        ("advantages always by row", "-advantages[perToken ? at : i]", "-advantages[i]"),
        ("phi is p alone", "return p * (1 - p);", "return p;"),
        ("experts keep their advantages", "isExpert[i] ? 0 : -advantages", "-advantages"),
    ),
    *_rows(
        "sequences",
        "proxies.mjs",
        ("last column of a row left out", "at < (row + 1) * batch.width",
         "at < (row + 1) * batch.width - 1"),
        ("padding always multiplied", 'else if (config.masking === "multiply") total',
         "else total"),
        ("padding never multiplied", 'if (config.masking === "multiply")',
         'if (config.masking === "never")'),
        ("means without their eps", "total / (count + config.mask_eps)", "total / count"),
        ("every position counted", "batch.responseMask[row * batch.width + t] ? 1 : 0", "1"),
        ("first row left out of the centre", "rows.map((row) => masked(row, (at) => stream[at])))",
         "rows.slice(1).map((row) => masked(row, (at) => stream[at])))"),
        ("spread with ddof 1", "Math.sqrt(square / count)", "Math.sqrt(square / (count - 1))"),
        ("spread of a constant stream kept",
         "return { of: () => 0, constant: true };", "spread;"),
        ("KL of the other direction", "batch.refLogprob[at] - batch.logprob[at];",
         "batch.logprob[at] - batch.refLogprob[at];"),
        ("KL over experts too", " || batch.isExpert[Math.floor(at / batch.width)]) continue;",
         ") continue;"),
        ("a branch of empty rows measures", "rows.some((row) => tokens[row] > 0)",
         "rows.length > 0"),
        ("disagreement not squared", "(z[0].of(at) - z[1].of(at)) ** 2",
         "Math.abs(z[0].of(at) - z[1].of(at))"),
    ),
    *_rows(
        "proxies",
        "proxies.mjs",
        ("variance with ddof 1", "return mean(values.map((value) => (value - centre) ** 2));",
         "return sum(values.map((value) => (value - centre) ** 2)) / Math.max(1, "
         "values.length - 1);"),
        ("numbers sorted as text", "Float64Array.from(values).sort();",
         "Float64Array.from(Array.from(values).sort());"),
        ("trimmed at one end", "sorted.subarray(k, sorted.length - k)", "sorted.subarray(k)"),
        ("trimming rounded", "Math.trunc(sorted.length * ratio)",
         "Math.round(sorted.length * ratio)"),
        ("trimmed from three on", "sorted.length < 4", "sorted.length < 3"),
        ("floor on one variance alone", "has.r ? Math.max(sigmaR2, config.eps)",
         "has.r ? sigmaR2"),
        ("disagreement over all rows", "mean(pick(disagreement, rows.delta))",
         "mean(disagreement)"),
    ),
    *_rows(
        "statistics_ema",
        "controller.mjs",
        ("not seeded by the first value", "? value : ema(",
         "? ema(0, value, config.ema_beta) : ema("),
        ("a missing branch is always held", '!present && config.missing_branch === "hold"',
         "!present"),
        ("refreshed by the step number", "step - state.last_refresh >= config.mu_update_freq",
         "step % config.mu_update_freq === 0"),
        ("unseen statistics are 0", "next.count_s ? next.sigma_s2 : 1", "next.sigma_s2"),
        ("beta on the new value", "beta * previous + (1 - beta) * value",
         "(1 - beta) * previous + beta * value"),
    ),
    *_rows(
        "alpha",
        "controller.mjs",
        ("KL error not clipped", "clipTo(kl / config.kl_target - 1, -ERROR_CLIP, ERROR_CLIP)",
         "kl / config.kl_target - 1"),
        ("unknown KL counts as 0", "|| Number.isNaN(kl)) return", ") return"),
    ),
    *_rows(
        "closed_form",
        "controller.mjs",
        ("cap from the variances alone", "(s + r + config.eps);", "(s + r);"),
        ("flat at one eps", "<= 2 * config.eps", "<= config.eps"),
        ("eps left out of the released form", "const bottom = d + s + r + config.eps;",
         "const bottom = d + s + r;"),
        ("branches exchanged", "const top = target * d + r;", "const top = target * d + s;"),
    ),
    *_rows(
        "weight_ema",
        "controller.mjs",
        ("internal and applied exchanged", 'config.weight_ema === "internal" ? muAda : mu;',
         'config.weight_ema === "internal" ? mu : muAda;'),
    ),
    *_rows(
        "prior_blend",
        "controller.mjs",
        ("warm-up from step one", "(step / Math.max(1, warmup)) * peak",
         "((step + 1) / Math.max(1, warmup)) * peak"),
        ("cosine from peak to 0", "valley + (peak - valley) *", "(peak - valley) *"),
        ("lambda on the prior",
         "(1 - config.blend_weight) * prior + config.blend_weight * muAda",
         "config.blend_weight * prior + (1 - config.blend_weight) * muAda"),
    ),
    *_rows(
        "change_cap",
        "controller.mjs",
        ("sign of the change lost", "mu + Math.sign(change) * config.mu_change_cap",
         "mu + config.mu_change_cap"),
    ),
    *_rows(
        "wiring",
        "controller.mjs",
        ("capped change from the adaptive weight",
         "changeCap(config, blend.mu_candidate, state.mu)",
         "changeCap(config, blend.mu_candidate, smooth.mu_ada)"),
        ("alpha of the step before",
         "smoothed.delta_g2, target.alpha);", "smoothed.delta_g2, state.alpha);"),
        ("stored statistic for the one in use",
         "closedForm(config, smoothed.sigma_s2,", "closedForm(config, next.sigma_s2,"),
        ("prior of the next step", "priorBlend(config, smooth.mu_ada, step)",
         "priorBlend(config, smooth.mu_ada, step + 1)"),
    ),
    *_rows(
        "state",
        "controller.mjs",
        ("the candidate is remembered", "mu: applied.mu, mu_ada:",
         "mu: blend.mu_candidate, mu_ada:"),
        ("alpha is forgotten", "alpha: target.alpha },", "alpha: config.alpha },"),
    ),
)  # fmt: skip
"""All of them; nothing in the pack is held back from any."""


@contextmanager
def planted_port(fault: PlantedFault | None) -> Iterator[Port]:
    """The port in a copy of its folder with the fault in it; None plants nothing.

    Raises:
        GACError: The fault's text does not occur exactly once.
        AdapterFailure: Node is not installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="gac-ref-planted-"))
    try:
        for source in Path(str(files("gac_ref") / "ports" / "javascript")).glob("*.mjs"):
            text = source.read_text("utf-8")
            if fault is not None and fault.file == f"ports/javascript/{source.name}":
                text = changed(fault, text)
            (folder / source.name).write_text(text, "utf-8")
        with open_port(f"stdio: node {folder / 'stdio.mjs'}") as port:
            yield port
    finally:
        shutil.rmtree(folder, ignore_errors=True)
