import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.schema import CATALOG_SCHEMA, Catalog, make_requests
from slatebench.models import ranking
from slatebench.models.ranking import blocks, inner, nearest, rank, top_k


def catalog_of(counts):
    n = len(counts)
    names = [str(i) for i in range(n)]
    return Catalog(
        pl.DataFrame(
            {"id": names, "title": names, "text": names, "categories": [[]] * n, "train_count": counts},
            schema=CATALOG_SCHEMA,
        )
    )


def slow_top_k(scores, k, order, excluded):
    """The definition, row by row: sort by (-score, place in `order`)."""
    place = {item: i for i, item in enumerate(order)}
    out = []
    for row, out_of_bounds in zip(scores, excluded, strict=True):
        items = [i for i in range(len(row)) if i not in out_of_bounds and row[i] > -np.inf]
        items = sorted(items, key=lambda i: (-row[i], place[i]))[:k]
        out.append(items + [-1] * (k - len(items)))
    return np.array(out, dtype=np.int64).reshape(len(scores), k)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_top_k_is_a_full_sort_cut_off(data):
    B, N, k = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 12)), data.draw(st.integers(0, 15))
    values = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])  # few values: many ties
    scores = np.array(data.draw(st.lists(st.lists(values, min_size=N, max_size=N), min_size=B, max_size=B)))
    scores = scores.reshape(B, N)
    order = np.array(data.draw(st.permutations(range(N))))
    excluded = data.draw(st.lists(st.lists(st.integers(0, N - 1), max_size=4), min_size=B, max_size=B))
    before = scores.copy()
    got = top_k(scores, k, order, excluded)
    assert got.dtype == np.int64
    assert np.array_equal(got, slow_top_k(scores, k, order, excluded))
    assert np.array_equal(scores, before)


def test_top_k_ignores_seed_items_outside_the_catalogue():
    assert top_k(np.array([[1.0, 2.0]]), 2, np.arange(2), [[7, -1]]).tolist() == [[1, 0]]


def test_nan_scores_are_refused_with_a_line():
    with pytest.raises(SlateBenchError, match="NaN"):
        top_k(np.array([[1.0, np.nan, 0.0]]), 1, np.arange(3))


def test_ties_go_to_the_popular_then_to_the_lower_id():
    assert catalog_of([0, 5, 5, 9]).by_popularity.tolist() == [3, 1, 2, 0]


def test_inner_gives_copies_of_a_vector_the_same_number_in_any_batch():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 48)).astype(np.float32)
    vectors[200:] = vectors[:100]
    queries = rng.standard_normal((33, 48)).astype(np.float32)
    whole = inner(queries, vectors, chunk=70)
    assert np.array_equal(whole[:, 200:], whole[:, :100])
    assert np.array_equal(whole[5:6], inner(queries[5:6], vectors))
    np.testing.assert_allclose(whole, queries.astype(float) @ vectors.T.astype(float), atol=1e-8)


def test_nearest_is_exact_and_breaks_ties_by_order():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    vectors[300:] = vectors[:100]  # every one of the first 100 has a twin
    queries = rng.standard_normal((20, 16)).astype(np.float32)
    order = rng.permutation(400)
    excluded = [[int(i)] for i in rng.integers(0, 400, 20)]
    ids, scores = nearest(queries, vectors, 7, order, excluded)
    exact = np.round(queries.astype(float) @ vectors.astype(float).T, 9)
    assert np.array_equal(ids, slow_top_k(exact, 7, order, excluded))
    np.testing.assert_allclose(scores, np.take_along_axis(exact, ids, axis=1), atol=1e-8)


def test_nearest_finds_what_faiss_finds():
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(3)
    vectors, queries = (rng.standard_normal((n, 32)).astype(np.float32) for n in (3_000, 25))
    index = faiss.IndexFlatIP(32)
    index.add(vectors)
    scores, ids = index.search(queries, 10)
    got_ids, got_scores = nearest(queries, vectors, 10, np.arange(3_000))
    assert np.array_equal(got_ids, ids)
    np.testing.assert_allclose(got_scores, scores, rtol=1e-5)


def test_nearest_with_more_neighbours_than_vectors_leaves_slots_empty():
    ids, scores = nearest(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 4, np.arange(2), [[0], []])
    assert ids.tolist() == [[1, -1, -1, -1], [1, 0, -1, -1]]
    assert np.isneginf(scores[0, 1:]).all()


@given(st.integers(0, 50), st.integers(0, 10**9))
def test_blocks_cover_every_row_once(rows, width):
    parts = list(blocks(rows, width))
    assert [i for part in parts for i in range(rows)[part]] == list(range(rows))
    assert all((p.stop - p.start) * width <= ranking.BLOCK or p.stop - p.start == 1 for p in parts)


def test_blocks_do_not_change_the_slates(monkeypatch):
    catalog = catalog_of(list(range(30)))
    requests = make_requests([str(i) for i in range(11)])

    def score(part):
        return np.stack([np.random.default_rng(int(p)).random(30) for p in part["prompt"]])

    args = {"samples": 3, "seed": 5, "temperature": 0.7}
    whole = rank(requests, 4, score, catalog, **args).items
    monkeypatch.setattr(ranking, "BLOCK", 60)
    assert np.array_equal(rank(requests, 4, score, catalog, **args).items, whole)


def test_gumbel_top_1_draws_from_the_softmax_of_the_scaled_scores():
    catalog = catalog_of([0, 0, 0, 0])
    scores = np.array([[0.0, 1.0, 2.0, 3.0]])
    S, temperature = 4_000, 0.8
    drawn = rank(make_requests(["x"]), 1, lambda part: scores, catalog, samples=S, temperature=temperature).items
    share = np.bincount(drawn.ravel(), minlength=4) / S
    logits = scores[0] / (temperature * scores[0].std())
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.abs(share - expected).max() < 4 * np.sqrt(0.25 / S)


def test_a_lower_temperature_is_nearer_to_the_best_k():
    rng = np.random.default_rng(2)
    catalog, requests = catalog_of([0] * 200), make_requests([str(i) for i in range(20)])
    scores = rng.standard_normal((20, 200))

    def overlap(temperature):
        best = rank(requests, 10, lambda part: scores, catalog).items[:, 0]
        drawn = rank(requests, 10, lambda part: scores, catalog, temperature=temperature).items[:, 0]
        return np.mean([np.isin(a, b).mean() for a, b in zip(best, drawn, strict=True)])

    assert overlap(0.01) > overlap(0.3) > overlap(5.0)
    assert overlap(0.001) > 0.95
