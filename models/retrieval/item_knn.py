"""Item-based nearest neighbours: what people with the same items had too (Sarwar et al., WWW 2001)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field
from scipy.sparse import csr_matrix, vstack

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ranking import blocks, rank, top_k
from .interactions import item_matrix, sparse_arrays, sparse_moved, sparse_of, train_sequences


class ItemKNN(SlateModel):
    """Sum, over the items of the history, of the similarity of an item's neighbours to it."""

    name = "item-knn"
    card = ModelCard(
        title="Item-based nearest neighbours",
        paper="Sarwar, Karypis, Konstan, Riedl: Item-based collaborative filtering recommendation algorithms. WWW 2001",
        conditions=frozenset({"history"}),
        summary="Cosine of the users that two items share, shrunk; each item keeps its nearest neighbours; newer items "
        "of the history may weigh more.",
        departures=(
            "shrinkage in the denominator, and weights that fall with the age of an item, are later custom: the paper "
            "has neither; decay=1 and shrinkage=0 are the paper's",
        ),
    )

    class Config(Settings):
        """What is learnt."""

        shrinkage: float = Field(20.0, ge=0, description="added to the denominator of the cosine")
        neighbours: int = Field(1000, gt=0, description="kept per item")

    class Sampling(Settings):
        """How a history is read."""

        decay: float = Field(0.6, gt=0, le=1, description="weight of an item relative to the next newer one")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"shrinkage": 0.0, "decay": 1.0}}
    SPACE: ClassVar[dict[str, Any]] = {
        "shrinkage": [0.0, 1.0, 3.0, 10.0, 30.0, 100.0],
        "neighbours": [50, 100, 200, 500, 1000],
        "decay": (0.3, 1.0),
    }

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Similarities s(i, j) = n_ij / (sqrt(n_i n_j) + shrinkage), the nearest of each item i."""
        self.catalog, self.features = data.catalog, data.features
        N = len(data.catalog)
        X = item_matrix(train_sequences(data, self.name)["items"].to_list(), N)  # [U, N]
        together = (X.T @ X).tocsr()  # n_ij
        root = np.sqrt(together.diagonal())
        near = []
        for rows in blocks(N, N):
            block = together[rows].toarray()  # [B, N]
            block /= root[rows, None] * root + self.config.shrinkage + 1e-12
            block[np.arange(len(block)), np.arange(N)[rows]] = 0.0
            best = top_k(block, min(self.config.neighbours, N), data.catalog.by_popularity)  # [B, n]
            values = np.take_along_axis(block, best, axis=1)
            b, n = np.nonzero(values > 0)
            near.append(csr_matrix((values[b, n], (b, best[b, n])), shape=block.shape))
            progress(rows.stop, N)
        self.similar: csr_matrix = sparse_of(sparse_arrays(csr_matrix(vstack(near))), N)
        return FitReport(notes={"similarities": int(self.similar.nnz)})

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        s, N = self._asked(sampling), len(self.catalog)

        def score(part: pl.DataFrame) -> np.ndarray:
            history = item_matrix(part["history"].to_list(), N, s.decay)  # [B, N]
            return csr_matrix(history @ self.similar).toarray()

        return rank(requests, k, score, self.catalog, samples=samples)

    def arrays(self) -> dict[str, np.ndarray]:
        """The similarities."""
        return sparse_arrays(self.similar)

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the similarities back."""
        self.similar = sparse_of(arrays, len(self.catalog))

    def with_catalog(self, catalog: Catalog, features: Features) -> ItemKNN:
        """The same similarities between the items that still exist; a new item has none."""
        other = self._over(catalog, features)
        other.similar = sparse_moved(self.similar, self.catalog, catalog)
        return other
