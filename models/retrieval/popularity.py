"""The most popular items for everybody: the second floor."""

from __future__ import annotations

import numpy as np
import polars as pl

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ranking import rank


class Popularity(SlateModel):
    """Items by the number of train slates that hold them."""

    name = "popularity"
    card = ModelCard(
        title="Most popular items",
        paper="none: a floor",
        conditions=frozenset({"prompt", "history"}),
        summary="The same slate for every request: items by the number of train slates that hold them, ties by id.",
    )

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Keep the catalogue: it holds the train counts."""
        self.catalog, self.features = data.catalog, data.features
        return FitReport()

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""

        def score(part: pl.DataFrame) -> np.ndarray:
            return np.broadcast_to(self.catalog.train_count.astype(np.float64), (part.height, len(self.catalog)))

        return rank(requests, k, score, self.catalog, samples=samples)

    def arrays(self) -> dict[str, np.ndarray]:
        """No state beside the catalogue."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """No state beside the catalogue."""

    def with_catalog(self, catalog: Catalog, features: Features) -> Popularity:
        """The same over another catalogue and its train counts."""
        return self._over(catalog, features)
