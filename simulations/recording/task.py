"""Column addition: problems, expert demonstrations and a verifiable reward. NumPy only.

A prompt is `47+385=`. A response is the sum, with or without the working before it. The working
goes through the columns from the units: the digit, and `+` where a carry leaves the column. So
`432` and `2+3+4:432` both solve the prompt, the first is how the policy mostly starts and the
second is how the expert writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulations.recording.settings import Settings

ALPHABET = "0123456789+=:"
"""Every character of a prompt or a response."""

FORMAT_REWARD = 0.2
DIGITS_REWARD = 0.3
EXACT_REWARD = 0.5


@dataclass(frozen=True)
class Problem:
    """One addition.

    Examples:
        >>> problem = Problem(47, 385)
        >>> problem.prompt, problem.answer, problem.worked
        ('47+385=', '432', '2+3+4:432')
    """

    left: int
    right: int

    @property
    def prompt(self) -> str:
        """The question, as the policy sees it."""
        return f"{self.left}+{self.right}="

    @property
    def answer(self) -> str:
        """The sum in decimal."""
        return str(self.left + self.right)

    @property
    def worked(self) -> str:
        """The sum after its working, column by column from the units."""
        columns, carry = "", 0
        left, right = str(self.left)[::-1], str(self.right)[::-1]
        for column in range(max(len(left), len(right))):
            digits = (int(text[column]) for text in (left, right) if column < len(text))
            carry, digit = divmod(sum(digits) + carry, 10)
            columns += f"{digit}+" if carry else str(digit)
        return f"{columns}:{self.answer}"


def sample_problems(
    rng: np.random.Generator, count: int, *, max_operand_digits: int
) -> list[Problem]:
    """Draw problems; the number of digits of each operand is uniform, then the operand is."""
    lengths = rng.integers(1, max_operand_digits, size=(count, 2), endpoint=True)
    low, high = np.where(lengths == 1, 0, 10 ** (lengths - 1)), 10**lengths
    operands = rng.integers(low, high)
    return [Problem(int(left), int(right)) for left, right in operands]


def draw_problems(settings: Settings, stream: int, count: int) -> list[Problem]:
    """Draw problems from one of the seed's streams."""
    rng = np.random.default_rng([settings.seed, stream])
    return sample_problems(rng, count, max_operand_digits=settings.max_operand_digits)


def rollout_problems(settings: Settings) -> list[Problem]:
    """Draw the problems that the rollouts answer."""
    return draw_problems(settings, 1, settings.problems)


def demonstrated_problems(settings: Settings) -> list[Problem]:
    """Draw the problems that the expert answers."""
    return draw_problems(settings, 2, settings.demonstrations)


def validation_problems(settings: Settings) -> list[Problem]:
    """Draw the problems of the validation loss that a rule may ask for."""
    return draw_problems(settings, 4, settings.experts)


def warm_start_rng(settings: Settings) -> np.random.Generator:
    """Make the generator that the warm start draws from."""
    return np.random.default_rng([settings.seed, 0])


def warm_start_batches(
    settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[list[Problem], npt.NDArray[np.bool_]]]:
    """Draw the problems of each warm-start step, and which are answered with their working."""
    for _ in range(settings.warm_start_steps):
        problems = sample_problems(
            rng, settings.warm_start_batch, max_operand_digits=settings.max_operand_digits
        )
        yield problems, rng.random(len(problems)) < settings.warm_start_worked


def demonstration(rng: np.random.Generator, problem: Problem, *, error_rate: float) -> str:
    """Write the expert's response, with one wrong digit in the answer at the given rate.

    A wrong demonstration has a likelihood far in the tail: it is what the trimming of the SFT
    variance is for.
    """
    wrong = rng.random() < error_rate
    place = int(rng.integers(1, len(problem.answer), endpoint=True))
    shift = int(rng.integers(1, 10))
    text = problem.worked
    if not wrong:
        return text
    digit = (int(text[-place]) + shift) % 10
    return text[: len(text) - place] + str(digit) + text[len(text) - place + 1 :]


def reward(response: str, answer: str, *, ended: bool) -> float:
    """Score a response in [0, 1]: format, share of right digits, exact answer.

    A response that does not end, or whose answer (what follows the last `:`) is not a number, earns
    0. Partial credit keeps rewards spread within a group while the policy is weak.

    Args:
        response: the decoded response without special tokens.
        answer: the sum.
        ended: whether the end token was written.

    Returns:
        `0.2 [number] + 0.3 * (digits right, counted from the units / longer length) + 0.5 [exact]`.

    Examples:
        >>> reward("2+3+4:432", "432", ended=True)
        1.0
        >>> reward("422", "432", ended=True), reward("432", "432", ended=False)
        (0.4, 0.0)
    """
    given = response.rsplit(":", 1)[-1]
    if not ended or not given.isdigit():
        return 0.0
    right = sum(a == b for a, b in zip(reversed(given), reversed(answer), strict=False))
    share = right / max(len(given), len(answer))
    return round(FORMAT_REWARD + DIGITS_REWARD * share + EXACT_REWARD * (given == answer), 6)
