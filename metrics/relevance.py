"""Relevance (docs/protocol.md, section 2): which slots hit a reference. An empty slot never does.

`gains` [..., K] is rel_i (or, in `similarity.py`, a similarity in its place), `n` [...] is |G|.
"""

from __future__ import annotations

import numpy as np

from .base import Block, Metric


def discounts(k: int) -> np.ndarray:
    """1 / log2(i + 1) for i = 1..k.

    >>> discounts(3).round(4).tolist()
    [1.0, 0.6309, 0.5]
    """
    return 1 / np.log2(np.arange(2, k + 2))


def ndcg(gains: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain; the ideal comes from the reference, not from what was retrieved.

    Source: Järvelin and Kekäläinen, 2002 (binary gains, log2).

    >>> ndcg(np.array([0.0, 1.0]), np.array(1), 10).round(4).item()  # the only reference stands second
    0.6309
    """
    top = gains[..., :k]
    ideal = np.concatenate([[np.inf], np.cumsum(discounts(k))])  # without a reference: 0
    return top @ discounts(top.shape[-1]) / ideal[np.minimum(n, k)]


def ordered_ndcg(places: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """NDCG with the references in an order: one is the more worth the earlier it comes; 1 = these items in this order.

    Source: Järvelin and Kekäläinen, 2002 (graded gains), with the discount of its place as the gain of a reference.

    Args:
        places: [..., K], place of each slot's item among the references, 0 first, -1 = none of them.
        n: [...], number of references.
        k: cutoff.

    >>> both = np.array([[0, 1], [1, 0]])  # two references in their order, and the other way round
    >>> ordered_ndcg(both, np.array([2, 2]), 10).round(4).tolist()
    [1.0, 0.9026]
    """
    top = places[..., :k]
    gains = np.where(top >= 0, 1 / np.log2(np.maximum(top, 0) + 2), 0)
    ideal = np.concatenate([[np.inf], np.cumsum(discounts(k) ** 2)])
    return gains @ discounts(top.shape[-1]) / ideal[np.minimum(n, k)]


def average_precision(gains: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """sum_i rel_i P(i) / min(k, |G|), with P(i) = (1/i) sum_{m<=i} rel_m.

    Source: Buckley and Voorhees, 2000, with the cutoff in the ideal too.

    >>> average_precision(np.array([1.0, 0.0, 1.0]), np.array(2), 10).round(4).item()  # (1 + 2/3) / 2
    0.8333
    """
    top = gains[..., :k]
    precision = np.cumsum(top, axis=-1) / np.arange(1, top.shape[-1] + 1)
    return np.einsum("...k,...k->...", top, precision) / np.maximum(np.minimum(n, k), 1)


def recall(gains: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """Share of the references that are hit.

    >>> recall(np.array([1.0, 0.0]), np.array(4), 10).item()
    0.25
    """
    return gains[..., :k].sum(-1) / np.maximum(n, 1)


def precision(gains: np.ndarray, k: int) -> np.ndarray:
    """Share of the k slots that hit.

    >>> precision(np.array([1.0, 0.0, 1.0]), 10).item()
    0.2
    """
    return gains[..., :k].sum(-1) / k


def hit(gains: np.ndarray, k: int) -> np.ndarray:
    """1 if any of the k slots hits.

    >>> hit(np.array([[0.0, 1.0], [0.0, 0.0]]), 10).tolist()
    [1.0, 0.0]
    """
    return np.where(gains[..., :k].any(-1), 1.0, 0.0)


def reciprocal_rank(gains: np.ndarray, k: int) -> np.ndarray:
    """1 / rank of the first hit, 0 without one.

    >>> reciprocal_rank(np.array([0.0, 1.0, 1.0]), 10).item()
    0.5
    """
    top = gains[..., :k]
    return np.where(top.any(-1), 1 / (top.argmax(-1) + 1), 0)


def _of_seen(block: Block, seen: bool) -> tuple[np.ndarray, np.ndarray]:
    """Relevance and |G| as if only the references that train slates hold (or do not hold) were right."""
    right = block.truth.seen if seen else ~block.truth.seen
    kept = right[block.references] & (block.references >= 0)  # [B, G]
    gains = block.share(("relevance", seen), lambda: block.relevance * right[block.items])
    return gains, kept.sum(-1)


def _null_without(values: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.where(n[:, None] > 0, values, np.nan)


def _recall_of_seen(block: Block, k: int, seen: bool) -> np.ndarray:
    gains, n = _of_seen(block, seen)
    return _null_without(recall(gains, n[:, None], k), n)


def _ndcg_of_seen(block: Block, k: int, seen: bool) -> np.ndarray:
    gains, n = _of_seen(block, seen)
    return _null_without(ndcg(gains, n[:, None], k), n)


METRICS = [
    Metric("ndcg_at_{k}", "sample", True,
           "hits, weighted by rank, over the best that was possible",
           "sum_{i<=k} rel_i/log2(i+1) / sum_{i<=min(k,|G|)} 1/log2(i+1)",
           compute=lambda b, k: ndcg(b.relevance, b.n_references[:, None], k)),
    Metric("map_at_{k}", "sample", True,
           "average precision",
           "sum_{i<=k} rel_i P(i) / min(k,|G|), P(i) = (1/i) sum_{m<=i} rel_m",
           compute=lambda b, k: average_precision(b.relevance, b.n_references[:, None], k)),
    Metric("recall_at_{k}", "sample", True,
           "share of the references that were found",
           "sum_{i<=k} rel_i / |G|",
           compute=lambda b, k: recall(b.relevance, b.n_references[:, None], k)),
    Metric("precision_at_{k}", "sample", True,
           "share of the slots that hit",
           "sum_{i<=k} rel_i / k",
           compute=lambda b, k: precision(b.relevance, k)),
    Metric("hit_at_{k}", "sample", True,
           "whether anything hit",
           "max_{i<=k} rel_i",
           compute=lambda b, k: hit(b.relevance, k)),
    Metric("mrr_at_{k}", "sample", True,
           "one over the rank of the first hit",
           "max_{i<=k} rel_i / i",
           compute=lambda b, k: reciprocal_rank(b.relevance, k)),
    Metric("ndcg_ordered_at_{k}", "sample", True,
           "nDCG that also asks for the references' own order, where it counts",
           "sum_{i<=k} rel_i/(log2(i+1) log2(j_i+1)) / sum_{i<=min(k,|G|)} 1/log2(i+1)^2, "
           "w_i being the j_i-th reference",
           source="docs/protocol.md, section 10", ordered=True,
           compute=lambda b, k: ordered_ndcg(b.reference_place, b.n_references[:, None], k)),
    Metric("recall_seen_at_{k}", "sample", True,
           "recall of the references that some train slate holds",
           "recall with G cut to the train-seen items",
           null="no reference of the request is train-seen",
           compute=lambda b, k: _recall_of_seen(b, k, True)),
    Metric("recall_unseen_at_{k}", "sample", True,
           "recall of the references that no train slate holds",
           "recall with G cut to the items no train slate holds",
           null="every reference of the request is train-seen",
           compute=lambda b, k: _recall_of_seen(b, k, False)),
    Metric("ndcg_seen_at_{k}", "sample", True,
           "nDCG as if only the train-seen references were right",
           "ndcg with G cut to the train-seen items",
           null="no reference of the request is train-seen",
           compute=lambda b, k: _ndcg_of_seen(b, k, True)),
    Metric("ndcg_unseen_at_{k}", "sample", True,
           "nDCG as if only the references that no train slate holds were right",
           "ndcg with G cut to the items no train slate holds",
           null="every reference of the request is train-seen",
           compute=lambda b, k: _ndcg_of_seen(b, k, False)),
]  # fmt: skip
