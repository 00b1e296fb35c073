"""Semantic ids at work in a model: the trie over a catalogue, the prior's scores, the slates that come out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...datasets.schema import EMPTY, Catalog
from ...datasets.vectors.features import Features
from ..retrieval.prior import RetrievalPrior
from .quantiser import Tokenizer
from .tokenizer import SemanticIds
from .trie import Trie, TriePrior


@dataclass
class IdCatalogue:
    """A catalogue with its semantic ids.

    Attributes:
        codes: [N, D].
        tokenizer: what gives ids to new items; None where items are their own ids.
        trie: over all items.
        texts: text vectors of the items, for the prior [N, d].
        vectors: of the items, for seed items [N, d'].
    """

    catalog: Catalog
    features: Features
    codes: np.ndarray
    tokenizer: Tokenizer | None
    device: torch.device

    def __post_init__(self) -> None:
        self.trie = Trie.build(self.codes, self.catalog.by_popularity).to(self.device)
        self.texts = torch.tensor(self.features.item_texts(), device=self.device)
        self.vectors = torch.tensor(self.features.items(), device=self.device)
        self._retrieval: RetrievalPrior | None = None

    @classmethod
    def of(cls, ids: SemanticIds, catalog: Catalog, features: Features, device: torch.device) -> IdCatalogue:
        """Of freshly fitted semantic ids."""
        return cls(catalog, features, ids.codes, ids.tokenizer, device)

    def over(self, catalog: Catalog, features: Features) -> IdCatalogue:
        """The same tokenizer over other items."""
        codes = np.arange(len(catalog))[:, None]
        if self.tokenizer is not None:
            codes = self.tokenizer.encode(features.items())
        return IdCatalogue(catalog, features, codes, self.tokenizer, self.device)

    @cached_property
    def place_codes(self) -> Tensor:
        """Codes by place [N, D]: see Trie."""
        return self.trie.codes_of(self.trie.items)[:, : self.trie.levels].contiguous()

    def prior(
        self,
        requests: pl.DataFrame,
        gamma: float,
        bm25_weight: float,
        correction: Tensor | None = None,
        scales: Tensor | None = None,
    ) -> TriePrior:
        """The trie-factorised prior of requests: gamma x (<prompt, item> + bm25_weight x BM25 / its largest).

        `correction` [P, d] is added to the prompts' vectors; see TriePrior for `scales`.
        """
        prompts = requests["prompt"].to_list()
        if bm25_weight > 0:
            self._retrieval = self._retrieval or RetrievalPrior.build(self.catalog, self.features)
            scores = self._retrieval.scores(requests, "logit", bm25_weight=bm25_weight, gamma=gamma)
            found = torch.tensor(scores, dtype=torch.float32, device=self.device)
        else:
            found = gamma * torch.tensor(self.features.prompts(prompts), device=self.device) @ self.texts.T
        if correction is not None:
            found = found + gamma * correction @ self.texts.T
        return TriePrior.build(self.trie, found, scales)

    def seed_places(self, requests: pl.DataFrame, samples: int) -> Tensor:
        """Places of each row's seed items [P x samples, m], distinct, -1 = none; foreign ids are left out."""
        known = [sorted({i for i in row if 0 <= i < len(self.catalog)}) for row in requests["seed_items"].to_list()]
        longest = max(map(len, known), default=0)
        table = torch.tensor([row + [EMPTY] * (longest - len(row)) for row in known], dtype=torch.long)
        table = table.view(len(known), longest).to(self.device)
        places = torch.where(table >= 0, self.trie.place[table.clamp(min=0)], EMPTY)
        return places.repeat_interleave(samples, dim=0)

    def items_of(self, places: Tensor) -> Tensor:
        """Items of places; EMPTY stays EMPTY."""
        return torch.where(places >= 0, self.trie.items[places.clamp(min=0)], EMPTY)

    def arrays(self) -> dict[str, np.ndarray]:
        """Codes and tokenizer as named arrays."""
        tokenizer = self.tokenizer.arrays() if self.tokenizer is not None else {}
        return {"ids.codes": self.codes, **{f"tokenizer.{name}": array for name, array in tokenizer.items()}}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], catalog: Catalog, features: Features, device: torch.device
    ) -> IdCatalogue:
        """What `arrays` describes."""
        own = {name.removeprefix("tokenizer."): a for name, a in arrays.items() if name.startswith("tokenizer.")}
        tokenizer = Tokenizer.from_arrays(own) if own else None
        return cls(catalog, features, arrays["ids.codes"], tokenizer, device)
