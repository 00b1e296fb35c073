"""Exact search by numpy (models/ranking.py) against faiss's IndexFlatIP, one thread, both in this run: why no index."""

import time

import numpy as np
import pytest

from slatebench.models.ranking import nearest


@pytest.mark.parametrize("batch", [1, 32, 256])
def test_nearest_keeps_up_with_faiss(batch, benchmark):
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((12_000, 384)).astype(np.float32)
    queries = rng.standard_normal((batch, 384)).astype(np.float32)
    order = np.arange(len(vectors))
    index = faiss.IndexFlatIP(384)
    index.add(vectors)
    theirs, ours = [], []
    for _ in range(10):  # interleaved
        start = time.perf_counter()
        _, expected = index.search(queries, 10)
        theirs.append(time.perf_counter() - start)
        start = time.perf_counter()
        found, _ = nearest(queries, vectors, 10, order)
        ours.append(time.perf_counter() - start)
        assert np.array_equal(found, expected)
    benchmark.extra_info["times_faster_than_faiss"] = float(np.median(theirs) / np.median(ours))
    benchmark(lambda: nearest(queries, vectors, 10, order))
    print(f"batch {batch}: {np.median(theirs) / np.median(ours):.2f} times faiss's speed")
