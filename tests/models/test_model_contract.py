import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pydantic import Field

from slatebench.datasets.errors import UsageError
from slatebench.datasets.schema import EMPTY, Slates, forbidden
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import make_features
from slatebench.models import testing
from slatebench.models.base import FitReport, Settings
from slatebench.models.registry import model_class, model_names
from slatebench.models.retrieval.bm25 import BM25
from slatebench.models.retrieval.dense import Dense
from slatebench.models.retrieval.markov import Markov
from slatebench.models.retrieval.popularity import Popularity
from slatebench.models.retrieval.random import Random
from slatebench.models.testing import QUALITY, QUALITY_OF_HISTORIES, fixture_dataset, history_fixture, run_contract

ADDRESSES = [
    address for name in model_names() for address in (name, *(f"{name}:{p}" for p in model_class(name).PRESETS))
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_contract(address):
    failed = [check for check in run_contract(address) if not check.passed]
    assert not failed, failed


def test_every_retrieval_model_is_held_to_a_quality_band():
    retrieval = {"random", "popularity", "bm25", "dense", "prompt-knn", "prompt2vec", "hybrid"}
    assert retrieval <= {address.partition(":")[0] for address in QUALITY}
    on_histories = {"random", "popularity", "popularity:recent", "dense:history", "markov", "item-knn", "ease"}
    assert on_histories <= QUALITY_OF_HISTORIES.keys() <= {*ADDRESSES}


def test_unknown_models_and_presets_are_usage_errors():
    with pytest.raises(UsageError, match="did you mean 'bm25'"):
        run_contract("bm52")
    with pytest.raises(UsageError, match="unknown preset of bm25 'smapled': did you mean 'sampled'"):
        run_contract("bm25:smapled")


def test_contract_on_other_data_with_other_features(tmp_path):
    dataset = replace(fixture_dataset(), name="mine", slate_length=4)
    features = make_features(dataset, encoder="hash", cache=tmp_path)
    failed = [check for check in run_contract("dense:sampled", dataset, features) if not check.passed]
    assert not failed, failed


@pytest.mark.parametrize("address", ["dense", "prompt-knn", "prompt2vec", "hybrid"])
def test_contract_where_items_are_word2vec(tmp_path, address):
    dataset = fixture_dataset()
    dataset = replace(dataset, card=dataset.card.model_copy(update={"item_vectors": "word2vec"}))
    failed = [
        c
        for c in run_contract(address, dataset, make_features(dataset, encoder="hash", cache=tmp_path))
        if not c.passed
    ]
    assert not failed, failed


def test_contract_on_other_histories(tmp_path):
    dataset = replace(history_fixture(), name="mine", slate_length=4)
    features = make_features(dataset, encoder="hash", cache=tmp_path)
    failed = [check for check in run_contract("item-knn", dataset, features) if not check.passed]
    assert not failed, failed


def test_a_model_is_asked_with_what_it_answers():
    def names(address):
        return {check.name for check in run_contract(address)}

    assert "odd prompts" in names("bm25") and "odd histories" not in names("bm25")
    assert "odd histories" in names("markov") and "odd prompts" not in names("markov")
    assert {"odd histories", "odd prompts"} <= names("popularity")


class Repeats(Popularity):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        slates = super().generate(requests, k, samples=samples).items
        slates[..., -1] = slates[..., 0]
        return Slates(slates)


class EmitsSeeds(Popularity):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        return super().generate(requests.with_columns(seed_items=[]), k, samples=samples)


class Float(Popularity):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        return Slates(super().generate(requests, k, samples=samples).items.astype(float))


class NoiseByRow(Random):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        rng = np.random.default_rng(seed)
        N = len(self.catalog)
        items = np.full((requests.height, samples, k), -1)
        for p, seeds in enumerate(requests["seed_items"].to_list()):
            for s in range(samples):
                free = rng.permutation(np.setdiff1d(np.arange(N), seeds))[:k]
                items[p, s, : len(free)] = free
        return Slates(items)


class Unseeded(NoiseByRow):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        return super().generate(requests, k, samples=samples, seed=int.from_bytes(os.urandom(4)))


class SaysDeterministic(Random):
    def stochastic(self, sampling=None):
        return False


class Forgets(BM25):
    def restore(self, arrays):
        super().restore(arrays)
        self.index.weights.data[:] = 0


class Pickles(Popularity):
    def save(self, folder):
        super().save(folder)
        (folder / "model.pkl").write_bytes(b"")


class WritesIntoFeatures(Dense):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        self.features.item_texts()[0] = 0
        return super().generate(requests, k, samples=samples)


class Peeks(Popularity):
    part = fixture_dataset().test

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        assert len(self.part.references)
        return super().generate(requests, k, samples=samples)


class Costless(Popularity):
    def cost(self, k, sampling=None):
        return {"parameters": float("nan"), "nfe": 0}


class Cardless(Popularity):
    card = Popularity.card.__class__("", "", frozenset(), "")


class Overlapping(Random):
    class Config(Settings):
        alpha: float = Field(1, description="x")

    class Sampling(Settings):
        alpha: float = Field(1, description="y")


class BadPreset(Popularity):
    PRESETS = {"odd": {"no_such": 1}}  # noqa: RUF012


class OtherEachFit(Popularity):
    def fit(self, data, *, seed=0, evaluate=None, progress=None):
        super().fit(data)
        self.shift = seed
        return FitReport()

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        items = np.roll(super().generate(requests, k, samples=samples).items, getattr(self, "shift", 0), axis=-1)
        return Slates(items)


class Bad(Dense):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        return Popularity.generate(self, requests, k, samples=samples)  # pyright: ignore


class EmitsTheHistory(Markov):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        return super().generate(requests.with_columns(repeats=True), k, samples=samples)


class LeavesSlotsEmpty(Markov):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        slates = super().generate(requests, k, samples=samples)
        slates.items[..., -1] = EMPTY
        return slates


class LooksUpEveryItem(Markov):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        [self.catalog.ids[i] for history in requests["history"].to_list() for i in history]
        return super().generate(requests, k, samples=samples)


class NeedsAHistory(Markov):
    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        [history[-1] for history in requests["history"].to_list()]
        return super().generate(requests, k, samples=samples)


class NeedsTimes(Markov):
    def fit(self, data, *, seed=0, evaluate=None, progress=None):
        max(time for times in data.sequences["times"].drop_nulls().to_list() for time in times)
        return super().fit(data)


class ByNumber(Markov):
    """The last items of the catalogue, whatever was asked: hardly anybody had them."""

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        best = range(len(self.catalog) - 1, -1, -1)
        items = [[i for i in best if i not in barred][:k] for barred in forbidden(requests)]
        items = [row + [EMPTY] * (k - len(row)) for row in items]
        return Slates(np.repeat(np.array(items, np.int64).reshape(-1, 1, k), samples, axis=1))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Repeats, "slates keep their shape"),
        (Float, "slates keep their shape"),
        (EmitsSeeds, "seed items are never emitted"),
        (NoiseByRow, "noise hangs on the request alone"),
        (Unseeded, "same seed same bytes"),
        (SaysDeterministic, "stochastic says the truth"),
        (Forgets, "save and load"),
        (Pickles, "save and load"),
        (WritesIntoFeatures, "slates keep their shape"),  # features are read-only
        (Peeks, "slates keep their shape"),  # references are closed
        (Costless, "cost"),
        (Cardless, "card is complete"),
        (Overlapping, "settings"),
        (BadPreset, "presets and budgets"),
        (OtherEachFit, "fit can be repeated"),
        (Bad, "quality"),
        (EmitsTheHistory, "items of the history are never emitted"),
        (LeavesSlotsEmpty, "slates are full"),
        (LooksUpEveryItem, "odd histories"),
        (NeedsAHistory, "odd histories"),
        (NeedsTimes, "without times"),
        (ByNumber, "better than chance"),
    ],
)
def test_the_suite_finds_a_broken_promise(monkeypatch, broken, check):
    monkeypatch.setattr(testing, "model_class", lambda name: broken)
    checks = {c.name: c for c in run_contract(broken.name)}
    assert not checks[check].passed
    assert checks[check].message


