import numpy as np
import polars as pl
import pytest

from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.schema import Catalog, make_requests
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import features_for_catalog, make_features
from slatebench.models.base import resolve
from slatebench.models.registry import model_class, parse_model
from slatebench.models.retrieval.bm25_index import BM25Index
from slatebench.models.retrieval.prior import RetrievalPrior, zscore
from slatebench.models.testing import fixture_dataset


@pytest.fixture(scope="module")
def dataset():
    return fixture_dataset()


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


def test_popularity_emits_the_most_counted_items_but_no_seed_items(data):
    model = fitted("popularity", data)
    order = np.argsort(-data.catalog.train_count, kind="stable")
    requests = make_requests(["a", "b"], seed_items=[[], order[:2].tolist()])
    assert model.generate(requests, 4).items[:, 0].tolist() == [order[:4].tolist(), order[2:6].tolist()]


def test_random_draws_all_items_alike(data):
    requests = make_requests([str(i) for i in range(400)])
    drawn = fitted("random", data).generate(requests, 12, samples=5).items
    counts = np.bincount(drawn.ravel(), minlength=240)
    expected = drawn.size / 240  # 100 each
    assert counts.sum() == drawn.size
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 239 + 5 * np.sqrt(2 * 239)


def test_dense_is_the_brute_force_ranking(dataset, data):
    requests = dataset.test.requests
    texts, prompts = data.features.item_texts(), data.features.prompts(requests["prompt"].to_list())
    scores = np.round(prompts.astype(float) @ texts.astype(float).T, 9)
    place = np.argsort(np.argsort(-data.catalog.train_count, kind="stable"))
    expected = [np.lexsort((place, -row))[:5].tolist() for row in scores]
    assert fitted("dense", data).generate(requests, 5).items[:, 0].tolist() == expected


@pytest.mark.parametrize("neighbours", [1, 20, 10_000])
def test_prompt_knn_is_a_weighted_vote(dataset, data, neighbours):
    requests = dataset.test.requests.head(10)
    T = data.features.prompts(data.slates["prompt"].to_list()).astype(float)
    Q = data.features.prompts(requests["prompt"].to_list()).astype(float)
    place = np.argsort(np.argsort(-data.catalog.train_count, kind="stable"))
    expected = []
    for row in np.round(Q @ T.T, 9):
        votes = np.zeros(240)
        for neighbour in np.lexsort((np.arange(len(row)), -row))[:neighbours]:
            for item in data.slates["items"][int(neighbour)]:
                votes[item] += max(row[neighbour], 0)
        expected.append(np.lexsort((place, -np.round(votes, 8)))[:5].tolist())
    got = fitted("prompt-knn", data, neighbours=neighbours).generate(requests, 5).items[:, 0].tolist()
    assert got == expected


def test_prompt_knn_votes_for_what_is_left_of_the_catalogue(dataset, data):
    model = fitted("prompt-knn", data)
    requests = dataset.test.requests.head(20)
    before = model.generate(requests, 5).items[:, 0]
    gone = int(before[0, 0])
    items = data.catalog.items
    new = items.head(1).with_columns(id=pl.lit("new"), train_count=pl.lit(0, pl.Int64))
    catalog = Catalog(pl.concat([new, items.filter(pl.col("id") != data.catalog.ids[gone])]))  # other indices
    other = model.with_catalog(catalog, features_for_catalog(data.features, catalog))
    after = [[catalog.ids[i] for i in row] for row in other.generate(requests, 6).items[:, 0]]
    assert not any(data.catalog.ids[gone] in row for row in after)
    kept = [[data.catalog.ids[i] for i in row if i != gone] for row in before]
    assert [row[: len(was)] for row, was in zip(after, kept, strict=True)] == kept


@pytest.mark.parametrize("target", ["residual", "direct"])
def test_prompt2vec_is_ridge_regression(data, target):
    from sklearn.linear_model import Ridge

    items = data.features.items().astype(float)
    X = data.features.prompts(data.slates["prompt"].to_list()).astype(float)
    Y = np.stack([items[row].mean(axis=0) for row in data.slates["items"].to_list()])
    prompts = ["some words of nothing", data.slates["prompt"][0]]
    Q = data.features.prompts(prompts).astype(float)
    ridge = Ridge(alpha=3.0).fit(X, Y - X if target == "residual" else Y)
    expected = ridge.predict(Q) + (Q if target == "residual" else 0)
    model = fitted("prompt2vec", data, target=target)
    np.testing.assert_allclose(model.centres(make_requests(prompts)), expected, atol=1e-5)
    assert model.report.notes["target"] == target
    assert model.cost(5) == {"parameters": 64 * 64 + 64, "nfe": 1}


def test_prompt2vec_turns_direct_where_items_are_word2vec(dataset, data):
    class OtherSpace:
        encoder, version = "word2vec", "1"
        items = staticmethod(lambda: np.random.default_rng(0).standard_normal((240, 16)).astype(np.float32))
        item_texts, prompts = data.features.item_texts, data.features.prompts

    other = data.__class__(**{**vars(data), "features": OtherSpace()})
    model = fitted("prompt2vec", other)
    assert model.report.notes["target"].startswith("direct")
    assert model.centres(make_requests(["x"])).shape == (1, 16)
    model.generate(dataset.test.requests, 5).check(dataset.test.requests, 240, 5, 1)


