"""A fitted DMSG on the contract fixture, small enough for seconds."""

import pytest
import torch

from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import make_features
from slatebench.models.base import resolve
from slatebench.models.latent.dmsg import DMSG
from slatebench.models.testing import fixture_dataset


@pytest.fixture(scope="session")
def dataset():
    torch.set_num_threads(1)
    return fixture_dataset()


@pytest.fixture(scope="session")
def features(dataset, tmp_path_factory):
    return make_features(dataset, encoder="hash", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def data(dataset, features):
    return train_data(dataset, features, valid_limit=20)


@pytest.fixture(scope="session")
def make_model():
    """A small unfitted model: class, presets and values."""

    def make(cls=DMSG, presets=(), **values):
        settings = resolve(cls, list(presets), "smoke", values)
        return cls(settings.config, settings.sampling)

    return make


@pytest.fixture(scope="session")
def fitted(data, make_model):
    model = make_model(max_steps=200, seed_rate=0.3)
    model.report = model.fit(data)
    return model
