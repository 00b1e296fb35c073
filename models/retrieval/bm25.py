"""BM25 over item texts, over the train prompts of an item, or over both."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from ...datasets.errors import SlateBenchError
from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress
from ..ordering import ORDERED, RankedSampling, emitted
from ..ranking import rank
from .bm25_index import BM25Index


class BM25(SlateModel):
    """Items by the BM25 score of their document for the prompt."""

    name = "bm25"
    card = ModelCard(
        title="BM25",
        paper="Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; package rank-bm25",
        conditions=frozenset({"prompt"}),
        summary="Each item is a document (title and categories); words are lower-case, unstemmed.",
        departures=(
            "the idf is rank-bm25's ATIRE variant: negative values are raised to a quarter of the mean idf",
            "items that share no token with the prompt score 0 and follow by train popularity, then id: "
            "where few items match, the tail of the slate is the popularity baseline's",
            "sampled: Gumbel top-k is ours; its temperature keeps about nine tenths of bm25's NDCG@10 on Bundle's "
            "validation part (elsewhere it may keep more or less); where nothing matches it draws at random",
            "ordered: the same items, those nearest to the prompt first: what the order of a slate is worth that dmsg, "
            "set-regressor and the decoders give theirs",
        ),
    )

    class Config(Settings):
        """What the index is made of."""

        document: Literal["text", "train_prompts", "both"] = Field("text", description="what stands for an item")
        k1: float = Field(1.5, gt=0, description="how slowly a repeated term saturates")
        b: float = Field(0.75, ge=0, le=1, description="how much long documents are held back")

    class Sampling(RankedSampling):
        """How slates are drawn."""

        temperature: float = Field(
            0.0, ge=0, description="of Gumbel top-k, in standard deviations of the prompt's scores; 0 = the best k"
        )

    SPACE: ClassVar = {"k1": (0.4, 3.0, 0.1), "b": (0.0, 1.0, 0.05)}
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"sampled": {"temperature": 1.1}, "ordered": ORDERED}  # see the card

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Index one document per item."""
        self.catalog, self.features = data.catalog, data.features
        documents = data.catalog.texts
        if self.config.document != "text":
            prompts = _train_prompts(data)
            both = self.config.document == "both"
            documents = [f"{t} {p}" for t, p in zip(documents, prompts, strict=True)] if both else prompts
        self.index = BM25Index.build(documents, self.config.k1, self.config.b)
        return FitReport(health={"terms": len(self.index.vocabulary)})

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""

        def score(part: pl.DataFrame) -> np.ndarray:
            return self.index.scores(part["prompt"].to_list())

        s = self._asked(sampling)
        slates = rank(requests, k, score, self.catalog, samples=samples, seed=seed, temperature=s.temperature)
        return emitted(slates, requests, self.features, s.order)

    def arrays(self) -> dict[str, np.ndarray]:
        """The index."""
        return self.index.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The index."""
        self.index = BM25Index.from_arrays(arrays, len(self.catalog))

    def stochastic(self, sampling: Settings | None = None) -> bool:
        """With a temperature."""
        return self._asked(sampling).temperature > 0

    def with_catalog(self, catalog: Catalog, features: Features) -> BM25:
        """Index the new texts; documents made of train prompts need a new fit."""
        if self.config.document != "text":
            raise SlateBenchError(f"bm25 with document={self.config.document} can't change its catalogue: fit it again")
        other = self._over(catalog, features)
        other.index = BM25Index.build(catalog.texts, self.config.k1, self.config.b)
        return other


def _train_prompts(data: TrainData) -> list[str]:
    """Per item the prompts of the train slates that hold it, joined by blanks [N]."""
    pairs = data.slates.select("prompt", "items").explode("items").drop_nulls()
    joined = pairs.group_by("items", maintain_order=True).agg(pl.col("prompt").str.join(" "))
    documents = np.full(len(data.catalog), "", dtype=object)
    documents[joined["items"].to_numpy()] = joined["prompt"].to_list()
    return documents.tolist()
