"""BERT4Rec: bidirectional self-attention over a user's items with some of them masked (Sun et al., CIKM 2019).

Shapes: B rows, L items, w width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..base import ModelCard
from ..nn.dropout import Dropout
from ..nn.transformer import Transformer, key_mask
from .base import LONG, PAPER, ROLLOUT, SequenceConfig, SequenceModel, SequenceNetwork


class BERT4RecNetwork(SequenceNetwork):
    """Item vectors plus learnt positions, a bidirectional transformer, a projection; the item table is the output."""

    def __init__(self, n_items: int, c: Any) -> None:
        super().__init__(n_items, c)
        self.positions = nn.Embedding(c.max_length + 1, c.width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.encoder = Transformer(c.width, c.layers, c.heads, 4, c.dropout)
        self.project = nn.Sequential(nn.Linear(c.width, c.width), nn.GELU(), nn.LayerNorm(c.width))
        self.dropout = Dropout(c.dropout)

    def states(self, items: Tensor, real: Tensor) -> Tensor:
        """[B, L] -> [B, L, w]; positions are counted from the end."""
        lengths = real.sum(dim=1, keepdim=True)
        place = torch.arange(items.shape[1], device=items.device) - lengths + self.config.max_length + 1
        x = F.embedding(items, self.table.weight) * self.config.width**0.5
        x = self.dropout(x + self.positions(place.clamp(0, self.config.max_length)))
        return self.project(self.encoder(x, mask=key_mask(real))[0])

    def train_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor]:
        """A share of the items is masked and predicted; of every tenth row the last one alone, as it is asked for."""
        drawn = torch.rand(items.shape, device=items.device).masked_fill(~real, 2.0)
        masked = drawn < self.config.mask_rate
        masked |= drawn == drawn.amin(dim=1, keepdim=True)  # at least one of each row
        last = real.sum(dim=1, keepdim=True) - 1 == torch.arange(items.shape[1], device=items.device)
        as_asked = torch.rand(len(items), 1, device=items.device) < self.config.last_rate
        masked = torch.where(as_asked, last, masked)
        return self.states(items.masked_fill(masked, self.n_items), real)[masked], items[masked]

    def last_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> Tensor:
        """The state of a mask behind each row's last item."""
        rows, lengths = torch.arange(len(items), device=items.device), real.sum(dim=1)
        items, real = F.pad(items, (0, 1)), F.pad(real, (0, 1))
        items[rows, lengths], real[rows, lengths] = self.n_items, True
        return self.states(items, real)[rows, lengths]


class BERT4Rec(SequenceModel):
    """Masked items as a training task for sequential recommendation."""

    name = "bert4rec"
    version = "2"
    card = ModelCard(
        title="BERT4Rec",
        paper="Sun et al.: BERT4Rec: sequential recommendation with bidirectional encoder representations from "
        "transformer. CIKM 2019",
        conditions=frozenset({"history"}),
        summary="A bidirectional transformer fills in masked items of a history; a mask behind the last item asks for "
        "the next one.",
        departures=(
            "two fifths of the items are masked, at a higher learning rate than SASRec's: validation on Beauty chose "
            "so among three settings; the paper masks .2 to .6 by dataset",
            "pre-norm blocks, no bias over the items, no dropout of attention weights",
            "AdamW's schedule with warm-up and cosine, averaged weights and early stopping, as all networks here; the "
            "paper trains far longer",
            "batches hold users of like length, cut to the longest; longer histories are cut to their newest items",
        ),
    )

    class Config(SequenceConfig):
        """See SequenceConfig."""

        heads: int = Field(2, gt=0, description="of attention")
        layers: int = Field(2, gt=0, description="blocks")
        dropout: float = Field(0.2, ge=0, lt=1, description="of item vectors and of the residual branches")
        learning_rate: float = Field(3e-3, gt=0, description="of Adam, after warm-up; falls along a cosine to 5 %")
        mask_rate: float = Field(0.4, gt=0, lt=1, description="share of the items that is masked")
        last_rate: float = Field(0.1, ge=0, le=1, description="share of the rows whose last item alone is masked")
        max_steps: int = Field(6600, gt=0, description="optimiser steps")
        check_every: int = Field(660, gt=0, description="steps between two checks on the validation requests")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "rollout": ROLLOUT,
        "long": LONG | {"max_steps": 9000, "check_every": 900},
        "paper": PAPER | {"heads": 4, "max_steps": 100_000, "check_every": 2000},
    }
    BUDGETS: ClassVar = {"smoke": {"max_steps": 60, "check_every": 30, "batch_size": 64}}
    SPACE: ClassVar[dict[str, Any]] = {
        "learning_rate": (3e-4, 3e-3, "log"), "dropout": (0.1, 0.5, 0.1), "mask_rate": (0.1, 0.6, 0.1),
        "width": [64, 128, 256], "layers": [1, 2, 3], "heads": [1, 2, 4],
    }  # fmt: skip

    def _new_network(self, n_items: int, timed: bool) -> SequenceNetwork:
        return BERT4RecNetwork(n_items, self.config)
