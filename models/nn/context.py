"""What a request gives a network to look at: one Condition for every neural model, gathered and put together here.

Shapes: P requests, L text tokens, S seed items, M context tokens, N items, w width, d dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import polars as pl
import torch
from torch import Tensor, nn

from ...datasets.vectors.features import Features
from .transformer import Transformer, key_mask


@dataclass
class Condition:
    """What a slate is conditioned on. Masks: True = a real token; `keep` False = drop it all (no condition)."""

    tokens: Tensor  # [P, L, d_text] states of the prompt's tokens
    token_mask: Tensor  # [P, L]
    pooled: Tensor  # [P, d_text]
    seeds: Tensor  # [P, S, d] vectors of the seed items, S may be 0
    seed_mask: Tensor  # [P, S]
    keep: Tensor  # [P]

    @classmethod
    def of(cls, requests: pl.DataFrame, features: Features, vectors: Tensor, length: int) -> Self:
        """The condition of requests.

        Args:
            requests: REQUEST_SCHEMA.
            features: of the prompts.
            vectors: of the catalogue's items [N, d]; the condition stands on their device.
            length: token states used, from the start of the prompt.
        """
        prompts = prompt_condition(features, requests["prompt"].to_list(), length)
        tokens, token_mask, pooled = (part.to(vectors.device) for part in prompts)
        seeds, seed_mask = seed_condition(requests["seed_items"].to_list(), vectors)
        keep = torch.ones(requests.height, dtype=torch.bool, device=vectors.device)
        return cls(tokens, token_mask, pooled, seeds, seed_mask, keep)

    def take(self, rows: Tensor | int) -> Self:
        """The condition of the requests `rows`."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_empty(self) -> Self:
        """The same, and as row P the empty condition."""
        parts = (getattr(self, field.name) for field in fields(self))
        return type(self)(*(torch.cat([x, torch.zeros_like(x[:1])]) for x in parts))


def prompt_condition(features: Features, prompts: list[str], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """States of the first `length` tokens [P, L, d_text], their mask [P, L], and pooled vectors [P, d_text]."""
    states, mask = features.tokens(prompts)
    pooled = features.prompts(prompts)
    return torch.tensor(states[:, :length]), torch.tensor(mask[:, :length]), torch.tensor(pooled)


def seed_condition(seeds: Sequence[Sequence[int]], vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of each request's seed items [P, S, d] and their mask [P, S]; ids outside the catalogue are left out."""
    known = [[item for item in row if 0 <= item < len(vectors)] for row in seeds]
    longest = max(map(len, known), default=0)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in known], dtype=torch.long).view(
        len(known), longest
    )
    mask = torch.arange(longest) < torch.tensor([len(row) for row in known])[:, None]
    return vectors[ids.to(vectors.device)], mask.to(vectors.device)


def context_of(c: Condition, pooled: Tensor, tokens: Tensor, seeds: Tensor, nothing: Tensor) -> tuple[Tensor, Tensor]:
    """Context [P, M, w] and its mask [P, 1, 1, M] from the parts of a condition, each brought to width w.

    The first token is the pooled prompt; where the condition is dropped, `nothing` [w] stands alone in its place.
    """
    context = torch.cat([pooled[:, None], tokens, seeds], dim=1)
    mask = torch.cat([torch.ones_like(c.keep)[:, None], c.token_mask, c.seed_mask], dim=1)  # [P, M]
    context = torch.where(c.keep[:, None, None], context, nothing)
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return context, key_mask(torch.where(c.keep[:, None], mask, first))


class PromptContext(nn.Module):
    """Condition -> context [P, M, w] and its mask [P, 1, 1, M]; the first token is the pooled prompt vector."""

    def __init__(
        self, text_dim: int, item_dim: int, *, width: int, layers: int, heads: int, factor: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.pooled = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.seeds = nn.Sequential(nn.LayerNorm(item_dim), nn.Linear(item_dim, width))
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)  # the only token where the condition is dropped
        self.encoder = Transformer(width, layers, heads, factor, dropout)

    def forward(self, c: Condition) -> tuple[Tensor, Tensor]:
        """Context and mask of P requests."""
        context, keys = context_of(c, self.pooled(c.pooled), self.tokens(c.tokens), self.seeds(c.seeds), self.nothing)
        return self.encoder(context, mask=keys)[0], keys
