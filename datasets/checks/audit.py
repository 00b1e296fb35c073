"""The leak report (docs/protocol.md, section 1): what can be known of the test part without understanding it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ..schema import PARTS, SlateDataset
from ..text import normalised
from .audit_histories import audit_histories

NEAR = 0.5  # Jaccard similarity from which two slates are near-duplicates
_BLOCK = 2_000  # slates compared with all others at once


@dataclass(frozen=True)
class Audit:
    """The leak report of a dataset.

    Attributes:
        overall: columns `measure`, `value`: over all parts together.
        parts: columns `part`, `measure`, `value`: valid and test against train.
    """

    name: str
    fingerprint: str
    overall: pl.DataFrame
    parts: pl.DataFrame


def audit(dataset: SlateDataset) -> Audit:
    """Measure how much of valid and test can be read off train.

    Overall: `items_unseen` (share of the catalogue that no train slate holds), `slates_with_equal` (another slate has
    the same item set), `slates_with_near_twin` (Jaccard >= .5 with another slate), `near_twins_in_group` (share of
    those that have such a twin in their own group).
    For valid and test: `slates_in_train` (share of slates whose item set is a train slate's), `slates_near_train`
    (Jaccard >= .5 with a train slate), `prompts_in_train` (same normalised prompt), `slots_seen` (share of reference
    slots whose item occurs in train), `requests_all_unseen`, `groups_in_train` (must be 0), and `ceiling_ndcg_at_k`,
    `ceiling_map_at_k`: what a model reaches that can only emit items of train slates.
    Of histories: see `audit_histories`.
    """
    if dataset.sequences is not None:
        return Audit(dataset.name, dataset.fingerprint, *audit_histories(dataset))
    requests = pl.concat([dataset.part(name).requests for name in PARTS])
    references = pl.concat([dataset.part(name).references for name in PARTS])["items"]
    part = np.repeat(PARTS, [len(dataset.part(name)) for name in PARTS])
    X = slate_matrix(references, len(dataset.catalog))
    left, right, jaccard = near_duplicates(X)
    group = requests["group"].rank("dense").to_numpy()
    prompt = pl.Series([normalised(text) for text in requests["prompt"]]).rank("dense").to_numpy()

    # both ends of each pair, so that `one` runs over every slate that has a twin
    one, other = np.concatenate([left, right]), np.concatenate([right, left])
    same = np.tile(jaccard == 1.0, 2)
    twins, in_group = np.unique(one), np.unique(one[group[one] == group[other]])
    seen = dataset.catalog.train_count > 0
    overall = {
        "items_unseen": 1.0 - seen.mean(),
        "slates_with_equal": len(np.unique(one[same])) / len(part),
        "slates_with_near_twin": len(twins) / len(part),
        "near_twins_in_group": len(in_group) / len(twins) if len(twins) else 0.0,
    }

    rows = []
    size = np.diff(X.indptr)  # reference slots, [P]
    seen_size = np.asarray(X @ seen.astype(np.int64)).ravel()
    train = part == "train"
    for name in PARTS[1:]:
        here = part == name
        to_train = here[one] & train[other]
        measures = {
            "slates_in_train": len(np.unique(one[to_train & same])) / here.sum(),
            "slates_near_train": len(np.unique(one[to_train])) / here.sum(),
            "prompts_in_train": np.isin(prompt[here], prompt[train]).mean(),
            "slots_seen": seen_size[here].sum() / size[here].sum(),
            "requests_all_unseen": (seen_size[here] == 0).mean(),
            "groups_in_train": np.isin(group[here], group[train]).mean(),
        }
        for k in dataset.card.cutoffs:
            ndcg, average_precision = seen_only_ceiling(size[here], seen_size[here], k)
            measures |= {f"ceiling_ndcg_at_{k}": ndcg.mean(), f"ceiling_map_at_{k}": average_precision.mean()}
        rows += [(name, measure, float(value)) for measure, value in measures.items()]
    return Audit(
        dataset.name,
        dataset.fingerprint,
        pl.DataFrame({"measure": list(overall), "value": [float(value) for value in overall.values()]}),
        pl.DataFrame(rows, schema={"part": pl.String, "measure": pl.String, "value": pl.Float64}, orient="row"),
    )


def slate_matrix(items: pl.Series, n_items: int) -> csr_matrix:
    """Slates as a binary matrix [P, N]."""
    flat = items.explode(empty_as_null=False).to_numpy()
    ends = np.concatenate([[0], np.cumsum(items.list.len().to_numpy(), dtype=np.int64)])
    return csr_matrix((np.ones(len(flat), dtype=np.int32), flat, ends), shape=(len(items), n_items))


def near_duplicates(X: csr_matrix, threshold: float = NEAR) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of slates with a Jaccard similarity of at least `threshold`.

    With an order of the items by rarity, such a pair shares one of the first |A| - ceil(threshold |A|) + 1 items of
    both (prefix filter: Xiao et al., PPJoin, WWW 2008). So candidates come from a sparse product of these prefixes
    alone, in which popular items hardly occur.

    Args:
        X: binary matrix of slates [P, N].
        threshold: in (0, 1].

    Returns:
        Rows i < j of each pair, and its Jaccard similarity.
    """
    P, N = X.get_shape()
    size = np.diff(X.indptr)
    counts = np.bincount(X.indices, minlength=N)
    rank = np.empty(N, dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(N)  # 0 = rarest
    row = np.repeat(np.arange(P), size)
    order = np.lexsort((rank[X.indices], row))
    place = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)  # 0, 1, ... inside a slate
    prefix = size - np.ceil(threshold * size - 1e-9).astype(np.int64) + 1
    keep = place < prefix[row]
    rare = csr_matrix((np.ones(int(keep.sum()), dtype=np.int32), (row[keep], X.indices[order][keep])), shape=(P, N))
    lefts, rights, values = [], [], []
    for start in range(0, P, _BLOCK):
        candidates = (rare[start : start + _BLOCK] @ rare.T).tocoo()
        i, j = candidates.row.astype(np.int64) + start, candidates.col.astype(np.int64)
        # each pair once; sizes so different that the similarity can't be reached are left out before the exact count
        small, large = np.minimum(size[i], size[j]), np.maximum(size[i], size[j])
        keep = (i < j) & (small >= threshold * large - 1e-9)
        i, j = i[keep], j[keep]
        overlap = np.asarray(X[i].multiply(X[j]).sum(axis=1)).ravel()
        jaccard = overlap / (size[i] + size[j] - overlap)
        near = jaccard >= threshold
        lefts.append(i[near])
        rights.append(j[near])
        values.append(jaccard[near])
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(values)


def seen_only_ceiling(size: np.ndarray, seen_size: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@k and AP@k of the best slate that holds train-seen items only: its hits come first.

    Args:
        size: reference items per request, [P], at least 1.
        seen_size: how many of them occur in train, [P].
        k: cutoff.

    >>> seen_only_ceiling(np.array([2]), np.array([1]), k=10)[1].tolist()
    [0.5]
    """
    gain = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])  # DCG of 0, 1, ... k hits at the top
    hits, ideal = np.minimum(seen_size, k), np.minimum(size, k)
    return gain[hits] / gain[ideal], hits / ideal
