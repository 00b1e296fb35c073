"""k nearest prompts: the slates of the most similar train prompts vote."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from ...datasets.schema import EMPTY, Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ordering import ORDERED, RankedSampling, emitted
from ..ranking import nearest, rank


class PromptKNN(SlateModel):
    """Items by the votes of the nearest train prompts' slates, each vote weighted by the prompts' cosine."""

    name = "prompt-knn"
    card = ModelCard(
        title="Nearest prompts vote",
        paper="k-nearest-neighbour collaborative filtering, with prompts for users",
        conditions=frozenset({"prompt"}),
        summary="Cosine of prompt vectors; each item of a neighbour's slate gets the cosine (at least 0) as vote.",
        departures=(
            "can only vote for items of train slates: items without a vote follow by train popularity, then id",
            "ordered: the same items, those nearest to the prompt first",
        ),
    )

    class Config(Settings):
        """Whom to ask."""

        neighbours: int = Field(20, ge=1, description="train prompts that vote")

    Sampling: ClassVar = RankedSampling
    PRESETS: ClassVar = {"ordered": ORDERED}
    SPACE: ClassVar = {"neighbours": [5, 10, 20, 40, 80]}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Keep the train prompts' vectors and their slates."""
        self.catalog, self.features = data.catalog, data.features
        self.prompts = data.features.prompts(data.slates["prompt"].to_list())  # [T, d]
        slates = data.slates["items"].fill_null([])
        lengths = slates.list.len().to_numpy()
        items = slates.explode().drop_nulls().to_numpy().astype(np.int64)
        self._keep(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return FitReport(health={"train_prompts": len(self.prompts)})

    def _keep(self, items: np.ndarray, starts: np.ndarray) -> None:
        """Slates as a matrix [T, N] of ones; `items` may hold -1 for items that are gone."""
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        there = items != EMPTY
        ones = np.ones(int(there.sum()))
        shape = (len(starts) - 1, len(self.catalog))
        self.slates = sparse.coo_array((ones, (rows[there], items[there])), shape=shape).tocsr()

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""

        def score(part: pl.DataFrame) -> np.ndarray:
            queries = self.features.prompts(part["prompt"].to_list())
            T = len(self.prompts)
            near, cosine = nearest(queries, self.prompts, min(self.config.neighbours, T), np.arange(T))  # [B, n]
            rows = np.repeat(np.arange(part.height), near.shape[1])
            weights = np.maximum(cosine, 0).ravel()
            asked = sparse.coo_array((weights, (rows, near.ravel())), shape=(part.height, T)).tocsr()  # [B, T]
            votes: Any = asked @ self.slates  # [B, N], sparse
            return votes.toarray()

        slates = rank(requests, k, score, self.catalog, samples=samples)
        return emitted(slates, requests, self.features, self._asked(sampling).order)

    def arrays(self) -> dict[str, np.ndarray]:
        """Prompt vectors and slates of train."""
        items, starts = self.slates.indices.astype(np.int64), self.slates.indptr.astype(np.int64)
        return {"prompts": self.prompts, "items": items, "starts": starts}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Prompt vectors and slates of train."""
        self.prompts = arrays["prompts"]
        self._keep(arrays["items"], arrays["starts"])

    def with_catalog(self, catalog: Catalog, features: Features) -> PromptKNN:
        """The same votes for the items that still exist; a new item has none."""
        other = self._over(catalog, features)
        other.prompts = self.prompts
        moved = np.array([catalog.index.get(id_, EMPTY) for id_ in self.catalog.ids], dtype=np.int64)  # new index
        other._keep(moved[self.slates.indices], self.slates.indptr)
        return other
