"""compare, generate, rescore, doctor, models, datasets, ui and the make targets, as processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from slatebench.metrics.statistics import bootstrap_interval, paired_permutation_test

Command = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def runs(slatebench: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = slatebench("bench", "bm25", "dense", "dense:sampled", "--dataset", "tiny", "--budget", "smoke",
                      "--no-latency", "--runs", str(folder))  # fmt: skip
    assert done.code == 0, done.err
    return folder


def folder_of(runs: Path, model: str) -> Path:
    (folder,) = [path.parent for path in (runs / "tiny" / model).glob("*/record.json")]
    return folder


def per_request(folder: Path, metric: str) -> pl.DataFrame:
    scores = pl.read_parquet(folder / "scores.parquet").filter(pl.col("metric").cast(pl.String) == metric)
    return scores.group_by(pl.col("request").cast(pl.String), maintain_order=True).agg(pl.col("value").mean())


def test_compare_is_paired_over_groups(slatebench: Command, runs: Path) -> None:
    done = slatebench("compare", "dense", "bm25", "--dataset", "tiny", "--runs", str(runs), "--json")
    found = json.loads(done.out)
    a, b = (per_request(folder_of(runs, model), "ndcg_at_10") for model in ("dense", "bm25"))
    both = a.join(b, on="request", suffix="_b", maintain_order="left")
    groups = pl.read_parquet(folder_of(runs, "bm25") / "requests.parquet")
    group = both.join(groups, on="request", maintain_order="left")["group"].to_list()
    difference = (both["value"] - both["value_b"]).to_numpy()
    (row,) = [row for row in found["metrics"] if row["metric"] == "ndcg_at_10"]
    mean, low, high = bootstrap_interval(difference, groups=group, seed=0)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((mean, low, high))
    p = paired_permutation_test(both["value"].to_numpy(), both["value_b"].to_numpy(), groups=group, seed=0)
    assert row["p"] == pytest.approx(p) and row["p_holm"] >= row["p"]
    assert row["wins"] + row["ties"] + row["losses"] == len(difference)


def test_compare_shows_where_each_wins_most_with_titles(slatebench: Command, runs: Path) -> None:
    found = json.loads(slatebench("compare", "dense", "bm25", "--dataset", "tiny", "--runs", str(runs), "--json").out)
    titles = set(pl.read_parquet(folder_of(runs, "bm25") / "model" / "catalog.parquet")["title"])
    best = found["best_of_a"]
    assert best and all(example["a"] > example["b"] for example in best)
    assert [e["a"] - e["b"] for e in best] == sorted((e["a"] - e["b"] for e in best), reverse=True)
    assert set(best[0]["slate_a"]) <= titles
    text = slatebench("compare", "dense", "bm25", "--dataset", "tiny", "--runs", str(runs)).out
    assert "wins:" in text and best[0]["slate_a"][0][:20] in text


def test_compare_takes_run_folders(slatebench: Command, runs: Path) -> None:
    by_folder = slatebench("compare", str(folder_of(runs, "dense")), str(folder_of(runs, "bm25")), "--json")
    by_name = slatebench("compare", "dense", "bm25", "--dataset", "tiny", "--runs", str(runs), "--json")
    assert by_folder.out == by_name.out


def test_compare_refuses_what_is_not_alike(slatebench: Command, runs: Path) -> None:
    slatebench(
        "bench", "bm25", "--dataset", "tiny", "--budget", "smoke", "--no-latency", "-k", "5", "--runs", str(runs)
    )
    (other,) = [path.parent for path in (runs / "tiny" / "bm25").glob("*/record.json")
                if json.loads(path.read_text())["spec"]["k"] == 5]  # fmt: skip
    done = slatebench("compare", str(folder_of(runs, "dense")), str(other))
    assert done.code == 2 and "they differ in k (10 and 5)" in done.err
    shutil.rmtree(other)


def test_generate_shows_titles_and_freshness(slatebench: Command, runs: Path) -> None:
    ask = ("generate", "dense:sampled", "--dataset", "tiny", "--prompt", "camping trip", "-k", "5", "--runs", str(runs))
    made = json.loads(slatebench(*ask, "--samples", "3", "--json").out)
    catalog = pl.read_parquet(folder_of(runs, "dense--sampled") / "model" / "catalog.parquet")
    assert len(made["slates"]) == 3 and all(len(slate) == 5 for slate in made["slates"])
    titles = dict(catalog.select("id", "title").iter_rows())
    assert made["slates"] == [[titles[item] for item in slate] for slate in made["ids"]]
    first, second, third = (set(slate) for slate in made["ids"])
    new = [len(second - first) / 5, len(third - second - first) / 5]
    assert made["freshness"] == pytest.approx(np.mean(new))
    assert (
        slatebench(*ask, "--samples", "3", "--json").out.split('"seconds"')[0] == json.dumps(made).split('"seconds"')[0]
    )


def test_generate_says_when_samples_make_no_sense(slatebench: Command, runs: Path) -> None:
    done = slatebench(
        "generate", "dense", "--dataset", "tiny", "--prompt", "tent", "--samples", "2", "--runs", str(runs)
    )
    assert done.code == 0 and "deterministic" in done.err and "slate 2" not in done.out


def test_generate_never_shows_a_seed_item(slatebench: Command, runs: Path) -> None:
    ask = ("generate", "dense", "--dataset", "tiny", "--prompt", "tent", "-k", "3", "--runs", str(runs), "--json")
    first = json.loads(slatebench(*ask).out)["ids"][0]
    again = json.loads(slatebench(*ask, "--seed-item", first[0]).out)["ids"][0]
    assert first[0] not in again and again[:2] == first[1:]
    done = slatebench(*ask, "--seed-item", "nothing")
    assert done.code == 2 and "'nothing' is not in the catalogue" in done.err


def test_rescore_gives_the_same_figures_from_the_slates(slatebench: Command, runs: Path, tmp_path: Path) -> None:
    folder = folder_of(runs, "dense--sampled")
    before = json.loads((folder / "record.json").read_text())
    (folder / "scores.parquet").unlink()
    done = slatebench("rescore", str(folder), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    after = json.loads((folder / "record.json").read_text())
    assert after["metrics"] == before["metrics"] and (folder / "scores.parquet").exists()
    assert not list(tmp_path.iterdir())  # the new record stands beside the old ones, not here
    assert "no record.json here" in slatebench("rescore", str(tmp_path)).err


def test_doctor_names_what_is_missing_and_the_mend(slatebench: Command, runs: Path, tmp_path: Path) -> None:
    found = json.loads(slatebench("doctor", "--runs", str(runs), "--json", SLATEBENCH_DATA="").out)["findings"]
    by_topic = {finding["topic"]: finding for finding in found}
    assert {"python", "processor", "threads", "gpu", "torch", "bundle", "mlflow", "records", "disk"} <= set(by_topic)
    assert by_topic["lost"]["level"] == "note" and "fetch lost" in by_topic["lost"]["mend"]
    assert by_topic["mlflow"]["level"] == "ok" and by_topic["records"]["level"] == "ok"
    for name in ("one", "two"):
        (tmp_path / name / "curated").mkdir(parents=True)
        (tmp_path / name / "curated" / "slates.jsonl").touch()
    both = os.pathsep.join(str(tmp_path / name) for name in ("one", "two"))
    found = json.loads(slatebench("doctor", "--runs", str(runs), "--json", SLATEBENCH_DATA=both).out)["findings"]
    curated = next(finding for finding in found if finding["topic"] == "curated")
    assert curated["state"] == f"found in {tmp_path / 'one'}" and f"not used: {tmp_path / 'two'}" in curated["mend"]
    (runs / "tiny" / "bm25" / "broken").mkdir()
    (runs / "tiny" / "bm25" / "broken" / "record.json").write_text("{")
    sick = slatebench("doctor", "--runs", str(runs))
    assert sick.code == 1 and "damaged record" in sick.out.replace("\n", " ")
    shutil.rmtree(runs / "tiny" / "bm25" / "broken")


def test_models_and_datasets_speak(slatebench: Command, tmp_path: Path) -> None:
    models = json.loads(slatebench("models", "list", "--json").out)["models"]
    assert {"random", "popularity", "bm25", "dense", "hybrid", "prompt-knn", "prompt2vec"} <= {
        m["model"] for m in models
    }
    values = json.loads(slatebench("models", "show", "bm25:sampled", "--set", "k1=1.2", "--json").out)["values"]
    origin = {row["field"]: (row["value"], row["origin"]) for row in values}
    assert origin["k1"] == (1.2, "set") and origin["b"][1] == "default" and origin["temperature"][1] == "preset sampled"
    datasets = {
        row["dataset"]: row["data"] for row in json.loads(slatebench("datasets", "list", "--json").out)["datasets"]
    }
    assert datasets["bundle-synthetic"] == "embedded"
    assert json.loads(slatebench("datasets", "show", "bundle", "--json").out)["twin"] == "bundle-synthetic"
    audit = json.loads(slatebench("datasets", "audit", "tiny", "--json").out)
    assert audit["dataset"] == "tiny" and audit["parts"]
    assert slatebench("models", "test", "bm25").out.strip().endswith("checks passed")


def test_a_new_model_runs_at_once(slatebench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = slatebench("models", "new", "my-model", "--to", str(tmp_path))
    assert done.code == 0, done.err
    package = tmp_path / "slatebench-my-model"
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target",
         str(tmp_path / "site"), str(package)], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    path = os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]])
    tested = slatebench("models", "test", "my-model", PYTHONPATH=path)
    assert tested.code == 0, tested.out
    ran = slatebench("bench", "my-model", "--dataset", "tiny", "--budget", "smoke", "--no-latency", "--json", "--runs",
                     str(tmp_path / "runs"), PYTHONPATH=path)  # fmt: skip
    assert json.loads(ran.out)["runs"][0]["state"] == "done", ran.err


def make(*arguments: str, cwd: Path = ROOT, **environment: str) -> Any:
    """A make target with this environment in the place of `.venv`."""
    here = Path(sys.executable).parent
    command = ["make", "-C", str(cwd), f"BIN={here}", f"READY={environment.pop('ready')}", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stamp newer than what the environment is made from: make leaves it as it is."""
    stamp = tmp_path_factory.mktemp("ready") / "ready"
    stamp.touch()
    return str(stamp)


