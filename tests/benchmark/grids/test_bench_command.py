"""`slatebench bench` as a person runs it: a process, real files, real MLflow."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

Command = Callable[..., Any]
BENCH = ("bench", "bm25", "random", "--dataset", "tiny", "--budget", "smoke", "--seeds", "0,1", "--no-latency")


def objects(text: str) -> list[dict[str, Any]]:
    return json.loads(text)["runs"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(slatebench: Command, runs: Path) -> Any:
    done = slatebench(*BENCH, "--json", "--runs", str(runs))
    assert done.code == 0, done.err
    return done


def test_json_is_one_object_and_nothing_else(first: Any) -> None:
    rows = objects(first.out)
    assert [(row["model"], row["seed"]) for row in rows] == [("bm25", 0), ("random", 0), ("random", 1)]
    for row in rows:
        assert row["state"] == "done" and row["dataset"] == "tiny" and row["source"] == "synthetic"
        assert set(row["metrics"]["ndcg_sim_at_10"]) == {"mean", "low", "high", "n"}
        assert {"data", "features", "fit", "generate", "score"} <= set(row["timings"])
        assert Path(row["path"]).is_dir() and row["fingerprint"]
    bm25, random = rows[0]["metrics"]["ndcg_at_10"], rows[1]["metrics"]["ndcg_at_10"]
    assert bm25["mean"] > 2 * random["mean"]


def test_a_run_folder_is_complete(first: Any) -> None:
    folder = Path(objects(first.out)[1]["path"])
    assert {path.name for path in folder.iterdir()} >= {
        "spec.json", "record.json", "slates.parquet", "scores.parquet", "model", "log.txt",
    }  # fmt: skip
    scores = pl.read_parquet(folder / "scores.parquet")
    assert scores.columns == ["request", "sample", "metric", "value"]
    slates = pl.read_parquet(folder / "slates.parquet")
    assert slates.columns == ["request", "sample", "items"]
    assert slates["items"].list.len().unique().to_list() == [10]
    assert set(slates["items"].explode().drop_nulls()) <= set(
        pl.read_parquet(folder / "model" / "catalog.parquet")["id"]
    )


def test_slates_can_be_scored_again_from_the_export_without_our_code(
    first: Any, slatebench: Command, tmp_path: Path
) -> None:
    row = objects(first.out)[0]
    assert slatebench("datasets", "export", "tiny", "--to", str(tmp_path)).code == 0
    truth = dict(pl.read_parquet(tmp_path / "test.parquet").select("request", "items").iter_rows())
    slates = pl.read_parquet(Path(row["path"]) / "slates.parquet")
    hits = [
        len(set(items) & set(truth[request])) / len(set(truth[request]))
        for request, items in slates.select("request", "items").iter_rows()
    ]
    assert sum(hits) / len(hits) == pytest.approx(row["metrics"]["recall_at_10"]["mean"])


def test_the_same_again_changes_nothing(first: Any, slatebench: Command, runs: Path) -> None:
    records = {path: path.stat().st_mtime_ns for path in runs.rglob("record.json")}
    again = slatebench(*BENCH, "--json", "--runs", str(runs))
    assert again.code == 0 and again.out == first.out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("record.json")} == records
    assert again.err.count("used again") == again.err.count("seed ")


def test_floors_and_ceilings_stand_on_every_board(first: Any, slatebench: Command, runs: Path) -> None:
    shown = slatebench("leaderboard", "show", "--dataset", "tiny", "--runs", str(runs))
    assert shown.code == 0
    for name in ("bm25", "random", "popularity", "ceiling:reference", "ceiling:train-seen", "reference:oracle"):
        assert name in shown.out


def test_mlflow_shows_what_the_records_say(first: Any, runs: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None and experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    found = client.search_runs([experiment.experiment_id], "tags.`slatebench.hash` LIKE '%'")
    shown = {run.data.tags["slatebench.hash"]: run for run in found}
    row = objects(first.out)[0]
    run = shown[Path(row["path"]).name]
    assert run.data.metrics["ndcg_sim_at_10"] == row["metrics"]["ndcg_sim_at_10"]["mean"]
    assert run.data.params["k1"] == "1.5"
    assert {"model", "seed", "fingerprint", "mlflow.source.git.commit"} <= set(run.data.tags)
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"spec.json", "record.json", "slates.parquet", "scores.parquet"} <= names
    local = client.download_artifacts(run.info.run_id, "record.json")
    assert json.loads(Path(local).read_text())["spec"]["model"] == "bm25"


def test_rebuild_makes_the_same_view_from_nothing(first: Any, slatebench: Command, runs: Path) -> None:
    from mlflow import MlflowClient

    def view() -> dict[str, Any]:
        client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        return {run.data.tags["mlflow.runName"]: (run.data.params, run.data.metrics) for run in found}

    before = view()
    for path in runs.glob("mlflow.db*"):
        path.unlink()
    done = slatebench("leaderboard", "rebuild", "--runs", str(runs))
    assert done.code == 0, done.err
    assert view() == before


def test_one_setting_makes_a_row_of_its_own(first: Any, slatebench: Command, runs: Path) -> None:
    done = slatebench(*BENCH[:2], *BENCH[3:], "--set", "k1=0.5", "--json", "--runs", str(runs))
    (row,) = objects(done.out)
    assert row["label"] == "bm25 k1=0.5" and row["path"] != objects(first.out)[0]["path"]
    board = slatebench("leaderboard", "show", "--dataset", "tiny", "--runs", str(runs), "--format", "csv").out
    assert {"bm25", "bm25 k1=0.5"} <= set(pl.read_csv(board.encode())["label"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bench", "bm52", "--dataset", "tiny"), 2, "did you mean 'bm25'"),
        (("bench", "bm25:samplt", "--dataset", "tiny"), 2, "did you mean 'sampled'"),
        (("bench", "bm25", "--dataset", "tinny"), 2, "did you mean 'tiny'"),
        (("bench", "bm25", "--dataset", "tiny", "--set", "k2=1"), 2, "did you mean 'k1'"),
        (("bench", "bm25", "--dataset", "tiny", "--set", "k1=much"), 2, "k1='much'"),
        (("bench", "bm25", "--dataset", "tiny", "--set", "k1"), 2, "name=value"),
        (("bench", "bm25", "--dataset", "tiny", "--seeds", "a"), 2, "whole numbers"),
        (("bench", "bm25", "--dataset", "tiny", "-k", "0"), 2, "k=0"),
        (("bench", "bm25", "--dataset", "tiny", "--budget", "huge"), 2, "huge"),
        (("bench", "bm25"), 2, "--dataset"),
        (("bench", "bm25", "--dataset", "tiny", "--bogus"), 2, "bogus"),
        (("bench", "bm25", "--dataset", "lost", "--source", "real"), 1, "SLATEBENCH_DATA"),
        (("leaderboard", "show", "--dataset", "bundle-food"), 2, "no finished run"),
        (("leaderboard", "show", "--dataset", "tiny", "--metric", "ndgc_at_10"), 2, "did you mean 'ndcg_at_10'"),
        (("compare", "bm25", "nobody", "--dataset", "tiny"), 2, "nobody"),
        (("generate", "bm25", "--dataset", "tiny", "--prompt", " "), 2, "prompt is empty"),
        (("bench", "bm25:", "--dataset", "tiny"), 2, "write name, name:preset"),
        (("bench", "ceiling:perfect", "--dataset", "tiny"), 2, "reference:oracle"),
        (("bench", "bm25", "--dataset", "tiny", "--timeout", "0"), 2, "timeout=0"),
        (("bench", "bm25", "--dataset", "tiny", "--memory", "-1"), 2, "memory=-1"),
        (("compare", "bm25", "random", "--dataset", "tiny", "--metric", "gini"), 2, "choose from ndcg_at_10"),
    ],
)
def test_a_mistake_ends_in_one_clear_line(
    first: Any, slatebench: Command, runs: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = slatebench(*arguments, "--runs", str(runs), SLATEBENCH_DATA="")
    assert done.code == code, done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("error: ") and words in last, done.err
    assert "Traceback" not in done.err


def test_data_that_cant_be_had_run_the_twin_and_say_so_everywhere(slatebench: Command, tmp_path: Path) -> None:
    done = slatebench("bench", "popularity", "--dataset", "lost", "--budget", "smoke", "--no-latency", "--json",
                      "--runs", str(tmp_path), SLATEBENCH_DATA="")  # fmt: skip
    assert done.code == 0, done.err
    (row,) = objects(done.out)
    assert row["dataset"] == "tiny" and row["source"] == "synthetic" and "lost" in row["notice"]
    lines = [line for line in done.err.splitlines() if "NOT REAL DATA" in line]
    assert len(lines) == 2 and done.err.index("NOT REAL DATA") < done.err.index("fit")
    assert done.err.strip().endswith(lines[-1])
    assert not (tmp_path / "lost").exists()
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert ("tiny",) in store.execute("select name from experiments").fetchall()


def test_six_processes_on_one_fresh_folder(plugins: Path, tmp_path: Path) -> None:
    code = "from slatebench.benchmark.cli.app import main; main()"
    command = [sys.executable, "-P", "-c", code, "bench", "popularity", "--dataset", "tiny", "--budget", "smoke",
               "--no-latency", "--json", "--runs", str(tmp_path)]  # fmt: skip
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    ended = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0] * 6, ended
    assert len({out for out, _ in ended}) == 1
    for path in tmp_path.rglob("record.json"):
        if "mlartifacts" not in path.parts:
            assert json.loads(path.read_text())["state"] == "done"


@pytest.mark.parametrize(
    "moment", ["bm25 on tiny, seed 0: fit", "random on tiny, seed 0: score", "random on tiny, seed 1: done"]
)
def test_kill_and_the_same_command_again(
    first: Any, plugins: Path, slatebench: Command, tmp_path: Path, moment: str
) -> None:
    command = [sys.executable, "-P", "-c", "from slatebench.benchmark.cli.app import main; main()", *BENCH, "--json",
               "--runs", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any(moment in line for line in process.stderr)  # reads up to that moment
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=60)[1]  # they end by themselves when their parent is gone
    for path in tmp_path.glob("tiny/*/*/record.json"):
        if not any(part.startswith(".tmp-") for part in path.parts):
            json.loads(path.read_text())  # whole
    again = slatebench(*BENCH, "--json", "--runs", str(tmp_path))
    assert again.code == 0, again.err
    assert [row["metrics"] for row in objects(again.out)] == [row["metrics"] for row in objects(first.out)]
    assert not list((tmp_path / "tiny").rglob(".tmp-*"))


def test_ctrl_c_says_what_is_kept(plugins: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-c",
        "from slatebench.benchmark.cli.app import main; main()",
        *BENCH,
        "--runs",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:  # interrupted in the middle of a cell
        if "fit" in line or "generate" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "finished is kept" in err and "Traceback" not in err


def test_the_line_of_a_full_disk() -> None:
    from slatebench.benchmark.processes.serve import reason_of

    state, reason = reason_of(OSError(errno.ENOSPC, "No space left on device", "/runs/x"))
    assert state == "failed" and reason.startswith("the disk is full (/runs/x)") and "run the same again" in reason


def test_a_write_that_fails_is_said(slatebench: Command, tmp_path: Path) -> None:
    """A file size limit stands in for the full disk: the same write fails, with the same kind of error."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from slatebench.benchmark.cli.app import main; main()"
    )
    command = [sys.executable, "-P", "-c", code, "bench", "popularity", "--dataset", "tiny", "--budget", "smoke",
               "--no-latency", "--runs", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "File too large" in done.stderr
