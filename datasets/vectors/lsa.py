"""Latent semantic analysis as a text encoder: `lsa`, fitted on a dataset's item texts and train prompts.

tf-idf of words, then a truncated SVD (Deerwester et al., Indexing by latent semantic analysis, 1990). Pairs of words
add nothing on Bundle (measured). Its own recipe and its own texts: the evaluation embedding (evaluation.py) is not it
and goes to no model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..files.array_cache import cached_array
from ..text import READING, plainly_read, terms
from .text_encoder import Encoded, unit_rows

RECIPE = "lsa-model-1"  # raise the number when the vectors change
DIMS = 384
ARRAYS = ("terms", "idf", "directions")


class LsaEncoder:
    """A fitted LSA, of which `array(name)` gives the arrays of `fit_lsa` when they are first needed.

    A text's vector hangs on the text alone; a text without any known word has a zero row.
    """

    name = "lsa"

    def __init__(self, version: str, array: Callable[[str], np.ndarray]) -> None:
        self.version = version  # recipe and digest of the texts it is fitted on
        self._array = array

    def encode(self, texts: Sequence[str], *, tokens: bool = False) -> Encoded:
        """See `TextEncoder.encode`. The state of a word is its own vector, of length sqrt(d); zero if it is unknown."""
        vectorizer, directions = self._vectorizer, self._array("directions")  # [V, d]
        pooled = unit_rows(vectorizer.transform(texts) @ directions if len(texts) else directions[:0])
        if not tokens:
            return Encoded(pooled)
        row_of = vectorizer.vocabulary_
        rows = [[row_of.get(word, -1) for word in terms(text)] or [-1] for text in texts]
        flat = np.array([row for text in rows for row in text], np.int64)  # [T]
        words = self._words[flat] * (flat >= 0)[:, None]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in rows])]).astype(np.int64)
        return Encoded(pooled, words.astype(np.float32), offsets)

    def unknown(self, texts: Sequence[str]) -> np.ndarray:
        """See `TextEncoder.unknown`."""
        known = self._vectorizer.vocabulary_
        found = [terms(text) for text in texts]
        return np.array([np.mean([word not in known for word in text]) if text else 1.0 for text in found])

    def arrays(self) -> dict[str, np.ndarray]:
        """What it takes to make the encoder again."""
        return {name: self._array(name) for name in ARRAYS}

    @cached_property
    def _words(self) -> np.ndarray:
        """Each term's vector [V, d], of deviation 1 per coordinate, as those of a network's last layer."""
        directions = self._array("directions")
        return unit_rows(directions) * np.float32(np.sqrt(directions.shape[1]))

    @cached_property
    def _vectorizer(self) -> Any:
        vectorizer = _new_vectorizer(vocabulary=json.loads(self._array("terms").tobytes()))
        vectorizer.idf_ = self._array("idf")
        return vectorizer


def lsa_encoder(texts: Sequence[str], folder: Path) -> LsaEncoder:
    """The LSA of `texts`, each distinct text counted once; fitted when first used, kept in `folder`."""
    distinct = sorted(set(texts))
    key = json.dumps(distinct) + ("" if plainly_read(distinct) else READING)
    version = f"{RECIPE}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    path = folder / f"{version}.safetensors"
    return LsaEncoder(version, lambda name: cached_array(path, name, lambda: fit_lsa(distinct)))


def fit_lsa(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """tf-idf of `texts` and its first right singular vectors.

    Returns:
        "terms": the vocabulary as JSON, uint8; "idf": float64 [V]; "directions": float32 [V, d], d at most DIMS.
        A text's vector is its tf-idf row times `directions`.
    """
    from sklearn.decomposition import TruncatedSVD

    texts_with = Counter(word for text in texts for word in set(terms(text)))
    known = sorted(word for word, n in texts_with.items() if n > 1)
    vectorizer = _new_vectorizer(vocabulary=known if len(known) > 1 else ["no", "words"])
    matrix = vectorizer.fit_transform(texts)  # [texts, V]
    directions: Any = np.zeros((1, 2))
    if len(known) > 1:
        svd = TruncatedSVD(min(DIMS, *matrix.shape), algorithm="randomized", random_state=0)
        directions = svd.fit(matrix).components_  # [d, V]
    return {
        "terms": np.frombuffer(json.dumps(vectorizer.get_feature_names_out().tolist()).encode(), dtype=np.uint8),
        "idf": vectorizer.idf_,
        "directions": directions.T.astype(np.float32),
    }


def _new_vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    analyzer: Any = terms
    return TfidfVectorizer(sublinear_tf=True, analyzer=analyzer, **options)
