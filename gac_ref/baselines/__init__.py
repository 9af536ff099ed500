"""Peer rules for the mixing weight, and GAC itself, behind one pair of functions.

Every rule is a frozen, keyword-only dataclass of validated hyperparameters. ``init(rule, shape)``
gives a state, ``update(rule, state, signals, step=...)`` the next one and an ``info`` whose ``mu``
is the weight on SFT; a :class:`gac_ref.GACConfig` is a rule too. ``signals`` is a training
:class:`gac_ref.Batch`, or a :class:`Signals` for one trajectory or thousands. Nothing is random
but what the caller hands over.

Examples:
    >>> from gac_ref import GACConfig, Proxies, baselines
    >>> signals = baselines.Signals(proxies=Proxies(1.0, 3.0, 4.0), entropy=0.3)
    >>> for rule in (baselines.Fixed(), baselines.SRFT(), GACConfig(prior="none")):
    ...     state = baselines.init(rule)
    ...     state, info = baselines.update(rule, state, signals, step=0)
    ...     print(type(rule).__name__, round(float(info.mu), 4))
    Fixed 0.1
    SRFT 0.7329
    GACConfig 0.5012
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from gac_ref.baselines import gac as _gac  # registers GACConfig with init and update
from gac_ref.baselines.amft import AMFT, AMFTState
from gac_ref.baselines.cagrad import CAGrad
from gac_ref.baselines.constant import CHORDPhi, Fixed
from gac_ref.baselines.entropy import SRFT
from gac_ref.baselines.gate import HPT, SuperRL
from gac_ref.baselines.gradients import IMTLG, MGDA, PCGrad
from gac_ref.baselines.kl import KLControl, KLState
from gac_ref.baselines.nash_mtl import NashMTL
from gac_ref.baselines.oracle import InverseVariance, OracleGAC
from gac_ref.baselines.protocol import MixInfo, MixState, init, update
from gac_ref.baselines.sasr import SASR, SASRState
from gac_ref.baselines.scheduled import CHORDMu, Linear, SFTThenRL
from gac_ref.baselines.signals import Signals, reads, signals_from_batch
from gac_ref.baselines.upgrad import UPGrad
from gac_ref.config import GACConfig

__all__ = [
    "AMFT",
    "HPT",
    "IMTLG",
    "MGDA",
    "RULES",
    "SASR",
    "SRFT",
    "AMFTState",
    "CAGrad",
    "CHORDMu",
    "CHORDPhi",
    "Fixed",
    "InverseVariance",
    "KLControl",
    "KLState",
    "Linear",
    "MixInfo",
    "MixState",
    "NashMTL",
    "OracleGAC",
    "PCGrad",
    "Rule",
    "SASRState",
    "SFTThenRL",
    "Signals",
    "SuperRL",
    "UPGrad",
    "init",
    "reads",
    "signals_from_batch",
    "update",
]

Rule: TypeAlias = (
    Fixed
    | SFTThenRL
    | Linear
    | CHORDMu
    | CHORDPhi
    | SRFT
    | HPT
    | KLControl
    | SASR
    | AMFT
    | SuperRL
    | InverseVariance
    | OracleGAC
    | MGDA
    | PCGrad
    | IMTLG
    | CAGrad
    | NashMTL
    | UPGrad
    | GACConfig
)
"""Anything that `init` and `update` take as a rule."""

RULES: Mapping[str, type[Rule]] = MappingProxyType(
    {
        "fixed": Fixed,
        "sft_then_rl": SFTThenRL,
        "linear": Linear,
        "chord_mu": CHORDMu,
        "chord_phi": CHORDPhi,
        "srft": SRFT,
        "hpt": HPT,
        "kl_control": KLControl,
        "sasr": SASR,
        "amft": AMFT,
        "superrl": SuperRL,
        "inverse_variance": InverseVariance,
        "oracle_gac": OracleGAC,
        "mgda": MGDA,
        "pcgrad": PCGrad,
        "imtl_g": IMTLG,
        "cagrad": CAGrad,
        "nash_mtl": NashMTL,
        "upgrad": UPGrad,
        "gac": GACConfig,
    }
)
"""Every rule by its short name, as used in tables and on command lines."""

del _gac
