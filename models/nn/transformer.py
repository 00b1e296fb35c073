"""One pre-norm transformer core: self-attention, optional cross-attention, causal mask, key/value caches.

Shapes: B rows, L tokens, M context tokens, H heads, w width. Masks are boolean, True = may be attended to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import Dropout

KeysValues = tuple[Tensor, Tensor]  # each [B, H, M, w / H]


class FeedForward(nn.Sequential):
    """Linear, GELU, dropout, linear; `factor` times wider inside."""

    def __init__(self, width: int, factor: int = 4, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, factor * width), nn.GELU(), Dropout(dropout), nn.Linear(factor * width, width)
        )


class Attention(nn.Module):
    """Multi-head attention. Keys and values are made apart, so that a caller can keep them.

    No dropout of attention weights: it would cost the fast kernel; the blocks drop out on their residuals.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads, self.width = heads, width
        self.project = nn.Linear(width, 3 * width)  # queries, keys, values
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, L, w] -> [B, H, L, w / H]

    def queries(self, x: Tensor) -> Tensor:
        """Queries [B, H, L, w / H] of `x` [B, L, w], for cross-attention."""
        return self._split(F.linear(x, self.project.weight[: self.width], self.project.bias[: self.width]))

    def keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of `context` [B, M, w], for cross-attention."""
        projected = F.linear(context, self.project.weight[self.width :], self.project.bias[self.width :])
        keys, values = projected.chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, KeysValues]:
        """All three of `x` in one product, for self-attention."""
        queries, keys, values = self.project(x).chunk(3, dim=-1)
        return self._split(queries), (self._split(keys), self._split(values))

    def forward(
        self, queries: Tensor, keys_values: KeysValues, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """What the queries find, [B, L, w]; `mask` broadcasts to [B, H, L, M] (each query must see something).

        With `causal`, the last query stands beside the last key: query l sees the keys up to M - L + l.
        """
        q, (k, v) = queries, keys_values
        L, M = q.shape[-2], k.shape[-2]
        simple = causal and mask is None and L == M
        if causal and not simple and L > 1:  # a single query sees all keys
            past = torch.ones(L, M, dtype=torch.bool, device=q.device).tril(M - L)
            mask = past if mask is None else mask & past
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=simple)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block with three residuals: self-attention, cross-attention (optional), feed-forward."""

    def __init__(self, width: int, heads: int, factor: int = 4, dropout: float = 0.0, cross: bool = False) -> None:
        super().__init__()
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        if cross:
            self.norm_cross, self.cross_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_feed, self.feed_forward = nn.LayerNorm(width), FeedForward(width, factor, dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        context: KeysValues | None = None,
        context_mask: Tensor | None = None,
        past: KeysValues | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """One block over `x` [B, L, w].

        Args:
            x: tokens; with `past`, only the new ones.
            mask: who sees whom in self-attention, broadcasts to [B, H, L, past + L].
            causal: no token sees a later one.
            context: keys and values of the context, from `cross_attention.keys_values` (once per call, not per step).
            context_mask: broadcasts to [B, H, L, M].
            past: self-attention's keys and values of the tokens before.

        Returns:
            New tokens [B, L, w], and self-attention's keys and values with those of `x` appended: the next `past`.
        """
        queries, (keys, values) = self.self_attention.queries_keys_values(self.norm_self(x))
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = x + self.dropout(self.self_attention(queries, (keys, values), mask, causal))
        if context is not None:
            queries = self.cross_attention.queries(self.norm_cross(x))
            x = x + self.dropout(self.cross_attention(queries, context, context_mask))
        return x + self.dropout(self.feed_forward(self.norm_feed(x))), (keys, values)


class Transformer(nn.Module):
    """A stack of blocks and a last LayerNorm: encoder, decoder (`cross`) or decoder-only model (`causal`)."""

    def __init__(
        self, width: int, layers: int, heads: int, factor: int = 4, dropout: float = 0.0, cross: bool = False
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, factor, dropout, cross) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def context(self, context: Tensor) -> list[KeysValues]:
        """Cross-attention's keys and values of every block for `context` [B, M, w]."""
        return [block.cross_attention.keys_values(context) for block in self.blocks]  # type: ignore[union-attr, operator]

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        context: list[KeysValues] | None = None,
        context_mask: Tensor | None = None,
        past: list[KeysValues] | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """All blocks; arguments as in `Block.forward`, `context` and `past` one per block."""
        present = []
        for i, block in enumerate(self.blocks):
            x, keys_values = block(
                x,
                mask=mask,
                causal=causal,
                context=context[i] if context is not None else None,
                context_mask=context_mask,
                past=past[i] if past is not None else None,
            )
            present.append(keys_values)
        return self.norm(x), present


def key_mask(mask: Tensor) -> Tensor:
    """Padding mask of keys [B, M] in the shape attention takes, [B, 1, 1, M]."""
    return mask[:, None, None, :]


def zero(width_in: int, width_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer that starts at zero: the network starts as the identity of its residual stream."""
    linear = nn.Linear(width_in, width_out, bias)
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear
