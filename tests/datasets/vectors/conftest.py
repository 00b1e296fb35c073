from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from features_dataset import small_dataset

from slatebench.datasets.schema import SlateDataset


@pytest.fixture
def dataset() -> SlateDataset:
    return small_dataset()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("SLATEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
