"""A new model to start from (`slatebench models new NAME`): a small plug-in package that passes the contract suite."""

from __future__ import annotations

import re
from pathlib import Path

from ..datasets.errors import UsageError
from .registry import ENTRY_POINTS, model_names

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "slatebench-{name}"
version = "0.1.0"
dependencies = ["slatebench"]

[project.entry-points."{group}"]
{name} = "{module}:{cls}"

[tool.setuptools]
py-modules = ["{module}"]
"""

MODULE = '''\
"""{name}: say in one line what it does."""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from slatebench.models.base import FitReport, ModelCard, Settings, SlateModel, no_progress
from slatebench.models.ranking import rank


class {cls}(SlateModel):
    """Scores every item for a prompt; here: cosine of their texts, plus a share of popularity.

    To answer histories too, add "history" to the card's conditions (or override `conditions()`, where a setting
    decides): requests then hold lists of item numbers in `history`, oldest first, and no prompt; `data.sequences` holds
    what users had. `rank` leaves out what a slate may not hold; elsewhere ask `slatebench.datasets.schema.forbidden`.
    """

    name = "{name}"
    card = ModelCard(
        title="{name}",
        paper="none yet",
        conditions=frozenset({{"prompt"}}),
        summary="Cosine of prompt and item text, plus a share of popularity.",
        departures=(),  # from the paper, and why
    )

    class Config(Settings):
        """What needs a new fit."""

        popularity: float = Field(0.1, ge=0, description="share of log popularity")

    class Sampling(Settings):
        """What can change without one."""

        temperature: float = Field(0.0, ge=0, description="of Gumbel top-k; 0 = the best k")

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {{"sampled": {{"temperature": 0.1}}}}

    def fit(self, data, *, seed=0, evaluate=None, progress=no_progress):
        """Learn from data.slates; keep what `generate` needs."""
        self.catalog, self.features = data.catalog, data.features
        self.bonus = self.config.popularity * np.log1p(data.catalog.train_count)
        return FitReport()

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        """Slates [P, samples, k]."""
        temperature = self._asked(sampling).temperature

        def score(part):  # [P, N]
            return self.features.prompts(part["prompt"].to_list()) @ self.features.item_texts().T + self.bonus

        return rank(requests, k, score, self.catalog, samples=samples, seed=seed, temperature=temperature)

    def stochastic(self, sampling=None):
        """Do two samples differ?"""
        return self._asked(sampling).temperature > 0

    def arrays(self):
        """What was learned, for `save`."""
        return {{"bonus": self.bonus}}

    def restore(self, arrays):
        """The way back."""
        self.bonus = arrays["bonus"]
'''

README = """\
# slatebench-{name}

    pip install -e .
    slatebench models test {name}
    slatebench bench {name} dense --dataset bundle
"""


def write_skeleton(name: str, folder: Path) -> Path:
    """Write a plug-in package for a model called `name` into `folder/slatebench-<name>`.

    Returns:
        The package's folder: pyproject.toml with the entry point, one module, README.md.

    Raises:
        UsageError: the name is taken or no name for a model, or the folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"'{name}' is no name for a model: use lower-case letters, digits and single hyphens")
    if name in model_names():
        raise UsageError(f"there is a model '{name}' already: choose another name")
    target = folder / f"slatebench-{name}"
    try:
        target.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"{target} is there already: remove it or choose another folder") from error
    module = f"slatebench_{name.replace('-', '_')}"
    words = {"name": name, "module": module, "cls": _class_name(name), "group": ENTRY_POINTS}
    for file, text in (("pyproject.toml", PYPROJECT), (f"{module}.py", MODULE), ("README.md", README)):
        (target / file).write_text(text.format(**words), encoding="utf-8")
    return target


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))
