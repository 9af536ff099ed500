"""One run of the study: a warm-started model, trained under a rule, and tested."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedTokenizerFast, TrainerCallback

from gac_ref._typing import AnyArray
from gac_ref.baselines import Rule
from simulations.recording import task
from simulations.recording.run import build_trainer, configure, warm_started
from simulations.recording.settings import Settings
from simulations.recording.study.held_out import held_out_problems
from simulations.recording.study.observer import StudyObserver
from simulations.recording.study.plan import Plan


class WarmStart:
    """The warm-started model of one seed, made once and trained from by every controller.

    Args:
        plan: The study.
        seed: The seed.
        on_step: Called after each warm-start step.
    """

    def __init__(self, plan: Plan, seed: int, on_step: Callable[[int], None]) -> None:
        self.settings = plan.settings(seed)
        configure(self.settings)
        self.tokenizer, self._model = warm_started(self.settings, on_step)

    def save(self, folder: str) -> None:
        """Write it where the trainer reads it from."""
        self._model.save_pretrained(folder)


def run(
    plan: Plan, rule: Rule, start: WarmStart, on_step: Callable[[int, float, float], None]
) -> dict[str, AnyArray]:
    """Train one model under one rule.

    Args:
        plan: The study.
        rule: Gives mu.
        start: The warm-started model, which is not changed.
        on_step: Called with the step, mu and the mean reward.

    Returns:
        The series and true values of `StudyObserver`, and `held_exact` and `held_reward`
        [held-out tests], the share of exact answers and the mean reward of greedy decoding.
    """
    settings = start.settings
    observer = StudyObserver(rule)
    with tempfile.TemporaryDirectory() as scratch:
        start.save(scratch)
        # As after a warm start of this run's own: no run depends on those before it.
        transformers.set_seed(settings.seed)
        trainer = build_trainer(
            settings, start.tokenizer, scratch, observer, on_step, plan.oracle_steps
        )
        test = _HeldOutTest(plan, settings, start.tokenizer)
        trainer.add_callback(test)
        trainer.train()
    return {**observer.arrays(), **test.arrays()}


class _HeldOutTest(TrainerCallback):  # type: ignore[misc]
    """Answers the held-out problems greedily, ahead of some steps and at the end."""

    def __init__(self, plan: Plan, settings: Settings, tokenizer: PreTrainedTokenizerFast) -> None:
        self._every = plan.evaluate_every
        self._problems = held_out_problems(settings, plan.held_out)
        self._tokenizer = tokenizer
        self._tokens = settings.response_tokens
        self._scores: list[list[float]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Test where it is due."""
        if state.global_step % self._every == 0:
            self._test(kwargs["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Test what came of it."""
        self._test(kwargs["model"])

    def arrays(self) -> dict[str, AnyArray]:
        """What the tests found."""
        scores = np.array(self._scores)
        return {
            "held_exact": np.mean(scores >= 1.0, axis=1),
            "held_reward": np.mean(scores, axis=1),
        }

    def _test(self, model: Any) -> None:
        training = model.training
        model.eval()
        self._scores.append(
            greedy_scores(model, self._tokenizer, self._problems, response_tokens=self._tokens)
        )
        model.train(training)


def greedy_scores(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[task.Problem],
    *,
    response_tokens: int,
) -> list[float]:
    """Rewards of the most likely responses, token by token; no random number is drawn."""
    prompts = tokenizer(
        [problem.prompt for problem in problems],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    with torch.no_grad():
        ids = model.generate(
            input_ids=prompts["input_ids"],
            attention_mask=prompts["attention_mask"],
            do_sample=False,
            max_new_tokens=response_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )[:, prompts["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    ended = (ids == tokenizer.eos_token_id).any(dim=1).tolist()
    return [
        task.reward(text, problem.answer, ended=end)
        for text, problem, end in zip(texts, problems, ended, strict=True)
    ]
