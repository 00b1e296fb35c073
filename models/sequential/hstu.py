"""HSTU: pointwise attention with position and time, gated (Zhai et al., Actions speak louder than words, ICML 2024).

Shapes: B rows, L items, H heads, w width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..base import ModelCard
from ..nn.dropout import Dropout
from .base import LONG, PAPER, ROLLOUT, SequenceConfig, SequenceModel, SequenceNetwork

TIME_BUCKETS = 128
TIME_BASE = 0.301  # a bucket is floor(ln(max(seconds, 1)) / TIME_BASE)


class HSTUBlock(nn.Module):
    """SiLU(q k + bias) / max_length in place of a softmax; its mean of values, normalised, is gated by u."""

    def __init__(self, c: Any, timed: bool) -> None:
        super().__init__()
        self.heads, self.length = c.heads, c.max_length
        self.project = nn.Linear(c.width, 4 * c.width, bias=False)  # u, v, q, k
        self.out = nn.Linear(c.width, c.width)
        self.dropout = Dropout(c.dropout)
        self.by_position = nn.Parameter(torch.randn(c.max_length) * 0.02)  # of how many places lie between
        self.by_time = nn.Parameter(torch.randn(TIME_BUCKETS) * 0.02) if timed else None
        nn.init.normal_(self.project.weight, std=0.02)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, buckets: Tensor | None) -> Tensor:
        """[B, L, w] -> [B, L, w]; `buckets` [B, L, L]: of the time from item j to the one after item i."""
        L = x.shape[1]
        u, v, q, k = F.silu(self.project(F.layer_norm(x, x.shape[-1:]))).chunk(4, dim=-1)
        v, q, k = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (v, q, k))  # [B, H, L, w / H]
        places = torch.arange(L, device=x.device)
        apart = (places[:, None] - places).clamp(0, self.length - 1)  # [L, L]
        bias = self.by_position[apart]
        if self.by_time is not None and buckets is not None:
            bias = bias + self.by_time[buckets]  # [B, L, L]
        bias = bias if bias.ndim == 2 else bias[:, None]
        weights = F.silu(q @ k.transpose(-1, -2) + bias) / self.length  # [B, H, L, L]
        weights = weights * (places[:, None] >= places)
        found = F.layer_norm((weights @ v).transpose(1, 2).flatten(2), x.shape[-1:])  # [B, L, w]
        return x + self.out(self.dropout(found * u))


class HSTUNetwork(SequenceNetwork):
    """Item vectors times sqrt(w) plus positions, blocks; states and items are compared by their cosine."""

    def __init__(self, n_items: int, c: Any, timed: bool) -> None:
        super().__init__(n_items, c)
        self.positions = nn.Embedding(c.max_length, c.width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(HSTUBlock(c, timed) for _ in range(c.layers))
        self.dropout = Dropout(c.dropout)

    def item_vectors(self) -> Tensor:
        """Item vectors of unit length [N, w]."""
        return F.normalize(super().item_vectors(), dim=-1)

    def states(self, items: Tensor, lengths: Tensor, times: Tensor | None) -> Tensor:
        """[B, L] -> unit vectors over the temperature [B, L, w]; `times` [B, L + 1], the last that of the next item."""
        x = F.embedding(items, self.table.weight) * self.config.width**0.5
        place = torch.arange(items.shape[1], device=items.device) - lengths[:, None] + self.config.max_length
        x = self.dropout(x + self.positions(place.clamp(max=self.config.max_length - 1)))
        buckets = None
        if times is not None:
            between = (times[:, 1:, None] - times[:, None, :-1]).clamp(min=1)  # [B, L, L]: next of i, minus j
            buckets = (between.float().log() / TIME_BASE).long().clamp(max=TIME_BUCKETS - 1)
        for block in self.blocks:
            x = block(x, buckets)
        return F.normalize(x, dim=-1) / self.config.temperature

    def train_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every place predicts the item that follows it, at the time at which it does."""
        states, followed = self.states(items[:, :-1], real.sum(dim=1) - 1, times), real[:, 1:]
        return states[followed], items[:, 1:][followed]

    def last_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> Tensor:
        """The state of each row's last item, at the time of the request."""
        lengths = real.sum(dim=1)
        return self.states(items, lengths, times)[torch.arange(len(items), device=items.device), lengths - 1]


class HSTU(SequenceModel):
    """Hierarchical sequential transduction unit."""

    name = "hstu"
    card = ModelCard(
        title="HSTU",
        paper="Zhai et al.: Actions speak louder than words: trillion-parameter sequential transducers for generative "
        "recommendations. ICML 2024, arXiv 2402.17152",
        conditions=frozenset({"history"}),
        summary="Gated pointwise attention without a softmax; how many places and how much time lie between two items "
        "biases it; the time of the request is an input. Cosine over a temperature, cross entropy.",
        departures=(
            "times are used where the data have them; of a user without, all items count as of one time",
            "cross entropy over the whole catalogue in place of 128 drawn negatives",
            "AdamW's schedule with warm-up and cosine, averaged weights and early stopping on validation, as all "
            "networks here: the authors' code has no validation part",
            "items alone: no ratings or actions between them, as in the authors' public runs on these data",
        ),
    )

    class Config(SequenceConfig):
        """See SequenceConfig."""

        layers: int = Field(2, gt=0, description="blocks")
        temperature: float = Field(0.05, gt=0, description="of the cosine")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "rollout": ROLLOUT,
        "long": LONG,
        "paper": PAPER | {"layers": 8, "heads": 2},
    }
    BUDGETS: ClassVar = {"smoke": {"max_steps": 60, "check_every": 30, "batch_size": 64}}
    SPACE: ClassVar[dict[str, Any]] = {
        "learning_rate": (3e-4, 3e-3, "log"), "dropout": (0.1, 0.5, 0.1), "temperature": (0.02, 0.1, "log"),
        "width": [32, 64, 128], "layers": [1, 2, 4],
    }  # fmt: skip

    def _new_network(self, n_items: int, timed: bool) -> SequenceNetwork:
        return HSTUNetwork(n_items, self.config, timed)
