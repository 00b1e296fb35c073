"""What a decoder takes in and emits: codes of semantic ids, or whole items by their vectors.

Shapes: w width, D levels, K codes, N items, d dims of item vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .transformer import zero

CONTENT_SCALE = 12.0  # of the inner product of a predicted vector and an item's: logits of the right size


class CodeUnits(nn.Module):
    """An embedding table and an untied head (zero at the start) for the codes of each level."""

    def __init__(self, levels: int, codes: int, width: int) -> None:
        super().__init__()
        self.levels, self.codes = levels, codes
        self.tables = nn.ModuleList(nn.Embedding(codes, width) for _ in range(levels))
        self.heads = nn.ModuleList(zero(width, codes) for _ in range(levels))
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.3)  # type: ignore[arg-type]

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Codes of a level [...] -> [..., w]."""
        return self.tables[level](codes)

    def item(self, codes: Tensor) -> Tensor:
        """All codes of items [..., D] -> the sum of their embeddings [..., w]."""
        return torch.stack([self.embed(codes[..., d], d) for d in range(self.levels)]).sum(0)

    def logits(self, hidden: Tensor, level: int) -> Tensor:
        """[..., w] -> [..., K]."""
        return self.heads[level](hidden)


class ContentUnits(nn.Module):
    """Items as units, content in and out: no free table, so that items of no train slate can be emitted."""

    levels = 1
    vectors: Tensor

    def __init__(self, vectors: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.input = nn.Linear(vectors.shape[1], width)
        self.head = zero(width, vectors.shape[1])

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Items [...] -> [..., w]."""
        return self.input(self.vectors[codes])

    def logits(self, hidden: Tensor, level: int) -> Tensor:
        """[..., w] -> [..., N]."""
        return CONTENT_SCALE * self.head(hidden) @ self.vectors.T
