"""A fitted recommender as an MLflow model: in process and through MLflow's own command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.grids.bench import bench_cells
from slatebench.datasets.errors import SlateBenchError, UsageError

PROMPT = "gift for a friend"


@pytest.fixture(scope="module")
def fitted(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A retrieval and a neural model, and a ceiling."""
    common: dict[str, Any] = {"dataset": "tiny", "budget": "smoke", "encoder": "hash"}
    small = {"max_steps": 4, "width": 16, "layers": 1, "latent_dim": 8}
    cells = [Cell(model="bm25", **common), Cell(model="ceiling:reference", **common),
             Cell(model="dmsg", overrides=small, **common)]  # fmt: skip
    return bench_cells(cells, latency=False, mlflow=False, runs=tmp_path_factory.mktemp("runs") / "my [1] runs").runs


@dataclass
class Exported:
    uri: str
    folder: Path
    run_id: str


@pytest.fixture(scope="module")
def exported(fitted: list[Any]) -> dict[str, Exported]:
    """By the command line, as JSON."""
    from slatebench.benchmark.cli.app import app

    found = {}
    for run in (fitted[0], fitted[2]):
        out = io.StringIO()
        with redirect_stdout(out):
            app(["export-mlflow", str(run.folder), "--json"], standalone_mode=False)
        row = json.loads(out.getvalue())
        found[run.spec.model] = Exported(row["uri"], Path(row["folder"]), row["run_id"])
    assert "MLFLOW_TRACKING_URI" not in os.environ
    return found


@pytest.fixture(scope="module")
def loaded(exported: dict[str, Exported]) -> dict[str, Any]:
    import mlflow

    return {model: mlflow.pyfunc.load_model(str(made.folder)) for model, made in exported.items()}


def titles(run: Any) -> dict[str, str]:
    catalog = pl.read_parquet(run.folder / "model" / "catalog.parquet", glob=False)
    return dict(zip(catalog["id"], catalog["title"], strict=True))


@pytest.mark.parametrize("model", ["bm25", "dmsg"])
def test_it_answers_as_the_fitted_model_does(fitted: list[Any], loaded: dict[str, Any], model: str) -> None:
    from slatebench.benchmark.cells.cell import seeded
    from slatebench.datasets.schema import make_requests
    from slatebench.models.registry import model_class

    run = next(run for run in fitted if run.spec.model == model)
    own = model_class(model).load(run.folder / "model")
    samples = 2 if model == "dmsg" else 1
    slates = own.generate(make_requests([PROMPT]), 4, samples=samples, seed=seeded(7, "sampling")).items[0]
    rows = loaded[model].predict(pd.DataFrame({"prompt": [PROMPT, "other", PROMPT]}),
                                 params={"k": 4, "samples": 2, "seed": 7})  # fmt: skip
    assert rows["prompt"].tolist() == np.repeat([PROMPT, "other", PROMPT], samples).tolist()
    assert rows["sample"].tolist() == [*range(samples)] * 3
    assert rows["ids"].tolist()[:samples] == [[own.catalog.ids[i] for i in slate] for slate in slates]
    named = titles(run)
    assert all([named[i] for i in ids] == shown for ids, shown in zip(rows["ids"], rows["titles"], strict=True))
    assert len(loaded[model].predict({"prompt": [PROMPT]})["ids"][0]) == run.spec.k  # the dataset's length


@pytest.mark.parametrize(
    ("asked", "params", "words"),
    [({"prompt": [" "]}, {}, "a prompt is empty"), ({"prompt": ["x"]}, {"k": 10**6}, "choose k from 1"),
     ({"query": ["x"]}, {}, "prompt")],
)  # fmt: skip
def test_a_mistake_is_named(loaded: dict[str, Any], asked: dict[str, Any], params: dict[str, int], words: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=words):
        loaded["bm25"].predict(pd.DataFrame(asked), params=params)


@pytest.fixture(scope="module")
def ask(loaded: dict[str, Any]) -> Any:
    """MLflow's own server around the exported bm25: ask(body) -> status, answer."""
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    client = TestClient(scoring_server.init(loaded["bm25"]), raise_server_exceptions=False)

    def post(body: str) -> tuple[int, Any]:
        answer = client.post("/invocations", content=body.encode(), headers={"content-type": "application/json"})
        return answer.status_code, answer.json()

    return post


