"""A `trl.GRPOTrainer` whose loss is mixed with a supervised loss by the controller's mu."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainerCallback
from trl import GRPOTrainer

from simulations.recording.clock import Clock
from simulations.recording.gradients import branch_signals, utility_gradient
from simulations.recording.oracle import (
    oracle_values,
    rl_gradients,
    sft_gradients,
    sft_row_loss,
)
from simulations.recording.settings import Settings

Tensors = dict[str, torch.Tensor]


class Observer(Protocol):
    """Who decides mu and keeps what happened: a `Recorder`, or a study's own."""

    clock: Clock

    @property
    def asks(self) -> tuple[str, ...]:
        """Signals that the trainer has to measure for the rule."""

    def control(
        self, fields: Mapping[str, Any], measured: Mapping[str, float], *, step: int
    ) -> Any:
        """Advance the rule by one step; what it returns has the weight as `mu`."""

    def write(
        self,
        step: int,
        fields: Mapping[str, Any],
        info: Any,
        *,
        report: Mapping[str, float],
        oracle: Mapping[str, float],
    ) -> None:
        """Keep the step."""


class HybridTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO with expert demonstrations in the same step: `L = (1 - mu) L_RL + mu L_SFT`.

    `L_RL` is TRL's own loss, untouched. `L_SFT` is the mean over the step's demonstrations of the
    length-normalised negative log-likelihood. `mu` is decided inside the step, from the
    log-probabilities of the same forward passes that the loss uses.

    Args:
        settings: the recording's settings.
        observer: the controller and what keeps the steps.
        experts: encoded demonstrations, the rows of every tensor in the same order.
        validation: encoded right demonstrations of further problems, for a rule that asks for the
            gradient of a validation loss.
        oracle_prompts: rows of the data set that the oracle draws its fresh rollouts from.
        oracle_steps: steps at which true gradient-space values are measured.
        on_step: called with the step and mu once a step is recorded.
        **trainer: arguments of `GRPOTrainer`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        observer: Observer,
        experts: Tensors,
        validation: Tensors,
        oracle_prompts: list[dict[str, Any]],
        oracle_steps: Collection[int],
        on_step: Any,
        **trainer: Any,
    ) -> None:
        super().__init__(callbacks=[_StepTimer(observer)], **trainer)
        self._settings = settings
        self._observer = observer
        self._experts = experts
        self._validation = validation
        self._oracle_prompts = oracle_prompts
        self._oracle_steps = oracle_steps
        self._on_step = on_step
        # Its own generator, so that a run without an oracle trains on the same data.
        self._expert_rng = np.random.default_rng([settings.seed, 10])
        self._rule_rng = np.random.default_rng([settings.seed, 12])
        self._seen: Tensors = {}

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        rewards: torch.Tensor = super()._calculate_rewards(*args, **kwargs)
        self._seen["rewards"] = rewards.sum(dim=1)
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Tensors:
        rollouts: Tensors = super()._generate_and_score_completions(inputs)
        # TRL keeps neither, and shuffles the rows afterwards; as columns they travel along.
        rollouts["rewards"] = self._seen["rewards"]
        rollouts["group_ids"] = torch.arange(len(inputs)) // self._settings.group_size
        return rollouts

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._seen["logprob"] = result[0]
        return result

    def _compute_loss(self, model: torch.nn.Module, inputs: Tensors) -> torch.Tensor:
        step = self.state.global_step
        asks = self._observer.asks
        due = step in self._oracle_steps or any(name.startswith("true_") for name in asks)
        oracle = self._oracle() if due else {}
        loss_rl: torch.Tensor = super()._compute_loss(model, inputs)
        rollout_logprob = self._seen["logprob"]
        chosen = self._expert_rng.choice(
            len(self._experts["prompt_ids"]), self._settings.experts, replace=False
        )
        experts = {name: value[chosen] for name, value in self._experts.items()}
        expert_logprob = self._logprob(model, experts)
        loss_sft = sft_row_loss(expert_logprob, experts["completion_mask"]).mean()
        with self._observer.clock.part("handover"):
            fields = self._fields(inputs, experts, rollout_logprob, expert_logprob)
        measured = self._measured(asks, oracle, loss_sft, loss_rl)
        info = self._observer.control(fields, measured, step=step)
        mu = float(info.mu)
        loss: torch.Tensor = (1.0 - mu) * loss_rl + mu * loss_sft
        self._observer.write(
            step,
            fields,
            info,
            report={
                "loss": float(loss.detach()),
                "loss_rl": float(loss_rl.detach()),
                "loss_sft": float(loss_sft.detach()),
                "reward_mean": float(inputs["rewards"].mean()),
            },
            oracle=oracle,
        )
        self._on_step(step, mu, float(inputs["rewards"].mean()))
        return loss

    def _measured(
        self,
        asks: tuple[str, ...],
        oracle: Mapping[str, float],
        loss_sft: torch.Tensor,
        loss_rl: torch.Tensor,
    ) -> dict[str, float]:
        """What the rule asks for beyond the batch; gradients cost passes, so only on demand."""
        measured = {"entropy": float(self._metrics["train"]["entropy"][-1])}
        if "uniform" in asks:
            measured["uniform"] = float(self._rule_rng.random())
        # The exact disagreement is unbiased and may be negative; a rule takes that as 0.
        measured |= {f"true_{name}": max(value, 0.0) for name, value in oracle.items()}
        parameters = [p for p in cast(torch.nn.Module, self.model).parameters() if p.requires_grad]
        if any(name.startswith(("grad_norm", "gram")) for name in asks):
            measured |= branch_signals(loss_sft, loss_rl, parameters)
        if "utility_gradient" in asks:
            logprob = self._logprob(cast(torch.nn.Module, self.model), self._validation)
            validation = sft_row_loss(logprob, self._validation["completion_mask"]).mean()
            rate = self._settings.learning_rate
            measured["utility_gradient"] = utility_gradient(
                validation, loss_sft, loss_rl, parameters, rate
            )
        return measured

    def _fields(
        self,
        rollouts: Tensors,
        experts: Tensors,
        rollout_logprob: torch.Tensor,
        expert_logprob: torch.Tensor,
    ) -> dict[str, Any]:
        """Lay rollouts, then experts, side by side as NumPy arrays [B, response_tokens]."""
        rows, extra = len(rollout_logprob), len(expert_logprob)
        mask = rollouts["completion_mask"].bool()
        fields: dict[str, Any] = {
            "logprob": self._stack(rollout_logprob, mask, expert_logprob, experts),
            "response_mask": self._stack(mask, mask, experts["completion_mask"].bool(), experts),
            "advantages": np.pad(rollouts["advantages"].numpy(), (0, extra)),
            "is_expert": np.arange(rows + extra) >= rows,
            # Each demonstration is a group of its own.
            "group_ids": np.append(
                rollouts["group_ids"].numpy(), self._settings.groups + np.arange(extra)
            ),
            "rewards": np.append(rollouts["rewards"].numpy(), experts["rewards"].numpy()),
        }
        old = rollouts.get("old_per_token_logps")
        if old is not None and self._step % self.num_iterations:
            # On the first pass over the rollouts it equals `logprob`; demonstrations have none.
            none = torch.zeros_like(expert_logprob)
            fields["old_logprob"] = self._stack(old, mask, none, experts)
        if "ref_per_token_logps" in rollouts:
            fields["kl"] = np.float64(self._metrics["train"]["kl"][-1])
        return fields

    def _stack(
        self, rollout: torch.Tensor, mask: torch.Tensor, expert: torch.Tensor, experts: Tensors
    ) -> npt.NDArray[Any]:
        """Join two [b, t] tensors along B, zero outside the response, padded to one length."""
        missing = self._settings.response_tokens - rollout.shape[1]
        rollout = torch.nn.functional.pad(rollout.detach().masked_fill(~mask, 0), (0, missing))
        expert = expert.detach().masked_fill(~experts["completion_mask"].bool(), 0)
        joined = torch.cat([rollout, expert])
        # A float32 log-softmax of a near-certain token can round to just above 0.
        stacked: npt.NDArray[Any] = joined.numpy()
        return stacked if stacked.dtype == np.bool_ else np.minimum(stacked, 0)

    def _logprob(self, model: torch.nn.Module, rows: Tensors) -> torch.Tensor:
        logprob: torch.Tensor = super()._get_per_token_logps_and_entropies(
            model,
            torch.cat([rows["prompt_ids"], rows["completion_ids"]], dim=1),
            torch.cat([rows["prompt_mask"], rows["completion_mask"]], dim=1),
            rows["completion_ids"].size(1),
        )[0]
        return logprob

    def _oracle(self) -> dict[str, float]:
        """Draw fresh rollouts and demonstrations, and measure the gradients' noise on them."""
        settings = self._settings
        with self._observer.clock.part("oracle"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 1_000_003 * (self.state.global_step + 1))
            rng = np.random.default_rng([settings.seed, 11, self.state.global_step])
            size = settings.group_size
            prompts = rng.choice(len(self._oracle_prompts), settings.oracle_samples // size)
            model = cast(torch.nn.Module, self.model)
            model.eval()
            rollouts = self._prepare_inputs(
                [self._oracle_prompts[i] for i in prompts for _ in range(size)]
            )
            shape = rollouts["completion_ids"].shape
            x_r = rl_gradients(
                model,
                {
                    **{name: rollouts[name] for name in self._experts if name != "rewards"},
                    "advantages": rollouts["advantages"],
                    "ref_logprob": rollouts.get("ref_per_token_logps", torch.zeros(shape)),
                },
                settings.kl_coefficient,
            )
            chosen = rng.choice(len(self._experts["rewards"]), settings.oracle_samples)
            x_s = sft_gradients(model, {k: v[chosen] for k, v in self._experts.items()})
            model.train()
            self._metrics["eval"].clear()
            return oracle_values(
                x_s, x_r, experts=settings.experts, groups=settings.groups, group_size=size
            )


class _StepTimer(TrainerCallback):  # type: ignore[misc]
    """Times each optimisation step as a whole."""

    def __init__(self, observer: Observer) -> None:
        self._clock = observer.clock

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._clock.begin()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop it."""
        self._clock.end()
