"""The order of the emitted slate: the same items, nearest to the prompt first."""

from __future__ import annotations

import numpy as np
import pytest

from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import make_features
from slatebench.models.base import resolve
from slatebench.models.ordering import by_cosine
from slatebench.models.registry import model_class, model_names, parse_model
from slatebench.models.testing import fixture_dataset

RANKED = [f"{name}:ordered" for name in model_names() if "ordered" in model_class(name).PRESETS]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLATEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = fixture_dataset()
        yield train_data(dataset, make_features(dataset, encoder="hash"))


def slates(data, address, requests, k, samples=1, **values):
    name, presets = parse_model(address)
    cls = model_class(name)
    small = {key: value for key, value in {"max_steps": 2, "codes": 8}.items() if key in cls.Config.model_fields}
    found = resolve(cls, presets, "smoke", small | values)
    model = cls(found.config, found.sampling)
    model.fit(data, seed=1)
    return model.generate(requests, k, samples=samples, seed=5).items


def cosines(data, requests, items):
    queries = data.features.prompts(requests["prompt"].to_list())
    near = np.einsum("pskd,pd->psk", data.features.item_texts()[np.maximum(items, 0)], queries)
    return np.where(items < 0, -np.inf, near)


def test_the_baselines_that_may_be_ordered():
    assert {"bm25:ordered", "hybrid:ordered", "prompt2vec:ordered", "prompt-knn:ordered"} <= set(RANKED)


@pytest.mark.parametrize("address", RANKED)
def test_ordered_holds_the_same_items_nearest_first_and_empty_slots_last(data, address):
    requests = data.valid_requests.head(12)
    whole = len(data.catalog)
    for k in (5, whole + 3):
        plain = slates(data, address.removesuffix(":ordered"), requests, k, samples=2)
        ordered = slates(data, address, requests, k, samples=2)
        assert np.array_equal(np.sort(plain), np.sort(ordered))
        found = cosines(data, requests, ordered)
        assert (found[..., 1:] <= found[..., :-1] + 1e-5).all() and ((ordered < 0) == np.isneginf(found)).all()


@pytest.mark.parametrize("address", ["higr", "higr:parallel", "s2s", "s2s:sids", "maskgr"])
def test_decoders_order_by_the_prompt_unless_told_otherwise(data, address):
    requests = data.valid_requests.head(12)
    decoded = slates(data, address, requests, 5, order="slot")
    found = slates(data, address, requests, 5)
    queries = data.features.prompts(requests["prompt"].to_list())
    assert np.array_equal(found, by_cosine(decoded, queries, data.features.item_texts()))
    assert not np.array_equal(found, decoded)
    sure = slates(data, address, requests, 5, order="confidence")
    assert np.array_equal(np.sort(sure), np.sort(decoded))
