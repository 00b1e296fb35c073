"""Similarity-aware relevance (docs/protocol.md, section 3): a near miss counts as far as it is like a reference."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import sparse

from .base import Block, Metric
from .relevance import average_precision, ndcg

SOURCE = "docs/protocol.md, section 3"


def match_one_to_one(similarity: np.ndarray, match: np.ndarray) -> np.ndarray:
    """rel~_i of one-to-one matching: every reference is used at most once.

    Exact matches are paired first. Then, by rank, each remaining slot takes its most similar unused reference
    (ties: the first, that is the lowest item id); a similarity of zero uses up no reference.

    Args:
        similarity: [..., K, G], references in ascending order of id, slots already cut to k.
        match: column of the reference that the slot's item is, -1 = none, [..., K].

    Returns:
        rel~ [..., K].

    >>> s = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 1.0]])  # three slots, two references
    >>> match_one_to_one(s, np.array([-1, -1, 1])).tolist()  # the third is exact; the first takes what is left
    [0.9, 0.0, 1.0]
    """
    *lead, K, G = similarity.shape
    s = similarity.reshape(-1, K, G)
    column = match.reshape(-1, K)
    row = np.arange(len(s))
    gains = (column >= 0).astype(np.float64)
    free = np.ones((len(s), G), bool)
    exact_row, exact_slot = np.nonzero(column >= 0)
    free[exact_row, column[exact_row, exact_slot]] = False
    for i in range(K):  # by rank: each choice depends on the ones before it
        left = np.where(free, s[:, i], 0)
        best = left.argmax(-1)
        value = left[row, best]
        takes = (column[:, i] < 0) & (value > 0)
        gains[takes, i] = value[takes]
        free[row[takes], best[takes]] = False
    return gains.reshape(*lead, K)


def category_cosine(slates: sparse.csr_array, references: sparse.csr_array) -> np.ndarray:
    """Cosine of two rows of category histograms, 0 where either is empty.

    Args:
        slates: [M, C].
        references: [M, C].

    >>> a, b = sparse.csr_array([[2.0, 0.0]]), sparse.csr_array([[1.0, 1.0]])
    >>> category_cosine(a, b).round(4).tolist()
    [0.7071]
    """
    dot = _row_sums(slates.multiply(references))
    lengths = np.sqrt(_row_sums(slates.multiply(slates)) * _row_sums(references.multiply(references)))
    return np.minimum(np.divide(dot, lengths, out=np.zeros_like(dot), where=lengths > 0), 1.0)


def _row_sums(matrix: sparse.sparray) -> np.ndarray:
    return np.asarray(sparse.csr_array(matrix).sum(axis=1), np.float64).reshape(-1)


def histograms(items: np.ndarray, membership: sparse.csr_array) -> sparse.csr_array:
    """Category histogram of each list of items.

    Args:
        items: [M, K], -1 = none.
        membership: [N, C], each item's weight in each category.

    Returns:
        [M, C].

    >>> histograms(np.array([[0, 1, -1]]), sparse.csr_array([[1.0, 0.0], [0.5, 0.5]])).toarray().tolist()
    [[1.5, 0.5]]
    """
    there = items >= 0
    pointers = np.concatenate([[0], np.cumsum(there.sum(-1))])
    holds = sparse.csr_array(
        (np.ones(pointers[-1]), items[there], pointers), shape=(len(items), len(membership.indptr) - 1)
    )
    return sparse.csr_array(holds @ membership)


def _one_to_one(block: Block, k: int, space: str) -> np.ndarray:
    def match() -> np.ndarray:
        return match_one_to_one(block.similarity(space)[:, :, :k], block.match[:, :, :k])

    return block.share(("one-to-one", space, k), match)


def _best(block: Block, space: str) -> np.ndarray:
    """max_g s(w_i, g), [B, S, K]."""
    return block.share(("max", space), lambda: block.similarity(space).max(-1).astype(np.float64))


def _ndcg_sim(block: Block, k: int, space: str) -> np.ndarray:
    return ndcg(_one_to_one(block, k, space), block.n_references[:, None], k)


def _map_sim(block: Block, k: int, space: str) -> np.ndarray:
    return average_precision(_one_to_one(block, k, space), block.n_references[:, None], k)


def _ndcg_sim_max(block: Block, k: int, space: str) -> np.ndarray:
    return np.minimum(ndcg(_best(block, space), block.n_references[:, None], k), 1)


def _map_sim_max(block: Block, k: int, space: str) -> np.ndarray:
    return np.minimum(average_precision(_best(block, space), block.n_references[:, None], k), 1)


def _category_sim(block: Block, k: int, level: str) -> np.ndarray:
    membership = getattr(block.truth, level)
    B, S, _ = block.items.shape
    slates = histograms(block.items[:, :, :k].reshape(B * S, -1), membership)
    references = histograms(block.references, membership)[np.repeat(np.arange(B), S)]
    return category_cosine(slates, references).reshape(B, S)


def _in_space(space: str, suffix: str, where: str) -> list[Metric]:
    def metric(name: str, summary: str, formula: str, compute: object) -> Metric:
        return Metric(f"{name}_at_{{k}}{suffix}", "sample", True, f"{summary}{where}", formula,
                      source=SOURCE, space=space, compute=partial(compute, space=space))  # fmt: skip  # type: ignore[operator]

    return [
        metric("ndcg_sim", "nDCG with similarity in place of a hit, one-to-one",
               "ndcg with rel~_i = s of the pair: exact matches first, then by rank the most similar unused reference",
               _ndcg_sim),
        metric("map_sim", "average precision with similarity in place of a hit, one-to-one",
               "map with rel~_i as in ndcg_sim and P~(i) = (1/i) sum_{m<=i} rel~_m",
               _map_sim),
        metric("ndcg_sim_max", "nDCG with the similarity to the nearest reference (nearly saturated on bundles)",
               "min(1, ndcg with rel~_i = max_g s(w_i,g))",
               _ndcg_sim_max),
        metric("map_sim_max", "average precision with the similarity to the nearest reference",
               "min(1, map with rel~_i = max_g s(w_i,g))",
               _map_sim_max),
    ]  # fmt: skip


_BERTSCORE_SUMMARIES = {
    "precision": ("how like its nearest reference each slot is, by bert-score", "mean over the k slots of max_j S_ij"),
    "recall": ("how like its nearest slot each reference is, by bert-score", "mean_j max_i S_ij"),
    "f1": ("harmonic mean of bertscore_precision and bertscore_recall", "2 P R / (P + R)"),
}

METRICS = [
    *_in_space("evaluation", "", ""),
    *_in_space("model", "_model_space", ", in the models' own space"),
    Metric("category_sim_at_{k}", "sample", True,
           "likeness of the leaf categories",
           "cosine of the histograms of leaf categories of slate and reference",
           source=SOURCE, compute=partial(_category_sim, level="leaf")),
    Metric("category_sim_level2_at_{k}", "sample", True,
           "likeness of the categories of level 2",
           "cosine of the histograms of level-2 categories of slate and reference",
           source=SOURCE, compute=partial(_category_sim, level="level2")),
    *(Metric(f"bertscore_{part}", "sample", True, summary,
             f"{formula}, S_ij = F1 of bert-score of the texts of w_i and g_j",
             low=-1.0, source="Zhang et al., 2020; " + SOURCE, family="bertscore")
      for part, (summary, formula) in _BERTSCORE_SUMMARIES.items()),
    *(Metric(f"bertscore_{part}_rescaled", "sample", True, summary + ", rescaled by the data set's own baseline",
             f"(bertscore_{part} - b) / (1 - b), b = its mean over random slate pairs", low=None, worst=None,
             source="Zhang et al., 2020; " + SOURCE, family="bertscore")
      for part, (summary, _) in _BERTSCORE_SUMMARIES.items()),
]  # fmt: skip
