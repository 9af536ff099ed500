"""Faults planted in the source text of the CUDA port, and what the suite says of each.

Each is built by g++ from a copy of the sources. A missing barrier shows because the emulation runs
the threads of a block in an order that changes from phase to phase. Faults whose effect needs more
sequences or tokens than the pack has (a second round over 128 sequences), or a device (a race
within a phase), are not among them.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.port import Port
from gac_ref.conformance.power.planted import PlantedFault, changed

__all__ = ["FAULTS", "planted_library", "planted_port"]


def _rows(stage: str, file: str, *rows: tuple[str, str, str]) -> tuple[PlantedFault, ...]:
    return tuple(
        PlantedFault(name, stage, f"ports/cuda/{file}", old, new) for name, old, new in rows
    )


FAULTS: tuple[PlantedFault, ...] = (
    *_rows(
        "coefficients",
        "coefficients.cuh",
        ("phi with the sign lost", "config.use_phi ? -phi(logprob)",
         "config.use_phi ? phi(logprob)"),
        ("RL coefficient with the sign lost", "Real(0) : -advantage", "Real(0) : advantage"),
        ("experts keep their advantages", "c_r = expert ? Real(0) : -advantage",
         "c_r = expert ? -advantage : -advantage"),
        ("phi of p squared", "return p * (Real(1) - p);", "return p * (Real(1) - p * p);"),
    ),
    *_rows(
        "sequences",
        "fused_rows.cuh",
        ("tail tile not cut", "const int count = left < CHUNK ? static_cast<int>(left) : CHUNK;",
         "const int count = left < 0 ? 0 : CHUNK;"),
        ("tail tile dropped", "first < batch.tokens; first += ROUND)",
         "first + CHUNK <= batch.tokens; first += ROUND)"),
        ("lanes overlap", "begin + int64_t{thread % WARP} * CHUNK;",
         "begin + int64_t{thread % WARP};"),
        ("half a round", "first += ROUND)", "first += ROUND / 2)"),
        ("last shuffle left out", "for (int by = WARP / 2; by > 0; by /= 2)",
         "for (int by = WARP / 2; by > 1; by /= 2)"),
        ("second segment lost", "for (int k = 1; k < SEGMENTS; k++)",
         "for (int k = 2; k < SEGMENTS; k++)"),
        ("stale shared memory", "if (thread % WARP == 0) segments[v] = mine;",
         "if (thread % WARP == 0 && mine.n > 0) segments[v] = mine;"),
        ("no barrier before the segments are read",
         "segments[v] = mine;\n        }\n        __syncthreads();",
         "segments[v] = mine;\n        }\n"),
        ("no barrier before the next row",
         "rows[row] = finished(config, expert, total);\n        }\n        __syncthreads();",
         "rows[row] = finished(config, expert, total);\n        }\n"),
        ("rows taken in turns by one block", "top < batch.sequences; top += stride)",
         "top < batch.sequences && top < stride; top += stride)"),
        ("means merged without weights", "both.s = a.s + s * share;",
         "both.s = a.s + s * Real(0.5);"),
        ("offset between parts left out", "both.rr = a.rr + b.rr + r * r * weight;",
         "both.rr = a.rr + b.rr;"),
        ("cross moment of the wrong sign", "out.sr += ds * dr;", "out.sr -= ds * dr;"),
        ("raw second moments", "const Real dr = on ? r[i] - out.r : Real(0) * r[i];",
         "const Real dr = on ? r[i] : Real(0) * r[i];"),
        ("padding is looked at", "if (!on && select) l[i]", "if (!on && !select) l[i]"),
        ("padding is never looked at", "if (!on && select) l[i]",
         "if (!on || (!on && select)) l[i]"),
        ("padding in the squares", "out.squared += on ? square : Real(0) * square;",
         "out.squared += on ? square : square;"),
        ("KL of the other direction", "const Real d = r[i] - l[i];", "const Real d = l[i] - r[i];"),
        ("masked mean without its eps", "below = n + config.mask_eps;", "below = n;"),
    ),
    *_rows(
        "sequences",
        "tensors.cuh",
        ("any mask read as bytes", "return tensor.dtype == GAC_FLAG || tensor.dtype == GAC_UINT8;",
         "return true;"),
        ("tokens apart read as adjacent", "element<Real>(from, start + i * from.token_stride)",
         "element<Real>(from, start + i)"),
        ("a row without its gap", "const int64_t start = row * from.row_stride +",
         "const int64_t start = row * (from.row_stride - 1) +"),
    ),
    *_rows(
        "sequences",
        "controller.cuh",
        ("no barrier between halves", "slots[thread + half]);\n        __syncthreads();",
         "slots[thread + half]);"),
        ("offset of a row left out", "row.tokens * offset * offset;", "0.0 * offset;"),
        ("spread of the sum", "sqrt(scatter / n)", "sqrt(scatter / n / n)"),
    ),
    *_rows(
        "proxies",
        "controller.cuh",
        # Of the reductions, the pack has more than 64 sequences for those of this stage only.
        ("no barrier before the first half", "slots[thread] = mine;\n    __syncthreads();",
         "slots[thread] = mine;"),
        ("only half of the block", "int half = BLOCK / 2; half > 0",
         "int half = BLOCK / 4; half > 0"),
        ("trimming unsorted", "rows[before].sorted_nll = mine;",
         "rows[before < 0 ? 0 : i].sorted_nll = mine;"),
        ("ties take one place", "tie ? j < i", "tie ? false"),
        ("trimming rounds", "static_cast<int64_t>(all.of[EXPERTS] * config.trim_ratio)",
         "static_cast<int64_t>(all.of[EXPERTS] * config.trim_ratio + 0.5)"),
        ("sample variance", "sigma_r2 = scatter.of[1] / all.of[ROLLOUTS];",
         "sigma_r2 = scatter.of[1] / (all.of[ROLLOUTS] - 1.0);"),
    ),
    *_rows(
        "statistics_ema",
        "stages.cuh",
        ("seeded by zero", "mean = seen > 0 ? ema(previous, value, config.ema_beta) : value;",
         "mean = ema(previous, value, config.ema_beta);"),
        ("refresh one step late", ">= config.mu_update_freq", "> config.mu_update_freq"),
    ),
    *_rows(
        "alpha",
        "stages.cuh",
        ("KL gain of the wrong sign", "(1.0 + config.kl_gain * error)",
         "(1.0 - config.kl_gain * error)"),
    ),
    *_rows(
        "closed_form",
        "stages.cuh",
        ("SFT noise on top", "const double top = c.alpha * d + r;",
         "const double top = c.alpha * d + s;"),
    ),
    *_rows(
        "weight_ema",
        "stages.cuh",
        ("weight EMA moves while held", "if (held(config, c)) value = ema_input(config, c);\n", ""),
    ),
    *_rows(
        "prior_blend",
        "stages.cuh",
        ("half a cosine too slow", "cos(PI *", "cos(0.5 * PI *"),
    ),
    *_rows(
        "change_cap",
        "stages.cuh",
        ("cap of the wrong sign", "c.previous_mu + copysign(", "c.previous_mu - copysign("),
    ),
    *_rows(
        "clip",
        "stages.cuh",
        ("upper bound of one", "clipped(c.mu_capped, config.mu_min, config.mu_max,",
         "clipped(c.mu_capped, config.mu_min, 1.0,"),
    ),
    *_rows(
        "wiring",
        "stages.cuh",
        ("change capped against the weight EMA",
         "if (stages & GAC_STAGE_CHANGE_CAP) change_cap_stage(config, c);",
         "if (whole) c.previous_mu = c.previous_mu_ada;\n"
         "    if (stages & GAC_STAGE_CHANGE_CAP) change_cap_stage(config, c);"),
    ),
    *_rows(
        "state",
        "stages.cuh",
        ("weight EMA not kept", "    c.previous_mu_ada = c.mu_ada;\n", ""),
        ("alpha not kept", "    c.previous_alpha = c.alpha;\n", ""),
    ),
    PlantedFault(
        "bfloat16 not widened", "coefficients", "ports/cuda/tensors.cuh",
        "float_of(uint32_t{value.bits} << 16)", "float_of(uint32_t{value.bits})",
        ("bf16",), "no other dtype has these bits",
    ),
    PlantedFault(
        "float16 taken for bfloat16", "coefficients", "ports/cuda/tensors.cuh",
        "return half_to_float(value.bits);", "return float_of(uint32_t{value.bits} << 16);",
        ("fp16",), "no other dtype has these bits",
    ),
    PlantedFault(
        "tokens of float64 in float32", "coefficients", "ports/cuda/tensors.cuh",
        "std::conditional_t<std::is_same_v<In, double>, double, float>",
        "std::conditional_t<std::is_same_v<In, double>, float, float>",
        ("fp64",), "the others are computed in float32 anyway",
    ),
)  # fmt: skip
"""Each with the stage that a check should name."""


@contextmanager
def planted_library(fault: PlantedFault | None) -> Iterator[str]:
    """The host build of a copy of the sources with the fault in it, gone afterwards.

    Raises:
        GACError: The fault's text does not occur exactly once, or there is no g++.
    """
    # By name: the suite knows no port.
    build = importlib.import_module("gac_ref.ports.cuda.build").build
    folder = Path(tempfile.mkdtemp(prefix="gac-ref-planted-"))
    try:
        for source in Path(str(files("gac_ref") / "ports" / "cuda")).iterdir():
            if source.suffix in (".cu", ".cuh", ".h", ".cpp"):
                text = source.read_text("utf-8")
                if fault is not None and fault.file == f"ports/cuda/{source.name}":
                    text = changed(fault, text)
                (folder / source.name).write_text(text, "utf-8")
        yield str(build("host", folder / "built", folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def planted_port(fault: PlantedFault | None) -> Iterator[Port]:
    """The port that a changed library is, in a process of its own."""
    with planted_library(fault) as library, open_port(library) as port:
        yield port
