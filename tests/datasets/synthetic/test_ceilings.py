"""Ceilings: they keep the contract of slates, and they are ceilings."""

import numpy as np
import polars as pl
import pytest

from slatebench.datasets.build import build_dataset
from slatebench.datasets.ceilings import ceiling_names, ceilings
from slatebench.datasets.registry import dataset_card
from slatebench.datasets.synthetic import latent, request_rows


def ndcg(slates, references):
    """Mean NDCG of slates [P, K] by the plain formula, one prompt after the other."""
    scores = []
    for slate, reference in zip(slates.tolist(), references, strict=True):
        gains = [1 / np.log2(place + 2) for place, item in enumerate(slate) if item in reference]
        best = [1 / np.log2(place + 2) for place in range(min(len(slate), len(reference)))]
        scores.append(sum(gains) / sum(best))
    return float(np.mean(scores))


@pytest.mark.parametrize("k", [1, 10, 40])
def test_ceilings_keep_the_contract(twin, k):
    found = ceilings(twin, "valid", k)
    assert list(found) == ["ceiling:reference", "ceiling:train-seen", "reference:oracle"] == ceiling_names(twin.card)
    for slates in found.values():
        slates.check(twin.valid.requests, len(twin.catalog), k, 1)
        empty = slates.items == -1
        assert (empty[..., 1:] >= empty[..., :-1]).all()  # empty slots at the end only


def test_order_of_the_ceilings_and_distance_to_simple_baselines(twin):
    references = [set(items) for items in twin.test.references["items"].to_list()]
    found = {name: ndcg(slates.items[:, 0], references) for name, slates in ceilings(twin, "test", 10).items()}
    assert found["ceiling:reference"] == pytest.approx(1)
    assert found["reference:oracle"] < found["ceiling:train-seen"] <= 1
    P, N = len(references), len(twin.catalog)
    popular = np.argsort(-twin.catalog.train_count, kind="stable")[:10]
    popularity = ndcg(np.tile(popular, (P, 1)), references)
    chance = ndcg(np.stack([np.random.default_rng(i).permutation(N)[:10] for i in range(P)]), references)
    assert chance < 0.003
    assert popularity > 2 * chance
    assert found["reference:oracle"] > 0.3
    assert found["reference:oracle"] > 10 * popularity


def test_a_learner_beats_words_and_the_oracle_beats_the_learner(twin):
    """Votes of the train prompts that share the rarest words, against words shared with titles."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    requests, references = twin.test.requests[:300], twin.test.references["items"].to_list()[:300]
    texts, asked = twin.train.requests["prompt"].to_list(), requests["prompt"].to_list()

    def nearest(corpus):
        encoder = TfidfVectorizer(sublinear_tf=True)
        known = encoder.fit_transform(corpus)
        return (encoder.transform(asked) @ known.T).toarray()

    lexical = np.argsort(-nearest(twin.catalog.texts), axis=1, kind="stable")[:, :10]
    near = nearest(texts)
    slates = twin.train.references["items"].to_list()
    learnt = np.zeros_like(lexical)
    for row, order in enumerate(np.argsort(-near, axis=1, kind="stable")[:, :20]):
        votes = np.zeros(len(twin.catalog))
        for place in order:
            votes[slates[place]] += near[row, place] + 1e-6
        learnt[row] = np.argsort(-votes, kind="stable")[:10]
    words, votes = ndcg(lexical, references), ndcg(learnt, references)
    oracle = ndcg(ceilings(twin, "test", 10)["reference:oracle"].items[:300, 0], references)
    assert votes > 1.5 * words
    assert oracle > 2 * votes


def test_oracle_is_an_exact_top_k_with_ties_to_the_lowest_item(twins):
    data = twins["bundle-synthetic"]
    chances = latent(data.card).probability(request_rows(data.valid.requests["request"])[:40])
    slates = ceilings(data, "valid", 60)["reference:oracle"].items[:40, 0]
    rounded = np.floor(chances * 2.0**40)
    np.testing.assert_array_equal(slates, np.argsort(-rounded, axis=1, kind="stable")[:, :60])


@pytest.mark.parametrize("source", ["real", "synthetic"])  # synthetic data of a plug-in: nobody knows its themes
def test_seed_items_are_left_out_and_other_data_has_no_oracle(source):
    card = dataset_card("bundle-synthetic").model_copy(
        update={"name": "tiny", "source": source, "loader": "tiny:load", "statistics": None}
    )
    items = pl.DataFrame(
        {"id": list("abcde"), "title": list("abcde"), "text": list("abcde"), "categories": [[["x"]]] * 5}
    )
    slates = pl.DataFrame(
        {
            "request": ["1", "2", "3"],
            "prompt": ["p", "q", "r"],
            "group": ["1", "2", "3"],
            "seed_items": [[], [], ["a"]],
            "items": [["a", "c"], ["b"], ["e", "c", "d"]],
            "part": ["train", "valid", "test"],
        }
    )
    data = build_dataset(card, items, slates, 0)
    found = ceilings(data, "test", 2)
    assert found["ceiling:reference"].items.tolist() == [[[4, 2]]]
    assert found["ceiling:train-seen"].items.tolist() == [[[2, -1]]]
    assert list(found) == ceiling_names(card) == ["ceiling:reference", "ceiling:train-seen"]
    assert ceilings(data, "valid", 2)["ceiling:train-seen"].items.tolist() == [[[-1, -1]]]
