"""`sweep`: a search over a model's settings on one fitted model, on validation data; the winner is then benched.

Trials run in processes of their own (sweep_worker.py) on one journal (sweep_study.py): whatever stops the sweep, the
same command goes on from there.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...datasets.errors import SlateBenchError, UsageError
from ...datasets.files.table import write_table
from ...leaderboards.command import command_line
from ...leaderboards.records import Run, check_writable, runs_folder, write_text
from ...leaderboards.schema import Budget
from ...leaderboards.sweeps import RESULT, SPEC, TRIALS, StudySpec, Tuned, figures_of, keep_tuned, trial_frame
from ..cells.cell import Cell, cell_of
from ..grids.bench import bench
from ..grids.listening import Listener, one_at_a_time
from ..limits import MOST_TRIALS, check_processes, check_range
from ..processes.worker import Worker, side_by_side
from .space import Space, as_json

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TRIALS_DEFAULT = 30
SHARED = ("budget", "source", "train_share", "encoder", "item_vectors")  # of the sweep's cell, for the winner's too


@dataclass
class Sweep:
    """What came of a sweep.

    Attributes:
        spec: what was searched, where and how.
        folder: of the study, with its trials, plots and result.
        trials: a row per trial, as `read_sweeps` gives them.
        best: rows of `trials`: the winner, or the Pareto front with the best by the first objective first.
        run: the winner measured in full on test; None where that was not asked for.
        plots: files.
        command: runs the winner again.
        notices: things a reader must know.
    """

    spec: StudySpec
    folder: Path
    trials: pl.DataFrame
    best: list[dict[str, Any]]
    run: Run | None
    plots: list[Path]
    command: str
    notices: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """The winner's settings."""
        return json.loads(self.best[0]["settings"])

    @property
    def ok(self) -> bool:
        """Did the winner's run end well?"""
        return self.run is None or self.run.record.state == "done"


def sweep(
    model: str,
    dataset: str,
    *,
    over: Space | None = None,
    objectives: Sequence[str] = (),
    trials: int | None = None,
    sampler: str | None = None,
    fit: bool = False,
    any_field: bool = False,
    pruner: str | None = "median",
    seed: int = 0,
    workers: int = 1,
    budget: Budget = "standard",
    source: str = "auto",
    train_share: float = 1.0,
    encoder: str | None = None,
    item_vectors: str | None = None,
    overrides: dict[str, Any] | None = None,
    test: bool = True,
    latency: bool = True,
    runs: Path | str | None = None,
    rerun: bool = False,
    mlflow: bool = True,
    listener: Listener | None = None,
    debug: bool = False,
) -> Sweep:
    """Search settings of a model on the validation part; measure the winner in full, once, on test.

    Args:
        model: address such as `dmsg` or `dmsg:prior`.
        dataset: name.
        over: field -> values or Range; by default the model's own search space.
        objectives: metrics, or latency_p50_ms, latency_p95_ms, nfe; by default the headline metric.
        trials: in all, those of earlier calls included; by default 30, or all points of a grid.
        sampler: tpe (one objective), nsga2 (several), random, grid, axes (one field at a time from the defaults).
        fit: Config fields too: a fit for each of their values.
        any_field: Config fields where the model has nothing else to sweep.
        pruner: of fits, on the validation curve: median, hyperband or None.
        seed: of the fit, of the slates and of the search.
        workers: processes.
        budget: of the fit.
        source: `auto`, `real` or `synthetic`.
        train_share: of the train slates, as in `bench`.
        encoder: of prompts and item texts, as in `bench`.
        item_vectors: what makes the item vectors, as in `bench`.
        overrides: values that hold for every trial.
        test: measure the winner on test, as `bench` does.
        latency: the winner's too, last and alone.
        runs: folder of the records.
        rerun: forget the study's earlier trials.
        mlflow: show the sweep in MLflow too.
        listener: told of every event, as by `bench`.
        debug: show what the processes print.

    Raises:
        UsageError: an unknown name, a wrong value, nothing to sweep.
        DataError: data that can't be had with `source="real"`.
        SlateBenchError: no trial ended well, or the study's files are damaged.
    """
    check_processes("workers", workers)
    if trials is not None:
        check_range("trials", trials, MOST_TRIALS, "each is a fit or at least hundreds of slates")
    home = runs_folder(runs).resolve()
    check_writable(home)
    cell = cell_of(dataset=dataset, model=model, seed=seed, part="valid", budget=budget, source=source,
                   train_share=train_share, encoder=encoder, item_vectors=item_vectors,
                   overrides=overrides or {})  # fmt: skip
    tell = one_at_a_time(listener or (lambda event, cell, details: None))
    asked = {"do": "plan", "cell": cell.model_dump(), "over": as_json(over or {}), "objectives": list(objectives),
             "sampler": sampler, "fit": fit, "any": any_field, "pruner": pruner}  # fmt: skip
    crew = [Worker(1, debug=debug, module=f"{__package__}.child") for _ in range(workers)]
    try:
        home.mkdir(parents=True, exist_ok=True)
        tell("planning", cell, {})
        planned = crew[0].call(asked, lambda *at: tell("progress", cell, {"at": at})).checked(cell.label)
        spec = StudySpec(**planned["spec"])
        for notice in planned["notices"]:
            tell("notice", cell, {"text": notice})
        points = planned["points"]
        total = min(trials or points, points) if points else trials or TRIALS_DEFAULT
        folder = spec.folder(home)
        _prepare(folder, spec, rerun)
        try:
            _run(crew, cell, home, folder, total, tell)
        finally:
            for worker in crew:
                worker.stop()
            found = _collect(spec, folder)  # also what there is when somebody stops it
    finally:
        for worker in crew:
            worker.stop()
    return _finish(found, cell, home, total, planned["notices"], test, latency, mlflow, tell, debug)


