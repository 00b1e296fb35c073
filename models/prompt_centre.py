"""Prompt centre: the items nearest to the mean slate of similar train prompts: dmsg:playlist's centre, alone."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl

from ..datasets.errors import SlateBenchError
from ..datasets.features import Features
from ..datasets.schema import Catalog, TrainData
from .base import Evaluate, FitReport, ModelCard, Progress, Settings, no_progress
from .neighbour_centres import NeighbourCentres
from .prompt2vec import Prompt2Vec


class PromptCentre(Prompt2Vec):
    """As prompt2vec, but the centre comes from the nearest train prompts in place of a linear map."""

    name = "prompt-centre"
    card = ModelCard(
        title="Prompt centre (kernel regression)",
        paper="none: the centre that dmsg:playlist diffuses around, alone",
        conditions=frozenset({"prompt"}),
        summary="Predicts the slate's centre as the mean of the slates of the 50 nearest train prompts, nearer ones "
        "more, and takes the items of largest inner product with it.",
        departures=("preset prior: adds the retrieval prior with the weight of dmsg:playlist, as its control",),
    )

    class Config(Settings):
        """Nothing to set."""

    PRESETS: ClassVar = {"prior": {"prior_weight": 0.1}}
    SPACE: ClassVar = {}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Keep the train prompts and their mean slates."""
        self.catalog, self.features = data.catalog, data.features
        slates = data.slates.filter(pl.col("items").list.len() > 0)
        if slates.is_empty():
            raise SlateBenchError(f"{self.name} learns from train slates and {data.dataset} has none: take dense")
        self.neighbours = NeighbourCentres()
        self.neighbours.fit(replace(data, slates=slates))
        return FitReport()

    def centres(self, prompts: list[str]) -> np.ndarray:
        """Predicted slate centres [P, d], float32."""
        return self.neighbours.centres(prompts)

    def arrays(self) -> dict[str, np.ndarray]:
        """Train prompts and their mean slates."""
        return self.neighbours.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Train prompts and their mean slates."""
        self.neighbours = NeighbourCentres()
        self.neighbours.restore(arrays, self.features)

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """The mean slates; one look-up counts as one evaluation."""
        return {"parameters": self.neighbours.slates.size, "nfe": 1}

    def with_catalog(self, catalog: Catalog, features: Features) -> PromptCentre:
        """The same centres over other items."""
        other = self._over(catalog, features)
        other.neighbours = self.neighbours.with_features(features)
        return other
