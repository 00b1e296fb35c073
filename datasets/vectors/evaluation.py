"""The evaluation embedding: where slates are compared (docs/protocol.md, section 3). No model takes it as input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..files.array_cache import cache_folder, cached_array
from ..schema import PARTS, Catalog, SlateDataset
from ..text import READING, plainly_read, terms, words
from .features import slates_of
from .text_encoder import unit_rows

DIMS = 256
RECIPES = {"lsa-text": "lsa-text-1", "ppmi-slates": "ppmi-slates-1"}  # raise the number when the vectors change


@dataclass(frozen=True)
class EvaluationSpace:
    """Where similarity of items is measured.

    Attributes:
        vectors: float32 [N, d], d at most 256; unit rows, or zero for an item that nothing is known of.
        version: hash of the recipe and of what it was made from: the same on every machine.
    """

    vectors: np.ndarray
    version: str


def evaluation_embedding(dataset: SlateDataset, *, cache: Path | None = None) -> EvaluationSpace:
    """The evaluation space that the dataset's card names, from the cache where it was made before.

    Args:
        dataset: the dataset; `ppmi-slates` uses the slates (or sequences) of all its parts, for evaluation only.
        cache: default `SLATEBENCH_CACHE`, else the user's cache folder.
    """
    version, build = _recipe(dataset)
    path = (cache or cache_folder()) / "evaluation" / f"{version}.safetensors"
    return EvaluationSpace(cached_array(path, "vectors", lambda: {"vectors": build()}), version)


def evaluation_version(dataset: SlateDataset) -> str:
    """The version of `evaluation_embedding(dataset)`, without making it."""
    return _recipe(dataset)[0]


def _recipe(dataset: SlateDataset) -> tuple[str, Callable[[], np.ndarray]]:
    """The version of a dataset's evaluation embedding, and what makes its vectors."""
    kind = dataset.card.evaluation_embedding
    if kind == "lsa-text":
        source = evaluation_texts(dataset.catalog)
        build = partial(lsa_text, source)
        reading = "" if plainly_read(source) and all(map(terms, source)) else READING
    else:
        source = whole_lists(dataset)
        build = partial(ppmi_slates, source, len(dataset.catalog))
        reading = ""
    key = f"{RECIPES[kind]}{reading}|{len(dataset.catalog)}|{json.dumps(source)}"
    return f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}", build


def whole_lists(dataset: SlateDataset) -> list[list[int]]:
    """What items are found together in, over all parts: slates, or every user's items to the last."""
    if dataset.sequences is None:
        return [slate for name in PARTS for slate in slates_of(dataset.part(name))]
    longest = dict(dataset.sequences.select("user", "items").iter_rows())
    for part in (dataset.valid, dataset.test):
        both = part.requests.join(part.references, on="request", how="left", maintain_order="left")
        for user, history, items in both.select("group", "history", "items").iter_rows():
            if len(history) + len(items) > len(longest.get(user, [])):
                longest[user] = history + items
    return list(longest.values())


def evaluation_texts(catalog: Catalog) -> list[str]:
    """Title and all category names of all paths, by item."""
    paths = catalog.items["categories"].to_list()
    return [
        " ".join([title, *(name for path in item_paths for name in path)])
        for title, item_paths in zip(catalog.titles, paths, strict=True)
    ]


def lsa_text(texts: list[str]) -> np.ndarray:
    """Latent semantic analysis of texts: tf-idf (sublinear, in at least 2 texts, English stop words), SVD, unit rows.

    The words are `terms`; those of a text of single letters alone are these letters.
    Deerwester et al., Indexing by latent semantic analysis, 1990.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    def telling(text: str) -> list[str]:
        found = terms(text)
        return [word for word in found if word not in ENGLISH_STOP_WORDS] if found else words(text)

    analyzer: Any = telling
    try:
        matrix = TfidfVectorizer(sublinear_tf=True, min_df=2, analyzer=analyzer).fit_transform(texts)
    except ValueError:  # no word is in two texts
        return np.zeros((len(texts), 1), np.float32)
    return _truncated_svd(matrix)


def ppmi_slates(slates: list[list[int]], n_items: int) -> np.ndarray:
    """Positive pointwise mutual information of items that share a slate, SVD, unit rows; zero for an item always alone.

    PMI(a, b) = log(n_ab n / (n_a n_b)) over ordered pairs of different items in one slate; negative values become 0.
    Levy and Goldberg, Neural word embedding as implicit matrix factorization, 2014.
    """
    from scipy import sparse

    lengths = [len(slate) for slate in slates]
    items = np.concatenate([np.asarray(slate, np.int64) for slate in slates]) if slates else np.zeros(0, np.int64)
    rows = np.repeat(np.arange(len(slates)), lengths)
    holds = sparse.csr_array((np.ones(len(items)), (rows, items)), shape=(len(slates), n_items))
    holds.data[:] = 1  # an item counts once per slate
    pairs = (holds.T @ holds).tocoo()
    off = pairs.row != pairs.col
    a, b, n_ab = pairs.row[off], pairs.col[off], pairs.data[off]
    if not len(n_ab):
        return np.zeros((n_items, 1), np.float32)
    n_a = np.bincount(a, weights=n_ab, minlength=n_items)
    pmi = np.log(n_ab * n_ab.sum() / (n_a[a] * n_a[b]))
    keep = pmi > 0
    return _truncated_svd(sparse.csr_array((pmi[keep], (a[keep], b[keep])), shape=(n_items, n_items)))


def _truncated_svd(matrix: Any) -> np.ndarray:
    """Rows of a sparse [N, V] matrix in its first 256 singular directions, unit length; float32 [N, <= 256]."""
    if min(matrix.shape) <= DIMS:  # all directions: only distances matter, so a dense SVD of the small side serves
        u, s, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
        vectors = u * s
    else:
        from sklearn.decomposition import TruncatedSVD

        vectors = TruncatedSVD(DIMS, algorithm="arpack", random_state=0).fit_transform(matrix)
    known = np.diff(matrix.tocsr().indptr) > 0  # rounding noise of an empty row must not be scaled up
    return unit_rows(np.where(known[:, None], vectors, 0))
