"""What a slate decoder attends to: the prompt's token states, its pooled vector and seed items, as one context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..latent.denoiser import Condition
from .transformer import Transformer, key_mask


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