def test_prompt2vec_skips_train_prompts_without_a_slate(data):
    items = data.slates["items"].to_list()
    hole = data.slates.with_columns(pl.Series("items", [[], *items[1:]], dtype=pl.List(pl.Int64)))
    cut = data.__class__(**{**vars(data), "slates": hole})
    rest = data.__class__(**{**vars(data), "slates": data.slates[1:]})
    np.testing.assert_allclose(*(fitted("prompt2vec", data).centres(make_requests(["x"])) for data in (cut, rest)))


@pytest.mark.parametrize("address", ["random", "popularity", "bm25", "dense", "prompt-knn", "hybrid"])
def test_without_a_single_train_slate(address, dataset, data):
    empty = data.__class__(**{**vars(data), "slates": data.slates.head(0)})
    requests = dataset.test.requests
    fitted(address, empty).generate(requests, 5).check(requests, 240, 5, 1)


def test_prompt2vec_without_a_single_train_slate_says_so(data):
    empty = data.__class__(**{**vars(data), "slates": data.slates.head(0)})
    with pytest.raises(SlateBenchError, match="has none"):
        fitted("prompt2vec", empty)


@pytest.mark.parametrize("address", ["random", "popularity", "bm25:sampled", "dense", "prompt-knn", "prompt2vec"])
def test_with_all_items_in_the_question_every_slot_is_empty(address, data):
    requests = make_requests(["x", "y"], seed_items=[list(range(240)), list(range(1, 240))])
    slates = fitted(address, data).generate(requests, 3)
    assert slates.items[:, 0].tolist() == [[-1, -1, -1], [0, -1, -1]]


def test_prior_scales(dataset, data):
    requests = dataset.test.requests.head(6)
    prompts = requests["prompt"].to_list()
    dense = data.features.prompts(prompts).astype(float) @ data.features.item_texts().astype(float).T
    bm25 = BM25Index.build(data.catalog.texts).scores(prompts)
    prior = RetrievalPrior.build(data.catalog, data.features)

    def z(x):
        return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)

    np.testing.assert_allclose(prior.scores(requests), z(dense) + 0.25 * z(bm25), atol=1e-6)
    logit = 25 * (dense + 0.5 * bm25 / bm25.max(axis=1, keepdims=True))
    np.testing.assert_allclose(prior.scores(requests, "logit", gamma=25), logit, atol=1e-6)
    np.testing.assert_allclose(prior.scores(requests, "logit", gamma=1, bm25_weight=0), dense, atol=1e-6)


def test_prior_of_a_prompt_without_words_is_finite(data):
    prior = RetrievalPrior.build(data.catalog, data.features)
    for scale in ("zscored", "logit"):
        assert np.isfinite(prior.scores(make_requests(["", "zzz"]), scale)).all()
    assert prior.scores(make_requests([])).shape == (0, 240)


def test_zscore_has_mean_zero_and_spread_one():
    z = zscore(np.random.default_rng(0).gamma(2, size=(5, 100)))
    np.testing.assert_allclose(z.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=1), 1)


def test_hybrid_is_the_top_of_the_prior(dataset, data):
    requests = dataset.test.requests
    scores = RetrievalPrior.build(data.catalog, data.features).scores(requests)
    got = fitted("hybrid", data).generate(requests, 5).items[:, 0]
    np.testing.assert_allclose(np.take_along_axis(scores, got, 1), -np.sort(-scores, axis=1)[:, :5])


def test_hybrid_without_bm25_ranks_like_dense(dataset, data):
    requests = dataset.test.requests
    hybrid = fitted("hybrid", data, bm25_weight=0.0).generate(requests, 5).items
    dense = fitted("dense", data).generate(requests, 5).items
    assert (hybrid == dense).mean() > 0.99


@pytest.mark.parametrize("address", ["bm25", "dense", "hybrid", "prompt2vec"])
def test_a_new_item_is_found_by_its_text(address, data):
    model = fitted(address, data)
    text = "unheard words altogether"
    new = data.catalog.items.head(1).with_columns(id=pl.lit("new"), text=pl.lit(text))
    catalog = Catalog(pl.concat([data.catalog.items, new]))
    other = model.with_catalog(catalog, features_for_catalog(data.features, catalog))
    assert 240 in other.generate(make_requests([text]), 5).items
    assert model.generate(make_requests([text]), 5).items.max() < 240


@pytest.mark.parametrize("name", ["bm25", "dense"])
def test_sampled_presets_give_fresh_slates_without_a_new_fit(name, dataset, data):
    model = fitted(name, data)
    sampling = resolve(type(model), ["sampled"], "standard", {}).sampling
    requests = dataset.test.requests
    best = model.generate(requests, 5).items[:, 0]
    drawn = model.generate(requests, 5, samples=4, sampling=sampling).items
    fresh = np.mean([~np.isin(two, one) for one, two in zip(drawn[:, 0], drawn[:, 1], strict=True)])
    assert 0.05 < fresh < 0.95
    assert np.mean([np.isin(d, b).mean() for d, b in zip(drawn[:, 0], best, strict=True)]) > 0.2
