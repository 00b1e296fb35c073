"""From scores to slates: top-k with an honest order of ties, seed items left out, noise per request.

Everything works block by block over the requests, so that a [P, N] matrix never has to fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from ..datasets.errors import SlateBenchError
from ..datasets.schema import EMPTY, Catalog, Slates, forbidden
from .base import noise

BLOCK = 8_000_000  # numbers of one block of scores: 64 MB in float64
MARGIN = 50  # candidates beyond k that are scored again exactly
DECIMALS = 9  # scores are rounded here, so that copies of an item tie whatever BLAS kernel computed them


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices over `rows` such that a block of `width` columns stays within BLOCK numbers (at least one row)."""
    step = max(1, BLOCK // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def top_k(scores: np.ndarray, k: int, order: np.ndarray, excluded: Sequence[Sequence[int]] = ()) -> np.ndarray:
    """The k best columns of each row, best first; ties by `order`.

    Args:
        scores: [B, N]; -inf = never chosen. Not changed.
        k: slots wanted.
        order: the columns in the order in which ties are broken [N].
        excluded: columns that must not be chosen, per row (ids outside 0..N-1 are ignored); or empty.

    Returns:
        int64 [B, k]; -1 where a row has fewer than k columns to choose from.

    >>> top_k(np.array([[1.0, 3.0, 3.0, 0.0]]), 3, order=np.array([3, 2, 1, 0]), excluded=[[0]])
    array([[2, 1, 3]])
    """
    B, N = scores.shape
    slates = np.full((B, k), EMPTY, dtype=np.int64)
    take = min(k, N)
    if B == 0 or take <= 0:
        return slates
    ranked = np.take(scores, order, axis=1)  # [B, N], a copy: of two tied columns the left one comes first
    ranked = ranked.astype(np.result_type(ranked, np.float32), copy=False)  # whole numbers know no infinity
    _leave_out(ranked, order, excluded)
    best = np.partition(ranked, N - take, axis=1)[:, N - take :]  # [B, take], unsorted, NaN last
    if np.isnan(best).any():
        raise SlateBenchError("scores hold NaN: look for NaN in the item or prompt vectors")
    threshold = best.min(axis=1, keepdims=True)  # [B, 1]
    above, tied = ranked > threshold, ranked == threshold
    room = take - above.sum(axis=1, keepdims=True)
    if (tied.sum(axis=1, keepdims=True) > room).any():
        tied &= np.cumsum(tied, axis=1) <= room
    columns = np.nonzero(above | tied)[1].reshape(B, take)  # ascending, i.e. by tie order
    values = np.take_along_axis(ranked, columns, axis=1)
    by_value = np.argsort(-values, axis=1, kind="stable")
    items = order[np.take_along_axis(columns, by_value, axis=1)]
    slates[:, :take] = np.where(np.isneginf(np.take_along_axis(values, by_value, axis=1)), EMPTY, items)
    return slates


def _leave_out(ranked: np.ndarray, order: np.ndarray, excluded: Sequence[Sequence[int]]) -> None:
    if not any(len(items) for items in excluded):
        return
    columns = np.concatenate([np.asarray(items, dtype=np.int64) for items in excluded])
    rows = np.repeat(np.arange(len(excluded)), [len(items) for items in excluded])
    inside = (columns >= 0) & (columns < len(order))
    ranked[rows[inside], _place(order)[columns[inside]]] = -np.inf


def _place(order: np.ndarray) -> np.ndarray:
    """Where each column stands in `order` [N]."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


def inner(queries: np.ndarray, vectors: np.ndarray, chunk: int = 8_192) -> np.ndarray:
    """Inner products [B, N] in float64, rounded to 1e-9: the same numbers whatever the batch."""
    queries = queries.astype(np.float64)
    out = np.empty((len(queries), len(vectors)))
    for start in range(0, len(vectors), chunk):
        part = vectors[start : start + chunk].astype(np.float64, copy=False)
        out[:, start : start + len(part)] = queries @ part.T
    return np.round(out, DECIMALS, out=out)


def nearest(
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    order: np.ndarray,
    excluded: Sequence[Sequence[int]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """The k vectors of largest inner product with each query, exactly; ties by `order`.

    A float32 product proposes k + MARGIN candidates, float64 orders them. There is no faiss index here because none is
    needed: of 12,000 vectors faiss's IndexFlatIP finds the same ids, for one query a quarter to a third sooner (both
    under 1 ms), for a batch of 256 it takes 2.5 times as long (tests/benchmarks/test_dense_speed.py).

    Args:
        queries: [P, d].
        vectors: [N, d].
        k: neighbours wanted.
        order: of ties [N].
        excluded: per query, as in `top_k`.

    Returns:
        ids int64 [P, k] (-1 = none left) and scores float64 [P, k] (-inf there).
    """
    P, N = len(queries), len(vectors)
    ids = np.full((P, k), EMPTY, dtype=np.int64)
    scores = np.full((P, k), -np.inf)
    place = _place(order)
    for rows in blocks(P, max(N, (k + MARGIN) * vectors.shape[1])):
        query = queries[rows]
        found = top_k(query @ vectors.T, min(k + MARGIN, N), order, excluded[rows] if excluded else ())  # [B, c]
        exact = np.einsum("bd,bcd->bc", query.astype(np.float64), vectors[found].astype(np.float64))
        exact = np.where(found == EMPTY, -np.inf, np.round(exact, DECIMALS))
        by_score = np.lexsort((place[found], -exact), axis=1)[:, :k]
        width = by_score.shape[1]
        ids[rows, :width] = np.take_along_axis(found, by_score, axis=1)
        scores[rows, :width] = np.take_along_axis(exact, by_score, axis=1)
    return ids, scores


def rank(
    requests: pl.DataFrame,
    k: int,
    score: Callable[[pl.DataFrame], np.ndarray],
    catalog: Catalog,
    *,
    samples: int = 1,
    seed: int = 0,
    temperature: float = 0.0,
) -> Slates:
    """Slates [P, samples, k] by `score(requests) -> [B, N]`, what is forbidden left out, ties by popularity, then id.

    With a temperature the slates are drawn by Gumbel top-k: scores divided by (temperature x the standard deviation of
    the request's scores over the catalogue), plus Gumbel noise that hangs on (seed, request, sample): sampling without
    replacement from the softmax of the scaled scores (Kool et al., ICML 2019).
    """
    N, order = len(catalog), catalog.by_popularity
    items = np.full((requests.height, samples, k), EMPTY, dtype=np.int64)
    for rows in blocks(requests.height, N):
        part = requests[rows]
        scores, barred = score(part), forbidden(part)  # [B, N]
        if temperature == 0:
            items[rows] = top_k(scores, k, order, barred)[:, None]
            continue
        spread = scores.std(axis=1, keepdims=True)
        scores = scores / (temperature * np.where(spread > 0, spread, 1))
        for sample in range(samples):
            drawn = np.stack([noise(seed, request, sample).gumbel(size=N) for request in part["request"]])
            items[rows, sample] = top_k(scores + drawn, k, order, barred)
    return Slates(items)
