"""The simple models on histories, each against a computation of another kind."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import psutil
import pytest

from slatebench.datasets.build import asked_as
from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.schema import SEQUENCE_SCHEMA, Catalog, make_requests
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import features_for_catalog, make_features
from slatebench.models.base import resolve
from slatebench.models.registry import model_class, parse_model
from slatebench.models.retrieval.interactions import item_matrix
from slatebench.models.testing import fixture_dataset, history_fixture

N = 240


@pytest.fixture(scope="module")
def dataset():
    return asked_as(history_fixture(), "excluded", None)


@pytest.fixture(scope="module")
def data(dataset, tmp_path_factory):
    return train_data(dataset, make_features(dataset, encoder="hash", cache=tmp_path_factory.mktemp("cache")))


def fitted(address, data, **overrides):
    name, presets = parse_model(address)
    cls = model_class(name)
    settings = resolve(cls, presets, "standard", overrides)
    model = cls(settings.config, settings.sampling)
    model.report = model.fit(data)
    return model


def asked(histories, repeats=False):
    requests = make_requests([""] * len(histories), histories=histories)
    return requests.with_columns(request=pl.Series([f"r{i}" for i in range(len(histories))]), repeats=repeats)


def told(data, lists, times=None):
    """The same data with other sequences, whose items are counted."""
    sequences = {"user": [str(i) for i in range(len(lists))], "items": lists, "times": times or [None] * len(lists)}
    counts = np.bincount([i for row in lists for i in row], minlength=N)
    catalog = Catalog(data.catalog.items.with_columns(train_count=pl.Series(counts)))
    return replace(data, sequences=pl.DataFrame(sequences, schema=SEQUENCE_SCHEMA), catalog=catalog)


def best(scores, history, order, k):
    """The k best of a row by plain sorting: rounded score, then popularity; nothing of the history."""
    place = {int(item): rank for rank, item in enumerate(order)}
    left = [i for i in range(len(scores)) if i not in history]
    return sorted(left, key=lambda i: (-round(float(scores[i]), 5), place[i]))[:k]


def users_and_items(data):
    """Who had what, dense [U, N]."""
    X = np.zeros((data.sequences.height, N))
    for u, row in enumerate(data.sequences["items"].to_list()):
        X[u, row] = 1
    return X


def read(history, decay):
    """A history as weights [N], in the plainest way."""
    weights = np.zeros(N)
    for age, item in enumerate(reversed(history)):
        if 0 <= item < N:
            weights[item] = max(weights[item], decay**age)
    return weights


HISTORIES = [[3, 4, 5], [17], [], [200, 7, 7, 200], [9, 500], [60, 30, 12, 6, 0, 1, 2]]


def test_item_matrix_reads_a_history_as_it_stands():
    expected = np.array([read(history, 0.7) for history in HISTORIES])
    np.testing.assert_allclose(item_matrix(HISTORIES, N, 0.7).toarray(), expected)
    assert item_matrix([], N).shape == (0, N) and item_matrix([[], [N]], N).nnz == 0


# --- markov ------------------------------------------------------------------------------------------


def test_markov_counts_what_follows(dataset, data):
    follows = np.zeros((N, N))
    for row in data.sequences["items"].to_list():
        for a, b in pairwise(row):
            follows[a, b] += 1
    requests = dataset.test.requests
    expected = [best(follows[row[-1]], row, data.catalog.by_popularity, 8) for row in requests["history"].to_list()]
    assert fitted("markov", data).generate(requests, 8).items[:, 0].tolist() == expected


def test_markov_falls_back_to_popularity_and_never_joins_two_users(data):
    model = fitted("markov", told(data, [[1, 2, 3], [2, 5], [2, 3, 1], [9, 9], [4]]))
    slates = model.generate(asked([[2], [3], [4], [], [77], [N + 2]]), 3).items[:, 0].tolist()
    assert slates[0] == [3, 5, 1]  # 2 -> 3 twice, 2 -> 5 once, then the most popular
    assert slates[1] == [1, 2, 9]  # 3 -> 1; what starts the next user's follows nothing
    assert slates[2] == slates[4] == slates[5] == slates[3] == [2, 1, 3]
    assert model.generate(asked([[9]], repeats=True), 1).items.ravel().tolist() == [9]


# --- item-knn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shrinkage", "neighbours", "decay"), [(0.0, 500, 1.0), (7.0, 500, 0.6), (2.0, 5, 0.8)])
def test_item_knn_is_the_dense_computation(dataset, data, shrinkage, neighbours, decay):
    X, order = users_and_items(data), data.catalog.by_popularity
    similar = np.zeros((N, N))
    for i in range(N):
        row = np.array([
            0 if i == j else (X[:, i] * X[:, j]).sum() / (np.sqrt(X[:, i].sum() * X[:, j].sum()) + shrinkage or 1)
            for j in range(N)
        ])  # fmt: skip
        kept = [int(j) for j in order[np.argsort(-row[order], kind="stable")][:neighbours]]
        similar[i, kept] = row[kept]
    model = fitted("item-knn", data, shrinkage=shrinkage, neighbours=neighbours, decay=decay)
    np.testing.assert_allclose(model.similar.toarray(), similar, atol=1e-6)
    histories = [*HISTORIES, *dataset.test.requests["history"].to_list()[:30]]
    expected = [best(read(history, decay) @ similar, history, order, 6) for history in histories]
    assert model.generate(asked(histories), 6).items[:, 0].tolist() == expected


# --- ease --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("penalty", "decay"), [(5.0, 1.0), (200.0, 0.6)])
def test_ease_is_a_ridge_regression_of_each_item_on_the_others(dataset, data, penalty, decay):
    X = users_and_items(data)
    weights = np.zeros((N, N))
    for j in range(N):  # min |x_j - X b|^2 + penalty |b|^2 with b_j = 0: leave the column out
        others = np.delete(np.arange(N), j)
        A = X[:, others]
        weights[others, j] = np.linalg.lstsq(
            np.vstack([A, np.sqrt(penalty) * np.eye(N - 1)]), np.concatenate([X[:, j], np.zeros(N - 1)]), rcond=None
        )[0]
    model = fitted("ease", data, penalty=penalty, decay=decay)
    np.testing.assert_allclose(model.weights, weights, atol=1e-6)
    assert model.report.notes["memory_gib"] > 0 and model.cost(5)["parameters"] == N * N
    histories = dataset.test.requests["history"].to_list()[:30]
    scores = np.array([read(history, decay) for history in histories]) @ weights
    slates = model.generate(asked(histories), 6).items[:, 0]
    for slate, row, history in zip(slates, scores, histories, strict=True):
        wanted = row[best(row, history, data.catalog.by_popularity, 6)]
        np.testing.assert_allclose(row[slate], wanted, atol=1e-5)


def test_ease_says_what_memory_it_lacks_before_it_takes_any(data, monkeypatch):
    class Free:
        available = 2**20  # of the 1.15 MB that 240 items take

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    with pytest.raises(SlateBenchError, match=r"ease inverts a matrix of 240 x 240: .* GiB .* use item-knn") as error:
        fitted("ease", data)
    assert "\n" not in str(error.value)


# --- recent popularity, dense over the history -------------------------------------------------------


def test_recent_popularity_counts_the_last_days(data):
    day = 86_400
    other = told(data, [[1, 2], [1, 3], [1, 3, 4]], [[0, 100 * day], [0, 100 * day - 1], None])
    model = fitted("popularity", other, days=1)
    assert model.generate(asked([[]]), 3).items.ravel().tolist() == [3, 2, 1]  # 2 and 3 once; 3 is the more popular
    assert fitted("popularity", other, days=101).generate(asked([[]]), 1).items.ravel().tolist() == [1]
    assert model.conditions() == {"history"} and fitted("popularity", other).conditions() == {"prompt", "history"}


@pytest.mark.parametrize("address", ["popularity:recent", "markov", "item-knn", "ease"])
def test_without_histories_a_cell_is_skipped_with_the_reason(address, data, tmp_path):
    prompts = fixture_dataset()
    with pytest.raises(SlateBenchError, match=r"contract-fixture has none") as error:
        fitted(address, train_data(prompts, make_features(prompts, encoder="hash", cache=tmp_path)))
    assert error.value.state == "skipped"


def test_recent_popularity_without_times_is_skipped_with_the_reason(data):
    with pytest.raises(SlateBenchError, match="has no times: take popularity") as error:
        fitted("popularity:recent", told(data, [[1, 2]]))
    assert error.value.state == "skipped"


def test_dense_history_is_the_mean_of_the_texts(dataset, data):
    texts, order = data.features.item_texts().astype(float), data.catalog.by_popularity
    histories = [*([], [N + 1]), *dataset.test.requests["history"].to_list()[:20]]
    model = fitted("dense:history", data)
    slates = model.generate(asked(histories), 5).items[:, 0].tolist()
    for slate, history in zip(slates, histories, strict=True):
        mean = texts[[i for i in history if i < N]].mean(axis=0) if any(i < N for i in history) else np.zeros(64)
        scores = texts @ mean / (np.linalg.norm(mean) or 1)
        np.testing.assert_allclose(scores[slate], scores[best(scores, history, order, 5)], atol=1e-5)
    assert slates[0] == slates[1] == order[:5].tolist()
    assert model.conditions() == {"history"} and fitted("dense", data).conditions() == {"prompt"}


def test_dense_history_never_encodes_the_prompt_that_is_not_there(data, monkeypatch):
    def refuse(prompts):
        raise AssertionError("there is no prompt")

    model = fitted("dense:history+sampled+ordered", data)
    monkeypatch.setattr(type(data.features), "prompts", lambda self, prompts: refuse(prompts))
    slates = model.generate(asked([[6, 7, 8], [100]]), 5, samples=2)
    near = data.features.item_texts() @ data.features.item_texts()[100]
    assert (np.diff(near[slates.items[1]], axis=-1) <= 1e-5).all()  # nearest to the history first


# --- all -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["popularity:recent", "markov", "item-knn", "ease"])
def test_another_catalogue_keeps_what_is_known_of_the_items_that_stay(address, dataset, data):
    model = fitted(address, data)
    items = data.catalog.items
    new = items.head(1).with_columns(id=pl.lit("new"))
    catalog = Catalog(pl.concat([new, items[5:]]))  # the first five are gone, all numbers are others
    other = model.with_catalog(catalog, features_for_catalog(data.features, catalog))
    histories = [row for row in dataset.test.requests["history"].to_list() if min(row) >= 5][:30]
    before = model.generate(asked(histories), 12).items[:, 0]
    moved = [[catalog.index[data.catalog.ids[i]] for i in row] for row in histories]
    after = [[catalog.ids[i] for i in row] for row in other.generate(asked(moved), 12).items[:, 0]]
    for was, now in zip(before, after, strict=True):
        kept = [data.catalog.ids[i] for i in was if i >= 5]
        now = [id_ for id_ in now if id_ != "new"]
        assert now[: len(kept)] == kept[: len(now)]
