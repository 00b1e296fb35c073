"""Where a prompt's slate lies, told by the slates of similar train prompts: a centre for dmsg to diffuse around."""

from __future__ import annotations

import numpy as np

from ..datasets.features import Features
from ..datasets.schema import TrainData
from .ranking import nearest

NEIGHBOURS = 50
TEMPERATURE = 0.05  # of the prompts' cosines


class NeighbourCentres:
    """Kernel regression (Nadaraya and Watson, 1964): the mean slate of the nearest train prompts, nearer ones more.

    Where prompts share no words with titles and the same word means another thing in another theme, a linear map as
    Prompt2Vec's has nothing to hold on to.
    """

    features: Features  # for the prompts' vectors

    def fit(self, data: TrainData) -> None:
        """Keep the prompts' vectors and their slates' mean item vectors; every train slate holds an item."""
        self.features = data.features
        self.prompts = data.features.prompts(data.slates["prompt"].to_list())  # [T, d_text]
        lengths = data.slates["items"].list.len().to_numpy().astype(np.int64)
        emitted = data.features.items()[data.slates["items"].explode().to_numpy()].astype(np.float64)  # [slots, d]
        sums = np.add.reduceat(emitted, np.cumsum(lengths) - lengths, axis=0)
        self.slates = (sums / lengths[:, None]).astype(np.float32)  # [T, d]

    def centres(self, prompts: list[str]) -> np.ndarray:
        """Predicted slate centres [P, d], float32."""
        T = len(self.prompts)
        near, cosine = nearest(self.features.prompts(prompts), self.prompts, min(NEIGHBOURS, T), np.arange(T))
        weights = np.exp((cosine - cosine[:, :1]) / TEMPERATURE)  # [P, n]
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("pn,pnd->pd", weights, self.slates[near]).astype(np.float32)

    def with_features(self, features: Features) -> NeighbourCentres:
        """The same over another catalogue: the centres are points, not items."""
        other = NeighbourCentres()
        other.features, other.prompts, other.slates = features, self.prompts, self.slates
        return other

    def arrays(self) -> dict[str, np.ndarray]:
        """Prompt vectors and mean slates of train."""
        return {"prompts": self.prompts, "slates": self.slates}

    def restore(self, arrays: dict[str, np.ndarray], features: Features) -> None:
        """Take back what `arrays` gave."""
        self.features, self.prompts, self.slates = features, arrays["prompts"], arrays["slates"]
