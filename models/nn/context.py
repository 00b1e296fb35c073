"""What a request gives a network to look at: prompt tokens and seed items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    seeds: Tensor  # [P, S, d] latents of the seed items, S may be 0
    seed_mask: Tensor  # [P, S]
    keep: Tensor  # [P]


# --- what a slate is conditioned on ---------------------------------------------------------------------


def prompt_condition(features: Features, prompts: list[str], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """States of the first `length` tokens [P, L, d_text], their mask [P, L], and pooled vectors [P, d_text]."""
    states, mask = features.tokens(prompts)
    pooled = features.prompts(prompts)
    return torch.tensor(states[:, :length]), torch.tensor(mask[:, :length]), torch.tensor(pooled)


def seed_condition(seeds: Sequence[Sequence[int]], latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents of each request's seed items [P, S, d] and their mask [P, S]; ids outside the catalogue are left out."""
    known = [[item for item in row if 0 <= item < len(latents)] for row in seeds]
    longest = max(map(len, known), default=0)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in known], dtype=torch.long).view(
        len(known), longest
    )
    mask = torch.arange(longest) < torch.tensor([len(row) for row in known])[:, None]
    return latents[ids.to(latents.device)], mask.to(latents.device)


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
        """Context and mask of P prompts."""
        context = torch.cat([self.pooled(c.pooled)[:, None], self.tokens(c.tokens), self.seeds(c.seeds)], dim=1)
        mask = torch.cat([torch.ones_like(c.keep)[:, None], c.token_mask, c.seed_mask], dim=1)  # [P, M]
        context = torch.where(c.keep[:, None, None], context, self.nothing)
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        keys = key_mask(torch.where(c.keep[:, None], mask, first))
        return self.encoder(context, mask=keys)[0], keys
