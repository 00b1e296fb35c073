"""How much of a dataset's text anything can use: what no word, no piece and no vector is made of counts for nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .files.array_cache import cache_folder, cached_array
from .schema import PARTS, SlateDataset
from .text import words
from .vectors.evaluation import EvaluationSpace, whole_lists
from .vectors.text_encoder import TextEncoder

TOLD_FROM = 0.05  # share of the texts from which a person is told


def text_health(
    dataset: SlateDataset, space: EvaluationSpace, encoder: TextEncoder | None = None, *, cache: Path | None = None
) -> dict[str, float]:
    """What of a dataset's item texts and distinct prompts can't be used.

    Args:
        dataset: the dataset.
        space: its evaluation space.
        encoder: of its texts; without one its figures are left out. They are kept in the cache.
        cache: default `SLATEBENCH_CACHE`, else the user's cache folder.

    Returns:
        Numbers: `items`, `slate_items` (those that any slate holds) and `prompts`; of these `items_without_words` and
        `prompts_without_words`, `slate_items_without_vector` (zero in the evaluation space: like nothing but
        themselves), `items_unknown` and `prompts_unknown` (half of the pieces or more unknown to the encoder); and
        `unknown_pieces_of_items`, `unknown_pieces_of_prompts`, the mean share of unknown pieces.
    """
    parts = [dataset.part(name) for name in PARTS]
    prompts = sorted({prompt for part in parts for prompt in part.requests["prompt"]} - {""})
    texts = {"items": dataset.catalog.texts, "prompts": prompts}
    held = sorted({item for items in whole_lists(dataset) for item in items})
    found: dict[str, float] = {"items": len(dataset.catalog), "slate_items": len(held), "prompts": len(prompts)}
    found |= {f"{name}_without_words": sum(not words(text) for text in of) for name, of in texts.items()}
    found["slate_items_without_vector"] = int((~space.vectors[held].any(axis=1)).sum())
    if encoder is None:
        return found
    key = f"{dataset.fingerprint}|{encoder.version}"
    path = (cache or cache_folder()) / "health" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    for name in texts:
        unknown = cached_array(path, name, lambda: {name: _unknown(encoder, of) for name, of in texts.items()})
        found |= {f"{name}_unknown": int(unknown[0]), f"unknown_pieces_of_{name}": float(unknown[1])}
    return found


def _unknown(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """How many texts are unknown to the encoder by half or more, and the mean share of their pieces that is."""
    shares = encoder.unknown(texts)
    return np.array([(shares >= 0.5).sum(), shares.mean() if len(shares) else 0.0])


def health_lines(health: Mapping[str, float]) -> list[str]:
    """What a person must be told of a `text_health`; nothing where all is well."""
    told = [
        ("slate_items_without_vector", "slate_items", "have no evaluation vector: NDCGSim is plain NDCG for them"),
        ("items_without_words", "items", "hold no word: nothing finds them by words"),
        ("prompts_without_words", "prompts", "hold no word: they find nothing by words"),
        ("items_unknown", "items", "are mostly unknown to the text encoder: their vectors tell little"),
        ("prompts_unknown", "prompts", "are mostly unknown to the text encoder: their vectors tell little"),
    ]
    return [
        f"{health[name]:,.0f} of {health[of]:,.0f} {of.replace('_', ' ')} {what}"
        for name, of, what in told
        if health.get(name, 0) > TOLD_FROM * health.get(of, 0)
    ]
