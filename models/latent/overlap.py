"""How much of an emitted slate stands in one train slate: memorising shows."""

from __future__ import annotations

import numpy as np

from ...datasets.schema import EMPTY


class TrainSlates:
    """The train slates as an item x slate incidence, to ask for the nearest one.

    Args:
        items: all slates' items one after the other; -1 = an item that the catalogue no longer has.
        lengths: items per slate.
        n_items: of the catalogue.
    """

    def __init__(self, items: np.ndarray, lengths: np.ndarray, n_items: int) -> None:
        from scipy.sparse import csr_array

        self.items, self.lengths = items, lengths
        known = items != EMPTY
        slate = np.repeat(np.arange(len(lengths)), lengths)
        shape = (n_items, len(lengths))
        self.incidence = csr_array((np.ones(known.sum(), np.float32), (items[known], slate[known])), shape=shape)

    def nearest_overlap(self, slates: np.ndarray) -> np.ndarray:
        """Largest Jaccard similarity of each slate to a train slate; slates [..., K] -> [...]."""
        flat = slates.reshape(-1, slates.shape[-1])
        from scipy.sparse import csr_array

        filled = flat != EMPTY
        starts = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
        asked = csr_array(
            (np.ones(starts[-1], np.float32), flat[filled], starts), shape=(len(flat), len(self.incidence.indptr) - 1)
        )
        shared = csr_array(asked @ self.incidence)  # [slates, train slates], items in common
        row = np.repeat(np.arange(len(flat)), np.diff(shared.indptr))
        union = filled.sum(axis=1)[row] + self.lengths[shared.indices] - shared.data
        overlap = np.zeros(len(flat))
        np.maximum.at(overlap, row, shared.data / union)
        return overlap.reshape(slates.shape[:-1])
