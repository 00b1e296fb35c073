"""A fitted recommender as an MLflow model: this file is copied into the model (models-from-code) and run when it loads.

Hence the absolute imports: the copy stands outside the package. The suite itself never imports this file.
"""

# pyright: reportMissingImports=false
# (imports are absolute: MLflow copies this file out of the package, and pyright does not see editable installs)

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from slatebench.benchmark.cells.cell import seeded
from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.output import is_text
from slatebench.datasets.schema import EMPTY, make_requests
from slatebench.datasets.text import composed, normalised
from slatebench.models.registry import model_class


def sha256_of(folder: Path) -> dict[str, str]:
    """sha256 of each file of a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _mistake(what: str) -> MlflowException:
    """The error whose words MLflow's server hands on."""
    return MlflowException.invalid_parameter_value(what)


def _prompts(model_input: Any) -> list[str]:
    """The prompts of a table with a column `prompt`; a cell may hold a list of them.

    Raises:
        MlflowException: there is none, or one is missing, empty or not text.
    """
    table = pd.DataFrame(model_input)
    if "prompt" not in table:
        raise _mistake('name the column "prompt", e.g. {"inputs": {"prompt": ["camping trip with kids"]}}')
    if table["prompt"].ndim > 1:
        raise _mistake("there are two columns prompt: send one")
    prompts: list[Any] = []
    for cell in table["prompt"]:
        prompts += list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    if not prompts:
        raise _mistake("there is no prompt: say what the slate is for")
    for row, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str):
            missing = pd.api.types.is_scalar(prompt) and pd.isna(prompt)
            raise _mistake(f"a prompt is {'missing' if missing else 'not text'} (row {row})")
        if not is_text(prompt):
            raise _mistake(f"a prompt is not UTF-8 text (row {row})")
        if not normalised(prompt):
            raise _mistake(f"a prompt is empty (row {row}): say what the slate is for")
    return [composed(prompt) for prompt in prompts]


def _number(asked: dict[str, Any], name: str, low: int, high: int) -> int:
    """A whole number among the parameters.

    Raises:
        MlflowException: it is none, or out of range.
    """
    value = asked[name]
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
        raise _mistake(f"{name}={value!r:.40}: choose {name} from {low} to {high}")
    return int(value)


class Recommender(PythonModel):
    """Prompts in, slates with titles out."""

    def load_context(self, context: Any) -> None:
        """Check the files and load the fitted model.

        Raises:
            SlateBenchError: the files are not those that were exported.
        """
        folder, wanted = Path(context.artifacts["model"]), context.model_config["sha256"]
        found = sha256_of(folder)
        if found != wanted:
            wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            raise SlateBenchError(f"{folder / wrong[0]}: not the file that was exported (sha256): export the run again")
        self.model = model_class(context.model_config["model"]).load(folder)
        self.k = int(context.model_config["k"])

    # of a table MLflow takes no signature (it would of other types), and asks for no types with a warning
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per prompt and sample: prompt, sample, ids, titles (best first).

        Args:
            context: unused.
            model_input: a table with the column `prompt`.
            params: `k` slots (0: the dataset's), `samples`, `seed`.

        Raises:
            MlflowException: no column `prompt`, a prompt that is missing, empty or not text, a parameter out of range.
        """
        asked = {"k": 0, "samples": 1, "seed": 0} | (params or {})
        prompts, catalog = _prompts(model_input), self.model.catalog
        k = self.k if asked["k"] == 0 else _number(asked, "k", 1, len(catalog))
        samples, seed = _number(asked, "samples", 1, 100), _number(asked, "seed", 0, 2**63 - 1)
        samples = samples if self.model.stochastic() else 1
        distinct = list(dict.fromkeys(prompts))
        slates = self.model.generate(
            make_requests(distinct), k, samples=samples, seed=seeded(seed, "sampling")
        ).items  # [distinct prompts, samples, k]
        place = {prompt: i for i, prompt in enumerate(distinct)}
        rows = []
        for prompt in prompts:
            for sample, slate in enumerate(slates[place[prompt]]):
                items = slate[slate != EMPTY].astype(np.int64).tolist()
                rows.append({
                    "prompt": prompt, "sample": sample,
                    "ids": [catalog.ids[i] for i in items], "titles": [catalog.titles[i] for i in items],
                })  # fmt: skip
        return pd.DataFrame(rows)


set_model(Recommender())