def test_make_bench_and_leaderboard(plugins: Path, ready: str, tmp_path: Path) -> None:
    runs = f"--runs {tmp_path}"
    done = make(
        "bench", "MODEL=bm25", "DATASET=tiny", "BUDGET=smoke", "SEEDS=0,1", f"ARGS={runs} --no-latency", ready=ready
    )
    assert done.returncode == 0, done.stderr
    assert "bm25" in done.stdout and "ceiling:reference" in done.stdout
    shown = make("leaderboard", "DATASET=tiny", f"ARGS={runs}", ready=ready)
    assert shown.returncode == 0 and "bm25" in shown.stdout
    assert make("bench", "MODEL=bm52", "DATASET=tiny", f"ARGS={runs}", ready=ready).returncode != 0


def test_make_help_names_every_target(ready: str) -> None:
    text = make("help", ready=ready).stdout
    for target in ("setup", "bench", "leaderboard", "ui", "latency", "perf", "test", "lint"):
        assert f"{target} " in text


def test_make_test_and_lint_call_what_they_say(ready: str) -> None:
    for target, words in (("test", "pytest"), ("lint", "pyright"), ("perf", "tests/benchmarks")):
        shown = make("--dry-run", target, ready=ready)
        assert shown.returncode == 0 and words in shown.stdout


