"""What a model may see when it is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from .schema import Catalog, SlateDataset
from .tasks import task_named

if TYPE_CHECKING:
    from .vectors.features import Features


@dataclass(frozen=True)
class TrainData:
    """All that a model may see when it is fitted: no test part, no references of the validation part.

    Attributes:
        slates: train requests (REQUEST_SCHEMA) with their slates in a column `items`.
            Of a task that asks with histories: each user's last slate before those of validation and test.
        sequences: what users had before validation and test (SEQUENCE_SCHEMA); None where there are no histories.
            For a refit: before test, and the validation slates stand among `slates`.
        valid_requests: the requests whose slates the `evaluate` handed to `fit` expects, in this order.
    """

    dataset: str
    fingerprint: str
    catalog: Catalog
    features: Features
    slates: pl.DataFrame
    valid_requests: pl.DataFrame
    slate_length: int
    sequences: pl.DataFrame | None = None


def train_data(
    dataset: SlateDataset, features: Features, valid_limit: int | None = None, refit: bool = False
) -> TrainData:
    """What a model may see of `dataset`.

    Args:
        dataset: the dataset.
        features: its vectors; those of a refit are made from train alone, too.
        valid_limit: how many validation requests, a fixed choice (default: the task's).
        refit: learn from the validation part as well; train counts of the catalogue stay those of train.
    """
    valid, limit = dataset.valid.requests, valid_limit or task_named(dataset.card.task).valid_requests
    if valid.height > limit:
        keep = np.sort(np.random.default_rng(0).permutation(valid.height)[:limit])
        valid = valid[keep]
    learnt = [part.requests.join(part.references, on="request", how="left", maintain_order="left")
              for part in ((dataset.train, dataset.valid) if refit else (dataset.train,))]  # fmt: skip
    return TrainData(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        catalog=dataset.catalog,
        features=features,
        slates=pl.concat([slates.select(learnt[0].columns) for slates in learnt]),
        valid_requests=valid,
        slate_length=dataset.slate_length,
        sequences=dataset.before_test if refit else dataset.sequences,
    )
