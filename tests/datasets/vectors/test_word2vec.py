from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from features_dataset import COLD, small_dataset

from slatebench.datasets.vectors.features import make_features, slates_of
from slatebench.datasets.vectors.word2vec import SEQUENCE_WINDOW, WINDOW, fit_word2vec, predict_cold
from slatebench.models.fixture import history_fixture


@pytest.fixture
def features():
    return make_features(small_dataset("word2vec"), encoder="hash")


def test_items_of_one_slate_are_near(features):
    cosine = features.items() @ features.items().T
    same = np.arange(60)[:, None] % 6 == np.arange(60) % 6
    np.fill_diagonal(cosine, np.nan)
    assert np.nanmean(cosine[same]) > np.nanmean(cosine[~same]) + 0.3


def test_cold_items_lie_with_their_theme(features):
    items = features.items()
    warm = np.setdiff1d(np.arange(60), COLD)
    for item in COLD:
        nearest = warm[np.argsort(-items[warm] @ items[item])[:5]]
        assert (nearest % 6 == item % 6).mean() > 0.5


def test_ridge_is_the_one_of_scikit_learn(features):
    from sklearn.linear_model import Ridge

    warm = np.setdiff1d(np.arange(60), COLD)
    oracle = Ridge(alpha=1.0).fit(features.item_texts()[warm], features.items()[warm])
    expected = oracle.predict(features.item_texts()[list(COLD)])
    np.testing.assert_allclose(features.items()[list(COLD)], expected, atol=1e-4)


def test_the_fewer_slates_the_shorter():
    slates = [[0, 1, 2 + i % 3] for i in range(30)] + [[5, 6, 7]] * 30 + [[0, 1, 8], [5, 6, 9]]
    items = fit_word2vec(slates, np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32))["items"]
    counts = np.bincount(np.concatenate(slates))
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), counts / (counts + 1), rtol=1e-5)


def test_only_train_slates_count(features):
    dataset = small_dataset("word2vec")
    again = fit_word2vec(slates_of(dataset.train), features.item_texts())
    assert np.array_equal(again["items"], features.items())
    np.testing.assert_array_equal(
        predict_cold(again["ridge"], features.item_texts()[list(COLD)]), features.items()[list(COLD)]
    )


def test_items_far_apart_in_a_history_are_no_context():
    """Two halves of long histories that go together in any order: close by in a slate, apart in a sequence."""
    rng = np.random.default_rng(0)
    lists = [[*rng.permutation(8).tolist(), *(8 + rng.permutation(8)).tolist()] for _ in range(300)]
    texts = rng.standard_normal((16, 4)).astype(np.float32)
    apart = []
    for window in (WINDOW, SEQUENCE_WINDOW):
        items = fit_word2vec(lists, texts, window)["items"]
        alike = items @ items.T
        apart.append(alike[:8, :8].mean() - alike[:8, 8:].mean())
    assert apart[1] > 2 * apart[0] > 0
    card = history_fixture().card.model_copy(update={"item_vectors": "word2vec"})
    histories = replace(history_fixture(), card=card)
    features = make_features(histories, encoder="hash")
    assert histories.sequences is not None
    made = fit_word2vec(histories.sequences["items"].to_list(), features.item_texts(), SEQUENCE_WINDOW)
    assert np.array_equal(made["items"], features.items())


def test_the_same_whatever_the_hash_seed():
    code = """
import hashlib, numpy as np
from slatebench.datasets.vectors.word2vec import fit_word2vec
rng = np.random.default_rng(0)
slates = [rng.choice(40, 6, replace=False).tolist() for _ in range(80)]
out = fit_word2vec(slates, rng.standard_normal((50, 8)).astype(np.float32))
print(hashlib.sha256(out["items"].tobytes() + out["ridge"].tobytes()).hexdigest())
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "random")
    }
    assert len(digests) == 1


def test_no_slates_give_zero_vectors():
    out = fit_word2vec([[], []], np.ones((3, 4), np.float32))
    assert out["items"].shape == (3, 128) and not out["items"].any()
