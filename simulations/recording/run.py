"""Put the pieces together: data, warm start, trainer, trace."""

from __future__ import annotations

import os

# Ahead of the imports, which read these once. Nothing here needs the network.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TRANSFORMERS_VERBOSITY="error",
    TOKENIZERS_PARALLELISM="false",
)

import logging
import platform
import tempfile
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
import trl
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback

from gac_ref.traces import TraceWriter
from simulations.recording import task
from simulations.recording.clock import Clock
from simulations.recording.model import build_model, warm_start
from simulations.recording.recorder import Recorder
from simulations.recording.settings import Settings
from simulations.recording.tokenizer import build_tokenizer, encode_pairs
from simulations.recording.trainer import HybridTrainer, Observer

SOURCE = "TRL GRPOTrainer with an SFT branch on column addition, mu driven live by gac_ref"

DESCRIPTION = {
    "task": (
        "Addition of two numbers. Reward: 0.2 for a number, 0.3 times the share of right digits, "
        "0.5 for the exact sum; 0 without an end token. Experts show their working, column by "
        "column, and some answer with one wrong digit."
    ),
    "loss": "(1 - mu) L_RL + mu L_SFT, both in one optimisation step",
    "loss_rl": (
        "TRL loss_type='grpo': mean over rollouts of the length-normalised clipped surrogate plus "
        "kl_coefficient times the k3 penalty; advantages normalised by group, ddof 1"
    ),
    "loss_sft": "mean over demonstrations of the length-normalised negative log-likelihood",
    "kl": "mean over the rollouts' tokens of k3 towards the warm-started model, as TRL reports it",
    "oracle": (
        "From per-sample gradients of the two losses above, all parameters, at the parameters of "
        "the step, on fresh on-policy rollouts and demonstrations (oracle_samples of each), not on "
        "the step's own batch. sigma_s2 and sigma_r2 are the noise of a training batch's mean; "
        "delta_g2 is unbiased and may be negative. *_groups take a group's mean as one sample."
    ),
    "rows": (
        "Rollouts, then demonstrations. A demonstration's group is its own; its reward is what the "
        "verifier gives it. old_logprob is present on later passes over the same rollouts only."
    ),
    "estimator_share": (
        "Wall time in gac_ref.Batch and gac_ref.update over that of the whole step, oracle and "
        "writing excluded from both; handover is turning the step's tensors into arrays."
    ),
    "reproducible": (
        "Same settings, versions, thread count and kind of processor: the same step files, byte "
        "for byte. trace.json differs in meta.timing."
    ),
}


def record(
    settings: Settings,
    out: Path,
    *,
    on_warm_start: Callable[[int], None] = lambda step: None,
    on_step: Callable[[int, float, float], None] = lambda step, mu, reward: None,
) -> dict[str, Any]:
    """Train and record.

    Args:
        settings: everything that decides the run.
        out: the trace directory; it must not hold a trace.
        on_warm_start: called after each warm-start step.
        on_step: called with the step, mu and the mean reward when a step is written.

    Returns:
        The trace's `meta`.
    """
    configure(settings)
    tokenizer, model = warm_started(settings, on_warm_start)
    meta: dict[str, Any] = {
        "script": "python -m simulations.recording",
        **DESCRIPTION,
        "settings": settings.to_dict(),
        "seed": settings.seed,
        "config": settings.config().to_dict(),
        "parameters": sum(value.numel() for value in model.parameters()),
        "versions": versions(),
    }
    clock = Clock()
    with (
        TraceWriter(out, source=SOURCE, meta=meta) as writer,
        tempfile.TemporaryDirectory() as scratch,
    ):
        # TRL builds its reference model from a path, never from an object.
        model.save_pretrained(scratch)
        recorder = Recorder(settings.config(), writer, clock)
        every = settings.oracle_every
        due = range(0, settings.steps, every) if every else ()
        build_trainer(settings, tokenizer, scratch, recorder, on_step, due).train()
        meta["timing"] = clock.summary()
        writer.close(meta={"timing": meta["timing"]})
    return meta


def configure(settings: Settings) -> None:
    """Make torch deterministic and quiet; for the whole process."""
    _quiet()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory catches reads of it, and would take most of the time of a step here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def warm_started(
    settings: Settings, on_step: Callable[[int], None]
) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    """Build the tokenizer and the model, and warm it up; the seed decides every weight."""
    transformers.set_seed(settings.seed)
    tokenizer = build_tokenizer()
    model = build_model(settings, tokenizer)
    warm_start(model, tokenizer, settings, task.warm_start_rng(settings), on_step)
    return tokenizer, model


def versions() -> dict[str, str]:
    """What computes."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def build_trainer(
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast,
    folder: str,
    observer: Observer,
    on_step: Callable[[int, float, float], None],
    oracle_steps: Collection[int],
) -> HybridTrainer:
    """Build the trainer of a warm-started model.

    Args:
        settings: everything that decides the run.
        tokenizer: the tokenizer.
        folder: where the warm-started model was saved; also the trainer's scratch folder.
        observer: decides mu and keeps the steps.
        on_step: called with the step, mu and the mean reward.
        oracle_steps: steps at which true gradient-space values are measured.
    """
    rows = [
        {"prompt": problem.prompt, "answer": problem.answer}
        for problem in task.rollout_problems(settings)
    ]
    trainer = HybridTrainer(
        settings=settings,
        observer=observer,
        experts=_demonstrations(settings, tokenizer),
        validation=_validation(settings, tokenizer),
        oracle_prompts=rows,
        oracle_steps=oracle_steps,
        on_step=on_step,
        model=LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager"),
        reward_funcs=_reward(tokenizer),
        args=_arguments(settings, folder),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _demonstrations(
    settings: Settings, tokenizer: PreTrainedTokenizerFast
) -> dict[str, torch.Tensor]:
    problems = task.demonstrated_problems(settings)
    rng = np.random.default_rng([settings.seed, 3])
    texts = [task.demonstration(rng, p, error_rate=settings.expert_error_rate) for p in problems]
    return _encoded(settings, tokenizer, problems, texts)


def _validation(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    problems = task.validation_problems(settings)
    return _encoded(settings, tokenizer, problems, [problem.worked for problem in problems])


def _encoded(
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast,
    problems: list[task.Problem],
    texts: list[str],
) -> dict[str, torch.Tensor]:
    rows = encode_pairs(
        tokenizer,
        [problem.prompt for problem in problems],
        texts,
        response_tokens=settings.response_tokens,
    )
    scores = [
        task.reward(text, p.answer, ended=True) for text, p in zip(texts, problems, strict=True)
    ]
    return {**rows, "rewards": torch.tensor(scores, dtype=torch.float32)}


def _reward(tokenizer: PreTrainedTokenizerFast) -> Callable[..., list[float]]:
    def addition(
        completions: list[str], completion_ids: list[list[int]], answer: list[str], **_: Any
    ) -> list[float]:
        return [
            task.reward(text, right, ended=tokenizer.eos_token_id in ids)
            for text, ids, right in zip(completions, completion_ids, answer, strict=True)
        ]

    return addition


def _arguments(settings: Settings, scratch: str) -> trl.GRPOConfig:
    return trl.GRPOConfig(
        output_dir=scratch,
        seed=settings.seed,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.groups * settings.group_size,
        per_device_eval_batch_size=settings.oracle_samples,
        num_generations=settings.group_size,
        num_iterations=settings.iterations,
        steps_per_generation=1,
        max_completion_length=settings.response_tokens,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        beta=settings.kl_coefficient,
        loss_type="grpo",
        scale_rewards="group",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
    )


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
