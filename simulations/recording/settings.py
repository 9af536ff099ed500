"""Every number of a recording, in one record that goes into the trace's `meta`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gac_ref.config import GACConfig
from gac_ref.errors import GACError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one recording; the defaults made the shipped trace.

    The controller's schedule is shortened to the length of the run, and its guards are set so that
    the noise-aware estimate has an authority of `blend_weight` over mu: with the released defaults
    it would have 1 %, and a recording of that is a recording of the prior.
    """

    steps: int = 300
    """Optimisation steps, each of which is recorded."""
    seed: int = 0
    """Seed of the model, the problems, the demonstrations and the sampling."""
    threads: int = 1
    """CPU threads of torch; another number may change the last bits of a sum."""
    max_operand_digits: int = 2
    """Operands have 1 to this many digits, each length equally likely."""
    problems: int = 4096
    """Problems that the rollouts are drawn from."""
    demonstrations: int = 4096
    """Expert demonstrations; of other problems, so that the branches' noises are independent."""
    expert_error_rate: float = 0.05
    """Share of demonstrations with one wrong digit in the answer."""
    hidden_size: int = 64
    """Width of the Llama."""
    layers: int = 2
    """Layers of the Llama."""
    heads: int = 4
    """Attention heads of the Llama."""
    warm_start_steps: int = 200
    """Supervised steps before the recording, so that the policy is neither hopeless nor perfect."""
    warm_start_batch: int = 128
    """Sequences in a warm-start step."""
    warm_start_worked: float = 0.3
    """Share of the warm start's sequences that show the working, as every expert does."""
    warm_start_learning_rate: float = 3e-3
    """AdamW step size of the warm start."""
    groups: int = 8
    """Prompts in a step."""
    group_size: int = 8
    """Rollouts of a prompt."""
    experts: int = 32
    """Demonstrations in a step."""
    response_tokens: int = 10
    """T, the longest response; longer rollouts are cut and earn no reward."""
    iterations: int = 2
    """Optimisation steps on the same rollouts; from the second on the policy ratio is not 1."""
    learning_rate: float = 2e-3
    """AdamW step size of the recorded steps, constant."""
    kl_coefficient: float = 0.02
    """Weight of the KL penalty towards the warm-started model in L_RL."""
    oracle_every: int = 10
    """Steps between true gradient-space values; 0 records none."""
    oracle_samples: int = 256
    """Fresh rollouts, and as many demonstrations, behind each oracle value."""
    variant: str = "decoupled"
    """Named variant of the controller."""
    gac: tuple[str, ...] = (
        "blend_weight=0.8",
        "ema_beta=0.9",
        "mu_update_freq=5",
        "mu_change_cap=0.03",
        "prior_warmup=20",
        "prior_decay=150",
        "alpha_mode=kl",
        "kl_target=0.6",
        "kl_gain=0.05",
    )
    """Changes to that variant, each `field=value`."""

    def __post_init__(self) -> None:
        """Refuse what cannot run, naming the field and the value."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not value >= least:
                raise GACError(f"{name} = {value} is below {least}; pass at least {least}")
        for name in ("expert_error_rate", "warm_start_worked"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise GACError(f"{name} = {value} is outside [0, 1]; pass a share")
        if self.hidden_size % (2 * self.heads):
            raise GACError(
                f"hidden_size = {self.hidden_size} is not a multiple of 2 * heads = "
                f"{2 * self.heads}; rotary embeddings need an even width for each head"
            )
        if self.oracle_samples % self.group_size:
            raise GACError(
                f"oracle_samples = {self.oracle_samples} is not a multiple of group_size = "
                f"{self.group_size}; the oracle draws whole groups"
            )

    def config(self) -> GACConfig:
        """Build the controller's configuration."""
        return GACConfig.variant(self.variant).with_settings(list(self.gac))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {**asdict(self), "gac": list(self.gac)}


_LEAST: dict[str, float] = {
    "steps": 1,
    "seed": 0,
    "threads": 1,
    "max_operand_digits": 1,
    "problems": 1,
    "demonstrations": 1,
    "hidden_size": 2,
    "layers": 1,
    "heads": 1,
    "warm_start_steps": 0,
    "warm_start_batch": 1,
    "warm_start_learning_rate": 0.0,
    "groups": 1,
    "group_size": 2,
    "experts": 1,
    "response_tokens": 2,
    "iterations": 1,
    "learning_rate": 0.0,
    "kl_coefficient": 0.0,
    "oracle_every": 0,
    "oracle_samples": 2,
}
