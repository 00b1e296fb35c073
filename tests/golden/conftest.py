"""The tiny datasets of the golden entries, their features, and `--golden-write`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from slatebench.datasets.schema import SlateDataset
from slatebench.datasets.train_data import TrainData, train_data
from slatebench.datasets.vectors.features import make_features

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from golden import Goldens  # noqa: E402
from golden_dataset import golden_dataset, golden_histories  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-write",
        action="store_true",
        help="tests/golden: write missing entries and those of another version (never another output of the same one)",
    )


@pytest.fixture(scope="session")
def goldens(request: pytest.FixtureRequest) -> Callable[[str], Goldens]:
    """The entries of tests/golden/NAME.json."""
    write = request.config.getoption("--golden-write", False)
    return lambda name: Goldens(HERE / f"{name}.json", write)


@pytest.fixture(scope="session")
def dataset() -> SlateDataset:
    return golden_dataset()


@pytest.fixture(scope="session")
def data(dataset: SlateDataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainData]:
    """What models see; semantic ids are fitted once for all of them, in a cache of its own."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLATEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield train_data(dataset, make_features(dataset, encoder="hash"))


@pytest.fixture(scope="session")
def histories() -> SlateDataset:
    return golden_histories()


@pytest.fixture(scope="session")
def history_data(histories: SlateDataset, data: TrainData) -> TrainData:
    """What models see of the histories; in the cache of `data`."""
    return train_data(histories, make_features(histories, encoder="hash"))
