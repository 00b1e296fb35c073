"""Training examples: train slates drawn by named seeds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.train_data import TrainData
from ..latent.denoiser import SlateDenoiser
from ..nn.context import Condition, prompt_condition

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
