"""What is used again is whole and means the same: fits, records, and what is found before anything is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slatebench.benchmark import bench, generate
from slatebench.benchmark.cells.cell import Cell, cell_of
from slatebench.benchmark.cells.plan import plan
from slatebench.benchmark.serving.export_mlflow import export_mlflow
from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.leaderboards.records import Run

OPTIONS: dict[str, Any] = {"budget": "smoke", "encoder": "hash", "latency": False, "mlflow": False}


@pytest.fixture(scope="module")
def runs(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    assert bench("bm25", "tiny", runs=folder, **OPTIONS).ok
    return folder


def again(runs: Path, model: str = "bm25", **more: Any) -> tuple[Run, bool, list[str]]:
    """The run, whether it was used again, and what was noticed."""
    reused, told = [], []

    def listen(event: str, cell: Cell, details: dict[str, Any]) -> None:
        if event == "finished" and cell.model == model:
            reused.append(details["reused"])
        if event == "notice":
            told.append(details["text"])

    return bench(model, "tiny", runs=runs, listener=listen, **OPTIONS | more).runs[0], reused[0], told


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("record.json")}


@pytest.mark.parametrize("told", [{"k1": 1.5}, {"k1": "1.5", "temperature": 0}, {"document": "text", "b": 0.75}])
def test_defaults_told_by_hand_leave_the_record_alone(runs: Path, told: dict[str, Any]) -> None:
    before = contents(runs)
    run, reused, _ = again(runs, overrides=told)
    assert reused and run.record.label == "bm25 encoder=hash" and not run.record.overrides
    assert contents(runs) == before


def test_one_value_in_two_writings_is_one_run(runs: Path) -> None:
    first, reused, _ = again(runs, overrides={"k1": 2})
    before = contents(runs)
    second, used, _ = again(runs, overrides={"k1": "2.0"})
    assert not reused and used and first.record == second.record
    assert contents(runs) == before and first.record.label.startswith("bm25 k1=2.0")


def test_a_record_made_with_another_library_is_made_again(runs: Path) -> None:
    run, _, told = again(runs)
    assert not told
    path = run.folder / "record.json"
    record = json.loads(path.read_text())
    here = record["packages"]["numpy"]
    record["packages"]["numpy"] = "1.0"
    path.write_text(json.dumps(record))
    new, reused, told = again(runs)
    assert not reused and new.record.packages["numpy"] == here
    assert told == [f"1 finished before with numpy 1.0 (here {here}): run again, figures may differ"]
    assert again(runs)[1]


def fit_of(runs: Path) -> Path:
    planned = plan(Cell(dataset="tiny", model="bm25", budget="smoke", encoder="hash"))
    assert planned.fit is not None
    return runs / planned.fit


@pytest.mark.parametrize(
    "file", ["state.safetensors", "model.json", "catalog.parquet", "features.safetensors", "features.json", "fit.json"]
)
@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "other"])
def test_a_damaged_fit_is_made_anew(runs: Path, file: str, damage: str) -> None:
    from slatebench.benchmark.cells.fit import why_not_kept

    path = fit_of(runs) / file
    whole = path.read_bytes()
    assert why_not_kept(path.parent) is None
    path.unlink()  # its other link in the run's folder stays whole
    if damage != "gone":
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "other": whole[:-2] + b"??"}[damage])
    assert why_not_kept(path.parent) is not None
    path.unlink(missing_ok=True)
    path.write_bytes(whole)


def test_a_run_from_a_damaged_fit_is_that_of_a_whole_one(runs: Path) -> None:
    whole = again(runs, "bm25:sampled")[0]
    assert whole.record.fit_cached
    path = fit_of(runs) / "state.safetensors"
    path.unlink()
    path.write_bytes(b"")
    made = again(runs, "bm25:sampled", rerun=False, overrides={"temperature": 0.9})[0]
    assert made.record.state == "done" and not made.record.fit_cached
    assert again(runs, "bm25:sampled", overrides={"temperature": 0.8})[0].record.fit_cached


def test_a_fit_made_with_another_library_is_made_anew(runs: Path) -> None:
    path = fit_of(runs) / "fit.json"
    head = json.loads(path.read_text())
    head["packages"]["scipy"] = "0.1"
    path.write_text(json.dumps(head))
    assert not again(runs, "bm25:sampled", overrides={"temperature": 0.7})[0].record.fit_cached


@pytest.mark.parametrize("file", ["state.safetensors", "model.json", "catalog.parquet", "features.json", None])
def test_a_damaged_model_is_one_clear_line_with_the_mend(runs: Path, tmp_path: Path, file: str | None) -> None:
    from slatebench.models.registry import model_class

    folder = again(runs)[0].folder / "model"
    copy = tmp_path / "model"
    copy.mkdir()
    for path in folder.iterdir() if file else ():
        (copy / path.name).write_bytes(b"" if path.name == file else path.read_bytes())
    with pytest.raises(SlateBenchError, match="--rerun") as error:
        model_class("bm25").load(copy)
    assert "\n" not in str(error.value) and str(copy) in str(error.value)


def test_generate_and_export_say_so_too(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    run = bench("random", "tiny", runs=folder, budget="smoke", latency=False, mlflow=False).runs[0]
    (run.folder / "model" / "catalog.parquet").write_bytes(b"")
    with pytest.raises(SlateBenchError, match="--rerun"):
        generate("random", "tiny", "anything", runs=folder)
    with pytest.raises(SlateBenchError, match="--rerun"):
        export_mlflow(run)


# --- before anything is run -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/proc", "/proc/none/below", "file/below"])
def test_records_that_cannot_be_written_are_told_before_anything_is_run(
    slatebench: Any, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    done = slatebench("bench", "bm25", "-d", "tiny", "--budget", "smoke", "--runs", place, cwd=tmp_path)
    assert done.code == 2 and "can't be written" in done.err
    assert "failed" not in done.err and "safe" not in done.err and len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"memory_gib": float("inf")}, "memory=inf"),
        ({"train_share": float("nan")}, "train_share=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"samples": 0}, "samples=0"),
        ({"overrides": {"k1": float("inf")}}, "k1=inf"),
        ({"overrides": {"k1": object()}}, "k1=<object"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        cell_of(dataset="tiny", model="bm25", **values)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"samples": 10**9}, "samples=1000000000"), ({"jobs": 10**6}, "jobs=1000000"), ({"seeds": [1, 1]}, "named twice"),
     ({"seeds": range(10**6)}, "1,000,000 of them"), ({"k": 10**12}, "size of the catalogue")],
)  # fmt: skip
def test_more_than_can_be_is_refused_with_the_reason(plugins: Path, tmp_path: Path, options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bench("dense:sampled", "tiny", runs=tmp_path, **OPTIONS | options)


@pytest.mark.parametrize("options", [{"k": 10**12}, {"samples": 10**9}, {"k": 0}, {"seed": -1}])
def test_generate_has_limits_too(runs: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"choose 1 to|a seed is"):
        generate("random", "tiny", "anything", runs=runs, **options)
