"""The MLflow view of records, on a real sqlite store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slatebench.datasets.errors import SlateBenchError
from slatebench.leaderboards.mlflow_view import connect, log_runs, rebuild, tracking_uri
from slatebench.leaderboards.records import read_run, write_record

Make = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "runs").mkdir(exist_ok=True)
    return tmp_path / "runs"


def shown(folder: Path) -> list[Any]:
    client = connect(folder)
    experiment = client.get_experiment_by_name("toy")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def test_a_record_is_logged_once_and_again_only_when_it_changed(make_run: Make, folder: Path) -> None:
    run = make_run()
    assert log_runs([run], folder) == 1
    assert log_runs([run], folder) == 0
    changed = run.record.model_copy(update={"latency": {"p50_ms": 5.0, "failed": "no", "samples_ms": [1.0]}})
    write_record(run.folder, changed)
    assert log_runs([read_run(run.folder)], folder) == 1
    (only,) = shown(folder)
    assert only.data.metrics["latency_p50_ms"] == 5.0


def test_nothing_that_breaks_the_page_is_logged(make_run: Make, folder: Path) -> None:
    curves = {"loss": [[0, 1.0], [1, float("inf")], [2, 0.5]]}
    run = make_run({"ndcg_sim_at_10": np.array([0.1, np.nan, 0.3])}, config={"long": "x" * 10_000},
                   record={"timings": {"fit": float("inf")}, "fit": {"curves": curves}})  # fmt: skip
    log_runs([run], folder)
    (only,) = shown(folder)
    assert all(np.isfinite(value) for value in only.data.metrics.values())
    assert not [name for name in only.data.metrics if "@" in name or "[" in name]
    assert "seconds_fit" not in only.data.metrics
    history = connect(folder).get_metric_history(only.info.run_id, "fit_loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (2, 0.5)]


def test_a_failed_cell_is_a_failed_run_with_its_reason(make_run: Make, folder: Path) -> None:
    log_runs([make_run(state="failed", record={"reason": "ran out of luck"})], folder)
    (only,) = shown(folder)
    assert only.info.status == "FAILED" and only.data.tags["reason"] == "ran out of luck"


def test_artifacts_stay_with_the_runs_folder(make_run: Make, folder: Path) -> None:
    log_runs([make_run()], folder)
    (only,) = shown(folder)
    assert only.info.artifact_uri.startswith((folder / "mlartifacts").resolve().as_uri())
    assert not list(folder.parent.glob("mlruns"))


def test_rebuild_drops_what_has_no_record(make_run: Make, folder: Path) -> None:
    kept, gone = make_run(seed=0), make_run(seed=1)
    log_runs([kept, gone], folder)
    assert rebuild([kept], folder) == 1
    assert [run.data.tags["seed"] for run in shown(folder)] == ["0"]


def test_another_tracking_uri_is_honoured(make_run: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
