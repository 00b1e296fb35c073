"""Relevance against ir-measures and scikit-learn, and its properties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import SimpleNamespace

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from slatebench.datasets.schema import Slates
from slatebench.metrics.base import Truth, make_truth
from slatebench.metrics.evaluate import evaluate
from slatebench.metrics.registry import metric_names

PLAIN = ["ndcg", "map", "recall", "precision", "hit", "mrr"]


def score(items: np.ndarray, truth: Truth, name: str) -> np.ndarray:
    cutoff = int(name.rpartition("_")[2])
    return evaluate(Slates(items), truth, cutoffs=[cutoff], only={name}).values[name]


@pytest.mark.parametrize("k", [1, 3, 5, 10, 15])
def test_equals_ir_measures(board: SimpleNamespace, k: int) -> None:
    rng = np.random.default_rng(k)
    truth = board.random_truth(rng, 60)
    items = board.random_slates(rng, (60, 1, 10))
    qrels = [
        ir_measures.Qrel(truth.requests[p], str(g), 1)
        for p in range(60)
        for g in truth.items[truth.offsets[p] : truth.offsets[p + 1]]
    ]
    # ir-measures knows no empty slot: a foreign document stands there, so that ranks stay
    run = [
        ir_measures.ScoredDoc(truth.requests[p], str(w) if w >= 0 else f"empty{i}", -float(i))
        for p in range(60)
        for i, w in enumerate(items[p, 0])
    ]
    size = truth.n_references
    oracles = {
        "ndcg": (ir_measures.nDCG @ k, 1),
        "map": (ir_measures.AP @ k, size / np.minimum(size, k)),  # it divides by |G|, not by min(k, |G|)
        "recall": (ir_measures.R @ k, 1),
        "precision": (ir_measures.P @ k, 1),
        "hit": (ir_measures.Success @ k, 1),
        "mrr": (ir_measures.RR @ k, 1),
    }
    for name, (measure, factor) in oracles.items():
        found = {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, run)}
        expected = np.array([found[request] for request in truth.requests]) * factor
        np.testing.assert_allclose(score(items, truth, f"{name}_at_{k}")[:, 0], expected, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("k", [5, 10])
def test_ndcg_equals_scikit_learn(board: SimpleNamespace, k: int) -> None:
    rng = np.random.default_rng(k)
    truth = board.random_truth(rng, 30)
    items = board.random_slates(rng, (30, 1, 10), empty=0)
    relevant, scores = np.zeros((30, 40)), np.zeros((30, 40))
    for p in range(30):
        relevant[p, truth.items[truth.offsets[p] : truth.offsets[p + 1]]] = 1
        scores[p, items[p, 0]] = np.arange(10, 0, -1)
    expected = [ndcg_score(relevant[[p]], scores[[p]], k=k, ignore_ties=True) for p in range(30)]
    # scikit-learn ranks the items that were not emitted behind the slate: cut to the slate
    np.testing.assert_allclose(score(items, truth, f"ndcg_at_{k}")[:, 0], expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([1, 3, 5, 10]))
def test_adding_a_relevant_item_never_lowers(board: SimpleNamespace, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    truth = board.random_truth(rng, 1)
    before = board.random_slates(rng, (1, 1, 10), empty=0.4)
    missed = np.setdiff1d(truth.items, before)
    not_hits = np.flatnonzero(~np.isin(before[0, 0], truth.items))
    if not len(missed) or not len(not_hits):
        return
    after = before.copy()
    after[0, 0, rng.choice(not_hits)] = rng.choice(missed)
    for name in PLAIN:
        assert score(after, truth, f"{name}_at_{k}") >= score(before, truth, f"{name}_at_{k}") - 1e-12, name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9))
def test_a_perfect_slate_scores_one_in_any_order(board: SimpleNamespace, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    references = rng.choice(40, size, replace=False)
    vectors = rng.normal(size=(40, 4))
    truth = board.truth_of([references.tolist()], 40, vectors=vectors)
    items = np.full((1, 2, 10), -1)
    items[0, 0, :size], items[0, 1, :size] = rng.permutation(references), rng.permutation(references)
    scores = evaluate(Slates(items), truth, cutoffs=[10]).values
    perfect = [f"{m}{sim}_at_10{space}" for m in ("ndcg", "map") for sim in ("_sim", "_sim_max")
               for space in ("", "_model_space")]  # fmt: skip
    for name in ["ndcg_at_10", "map_at_10", "recall_at_10", "hit_at_10", "mrr_at_10", "recall_seen_at_10", *perfect]:
        np.testing.assert_allclose(scores[name], 1, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(scores["precision_at_10"], size / 10)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 5), k=st.sampled_from([1, 3, 5]))
def test_the_ordered_ndcg_is_the_gain_over_that_of_the_best_of_all_slates(
    board: SimpleNamespace, seed: int, size: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    references = [int(i) for i in rng.choice(12, size, replace=False)]
    part = board.make_part([[*references, references[0]], [11]])  # what stands twice counts where it first stands
    truth = make_truth(part, board.make_catalog([1] * 12), ordered=True)
    items = board.random_slates(rng, (2, 3, 6), n_items=12)

    def gain(slate: Sequence[int]) -> float:
        worth = {item: 1 / math.log2(place + 1) for place, item in enumerate(references, 1)}
        return sum(worth.get(item, 0) / math.log2(slot + 1) for slot, item in enumerate(slate[:k], 1))

    best = max(gain(slate) for slate in itertools.permutations(references))
    expected = [gain([int(item) for item in slate]) / best for slate in items[0]]
    name = f"ndcg_ordered_at_{k}"
    np.testing.assert_allclose(score(items, truth, name)[0], expected, atol=1e-12)
    np.testing.assert_allclose(score(items, truth, name)[1], score(items, truth, f"ndcg_at_{k}")[1])  # one: no order


def test_the_ordered_ndcg_is_there_where_references_have_an_order(board: SimpleNamespace) -> None:
    items, part, catalog = np.array([[[3, 1, 2]]]), board.make_part([[3, 1, 2]]), board.make_catalog([1] * 5)
    as_set, in_order = (make_truth(part, catalog, ordered=ordered) for ordered in (False, True))
    assert score(items, in_order, "ndcg_ordered_at_3").item() == pytest.approx(1)
    assert score(items[..., ::-1], in_order, "ndcg_ordered_at_3").item() < score(items[..., ::-1], as_set, "ndcg_at_3")
    found = [evaluate(Slates(items), truth, cutoffs=[3]).values.keys() for truth in (as_set, in_order)]
    assert found[1] - found[0] == {"ndcg_ordered_at_3"}
    assert "ndcg_ordered_at_3" in set(metric_names([3], ordered=True)) - set(metric_names([3]))


def test_worked_example_with_an_empty_slot(board: SimpleNamespace) -> None:
    truth = board.truth_of([[1, 2, 3]], 10)
    items = np.array([[[5, 2, -1, 1, 6]]])  # hits at ranks 2 and 4
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert score(items, truth, "ndcg_at_5").item() == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / ideal)
    assert score(items, truth, "map_at_5").item() == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert score(items, truth, "map_at_2").item() == pytest.approx((1 / 2) / 2)
    assert score(items, truth, "recall_at_2").item() == pytest.approx(1 / 3)
    assert score(items, truth, "precision_at_10").item() == pytest.approx(2 / 10)  # the slate is shorter than k
    assert score(items, truth, "mrr_at_5").item() == pytest.approx(1 / 2)


def test_split_by_seen_references(board: SimpleNamespace) -> None:
    # request 0: references 0 (seen), 1, 2 (new); request 1: only a seen one; request 2: only a new one
    truth = board.truth_of([[0, 1, 2], [0], [1]], 6, train_count=[3, 0, 0, 1, 0, 1])
    items = np.array([[[1, 0, 4]], [[4, 0, -1]], [[0, 4, -1]]])
    scores = evaluate(Slates(items), truth, cutoffs=[3]).values
    nan = np.nan
    np.testing.assert_allclose(scores["recall_seen_at_3"][:, 0], [1, 1, nan])
    np.testing.assert_allclose(scores["recall_unseen_at_3"][:, 0], [1 / 2, nan, 0])
    np.testing.assert_allclose(scores["ndcg_seen_at_3"][:, 0], [1 / np.log2(3), 1 / np.log2(3), nan])
    np.testing.assert_allclose(scores["ndcg_unseen_at_3"][:, 0], [1 / (1 + 1 / np.log2(3)), nan, 0])
    np.testing.assert_allclose(scores["train_seen_share"][:, 0], [1 / 3, 1 / 3, 1 / 3])
