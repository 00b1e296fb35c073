"""Features of items and prompts (interface; see the issue for what stands behind it)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from .schema import Catalog


class Features(Protocol):
    """Vectors that any model may use. Rows have unit length; everything is numpy float32, lazy, cached on disk."""

    encoder: str  # name of what made the item vectors, e.g. "minilm" or "word2vec"
    version: str  # changes when the numbers may change

    def items(self) -> np.ndarray:
        """Item vectors [N, d]."""
        ...

    def prompts(self, texts: list[str]) -> np.ndarray:
        """Text vectors [P, d_text] of prompts."""
        ...

    def item_texts(self) -> np.ndarray:
        """Text vectors [N, d_text] of the items' texts (equal to `items()` where the encoder is a text encoder)."""
        ...

    def tokens(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token states [P, L, d_text] and mask [P, L] (True = a real token)."""
        ...


def save_features(features: Features, folder: Path) -> None:
    """Write what `load_features` needs (item vectors, encoder name) into a model's folder."""
    raise NotImplementedError


def load_features(folder: Path, catalog: Catalog) -> Features:
    """Features of a saved model: its item vectors, and the text encoder for new prompts."""
    raise NotImplementedError
