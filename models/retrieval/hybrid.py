"""Dense retrieval plus a quarter of BM25: the retrieval prior alone on the board."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ordering import ORDERED, RankedSampling, emitted
from ..ranking import rank
from .bm25_index import BM25Index
from .prior import RetrievalPrior


class Hybrid(SlateModel):
    """The top of the z-scored retrieval prior."""

    name = "hybrid"
    card = ModelCard(
        title="Hybrid (dense + .25 BM25)",
        paper="none: a weighted sum of z-scores, the usual fusion of lexical and dense retrieval",
        conditions=frozenset({"prompt"}),
        summary="Scores of dense and bm25, z-scored per prompt over the catalogue: the prior other models may use.",
        departures=(
            "the weight .25 was taken over from a prototype on Bundle, not tuned per data set",
            "ordered: the same items, those nearest to the prompt first",
        ),
    )

    class Sampling(RankedSampling):
        """The mixture."""

        bm25_weight: float = Field(0.25, ge=0, description="of the z-scored BM25 beside the z-scored cosine")

    PRESETS: ClassVar = {"ordered": ORDERED}
    SPACE: ClassVar = {"bm25_weight": (0.0, 1.0, 0.05)}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Encode and index the catalogue."""
        self.catalog, self.features = data.catalog, data.features
        self.prior = RetrievalPrior.build(data.catalog, data.features)
        self.features.item_texts()
        return FitReport()

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        s = self._asked(sampling)

        def score(part: pl.DataFrame) -> np.ndarray:
            return self.prior.scores(part, "zscored", bm25_weight=s.bm25_weight)

        return emitted(rank(requests, k, score, self.catalog, samples=samples), requests, self.features, s.order)

    def arrays(self) -> dict[str, np.ndarray]:
        """The BM25 index."""
        return self.prior.index.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The BM25 index."""
        self.prior = RetrievalPrior(self.features, BM25Index.from_arrays(arrays, len(self.catalog)))

    def with_catalog(self, catalog: Catalog, features: Features) -> Hybrid:
        """The same over other items."""
        other = self._over(catalog, features)
        other.prior = RetrievalPrior.build(catalog, features)
        return other
