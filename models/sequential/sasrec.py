"""SASRec: causal self-attention over a user's items (Kang and McAuley, ICDM 2018), trained with full cross entropy.

Shapes: B rows, L items, w width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import ModelCard
from ..nn.dropout import Dropout
from ..nn.transformer import Attention
from .base import LONG, PAPER, ROLLOUT, SequenceModel, SequenceNetwork


class Block(nn.Module):
    """Attention and feed-forward; the residual runs from the normalised queries, as in the authors' code."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_queries, self.norm_feed = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, width))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, w] -> [B, L, w]; no place sees a later one."""
        queries = self.norm_queries(x)
        found = self.attention(self.attention.queries(queries), self.attention.keys_values(x), causal=True)
        x = self.norm_feed(queries + self.dropout(found))
        return x + self.dropout(self.feed(x))


class SASRecNetwork(SequenceNetwork):
    """Item vectors times sqrt(w) plus learnt positions, blocks, a last norm; the item table is the output too."""

    def __init__(self, n_items: int, c: Any) -> None:
        super().__init__(n_items, c)
        self.positions = nn.Embedding(c.max_length, c.width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(c.width, c.heads, c.dropout) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, eps=1e-8)
        self.dropout = Dropout(c.dropout)

    def states(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, L] -> [B, L, w]; positions are counted from the end, which is what is known when a slate is asked."""
        x = F.embedding(items, self.table.weight) * self.config.width**0.5
        place = torch.arange(items.shape[1], device=items.device) - lengths[:, None] + self.config.max_length
        x = self.dropout(x + self.positions(place.clamp(max=self.config.max_length - 1)))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def train_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every place predicts the item that follows it."""
        states = self.states(items[:, :-1], real.sum(dim=1) - 1)
        followed = real[:, 1:]
        return states[followed], items[:, 1:][followed]

    def last_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> Tensor:
        """The state of each row's last item."""
        lengths = real.sum(dim=1)
        return self.states(items, lengths)[torch.arange(len(items), device=items.device), lengths - 1]


class SASRec(SequenceModel):
    """Self-attentive sequential recommendation."""

    name = "sasrec"
    card = ModelCard(
        title="SASRec",
        paper="Kang, McAuley: Self-attentive sequential recommendation. ICDM 2018; the loss as in Klenitskiy, Vasilev: "
        "Turning dross into gold loss: is BERT4Rec really better than SASRec? RecSys 2023",
        conditions=frozenset({"history"}),
        summary="A causal transformer over the last items of a user, item vectors tied in and out; every place "
        "predicts the next item among the whole catalogue.",
        departures=(
            "cross entropy over the catalogue: the paper's binary loss with one negative is the preset bce",
            "AdamW's schedule with warm-up and cosine, averaged weights and early stopping, as all networks here",
            "no dropout of attention weights: it costs the fast kernel; vectors and branches drop out",
            "batches hold users of like length, cut to the longest; longer histories are cut to their newest items",
            "preset rollout: a slate item by item, each appended to the history; ours",
        ),
    )
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "bce": {"loss": "binary"},
        "rollout": ROLLOUT,
        "long": LONG,
        "paper": PAPER,
    }
    BUDGETS: ClassVar = {"smoke": {"max_steps": 60, "check_every": 30, "batch_size": 64}}
    SPACE: ClassVar[dict[str, Any]] = {
        "learning_rate": (3e-4, 3e-3, "log"), "dropout": (0.1, 0.5, 0.1), "width": [32, 64, 128], "layers": [1, 2, 3],
        "decode": ["top", "rollout"],
    }  # fmt: skip

    def _new_network(self, n_items: int, timed: bool) -> SequenceNetwork:
        return SASRecNetwork(n_items, self.config)
