"""`rescore`: the metrics of finished runs again from their slates, without fitting or generating."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from ...datasets.errors import UsageError
from ...leaderboards.mlflow_view.runs import log_runs
from ...leaderboards.records import Run, folder_in_the_making, read_run, run_folder, runs_of, write_record
from ...leaderboards.schema import RunSpec, Versions
from ...leaderboards.slates import read_slates
from ...metrics.registry import METRICS_VERSION
from ..cells.cell import Cell
from ..cells.data import load_data
from ..cells.run import scored


def rescore(runs: Sequence[Run], *, bertscore: str | None = None) -> list[Run]:
    """Score the slates of `runs` with the metrics of this version; a changed metric version makes a new record.

    Args:
        runs: finished runs; the new records stand in the same runs folder, and in MLflow.
        bertscore: also measure BERTScore, with this model.

    Raises:
        UsageError: a run that did not finish or stands in no runs folder, or data that are not those of the run.
        SlateBenchError: slates that are damaged, or that no model may emit.
    """
    done = []
    for run, folder in [(run, runs_of(run)) for run in runs]:
        done.append(_rescore(run, folder, bertscore))
        log_runs(done[-1:], folder)
    return done


def _rescore(run: Run, folder: Path, bertscore: str | None) -> Run:
    spec = run.spec
    if run.record.state != "done":
        raise UsageError(f"{run.folder}: state {run.record.state}, nothing to score")
    source = "real" if spec.source == "real" else "auto"
    cell = Cell(
        dataset=spec.dataset,
        model=spec.model,
        source=source,
        split_seed=spec.split_seed,
        train_share=spec.train_share,
        encoder=spec.encoder,
        item_vectors=spec.item_vectors,
        repeats=spec.repeats,
        requests=spec.requests or "all",
    )
    data = load_data(cell)
    if data.dataset.fingerprint != spec.fingerprint:
        raise UsageError(
            f"{run.folder}: made on fingerprint {spec.fingerprint}, the data here have {data.dataset.fingerprint}"
        )
    slates = read_slates(run, data.asked.part(spec.part).requests, data.dataset.catalog)
    versions = Versions(
        model=spec.versions.model,
        features=spec.versions.features,
        metrics=METRICS_VERSION,
        evaluation=data.space.version,
    )
    new = RunSpec(**{**spec.model_dump(), "versions": versions, "bertscore": bertscore or spec.bertscore})
    final = run_folder(folder, new)
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(final.parent / f".{new.hash}.lock"), folder_in_the_making(final) as beside:
        for path in run.folder.iterdir():
            if path.name != "record.json":
                _bring(path, beside / path.name)
        record = scored(run.record.model_copy(update={"spec": new}), data, slates, beside, _silent)
        write_record(beside, record)
    return read_run(final)


def _bring(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _silent(phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
    """A report that shows nothing."""
