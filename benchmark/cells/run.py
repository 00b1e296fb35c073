"""One cell, start to end: spec -> dataset -> features -> fit (or cached fit) -> generate -> score -> record.

Timing is done afterwards, last and alone (latency.py); MLflow and the table on screen follow from the record.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock

from ...datasets.ceilings import ceilings
from ...datasets.errors import FaultySlates, SlateBenchError, one_line, why_not_json
from ...datasets.files.table import write_table
from ...datasets.health import health_lines
from ...datasets.schema import EMPTY, Catalog, PartName, Slates, references_closed, train_data
from ...leaderboards.board import headline
from ...leaderboards.checked import damaged, diagnostics_of, slates_of
from ...leaderboards.records import Run, find_run, folder_in_the_making, run_folder, write_record, write_text
from ...leaderboards.schema import Estimate, Record, RunSpec, State
from ...metrics.evaluate import evaluate, summarise
from ...models.base import FitReport, Progress, SlateModel
from ...models.registry import model_class, parse_model
from .cell import CEILING, Data, Plan, cutoffs_of, fit_folder, load_data, seeded
from .machine import commit, libraries, machine, other_libraries, packages

FIT = "fit.json"  # what a fit reported, and what must be so that it is used again
Report = Callable[..., None]  # report(phase, step=0, total=0, message="")


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
    asked = data.dataset.part(spec.part).requests
    requests = asked.clone()  # a model that writes into its requests must not change those of the next cell
    with _timed(timings, "features", report):
        data.features.items()
    fitted = None
    if spec.model.startswith(f"{CEILING}:"):
        with _timed(timings, "generate", report):
            slates = _ceiling(data, spec.part, spec.model, spec.k)
    else:
        with _timed(timings, "fit", report):
            fitted = _fitted(plan, data, runs, folder / "model", report, rerun)
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


@dataclass(frozen=True)
class _Fitted:
    """A fitted model, what its fit reported, and whether it came from the cache."""

    model: SlateModel
    report: dict
    cached: bool

    def facts(self, k: int) -> dict:
        """What the record says of the model."""
        card = asdict(self.model.card) | {"conditions": sorted(self.model.card.conditions)}
        cost = plain(self.model.cost(k), "what cost gives")
        if not isinstance(cost, dict) or not all(isinstance(value, int | float) for value in cost.values()):
            raise FaultySlates(f"cost must give a dict of numbers, got {one_line(repr(cost), 80)}")
        return {
            "fit": self.report,
            "fit_cached": self.cached,
            "cost": cost,
            "model_card": plain(card, "the model's card"),
        }


def scored(record: Record, data: Data, slates: Slates, folder: Path, report: Report) -> Record:
    """The record with the metrics of `slates`; writes scores.parquet into `folder`."""
    spec = record.spec
    truth = data.truth(spec.part)
    bertscore = data.bertscore(spec.bertscore) if spec.bertscore else None
    if bertscore is not None:
        bertscore.progress = lambda done, total: report("bertscore", done, total)
    scores = evaluate(slates, truth, cutoffs=spec.cutoffs, bertscore=bertscore, deterministic=not record.stochastic)
    write_table(scores.per_request, folder / "scores.parquet")
    write_table(data.dataset.part(spec.part).requests, folder / "requests.parquet")  # whole: what latency asks again
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


# --- fitting ---------------------------------------------------------------------------------------


def _fitted(plan: Plan, data: Data, runs: Path, folder: Path, report: Report, rerun: bool) -> _Fitted:
    """The fitted model of a plan, from the cache or fitted now; its files are linked into the run's folder.

    What is measured is always what was saved: a fresh fit is read back too.
    """
    cls = model_class(parse_model(plan.spec.model)[0])
    with kept_fit(plan, data, runs, report, rerun) as (kept, cached):
        shutil.copytree(kept, folder, copy_function=_link)
    fit = json.loads((folder / FIT).read_text(encoding="utf-8"))["report"]
    (folder / FIT).unlink()
    head = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    write_text(folder / "model.json", json.dumps(head | {"sampling": plan.spec.sampling}, indent=1))
    with references_closed():
        model = cls.load(folder, features=data.features)  # the same vectors, the dataset's prompts already encoded
    return _Fitted(model, fit, cached)


Watch = Callable[[float], None]  # told each validation value of a fit; may end it by raising


@contextmanager
def kept_fit(plan: Plan, data: Data, runs: Path, report: Report, rerun: bool = False,
             watch: Watch | None = None) -> Iterator[tuple[Path, bool]]:  # fmt: skip
    """Folder of the fitted model of a plan, locked, and whether it was there before; fitted now if it was not."""
    kept = fit_folder(runs, plan)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.parent / f".{kept.name}.lock"):
        why = why_not_kept(kept)
        cached = why is None and not rerun
        if not cached:
            if why:
                report("fit", message=f"{kept}: {why}: fitted anew")
            _fit(model_class(parse_model(plan.spec.model)[0]), plan, data, kept, report, watch)
        yield kept, cached


def why_not_kept(kept: Path) -> str | None:
    """Why the fit in a folder can't be used again ("" where there is none); None where it can."""
    if not (kept / FIT).exists():
        return ""
    try:
        head = json.loads((kept / FIT).read_text(encoding="utf-8"))
        whole, other = head["files"] == _sums(kept), other_libraries(head["packages"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "damaged, or written by an earlier version"
    return f"made with {other}" if other else None if whole else "damaged"


def _sums(folder: Path) -> dict[str, str]:
    """sha256 of each file of a fit but its head."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FIT):
        with path.open("rb") as file:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _fit(cls: type[SlateModel], plan: Plan, data: Data, kept: Path, report: Report, watch: Watch | None) -> None:
    spec = plan.spec
    model = cls(cls.Config(**spec.config), cls.Sampling(**spec.sampling))
    model.checkpoint_folder = kept.parent / f"{kept.name}.partial"
    seen = train_data(data.dataset, data.features)
    own = Catalog(data.dataset.catalog.items.clone())  # what a model writes into is its own
    seen = replace(seen, catalog=own, valid_requests=seen.valid_requests.clone())
    evaluate_valid = evaluator(data, seen.valid_requests, watch)
    started = time.perf_counter()
    with guarded(data, model):
        fit_report = model.fit(
            seen,
            seed=seeded(spec.seed, "fit"),
            evaluate=evaluate_valid,
            progress=_told(report),
        )
    if not isinstance(fit_report, FitReport):
        raise FaultySlates(f"fit must return a FitReport, got {type(fit_report).__name__}")
    if fit_report.state == "diverged":
        raise Diverged(f"{spec.model} diverged while fitting: lower learning_rate, or see the curves in log.txt")
    facts = plain(vars(fit_report) | {"seconds": time.perf_counter() - started}, "the FitReport")
    with folder_in_the_making(kept) as folder:
        model.save(folder)
        head = {"report": facts, "packages": libraries(), "files": _sums(folder)}
        write_text(folder / FIT, json.dumps(head))
    shutil.rmtree(model.checkpoint_folder, ignore_errors=True)


def _told(report: Report) -> Progress:
    """The `progress` handed to `fit`: what it is told may be anything, and is for the eyes alone."""

    def progress(step: int, total: int, message: str = "") -> None:
        with suppress(ValueError, TypeError, OverflowError):  # no number
            report("fit", int(step), int(total), one_line(message))

    return progress


def plain(value: Any, what: str) -> Any:
    """Facts that a model gives, in JSON's types; numpy's numbers and arrays are taken for what they hold.

    Raises:
        FaultySlates: anything else, a number that is not finite, or text that can't be encoded.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(plain(name, what)): plain(item, f"{what}, {one_line(name, 80)}")
                for name, item in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [plain(item, what) for item in value]
    if value is not None and not isinstance(value, bool | int | float | str):
        raise FaultySlates(f"{what}: {type(value).__name__} is neither number nor text")
    if (why := why_not_json(value)) is not None:
        raise FaultySlates(f"{what}: {one_line(repr(value), 80)}: {why}")
    return value


class Diverged(SlateBenchError):
    """The fit ran away (NaN or infinite loss): state `diverged`."""


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def evaluator(data: Data, requests: pl.DataFrame, watch: Watch | None = None) -> Callable[[Slates], float]:
    """The `evaluate` handed to `fit`: the headline metric of slates for `requests` of the validation part."""
    truth = data.truth("valid", set(requests["request"]))
    name = headline(cutoffs_of(data.dataset, data.dataset.slate_length))

    def score(slates: Slates) -> float:
        slates.check(requests, len(data.dataset.catalog), *slates.items.shape[:0:-1])
        with references_closed(False):
            scores = evaluate(slates, truth, cutoffs=[int(name.rsplit("_", 1)[1])], only={name})
            value = float(scores.values[name].mean())
            if watch is not None:
                watch(value)
            return value

    return score


@contextmanager
def guarded(data: Data, model: SlateModel) -> Iterator[None]:
    """References closed while a model works; afterwards the catalogue must be what it was."""
    with references_closed():
        yield
    if not data.dataset.catalog.items.equals(model.catalog.items):
        raise FaultySlates("the model wrote into the catalogue")


# --- files and facts ---------------------------------------------------------------------------------


def write_slates(folder: Path, slates: Slates, requests: pl.DataFrame, catalog: Catalog) -> None:
    """slates.parquet in original ids (request, sample, items; null = empty slot) and diagnostics.parquet."""
    P, S, K = slates.items.shape
    if taken := sorted({"request", "sample"} & slates.diagnostics.keys()):
        raise FaultySlates(f"a diagnostic can't be called '{taken[0]}': that names the slate it belongs to")
    keys = {"request": np.repeat(requests["request"].to_numpy(), S), "sample": np.tile(np.arange(S), P)}
    ids = pl.Series([*catalog.ids, None], dtype=pl.String)  # index -1 -> null
    flat = ids.gather(np.where(slates.items == EMPTY, len(catalog), slates.items).reshape(-1))
    items = flat.reshape((P * S, K)).arr.to_list()
    write_table(pl.DataFrame(keys | {"items": items}), folder / "slates.parquet")
    diagnostics = {name: values.reshape(-1) for name, values in slates.diagnostics.items()}
    write_table(pl.DataFrame(keys | diagnostics), folder / "diagnostics.parquet")


def read_slates(run: Run, requests: pl.DataFrame, catalog: Catalog) -> Slates:
    """What `write_slates` wrote, through the same border as what a model emits.

    Raises:
        SlateBenchError: the slates are damaged, for other requests, or break the contract.
    """
    spec = run.spec
    shape = (requests.height, spec.samples)
    items = slates_of(run, requests["request"].to_list())["items"].explode()
    index = items.replace_strict(list(catalog.index), range(len(catalog)), default=None, return_dtype=pl.Int64)
    if foreign := items.filter(items.is_not_null() & index.is_null()).to_list():
        raise damaged(run, "slates.parquet", f"the catalogue does not know '{foreign[0]}'")
    diagnostics = diagnostics_of(run, requests["request"].to_list())
    slates = Slates(index.fill_null(EMPTY).to_numpy().astype(np.int64).reshape(*shape, spec.k),
                    {name: diagnostics[name].to_numpy().reshape(shape) for name in diagnostics.columns})  # fmt: skip
    try:
        slates.check(requests, len(catalog), spec.k, spec.samples)
    except FaultySlates as error:
        raise damaged(run, "slates.parquet", str(error)) from error
    return slates


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
    found = ceilings(data.dataset, part, k)
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
