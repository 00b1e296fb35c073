"""The trie-factorised retrieval prior alone: what every decoder over semantic ids has before it learns anything."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from pydantic import Field

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..semantic_ids.catalogue import IdCatalogue
from ..semantic_ids.search import item_beam
from ..semantic_ids.tokenizer import TokenizerConfig, semantic_ids

BLOCK = 64  # prompts at once


class TriePriorModel(SlateModel):
    """Beams through the trie by the mass of retrieval scores below each node; no network."""

    name = "trie-prior"
    version = "2"
    seeded_fit = True
    card = ModelCard(
        title="Trie prior (retrieval factorised along semantic ids)",
        paper="none: the prior of s2s:sids, higr and maskgr, alone",
        conditions=frozenset({"prompt"}),
        summary="gamma x <prompt, item> as logits, summed up along the trie of semantic ids: dense retrieval seen "
        "through a beam over codes. With a beam as wide as the trie it is dense retrieval.",
        departures=("gamma 40 was taken over from a prototype on Bundle",),
    )

    class Config(TokenizerConfig):
        """The tokenizer."""

    class Sampling(Settings):
        """The prior and the search."""

        gamma: float = Field(40.0, gt=0, description="of the prior: logit = gamma x cosine of prompt and item")
        bm25_weight: float = Field(0.0, ge=0, description="of BM25 (over its largest) beside the cosine")
        beam: int = Field(20, gt=0, description="width inside an item")

    SPACE: ClassVar = {"gamma": (10.0, 80.0, 5.0), "bm25_weight": (0.0, 1.0, 0.05), "beam": [10, 20, 40]}
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"bm25": {"bm25_weight": 0.5}}
    BUDGETS: ClassVar = {"smoke": {"codes": 64, "tokenizer_steps": 60}}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Fit the tokenizer."""
        ids = semantic_ids(data, self.config, seed)
        self.catalog, self.features = data.catalog, data.features
        self.ids = IdCatalogue.of(ids, data.catalog, data.features, torch.device("cpu"))
        return FitReport(health=ids.health)

    @torch.inference_mode()
    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]; diagnostics: raw_duplicate_rate."""
        s, P = self._asked(sampling), requests.height
        items = np.full((P, samples, k), -1, dtype=np.int64)
        repeats = np.zeros((P, samples))
        for start in range(0, P, BLOCK):
            part = requests[start : start + BLOCK]
            prior = self.ids.prior(part, s.gamma, s.bm25_weight)
            used = seeds = self.ids.seed_places(part, 1)
            found_repeats = torch.zeros(part.height)
            slots = min(k, len(self.catalog))
            for _ in range(slots):
                found = item_beam(self.ids.trie, lambda *_: None, part.height, s.beam, used, prior)
                place = torch.where(found.scores[:, 0].isfinite(), found.places[:, 0], -1)
                used = torch.cat([used, place[:, None]], dim=1)
                found_repeats += found.repeats
            items[start : start + BLOCK, :, :slots] = self.ids.items_of(used[:, seeds.shape[1] :])[:, None].numpy()
            repeats[start : start + BLOCK] = (found_repeats / max(1, slots))[:, None].numpy()
        return Slates(items, {"raw_duplicate_rate": repeats})

    def arrays(self) -> dict[str, np.ndarray]:
        """Codes and tokenizer."""
        return self.ids.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Codes and tokenizer."""
        self.ids = IdCatalogue.from_arrays(arrays, self.catalog, self.features, torch.device("cpu"))

    def with_catalog(self, catalog: Catalog, features: Features) -> TriePriorModel:
        """New items get their codes from the same tokenizer."""
        other = self._over(catalog, features)
        other.ids = self.ids.over(catalog, features)
        return other
