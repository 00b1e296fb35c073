"""Train slates as examples: what every neural model's loss is drawn from, step by step.

Shapes: n train slates, B slates of a batch, P prompts, N items, d dims.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.train_data import TrainData
from ..nn.context import Condition, prompt_condition

TEXTS_AT_ONCE = 1000  # a block's token states are as long as its longest text


class SlateTask(nn.Module):
    """Train slates and their prompts, in non-persistent buffers; a subclass adds rows -> loss.

    All its draws come from torch's own generator, in a fixed order.
    """

    slates: Tensor  # items, [n, longest]
    lengths: Tensor  # [n]
    prompt_row: Tensor  # row of the slate's prompt in tokens, token_mask, pooled [n]
    tokens: Tensor
    token_mask: Tensor
    pooled: Tensor
    vectors: Tensor  # of the catalogue's items, as the network is shown them [N, d]

    def __init__(self, network: nn.Module, config: Any, data: TrainData, vectors: Tensor) -> None:
        super().__init__()
        self.network: Any = network
        self.config = config
        slates = [seeds + items for seeds, items in data.slates.select("seed_items", "items").iter_rows()]
        lengths = torch.tensor([len(slate) for slate in slates])
        table = torch.zeros(len(slates), int(lengths.max()), dtype=torch.long)
        table[torch.arange(table.shape[1]) < lengths[:, None]] = torch.tensor(
            [item for slate in slates for item in slate]
        )
        prompts = data.slates["prompt"].to_list()
        distinct = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
        texts, blocks = list(distinct), []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            blocks.append(prompt_condition(data.features, texts[start : start + TEXTS_AT_ONCE], config.prompt_tokens))
        width = max(states.shape[1] for states, _, _ in blocks)
        pad = lambda x: torch.cat([x, x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])], dim=1)  # noqa: E731
        for name, buffer in {
            "slates": table,
            "lengths": lengths,
            "prompt_row": torch.tensor([distinct[prompt] for prompt in prompts]),
            "tokens": torch.cat([pad(states) for states, _, _ in blocks]),
            "token_mask": torch.cat([pad(mask) for _, mask, _ in blocks]),
            "pooled": torch.cat([pooled for _, _, pooled in blocks]),
            "vectors": vectors,
        }.items():
            self.register_buffer(name, buffer, persistent=False)

    def shuffled(self, rows: Tensor) -> Tensor:
        """The slates `rows` [B, longest], each in a new order; what is beyond its length stays behind."""
        slates = self.slates[rows]
        real = torch.arange(slates.shape[1], device=rows.device) < self.lengths[rows][:, None]
        return slates.gather(1, torch.where(real, torch.rand(real.shape, device=rows.device), 2.0).argsort(dim=1))

    def seed_counts(self, lengths: Tensor, most: int) -> Tensor:
        """How many items of each slate become seed items [B]: none of most slates, at most `most`, never all."""
        B, device = len(lengths), lengths.device
        wanted = torch.rand(B, device=device) < self.config.seed_rate
        return (torch.rand(B, device=device) * (lengths - 1).clamp(max=most)).ceil().long() * wanted

    def condition(self, rows: Tensor, seeds: Tensor, seed_mask: Tensor) -> Condition:
        """The condition of the slates `rows` with these seed items [B, S]; dropped for some of them."""
        keep = torch.rand(len(rows), device=rows.device) >= self.config.prompt_dropout
        prompt = self.prompt_row[rows]
        return Condition(
            self.tokens[prompt], self.token_mask[prompt], self.pooled[prompt], self.vectors[seeds], seed_mask, keep
        )
