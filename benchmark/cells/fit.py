"""The fitted model of a plan: from the cache of fits, or fitted now."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock

from ...datasets.errors import FaultySlates, SlateBenchError, one_line, why_not_json
from ...datasets.references import references_closed
from ...datasets.schema import Catalog, Slates
from ...datasets.tasks import task_named
from ...datasets.train_data import train_data
from ...leaderboards.records import folder_in_the_making, write_text
from ...metrics.evaluate import evaluate
from ...models.base import FitReport, Progress, SlateModel
from ...models.registry import model_class, parse_model
from .cell import Plan, Report, seeded
from .data import Data, cutoffs_of
from .machine import libraries, other_libraries

FIT = "fit.json"  # what a fit reported, and what must be so that it is used again


def fit_folder(runs: Path, plan: Plan) -> Path:
    """Where the fitted model of a plan is kept, apart from its runs: a change of Sampling never fits again."""
    spec = plan.spec
    name, _ = parse_model(spec.model)
    key = spec.model_dump(include={"dataset", "fingerprint", "config", "encoder", "item_vectors"})
    key |= {"model": name, "versions": spec.versions.model_dump()}  # metrics too: early stopping goes by them
    if spec.repeats != "excluded":  # validation, by which a fit may stop early, is asked in the same way
        key["repeats"] = spec.repeats
    if spec.refit:
        key["refit"] = True
    key["seed"] = spec.seed if model_class(name).seeded_fit else 0
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return runs / ".fits" / spec.dataset / name / digest


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


# --- fitting ---------------------------------------------------------------------------------------


def fitted_model(plan: Plan, data: Data, runs: Path, folder: Path, report: Report, rerun: bool) -> _Fitted:
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
            _fit(plan, data, kept, runs, report, watch)
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


def _fit(plan: Plan, data: Data, kept: Path, runs: Path, report: Report, watch: Watch | None) -> None:
    spec, cls = plan.spec, model_class(parse_model(plan.spec.model)[0])
    model = cls(cls.Config(**spec.config), cls.Sampling(**spec.sampling))
    partial = model.checkpoint_folder = kept.parent / f"{kept.name}.partial"
    seen = train_data(data.dataset, data.features, refit=spec.refit)
    own = Catalog(data.dataset.catalog.items.clone())  # what a model writes into is its own
    seen = replace(seen, catalog=own, valid_requests=seen.valid_requests.clone())
    evaluate_valid, seconds = evaluator(data, seen.valid_requests, watch), 0.0
    if spec.refit:  # a fit that goes on where it was would not know which checks it has had
        model.checkpoint_folder = None
        evaluate_valid, seconds = _as_before(plan, data, runs, report)
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
    facts = plain(vars(fit_report) | {"seconds": seconds + time.perf_counter() - started}, "the FitReport")
    with folder_in_the_making(kept) as folder:
        model.save(folder)
        head = {"report": facts, "packages": libraries(), "files": _sums(folder)}
        write_text(folder / FIT, json.dumps(head))
    shutil.rmtree(partial, ignore_errors=True)


def _as_before(plan: Plan, data: Data, runs: Path, report: Report) -> tuple[Callable[[Slates], float], float]:
    """The `evaluate` of a refit, and the seconds of the fit before it.

    It says what validation said in that fit, check by check, so that both stop alike: the validation items are learnt
    from now, and could say nothing themselves.
    """
    first = replace(plan, spec=plan.spec.model_copy(update={"refit": False}))
    with kept_fit(first, data, runs, report) as (folder, _):
        before = json.loads((folder / FIT).read_text(encoding="utf-8"))["report"]
    said = iter([value for _, value in before["curves"].get("valid", [])])

    def said_then(slates: Slates) -> float:
        value = next(said, None)
        if value is None:
            raise FaultySlates(f"{plan.spec.model} asks validation more often in a refit than in the fit before it")
        return value

    return said_then, before["seconds"]


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
    """The fit ran away (NaN or infinite loss)."""

    state = "diverged"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def evaluator(data: Data, requests: pl.DataFrame, watch: Watch | None = None) -> Callable[[Slates], float]:
    """The `evaluate` handed to `fit`: the headline metric of slates for `requests` of the validation part."""
    truth = data.truth("valid", set(requests["request"]))
    name = task_named(data.dataset.card.task).headline(cutoffs_of(data.dataset, data.dataset.slate_length))

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
