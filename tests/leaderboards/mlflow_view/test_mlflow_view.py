"""The MLflow view of records, on a real sqlite store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slatebench.datasets.errors import SlateBenchError
from slatebench.leaderboards.mlflow_view.runs import log_runs, rebuild
from slatebench.leaderboards.mlflow_view.store import connect, named_errors, put_damaged_aside, tracking_uri
from slatebench.leaderboards.records import read_run, write_record
from slatebench.metrics.base import read_scores
from slatebench.metrics.evaluate import summarise

Make = Callable[..., Any]
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def folder(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copy(store, tmp_path / "runs" / "mlflow.db")
    return tmp_path / "runs"


def everything(folder: Path) -> list[Any]:
    client = connect(folder)
    experiment = client.get_experiment_by_name("toy")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def shown(folder: Path) -> list[Any]:
    """The runs of single seeds."""
    return [run for run in everything(folder) if PARENT in run.data.tags]


def systems(folder: Path) -> list[Any]:
    return [run for run in everything(folder) if PARENT not in run.data.tags]


def test_a_record_is_logged_once_and_again_only_when_it_changed(make_run: Make, folder: Path) -> None:
    run = make_run()
    assert log_runs([run], folder) == 1
    assert log_runs([run], folder) == 0
    changed = run.record.model_copy(update={"latency": {"p50_ms": 5.0, "failed": "no", "samples_ms": [1.0]}})
    write_record(run.folder, changed)
    assert log_runs([read_run(run.folder)], folder) == 1
    (only,) = shown(folder)
    assert only.data.metrics["latency_p50_ms"] == 5.0
    assert not [path for path in (folder / "mlartifacts" / "toy").iterdir() if path.name != only.info.run_id]


def test_a_system_stands_over_its_seeds_with_an_interval_over_groups(make_run: Make, folder: Path) -> None:
    def scores(shift: float) -> dict[str, np.ndarray]:
        return {"ndcg_sim_at_10": np.array([0.1, 0.3, 0.5, 0.7]) + shift, "freshness_m2": np.full(4, 0.5),
                "freshness_m3": np.full(4, 0.25), "mrr_at_5": np.full(4, 0.5)}  # fmt: skip

    made = [make_run(scores(0.1 * seed), seed=seed, record={"timings": {"fit": 10.0}, "cost": {"parameters": 7.0}})
            for seed in (0, 1)]  # fmt: skip
    failed = make_run(seed=2, state="failed", record={"reason": "ran out of luck"})
    log_runs(made[:1], folder)  # finds the other seeds on disk
    (system,) = systems(folder)
    seeds = shown(folder)
    assert {run.data.tags[PARENT] for run in seeds} == {system.info.run_id} and len(seeds) == 3
    assert system.data.tags["seeds"] == "0,1,2" and system.data.tags["state"] == "2 of 3 seeds done"
    assert "seed" not in system.data.params and {run.data.params["seed"] for run in seeds} == {"0", "1", "2"}
    value = summarise([read_scores(run.table("scores.parquet"), {}) for run in made], [f"r{i}" for i in range(4)])[
        "ndcg_sim_at_10"
    ]
    metrics = system.data.metrics
    assert metrics["ndcg_sim_at_10"] == pytest.approx(0.45) == value["mean"]
    assert metrics["uncertainty/ndcg_sim_at_10_low"] == value["low"] < 0.45 < metrics["uncertainty/ndcg_sim_at_10_high"]
    assert metrics["parameters"] == 7.0 and metrics["various/mrr_at_5"] == 0.5
    history = connect(folder).get_metric_history(system.info.run_id, "with_samples/freshness")
    assert [(m.step, m.value) for m in history] == [(2, 0.5), (3, 0.25)]
    note = system.data.tags["mlflow.note.content"]
    assert (
        "Seed 2: failed: ran out of luck" in note
        and "slatebench bench dense --dataset toy --budget smoke --seeds 0,1,2" in note
    )
    (bad,) = [run for run in seeds if run.info.status == "FAILED"]
    assert bad.data.tags["reason"] == "ran out of luck" and bad.data.tags["slatebench.hash"] == failed.spec.hash
    assert system.info.status == "FAILED"


def test_each_run_names_its_dataset(make_run: Make, folder: Path) -> None:
    log_runs([make_run()], folder)
    for run in everything(folder):
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("toy", "f00d")
        assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "test"}
        assert json.loads(given.dataset.profile)["requests"] == 3


def test_the_pages_open_with_the_board(make_run: Make, folder: Path) -> None:
    log_runs([make_run(), make_run(model="ceiling:reference", seed=1)], folder)
    client = connect(folder)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None and "| ndcg_sim_at_10 (orders the board) | higher |" in experiment.tags[NOTE]
    view = json.loads(experiment.tags["mlflow.sharedViewState.board"])
    assert "metrics.`ndcg_sim_at_10`" in view["selectedColumns"]
    found = client.search_runs([experiment.experiment_id], view["searchFilter"])
    assert {run.info.run_name for run in found} == {"dense (smoke)", "ceiling:reference (smoke)"}
    assert {run.data.tags["kind"] for run in found} == {"system", "ceiling"}


def test_the_table_and_the_compare_page_lead_with_the_headline(make_run: Make, folder: Path) -> None:
    one = np.full(3, 0.5)
    make_run({"mrr_at_5": one, "coverage": one, "ndcg_sim_at_10": one}, config={"device": "cpu", "steps": 5, "x": None},
             record={"fit": {"health": {"dead_codes": 1.0}}, "cost": {"beam": 2.0}, "timings": {"fit": 1.0},
                     "latency": {"p50_ms": 1.0}})  # fmt: skip
    log_runs([make_run(seed=1, item_vectors="lsa")], folder)
    client = connect(folder)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    view = json.loads(experiment.tags["mlflow.sharedViewState.board"])
    assert view["columnOrder"][0] == view["orderByKey"] == "metrics.`ndcg_sim_at_10`"
    assert set(view["columnOrder"]) == set(view["selectedColumns"])
    named = {run.info.run_name: run for run in systems(folder)}
    assert set(named) == {"dense (smoke)", "dense (smoke, item_vectors=lsa)"}
    data = named["dense (smoke)"].data
    assert next(iter(data.metrics)) == "ndcg_sim_at_10"  # what the plots of the compare page start with
    assert min(data.params) == "System" and data.params["System"] == "dense (smoke)"
    assert "steps" in data.params and not {"device", "x", "item_vectors"} & set(data.params)
    names = sorted(data.metrics)  # the compare page's order: no section stands among the board's metrics and costs
    assert [name for name in names if "/" not in name] == names[: sum("/" not in name for name in names)]
    assert {name.split("/")[0] for name in names if "/" in name} == {"various", "vitals", "wall_latency",
                                                                     "wall_seconds", "work"}  # fmt: skip


def test_a_newer_version_of_a_system_marks_the_old_one(make_run: Make, folder: Path) -> None:
    old = make_run(record={"created": "2026-01-01T00:00:00+00:00"})
    log_runs([old], folder)
    assert [run.info.run_name for run in systems(folder)] == ["dense (smoke)"]
    log_runs([make_run(config={"new": 1}, record={"created": "2026-01-02T00:00:00+00:00"})], folder)
    assert {run.info.run_name for run in systems(folder)} == {"dense (smoke)", "dense (smoke, older version)"}


def test_nothing_that_breaks_the_page_is_logged(make_run: Make, folder: Path) -> None:
    curves = {"loss": [[0, 1.0], [1, float("inf")], [2, 0.5]]}
    run = make_run({"ndcg_sim_at_10": np.array([0.1, np.nan, 0.3])}, config={"long": "x" * 10_000},
                   record={"timings": {"fit": float("inf"), "score": 1.0}, "fit": {"curves": curves}})  # fmt: skip
    log_runs([run], folder)
    (only,) = shown(folder)
    assert all(np.isfinite(value) for value in only.data.metrics.values())
    assert not [name for name in only.data.metrics if "@" in name or "[" in name]
    assert "wall_seconds/fit" not in only.data.metrics and only.data.metrics["wall_seconds/score"] == 1.0
    history = connect(folder).get_metric_history(only.info.run_id, "fit/loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (2, 0.5)]


def test_artifacts_stay_with_the_runs_folder(make_run: Make, folder: Path) -> None:
    log_runs([make_run()], folder)
    (only,) = shown(folder)
    assert only.info.artifact_uri.startswith((folder / "mlartifacts").resolve().as_uri())
    assert not list(folder.parent.glob("mlruns"))


def test_rebuild_drops_what_has_no_record(make_run: Make, folder: Path) -> None:
    kept, gone = make_run(seed=0), make_run(seed=1)
    log_runs([kept, gone], folder)
    for _ in range(2):
        assert rebuild([kept], folder) == 1
        assert [run.data.tags["seed"] for run in shown(folder)] == ["0"] and len(everything(folder)) == 2


def test_another_tracking_uri_is_honoured(make_run: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mlflow.db").unlink()
    other = f"sqlite:///{folder.parent / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert tracking_uri(folder) == other
    log_runs([make_run()], folder)
    assert (folder.parent / "other.db").exists() and not (folder / "mlflow.db").exists()


def test_a_store_that_is_not_there_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "file").write_text("not a folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent / 'file' / 'mlflow.db'}")
    with pytest.raises(SlateBenchError, match="leaderboard rebuild") as error:
        connect(folder)
    assert "\n" not in str(error.value)


def test_the_view_stays_in_a_runs_folder_of_any_name(
    store: Path, make_run_in: Callable[[Path], Make], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "-q?p%20x&#;:@+=[a]*'\" \n\u00e9%"
    run = make_run_in(folder)()
    shutil.copy(store, folder / "mlflow.db")
    assert log_runs([run], folder) == 1
    (logged,) = shown(folder)
    kept = connect(folder).download_artifacts(logged.info.run_id, "spec.json")
    assert json.loads(Path(kept).read_text())["dataset"] == "toy"
    assert list(folder.glob("mlartifacts/toy/*/artifacts/spec.json"))
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert {path.name for path in folder.iterdir()} <= {"toy", "mlflow.db", "mlartifacts", ".mlflow.lock"}


@pytest.mark.parametrize("damage", ["not a database", "cut"])
def test_a_damaged_file_is_told_once_and_put_aside(make_run: Make, folder: Path, damage: str) -> None:
    run, file = make_run(), folder / "mlflow.db"
    file.write_bytes(b"not a database" * 99 if damage != "cut" else file.read_bytes()[:100_000])
    before = file.read_bytes()
    with pytest.raises(SlateBenchError, match=r"mlflow.db: damaged \(.*; .*leaderboard rebuild. puts that file aside"):
        log_runs([run], folder)
    aside = put_damaged_aside(folder)
    assert aside is not None and aside.read_bytes() == before and not file.exists()
    assert rebuild([run], folder) == 1 and len(shown(folder)) == 1
    assert put_damaged_aside(folder) is None and file.exists()


def test_a_full_disk_is_called_one(folder: Path) -> None:
    from sqlalchemy import create_engine, text

    told = pytest.raises(SlateBenchError, match=r"mlflow.db: the disk is full; .*free some space, then")
    with told, named_errors(tracking_uri(folder)), create_engine(tracking_uri(folder)).connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("CREATE TABLE big AS SELECT zeroblob(9000000) AS x"))
    with pytest.raises(SlateBenchError, match="the disk is full"), named_errors(tracking_uri(folder)):
        raise OSError(28, "No space left on device")


def test_a_path_that_sqlite_does_not_take_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path.joinpath(*["x" * 180] * 3)
    folder.mkdir(parents=True)
    with pytest.raises(SlateBenchError, match="shorter path"):
        connect(folder)
