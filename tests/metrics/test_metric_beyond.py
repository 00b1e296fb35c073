"""Popularity bias, freshness, diversity and slate health, each against a direct computation."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from slatebench.datasets.schema import Slates
from slatebench.metrics.beyond import gini
from slatebench.metrics.evaluate import evaluate


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), S=st.integers(2, 5))
def test_freshness_equals_sets(board: SimpleNamespace, seed: int, S: int) -> None:
    rng = np.random.default_rng(seed)
    truth = board.random_truth(rng, 4, n_items=12)
    items = board.random_slates(rng, (4, S, 5), 12)
    scores = evaluate(Slates(items), truth, cutoffs=[5]).values
    for p in range(4):
        slates = [set(items[p, s].tolist()) - {-1} for s in range(S)]
        new = [len(slates[m] - set().union(*slates[:m])) / 5 for m in range(1, S)]
        assert scores["freshness"][p] == pytest.approx(np.mean(new))
        for m in range(2, S + 1):
            assert scores[f"freshness_m{m}"][p] == pytest.approx(new[m - 2])
        distances = [1 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in combinations(slates, 2)]
        assert scores["jaccard_distance"][p] == pytest.approx(np.mean(distances))


def test_freshness_of_equal_samples_is_zero_and_of_one_sample_null(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0]], 6)
    same = Slates(np.array([[[1, 2], [2, 1], [1, 2]]]))
    assert evaluate(same, truth, cutoffs=[2]).values["freshness"].tolist() == [0]
    one = Slates(same.items[:, :1])
    assert np.isnan(evaluate(one, truth, cutoffs=[2]).values["freshness"]).all()
    assert evaluate(one, truth, cutoffs=[2], deterministic=True).values["freshness"].tolist() == [0]


def test_quality_over_the_samples(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0], [1]], 4)
    scores = evaluate(Slates(np.array([[[0, 2], [2, 0], [2, 3]], [[1, 2], [1, 2], [2, 3]]])), truth, cutoffs=[2])
    assert scores.per_run["ndcg_sim_at_2_m1"] == pytest.approx(1)
    assert scores.per_run["ndcg_sim_at_2_m2"] == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert scores.per_run["ndcg_sim_at_2_m3"] == 0


def test_popularity(board: SimpleNamespace) -> None:
    # 20 items: the 10 % head are two items; counts 5, 5, 5: the lowest ids 3 and 7 are in, 9 is out; the 1 % head is 3
    counts = [0] * 20
    counts[3] = counts[7] = counts[9] = 5
    truth = board.truth_of([[3, 0]], 20, train_count=counts)
    scores = evaluate(Slates(np.array([[[3, 7, 9, -1], [9, 0, 1, 2], [-1, -1, -1, -1]]])), truth, cutoffs=[4])
    assert scores.values["head_share_10pct"].tolist() == [[0.5, 0, 0]]
    assert scores.values["head_share_1pct"].tolist() == [[0.25, 0, 0]]
    assert scores.values["train_seen_share"].tolist() == [[0.75, 0.25, 0]]
    np.testing.assert_allclose(scores.values["popularity"], [[np.log(6), np.log(6) / 4, np.nan]])
    assert scores.per_run["popularity_ratio"] == pytest.approx((15 + 5 + 0) / 3 / 5)
    assert scores.per_run["coverage"] == pytest.approx((3 + 4 + 0) / 20 / 3)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_gini_is_the_mean_absolute_difference(exposure: list[int]) -> None:
    x = np.array(exposure)
    if x.sum() == 0:
        assert gini(x) == 1
        return
    expected = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert gini(x) == pytest.approx(expected, abs=1e-12)


def test_gini_and_coverage_are_per_sample(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0]], 4)
    apart = evaluate(Slates(np.array([[[0], [1], [2], [3]]])), truth, cutoffs=[1])
    assert apart.per_run["coverage"] == 0.25  # ten samples are not ten times the exposure
    assert apart.per_run["gini"] == 0.75


def test_coherence_equals_a_loop(board: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    truth = board.random_truth(rng, 6)
    items = board.random_slates(rng, (6, 3, 8), empty=0.6)
    scores = evaluate(Slates(items), truth, cutoffs=[8]).values
    space = truth.spaces["evaluation"].astype(np.float64)

    def mean_cosine(slate: list[int]) -> float:
        return np.mean([space[a] @ space[b] for a, b in combinations(slate, 2)]) if len(slate) > 1 else np.nan

    for p in range(6):
        for s in range(3):
            expected = mean_cosine([i for i in items[p, s] if i >= 0])
            assert scores["coherence"][p, s] == pytest.approx(expected, abs=1e-6, nan_ok=True)
        expected = mean_cosine(truth.items[truth.offsets[p] : truth.offsets[p + 1]].tolist())
        assert scores["coherence_reference"][p] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_leaf_entropy(board: SimpleNamespace) -> None:
    a, b, c = ["x", "a"], ["x", "b"], ["x", "c"]
    truth = board.truth_of([[0, 1, 2]], 5, categories=[[a], [b], [a, c], [], [b]])
    items = np.array([[[0, 1, 2, 3], [0, -1, -1, -1], [3, -1, -1, -1], [-1, -1, -1, -1]]])
    scores = evaluate(Slates(items), truth, cutoffs=[4]).values
    spread = scipy_entropy([1.5, 1, 0.5], base=2)  # item 2 counts half for each of its categories
    np.testing.assert_allclose(scores["leaf_entropy"][0], [spread, 0, 0, 0])
    np.testing.assert_allclose(scores["leaf_entropy_reference"], [spread])


def test_health(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0], [1]], 5)
    items = np.array([[[1, 2], [1, -1]], [[-1, -1], [0, 1]]])
    told = {"rounding_gap": np.array([[0.9, 0.8], [0.7, 0.6]]), "beam_width": np.full((2, 2), 4.0)}
    scores = evaluate(Slates(items, told), truth, cutoffs=[2])
    assert scores.values["short_rate"].tolist() == [[0, 1], [1, 0]]
    assert scores.values["rounding_gap"] is not None
    np.testing.assert_array_equal(scores.values["rounding_gap"], told["rounding_gap"])
    assert scores.values["diagnostic_beam_width"].tolist() == [[4, 4], [4, 4]]
    assert scores.per_request.filter(pl.col("metric").cast(pl.String) == "rounding_gap").height == 4
