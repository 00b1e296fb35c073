"""The retrieval prior: dense retrieval and BM25 as one score per item, for whoever wants it.

One helper, offered to every model alike (docs/protocol.md, section 7); alone on the board as the model `hybrid`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from ...datasets.schema import Catalog
from ...datasets.vectors.features import Features
from ..ranking import inner
from .bm25_index import BM25Index

Scale = Literal["zscored", "logit"]

KEPT = 100_000_000  # numbers of the items' vectors that are kept in float64 as well: 800 MB
UNIT = 0.1  # of the z-scored prior, beside a cosine: prior_weight 1 is the weight that prototypes settled on


class RetrievalPrior:
    """Scores of all items for requests, from the item texts alone: nothing here is trained.

    Attributes:
        features: for prompt vectors and the items' text vectors.
        index: BM25 over the items' texts.
    """

    def __init__(self, features: Features, index: BM25Index) -> None:
        self.features = features
        self.index = index
        texts = features.item_texts()
        self._texts = texts.astype(np.float64) if texts.size <= KEPT else texts  # converted once, not at each request

    @classmethod
    def build(cls, catalog: Catalog, features: Features) -> RetrievalPrior:
        """Index the catalogue's texts."""
        return cls(features, BM25Index.build(catalog.texts))

    def scores(
        self, requests: pl.DataFrame, scale: Scale = "zscored", *, bm25_weight: float | None = None, gamma: float = 40.0
    ) -> np.ndarray:
        """Scores [P, N], float64.

        - `zscored`: z(dense) + .25 z(BM25), both z-scored per request over the catalogue: for rounding and hybrids.
        - `logit`: gamma (dense + .5 BM25 / the request's largest BM25): on the scale of logits, for trie decoders.

        Args:
            requests: REQUEST_SCHEMA; call it block by block (`ranking.blocks`) where P x N is large.
            scale: which of the two.
            bm25_weight: instead of .25 or .5; 0 = dense alone.
            gamma: of the logit scale.
        """
        prompts = requests["prompt"].to_list()
        dense = inner(self.features.prompts(prompts), self._texts)  # [P, N]
        bm25 = self.index.scores(prompts)
        if scale == "zscored":
            return zscore(dense) + (0.25 if bm25_weight is None else bm25_weight) * zscore(bm25)
        largest = bm25.max(axis=1, keepdims=True, initial=0)
        share = bm25 / np.where(largest > 0, largest, 1)
        return gamma * (dense + (0.5 if bm25_weight is None else bm25_weight) * share)


def zscore(scores: np.ndarray) -> np.ndarray:
    """Each row minus its mean, over its standard deviation; a constant row becomes zeros.

    >>> zscore(np.array([[1.0, 3.0], [2.0, 2.0]]))
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    spread = scores.std(axis=1, keepdims=True)
    flat = spread <= 1e-12
    return np.where(flat, 0.0, scores - scores.mean(axis=1, keepdims=True)) / np.where(flat, 1.0, spread)
