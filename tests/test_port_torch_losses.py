"""The torch port's hybrid loss and group advantages against the analytic ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gac_ref
from gac_ref import AGGREGATIONS, CONVENTIONS, GACError
from gac_ref.conformance.formats import narrow, widen

torch = pytest.importorskip("torch", reason="the torch port needs torch")

from _torch_batches import DTYPES, TOLERANCE  # noqa: E402

from gac_ref.ports.torch import (  # noqa: E402
    aggregation_count,
    group_advantages,
    hybrid_loss,
)

LOSS_RTOL = 1e-12
"""A loss of a few dozen float64 terms and its gradient, term by term."""


def loss_arrays(seed: int, rows: int = 7, width: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, width)) < 0.7
    mask[0] = False
    logprob, old = (-rng.exponential(size=(2, rows, width))).copy()
    logprob[~mask] = old[~mask] = np.nan
    advantages = rng.normal(size=(rows, width) if seed % 2 else (rows,))
    return {
        "logprob": logprob,
        "response_mask": mask,
        "is_expert": np.arange(rows) % 3 == 1,
        "old_logprob": old,
        "advantages": advantages,
    }


def our_loss(arrays: dict[str, Any], mu: float, **options: Any) -> tuple[float, Any]:
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    leaf = tensors.pop("logprob").clone().requires_grad_()
    loss = hybrid_loss(leaf, mu=mu, **tensors, **options).value
    loss.backward()
    return loss.item(), leaf.grad.numpy()


@pytest.mark.parametrize("sft", ["nll", "phi"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_loss_and_its_gradient_are_the_analytic_ones(aggregation: str, sft: str) -> None:
    names = {"rl_aggregation": aggregation, "sft_aggregation": aggregation, "sft": sft}
    for seed in range(4):
        arrays = loss_arrays(seed)
        counts = {} if seed < 2 else {"rl_normalizer": 90.0, "sft_normalizer": 55.0}
        golden = gac_ref.hybrid_loss(
            mu=0.3, clip_low=0.1, clip_high=0.3, **arrays, **names, **counts
        )
        value, grad = our_loss(arrays, 0.3, clip_low=0.1, clip_high=0.3, **names, **counts)
        assert value == pytest.approx(golden.value, rel=LOSS_RTOL)
        np.testing.assert_allclose(grad, golden.grad, rtol=LOSS_RTOL, atol=0.0)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_parts_with_the_counts_of_the_whole_add_up_to_it(aggregation: str) -> None:
    arrays = loss_arrays(3, rows=11)
    names = {"rl_aggregation": aggregation, "sft_aggregation": aggregation}
    mask, expert = (torch.from_numpy(arrays[name]) for name in ("response_mask", "is_expert"))
    counts = {
        f"{branch}_normalizer": aggregation_count(mask, expert, aggregation, experts=experts).item()
        for branch, experts in (("rl", False), ("sft", True))
    }
    whole, whole_grad = our_loss(arrays, 0.6, **names)
    parts = [
        our_loss({k: v[rows].copy() for k, v in arrays.items()}, 0.6, **names, **counts)
        for rows in (slice(0, 1), slice(1, 6), slice(6, 11))
    ]
    assert math.fsum(value for value, _ in parts) == pytest.approx(whole, rel=LOSS_RTOL)
    joined = np.concatenate([grad for _, grad in parts])
    np.testing.assert_allclose(joined, whole_grad, rtol=LOSS_RTOL, atol=0.0)


def test_autograd_agrees_with_finite_differences() -> None:
    arrays = {name: torch.from_numpy(value) for name, value in loss_arrays(1).items()}
    leaf = arrays.pop("logprob").nan_to_num(-1.0).requires_grad_()

    def loss(logprob: Any) -> Any:  # "nll": phi is a constant to the derivative on purpose
        return hybrid_loss(logprob, mu=0.4, **arrays).value

    assert torch.autograd.gradcheck(loss, (leaf,))


def test_a_ratio_far_beyond_the_clip_has_slope_zero_and_not_nan() -> None:
    leaf = torch.tensor([[-0.5, -0.5]], requires_grad=True)
    far = torch.tensor([[-500.0, -0.5]])
    no, one = torch.tensor([False]), torch.tensor([2.0])
    loss = hybrid_loss(leaf, torch.ones(1, 2), no, 0.0, old_logprob=far, advantages=one)
    loss.value.backward()
    assert loss.value.item() == pytest.approx(-0.5 * 2.0 * (1.2 + 1.0))
    assert leaf.grad.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize("missing", [True, False])
def test_a_branch_without_rows_is_zero_with_gradient_zero(missing: bool) -> None:
    arrays = {**loss_arrays(2), "is_expert": np.full(7, missing)}
    value, grad = our_loss(arrays, 0.0 if missing else 1.0)
    assert value == 0.0
    assert not grad.any()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_halves_are_widened_before_the_ratio(dtype: str) -> None:
    arrays = loss_arrays(1)
    bits = {name: narrow(arrays[name], dtype) for name in ("logprob", "old_logprob", "advantages")}
    wide = {**arrays, **{name: widen(value, dtype) for name, value in bits.items()}}
    golden = gac_ref.hybrid_loss(mu=0.3, **wide)
    tensors = {name: torch.from_numpy(value) for name, value in wide.items()}
    for name in bits:
        tensors[name] = tensors[name].to(DTYPES[dtype])  # exact: it was narrowed before
    loss = hybrid_loss(tensors.pop("logprob"), mu=0.3, **tensors)
    assert loss.value.dtype == torch.float32
    assert loss.value.item() == pytest.approx(golden.value, rel=TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": 1.5}, "mu = 1.5 is outside"),
        ({"clip_low": -0.1}, "clip_low = -0.1"),
        ({"sft": "mse"}, "sft = 'mse' is unknown"),
        ({"rl_aggregation": "mean"}, "aggregation = 'mean' is unknown"),
        ({"rl_normalizer": math.nan}, "normalizer = nan"),
        ({"sft_normalizer": 0.0}, "normalizer = 0.0 but this part has tokens"),
        ({"advantages": torch.zeros(3)}, "advantages has shape"),
        ({"old_logprob": None}, "old_logprob is a NoneType"),
        ({"logprob": torch.zeros(3)}, "logprob is"),
    ],
)
def test_malformed_losses_are_refused(changes: dict[str, Any], message: str) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in loss_arrays(1).items()}
    with pytest.raises(GACError, match=message):
        hybrid_loss(**{**tensors, "mu": 0.5, **changes})


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200, 1e-5])
def test_advantages_follow_every_convention(convention: str, scale: float) -> None:
    rng = np.random.default_rng(7)
    for rows in (1, 6, 40):
        rewards = rng.integers(0, 3, size=rows) * scale
        groups = rng.integers(0, max(rows // 3, 1), size=rows) * 5 - 3
        expert = rng.random(rows) < 0.3
        expert[np.unique(groups, return_index=True)[1]] = False
        golden = gac_ref.group_advantages(rewards, groups, convention=convention, is_expert=expert)
        ours = group_advantages(
            *(torch.from_numpy(x) for x in (rewards, groups)),
            convention=convention,
            is_expert=torch.from_numpy(expert),
        )
        np.testing.assert_allclose(ours, golden, rtol=LOSS_RTOL, atol=LOSS_RTOL * scale)


def test_malformed_rewards_are_refused() -> None:
    rewards, groups = torch.tensor([1.0, math.inf]), torch.tensor([0, 0])
    expert = torch.tensor([True, True])
    with pytest.raises(GACError, match=r"rewards\[1\] = inf is not finite"):
        group_advantages(rewards, groups)
    with pytest.raises(GACError, match="group 0 has demonstrations and no rollout"):
        group_advantages(torch.ones(2), groups, convention="luffy_split", is_expert=expert)
    with pytest.raises(GACError, match="convention = 'x' is unknown"):
        group_advantages(torch.ones(2), groups, convention="x")
    with pytest.raises(GACError, match=r"group_ids is torch\.float32"):
        group_advantages(torch.ones(2), torch.zeros(2))
    with pytest.raises(GACError, match="group_ids has shape"):
        group_advantages(torch.ones(2), groups[:1])
    assert group_advantages(torch.ones(0), groups[:0]).shape == (0,)
