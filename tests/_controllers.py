"""Every rule that the toy problem can feed."""

from __future__ import annotations

from typing import Any

ALL_KINDS: dict[str, dict[str, Any]] = {
    "documented": {"kind": "gac"},
    "released": {"kind": "gac", "variant": "released"},
    "decoupled": {"kind": "gac", "variant": "decoupled"},
    "kl_driven": {"kind": "gac", "alpha_mode": "kl"},
    "sft_then_rl": {"switch_step": 9},
    "linear": {"steps": 20},
    "chord_mu": {},
    "chord_phi": {},
    "srft": {},
    "kl_control": {},
    "sasr": {"warmup_steps": 5},
    "amft": {},
    "inverse_variance": {},
    "oracle_gac": {},
    "mgda": {},
    "pcgrad": {},
    "imtl_g": {},
    "cagrad": {},
    "nash_mtl": {},
    "upgrad": {},
    "grid": {"kind": "fixed_grid", "points": 3},
}
