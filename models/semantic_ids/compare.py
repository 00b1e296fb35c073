"""All tokenizers on one data set: health, time, what their prefixes hold together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...datasets.errors import SlateBenchError
from ...datasets.train_data import TrainData
from .tokenizer import TokenizerConfig, semantic_ids, train_slates

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"tokenizer": "rkmeans"},
    {"tokenizer": "rqvae"},
    {"tokenizer": "crqvae", "positives": "category"},
    {"tokenizer": "crqvae", "positives": "neighbours"},
    {"tokenizer": "crqvae", "positives": "cooccurrence"},
)


def compare_tokenizers(data: TrainData, settings: dict[str, Any], seed: int = 0) -> Iterator[dict[str, Any]]:
    """One row for each tokenizer: name, positives (crqvae), seconds, health; or `error` where it can't be fitted.

    Args:
        data: vectors, train slates and categories.
        settings: of TokenizerConfig, for all of them alike.
        seed: of the fits.
    """
    pairs = slate_pairs(data)
    for candidate in CANDIDATES:
        row: dict[str, Any] = {"positives": None} | candidate
        try:
            chosen: dict[str, Any] = settings | candidate | {"allow_collapse": True}
            ids = semantic_ids(data, TokenizerConfig(**chosen), seed)
        except SlateBenchError as error:
            yield row | {"error": str(error)}
            continue
        together = ids.codes[pairs[0], 0] == ids.codes[pairs[1], 0]
        share = float(together.mean()) if len(together) else None
        yield row | {"seconds": ids.seconds, **ids.health, "slate_pairs_together_1": share}


def slate_pairs(data: TrainData) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of items that share a train slate, as two arrays."""
    pairs = [np.array(slate)[np.array(np.triu_indices(len(slate), 1))] for slate in train_slates(data)]
    both = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=np.int64)
    return both[0], both[1]
