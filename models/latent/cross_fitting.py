"""Centres of train slates as predicted by models that never saw the slate: what residual diffusion learns from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...datasets.train_data import TrainData
from ..retrieval.prompt2vec import Prompt2Vec
from ..training.seeds import seed_of


def cross_fitted_centres(data: TrainData, seed: int, kind: type[Prompt2Vec] = Prompt2Vec, folds: int = 5) -> np.ndarray:
    """The centre for each train slate [n, d_item], from a regression that never saw the slate's group."""
    groups, group = np.unique(data.slates["group"].to_numpy(), return_inverse=True)
    fold = (np.random.default_rng(seed_of(seed, "folds")).permutation(len(groups)) % folds)[group]
    centres = np.zeros((data.slates.height, data.features.items().shape[1]), np.float32)
    for f in np.unique(fold):
        model, inside = kind(), fold == f
        model.fit(replace(data, slates=data.slates.filter(~inside)) if not inside.all() else data)
        centres[inside] = model.centres(data.slates.filter(inside))
    return centres
