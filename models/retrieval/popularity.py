"""The most popular items for everybody: the second floor."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.loaders.sequences import DAY
from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Condition, Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ranking import rank
from .interactions import NoSequences, moved, train_sequences


class Popularity(SlateModel):
    """Items by the number of train slates that hold them."""

    name = "popularity"
    card = ModelCard(
        title="Most popular items",
        paper="none: a floor",
        conditions=frozenset({"prompt", "history"}),
        summary="The same slate for every request: items by the number of train slates or interactions that hold "
        "them, ties by id; recent: by those of the last months.",
    )

    class Config(Settings):
        """What is counted."""

        days: int | None = Field(None, gt=0, description="before the end of train, whose interactions count; None: all")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"recent": {"days": 90}}

    def conditions(self) -> frozenset[Condition]:
        """Any; the last days are known of histories alone."""
        return self.card.conditions if self.config.days is None else frozenset({"history"})

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Count: what the catalogue says of train, or over the sequences learnt from.

        Raises:
            NoSequences: the last days are asked for where no times are known.
        """
        self.catalog, self.features = data.catalog, data.features
        self.count = data.catalog.train_count
        if self.config.days is None:
            if data.sequences is not None:
                self.count = np.bincount(data.sequences["items"].explode().to_numpy(), minlength=len(data.catalog))
            return FitReport()
        timed = train_sequences(data, "popularity:recent").filter(pl.col("times").is_not_null())
        if timed.is_empty():
            raise NoSequences(f"popularity:recent counts by time, and {data.dataset} has no times: take popularity")
        rows = timed.explode("items", "times")
        late = rows.filter(pl.col("times") > pl.col("times").max() - self.config.days * DAY)["items"]
        self.count = np.bincount(late.to_numpy(), minlength=len(data.catalog))
        return FitReport(notes={"interactions_counted": late.len()})

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""

        def score(part: pl.DataFrame) -> np.ndarray:
            return np.broadcast_to(self.count.astype(np.float64), (part.height, len(self.catalog)))

        return rank(requests, k, score, self.catalog, samples=samples)

    def arrays(self) -> dict[str, np.ndarray]:
        """The counts, where they are not those of the catalogue: of the last days, or of a refit."""
        return {} if np.array_equal(self.count, self.catalog.train_count) else {"count": self.count}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the counts back."""
        self.count = arrays.get("count", self.catalog.train_count)

    def with_catalog(self, catalog: Catalog, features: Features) -> Popularity:
        """The same over another catalogue and its train counts; where others were counted, a new item has none."""
        other = self._over(catalog, features)
        other.count = catalog.train_count
        if self.arrays():
            old, new = moved(self.catalog, catalog)
            other.count = np.zeros(len(catalog), np.int64)
            other.count[new] = self.count[old]
        return other
