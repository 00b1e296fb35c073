"""The training task of the decoders: cross entropy over codes, whole slates in random order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.train_data import TrainData
from ..nn.context import Condition, PromptContext
from ..nn.transformer import zero
from ..semantic_ids.catalogue import IdCatalogue
from ..semantic_ids.trie import TriePrior
from ..training.examples import SlateTask
from .catalogue_pairs import CataloguePairs

NEIGHBOURS = 5  # of a train item, to fill a short slate with


class SlateNetwork(nn.Module):
    """Base of the networks: the prompt's context, units in and out, and the prior's learnt scale of each level."""

    units: Any

    def __init__(self, units: nn.Module, text_dim: int, item_dim: int, c: Any) -> None:
        super().__init__()
        self.units = units
        self.prompt = PromptContext(
            text_dim, item_dim, width=c.width, layers=c.prompt_layers, heads=c.heads, factor=c.feedforward,
            dropout=c.dropout,
        )  # fmt: skip
        self.scales = nn.Parameter(torch.ones(self.units.levels), requires_grad=c.prior)
        learnt = c.prior and getattr(c, "learnt_query", False)
        self.query = zero(text_dim, text_dim, bias=False) if learnt else None

    def hidden(self, codes: Tensor, offset: Tensor, condition: Condition) -> Tensor:
        """What predicts each unit, teacher forced.

        Args:
            codes: of whole slates [B, M, D].
            offset: first slot of each slate [B].
            condition: of the slates.

        Returns:
            [B, M, D, w].
        """
        raise NotImplementedError

    def correction(self, pooled: Tensor) -> Tensor:
        """What the prior adds to the prompt vectors [P, d]: nothing before training."""
        return torch.zeros_like(pooled) if self.query is None else self.query(pooled)

    def prior_scales(self) -> Tensor:
        """Scales of levels 1..D+1: the items' own level is the prior's alone."""
        return torch.cat([self.scales, self.scales.new_ones(1)])


class DecodingTask(SlateTask):
    """Cross entropy of the units of train slates, in a new order each time."""

    neighbours: Tensor  # of each item [N, NEIGHBOURS]
    texts: Tensor

    def __init__(self, network: SlateNetwork, config: Any, data: TrainData, ids: IdCatalogue) -> None:
        vectors = torch.tensor(data.features.items())
        super().__init__(network, config, data, vectors)
        self.ids, self.longest = ids, min(data.slate_length, config.slots)
        self.ordered = False  # are slates learnt in the order of the data? else in a new one each time
        self.pairs = CataloguePairs(data.catalog, data.features) if config.catalogue_pairs else None
        self.register_buffer("neighbours", self._neighbours() if config.fill == "neighbours" else None, False)

    def _neighbours(self) -> Tensor:
        """The nearest other items of the items that train slates hold [N, NEIGHBOURS]."""
        table = torch.zeros(len(self.vectors), min(NEIGHBOURS, len(self.vectors) - 1), dtype=torch.long)
        for rows in torch.unique(self.slates).split(1024):
            close = self.vectors[rows] @ self.vectors.T
            close[torch.arange(len(rows)), rows] = -torch.inf
            table[rows] = close.topk(table.shape[1]).indices
        return table

    def forward(self, rows: Tensor) -> Tensor:
        """Mean over slots and levels of -log p(unit | units before it, prompt)."""
        items, real, offset, condition = self.examples(rows)
        return -self.log_probs(self.network, items, offset, condition, self.retrieval(condition))[real].mean()

    def retrieval(self, condition: Condition) -> TriePrior | None:
        """The prior of the condition's prompts, where there is one."""
        if not self.config.prior:
            return None
        query = condition.pooled + self.network.correction(condition.pooled)
        return TriePrior.build(self.ids.trie, self.config.gamma * query @ self.ids.texts.T)

    def log_probs(
        self, network: SlateNetwork, items: Tensor, offset: Tensor, condition: Condition, prior: TriePrior | None
    ) -> Tensor:
        """log p(unit | units before it, prompt) [B, M, D] of slates [B, M], in float32."""
        trie = self.ids.trie
        place = trie.place[items]
        hidden = network.hidden(trie.codes_of(items)[..., : trie.levels], offset, condition)
        if prior is not None:
            prior = replace(prior, scales=network.prior_scales())
        found = []
        for level in range(trie.levels):
            nodes, wanted = trie.above[level][place], trie.above[level + 1][place]
            logits = network.units.logits(hidden[:, :, level], level).float()
            log_probs, _ = trie.log_probs(level, nodes, logits, prior)
            found.append(log_probs.gather(-1, (wanted - trie.first[level][nodes])[..., None])[..., 0])
        return torch.stack(found, dim=-1)

    def examples(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Condition]:
        """Items [B, M], which of them are to be learnt [B, M], first slots [B] and condition of train slates.

        Some items become seeds, the others fill the slots in a random order. Short slates are filled with near items
        of their own items, or start at a random slot, so that later slots are trained too.
        """
        c, B, device = self.config, len(rows), rows.device
        slates, lengths = self.slates[rows] if self.ordered else self.shuffled(rows), self.lengths[rows]
        place = torch.arange(slates.shape[1], device=device)
        n_seeds = self.seed_counts(lengths, most=len(place))
        most = int(n_seeds.max())
        seeds, seed_mask = slates[:, :most], place[:most] < n_seeds[:, None]
        count = (lengths - n_seeds).clamp(max=self.longest)
        M = self.longest if c.fill == "neighbours" else int(count.max())
        slot = torch.arange(M, device=device)
        real = slot < count[:, None]
        items = slates.gather(1, (slot + n_seeds[:, None]).clamp(max=slates.shape[1] - 1))
        if c.fill == "neighbours":
            own = (torch.rand(B, M, device=device) * count[:, None]).long()
            near = torch.randint(self.neighbours.shape[1], (B, M), device=device)
            items = torch.where(real, items, self.neighbours[items.gather(1, own), near])
            real = ~(items[:, :, None] == items[:, None]).tril(-1).any(-1)  # an item that came before is not to learn
        offset = (torch.rand(B, device=device) * (self.longest - real.sum(1) + 1)).long()
        found = items, real, offset, self.condition(rows, seeds, seed_mask)
        return found if self.pairs is None else self._with_pairs(*found)

    def _with_pairs(
        self, items: Tensor, real: Tensor, offset: Tensor, c: Condition
    ) -> tuple[Tensor, Tensor, Tensor, Condition]:
        """The examples, and behind them as many of one item each from catalogue pairs."""
        assert self.pairs is not None
        A, device = self.config.catalogue_pairs, items.device
        extra = torch.randint(len(self.vectors), (A,), device=device)
        pooled = self.pairs.draw(extra.cpu().numpy(), torch.rand(A, device=device).cpu().numpy())

        def below(x: Tensor) -> Tensor:
            return torch.cat([x, x.new_zeros(A, *x.shape[1:])])

        all_items, all_real = below(items), below(real)
        all_items[-A:, 0], all_real[-A:, 0] = extra, True
        starts = torch.cat([offset, torch.randint(self.longest, (A,), device=device)])
        condition = Condition(
            below(c.tokens), below(c.token_mask), torch.cat([c.pooled, torch.tensor(pooled, device=device)]),
            below(c.seeds), below(c.seed_mask), torch.cat([c.keep, torch.ones(A, dtype=torch.bool, device=device)]),
        )  # fmt: skip
        return all_items, all_real, starts, condition
