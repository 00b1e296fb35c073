"""`sweep`: one fit, the same seed the same study, killed and continued, several processes, every trial on record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import Timeout

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.cli.app import app
from slatebench.benchmark.cli.sweep import _print
from slatebench.benchmark.sweeps.child import run_trials, study_spec
from slatebench.benchmark.sweeps.space import Range, as_json
from slatebench.benchmark.sweeps.study import best_trials, counted, next_trial, open_study, settings_of
from slatebench.benchmark.sweeps.sweep import Sweep, _collect, _prepare, sweep
from slatebench.benchmark.timing.harness import latency_lock
from slatebench.datasets.errors import SlateBenchError
from slatebench.leaderboards.mlflow_view.sweeps import rebuild_sweeps
from slatebench.leaderboards.sweeps import StudySpec, read_sweeps
from slatebench.models.registry import model_class

TEMPERATURE = {"temperature": Range(0.0, 2.0, 0.1)}

MODEL = """
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field
from slatebench.datasets.schema import Slates
from slatebench.models.base import FitReport, ModelCard, Settings, SlateModel

TOP = {5: 50, 9: 1000}  # level -> items that it takes popularity from, backwards: 5 is good, 9 is bad


class Levels(SlateModel):
    name = "levels"
    card = ModelCard("levels", "none", frozenset({"prompt"}), "Popular items, more or less, for a test.")

    class Config(Settings):
        level: int = Field(0, ge=0, le=9)

    class Sampling(Settings):
        shift: int = Field(0, ge=0, le=100)

    SPACE: ClassVar = {"shift": (0, 100), "level": (0, 9)}

    def fit(self, data, *, seed=0, evaluate=None, progress=None):
        with Path(FITS).open("a") as log:
            log.write(f"{self.config.level}\\n")
        self.catalog, self.features = data.catalog, data.features
        curve = []
        for step in range(3):
            curve.append((step, evaluate(self.generate(data.valid_requests, data.slate_length))))
        with Path(FITS).open("a") as log:
            log.write(f"{self.config.level} whole\\n")
        return FitReport(curves={"valid": curve})

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        if self._asked(sampling).shift == 13:
            raise RuntimeError("thirteen")
        start = 100 * self.config.level + self._asked(sampling).shift
        items = self.catalog.by_popularity[start : start + k]
        return Slates(np.broadcast_to(items, (requests.height, samples, k)).copy(), {})

    def arrays(self):
        return {"nothing": np.zeros(1)}

    def restore(self, arrays):
        pass
"""


@pytest.fixture(scope="module")
def fits(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The plug-in model `levels`; the file that it writes a line to when a fit starts, and one when it ends."""
    folder = tmp_path_factory.mktemp("levels")
    log = tmp_path_factory.mktemp("fits") / "fits.txt"  # beside the module it would be a part of the plug-in
    (folder / "slatebench_test_levels.py").write_text(MODEL.replace("FITS", repr(str(log))))
    info = folder / "slatebench_test_levels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slatebench-test-levels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[slatebench.models]\nlevels = slatebench_test_levels:Levels\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]))
        yield log


def prepared(runs: Path, model: str = "bm25", seed: int = 0, **asked: Any) -> tuple[Cell, StudySpec, Path]:
    """A study on `tiny`, planned in this process."""
    cell = Cell(dataset="tiny", model=model, seed=seed, part="valid", budget="smoke")
    asked = {"over": {}, "objectives": [], "sampler": None, "fit": False, "any": False, "pruner": None} | asked
    spec = StudySpec(**study_spec(cell, asked | {"over": as_json(asked["over"])})["spec"])
    folder = spec.folder(runs)
    _prepare(folder, spec, False)
    return cell, spec, folder


def searched(runs: Path, trials: int, model: str = "bm25", seed: int = 0, **asked: Any) -> pl.DataFrame:
    """All trials of a study that ran in this process."""
    cell, spec, folder = prepared(runs, model, seed, **asked)
    run_trials(cell, runs, folder, trials, lambda *at, **more: None)
    return _collect(spec, folder).trials


