"""Slates as points in a continuous space, with what they are conditioned on: shared by dmsg and set-regressor.

Shapes: B slates, P prompts, K slots, N items, L text tokens, d latent dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...datasets.schema import TrainData
from ...datasets.vectors.features import Features
from .denoiser import Condition, SlateDenoiser

# --- items as latents ---------------------------------------------------------------------------------


@dataclass
class LatentSpace:
    """PCA of the catalogue's frozen vectors on one global scale: coordinates of mean deviation 1, directions kept."""

    mean: np.ndarray  # [d_item]
    basis: np.ndarray  # [d_item, d]
    scale: float

    @classmethod
    def of(cls, vectors: np.ndarray, dims: int) -> LatentSpace:
        """Fitted on all item vectors [N, d_item]; `dims` at most."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - mean
        _, basis = np.linalg.eigh(centred.T @ centred)
        basis = basis[:, ::-1][:, :dims]  # largest variance first
        basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
        return cls(mean, basis, float(1 / max(1e-6, (centred @ basis).std(axis=0).mean())))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Latents [..., d] of vectors [..., d_item], float32."""
        return ((vectors - self.mean) @ self.basis * self.scale).astype(np.float32)


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


# --- train slates, batch by batch ------------------------------------------------------------------


class SlateTask(nn.Module):
    """Train slates as latents with their condition, in non-persistent buffers; a subclass adds rows -> loss."""

    slates: Tensor  # items, [n, longest]
    lengths: Tensor  # [n]
    prompt_row: Tensor  # row of the slate's prompt in tokens, token_mask, pooled [n]
    tokens: Tensor
    token_mask: Tensor
    pooled: Tensor
    latents: Tensor  # of the catalogue [N, d]
    centres: Tensor  # what is taken off the latents [n, d], or [1, d] for all slates

    def __init__(self, network: SlateDenoiser, config: Any, data: TrainData, latents: Tensor, centres: Tensor) -> None:
        super().__init__()
        self.network, self.config = network, config
        slates = [seeds + items for seeds, items in data.slates.select("seed_items", "items").iter_rows()]
        lengths = torch.tensor([len(slate) for slate in slates])
        table = torch.zeros(len(slates), int(lengths.max()), dtype=torch.long)
        table[torch.arange(table.shape[1]) < lengths[:, None]] = torch.tensor(
            [item for slate in slates for item in slate]
        )
        prompts = data.slates["prompt"].to_list()
        distinct = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
        texts, blocks = list(distinct), []
        for start in range(0, len(texts), 1000):  # a block's token states are as long as its longest text
            blocks.append(prompt_condition(data.features, texts[start : start + 1000], config.prompt_tokens))
        width = max(states.shape[1] for states, _, _ in blocks)
        pad = lambda x: torch.cat([x, x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])], dim=1)  # noqa: E731
        for name, buffer in {
            "slates": table,
            "lengths": lengths,
            "prompt_row": torch.tensor([distinct[prompt] for prompt in prompts]),
            "tokens": torch.cat([pad(states) for states, _, _ in blocks]),
            "token_mask": torch.cat([pad(mask) for _, mask, _ in blocks]),
            "pooled": torch.cat([pooled for _, _, pooled in blocks]),
            "latents": latents,
            "centres": centres,
        }.items():
            self.register_buffer(name, buffer, persistent=False)

    def batch(self, rows: Tensor) -> tuple[Tensor, Condition]:
        """x_0 [B, K, d] and condition of train slates: some items become seeds, the others fill the slots.

        Cyclic fill, no padding: the slate shuffled, then shuffled again, until the slots are full.
        """
        c, slates, lengths, B = self.config, self.slates[rows], self.lengths[rows], len(rows)
        real = torch.arange(slates.shape[1], device=rows.device) < lengths[:, None]
        shuffled = torch.where(real, torch.rand(real.shape, device=rows.device), 2.0).argsort(dim=1)
        slates = slates.gather(1, shuffled)
        wanted = torch.rand(B, device=rows.device) < c.seed_rate
        n_seeds = (torch.rand(B, device=rows.device) * (lengths - 1).clamp(max=c.slots)).ceil().long() * wanted
        place = torch.arange(slates.shape[1], device=rows.device)
        n_most = min(c.slots, slates.shape[1])
        seed_mask = place[:n_most] < n_seeds[:, None]
        free = (place >= n_seeds[:, None]) & (place < lengths[:, None])  # the others
        turn = torch.arange(c.slots, device=rows.device)[:, None] + torch.rand(
            B, c.slots, len(place), device=rows.device
        )
        turn = torch.where(free[:, None], turn, torch.inf).flatten(1)  # turn q of an item lies in [q, q + 1)
        filled = turn.topk(c.slots, dim=1, largest=False).indices % len(place)
        items = slates.gather(1, filled)
        centres = self.centres[rows if len(self.centres) > 1 else torch.zeros_like(rows)]
        keep = torch.rand(B, device=rows.device) >= c.prompt_dropout
        prompt = self.prompt_row[rows]
        return self.latents[items] - centres[:, None], Condition(
            self.tokens[prompt],
            self.token_mask[prompt],
            self.pooled[prompt],
            self.latents[slates[:, :n_most]],
            seed_mask,
            keep,
        )
