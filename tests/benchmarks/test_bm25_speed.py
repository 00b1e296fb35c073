"""BM25 by a sparse product against rank-bm25 itself: 50,000 documents, one query at a time, both in this run."""

import time

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from slatebench.models.retrieval.bm25_index import BM25Index, tokenize

DOCUMENTS = 50_000


@pytest.fixture(scope="module")
def corpus():
    """Documents of 5 to 25 words and queries of 5, words by a Zipf law over 20,000."""
    rng = np.random.default_rng(0)

    def texts(n, low, high):
        lengths = rng.integers(low, high, n)
        words = np.minimum(rng.zipf(1.2, lengths.sum()), 20_000)
        return [" ".join(f"w{w}" for w in part) for part in np.split(words, np.cumsum(lengths)[:-1])]

    return texts(DOCUMENTS, 5, 26), texts(30, 5, 6)


def test_a_query_is_at_least_20_times_faster_than_rank_bm25(corpus, benchmark):
    documents, queries = corpus
    index = BM25Index.build(documents)
    oracle = BM25Okapi([tokenize(document) for document in documents])
    slow, fast = [], []
    for query in queries:  # interleaved
        start = time.perf_counter()
        expected = oracle.get_scores(tokenize(query))
        slow.append(time.perf_counter() - start)
        start = time.perf_counter()
        got = index.scores([query])[0]
        fast.append(time.perf_counter() - start)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    ratio = float(np.median(slow) / np.median(fast))
    benchmark.extra_info["times_faster_than_rank_bm25"] = ratio
    benchmark(lambda: [index.scores([query]) for query in queries])
    assert ratio >= 20, f"only {ratio:.1f} times faster"