def comparable(trials: pl.DataFrame) -> list[tuple]:
    return trials.select("settings", "state", "best", "ndcg_sim_at_10", "ndcg_sim_at_10_low").rows()


@pytest.fixture(scope="module")
def undisturbed(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return searched(tmp_path_factory.mktemp("runs"), 14, over=TEMPERATURE)


def test_the_same_seed_gives_the_same_study(undisturbed: pl.DataFrame, tmp_path: Path) -> None:
    assert comparable(searched(tmp_path, 14, over=TEMPERATURE)) == comparable(undisturbed)
    assert json.loads(undisturbed["settings"][0]) == {"temperature": 0.0}  # the model's own settings come first
    other = searched(tmp_path, 6, seed=1, over=TEMPERATURE)
    assert other["settings"][1:].to_list() != undisturbed["settings"][1:6].to_list()


def test_the_best_is_the_best_and_equal_settings_are_measured_once(undisturbed: pl.DataFrame) -> None:
    best = undisturbed.filter("best")
    assert best.height == 1 and best["ndcg_sim_at_10"][0] == undisturbed["ndcg_sim_at_10"].max()
    by_settings = undisturbed.group_by("settings").agg(pl.col("latency_p50_ms").n_unique())
    assert by_settings["latency_p50_ms"].max() == 1
    assert undisturbed["temperature"].n_unique() > 5


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_sweep_that_is_ended_half_way_keeps_its_trials_and_goes_on_as_if_undisturbed(
    undisturbed: pl.DataFrame, tmp_path: Path, how: str
) -> None:
    command = ["sweep", "bm25", "--dataset", "tiny", "--over", "temperature=0.0:2.0:0.1", "--trials", "14",
               "--budget", "smoke", "--no-test", "--runs", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from slatebench.benchmark.cli.app import main; main()", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    journals: list[Path] = []
    while not (journals and journals[0].read_text().count('"outcome"') > 2) and time.monotonic() < deadline:
        time.sleep(0.02)
        journals = list(tmp_path.rglob("journal.log"))
    process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGINT)
    _, said = process.communicate()
    kept = journals[0].read_text().count('"outcome"')
    assert process.returncode != 0 and 2 < kept < 14
    if how == "stopped":
        assert b"stopped; what was finished is kept" in said and b"Traceback" not in said
        assert read_sweeps(tmp_path)["state"].to_list() == ["complete"] * kept
        return
    done = sweep("bm25", "tiny", over=TEMPERATURE, trials=14, budget="smoke", test=False, mlflow=False, runs=tmp_path)
    assert comparable(read_sweeps(tmp_path, "tiny")) == comparable(undisturbed)
    assert done.settings == json.loads(undisturbed.filter("best")["settings"][0])


def test_a_trial_whose_process_is_gone_is_free_again(plugins: Path, tmp_path: Path) -> None:
    _, spec, folder = prepared(tmp_path, over=TEMPERATURE, sampler="axes")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    study = open_study(folder, spec)
    lost = next_trial(study, spec, folder, 3)
    assert lost is not None
    host, _, parent, started = lost.user_attrs["worker"]
    lost.set_user_attr("worker", [host, dead.pid, parent, started])
    mine = next_trial(study, spec, folder, 3)
    assert mine is not None and settings_of(mine) == settings_of(lost) and mine.number != lost.number
    assert next_trial(study, spec, folder, 2) is not None  # and one that lives keeps its place
    assert [t.number for t in counted(open_study(folder, spec))] == [1, 2]


@pytest.fixture(scope="module")
def whole(fits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A sweep as `slatebench sweep` runs it: two processes, several objectives, the winner on test, MLflow."""
    runs = tmp_path_factory.mktemp("whole")
    fits.unlink(missing_ok=True)
    over = {"shift": [0, 5, 13, 50, 100]}
    found = sweep("levels", "tiny", over=over, objectives=["ndcg_sim_at_10", "coverage", "latency_p50_ms"], workers=2,
                  sampler="grid", budget="smoke", latency=False, runs=runs)  # fmt: skip
    return found, runs


def test_two_processes_share_one_fit_and_the_bench_uses_it_too(whole: Any, fits: Path) -> None:
    found, _ = whole
    assert sorted(found.trials["shift"]) == [0, 5, 13, 50, 100]
    assert fits.read_text().splitlines() == ["0", "0 whole"]
    assert found.run.record.state == "done" and found.run.record.fit_cached
    assert found.run.spec.part == "test" and found.run.spec.sampling == found.settings
    assert (
        found.command == f"slatebench bench levels --dataset tiny --set shift={found.settings['shift']} --budget smoke"
    )


def test_a_trial_that_fails_stands_with_its_reason(whole: Any) -> None:
    row = whole[0].trials.filter(pl.col("shift") == 13).row(0, named=True)
    assert row["state"] == "fail" and row["reason"] == "RuntimeError: thirteen" and row["ndcg_sim_at_10"] is None


def test_the_pareto_front_is_what_nothing_dominates(whole: Any) -> None:
    found, _ = whole
    done = found.trials.filter(state="complete").select("ndcg_sim_at_10", "coverage", "latency_p50_ms")
    rows = [(a, b, -c) for a, b, c in done.rows()]
    front = {r for r in rows if not any(o != r and all(x >= y for x, y in zip(o, r, strict=True)) for o in rows)}
    shown = [(r["ndcg_sim_at_10"], r["coverage"], -r["latency_p50_ms"]) for r in found.best]
    assert set(shown) == front and shown[0][0] == max(r[0] for r in rows)


def test_plots_need_no_network(whole: Any) -> None:
    found, _ = whole
    names = {path.name for path in found.plots}
    assert {"plots.html", "pareto-front.png", "slice-coverage.png"} <= names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found.plots if path.suffix == ".png")
    page = (found.folder / "plots" / "plots.html").read_text()
    assert "<script src=" not in page.split("Plotly.newPlot")[-1] and 'src="http' not in page
    assert page.count("Plotly.newPlot(") >= 4


def test_mlflow_shows_every_trial_below_the_sweep(whole: Any) -> None:
    from mlflow import MlflowClient

    found, runs = whole
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny-sweeps")
    assert experiment is not None
    shown = client.search_runs([experiment.experiment_id])
    parent = next(run for run in shown if "mlflow.parentRunId" not in run.data.tags)
    nested = [run for run in shown if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(int(run.data.params["shift"]) for run in nested) == [0, 5, 13, 50, 100]
    best = next(run for run in nested if int(run.data.params["shift"]) == found.settings["shift"])
    assert best.data.metrics["ndcg_sim_at_10"] == found.best[0]["ndcg_sim_at_10"]
    assert parent.data.params["sampler_name"] == "grid" and parent.data.params["seed"] == "0"
    assert "pareto-front.png" in {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "plots")}


def test_rebuild_makes_the_sweeps_again_from_nothing(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from mlflow import MlflowClient

    found, runs = whole

    def view(uri: str) -> dict[str, Any]:
        client = MlflowClient(tracking_uri=uri)
        shown = {}
        for experiment in client.search_experiments():
            runs = client.search_runs([experiment.experiment_id])
            names = {run.info.run_id: run.info.run_name for run in runs}
            for run in runs:
                files = [file.path for path in (None, "plots") for file in client.list_artifacts(run.info.run_id, path)]
                tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.parentRunId"}
                times = (run.info.start_time, run.info.end_time, run.info.status)
                below = names.get(run.data.tags.get("mlflow.parentRunId"))
                shown[experiment.name, run.info.run_name, run.data.tags.get("slatebench.hash")] = (
                    run.data.params, run.data.metrics, tags, files, times, below)  # fmt: skip
        return shown

    before = view(f"sqlite:///{runs / 'mlflow.db'}")
    assert len([key for key in before if key[0] == "tiny-sweeps"]) == 6 and "tiny" in {key[0] for key in before}
    broken = found.folder.parent / "broken"
    broken.mkdir()
    (broken / "result.json").write_text("{}")
    fresh = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", fresh)
    try:
        for _ in range(2):  # what is shown already is no hindrance
            app(["leaderboard", "rebuild", "--runs", str(runs)], standalone_mode=False)
    finally:
        (broken / "result.json").unlink()
        broken.rmdir()
    out = capsys.readouterr().out
    assert (
        out.count(f"and 1 sweeps logged to {tmp_path / 'elsewhere.db'}") == 2
        and out.count(f"left out: {broken}: no sweep.json") == 2
    )
    assert view(fresh) == before
    trial = found.trials.row(0, named=True)
    nested = next(value for key, value in before.items() if key[1] == f"trial 0: shift={trial['shift']}")
    assert nested[5] == f"sweep levels {found.spec.hash[:6]}" and nested[4][1] - nested[4][0] == int(
        1000 * trial["seconds"]
    )


def test_a_sweep_with_a_damaged_file_is_left_out_with_a_line(whole: Any, tmp_path: Path) -> None:
    import shutil

    found, runs = whole
    copy = tmp_path / found.folder.relative_to(runs)
    shutil.copytree(found.folder, copy)
    (copy / "trials.parquet").write_text("no table")
    logged, (problem,) = rebuild_sweeps(tmp_path)
    assert logged == 0 and str(copy) in problem and "then slatebench sweep levels" in problem and "\n" not in problem


def test_config_fields_are_fitted_anew_and_fits_that_lag_behind_are_pruned(fits: Path, tmp_path: Path) -> None:
    fits.unlink(missing_ok=True)
    over = {"level": [0, 9, 1, 8, 2, 7]}
    trials = searched(tmp_path, 12, "levels", over=over, fit=True, sampler="random", pruner="median")
    lines = fits.read_text().splitlines()
    tried = {json.loads(settings)["level"] for settings in trials["settings"]}
    assert {int(line) for line in lines if "whole" not in line} == tried
    pruned = trials.filter(state="pruned")
    assert pruned.height and all("pruned at check" in reason for reason in pruned["reason"])
    assert {f"{level} whole" for level in pruned["level"]}.isdisjoint(lines)
    best = trials.filter("best")["level"][0]
    left = [json.loads(path.read_text())["config"]["level"] for path in tmp_path.glob(".fits/*/*/*/model.json")]
    assert best in left and len(left) < len(tried) - pruned["level"].n_unique()  # fits of no use are gone
    assert pruned["ndcg_sim_at_10"].null_count() == pruned.height


def test_trials_are_timed_while_nobody_else_on_this_machine_is(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bm25, held = model_class("bm25"), []
    generate = bm25.generate

    def watched(self: Any, requests: pl.DataFrame, *arguments: Any, **more: Any) -> Any:
        lock = latency_lock(tmp_path)  # another instance is as good as another process
        try:
            lock.acquire(timeout=0)
            lock.release()
            held.append((requests.height, False))
        except Timeout:
            held.append((requests.height, True))
        return generate(self, requests, *arguments, **more)

    monkeypatch.setattr(bm25, "generate", watched)
    searched(tmp_path, 1, over=TEMPERATURE)
    assert {timed for requests, timed in held if requests == 1} == {True}
    assert {timed for requests, timed in held if requests > 1} == {False}


def test_freshness_as_an_objective_takes_four_samples(plugins: Path, tmp_path: Path) -> None:
    trials = searched(tmp_path, 3, over={"temperature": [0.0, 1.0, 2.0]}, objectives=["ndcg_sim_at_10", "freshness"],
                      sampler="grid")  # fmt: skip
    fresh = dict(trials.select("temperature", "freshness").rows())
    assert fresh[0.0] == 0 < fresh[1.0] < fresh[2.0]
    assert trials.filter("best")["freshness"].max() == fresh[2.0]  # nothing is fresher: on the front


def test_the_table_names_the_winner_and_how_to_run_it_again(whole: Any, capsys: pytest.CaptureFixture) -> None:
    found, _ = whole
    _print(found)
    out = capsys.readouterr().out
    assert f"winner: {found.command}" in out and f"Pareto front, {len(found.best)} of 5 trials" in out
    assert f"seed 0\nstudy {found.spec.hash}" in out and "grid" in out


def test_the_table_holds_each_settings_once_the_best_first(
    undisturbed: pl.DataFrame, plugins: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, spec, folder = prepared(tmp_path, over=TEMPERATURE)
    better = undisturbed.filter("best").head(1)  # the same settings, luckier
    better = better.with_columns(pl.col("trial") + 100, pl.col("ndcg_sim_at_10") + 0.1)
    undisturbed = pl.concat([undisturbed, better])
    _print(Sweep(spec, folder, undisturbed, better.to_dicts(), None, [], "", []))
    out = capsys.readouterr().out
    rows = [line.split("│")[1:4:2] for line in out.splitlines() if line.startswith("│")]
    found = dict(undisturbed.sort("ndcg_sim_at_10", descending=True, maintain_order=True).select("temperature", "trial")
                 .unique("temperature", keep="first", maintain_order=True).head(10).rows())  # fmt: skip
    assert [(int(trial), float(temperature)) for trial, temperature in rows] == [(n, t) for t, n in found.items()]


def test_a_journal_of_another_study_is_refused(plugins: Path, tmp_path: Path) -> None:
    _, _, first = prepared(tmp_path, over=TEMPERATURE)
    _, spec, second = prepared(tmp_path, seed=1, over=TEMPERATURE)
    (second / "journal.log").write_bytes((first / "journal.log").read_bytes())
    with pytest.raises(SlateBenchError, match="holds another study"):
        open_study(second, spec)
    _prepare(second, spec, rerun=True)
    assert not best_trials(open_study(second, spec), spec)


TORN = [
    lambda text: text[:-9],
    lambda text: text + b"\0" * 700,
    lambda text: text + b'{"op\xff',
    lambda text: text + b"\n",
]


@pytest.mark.parametrize("tear", TORN)
def test_a_torn_journal_loses_no_more_than_its_last_trial(plugins: Path, tmp_path: Path, tear: Any) -> None:
    before = comparable(searched(tmp_path, 3, over=TEMPERATURE))
    [journal] = tmp_path.rglob("journal.log")
    journal.write_bytes(tear(journal.read_bytes()))
    assert comparable(searched(tmp_path, 3, over=TEMPERATURE)) == before
    assert journal.read_bytes().endswith(b"}\n")


def test_a_journal_that_is_damaged_in_its_middle_stays_as_it_is(plugins: Path, tmp_path: Path) -> None:
    searched(tmp_path, 2, over=TEMPERATURE)
    [journal] = tmp_path.rglob("journal.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(content := b"".join([*lines[:2], b'{"op_c', *lines[2:]]))
    with pytest.raises(SlateBenchError, match=r"line 3 of .* is damaged: cut the file before it"):
        prepared(tmp_path, over=TEMPERATURE)
    assert journal.read_bytes() == content


def test_a_default_told_by_hand_is_the_same_study(plugins: Path) -> None:
    asked = {"over": as_json(TEMPERATURE), "objectives": [], "sampler": None, "fit": False, "any": False,
             "pruner": None}  # fmt: skip
    cell = Cell(dataset="tiny", model="bm25", part="valid", budget="smoke")
    told = cell.model_copy(update={"overrides": {"k1": "1.5"}})
    assert study_spec(told, asked)["spec"] == study_spec(cell, asked)["spec"]
