"""Prompt centre: the items nearest to the mean slate of similar train prompts: dmsg:playlist's centre, alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from ...datasets.schema import Catalog
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, no_progress
from ..ordering import ORDERED
from ..ranking import nearest
from .prompt2vec import Prompt2Vec, slate_means

NEIGHBOURS = 50
TEMPERATURE = 0.05  # of the prompts' cosines


class PromptCentre(Prompt2Vec):
    """Kernel regression (Nadaraya and Watson, 1964): the mean slate of the nearest train prompts, nearer ones more.

    Where prompts share no words with titles and the same word means another thing in another theme, a linear map as
    Prompt2Vec's has nothing to hold on to.
    """

    name = "prompt-centre"
    card = ModelCard(
        title="Prompt centre (kernel regression)",
        paper="none: the centre that dmsg:playlist diffuses around, alone",
        conditions=frozenset({"prompt"}),
        summary="Predicts the slate's centre as the mean of the slates of the 50 nearest train prompts, nearer ones "
        "more, and takes the items of largest inner product with it.",
        departures=(
            "preset prior: adds the retrieval prior with the weight of dmsg:playlist, as its control",
            "ordered: the same items, those nearest to the prompt first",
        ),
    )

    class Config(Settings):
        """Nothing to set."""

    PRESETS: ClassVar = {"prior": {"prior_weight": 0.1}, "ordered": ORDERED}
    SPACE: ClassVar = {}

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Keep the train prompts' vectors and their mean slates."""
        self.catalog, self.features = data.catalog, data.features
        slates = self._filled(data)
        self.prompts = data.features.prompts(slates["prompt"].to_list())  # [T, d_text]
        self.slates = slate_means(slates, data.features.items()).astype(np.float32)  # [T, d]
        return FitReport()

    def centres(self, requests: pl.DataFrame) -> np.ndarray:
        """Predicted slate centres [P, d], float32."""
        T, prompts = len(self.prompts), self.features.prompts(requests["prompt"].to_list())
        near, cosine = nearest(prompts, self.prompts, min(NEIGHBOURS, T), np.arange(T))
        weights = np.exp((cosine - cosine[:, :1]) / TEMPERATURE)  # [P, n]
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("pn,pnd->pd", weights, self.slates[near]).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Train prompts and their mean slates."""
        return {"prompts": self.prompts, "slates": self.slates}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Train prompts and their mean slates."""
        self.prompts, self.slates = arrays["prompts"], arrays["slates"]

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """The mean slates; one look-up counts as one evaluation."""
        return {"parameters": self.slates.size, "nfe": 1}

    def with_catalog(self, catalog: Catalog, features: Features) -> PromptCentre:
        """The same centres over other items: they are points, not items."""
        other = self._over(catalog, features)
        other.prompts, other.slates = self.prompts, self.slates
        return other
