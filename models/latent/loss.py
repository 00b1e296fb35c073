"""Train slates as points to be generated, and the diffusion loss over them.

Shapes: n train slates, B slates of a batch, K slots, N items, d latent dims.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.train_data import TrainData
from ..nn.context import Condition
from ..training.examples import SlateTask
from . import gaussian
from .gaussian import T


class LatentTask(SlateTask):
    """Train slates as latents with their condition; a subclass adds rows -> loss."""

    centres: Tensor  # what is taken off the latents [n, d], or [1, d] for all slates

    def __init__(self, network: nn.Module, config: Any, data: TrainData, latents: Tensor, centres: Tensor) -> None:
        super().__init__(network, config, data, latents)
        self.register_buffer("centres", centres, persistent=False)

    def batch(self, rows: Tensor) -> tuple[Tensor, Condition]:
        """x_0 [B, K, d] and condition of train slates: some items become seeds, the others fill the slots.

        Cyclic fill, no padding: the slate shuffled, then shuffled again, until the slots are full.
        """
        slots, lengths, B = self.config.slots, self.lengths[rows], len(rows)
        slates = self.shuffled(rows)
        n_seeds = self.seed_counts(lengths, slots)
        place = torch.arange(slates.shape[1], device=rows.device)
        n_most = min(slots, slates.shape[1])
        free = (place >= n_seeds[:, None]) & (place < lengths[:, None])  # the others
        turn = torch.arange(slots, device=rows.device)[:, None] + torch.rand(B, slots, len(place), device=rows.device)
        turn = torch.where(free[:, None], turn, torch.inf).flatten(1)  # turn q of an item lies in [q, q + 1)
        filled = turn.topk(slots, dim=1, largest=False).indices % len(place)
        items = slates.gather(1, filled)
        centres = self.centres[rows if len(self.centres) > 1 else torch.zeros_like(rows)]
        condition = self.condition(rows, slates[:, :n_most], place[:n_most] < n_seeds[:, None])
        return self.vectors[items] - centres[:, None], condition


class DenoisingTask(LatentTask):
    """The diffusion loss over train slates."""

    abar: Tensor  # [T]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.register_buffer("abar", gaussian.schedule(self.config.schedule, T), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """E || target - network(x_t, t, c) ||^2, with t spread evenly over the batch."""
        x0, condition = self.batch(rows)
        B = len(rows)
        t = ((torch.arange(B, device=rows.device) + torch.rand(B, device=rows.device)) * (T / B)).long()
        abar, eps = self.abar[t].float()[:, None, None], torch.randn_like(x0)
        prepared = self.network.prepare(condition, t[None])
        output = self.network(gaussian.add_noise(x0, eps, abar), prepared, 0)
        return (output - gaussian.target_of(self.config.target, x0, eps, abar)).pow(2).mean()
