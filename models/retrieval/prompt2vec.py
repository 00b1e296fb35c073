"""Prompt2Vec: ridge regression from the prompt vector to the centre of its slate, then the nearest items."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.errors import SlateBenchError
from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ...datasets.vectors.text_encoder import unit_rows
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ordering import ORDERED, RankedSampling, emitted
from ..ranking import nearest, rank
from .prior import UNIT, RetrievalPrior


class Prompt2Vec(SlateModel):
    """Items nearest to the slate centre that a linear map predicts from the prompt."""

    name = "prompt2vec"
    card = ModelCard(
        title="Prompt2Vec (ridge)",
        paper="a linear form of the Prompt2Vec baseline of the DMSG paper",
        conditions=frozenset({"prompt"}),
        summary="Predicts the mean of the slate's item vectors and takes the items of largest inner product with it.",
        departures=(
            "ridge regression in place of a neural regressor: closed form, the same numbers every time",
            "target residual (default): predicts centre minus prompt vector, so that without evidence it is dense "
            "retrieval; needs prompts and items in one space and turns into direct where item vectors are word2vec",
            "preset prior: ranks by the centred cosine plus the retrieval prior, as dmsg's rounding does: the control "
            "of dmsg:prior and dmsg:consensus",
            "ordered: the same items, those nearest to the prompt first",
        ),
    )
    _prior: RetrievalPrior | None = None  # made when first asked for

    class Config(Settings):
        """The regression."""

        target: Literal["residual", "direct"] = Field(
            "residual", description="predict centre minus prompt vector, or the centre itself"
        )
        alpha: float = Field(3.0, gt=0, description="ridge penalty")

    class Sampling(RankedSampling):
        """How the centre becomes items."""

        prior_weight: float = Field(
            0.0, ge=0, description="of the retrieval prior beside the centred cosine; 0 = inner products alone"
        )

    PRESETS: ClassVar = {"prior": {"prior_weight": 0.3}, "ordered": ORDERED}
    SPACE: ClassVar = {"alpha": (0.1, 100.0, "log"), "target": ["residual", "direct"]}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Solve the ridge regression; the report's notes say which target was used."""
        self.catalog, self.features = data.catalog, data.features
        slates = self._filled(data)
        X = data.features.prompts(slates["prompt"].to_list()).astype(np.float64)  # [T, d_text]
        Y = slate_means(slates, data.features.items())  # [T, d]
        one_space = np.array_equal(data.features.items(), data.features.item_texts())
        self.residual = self.config.target == "residual" and one_space
        if self.residual:
            Y = Y - X
        mean_x, mean_y = X.mean(axis=0), Y.mean(axis=0)
        Xc = X - mean_x
        self.weights = np.linalg.solve(Xc.T @ Xc + self.config.alpha * np.eye(X.shape[1]), Xc.T @ (Y - mean_y))
        self.bias = mean_y - mean_x @ self.weights
        target = "residual" if self.residual else "direct"
        why = "" if target == self.config.target else " (prompts and items are not in one space)"
        return FitReport(notes={"target": target + why})

    def _filled(self, data: TrainData) -> pl.DataFrame:
        """The train slates that hold an item."""
        slates = data.slates.filter(pl.col("items").list.len() > 0)
        if slates.is_empty():
            raise SlateBenchError(
                f"{self.name} learns from train slates and {data.dataset} has none: take dense instead"
            )
        return slates

    def centres(self, requests: pl.DataFrame) -> np.ndarray:
        """Predicted slate centres [P, d], float32."""
        X = self.features.prompts(requests["prompt"].to_list()).astype(np.float64)
        predicted = X @ self.weights + self.bias
        return (predicted + X if self.residual else predicted).astype(np.float32)

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        s = self._asked(sampling)
        if s.prior_weight:
            slates = rank(requests, k, lambda part: self._with_prior(part, s.prior_weight), self.catalog,
                          samples=samples)  # fmt: skip
        else:
            centres, seeds = self.centres(requests), requests["seed_items"].to_list()
            items, _ = nearest(centres, self.features.items(), k, self.catalog.by_popularity, seeds)  # [P, k]
            slates = Slates(np.repeat(items[:, None], samples, axis=1))
        return emitted(slates, requests, self.features, s.order)

    def _with_prior(self, requests: pl.DataFrame, weight: float) -> np.ndarray:
        """Scores [P, N]: cosine of centre and item about the catalogue's mean, plus the weighted prior."""
        if self._prior is None:
            items = self.features.items()
            self._mean = items.mean(axis=0)
            lengths = np.linalg.norm(items, axis=1).round(6)  # 1, but of Word2Vec's: the less is known, the shorter
            self._directions = unit_rows(items - self._mean) * lengths[:, None]  # [N, d]
            self._prior = RetrievalPrior.build(self.catalog, self.features)
        cosine = unit_rows(self.centres(requests) - self._mean) @ self._directions.T
        return cosine + weight * UNIT * self._prior.scores(requests, "zscored")

    def arrays(self) -> dict[str, np.ndarray]:
        """The linear map."""
        return {"weights": self.weights, "bias": self.bias, "residual": np.array([self.residual], dtype=np.uint8)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The linear map."""
        self.weights, self.bias = arrays["weights"], arrays["bias"]
        self.residual = bool(arrays["residual"][0])

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """The map's numbers; one product counts as one evaluation."""
        return {"parameters": self.weights.size + self.bias.size, "nfe": 1}

    def with_catalog(self, catalog: Catalog, features: Features) -> Prompt2Vec:
        """The same map over other items."""
        other = self._over(catalog, features)
        other.weights, other.bias, other.residual = self.weights, self.bias, self.residual
        return other


def slate_means(slates: pl.DataFrame, vectors: np.ndarray) -> np.ndarray:
    """Mean item vector of each slate [T, d], float64, of slates that hold an item each."""
    lengths = slates["items"].list.len().to_numpy().astype(np.int64)
    emitted = vectors[slates["items"].explode().to_numpy()].astype(np.float64)  # [slots, d]
    return np.add.reduceat(emitted, np.cumsum(lengths) - lengths, axis=0) / lengths[:, None]
