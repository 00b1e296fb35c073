"""The order in which a slate's items are emitted: one helper, offered to all alike (docs/protocol.md, section 7).

Shapes: P prompts, S samples, K slots, N items, d dims. Empty slots always go last; ties keep the order they had.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from ..datasets.schema import EMPTY, Slates
from ..datasets.vectors.features import Features
from .base import Settings
from .ranking import blocks

Order = Literal["slot", "confidence", "prompt", "prompt2vec"]
ORDERED = {"order": "prompt"}  # preset of models that rank: what the order alone is worth


class RankedSampling(Settings):
    """Sampling of models that rank the catalogue."""

    order: Literal["score", "prompt"] = Field("score", description="of the emitted slate: score or prompt")


def emitted(slates: Slates, requests: pl.DataFrame, features: Features, order: str) -> Slates:
    """The same slates in the order that was asked for; `score`: as they are."""
    if order == "score":
        return slates
    prompts = features.prompts(requests["prompt"].to_list())
    return Slates(by_cosine(slates.items, prompts, features.item_texts()), slates.diagnostics)


def by_score(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Slates [..., K] with the items of highest `scores` [..., K] first.

    >>> by_score(np.array([[7, -1, 3, 5]]), np.array([[0.1, 9.0, 0.3, 0.3]]))
    array([[ 3,  5,  7, -1]])
    """
    keys = np.where(items == EMPTY, np.inf, -np.round(scores.astype(np.float64), 6))
    return np.take_along_axis(items, np.argsort(keys, axis=-1, kind="stable"), axis=-1)


def by_cosine(items: np.ndarray, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Slates [P, S, K] with the items nearest to the prompt's query first.

    Args:
        items: slates [P, S, K].
        queries: [P, d]: prompt vectors (order `prompt`), or predicted slate centres (order `prompt2vec`).
        vectors: of the items, rows of unit length, in the same space [N, d].
    """
    scores = np.empty(items.shape, np.result_type(vectors, queries))
    for rows in blocks(len(items), items[:1].size * vectors.shape[1]):
        near = vectors[np.maximum(items[rows], 0)]  # [p, S, K, d]
        scores[rows] = np.einsum("pskd,pd->psk", near, queries[rows], optimize=True)
    return by_score(items, scores)
