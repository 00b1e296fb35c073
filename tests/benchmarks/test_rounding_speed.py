"""Rounding: the ten slots of a slate to their nearest items, over catalogues of growing size, one thread.

faiss flat and HNSW beside a torch product with topk and our own exact rounding. Torch comes first: faiss imported
before it costs a quarter where their calls interleave. A million items take 0.5 GiB and some minutes (mostly the
building of HNSW): SLATEBENCH_PERF_LARGE=1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from slatebench.models.latent.rounding import round_to_items
from slatebench.models.ranking import nearest

D, K = 128, 10
SIZES = [10_000, 100_000, *([1_000_000] if os.environ.get("SLATEBENCH_PERF_LARGE") else [])]
METHODS = ["faiss flat", "faiss hnsw", "torch", "round_to_items", "nearest"]


@pytest.fixture(scope="module", params=SIZES, ids=lambda n: f"{n:,} items")
def bed(request: pytest.FixtureRequest) -> tuple[int, np.ndarray, np.ndarray, dict[str, Callable[[], np.ndarray]]]:
    """Clustered unit vectors, as item vectors are, and queries near some of them."""
    faiss = pytest.importorskip("faiss")
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    N, rng = request.param, np.random.default_rng(0)
    items = rng.standard_normal((256, D), dtype=np.float32)[rng.integers(0, 256, N)]
    items += 0.7 * rng.standard_normal((N, D), dtype=np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    queries = items[rng.integers(0, N, K)] + 0.05 * rng.standard_normal((K, D), dtype=np.float32)
    flat, hnsw = faiss.IndexFlatIP(D), faiss.IndexHNSWFlat(D, 32, faiss.METRIC_INNER_PRODUCT)
    flat.add(items)
    started = time.perf_counter()
    hnsw.hnsw.efConstruction = 40
    hnsw.hnsw.efSearch = 64
    hnsw.add(items)
    built = time.perf_counter() - started
    table, asked, order = torch.from_numpy(items), torch.from_numpy(queries), np.arange(N)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "faiss flat": lambda: flat.search(queries, K)[1],
        "faiss hnsw": lambda: hnsw.search(queries, K)[1],
        "torch": lambda: (asked @ table.T).topk(K, dim=1).indices.numpy(),
        "round_to_items": lambda: round_to_items(asked[None], table).items[0],
        "nearest": lambda: nearest(queries, items, K, order)[0],
    }
    return N, queries, flat.search(queries, K)[1], {**ways, "built": lambda: np.array(built)}


@pytest.mark.parametrize("method", METHODS)
def test_rounding(method: str, bed, benchmark) -> None:  # type: ignore[no-untyped-def]
    N, _, exact, ways = bed
    benchmark.group = f"rounding of {K} slots, {N:,} items"
    found = benchmark.pedantic(ways[method], rounds=20, warmup_rounds=2)
    if method == "round_to_items":  # one item per slot, and never one twice
        assert len(set(found.tolist())) == K
        return
    overlap = np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    benchmark.extra_info["recall"] = float(overlap)
    if method == "faiss hnsw":
        benchmark.extra_info["seconds_to_build"] = float(ways["built"]())
        assert overlap > 0.5  # approximate
    else:
        assert overlap > 0.99  # exact, but for ties in the last bit
