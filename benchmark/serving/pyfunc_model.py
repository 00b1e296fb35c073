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
import polars as pl
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from slatebench.benchmark.cells.cell import seeded
from slatebench.benchmark.serving.items import item_named
from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.output import is_text
from slatebench.datasets.schema import EMPTY, Catalog, make_requests
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


def _cells(model_input: Any, column: str, example: str) -> list[Any]:
    """The cells of the one column that is read.

    Raises:
        MlflowException: there is no such column, two of them, or nothing in it.
    """
    table = pd.DataFrame(model_input)
    if column not in table:
        raise _mistake(f'name the column "{column}", e.g. {{"inputs": {{"{column}": [{example}]}}}}')
    if table[column].ndim > 1:
        raise _mistake(f"there are two columns {column}: send one")
    cells = [list(cell) if isinstance(cell, list | tuple | np.ndarray) else cell for cell in table[column]]
    if not cells:
        raise _mistake(f"there is no {column}: say what the slate is for")
    return cells


def _text(what: str, row: int, cell: Any) -> str:
    """A cell that is text, not empty.

    Raises:
        MlflowException: it is not.
    """
    if not isinstance(cell, str):
        missing = pd.api.types.is_scalar(cell) and pd.isna(cell)
        raise _mistake(f"{what} is {'missing' if missing else 'not text'} (row {row})")
    if not is_text(cell):
        raise _mistake(f"{what} is not UTF-8 text (row {row})")
    if not normalised(cell):
        raise _mistake(f"{what} is empty (row {row}): say what the slate is for")
    return composed(cell)


def _prompts(model_input: Any) -> list[str]:
    """The prompts of a table with a column `prompt`; a cell may hold a list of them.

    Raises:
        MlflowException: there is none, or one is missing, empty or not text.
    """
    prompts: list[Any] = []
    for cell in _cells(model_input, "prompt", '"camping trip with kids"'):
        prompts += cell if isinstance(cell, list) else [cell]
    if not prompts:
        raise _mistake("there is no prompt: say what the slate is for")
    return [_text("a prompt", row, prompt) for row, prompt in enumerate(prompts, 1)]


def _histories(model_input: Any, catalog: Catalog) -> list[list[int]]:
    """The histories of a table with a column `history`: a list of ids or titles in each cell, or one in all cells.

    Raises:
        MlflowException: there is none, or one holds what is not text, or an item that nobody knows.
    """
    cells = _cells(model_input, "history", '["id or title", "another"]')
    histories = cells if any(isinstance(cell, list) for cell in cells) else [cells]
    found = []
    for row, history in enumerate(histories, 1):
        if not isinstance(history, list) or not history:
            raise _mistake(f"a history is {'empty' if history == [] else 'no list'} (row {row}): list ids or titles")
        names = [_text("an item of a history", row, name) for name in history]
        try:
            found.append([item_named(name, catalog, "this catalogue") for name in names])
        except SlateBenchError as error:
            raise _mistake(f"{error} (row {row})") from error
    return found


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
    """Prompts or histories in, slates with titles out."""

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
        self.k, self.asks = int(context.model_config["k"]), context.model_config["asks"]

    # of a table MLflow takes no signature (it would of other types), and asks for no types with a warning
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per request and sample: prompt (or the titles of the history), sample, ids, titles (best first).

        Args:
            context: unused.
            model_input: a table with the column `prompt`, or `history` (ids or titles) where histories are asked with;
                no item of a history is emitted again.
            params: `k` slots (0: the dataset's), `samples`, `seed`.

        Raises:
            MlflowException: no such column, a cell that is missing, empty or not text, an unknown item, a parameter
                out of range.
        """
        asked = {"k": 0, "samples": 1, "seed": 0} | (params or {})
        catalog = self.model.catalog
        if self.asks == "history":
            histories = _histories(model_input, catalog)
            requests = make_requests([""] * len(histories), histories=histories).with_columns(repeats=pl.lit(False))
            shown: list[Any] = [[catalog.titles[i] for i in history] for history in histories]
        else:
            shown = _prompts(model_input)
            requests = make_requests(shown)
        k = self.k if asked["k"] == 0 else _number(asked, "k", 1, len(catalog))
        samples, seed = _number(asked, "samples", 1, 100), _number(asked, "seed", 0, 2**63 - 1)
        samples = samples if self.model.stochastic() else 1
        distinct = requests.unique("request", maintain_order=True)  # the id is the hash of what is asked
        slates = self.model.generate(
            distinct, k, samples=samples, seed=seeded(seed, "sampling")
        ).items  # [distinct requests, samples, k]
        place = {request: i for i, request in enumerate(distinct["request"])}
        rows = []
        for what, request in zip(shown, requests["request"], strict=True):
            for sample, slate in enumerate(slates[place[request]]):
                items = slate[slate != EMPTY].astype(np.int64).tolist()
                rows.append({
                    self.asks: what, "sample": sample,
                    "ids": [catalog.ids[i] for i in items], "titles": [catalog.titles[i] for i in items],
                })  # fmt: skip
        return pd.DataFrame(rows)


set_model(Recommender())
