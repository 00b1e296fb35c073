"""Random items: the floor under every board."""

from __future__ import annotations

import numpy as np
import polars as pl

from ...datasets.schema import EMPTY, Catalog, Slates, forbidden
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress, noise


class Random(SlateModel):
    """k different items, all equally likely, whatever was asked."""

    name = "random"
    card = ModelCard(
        title="Random items",
        paper="none: a floor",
        conditions=frozenset({"prompt", "history"}),
        summary="Draws k different items uniformly from the catalogue. Its freshness near 1 is the floor of meaning.",
    )

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Keep the catalogue: there is nothing to fit."""
        self.catalog, self.features = data.catalog, data.features
        return FitReport()

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k], each drawn without replacement."""
        items = np.full((requests.height, samples, k), EMPTY, dtype=np.int64)
        for p, (request, barred) in enumerate(zip(requests["request"], forbidden(requests), strict=True)):
            draw = min(k + len(set(barred)), len(self.catalog))
            for s in range(samples):
                drawn = noise(seed, request, s).choice(len(self.catalog), size=draw, replace=False)
                drawn = drawn[~np.isin(drawn, barred)][:k] if barred else drawn[:k]
                items[p, s, : len(drawn)] = drawn
        return Slates(items)

    def arrays(self) -> dict[str, np.ndarray]:
        """No state."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """No state."""

    def stochastic(self, sampling: Settings | None = None) -> bool:
        """Always."""
        return True

    def with_catalog(self, catalog: Catalog, features: Features) -> Random:
        """The same over another catalogue."""
        return self._over(catalog, features)
