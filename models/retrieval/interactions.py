"""Histories and sequences as sparse matrices: what the simple models on histories are made of.

Shapes: U users, P requests, N items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ...datasets.errors import SlateBenchError
from ...datasets.schema import Catalog
from ...datasets.train_data import TrainData


class NoSequences(SlateBenchError):
    """A model that learns from histories was given data without any."""

    state = "skipped"


def train_sequences(data: TrainData, model: str) -> pl.DataFrame:
    """The users' train items (SEQUENCE_SCHEMA).

    Raises:
        NoSequences: the dataset has none.
    """
    if data.sequences is None:
        raise NoSequences(f"{model} learns from users' histories, {data.dataset} has none")
    return data.sequences


def item_matrix(lists: Sequence[Sequence[int]], n_items: int, decay: float = 1.0) -> csr_matrix:
    """Lists of items as rows [len(lists), N], an item of a list once; items outside the catalogue are left out.

    Args:
        lists: item indices, oldest first.
        n_items: N.
        decay: an item weighs decay^(number of items behind it): 1 = all alike. Where one recurs, the newest counts.

    >>> item_matrix([[2, 0], []], 3, decay=0.5).toarray().tolist()
    [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    length = np.array([len(row) for row in lists], dtype=np.int64)
    flat = np.concatenate([np.asarray(row, np.int64) for row in lists]) if length.sum() else np.zeros(0, np.int64)
    row = np.repeat(np.arange(len(lists)), length)
    behind = np.repeat(np.cumsum(length), length) - 1 - np.arange(len(flat))
    keep = (flat >= 0) & (flat < n_items)
    flat, row, behind = flat[keep], row[keep], behind[keep]
    order = np.lexsort((behind, flat, row))
    flat, row, behind = flat[order], row[order], behind[order]
    first = np.ones(len(flat), bool)
    first[1:] = (flat[1:] != flat[:-1]) | (row[1:] != row[:-1])
    weights = decay ** behind[first].astype(np.float64)
    return csr_matrix((weights, (row[first], flat[first])), shape=(len(lists), n_items))


def sparse_arrays(matrix: csr_matrix) -> dict[str, np.ndarray]:
    """A sparse matrix as named arrays; `sparse_of` takes them back."""
    return {
        "data": matrix.data.astype(np.float32),
        "indices": matrix.indices.astype(np.int64),
        "indptr": matrix.indptr.astype(np.int64),
    }


def sparse_of(arrays: dict[str, np.ndarray], n_items: int) -> csr_matrix:
    """The square sparse matrix [N, N] that `sparse_arrays` took apart, in float64."""
    parts = (arrays["data"].astype(np.float64), arrays["indices"], arrays["indptr"])
    return csr_matrix(parts, shape=(n_items, n_items))


def moved(before: Catalog, after: Catalog) -> tuple[np.ndarray, np.ndarray]:
    """The items that stand in both catalogues: their indices in the one and in the other."""
    pairs = [(i, after.index[id_]) for i, id_ in enumerate(before.ids) if id_ in after.index]
    old, new = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return old, new


def sparse_moved(matrix: csr_matrix, before: Catalog, after: Catalog) -> csr_matrix:
    """A square sparse matrix over the items of another catalogue; rows and columns of new items are empty."""
    old, new = moved(before, after)
    kept = matrix[old][:, old].tocoo()
    return csr_matrix((kept.data, (new[kept.row], new[kept.col])), shape=(len(after), len(after)))