def test_a_fit_that_fails_is_one_check(monkeypatch):
    class Fails(Popularity):
        def fit(self, data, *, seed=0, evaluate=None, progress=None):
            raise ValueError("no luck")

    monkeypatch.setattr(testing, "model_class", lambda name: Fails)
    [check] = run_contract("popularity")
    assert (check.name, check.passed, check.message) == ("fit", False, "ValueError: no luck")


LOAD = """
import json, sys
from pathlib import Path
from slatebench.models.retrieval.prompt2vec import Prompt2Vec
from slatebench.models.testing import fixture_dataset
model = Prompt2Vec.load(Path(sys.argv[1]))
print(json.dumps(model.generate(fixture_dataset().test.requests, 5).items.tolist()))
"""


def test_a_fresh_process_loads_the_same_model(tmp_path):
    dataset = fixture_dataset()
    data = train_data(dataset, make_features(dataset, encoder="hash", cache=tmp_path / "cache"))
    model = model_class("prompt2vec")()
    model.fit(data)
    model.save(tmp_path / "model")
    env = os.environ | {"SLATEBENCH_CACHE": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model")], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == model.generate(dataset.test.requests, 5).items.tolist()


def test_no_model_here_loads_torch():
    names = ("bm25", "dense", "prompt-knn", "prompt2vec", "hybrid", "random", "popularity")
    code = (
        "import sys; from slatebench.models.registry import model_class, model_titles; model_titles()\n"
        "assert 'slatebench.models.retrieval.bm25' not in sys.modules\n"
        f"[model_class(n) for n in {names}]\n"
        "bad = {'torch', 'faiss', 'sklearn', 'transformers', 'lightning', 'mlflow', 'gensim'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
