"""generate() of every registered model at batch 1 and 32, on the contract fixture: one group per batch size."""

from __future__ import annotations

from pathlib import Path

import pytest

from slatebench.datasets.schema import SlateDataset
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import Features, make_features
from slatebench.models.base import resolve
from slatebench.models.registry import BUILTIN, model_class
from slatebench.models.testing import fixture_dataset


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlateDataset, Features, dict]:
    """The fixture, its features with the hash encoder, and models fitted so far."""
    dataset = fixture_dataset()
    cache: Path = tmp_path_factory.mktemp("cache")
    return dataset, make_features(dataset, encoder="hash", cache=cache).live(), {}


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("name", list(BUILTIN))
def test_generate(name: str, batch: int, bed, benchmark) -> None:  # type: ignore[no-untyped-def]
    dataset, features, fitted = bed
    if name not in fitted:
        cls = model_class(name)
        settings = resolve(cls, [], "smoke", {})
        model = cls(settings.config, settings.sampling)
        model.fit(train_data(dataset, features), seed=0)
        fitted[name] = model
    requests = dataset.test.requests.head(batch)
    benchmark.group = f"generate, batch {batch}"
    benchmark.extra_info["nfe"] = fitted[name].cost(5)["nfe"]

    def once() -> object:
        features.forget()  # or the prompts of the round before would cost nothing
        return fitted[name].generate(requests, 5)

    slates = benchmark.pedantic(once, rounds=20, warmup_rounds=2)
    slates.check(requests, len(dataset.catalog), 5, 1)
