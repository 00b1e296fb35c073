"""LSA as a text encoder and as item vectors; vectors of items other than the card says."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from features_dataset import THEMES, small_catalog, small_dataset

from slatebench.datasets.errors import DataError
from slatebench.datasets.schema import Part
from slatebench.datasets.vectors.features import features_for_catalog, load_features, make_features, save_features
from slatebench.datasets.vectors.lsa import lsa_encoder


def with_prompts(part: str, prompts: list[str]):
    dataset = small_dataset()
    own = dataset.part(part)  # type: ignore[arg-type]
    requests = own.requests.with_columns(pl.Series("prompt", (prompts * len(own.requests))[: len(own.requests)]))
    return dataclasses.replace(dataset, **{part: Part(own.name, requests, own.references)})


def test_vectors_are_tfidf_in_singular_directions():
    from sklearn.feature_extraction.text import TfidfVectorizer

    features = make_features(small_dataset(), encoder="lsa")
    texts = sorted({*small_dataset().catalog.texts, *small_dataset().train.requests["prompt"]})
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2).fit(texts)
    _, _, directions = np.linalg.svd(vectorizer.transform(texts).toarray(), full_matrices=False)
    rank = features.item_texts().shape[1]
    expected = vectorizer.transform(small_dataset().catalog.texts).toarray() @ directions[:rank].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    items = features.items()
    np.testing.assert_allclose(items @ items.T, expected @ expected.T, atol=1e-4)  # directions may turn
    assert items is features.item_texts() and items.dtype == np.float32


def test_prompts_find_their_theme_and_words_have_states():
    features = make_features(small_dataset(), encoder="lsa")
    prompts = ["a garden with a rose", "Sonata", "zzz qqq", ""]
    near = (features.prompts(prompts) @ features.items().T).argmax(axis=1)
    assert (near[:2] % 6).tolist() == [THEMES.index("garden rose"), THEMES.index("piano sonata")]
    assert not features.prompts(prompts)[2:].any()  # nothing known: no direction
    states, mask = features.tokens(prompts)
    d = features.items().shape[1]
    assert states.shape == (4, 3, d) and mask.sum(axis=1).tolist() == [3, 1, 2, 1]  # of words, as tf-idf takes them
    assert np.linalg.norm(states[1, 0]) == pytest.approx(np.sqrt(d), rel=1e-4)
    np.testing.assert_allclose(states[0, 2] @ states[1, 0], 0, atol=1e-2)  # rose and sonata share nothing
    assert not states[2:].any()


def test_validation_and_test_prompts_are_never_fitted_on():
    usual = make_features(small_dataset(), encoder="lsa")
    for part in ("valid", "test"):
        other = make_features(with_prompts(part, ["zebra garden", "zebra coat", "zebra"]), encoder="lsa")
        assert other.version == usual.version and not other.prompts(["zebra"]).any()
        np.testing.assert_array_equal(other.items(), usual.items())
    trained = make_features(with_prompts("train", ["zebra garden", "zebra coat", "zebra"]), encoder="lsa")
    assert trained.version != usual.version and trained.prompts(["zebra"]).any()


def test_fitted_once_for_the_same_texts(cache, monkeypatch):
    from slatebench.datasets.vectors import lsa

    fits = []
    fit = lsa.fit_lsa
    monkeypatch.setattr(lsa, "fit_lsa", lambda texts: fits.append(len(texts)) or fit(texts))
    first = make_features(small_dataset(), encoder="lsa")
    assert not fits  # nothing before it is asked for
    first.items(), first.prompts(["coffee"])
    again = make_features(small_dataset(), encoder="lsa")
    np.testing.assert_array_equal(again.prompts(["brand new coffee"]), first.prompts(["brand new coffee"]))
    assert len(fits) == 1
    lsa_encoder(["coffee one", "coffee two"], cache).encode(["coffee"])
    assert len(fits) == 2  # other texts


def test_texts_that_share_no_word_give_vectors_too(cache):
    encoder = lsa_encoder(["one", "two"], cache)
    assert np.isfinite(encoder.encode(["one", "three"], tokens=True).pooled).all()
    assert encoder.encode([]).pooled.shape[0] == 0


ASKED = [("lsa", None), ("hash", "lsa"), ("hash", "word2vec"), ("lsa", "word2vec"), ("lsa", "hash")]


@pytest.mark.parametrize("encoder, item_vectors", ASKED)
def test_any_item_vectors_on_any_card_saved_and_over_another_catalogue(encoder, item_vectors, tmp_path):
    prompts = ["roses in the garden", "brand new"]
    versions = set()
    for card in ("text", "word2vec"):
        wanted = item_vectors or encoder
        features = make_features(small_dataset(card), encoder=encoder, item_vectors=wanted)
        assert (features.item_vectors, features.text_encoder.name) == (wanted, encoder)
        versions.add(features.version)
    assert len(versions) == 1  # the same numbers, whatever the card says
    save_features(features, tmp_path)
    loaded = load_features(tmp_path, features.catalog)
    assert loaded.version == features.version and loaded.item_vectors == wanted
    for a, b in zip(
        (features.items(), *features.tokens(prompts)), (loaded.items(), *loaded.tokens(prompts)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    rows = [5, 70, 3]  # 70 (piano) is new
    changed = features_for_catalog(loaded, small_catalog(rows)).items()
    np.testing.assert_array_equal(changed[[0, 2]], features.items()[[5, 3]])
    themes = np.stack([features.items()[theme::6].mean(axis=0) for theme in range(6)])
    assert (changed[1] @ themes.T).argmax() == 4 and changed.shape[1] == features.items().shape[1]


def test_another_recipe_is_refused(tmp_path, monkeypatch):
    from slatebench.datasets.vectors import features as module

    features = make_features(small_dataset(), encoder="lsa")
    save_features(features, tmp_path)
    monkeypatch.setattr(module, "LSA", "lsa-model-99")
    with pytest.raises(DataError, match="fit again"):
        load_features(tmp_path, features.catalog)


def test_each_choice_has_its_own_version():
    choices = [
        ("hash", None),
        ("lsa", None),
        ("hash", "lsa"),
        ("lsa", "hash"),
        ("hash", "word2vec"),
        ("lsa", "word2vec"),
    ]
    versions = {make_features(small_dataset(), encoder=e, item_vectors=i).version for e, i in choices}
    assert len(versions) == len(choices)