def test_ui_without_runs_is_one_clear_line(slatebench: Command, tmp_path: Path) -> None:
    done = slatebench("ui", "--runs", str(tmp_path / "new"))
    assert done.code == 2 and "no runs yet, nothing to show: slatebench bench" in done.err
    assert not (tmp_path / "new").exists()


def test_ui_on_a_port_that_is_taken_names_another(slatebench: Command, runs: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = slatebench("ui", "--runs", str(runs), "--port", str(port))
    assert done.code == 2 and f"slatebench ui --port {port + 1}" in done.err and "Traceback" not in done.err


def test_make_ui_opens_the_page(plugins: Path, ready: str, runs: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["make", "-C", str(ROOT), f"BIN={Path(sys.executable).parent}", f"READY={ready}", "ui",
               f"ARGS=--port {port} --runs {runs}"]  # fmt: skip
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        page = ""
        for _ in range(240):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read().decode()
                break
            except OSError:
                assert server.poll() is None, server.communicate()[0]
                time.sleep(0.5)
        assert "MLflow" in page
        body = json.dumps({"max_results": 10}).encode()
        ask = urllib.request.Request(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", data=body,
                                     headers={"Content-Type": "application/json"})  # fmt: skip
        found = json.loads(urllib.request.urlopen(ask, timeout=20).read())
        assert "tiny" in [experiment["name"] for experiment in found["experiments"]]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
