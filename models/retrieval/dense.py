"""Dense retrieval: the items whose text vectors lie nearest to the prompt's."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ordering import ORDERED, RankedSampling, emitted
from ..ranking import nearest, rank


class Dense(SlateModel):
    """Items by the inner product of their text vector with the prompt vector, exact over the whole catalogue."""

    name = "dense"
    card = ModelCard(
        title="Dense retrieval",
        paper="Reimers and Gurevych, Sentence-BERT, EMNLP 2019 (the encoder); no training here",
        conditions=frozenset({"prompt"}),
        summary="Frozen text encoder, cosine of prompt and item text, exact search.",
        departures=(
            "the encoder is not tuned on the data set",
            "searched by matrix products: the neighbours of faiss IndexFlatIP (tested), quicker from 32 requests on",
            "always searches text vectors, also where the data set's item vectors are word2vec",
            "sampled: Gumbel top-k is ours; its temperature keeps about nine tenths of dense's NDCG@10 on Bundle's "
            "validation part (elsewhere it may keep more or less); sampled+ordered: the items that "
            "were drawn, those nearest to the prompt first",
        ),
    )

    class Sampling(RankedSampling):
        """How slates are drawn."""

        temperature: float = Field(
            0.0, ge=0, description="of Gumbel top-k, in standard deviations of the prompt's scores; 0 = the best k"
        )

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"sampled": {"temperature": 0.2}, "ordered": ORDERED}  # see the card

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Encode the catalogue: there is nothing to fit."""
        self.catalog, self.features = data.catalog, data.features
        self.features.item_texts()
        return FitReport()

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        vectors, s = self.features.item_texts(), self._asked(sampling)
        if s.temperature == 0:  # by the prompt in either order
            queries = self.features.prompts(requests["prompt"].to_list())
            seeds = requests["seed_items"].to_list()
            items, _ = nearest(queries, vectors, k, self.catalog.by_popularity, seeds)  # [P, k]
            return Slates(np.repeat(items[:, None], samples, axis=1))

        def score(part: pl.DataFrame) -> np.ndarray:
            return self.features.prompts(part["prompt"].to_list()) @ vectors.T

        slates = rank(requests, k, score, self.catalog, samples=samples, seed=seed, temperature=s.temperature)
        return emitted(slates, requests, self.features, s.order)

    def arrays(self) -> dict[str, np.ndarray]:
        """No state beside the item vectors."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """No state beside the item vectors."""

    def stochastic(self, sampling: Settings | None = None) -> bool:
        """With a temperature."""
        return self._asked(sampling).temperature > 0

    def with_catalog(self, catalog: Catalog, features: Features) -> Dense:
        """The same over other items."""
        return self._over(catalog, features)
