"""What is asked with a history: `generate` as a process, and an export behind MLflow's own server, on the twin."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from slatebench.benchmark.cells.cell import seeded
from slatebench.benchmark.grids.bench import bench
from slatebench.benchmark.serving.export_mlflow import export_mlflow
from slatebench.datasets.schema import make_requests
from slatebench.models.registry import model_class

TWIN = "sessions-synthetic"
COMMAND = Path(sys.executable).parent / "slatebench"
HAD = [4, 7, 11]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return bench("markov", TWIN, budget="smoke", encoder="hash", runs=folder, latency=False, mlflow=False).runs[0]


@pytest.fixture(scope="module")
def catalog(run):
    return pl.read_parquet(run.folder / "model" / "catalog.parquet", glob=False)


@pytest.fixture(scope="module")
def expected(run):
    """Ids of the five best after HAD, from the fitted model itself; and after its first item alone."""
    own = model_class("markov").load(run.folder / "model")
    asked = make_requests(["", ""], histories=[HAD, HAD[:1]]).with_columns(repeats=pl.lit(False))
    slates = own.generate(asked, 5, seed=seeded(0, "sampling")).items[:, 0]
    return [[own.catalog.ids[i] for i in slate] for slate in slates]


def test_generate_after_titles_that_hold_commas(run, catalog, expected):
    runs = run.folder.parents[2]
    title = catalog["title"].to_list()
    named = next(i for i, text in enumerate(title) if text.count(",") > 1 and title.count(text) == 1)

    def ask(*history, fails=False):
        options = [part for item in history for part in ("--history", item)]
        call = [COMMAND, "generate", "markov", "--dataset", TWIN, *options, "-k", "5", "--runs", runs, "--json"]
        done = subprocess.run(list(map(str, call)), capture_output=True, text=True, timeout=300)
        assert done.returncode == (2 if fails else 0), done.stderr
        return done.stderr if fails else json.loads(done.stdout)

    by_id = [catalog["id"][i] for i in HAD]
    assert ask(*by_id)["ids"] == [expected[0]]
    made = ask(by_id[0], title[named])
    assert made["ids"] == ask(by_id[0], catalog["id"][named])["ids"]
    assert made["prompt"] == f"after {title[HAD[0]]}; {title[named]}"
    assert f"did you mean '{title[named]}'" in ask(title[named].replace(",", "", 1), fails=True)


@pytest.fixture(scope="module")
def ask(run):
    """MLflow's own server around the exported run: ask(body) -> status, answer."""
    import mlflow
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    loaded = mlflow.pyfunc.load_model(str(export_mlflow(run).folder))
    client = TestClient(scoring_server.init(loaded), raise_server_exceptions=False)

    def post(body):
        answer = client.post("/invocations", content=json.dumps(body), headers={"content-type": "application/json"})
        return answer.status_code, answer.json()

    post.loaded = loaded
    return post


def test_the_export_answers_histories_of_ids_and_titles_with_titles(ask, catalog, expected):
    ids, titles = ([catalog[name][i] for i in HAD] for name in ("id", "title"))
    both = [[ids[0], *titles[1:]], [titles[0]]]
    rows = ask.loaded.predict(pd.DataFrame({"history": both}), params={"k": 5})
    assert rows["ids"].tolist() == expected
    title = dict(zip(catalog["id"], catalog["title"], strict=True))
    assert rows["titles"].tolist() == [[title[i] for i in slate] for slate in expected]
    assert rows["history"].tolist() == [titles, titles[:1]] and rows["sample"].tolist() == [0, 0]
    params = {"params": {"k": 5}}
    for body in ({"inputs": {"history": both}}, {"dataframe_records": [{"history": row} for row in both]},
                 {"dataframe_split": {"columns": ["history"], "data": [[row] for row in both]}}):  # fmt: skip
        status, answer = ask(body | params)
        assert status == 200, answer
        assert [row["ids"] for row in answer["predictions"]] == expected
    for body in ({"inputs": {"history": ids}}, {"inputs": {"history": [ids]}}):  # one history
        status, answer = ask(body | params)
        assert status == 200, answer
        assert [row["ids"] for row in answer["predictions"]] == expected[:1]
    rows = ask.loaded.predict({"history": ids})  # without a table too; the dataset's slate length
    assert [row[:5] for row in rows["ids"]] == expected[:1] and len(rows["ids"][0]) == 10


@pytest.mark.parametrize(
    ("column", "cells", "words"),
    [("prompt", ["camping"], 'missing inputs'), ("history", [["P0000004"], []], "a history is empty"),
     ("history", [["P0000004", ""]], "an item of a history is empty"), ("history", [[7]], "not text"),
     ("history", [["P0000004"], "P0000007"], "a history is no list"), ("history", [[None]], "missing"),
     ("history", [["P0000004", "nothing such"]], "neither id nor title"), ("history", [[["P0000004"]]], "not text")],
)  # fmt: skip
def test_a_mistake_in_a_history_is_named(ask, column, cells, words):
    from mlflow.exceptions import MlflowException

    table = pd.DataFrame({column: pd.Series(cells, dtype=object)})
    with pytest.raises(MlflowException, match=words):
        ask.loaded.predict(table)
    status, answer = ask({"dataframe_split": {"columns": [column], "data": [[cell] for cell in cells]}})
    assert status == 400, answer


def test_a_history_may_be_an_array(ask, catalog, expected):
    cell = np.array([catalog["id"][i] for i in HAD], object)
    assert ask.loaded.predict(pd.DataFrame({"history": [cell]}), params={"k": 5})["ids"].tolist() == expected[:1]
