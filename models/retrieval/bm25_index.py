"""BM25 as the package rank-bm25 defines it (`BM25Okapi`), computed as a sparse product.

The idf, with its floor for terms in more than half of the documents, is rank-bm25's own; only the counting and the
scoring are done by arrays. The scores equal `BM25Okapi.get_scores` to 1e-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rank_bm25 import BM25Okapi
from scipy import sparse

from ...datasets.text import words


class _Statistics(BM25Okapi):
    """BM25Okapi whose counting (`_initialize`) is done by arrays instead of one dictionary per document."""

    def _initialize(self, corpus: Sequence[list[str]]) -> dict[str, int]:
        self.vocabulary: dict[str, int] = {}
        self.doc_len = np.array([len(document) for document in corpus], dtype=np.int64)
        terms = np.fromiter(
            (self.vocabulary.setdefault(term, len(self.vocabulary)) for document in corpus for term in document),
            dtype=np.int64,
            count=int(self.doc_len.sum()),
        )
        documents = np.repeat(np.arange(len(corpus)), self.doc_len)
        self.counts = sparse.coo_array(  # [V, N]; repeated pairs are summed
            (np.ones(len(terms)), (terms, documents)), shape=(len(self.vocabulary), len(corpus))
        ).tocsr()
        self.corpus_size = len(corpus)
        self.avgdl = len(terms) / self.corpus_size
        return dict(zip(self.vocabulary, np.diff(self.counts.indptr).tolist(), strict=True))


class BM25Index:
    """BM25 scores of N documents for any texts.

    Attributes:
        weights: csr [V, N], what one occurrence of a term in the query adds to a document's score.
        vocabulary: row of `weights` by term.
    """

    def __init__(self, weights: sparse.csr_array, vocabulary: dict[str, int]) -> None:
        self.weights = weights
        self.vocabulary = vocabulary

    @classmethod
    def build(cls, documents: Sequence[str], k1: float = 1.5, b: float = 0.75) -> BM25Index:
        """Index `documents`; without a single token in them every score is 0."""
        corpus = [words(document) for document in documents]
        if not any(corpus):
            return cls(sparse.csr_array((0, len(corpus))), {})
        statistics = _Statistics(corpus, k1=k1, b=b)
        counts = statistics.counts
        idf = np.array([statistics.idf[term] for term in statistics.vocabulary])  # [V]
        length = k1 * (1 - b + b * statistics.doc_len / statistics.avgdl)  # [N]
        f = counts.data
        counts.data = idf[np.repeat(np.arange(len(idf)), np.diff(counts.indptr))] * (
            f * (k1 + 1) / (f + length[counts.indices])
        )
        return cls(counts, statistics.vocabulary)

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """Scores [P, N] of all documents for `texts`; unknown terms count nothing, repeated terms count again."""
        terms = [[self.vocabulary[t] for t in words(text) if t in self.vocabulary] for text in texts]
        columns = np.array([t for row in terms for t in row], dtype=np.int64)
        rows = np.repeat(np.arange(len(texts)), [len(row) for row in terms])
        shape = (len(texts), len(self.vocabulary))
        query = sparse.coo_array((np.ones(len(columns)), (rows, columns)), shape=shape).tocsr()
        product: Any = query @ self.weights  # [P, N], sparse
        return product.toarray()

    def arrays(self) -> dict[str, np.ndarray]:
        """The index as named arrays."""
        return {
            "bm25_data": self.weights.data,
            "bm25_indices": self.weights.indices.astype(np.int64),
            "bm25_indptr": self.weights.indptr.astype(np.int64),
            "bm25_terms": np.frombuffer("\n".join(self.vocabulary).encode(), dtype=np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], documents: int) -> BM25Index:
        """The index that `arrays` describes."""
        terms = arrays["bm25_terms"].tobytes().decode().split("\n") if arrays["bm25_terms"].size else []
        parts = (arrays["bm25_data"], arrays["bm25_indices"], arrays["bm25_indptr"])
        return cls(sparse.csr_array(parts, shape=(len(terms), documents)), {t: i for i, t in enumerate(terms)})
