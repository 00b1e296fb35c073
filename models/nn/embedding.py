"""Embedding of diffusion time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


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
