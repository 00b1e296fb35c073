from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from features_dataset import small_catalog, small_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.vectors import evaluation
from slatebench.datasets.vectors.evaluation import evaluation_embedding, evaluation_texts, lsa_text, ppmi_slates

WORDS = [
    a + b for a in "bcdfghklmnprstvwzj" for b in ("adu", "elo", "ira", "omi", "une", "yxo", "akel", "erin", "ilom")
]
WORDS += [a + b for a in "bcdfghklmnprstvwzj" for b in ("ekun", "ilom", "oras", "ulat", "yneb", "aros", "opin", "umar")]


def random_texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    return [" ".join(rng.choice(WORDS, 12, p=weights / weights.sum())) for _ in range(n)]


def test_text_is_title_and_all_names_of_all_paths():
    catalog = small_catalog([0, 1])
    assert evaluation_texts(catalog) == ["camping tent 0 all camping all tent", "garden rose 1 all garden all rose"]


def test_lsa_is_the_protocols():
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts = random_texts(400)
    matrix = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english").fit_transform(texts)
    assert min(matrix.shape) > 256
    dense = normalize(TruncatedSVD(256, algorithm="arpack", random_state=5).fit_transform(matrix))
    vectors = lsa_text(texts)
    assert vectors.shape == (400, 256) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors @ vectors.T, dense @ dense.T, atol=1e-4)
    assert np.array_equal(vectors, lsa_text(texts))


def test_small_catalogue_keeps_the_cosines_of_tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [*random_texts(20), "zzz", ""]
    matrix = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english").fit_transform(texts)
    vectors = lsa_text(texts)
    np.testing.assert_allclose(vectors @ vectors.T, (matrix @ matrix.T).toarray(), atol=1e-5)
    assert not vectors[-2:].any()  # nothing known: zero, not noise


@pytest.mark.parametrize("texts", [["alpha"], ["alpha", "beta"], ["", ""], ["the", "the"], ["alpha", "alpha"]])
def test_tiny_catalogues(texts):
    vectors = lsa_text(texts)
    norms = np.linalg.norm(vectors, axis=1)
    assert len(vectors) == len(texts) and np.isfinite(vectors).all()
    assert ((norms == 0) | (abs(norms - 1) < 1e-5)).all()


def plain_ppmi(slates: list[list[int]], n: int) -> np.ndarray:
    counts = np.zeros((n, n))
    for slate in slates:
        for a in set(slate):
            for b in set(slate) - {a}:
                counts[a, b] += 1
    out = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            if counts[a, b]:
                out[a, b] = max(0.0, np.log(counts[a, b] * counts.sum() / (counts[a].sum() * counts[b].sum())))
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), max_size=5), max_size=12))
def test_ppmi_against_its_definition(slates):
    matrix = plain_ppmi(slates, 12)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    rows = np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 1e-12)
    vectors = ppmi_slates(slates, 12)
    np.testing.assert_allclose(vectors @ vectors.T, rows @ rows.T, atol=1e-5)


def test_ppmi_of_many_items_is_cut_to_256_dims():
    rng = np.random.default_rng(0)
    slates = [(rng.integers(0, 20) * 20 + rng.choice(20, 5, replace=False)).tolist() for _ in range(2000)]
    vectors = ppmi_slates(slates, 400)
    assert vectors.shape == (400, 256)
    cosine = vectors @ vectors.T
    same = np.arange(400)[:, None] // 20 == np.arange(400) // 20
    assert cosine[same].mean() > 0.2 > 0.05 > abs(cosine[~same]).mean()


@pytest.mark.parametrize("kind", ["lsa-text", "ppmi-slates"])
def test_space_of_a_dataset_is_cached(kind, monkeypatch):
    space = evaluation_embedding(small_dataset(evaluation_embedding=kind))
    assert space.version.startswith(kind) and len(space.vectors) == 60
    monkeypatch.setattr(evaluation, "_truncated_svd", None)  # a second making would fail
    again = evaluation_embedding(small_dataset(evaluation_embedding=kind))
    assert again.version == space.version and np.array_equal(again.vectors, space.vectors)


def test_version_follows_what_it_is_made_of():
    dataset = small_dataset()
    other = replace(dataset, catalog=small_catalog(list(range(59, -1, -1))))
    spaces = [dataset, other, small_dataset(evaluation_embedding="ppmi-slates")]
    assert len({evaluation_embedding(d).version for d in spaces}) == 3


def test_slates_of_all_parts_count_for_music():
    vectors = evaluation_embedding(small_dataset(evaluation_embedding="ppmi-slates")).vectors
    assert vectors[58] @ vectors[58] > 0.99  # only a test slate holds it
    assert not vectors[59].any()  # always alone
