"""How much of an emitted slate stands in one train slate: memorising shows."""

from __future__ import annotations

from typing import Self

import numpy as np

from ...datasets.schema import EMPTY, Catalog
from ...datasets.train_data import TrainData


class TrainSlates:
    """The train slates as an item x slate incidence over a catalogue, to ask for the nearest one.

    Args:
        ids: original ids of all slates' items one after the other; the catalogue may lack some.
        lengths: items per slate.
        catalog: of the slates that are asked about.
    """

    def __init__(self, ids: list[str], lengths: np.ndarray, catalog: Catalog) -> None:
        from scipy.sparse import csr_array

        self.ids, self.lengths = ids, lengths
        index = catalog.index
        items = np.array([index.get(id_, EMPTY) for id_ in ids])
        known = items != EMPTY
        slate = np.repeat(np.arange(len(lengths)), lengths)
        shape = (len(catalog), len(lengths))
        self.incidence = csr_array((np.ones(known.sum(), np.float32), (items[known], slate[known])), shape=shape)

    @classmethod
    def of(cls, data: TrainData) -> Self:
        """Those of `data`."""
        items, names = data.slates["items"], data.catalog.ids
        return cls([names[i] for i in items.explode()], items.list.len().to_numpy().astype(int), data.catalog)

    def over(self, catalog: Catalog) -> Self:
        """The same slates over another catalogue."""
        return type(self)(self.ids, self.lengths, catalog)

    def arrays(self) -> dict[str, np.ndarray]:
        """As `of_arrays` takes them."""
        return {"train.ids": np.frombuffer("\n".join(self.ids).encode(), dtype=np.uint8), "train.lengths": self.lengths}

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray], catalog: Catalog) -> Self:
        """From what `arrays` gave."""
        return cls(arrays["train.ids"].tobytes().decode().split("\n"), arrays["train.lengths"], catalog)

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
