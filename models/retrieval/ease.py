"""EASE: a linear item-to-item model in closed form (Steck, Embarrassingly shallow autoencoders, WWW 2019)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.errors import SlateBenchError
from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ranking import rank
from .interactions import item_matrix, moved, train_sequences

BYTES = 20  # a fit holds at most for each pair of items: its count, dense and sparse


class EASE(SlateModel):
    """Scores x B of a history x, where B reproduces the users' items from their other items."""

    name = "ease"
    card = ModelCard(
        title="EASE",
        paper="Steck: Embarrassingly shallow autoencoders for sparse data. WWW 2019",
        conditions=frozenset({"history"}),
        summary="Least squares with an L2 penalty and a zero diagonal, solved at once; an N x N matrix.",
        departures=("newer items of the history may weigh more (decay): 1 is the paper's",),
    )

    class Config(Settings):
        """What is learnt."""

        penalty: float = Field(200.0, gt=0, description="lambda, of the L2 penalty")

    class Sampling(Settings):
        """How a history is read."""

        decay: float = Field(0.8, gt=0, le=1, description="weight of an item relative to the next newer one")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"decay": 1.0}}
    SPACE: ClassVar[dict[str, Any]] = {"penalty": (5.0, 2000.0, "log"), "decay": (0.3, 1.0)}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """B = I - P / diag(P) with P = (X'X + lambda I)^-1 (equation 8).

        Raises:
            SlateBenchError: there is no memory for it; says how much it would take.
        """
        from scipy.linalg import LinAlgError, inv

        self.catalog, self.features = data.catalog, data.features
        N = len(data.catalog)
        needed = _refuse_without_memory(N)
        X = item_matrix(train_sequences(data, self.name)["items"].to_list(), N)  # [U, N]
        gram = (X.T @ X).toarray(order="F")  # in this order it is inverted in its place
        gram[np.diag_indices(N)] += self.config.penalty
        progress(1, 2, f"{needed / 2**30:.1f} GiB")
        try:
            P = inv(gram, assume_a="pos", overwrite_a=True)
        except LinAlgError as error:
            raise SlateBenchError(
                f"ease: the matrix can't be inverted: raise penalty (now {self.config.penalty:g})"
            ) from error
        P /= -P.diagonal()  # column j divided by -P_jj
        P[np.diag_indices(N)] = 0.0
        self.weights = P.astype(np.float32, order="C")  # [N, N]
        progress(2, 2)
        return FitReport(notes={"memory_gib": needed / 2**30})

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        s, N = self._asked(sampling), len(self.catalog)

        def score(part: pl.DataFrame) -> np.ndarray:
            return item_matrix(part["history"].to_list(), N, s.decay).astype(np.float32) @ self.weights

        return rank(requests, k, score, self.catalog, samples=samples)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights."""
        return {"weights": self.weights}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the weights back."""
        self.weights = arrays["weights"]

    def with_catalog(self, catalog: Catalog, features: Features) -> EASE:
        """The same weights between the items that still exist; a new item has none."""
        other = self._over(catalog, features)
        old, new = moved(self.catalog, catalog)
        other.weights = np.zeros((len(catalog), len(catalog)), np.float32)
        other.weights[np.ix_(new, new)] = self.weights[np.ix_(old, old)]
        return other

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """All weights are fitted, in closed form."""
        return {"parameters": float(len(self.catalog) ** 2), "nfe": 0}


def _refuse_without_memory(n_items: int) -> float:
    """Bytes that a fit takes.

    Raises:
        SlateBenchError: more than are free.
    """
    import psutil

    needed, free = float(BYTES) * n_items**2, psutil.virtual_memory().available
    if needed > free:
        raise SlateBenchError(
            f"ease inverts a matrix of {n_items:,} x {n_items:,}: {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB "
            "are free: use item-knn, or a machine with more memory"
        )
    return needed