def _prepare(folder: Path, spec: StudySpec, rerun: bool) -> None:
    """The study's folder with its spec and journal, before several processes open it; `rerun` empties it."""
    from .study import open_study, running

    folder.mkdir(parents=True, exist_ok=True)
    if rerun:
        busy = False
        with suppress(SlateBenchError):  # a damaged study holds nobody up
            busy = running(open_study(folder, spec))
        if busy:
            raise UsageError(f"{folder}: another process works on this study; end it before --rerun")
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_text(folder / SPEC, json.dumps(spec.model_dump(), indent=1, sort_keys=True))
    open_study(folder, spec)


def _run(crew: list[Worker], cell: Cell, runs: Path, folder: Path, total: int, tell: Listener) -> None:
    """All workers take trials until `total` are taken; the first failure stops them all."""
    command = {"do": "run", "cell": cell.model_dump(), "runs": str(runs), "folder": str(folder), "trials": total}

    def report(phase: str, step: int, total: int, message: str) -> None:
        if phase.startswith("trial "):
            tell("line", cell, {"text": f"{phase}: {message}"})
        else:
            tell("progress", cell, {"at": (phase, step, total, message)})

    def work(worker: Worker) -> None:
        worker.call(command, report).checked(cell.label)

    side_by_side(crew, work, threading.Event())


# --- what came out -----------------------------------------------------------------------------------------


@dataclass
class _Found:
    """A study as it stands."""

    spec: StudySpec
    folder: Path
    study: Any
    best: list[FrozenTrial]
    trials: pl.DataFrame


