"""One model under test: fitted on a dataset and asked, with the references closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ..datasets.references import references_closed
from ..datasets.schema import SlateDataset, Slates
from ..datasets.tasks import task_named
from ..datasets.train_data import TrainData, train_data
from ..datasets.vectors.features import Features
from .base import Condition, FitReport, Resolved, Settings, SlateModel


@dataclass
class Case:
    """A model at an address, on one dataset, with its settings and a folder of its own."""

    address: str
    cls: type[SlateModel]
    settings: Resolved
    dataset: SlateDataset
    features: Features
    folder: Path
    on_fixture: bool
    model: SlateModel = field(init=False)
    report: FitReport = field(init=False)

    @cached_property
    def data(self) -> TrainData:
        """What the model sees when it is fitted."""
        return train_data(self.dataset, self.features, valid_limit=20)

    @cached_property
    def requests(self) -> pl.DataFrame:
        """Twelve of the test part."""
        return self.dataset.test.requests.head(12)

    @property
    def k(self) -> int:
        """Slots of a slate."""
        return self.dataset.slate_length

    @property
    def condition(self) -> Condition:
        """What the dataset asks with."""
        return task_named(self.dataset.card.task).condition

    def evaluate(self, slates: Slates) -> float:
        """What `benchmark` hands in: the only way in which a fit hears of the validation references."""
        requests = self.data.valid_requests
        slates.check(requests, len(self.dataset.catalog), self.k, 1)
        with references_closed(False):
            return recall(slates, requests, self.dataset.valid.references)

    def fitted(self, seed: int, data: TrainData | None = None) -> SlateModel:
        """A model fitted with the references closed; on the case's data unless on others."""
        model = self.cls(self.settings.config, self.settings.sampling)
        with references_closed():
            self.report = model.fit(data or self.data, seed=seed, evaluate=self.evaluate)
        return model

    def fit(self) -> None:
        """Fit the model that is asked."""
        self.model = self.fitted(seed=0)

    def ask(self, requests: pl.DataFrame, samples: int = 2, *, model: SlateModel | None = None, k: int | None = None,
            seed: int = 0, sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Generate, with the references closed, and check the shape of the answer."""
        model, k = model or self.model, self.k if k is None else k
        with references_closed():
            slates = model.generate(requests, k, samples=samples, seed=seed, sampling=sampling)
        slates.check(requests, len(model.catalog), k, samples)
        return slates


def recall(slates: Slates, requests: pl.DataFrame, references: pl.DataFrame) -> float:
    """Mean share of the reference items that a slate holds: enough to tell a model from chance."""
    right = requests.select("request").join(references, on="request", how="left", maintain_order="left")["items"]
    shares = [np.isin(items, slate).mean() for items, row in zip(right, slates.items, strict=True) for slate in row]
    return float(np.mean(shares))
