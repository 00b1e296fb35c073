"""Beyond relevance (docs/protocol.md, section 4): popularity bias, freshness, diversity, slate health."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import sparse

from .base import Block, Metric, Truth
from .similarity import histograms

SOURCE = "docs/protocol.md, section 4"


# --- popularity bias --------------------------------------------------------------------------------


def mean_log_count(counts: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Mean of log(1 + train count) over the emitted items, NaN for an empty slate.

    Args:
        counts: train counts of the slots' items [..., K].
        filled: which slots hold an item [..., K].

    >>> mean_log_count(np.array([0, 3]), np.array([True, True])).round(4).item()  # log(4) / 2
    0.6931
    """
    n = filled.sum(-1)
    total = np.where(filled, np.log1p(counts), 0).sum(-1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def gini(exposure: np.ndarray) -> float:
    """Gini coefficient of how often each item was shown: 0 = all alike, near 1 = few have it all (1 if none is shown).

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    total, N = exposure.sum(), len(exposure)
    if total == 0:
        return 1.0
    rank = np.arange(1, N + 1)
    return float(((2 * rank - N - 1) * np.sort(exposure)).sum() / (N * total))


def _exposures(items: np.ndarray, truth: Truth) -> list[np.ndarray]:
    """How often each item is shown, per sample: S arrays [N]."""
    per_sample = (items[:, s] for s in range(items.shape[1]))
    return [np.bincount(shown[shown >= 0], minlength=truth.n_items) for shown in per_sample]


def _mean_gini(items: np.ndarray, truth: Truth) -> float:
    return float(np.mean([gini(exposure) for exposure in _exposures(items, truth)]))


def _mean_coverage(items: np.ndarray, truth: Truth) -> float:
    return float(np.mean([(exposure > 0).mean() for exposure in _exposures(items, truth)]))


def _popularity_ratio(items: np.ndarray, truth: Truth) -> float | None:
    of_references = truth.train_count[truth.items].sum()
    if of_references == 0:
        return None
    return float(np.mean([exposure @ truth.train_count for exposure in _exposures(items, truth)]) / of_references)


def _share_of_slots(block: Block, _: int, head: int | None) -> np.ndarray:
    """Share of slots with a train-seen item, or with an item of the head of that many percent."""
    return block.of_slots(block.truth.seen if head is None else block.truth.heads[head]).mean(-1)


# --- freshness over the samples of one request --------------------------------------------------------


def new_shares(items: np.ndarray) -> np.ndarray:
    """Of the k slots of each sample, the share whose item the request's samples before it did not show, [B, S].

    Args:
        items: [B, S, K], -1 = empty slot (never new).

    >>> new_shares(np.array([[[1, 2], [2, 3], [3, 1]]])).tolist()
    [[1.0, 0.5, 0.0]]
    """
    B, S, K = items.shape
    flat = items.reshape(B, S * K)
    order = np.argsort(flat, axis=1, kind="stable")  # equal items stay in order of sample
    ordered = np.take_along_axis(flat, order, axis=1)
    first = ordered >= 0
    first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    new = np.zeros((B, S * K), bool)
    np.put_along_axis(new, order, first, axis=1)
    return new.reshape(B, S, K).mean(-1)


def jaccard_distance(items: np.ndarray) -> np.ndarray:
    """Mean over pairs of samples of 1 - |A and B| / |A or B| (two empty slates: 0); NaN for a single sample, [B].

    Args:
        items: [B, S, K], unique inside a slate, -1 = empty slot.

    >>> jaccard_distance(np.array([[[1, 2], [2, 3]]])).round(4).tolist()  # one of three in common
    [0.6667]
    """
    B, S, _ = items.shape
    size = (items >= 0).sum(-1)
    total = np.full(B, 0.0 if S > 1 else np.nan)
    for a in range(S):
        for b in range(a + 1, S):
            same = (items[:, a, :, None] == items[:, b, None, :]) & (items[:, a, :, None] >= 0)
            common = same.sum((-1, -2))
            union = size[:, a] + size[:, b] - common
            total += 1 - np.where(union > 0, common / np.maximum(union, 1), 1)
    return total / max(1, S * (S - 1) / 2)


def _new_shares(block: Block) -> np.ndarray:
    return block.share("new", lambda: new_shares(block.items))


def _freshness(block: Block, _: int) -> np.ndarray:
    new = _new_shares(block)
    return new[:, 1:].mean(-1) if new.shape[1] > 1 else np.full(len(new), np.nan)


# --- diversity and coherence inside a slate -----------------------------------------------------------


def pairwise_cosine(vectors: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Mean cosine over the pairs of items of a slate; NaN below two items.

    Args:
        vectors: [..., K, d] of unit length, zero where nothing is.
        filled: which slots hold an item [..., K].

    >>> e = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # one pair of three is alike
    >>> pairwise_cosine(e, np.array([True, True, True])).round(4).item()
    0.3333
    """
    n = filled.sum(-1)
    total = vectors.sum(-2, dtype=np.float64)
    own = np.einsum("...kd,...kd->...", vectors, vectors, dtype=np.float64)
    mean = (np.einsum("...d,...d->...", total, total) - own) / np.maximum(n * (n - 1), 1)
    return np.where(n > 1, np.clip(mean, -1, 1), np.nan)


def entropy(histogram: sparse.csr_array) -> np.ndarray:
    """Entropy in bits of each row of category weights; 0 for an empty one.

    >>> entropy(sparse.csr_array([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    total = np.asarray(histogram.sum(axis=1), np.float64).reshape(-1)
    row = np.repeat(np.arange(len(total)), np.diff(histogram.indptr))
    share = histogram.data / total[row]
    return np.abs(np.bincount(row, -share * np.log2(share), minlength=len(total)))  # no -0.0


def _coherence(block: Block, _: int) -> np.ndarray:
    return pairwise_cosine(block.vectors("evaluation"), block.filled)


def _reference_coherence(block: Block, _: int) -> np.ndarray:
    there = block.references >= 0
    return pairwise_cosine(block.truth.spaces["evaluation"][block.references] * there[..., None], there)


def _leaf_entropy(block: Block, _: int) -> np.ndarray:
    B, S, K = block.items.shape
    return entropy(histograms(block.items.reshape(B * S, K), block.truth.leaf)).reshape(B, S)


def _reference_leaf_entropy(block: Block, _: int) -> np.ndarray:
    return entropy(histograms(block.references, block.truth.leaf))


METRICS = [
    Metric("train_seen_share", "sample", None,
           "share of the slots with an item that some train slate holds",
           "(1/k) sum_i 1[w_i in train slates]", source="docs/protocol.md, section 1",
           compute=partial(_share_of_slots, head=None)),
    Metric("popularity", "sample", None,
           "mean log popularity of the emitted items",
           "mean over emitted items of log(1 + train count)", high=None, worst=None,
           null="the slate is empty", source=SOURCE,
           compute=lambda b, _: mean_log_count(b.of_slots(b.truth.train_count), b.filled)),
    Metric("head_share_1pct", "sample", None,
           "share of the slots with one of the 1 % most popular items",
           "(1/k) sum_i 1[w_i in head], head = round(.01 N) items of the highest train count, ties: lowest id",
           source=SOURCE, compute=partial(_share_of_slots, head=1)),
    Metric("head_share_10pct", "sample", None,
           "share of the slots with one of the 10 % most popular items",
           "(1/k) sum_i 1[w_i in head], head = round(.1 N) items of the highest train count, ties: lowest id",
           source=SOURCE, compute=partial(_share_of_slots, head=10)),
    Metric("gini", "run", False,
           "inequality of exposure over the catalogue, per sample, then averaged",
           "sum_i (2i - N - 1) x_(i) / (N sum_i x_i), x = times each item is shown, ascending", worst=1.0,
           source=SOURCE, compute_run=_mean_gini),
    Metric("coverage", "run", True,
           "share of the catalogue that is shown at all, per sample, then averaged",
           "|items shown| / N", source=SOURCE, compute_run=_mean_coverage),
    Metric("popularity_ratio", "run", None,
           "total train count of the slates over that of the references (confounded where test items are new)",
           "(mean over samples of sum of train counts of all slots) / (sum of train counts of all references)",
           high=None, null="no reference item is train-seen", source=SOURCE, compute_run=_popularity_ratio),
    Metric("freshness", "request", True,
           "share of new items in a further sample for the same request (mere chance scores close to 1)",
           "1/(S-1) sum_{m=2..S} |W_m minus (W_1 or ... or W_{m-1})| / k, W_m = items of sample m",
           null="fewer than 2 samples of a stochastic model", source="DMSG; " + SOURCE, compute=_freshness),
    Metric("freshness_m{m}", "request", True,
           "share of new items in sample m",
           "|W_m minus (W_1 or ... or W_{m-1})| / k, W_m = items of sample m", source="DMSG; " + SOURCE,
           compute=lambda b, m: _new_shares(b)[:, m - 1]),
    Metric("jaccard_distance", "request", True,
           "how different two samples for the same request are",
           "mean over pairs of samples of 1 - |A and B| / |A or B|",
           null="fewer than 2 samples", source=SOURCE,
           compute=lambda b, _: jaccard_distance(b.items)),
    Metric("ndcg_sim_at_{k}_m{m}", "run", True,
           "ndcg_sim of sample m alone: where it falls with m, freshness is bought with relevance",
           "mean over requests of ndcg_sim of sample m", null="fewer than 2 samples", source="DMSG; " + SOURCE,
           space="evaluation", curve_of="ndcg_sim_at_{k}"),
    Metric("bertscore_f1_m{m}", "run", True,
           "bertscore_f1 of sample m alone: where it falls with m, freshness is bought with relevance",
           "mean over requests of bertscore_f1 of sample m", low=-1.0, null="fewer than 2 samples",
           source="DMSG; " + SOURCE, family="bertscore", curve_of="bertscore_f1"),
    Metric("coherence", "sample", None,
           "how alike the items of a slate are",
           "mean cosine over the pairs of items, evaluation space", low=-1.0, worst=None,
           null="fewer than two items", source=SOURCE, space="evaluation", compute=_coherence),
    Metric("coherence_reference", "request", None,
           "how alike the items of the reference are",
           "mean cosine over the pairs of reference items, evaluation space", low=-1.0, worst=None,
           null="fewer than two items", source=SOURCE, space="evaluation", compute=_reference_coherence),
    Metric("leaf_entropy", "sample", None,
           "variety of leaf categories of a slate, in bits",
           "-sum_c p_c log2 p_c, p = share of the leaf categories", high=None, source=SOURCE, compute=_leaf_entropy),
    Metric("leaf_entropy_reference", "request", None,
           "variety of leaf categories of the reference, in bits",
           "-sum_c p_c log2 p_c, p = share of the leaf categories", high=None, source=SOURCE,
           compute=_reference_leaf_entropy),
    Metric("short_rate", "sample", False,
           "whether the slate has an empty slot",
           "1[some slot is empty]", worst=1.0, source=SOURCE,
           compute=lambda b, _: np.where(b.filled.all(-1), 0.0, 1.0)),
    Metric("raw_duplicate_rate", "sample", False,
           "repeats the model made before they were removed (its own diagnosis)",
           "repeated items / items drawn", worst=None, null="the model does not report it", source=SOURCE,
           family="diagnostic"),
    Metric("invalid_id_rate", "sample", False,
           "ids outside the catalogue before repair (the model's own diagnosis)",
           "invalid ids / ids drawn", worst=None, null="the model does not report it", source=SOURCE,
           family="diagnostic"),
    Metric("rounding_gap", "sample", True,
           "mean cosine between the vector sampled and the item chosen (the model's own diagnosis)",
           "mean over slots of cos(x_i, e(w_i))", low=-1.0, worst=None, null="the model does not report it",
           source=SOURCE, family="diagnostic"),
    Metric("diagnostic_{name}", "sample", None,
           "another figure that the model reports of its slates",
           "as the model has it", low=None, high=None, worst=None, null="the model does not report it", source=SOURCE,
           family="diagnostic"),
]  # fmt: skip