def _collect(spec: StudySpec, folder: Path) -> _Found:
    """Read the journal and write the table of trials."""
    from .study import OUTCOME, REASON, best_trials, counted, open_study, settings_of

    study = open_study(folder, spec)
    best = best_trials(study, spec)
    numbers = {trial.number for trial in best}
    rows = []
    for trial in counted(study):
        result = trial.user_attrs.get(OUTCOME, {})
        rows.append({"trial": trial.number, "state": trial.state.name.lower(), "reason": trial.user_attrs.get(REASON),
                     "best": trial.number in numbers, "seconds": result.get("seconds"),
                     "settings": settings_of(trial), "figures": result.get("figures", {})})  # fmt: skip
    frame = trial_frame(spec, rows)
    beside = folder / f".{TRIALS}"
    write_table(frame, beside)
    beside.replace(folder / TRIALS)
    return _Found(spec, folder, study, best, frame)


def _finish(found: _Found, cell: Cell, runs: Path, total: int, notices: list[str], test: bool, latency: bool,
            mlflow: bool, tell: Listener, debug: bool) -> Sweep:  # fmt: skip
    """Plots, the winner's run, tuned settings, MLflow."""
    from .plots import draw
    from .study import settings_of

    spec, folder = found.spec, found.folder
    if not found.best:
        reasons = found.trials["reason"].drop_nulls()
        raise SlateBenchError(f"no trial of {total} ended well: {reasons[0] if len(reasons) else 'none was finished'}")
    tell("progress", cell, {"at": ("plots", 0, 0, "")})
    plots = draw(found.study, spec, folder / "plots")
    rows = {row["trial"]: row for row in found.trials.iter_rows(named=True)}
    best = [rows[trial.number] for trial in found.best]
    settings = spec.overrides | settings_of(found.best[0])
    notices = list(notices)
    run = None
    if test:
        shared: dict[str, Any] = {name: getattr(cell, name) for name in SHARED}
        result = bench(cell.model, cell.dataset, **shared, seeds=[cell.seed], overrides=settings, runs=runs,
                       latency=latency, mlflow=mlflow, listener=tell, debug=debug)  # fmt: skip
        run = result.runs[0]
        notices += [notice for notice in result.notices if notice not in notices]
    command = _command(cell, settings)
    content = {"study": spec.hash, "trial": found.best[0].number, "settings": settings,
               "figures": figures_of(best[0], spec), "trials": found.trials.height, "command": command,
               "run": str(run.folder) if run else None,
               "created": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
    write_text(folder / RESULT, json.dumps(content, indent=1))
    if len(spec.objectives) == 1:
        _keep(found, runs, settings, best[0], content["created"])
    if mlflow:
        from ...leaderboards.mlflow_view.sweeps import log_sweep

        try:
            log_sweep(spec, folder, runs)
        except SlateBenchError as error:  # the study is whole: a view that can't be drawn is no failed sweep
            notices += [str(error)] if str(error) not in notices else []
    return Sweep(spec, folder, found.trials, best, run, plots, command, notices)


def _keep(found: _Found, runs: Path, settings: dict[str, Any], best: dict[str, Any], created: str) -> None:
    """Tuned settings for `bench --tuned`."""
    from .space import default_point, from_json

    spec, objective = found.spec, found.spec.objectives[0]
    default = default_point(from_json(spec.space), spec.config | spec.sampling)
    same = [row for row in found.trials.iter_rows(named=True) if json.loads(row["settings"]) == default]
    swept = {key: value for key, value in settings.items() if key not in spec.overrides}
    keep_tuned(runs, spec, Tuned(
        model=spec.model, settings=swept, overrides=spec.overrides, objective=objective, value=best[objective],
        default=same[0][objective] if same else None, trials=found.trials.height, study=spec.hash,
        fingerprint=spec.fingerprint, budget=spec.budget, created=created,
    ))  # fmt: skip


def _command(cell: Cell, settings: dict[str, Any]) -> str:
    """The command that runs the winner again."""
    options: dict[str, object] = {"--seeds": cell.seed} if cell.seed else {}
    for name in SHARED:
        if (value := getattr(cell, name)) != Cell.model_fields[name].default:
            options[f"--{name.replace('_', '-')}"] = value
    return command_line(cell.model, cell.dataset, settings, options)
