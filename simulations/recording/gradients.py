"""Signals that cost a backward pass: norms and products of the branches' gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def branch_signals(
    loss_sft: torch.Tensor, loss_rl: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Norms and Gram matrix of the gradients of a step's two losses; the graph is kept.

    Returns:
        `grad_norm_s`, `grad_norm_r`, `gram_ss`, `gram_sr` and `gram_rr`.
    """
    g_s, g_r = _gradient(loss_sft, parameters), _gradient(loss_rl, parameters)
    ss, sr, rr = (float(a @ b) for a, b in ((g_s, g_s), (g_s, g_r), (g_r, g_r)))
    return {
        "grad_norm_s": ss**0.5,
        "grad_norm_r": rr**0.5,
        "gram_ss": ss,
        "gram_sr": sr,
        "gram_rr": rr,
    }


def utility_gradient(
    validation: torch.Tensor,
    loss_sft: torch.Tensor,
    loss_rl: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    learning_rate: float,
) -> float:
    r"""Derivative with respect to mu of minus the validation loss after a plain gradient step.

    .. math:: \lambda \langle \nabla L_{val}, \nabla L_{SFT} - \nabla L_{RL} \rangle
    """
    difference = _gradient(loss_sft, parameters) - _gradient(loss_rl, parameters)
    return learning_rate * float(_gradient(validation, parameters) @ difference)


def _gradient(loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The gradient of all parameters as one float64 vector."""
    parts = torch.autograd.grad(loss, parameters, retain_graph=True)
    return torch.cat([part.flatten() for part in parts]).double()