@pytest.mark.parametrize("form", [
    '{"prompt": [%s]}', '{"inputs": {"prompt": [%s]}}', '{"instances": {"prompt": [%s]}}', '{"inputs": [%s]}',
    '{"dataframe_split": {"columns": ["prompt"], "data": [%s]}}', '{"dataframe_records": [%s]}',
])  # fmt: skip
def test_the_server_refuses_what_is_no_prompt_and_says_which(ask: Any, form: str) -> None:
    def cell(prompt: str) -> str:
        return f"[{prompt}]" if "split" in form else f'{{"prompt": {prompt}}}' if "records" in form else prompt

    good = cell(f'"{PROMPT}"')
    status, answer = ask(form % f"{good}, {good}")
    rows = answer["predictions"] if isinstance(answer, dict) else answer
    assert status == 200 and [row["prompt"] for row in rows] == [PROMPT, PROMPT]
    for bad, words in (("null", "missing"), ("NaN", "missing"), ('"  "', "empty"), ('""', "empty"), ("7", "not text")):
        status, answer = ask(form % f"{good}, {cell(bad)}")
        assert status == 400 and f"a prompt is {words} (row 2)" in answer["message"], answer
        assert ask(form % cell(bad))[0] == 400


@pytest.mark.parametrize("body", ['{"prompt": null}', '{"prompt": []}', '{"prompt": "\\ud800"}', '{"prompt": true}'])
def test_the_server_refuses_a_single_prompt_that_is_none(ask: Any, body: str) -> None:
    assert ask(body)[0] == 400 and ask('{"prompt": "None"}')[0] == 200


@pytest.mark.parametrize("cell", [None, float("nan"), pd.NA, pd.NaT, np.nan, 3, "", b"x"])
def test_a_table_with_a_hole_is_refused(loaded: dict[str, Any], cell: Any) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=r"\(row 2\)"):
        loaded["bm25"].predict(pd.DataFrame({"prompt": pd.Series([PROMPT, cell], dtype=object)}))


@pytest.mark.parametrize("params", ['{"k": null}', '{"k": -1}', '{"k": 1e300}', '{"k": "x"}', '{"samples": 0}',
                                    '{"samples": 1000000}', '{"seed": -1}', '{"seed": 1e400}'])  # fmt: skip
def test_the_server_refuses_absurd_parameters(ask: Any, params: str) -> None:
    status, answer = ask(f'{{"inputs": {{"prompt": ["{PROMPT}"]}}, "params": {params}}}')
    assert status == 400 and json.loads(params).popitem()[0] in answer["message"]
    assert "unexpected" not in answer["message"]


def test_a_place_that_mlflow_cannot_load_from_is_refused(fitted: list[Any]) -> None:
    from slatebench.benchmark.serving.export_mlflow import export_mlflow
    from slatebench.leaderboards.records import run_folder

    with pytest.raises(UsageError, match="rename"):
        export_mlflow(replace(fitted[0], folder=run_folder(Path("/a%20b"), fitted[0].spec)))


def test_nothing_is_pickled_and_the_page_shows_it(fitted: list[Any], exported: dict[str, Exported]) -> None:
    from mlflow import MlflowClient

    for run in (fitted[0], fitted[2]):
        made = exported[run.spec.model]
        files = {path.name for path in made.folder.rglob("*") if path.is_file()}
        assert {"pyfunc_model.py", "MLmodel", "input_example.json", "state.safetensors", "catalog.parquet"} <= files
        assert not [name for name in files if name.endswith((".pkl", ".pickle", ".cloudpickle"))]
        client = MlflowClient(tracking_uri=f"sqlite:///{run.folder.parents[2] / 'mlflow.db'}")
        shown = client.get_run(made.run_id)
        assert shown.data.tags["slatebench.hash"] == run.spec.hash and shown.info.status == "FINISHED"
        assert [output.model_id for output in shown.outputs.model_outputs] == [made.uri.rpartition("/")[2]]


def test_a_file_that_was_changed_is_refused(exported: dict[str, Exported], tmp_path: Path) -> None:
    import shutil

    import mlflow

    copy = tmp_path / "model"
    shutil.copytree(exported["bm25"].folder, copy)
    with (copy / "artifacts" / "model" / "catalog.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(SlateBenchError, match=r"catalog.parquet: not the file that was exported"):
        mlflow.pyfunc.load_model(str(copy))


def test_what_has_no_model_is_refused(fitted: list[Any]) -> None:
    from slatebench.benchmark.serving.export_mlflow import export_mlflow

    with pytest.raises(UsageError, match="no fitted model"):
        export_mlflow(fitted[1])
    failed = replace(fitted[0], record=fitted[0].record.model_copy(update={"state": "failed"}))
    with pytest.raises(UsageError, match="no fitted model"):
        export_mlflow(failed)


def test_mlflow_answers_a_prompt_from_its_own_command_line(
    fitted: list[Any], exported: dict[str, Exported], loaded: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_split": {"columns": ["prompt"], "data": [[PROMPT]]}}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(exported["bm25"].folder), "-i", "in.json",
               "-o", "out.json", "-t", "json", "--env-manager", "local"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200,
                          env=os.environ | {"PYTHONSAFEPATH": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads((tmp_path / "out.json").read_text())["predictions"]
    expected = loaded["bm25"].predict({"prompt": [PROMPT]})
    assert answer["titles"] == expected["titles"][0] and answer["ids"] == expected["ids"][0]
