"""Small random boards for the tests of the metrics."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from slatebench.datasets.schema import CATALOG_SCHEMA, REFERENCE_SCHEMA, REQUEST_SCHEMA, Catalog, Part
from slatebench.metrics.base import Truth, make_truth


def unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def make_catalog(train_count: list[int], categories: list[list[list[str]]] | None = None) -> Catalog:
    n = len(train_count)
    return Catalog(
        pl.DataFrame(
            {
                "id": [f"i{i}" for i in range(n)],
                "title": [f"title {i}" for i in range(n)],
                "text": [f"text {i}" for i in range(n)],
                "categories": categories or [[] for _ in range(n)],
                "train_count": train_count,
            },
            schema=CATALOG_SCHEMA,
        )
    )


def make_part(references: list[list[int]], groups: list[str] | None = None) -> Part:
    ids = [f"r{i}" for i in range(len(references))]
    none: list[list[int]] = [[] for _ in ids]
    requests = {"request": ids, "prompt": ids, "history": none, "seed_items": none, "group": groups or ids}
    return Part(
        "test",
        pl.DataFrame(requests, schema=REQUEST_SCHEMA),
        pl.DataFrame({"request": ids, "items": references}, schema=REFERENCE_SCHEMA),
    )


def truth_of(
    references: list[list[int]],
    n_items: int,
    *,
    vectors: np.ndarray | None = None,
    train_count: list[int] | None = None,
    categories: list[list[list[str]]] | None = None,
) -> Truth:
    """A truth; the item space is the identity (two items are alike only if they are the same) unless given."""
    space = unit(vectors if vectors is not None else np.eye(n_items))
    catalog = make_catalog(train_count or [1] * n_items, categories)
    return make_truth(make_part(references), catalog, {"evaluation": space, "model": space})


def random_truth(rng: np.random.Generator, requests: int, n_items: int = 40) -> Truth:
    """A truth with unseen items, items without a category, twins (equal vectors) and opposite vectors."""
    vectors = rng.normal(size=(n_items, 4))
    vectors[1], vectors[2], vectors[3] = vectors[0], -vectors[0], 0
    paths = [["a", "b", "c"], ["a", "b", "d"], ["a", "e"], ["f"]]
    categories = [[paths[j] for j in range(4) if rng.random() < 0.3] for _ in range(n_items)]
    references = [rng.choice(n_items, rng.integers(1, 9), replace=False).tolist() for _ in range(requests)]
    counts = rng.integers(0, 4, n_items).tolist()
    return truth_of(references, n_items, vectors=vectors, train_count=counts, categories=categories)


def random_slates(
    rng: np.random.Generator, shape: tuple[int, int, int], n_items: int = 40, empty: float = 0.2
) -> np.ndarray:
    P, S, K = shape
    items = rng.permuted(np.tile(np.arange(n_items), (P, S, 1)), axis=-1)[..., :K].astype(np.int64)
    items[rng.random(shape) < empty] = -1
    return items


@pytest.fixture(scope="session")
def board() -> SimpleNamespace:
    """The makers above: test modules can't import a conftest."""
    makers = (unit, make_catalog, make_part, truth_of, random_truth, random_slates)
    return SimpleNamespace(**{make.__name__: make for make in makers})
