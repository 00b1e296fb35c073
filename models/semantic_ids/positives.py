"""Positives of CRQ-VAE's contrast: for each item the others that its code prefix is pulled to, by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...datasets.errors import SlateBenchError
from ...datasets.schema import Catalog
from ..ranking import nearest
from .health import category_labels

NEIGHBOURS = 10


@dataclass(frozen=True)
class Positives:
    """For item i the candidates `items[starts[i]:starts[i + 1]]`, never i itself; there may be none."""

    items: np.ndarray
    starts: np.ndarray  # [N + 1]

    def draw(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One candidate of each anchor at random [B]; -1 where it has none."""
        starts, counts = self.starts[anchors], self.starts[anchors + 1] - self.starts[anchors]
        picks = starts + (rng.random(len(anchors)) * counts).astype(np.int64)
        return np.where(counts > 0, self.items[np.minimum(picks, len(self.items) - 1)], -1)


def find_positives(name: str, vectors: np.ndarray, slates: list[list[int]], catalog: Catalog) -> Positives:
    """Candidates by name.

    - `cooccurrence`: the other items of the train slates that hold the item (as often as they share one);
    - `neighbours`: the 10 nearest by inner product;
    - `category`: the other items of the same full (first) category path.

    Raises:
        SlateBenchError: no item has a candidate.
    """
    N = len(vectors)
    if name == "neighbours":
        found, _ = nearest(vectors, vectors, min(NEIGHBOURS, N - 1), np.arange(N), [[i] for i in range(N)])
        positives = _grouped(np.repeat(np.arange(N), found.shape[1]), found.ravel(), N)
    elif name == "category":
        labels = category_labels(catalog, depth=None)
        groups = items_by_label(labels) if labels is not None else []
        positives = _pairs(groups, N)
    else:
        positives = _pairs(slates, N)
    if not len(positives.items):
        raise SlateBenchError(f"no item has a positive by {name}: choose other positives for crqvae")
    return positives


def items_by_label(labels: np.ndarray) -> list[list[int]]:
    """Items of each label."""
    order = np.argsort(labels, kind="stable")
    return [part.tolist() for part in np.split(order, np.cumsum(np.bincount(labels))[:-1])]


MOST_OF_A_GROUP = 50  # of a large group an item's candidates are so many, evenly spread: pairs grow with the square


def _pairs(groups: list[list[int]], N: int) -> Positives:
    """Every item with the others of its groups."""
    left, right = [], []
    for group in groups:
        members = np.unique(group)
        n = len(members)
        steps = np.unique(np.linspace(1, n - 1, min(n - 1, MOST_OF_A_GROUP)).astype(np.int64)) if n > 1 else []
        for step in steps:  # member i with member i + step, around the circle
            left.append(members)
            right.append(np.roll(members, -step))
    if not left:
        return Positives(np.zeros(0, np.int64), np.zeros(N + 1, np.int64))
    return _grouped(np.concatenate(left), np.concatenate(right), N)


def _grouped(left: np.ndarray, right: np.ndarray, N: int) -> Positives:
    """Candidates `right` sorted by their item `left`."""
    keep = right >= 0
    left, right = left[keep], right[keep]
    order = np.argsort(left, kind="stable")
    return Positives(right[order], np.concatenate([[0], np.cumsum(np.bincount(left, minlength=N))]))
