"""Losses of models that predict items: cross entropy over the whole catalogue, or over drawn negatives.

Shapes: n predictions, m negatives, N items, w width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LOGITS_AT_ONCE = 16_000_000  # numbers of a block of logits


class FullCrossEntropy(torch.autograd.Function):
    """Mean cross entropy of `hidden @ table.T` against the targets, block by block.

    The gradients are made along with the loss, while a block's softmax is at hand: no [n, N] matrix is ever kept.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over `targets` [n], of `hidden` [n, w] and `table` [N, w]."""
        n = len(hidden)
        total = hidden.new_zeros(())
        d_hidden, d_table = torch.empty_like(hidden), torch.zeros_like(table)
        for rows in torch.arange(n, device=hidden.device).split(max(1, LOGITS_AT_ONCE // len(table))):
            block, right = hidden[rows], targets[rows]
            logits = block @ table.T  # [b, N]
            best = logits.amax(dim=1, keepdim=True)
            positive = logits.gather(1, right[:, None]) - best
            softmax = logits.sub_(best).exp_()
            normaliser = softmax.sum(dim=1, keepdim=True)
            total += (normaliser.log() - positive).sum()
            softmax /= normaliser * n
            softmax.scatter_add_(1, right[:, None], softmax.new_full((len(right), 1), -1.0 / n))
            d_hidden[rows] = softmax @ table
            d_table.addmm_(softmax.T, block)
        ctx.save_for_backward(d_hidden, d_table)
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of hidden and table."""
        d_hidden, d_table = ctx.saved_tensors
        return d_hidden * grads[0], d_table * grads[0], None


def softmax_loss(hidden: Tensor, table: Tensor, targets: Tensor, negatives: int = 0) -> Tensor:
    """Mean cross entropy of the right item against all items, or against `negatives` drawn ones.

    Drawn negatives are uniform and the same for all predictions of a batch; one that is the right item counts for
    nothing.

    Args:
        hidden: predictions [n, w].
        table: item vectors [N, w]; logits are inner products.
        targets: right items [n].
        negatives: 0 = the whole catalogue.
    """
    if not negatives or negatives >= len(table):
        return FullCrossEntropy.apply(hidden, table, targets)  # type: ignore[return-value]
    drawn = torch.randint(len(table), (negatives,), device=hidden.device)
    positive = (hidden * table[targets]).sum(-1, keepdim=True)  # [n, 1]
    others = hidden @ table[drawn].T  # [n, m]
    others = others.masked_fill(drawn == targets[:, None], -torch.inf)
    logits = torch.cat([positive, others], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(targets), dtype=torch.long, device=hidden.device))


def binary_loss(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of the right item against one uniform negative each (Kang and McAuley, 2018, equation 5).

    Args:
        hidden: predictions [n, w].
        table: item vectors [N, w].
        targets: right items [n].
    """
    drawn = torch.randint(len(table), targets.shape, device=hidden.device)
    positive, negative = (hidden * table[targets]).sum(-1), (hidden * table[drawn]).sum(-1)
    apart = (drawn != targets).to(hidden.dtype)
    return (F.softplus(-positive) + F.softplus(negative) * apart).mean()
