"""One cell, start to end: spec -> dataset -> features -> fit (or cached fit) -> generate -> score -> record.

Timing is done afterwards, last and alone (timing/); MLflow and the table on screen follow from the record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from ...datasets.ceilings import ceilings
from ...datasets.errors import FaultySlates, SlateBenchError
from ...datasets.files.table import write_table
from ...datasets.health import health_lines
from ...datasets.schema import PartName, Slates
from ...leaderboards.board import kind_of
from ...leaderboards.records import Run, find_run, folder_in_the_making, run_folder, write_record
from ...leaderboards.schema import Estimate, Record, RunSpec, State
from ...leaderboards.slates import write_slates
from ...metrics.evaluate import evaluate, summarise
from .cell import Plan, Report, seeded
from .data import Data, load_data
from .fit import fitted_model, guarded
from .machine import commit, machine, other_libraries, packages


def run_plan(plan: Plan, runs: Path, report: Report, rerun: bool = False) -> Run:
    """Run a planned cell and return its record; a whole record of the same spec is used again.

    Raises:
        SlateBenchError: the model broke its contract, or it raised.
    """
    spec = plan.spec
    final = run_folder(runs, spec)
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(final.parent / f".{spec.hash}.lock"):
        if not rerun and (before := usable_run(runs, spec)) is not None:
            return before
        with folder_in_the_making(final) as folder, _log(folder, report) as log:
            record = base_record(plan, "skipped", plan.skip) if plan.skip else _run(plan, runs, folder, log, rerun)
            write_record(folder, record)
    return Run(final, record)


def usable_run(runs: Path, spec: RunSpec) -> Run | None:
    """The finished record of `spec`, where it is whole and the same arithmetic libraries are here now."""
    run = find_run(runs, spec)
    return None if run is None or run.record.state != "done" or other_libraries(run.record.packages) else run


def _run(plan: Plan, runs: Path, folder: Path, report: Report, rerun: bool) -> Record:
    spec, timings = plan.spec, {}
    with _timed(timings, "data", report):
        data = load_data(plan.cell)
    asked = data.asked.part(spec.part).requests
    requests = asked.clone()  # a model that writes into its requests must not change those of the next cell
    with _timed(timings, "features", report):
        data.features.items()
    fitted = None
    if kind_of(spec.model) == "ceiling":
        with _timed(timings, "generate", report):
            slates = _ceiling(data, spec.part, spec.model, spec.k)
    else:
        with _timed(timings, "fit", report):
            fitted = fitted_model(plan, data, runs, folder / "model", report, rerun)
        with _timed(timings, "generate", report), guarded(data, fitted.model):
            slates = fitted.model.generate(
                requests, spec.k, samples=spec.samples, seed=seeded(spec.seed, "sampling"), sampling=None
            )
    if not isinstance(slates, Slates):
        raise FaultySlates(f"generate must return Slates, got {type(slates).__name__}")
    if not requests.equals(asked):
        raise FaultySlates("the model wrote into the requests")
    slates.check(asked, len(data.dataset.catalog), spec.k, spec.samples)
    write_slates(folder, slates, asked, data.dataset.catalog)
    drawn = fitted is not None and fitted.model.stochastic()
    record = base_record(plan, "done").model_copy(update={"timings": timings, "stochastic": drawn})
    if fitted is not None:
        record = record.model_copy(update=fitted.facts(spec.k))
    with _timed(timings, "score", report):
        return scored(record, data, slates, folder, report)


def scored(record: Record, data: Data, slates: Slates, folder: Path, report: Report) -> Record:
    """The record with the metrics of `slates`; writes scores.parquet into `folder`."""
    spec = record.spec
    truth = data.truth(spec.part)
    bertscore = data.bertscore(spec.bertscore) if spec.bertscore else None
    if bertscore is not None:
        bertscore.progress = lambda done, total: report("bertscore", done, total)
    scores = evaluate(slates, truth, cutoffs=spec.cutoffs, bertscore=bertscore, deterministic=not record.stochastic)
    write_table(scores.per_request, folder / "scores.parquet")
    write_table(data.asked.part(spec.part).requests, folder / "requests.parquet")  # whole: what latency asks again
    metrics = {name: Estimate(**values) for name, values in summarise(scores, truth.groups).items()}
    health = data.text_health
    return record.model_copy(
        update={
            "metrics": metrics,
            "bertscore": bertscore.record if bertscore else None,
            "text_health": health,
            "notice": "; ".join(filter(None, [data.notice, *health_lines(health)])) or None,
        }
    )


def base_record(plan: Plan, state: State, reason: str | None = None) -> Record:
    """A record with everything that is known before (or without) a result."""
    return Record(
        spec=plan.spec,
        label=plan.label,
        state=state,
        reason=reason,
        machine=machine(),
        packages=packages(),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notice=plan.notice,
        overrides=plan.cell.overrides,
    )


def _ceiling(data: Data, part: PartName, model: str, k: int) -> Slates:
    found = ceilings(data.asked, part, k)
    name = model
    if name not in found:
        raise SlateBenchError(f"{data.dataset.name} has no {name}; it has {', '.join(sorted(found))}")
    return found[name]


@contextmanager
def _timed(timings: dict[str, float], phase: str, report: Report) -> Iterator[None]:
    report(phase)
    started = time.perf_counter()
    yield
    timings[phase] = time.perf_counter() - started


@contextmanager
def _log(folder: Path, report: Report) -> Iterator[Report]:
    """Report onwards, and keep a log.txt of what was reported (steps thinned to one line a second)."""
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        last = 0.0

        def both(phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if not total or step >= total or now - last > 1:
                last = now
                steps = f" {step}/{total}" if total else ""
                log.write(f"{datetime.now(UTC):%H:%M:%S} {phase}{steps} {message}".rstrip() + "\n")
                log.flush()
            report(phase, step, total, message)

        yield both
