"""From vectors back to items: the nearest catalogue item of each slot, no item twice, no seed item.

Shapes: B slates, K slots, N items, C candidates per slot, d dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...datasets.schema import EMPTY

Rounding = Literal["greedy", "assignment"]
Search = Literal["exact", "hnsw"]

BLOCK = 16_000_000  # scores held at once (64 MB in float32)
MARGIN = 8  # candidates more than slots, so that ties at the edge are broken by id, not by the kernel
DIGITS = 1e5  # scores are compared to five decimals: copies of an item tie whatever the batch size


@dataclass
class Rounded:
    """Items [B, K] in slot order (-1 = none left), their scores, cosine to the slot's vector, raw repeats [B]."""

    items: np.ndarray
    scores: np.ndarray  # [B, K], -inf at an empty slot
    cosines: np.ndarray  # [B, K], 0 at an empty slot
    raw_duplicate_rate: np.ndarray  # [B]: slots whose nearest item is another slot's nearest too, over K


@torch.inference_mode()
def round_to_items(
    vectors: Tensor,
    items: Tensor,
    *,
    method: Rounding = "greedy",
    bonus: Tensor | None = None,
    excluded: Sequence[Sequence[int]] = (),
    index: Any = None,
) -> Rounded:
    """Give each slot an item; score(slot, item) = cosine + bonus(item).

    `greedy` goes through the slots of a slate from the best score down, each takes its best item that is still free.
    `assignment` maximises the sum of the scores over the slate (Hungarian method). Both are exact: of the other K - 1
    slots each can take at most one item, so a slot never needs more than its K best.

    Args:
        vectors: sampled vectors [B, K, d].
        items: vectors of the catalogue, rows of unit length [N, d].
        method: greedy or assignment.
        bonus: added to the scores [B, N], e.g. a retrieval prior.
        excluded: items that must not be chosen, per slate; or empty.
        index: from `hnsw_index`: candidates from there instead of from all items; not together with `bonus`.
    """
    K = vectors.shape[1]
    queries = torch.nn.functional.normalize(vectors, dim=-1)
    if index is None:
        ids, scores = _candidates(queries, items, bonus, excluded)
    else:
        ids, scores = _candidates_from(index, queries, len(items), excluded)
    by_score = np.lexsort((ids, -np.round(scores * DIGITS)), axis=-1)
    ids, scores = np.take_along_axis(ids, by_score, -1), np.take_along_axis(scores, by_score, -1)
    ids[np.isneginf(scores)] = EMPTY
    slot = {"greedy": _greedy, "assignment": _assignment}[method](ids, scores)  # [B, K] candidate, -1 = none
    chosen = _pick(ids, slot, EMPTY)
    near = np.einsum("bkd,bkd->bk", queries.cpu().numpy(), items.cpu().numpy()[np.maximum(chosen, 0)])
    nearest = np.sort(ids[:, :, 0], axis=1)
    return Rounded(
        items=chosen,
        scores=_pick(scores, slot, -np.inf),
        cosines=np.where(chosen == EMPTY, 0.0, near),
        raw_duplicate_rate=(nearest[:, 1:] == nearest[:, :-1]).sum(axis=1) / K,
    )


def hnsw_index(items: Tensor) -> Any:
    """An approximate index over unit vectors [N, d]: pays beyond a million items, takes minutes to build there."""
    import faiss

    index = faiss.IndexHNSWFlat(items.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = 128
    index.add(items.cpu().numpy())  # pyright: ignore[reportCallIssue]
    return index


def _candidates(
    queries: Tensor, items: Tensor, bonus: Tensor | None, excluded: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The best items of each slot, ids and scores [B, K, C], over the whole catalogue."""
    (B, K, _), N = queries.shape, len(items)
    C = min(N, K + MARGIN)
    ids = np.empty((B, K, C), dtype=np.int64)
    scores = np.empty((B, K, C), dtype=np.float32)
    step = max(1, BLOCK // max(1, K * N))
    for start in range(0, B, step):
        rows = slice(start, min(B, start + step))
        score = queries[rows] @ items.T  # [b, K, N]
        if bonus is not None:
            score += bonus[rows, None]
        for row, gone in enumerate(excluded[rows] if excluded else ()):
            if len(gone):
                score[row, :, torch.as_tensor(gone, device=score.device)] = -torch.inf
        best = score.topk(C, dim=-1)
        ids[rows], scores[rows] = best.indices.cpu().numpy(), best.values.cpu().numpy()
    return ids, scores


def _candidates_from(
    index: Any, queries: Tensor, n_items: int, excluded: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """As `_candidates`, from an index."""
    B, K, d = queries.shape
    C = min(n_items, K + MARGIN + max(map(len, excluded), default=0))
    scores, ids = index.search(queries.cpu().numpy().reshape(-1, d), C)
    ids, scores = ids.reshape(B, K, C), scores.reshape(B, K, C)
    gone = np.stack([np.isin(ids[b], excluded[b]) for b in range(B)]) if excluded else np.zeros(ids.shape, bool)
    return ids, np.where(gone | (ids < 0), -np.inf, scores)


def _pick(values: np.ndarray, slot: np.ndarray, empty: float) -> np.ndarray:
    picked = np.take_along_axis(values, np.maximum(slot, 0)[..., None], axis=-1)[..., 0]
    return np.where(slot >= 0, picked, empty).astype(values.dtype)


def _greedy(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Chosen candidate of each slot [B, K]; slots in descending order of their best score."""
    B, K, _ = ids.shape
    slots = np.argsort(-np.round(scores[:, :, 0] * DIGITS), axis=1, kind="stable")
    rows = np.arange(B)
    slot_choice = np.full((B, K), -1)
    taken = np.full((B, K), EMPTY)
    for turn in range(K):  # each turn needs what the turns before took
        slot = slots[:, turn]
        candidates = ids[rows, slot]  # [B, C]
        free = (candidates != EMPTY) & ~(candidates[:, :, None] == taken[:, None, :turn]).any(axis=-1)
        choice = np.where(free.any(axis=1), free.argmax(axis=1), -1)
        slot_choice[rows, slot] = choice
        taken[:, turn] = np.where(choice >= 0, candidates[rows, np.maximum(choice, 0)], EMPTY)
    return slot_choice


def _assignment(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Chosen candidate of each slot [B, K] with the largest sum of scores; one solve (C code) per slate."""
    from scipy.optimize import linear_sum_assignment

    B, K, C = ids.shape
    slot_choice = np.full((B, K), -1)
    for b in range(B):
        items, column = np.unique(ids[b], return_inverse=True)
        column = column.reshape(K, C)
        table = np.full((K, len(items) + K), -1e3)  # the last K columns: the slot stays empty
        table[np.arange(K)[:, None], column] = np.where(ids[b] == EMPTY, -1e3, scores[b])
        slots, columns = linear_sum_assignment(table, maximize=True)
        match = (column[slots] == columns[:, None]) & (ids[b][slots] != EMPTY)
        slot_choice[b, slots] = np.where(match.any(axis=1), match.argmax(axis=1), -1)
    return slot_choice
