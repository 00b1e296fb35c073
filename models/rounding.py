"""From vectors back to items: the nearest catalogue item of each slot, no item twice, no seed item.

Shapes: B slates, K slots, N items, C candidates per slot, d dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..datasets.schema import EMPTY

Rounding = Literal["greedy", "assignment"]

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
    """
    B, K, _ = vectors.shape
    N = len(items)
    queries = torch.nn.functional.normalize(vectors, dim=-1)
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
    by_score = np.lexsort((ids, -np.round(scores * DIGITS)), axis=-1)
    ids, scores = np.take_along_axis(ids, by_score, -1), np.take_along_axis(scores, by_score, -1)
    ids[np.isneginf(scores)] = EMPTY
    slot = {"greedy": _greedy, "assignment": _assignment}[method](ids, scores)  # [B, K] candidate, -1 = none
    chosen = _pick(ids, slot, EMPTY)
    near = np.einsum("bkd,bkd->bk", queries.cpu().numpy(), items.cpu().numpy()[np.maximum(chosen, 0)])
    nearest = np.sort(ids[:, :, 0], axis=1) if C else np.zeros((B, K), np.int64)
    return Rounded(
        items=chosen,
        scores=_pick(scores, slot, -np.inf),
        cosines=np.where(chosen == EMPTY, 0.0, near),
        raw_duplicate_rate=(nearest[:, 1:] == nearest[:, :-1]).sum(axis=1) / K,
    )


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
