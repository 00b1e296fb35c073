"""Dense retrieval: the items whose text vectors lie nearest to the prompt's, or to those of the history."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.schema import Catalog, Slates, forbidden
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ...datasets.vectors.text_encoder import unit_rows
from ..base import Condition, Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ordering import ORDERED, RankedSampling, by_cosine
from ..ranking import nearest, rank
from .interactions import item_matrix


class Dense(SlateModel):
    """Items by the inner product of their text vector with the prompt vector, exact over the whole catalogue."""

    name = "dense"
    card = ModelCard(
        title="Dense retrieval",
        paper="Reimers and Gurevych, Sentence-BERT, EMNLP 2019 (the encoder); no training here",
        conditions=frozenset({"prompt"}),
        summary="Frozen text encoder, cosine of prompt and item text, exact search; history: the mean of the history's "
        "item texts in place of the prompt.",
        departures=(
            "the encoder is not tuned on the data set",
            "searched by matrix products: the neighbours of faiss IndexFlatIP (tested), quicker from 32 requests on",
            "always searches text vectors, also where the data set's item vectors are word2vec",
            "sampled: Gumbel top-k is ours; its temperature keeps about nine tenths of dense's NDCG@10 on Bundle's "
            "validation part (elsewhere it may keep more or less); sampled+ordered: the items that "
            "were drawn, those nearest to the prompt first",
            "history: the mean of the history's item texts, all alike, old and new, in place of the prompt",
        ),
    )

    class Sampling(RankedSampling):
        """How slates are drawn."""

        temperature: float = Field(
            0.0, ge=0, description="of Gumbel top-k, in standard deviations of the prompt's scores; 0 = the best k"
        )
        query: Literal["prompt", "history"] = Field("prompt", description="what is searched with")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "sampled": {"temperature": 0.2},  # see the card
        "ordered": ORDERED,
        "history": {"query": "history"},
    }

    def conditions(self) -> frozenset[Condition]:
        """A prompt, or a history, as `query` says."""
        return frozenset({self.sampling.query})

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
        if s.temperature == 0:  # by the query in either order
            queries = self._queries(requests, s.query)
            items, _ = nearest(queries, vectors, k, self.catalog.by_popularity, forbidden(requests))  # [P, k]
            return Slates(np.repeat(items[:, None], samples, axis=1))

        def score(part: pl.DataFrame) -> np.ndarray:
            return self._queries(part, s.query) @ vectors.T

        slates = rank(requests, k, score, self.catalog, samples=samples, seed=seed, temperature=s.temperature)
        if s.order == "score":
            return slates
        return Slates(by_cosine(slates.items, self._queries(requests, s.query), vectors))

    def _queries(self, requests: pl.DataFrame, query: str) -> np.ndarray:
        """Vectors [P, d_text]: of the prompts, or the mean over the items of the histories (zero for an empty one)."""
        if query == "prompt":
            return self.features.prompts(requests["prompt"].to_list())
        histories = item_matrix(requests["history"].to_list(), len(self.catalog))  # [P, N]
        return unit_rows(np.asarray(histories @ self.features.item_texts()).astype(np.float32))

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
