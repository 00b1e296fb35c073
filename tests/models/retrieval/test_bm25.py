import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.schema import make_requests
from slatebench.datasets.text import words
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import make_features
from slatebench.models.base import resolve
from slatebench.models.retrieval.bm25 import BM25
from slatebench.models.retrieval.bm25_index import BM25Index
from slatebench.models.testing import fixture_dataset

word = st.sampled_from(["red", "blue", "tent", "usb", "c", "2m", "the", "café"])
text = st.lists(word, max_size=8).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    documents=st.lists(text, min_size=1, max_size=12).filter(lambda docs: any(docs)),
    queries=st.lists(st.lists(st.one_of(word, st.just("unknown")), max_size=6).map(" ".join), max_size=4),
    k1=st.floats(0.1, 3),
    b=st.floats(0, 0.99),
)
def test_scores_equal_rank_bm25(documents, queries, k1, b):
    """Repeated, unknown and no query terms; empty documents; terms in half, most and all of the documents."""
    oracle = BM25Okapi([words(document) for document in documents], k1=k1, b=b)
    got = BM25Index.build(documents, k1=k1, b=b).scores(queries)
    assert got.shape == (len(queries), len(documents))
    for row, query in zip(got, queries, strict=True):
        np.testing.assert_allclose(row, oracle.get_scores(words(query)), rtol=0, atol=1e-9)


def test_documents_without_a_token_score_zero():
    index = BM25Index.build(["", "--"])
    assert index.scores(["anything", ""]).tolist() == [[0, 0], [0, 0]]
    restored = BM25Index.from_arrays(index.arrays(), 2)
    assert restored.scores(["anything"]).tolist() == [[0, 0]]


def test_index_survives_its_arrays():
    documents = ["red tent", "blue tent für zwei", "café"]
    index = BM25Index.build(documents)
    again = BM25Index.from_arrays(index.arrays(), 3)
    assert again.vocabulary == index.vocabulary
    assert np.array_equal(again.scores(["tent für café"]), index.scores(["tent für café"]))


def test_tokens_are_lower_case_and_alphanumeric():
    assert words("Schlüssel_bund & USB-C (2m)!") == ["schlüssel", "bund", "usb", "c", "2m"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    dataset = fixture_dataset()
    return train_data(dataset, make_features(dataset, encoder="hash", cache=tmp_path_factory.mktemp("cache")))


def fitted(data, **overrides):
    settings = resolve(BM25, [], "standard", overrides)
    model = BM25(settings.config, settings.sampling)
    model.fit(data)
    return model


def test_without_a_match_popularity_decides(data):
    slate = fitted(data).generate(make_requests(["", "zzzz qqqq"]), 6).items
    popular = np.argsort(-data.catalog.train_count, kind="stable")[:6]
    assert slate[:, 0].tolist() == [popular.tolist()] * 2


def test_document_of_train_prompts(data):
    row = data.slates.row(3, named=True)
    model = fitted(data, document="train_prompts")
    prompts = {i: [] for i in range(len(data.catalog))}
    for prompt, items in data.slates.select("prompt", "items").iter_rows():
        for item in items:
            prompts[item].append(prompt)
    oracle = BM25Okapi([words(" ".join(prompts[i])) for i in range(len(data.catalog))])
    np.testing.assert_allclose(model.index.scores([row["prompt"]])[0], oracle.get_scores(words(row["prompt"])))
    both = BM25Okapi([words(f"{data.catalog.texts[i]} {' '.join(prompts[i])}") for i in range(len(data.catalog))])
    got = fitted(data, document="both").index.scores([row["prompt"]])[0]
    np.testing.assert_allclose(got, both.get_scores(words(row["prompt"])))


def test_documents_of_train_prompts_need_a_new_fit_for_another_catalogue(data):
    with pytest.raises(SlateBenchError, match="fit it again"):
        fitted(data, document="both").with_catalog(data.catalog, data.features)
