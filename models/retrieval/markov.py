"""What followed the last item: a floor of the task history->slate."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ranking import rank
from .interactions import sparse_arrays, sparse_moved, sparse_of, train_sequences


class Markov(SlateModel):
    """Items by how often they came right after the last item of the history, in train."""

    name = "markov"
    card = ModelCard(
        title="First-order Markov chain",
        paper="none: a floor; as in Rendle et al., Factorizing personalized Markov chains, WWW 2010, not factorised",
        conditions=frozenset({"history"}),
        summary="Counts of item pairs that follow each other in train sequences; ties, and what never followed, by "
        "popularity.",
    )

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Count the pairs of neighbours in each train sequence."""
        self.catalog, self.features = data.catalog, data.features
        sequences, N = train_sequences(data, self.name)["items"], len(data.catalog)
        flat = sequences.explode(empty_as_null=False).to_numpy().astype(np.int64)
        ends = np.cumsum(sequences.list.len().to_numpy().astype(np.int64)) - 1
        inside = np.ones(len(flat), bool)
        inside[ends] = False  # the last item of a sequence is followed by nothing
        before = np.flatnonzero(inside)
        self.follows = csr_matrix((np.ones(len(before)), (flat[before], flat[before + 1])), shape=(N, N))  # [N, N]
        return FitReport(notes={"transitions": int(self.follows.nnz)})

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        N = len(self.catalog)

        def score(part: pl.DataFrame) -> np.ndarray:
            last = part["history"].list.last().fill_null(-1).to_numpy()  # [B]
            known = (last >= 0) & (last < N)
            return self.follows[np.where(known, last, 0)].toarray() * known[:, None]

        return rank(requests, k, score, self.catalog, samples=samples)

    def arrays(self) -> dict[str, np.ndarray]:
        """The counts."""
        return sparse_arrays(self.follows)

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the counts back."""
        self.follows = sparse_of(arrays, len(self.catalog))

    def with_catalog(self, catalog: Catalog, features: Features) -> Markov:
        """The same counts between the items that still exist; a new item has none."""
        other = self._over(catalog, features)
        other.follows = sparse_moved(self.follows, self.catalog, catalog)
        return other
