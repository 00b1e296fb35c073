"""The network of the DMSG paper's figure: a denoiser over the slots of a slate, conditioned on prompt and seed items.

Shapes: B slates, K slots, P contexts (one per prompt), M context tokens, L text tokens, R times, w width, d dims.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.context import Condition, context_of
from ..nn.dropout import Dropout
from ..nn.transformer import Block, KeysValues, Transformer, zero

POOLED_SCALE = 8.0  # brings the unit-length pooled prompt vector near the scale of the token states


@dataclass
class Prepared:
    """All of a call's work that no denoising step changes: cross keys and values, and the time of every step."""

    keys_values: list[KeysValues]  # per block [P, H, M, w / H]
    mask: Tensor  # [P, 1, 1, M]
    times: list[Tensor]  # per block [R, P, 1, w]

    def take(self, rows: Tensor) -> Prepared:
        """The same for slates that use context rows[b]."""
        return Prepared(
            [(k[rows], v[rows]) for k, v in self.keys_values], self.mask[rows], [t[:, rows] for t in self.times]
        )


class SlotNorm(nn.GroupNorm):
    """GroupNorm within each slot [B, K, w]: no slot sees another, so a slate may be longer than those trained on."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalised, like the input."""
        return super().forward(input.flatten(0, 1)).view_as(input)


class ResBlock(nn.Module):
    """h + (norm, SiLU, linear, + time, norm, SiLU, dropout, linear); the last linear starts at zero."""

    def __init__(self, width: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.linear_in = SlotNorm(groups, width), nn.Linear(width, width)
        self.time = nn.Linear(width, width)
        self.norm_out, self.dropout, self.linear_out = SlotNorm(groups, width), Dropout(dropout), zero(width, width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """`time` [B, 1, w] is `self.time` of the time embedding."""
        r = self.linear_in(F.silu(self.norm_in(h))) + time
        return h + self.linear_out(self.dropout(F.silu(self.norm_out(r))))


class DenoiserBlock(nn.Module):
    """One of the figure's N blocks: ResBlock, then norm, linear, transformer block, linear, outer residual."""

    def __init__(self, width: int, heads: int, factor: int, dropout: float) -> None:
        super().__init__()
        self.res = ResBlock(width, heads, dropout)
        self.norm, self.linear_in = SlotNorm(heads, width), nn.Linear(width, width)
        self.transformer = Block(width, heads, factor, dropout, cross=True)
        self.linear_out = zero(width, width)

    def forward(self, h: Tensor, time: Tensor, context: KeysValues, mask: Tensor) -> Tensor:
        """New h [B, K, w]."""
        r = h = self.res(h, time)
        h, _ = self.transformer(self.linear_in(self.norm(h)), context=context, context_mask=mask)
        return self.linear_out(h) + r


class SlateDenoiser(nn.Module):
    """x_t [B, K, d], time and condition -> the diffusion target [B, K, d]. No positions: slots are exchangeable."""

    def __init__(
        self,
        latent_dim: int,
        text_dim: int,
        *,
        width: int,
        layers: int,
        heads: int,
        factor: int,
        dropout: float,
        prompt_layers: int,
    ) -> None:
        super().__init__()
        self.tokens, self.pooled = nn.Linear(text_dim, width), nn.Linear(text_dim, width)
        self.pooled_time, self.seeds = nn.Linear(text_dim, width), nn.Linear(latent_dim, width)
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)  # the only context token where there is no condition
        self.encoder = Transformer(width, prompt_layers, heads, factor, dropout)
        self.time = TimeEmbedding(width)
        self.input = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList(DenoiserBlock(width, heads, factor, dropout) for _ in range(layers))
        self.norm, self.output = SlotNorm(heads, width), zero(width, latent_dim)

    def prepare(self, condition: Condition, t: Tensor) -> Prepared:
        """Everything that hangs on condition and time alone.

        Args:
            condition: of P contexts.
            t: times in thousandths, [R, 1] (the R times of a sampling path) or [R, P].
        """
        c, keep = condition, condition.keep
        pooled = c.pooled * POOLED_SCALE
        context, mask = context_of(c, self.pooled(pooled), self.tokens(c.tokens), self.seeds(c.seeds), self.nothing)
        context, _ = self.encoder(context, mask=mask)
        time = self.time(t)[..., None, :]  # [R, 1 or P, 1, w]
        time = F.silu(time + (self.pooled_time(pooled) * keep[:, None])[:, None])  # [R, P, 1, w]
        blocks = cast("list[DenoiserBlock]", list(self.blocks))
        return Prepared(
            [block.transformer.cross_attention.keys_values(context) for block in blocks],
            mask,
            [block.res.time(time) for block in blocks],
        )

    def forward(self, x_t: Tensor, prepared: Prepared, i: int) -> Tensor:
        """The target at x_t and the i-th of the prepared times; `prepared` has a row for each of the B slates."""
        h = self.input(x_t)
        for block, time, context in zip(self.blocks, prepared.times, prepared.keys_values, strict=True):
            h = block(h, time[i], context, prepared.mask)
        return self.output(self.norm(h))


def sinusoids(t: Tensor, width: int, period: float = 10_000.0) -> Tensor:
    """Sines and cosines [..., width] of `t` [...] at geometrically falling frequencies (1706.03762, DDPM)."""
    t, half = t if t.is_floating_point() else t.float(), width // 2
    frequencies = torch.exp(-math.log(period) * torch.arange(half, device=t.device, dtype=t.dtype) / half)
    angles = t[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """t -> MLP -> [..., width]; `t` counts in thousandths of the whole diffusion time (0..1000)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embedding of times `t` [...]."""
        return self.mlp(sinusoids(t, self.width))
