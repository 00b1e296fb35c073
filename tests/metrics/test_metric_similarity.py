"""Similarity-aware relevance against a plain Python matching, and its properties."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.schema import Slates
from slatebench.metrics.evaluate import evaluate
from slatebench.metrics.similarity import match_one_to_one


def one_to_one_in_words(slate: list[int], references: list[int], s: dict[tuple[int, int], float]) -> list[float]:
    """docs/protocol.md, section 3, line by line: no arrays, no sorting tricks."""
    gains = [0.0] * len(slate)
    unused = set(references)
    for i, w in enumerate(slate):  # exact matches are paired first
        if w in unused:
            gains[i] = 1.0
            unused.discard(w)
    for i, w in enumerate(slate):  # then, by rank, each remaining one
        if w == -1 or (gains[i] == 1.0 and w in references):
            continue
        best, chosen = 0.0, None
        for g in sorted(unused):  # ties: lowest item id
            if s[w, g] > best:
                best, chosen = s[w, g], g
        if chosen is not None:  # a zero similarity uses up no reference
            gains[i] = best
            unused.discard(chosen)
    return gains


def rounded_similarity(vectors: np.ndarray) -> dict[tuple[int, int], float]:
    cosine = np.clip(vectors.astype(np.float32) @ vectors.astype(np.float32).T, 0, 1)
    cosine = np.rint(cosine.astype(np.float64) * 2**20) / 2**20
    return {(a, b): 1.0 if a == b else cosine[a, b] for a in range(len(vectors)) for b in range(len(vectors))}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([1, 3, 5, 10]), kind=st.sampled_from(["ties", "random"]))
def test_matching_equals_the_protocol_in_words(board: SimpleNamespace, seed: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    n, P, S = 14, 4, 3
    # "ties": few coarse directions, so that equal, zero and negative similarities are the rule
    raw = rng.integers(-1, 2, (n, 2)) if kind == "ties" else rng.normal(size=(n, 3))
    vectors = board.unit(raw.astype(float))
    references = [sorted(rng.choice(n, rng.integers(1, 8), replace=False).tolist()) for _ in range(P)]
    truth = board.truth_of(references, n, vectors=vectors)
    items = board.random_slates(rng, (P, S, 10), n)
    scores = evaluate(Slates(items), truth, cutoffs=[k]).values
    s = rounded_similarity(vectors)
    for p in range(P):
        ideal = sum(1 / np.log2(i + 2) for i in range(min(k, len(references[p]))))
        for sample in range(S):
            slate = items[p, sample, :k].tolist()
            gains = one_to_one_in_words(slate, references[p], s)
            ndcg = sum(g / np.log2(i + 2) for i, g in enumerate(gains)) / ideal
            ap = sum(g * sum(gains[: i + 1]) / (i + 1) for i, g in enumerate(gains)) / min(k, len(references[p]))
            assert scores[f"ndcg_sim_at_{k}"][p, sample] == pytest.approx(ndcg, abs=2e-6)
            assert scores[f"map_sim_at_{k}"][p, sample] == pytest.approx(ap, abs=2e-6)
            near = [max((s[w, g] for g in references[p]), default=0) if w >= 0 else 0 for w in slate]
            most = sum(g / np.log2(i + 2) for i, g in enumerate(near)) / ideal
            assert scores[f"ndcg_sim_max_at_{k}"][p, sample] == pytest.approx(min(1, most), abs=2e-6)


def test_ties_take_the_lowest_id_and_zero_takes_none() -> None:
    # slot 0 is as like to both references; slot 1 is like the first only
    s = np.array([[0.5, 0.5], [0.4, 0.0]])
    none = np.array([-1, -1])
    assert match_one_to_one(s, none).tolist() == [0.5, 0.0]
    # slot 0 is like none, so that slot 1 still finds the first reference
    assert match_one_to_one(np.array([[0.0, 0.0], [0.4, 0.0]]), none).tolist() == [0.0, 0.4]


def test_an_exact_hit_further_down_holds_its_reference(board: SimpleNamespace) -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # 0 and 1 are copies
    truth = board.truth_of([[0]], 3, vectors=vectors)
    scores = evaluate(Slates(np.array([[[1, 0]]])), truth, cutoffs=[2, 1]).values
    assert scores["ndcg_sim_at_2"].item() == pytest.approx(1 / np.log2(3))  # the copy gains nothing
    assert scores["ndcg_sim_at_1"].item() == pytest.approx(1)  # cut first: the hit is out of sight
    assert scores["ndcg_sim_max_at_2"].item() == 1  # clipped: 1 + .63 over 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_identity_similarity_gives_the_plain_metrics(board: SimpleNamespace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    references = [rng.choice(20, rng.integers(1, 9), replace=False).tolist() for _ in range(5)]
    truth = board.truth_of(references, 20)  # unit vectors of the axes: alike only to itself
    scores = evaluate(Slates(board.random_slates(rng, (5, 2, 10), 20)), truth, cutoffs=[10, 3]).values
    for k in (10, 3):
        for plain in ("ndcg", "map"):
            for variant in ("_sim", "_sim_max"):
                for space in ("", "_model_space"):
                    got = scores[f"{plain}{variant}_at_{k}{space}"]
                    np.testing.assert_allclose(got, scores[f"{plain}_at_{k}"], atol=1e-12)


def test_the_two_spaces_are_told_apart(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0]], 3)
    truth.spaces["model"] = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    scores = evaluate(Slates(np.array([[[1, 2]]])), truth, cutoffs=[2]).values
    assert scores["ndcg_sim_at_2"].item() == 0
    assert scores["ndcg_sim_at_2_model_space"].item() == pytest.approx(1)


def test_category_similarity(board: SimpleNamespace) -> None:
    shoes, boots, hats = ["wear", "feet", "shoes"], ["wear", "feet", "boots"], ["wear", "head", "hats"]
    categories = [[shoes], [boots], [hats], [shoes, hats], []]
    truth = board.truth_of([[0]], 5, categories=categories)
    items = np.array([[[1, -1]], [[3, -1]], [[2, -1]], [[4, -1]], [[0, 2]]]).transpose(1, 0, 2)
    scores = evaluate(Slates(items), truth, cutoffs=[2]).values
    half = 1 / np.sqrt(2)
    np.testing.assert_allclose(scores["category_sim_at_2"][0], [0, half, 0, 0, half], atol=1e-9)
    np.testing.assert_allclose(scores["category_sim_level2_at_2"][0], [1, half, 0, 0, half], atol=1e-9)
