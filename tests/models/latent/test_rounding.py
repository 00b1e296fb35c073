import itertools

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.schema import CATALOG_SCHEMA, Catalog
from slatebench.models.latent.overlap import TrainSlates
from slatebench.models.latent.rounding import hnsw_index, round_to_items
from slatebench.models.ordering import by_cosine, by_score


def case(seed, B, K, N, d=6, bonus=False, copies=False):
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(N, d))
    if copies:
        items = items[rng.integers(0, N, N)]
    items = torch.tensor(items / np.linalg.norm(items, axis=1, keepdims=True), dtype=torch.float32)
    vectors = torch.tensor(rng.normal(size=(B, K, d)) * 0.3 + rng.normal(size=(B, 1, d)), dtype=torch.float32)
    extra = torch.tensor(rng.normal(size=(B, N)) * 0.1, dtype=torch.float32) if bonus else None
    excluded = [rng.choice(N, size=rng.integers(0, min(3, N) + 1), replace=False).tolist() for _ in range(B)]
    scores = torch.nn.functional.normalize(vectors, dim=-1) @ items.T + (0 if extra is None else extra[:, None])
    scores = scores.numpy().astype(np.float64)
    for b, gone in enumerate(excluded):
        scores[b][:, gone] = -np.inf
    return vectors, items, extra, excluded, scores


def plain_greedy(scores):
    """One slate, the plain way: scores [K, N]."""
    K, N = scores.shape
    out, free = [-1] * K, np.ones(N, bool)
    for slot in sorted(range(K), key=lambda s: (-round(float(scores[s].max()), 5), s)):
        masked = np.where(free, np.round(scores[slot], 5), -np.inf)
        if np.isfinite(masked).any():
            out[slot] = int(masked.argmax())
            free[out[slot]] = False
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6), st.integers(4, 30), st.booleans(), st.booleans())
def test_greedy_equals_the_plain_way(seed, B, K, N, bonus, copies):
    vectors, items, extra, excluded, scores = case(seed, B, K, N, bonus=bonus, copies=copies)
    rounded = round_to_items(vectors, items, bonus=extra, excluded=excluded)
    assert rounded.items.tolist() == [plain_greedy(s) for s in scores]
    for b in range(B):
        nearest = np.round(scores[b], 5).argmax(axis=1)
        assert rounded.raw_duplicate_rate[b] == pytest.approx(1 - len(set(nearest.tolist())) / K)
        for k, item in enumerate(rounded.items[b]):
            if item >= 0:
                assert rounded.scores[b, k] == pytest.approx(scores[b, k, item], abs=1e-5)
                cosine = torch.cosine_similarity(vectors[b, k], items[item], dim=0)
                assert rounded.cosines[b, k] == pytest.approx(float(cosine), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(5, 8), st.booleans())
def test_assignment_is_the_best_of_all(seed, K, N, bonus):
    vectors, items, extra, excluded, scores = case(seed, 2, K, N, bonus=bonus)
    rounded = round_to_items(vectors, items, method="assignment", bonus=extra, excluded=excluded)
    for b in range(2):
        allowed = [i for i in range(N) if i not in excluded[b]]
        if len(allowed) < K:
            continue
        best = max(sum(scores[b, k, i] for k, i in enumerate(c)) for c in itertools.permutations(allowed, K))
        assert sum(scores[b, k, i] for k, i in enumerate(rounded.items[b])) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("method", ["greedy", "assignment"])
def test_few_items_leave_empty_slots(method):
    vectors, items, *_ = case(0, 3, 7, 4)
    rounded = round_to_items(vectors, items, method=method, excluded=[[0, 2], [], [0, 1, 2, 3]])
    assert [sorted(row[row >= 0].tolist()) for row in rounded.items] == [[1, 3], [0, 1, 2, 3], []]
    assert np.isneginf(rounded.scores[rounded.items < 0]).all() and (rounded.cosines[rounded.items < 0] == 0).all()


@pytest.mark.parametrize("method", ["greedy", "assignment"])
def test_index_finds_what_the_exact_search_finds(method):
    vectors, items, _, excluded, _ = case(2, 20, 5, 400)
    exact = round_to_items(vectors, items, method=method, excluded=excluded)
    indexed = round_to_items(vectors, items, method=method, excluded=excluded, index=hnsw_index(items))
    assert (exact.items == indexed.items).mean() > 0.98  # approximate by nature; all of it on so few items
    assert np.abs(exact.raw_duplicate_rate - indexed.raw_duplicate_rate).mean() < 0.02


def test_blocks_change_nothing(monkeypatch):
    vectors, items, extra, excluded, _ = case(1, 9, 4, 40, bonus=True)
    whole = round_to_items(vectors, items, bonus=extra, excluded=excluded)
    monkeypatch.setattr("slatebench.models.latent.rounding.BLOCK", 2 * 4 * 40)
    parts = round_to_items(vectors, items, bonus=extra, excluded=excluded)
    assert np.array_equal(whole.items, parts.items)


def test_orders():
    items = np.array([[[2, 0, -1, 1]]])
    vectors = np.eye(3, dtype=np.float32)
    assert by_cosine(items, np.array([[0.1, 0.3, 0.2]], np.float32), vectors).tolist() == [[[1, 2, 0, -1]]]
    assert by_score(items, np.zeros(items.shape)).tolist() == [[[2, 0, 1, -1]]]


TEN_ITEMS = Catalog(
    pl.DataFrame(
        {"id": list(map(str, range(10))), "title": "x", "text": "x", "categories": None, "train_count": 0},
        schema=CATALOG_SCHEMA,
    )
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=6),
    st.lists(st.sets(st.integers(0, 9), max_size=4), min_size=1, max_size=5),
)
def test_overlap_is_the_largest_jaccard(train, emitted):
    slates = np.array([[*sorted(s), *[-1] * (4 - len(s))] for s in emitted])
    ids, lengths = [str(i) for s in train for i in sorted(s)], np.array([len(s) for s in train])
    known = TrainSlates(ids, lengths, TEN_ITEMS)
    expected = [max(len(s & t) / len(s | t) for t in train) for s in emitted]
    assert known.nearest_overlap(slates[:, None])[:, 0] == pytest.approx(expected)
