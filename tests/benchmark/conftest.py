"""A small plug-in dataset and plug-in models, installed as pip would: a module and a dist-info with entry points."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DATASET = """
from dataclasses import replace

from slatebench.models.testing import fixture_dataset


def card():
    return fixture_dataset().card.model_copy(update={"name": "small", "loader": "tiny_dataset.card:load"})


def load(card, folder, split_seed):
    return replace(fixture_dataset(), name="small", card=card)
"""

BASE = '''
import numpy as np
from pydantic import Field
from slatebench.datasets.schema import Slates
from slatebench.models.base import FitReport, ModelCard, Settings, SlateModel


class Plain(SlateModel):
    """The first k items, whatever is asked."""

    name = "plain"
    card = ModelCard("Plain", "none", frozenset({"prompt"}), "The first k items.")

    def fit(self, data, *, seed=0, evaluate=None, progress=None):
        self.catalog, self.features = data.catalog, data.features
        return FitReport()

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        return Slates(np.tile(np.arange(k), (requests.height, samples, 1)))

    def arrays(self):
        return {}

    def restore(self, arrays):
        pass
'''


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, dict[str, str]], None]]:
    """install(source, {name: class}): plug-in models in a module of their own, and the dataset `small`."""
    folder: Path = tmp_path_factory.mktemp("plugins")
    (folder / "tiny_dataset").mkdir()
    (folder / "tiny_dataset" / "__init__.py").touch()
    (folder / "tiny_dataset" / "card.py").write_text(DATASET)
    (folder / "plain_model.py").write_text(BASE)

    def make(source: str, models: dict[str, str]) -> None:
        (folder / "odd_models.py").write_text(textwrap.dedent(source))
        info = folder / "odd_models-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-models\nVersion: 0.1.0\n")
        entries = ["[slatebench.datasets]", "small = tiny_dataset.card:card", "[slatebench.models]"]
        entries += [f"{name} = odd_models:{attribute}" for name, attribute in models.items()]
        (info / "entry_points.txt").write_text("\n".join(entries) + "\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *others]))
        patch.setenv("SLATEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make
