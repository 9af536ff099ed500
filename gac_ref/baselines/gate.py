"""Hard gates on the rollouts' success: HPT and SuperRL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.baselines._fields import choice, real, whole
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start
from gac_ref.errors import fail

__all__ = ["HPT", "SuperRL"]


@dataclass(frozen=True, kw_only=True)
class HPT:
    r"""Hybrid Post-Training: prompts that the policy fails go to SFT, the others to RL.

    .. math:: \mu = \frac1P \sum_{q=1}^P \mathbf 1[k_q \le \mathrm{gate}]

    with :math:`k_q` the number of correct rollouts among the `rollouts` of prompt q. The gate acts
    on each prompt, whose rollouts it replaces by the demonstration; the batch's mu, the share of
    gated prompts, is our summary of that. Two things it leaves out: the scale of the SFT term (1.0
    in the released scripts, 0.3 for Qwen2.5-Math-1.5B), and a middle zone in which gated prompts
    learn the demonstration off-policy (k in (switch_gate, switch_gate_off]; empty in the released
    scripts, where both are equal).

    Args:
        gate: Largest number of correct rollouts that still sends a prompt to SFT, in
            [0, rollouts]. 0 (Qwen).
        rollouts: n, rollouts of a prompt, >= 1. 8.
        success: Reward from which on a rollout counts as correct, for the count from a batch.
            1.0; the released code compares with the success reward for equality.
        init_mu: Weight held until there are prompts, in [0, 1]. 0.5, ours.

    Reads ``solved``, or ``gated_share`` where that is absent. The flag ``no_prompts`` marks steps
    without any prompt.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = HPT()
        >>> solved = baselines.Signals(solved=[0, 3, 8, 0])
        >>> float(baselines.update(rule, baselines.init(rule), solved, step=0)[1].mu)
        0.5
        >>> HPT.llama().gate
        2

    References:
        arXiv:2509.04419; Unify-Post-Training, ``unify_strategy`` "switch" and
        ``exp_scripts/train.sh``, ``train_llama.sh``.
    """

    gate: int = 0
    rollouts: int = 8
    success: float = 1.0
    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("solved",)

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "gate")
        whole(self, "rollouts", low=1)
        real(self, "success")
        real(self, "init_mu", low=0.0, high=1.0)
        if self.gate > self.rollouts:
            fail(
                f"HPT: gate = {self.gate} is above rollouts = {self.rollouts}; "
                "pass gate <= rollouts"
            )

    @classmethod
    def qwen(cls) -> HPT:
        """The released setting for the Qwen models: gate 0.

        Examples:
            >>> HPT.qwen() == HPT()
            True
        """
        return cls()

    @classmethod
    def llama(cls) -> HPT:
        """The released setting for LLaMA: gate 2.

        Examples:
            >>> HPT.llama().gate
            2
        """
        return cls(gate=2)


@dataclass(frozen=True, kw_only=True)
class SuperRL:
    r"""SuperRL: RL where any rollout is rewarded, SFT where none is.

    .. math::
        c_q = \mathbf 1\bigl[\max_k R_{qk} > 0\bigr], \qquad
        \mathcal L = (1 - c)\,\mathcal L_{SFT} + c\,\mathcal L_{PG}, \qquad
        \mu = \frac1P \sum_q (1 - c_q)

    The switch is hard for each prompt, and the batch's mu is the share of prompts without reward
    (our summary). That is `HPT` with gate 0, but for partial rewards, which count here. The first
    version of the paper switched once for a whole run, and mixed the losses where rewards were
    sparse; the variants of the second that gate on advantages, or learn two log-variances, are not
    modelled.

    Args:
        scope: "prompt" gates each prompt (the paper's second version); "batch" switches the whole
            batch to RL as soon as any rollout in it is rewarded (ours, the harder switch).
        threshold: A rollout is rewarded when its reward exceeds this, for the count from a batch.
            0.0; the released code is reported to allow 1e-8 (unverified: not read at the source).
        init_mu: Weight held until there are prompts, in [0, 1]. 0.5, ours.

    Reads ``any_rewarded``; "prompt" takes ``gated_share`` where that is absent. The flag
    ``no_prompts`` marks steps without any prompt.

    Raises:
        GACError: A field is out of range or not one of its choices.

    Examples:
        >>> from gac_ref import baselines
        >>> signals = baselines.Signals(any_rewarded=[True, False, False, False])
        >>> for rule in (SuperRL(), SuperRL(scope="batch")):
        ...     print(float(baselines.update(rule, baselines.init(rule), signals, step=0)[1].mu))
        0.75
        0.0

    References:
        arXiv:2506.01096, version 2, section 3.
    """

    scope: Literal["prompt", "batch"] = "prompt"
    threshold: float = 0.0
    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("any_rewarded",)

    def __post_init__(self) -> None:
        """Validate."""
        choice(self, "scope", ("prompt", "batch"))
        real(self, "threshold")
        real(self, "init_mu", low=0.0, high=1.0)


start.register(HPT)(constant_state)
start.register(SuperRL)(constant_state)


@advance.register(HPT)
def _advance_hpt(rule: HPT, state: MixState, signals: Any, step: int) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    if reader.signals.solved is None and reader.signals.gated_share is not None:
        return reader.finish(reader.read("gated_share", low=0.0, high=1.0))
    solved = reader.per_prompt("solved", low=0.0, high=float(rule.rollouts))
    return _finish(reader, solved <= rule.gate, ~np.isnan(solved))


@advance.register(SuperRL)
def _advance_superrl(
    rule: SuperRL, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    shared = reader.signals.any_rewarded is None and reader.signals.gated_share is not None
    if shared and rule.scope == "prompt":
        return reader.finish(reader.read("gated_share", low=0.0, high=1.0))
    rewarded = reader.per_prompt("any_rewarded", low=0.0, high=1.0)
    known = ~np.isnan(rewarded)
    failed: BoolArray = np.asarray(rewarded == 0.0)
    if rule.scope == "batch":
        failed = np.broadcast_to(np.all(failed | ~known, axis=-1, keepdims=True), known.shape)
    return _finish(reader, failed, known)


def _finish(reader: Reader, gated: BoolArray, known: BoolArray) -> tuple[MixState, MixInfo]:
    """The share of the known prompts that are gated; the last weight where there are none."""
    prompts = np.count_nonzero(known, axis=-1)
    share: FloatArray = np.count_nonzero(gated & known, axis=-1) / np.maximum(prompts, 1)
    reader.flags["no_prompts"] = np.asarray(prompts == 0)
    return reader.finish(np.where(prompts == 0, reader.previous, share))
