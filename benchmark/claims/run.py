"""Claims: statements of papers as runnable experiments, with a verdict rule decided beforehand.

A claim names the systems to run, a statistic over their records and a rule. `run_claims` runs the systems through
`bench` (finished cells are used again), computes the statistic with its interval and writes the verdict to
`runs/.claims/<dataset>/<id>.json`; `read_results` and claims_report.py read it. No claim is ever tuned until it holds.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...datasets.errors import SlateBenchError, UsageError, unknown_name
from ...datasets.output import to_json
from ...leaderboards.records import Run, read_run, runs_folder, write_text
from ...leaderboards.schema import Budget
from ..cells.machine import machine
from .statistics import Experiment, Figure, Statistic

T = TypeVar("T")
Verdict = Literal["held", "not held", "inconclusive", "not run"]


# --- what a claim is made of --------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """A system of an experiment: a model's address, values set by hand, and what it learns from."""

    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    encoder: str | None = None
    item_vectors: str | None = None
    train_share: float = 1.0


@dataclass(frozen=True)
class Rule:
    """The claim holds if the statistic lies between `low` and `high` (a missing bound: no bound on that side)."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def text(self) -> str:
        """The rule in words."""
        if math.isinf(self.high):
            return f"above {self.low:g}"
        if math.isinf(self.low):
            return f"below {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"

    def verdict(self, figure: Figure) -> Verdict:
        """Held: the whole interval satisfies the rule. Not held: none of it does. Else inconclusive.

        >>> Rule(low=1.0).verdict(Figure(1.2, 1.1, 1.3)), Rule(low=1.0).verdict(Figure(1.2, 0.9, 1.5))
        ('held', 'inconclusive')
        """
        low, high = figure.low, figure.high
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
            return "inconclusive"
        if self.low < low and high < self.high:
            return "held"
        return "not held" if high <= self.low or low >= self.high else "inconclusive"


@dataclass(frozen=True)
class Claim:
    """A paper's statement and the experiment that tests it.

    Attributes:
        sentence: the statement in our words.
        published: the figure the paper gives, or that it gives none.
        systems: by role.
        samples: per request of stochastic systems (default: the budget's).
        k: slots of a slate (default: the dataset's).
        beside: what else the same runs tell; no verdict hangs on it.
        note: what a reader must know of the experiment.
        missing: what the suite can't do yet, if that is so; the claim then stands as not run.
    """

    id: str
    paper: str
    sentence: str
    published: str
    systems: dict[str, System]
    statistic: Statistic
    rule: Rule
    samples: int | None = None
    k: int | None = None
    beside: tuple[Statistic, ...] = ()
    note: str = ""
    missing: str | None = None


# --- running -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What came of a claim on a dataset; `reason`: why it was not run, or why it has no interval."""

    claim: str
    dataset: str
    verdict: Verdict
    reason: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    beside: list[dict[str, Any]] = field(default_factory=list)  # statistic, value, low, high; or reason
    rule: str = ""
    statistic: str = ""
    budget: str | None = None
    seeds: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    machine: dict[str, Any] | None = None
    created: str = ""
    notices: list[str] = field(default_factory=list)

    @property
    def verdict_line(self) -> str:
        """Verdict, and what a reader must know of it."""
        barely = " (budget smoke: models barely trained)" if self.budget == "smoke" and self.value is not None else ""
        return self.verdict + barely + (f": {self.reason}" if self.reason else "")


def why_not(claim: Claim) -> str | None:
    """Why a claim can't be run here and now; None if it can."""
    from ...models.registry import model_names, parse_model

    known = model_names()
    for system in claim.systems.values():
        name, _ = parse_model(system.model)
        if name not in known:
            return f"model '{name}' is not there yet"
    if claim.missing is not None:
        return claim.missing
    return next((reason for system in claim.systems.values() if (reason := _unresolved(system))), None)


def _unresolved(system: System) -> str | None:
    """Which preset or setting the system's model does not have (yet), or which value it does not take."""
    from ...models.base import resolve
    from ...models.registry import model_class, parse_model

    name, presets = parse_model(system.model)
    if not (presets or system.settings):
        return None  # nothing to look up: the model need not be imported
    try:
        cls = model_class(name)
        for preset in presets:
            if preset not in cls.PRESETS:
                return f"preset '{preset}' of model '{name}' is not there yet"
        for setting in system.settings:
            if setting not in {*cls.Config.model_fields, *cls.Sampling.model_fields}:
                return f"setting '{setting}' of model '{name}' is not there yet"
        resolve(cls, presets, "standard", system.settings)
    except SlateBenchError as error:
        return str(error)
    return None


def run_claims(
    claims: Sequence[Claim],
    dataset: str,
    *,
    budget: Budget = "standard",
    seeds: Sequence[int] = (0,),
    source: str = "auto",
    runs: Path | str | None = None,
    mlflow: bool = True,
    jobs: int = 1,
    listener: Any = None,
) -> list[Result]:
    """Run claims on a dataset and keep their results.

    Args:
        claims: see claim_list.py.
        dataset: name.
        budget, seeds, source: of all systems.
        runs: folder of the records.
        mlflow: show the runs in MLflow.
        jobs: seeds of a system that run at a time.
        listener: told what `bench` is at.

    Returns:
        One result per claim. A claim that can't be run, or whose systems fail, is `not run`, with the reason.

    Raises:
        UsageError: an unknown dataset, or fewer than one job.
        DataError: data that can't be had.
    """
    from ...datasets.registry import find_dataset

    if jobs < 1:
        raise UsageError(f"jobs={jobs}: choose at least 1")
    folder = runs_folder(runs).resolve()
    found = find_dataset(dataset, source)  # type: ignore[arg-type]
    results = []
    for claim in claims:
        reason = why_not(claim)
        if reason is None:
            result = _run_claim(claim, dataset, found.name, budget, seeds, source, folder, mlflow, jobs, listener)
        else:
            result = Result(
                claim.id, found.name, "not run", reason, rule=claim.rule.text, statistic=claim.statistic.text
            )
        write_result(result, folder)
        results.append(result)
    return results


def _run_claim(
    claim: Claim, dataset: str, actual: str, budget: Budget, seeds: Sequence[int], source: str, folder: Path,
    mlflow: bool, jobs: int, listener: Any,
) -> Result:  # fmt: skip
    from ..grids.bench import bench

    head: dict[str, Any] = {
        "claim": claim.id, "dataset": actual, "rule": claim.rule.text, "statistic": claim.statistic.text,
        "budget": budget, "seeds": list(seeds), "machine": machine().model_dump(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    by_role: dict[str, list[Run]] = {}
    notices: list[str] = []
    try:
        for role, system in claim.systems.items():
            ran = bench(
                system.model, dataset, seeds=seeds, budget=budget, source=source, overrides=system.settings,
                runs=folder, encoder=system.encoder, item_vectors=system.item_vectors, train_share=system.train_share,
                samples=claim.samples, k=claim.k, latency=False, mlflow=mlflow, jobs=jobs, listener=listener,
            )  # fmt: skip
            notices += [notice for notice in ran.notices if notice not in notices]
            for run in ran.runs:
                if run.record.state != "done":
                    raise SlateBenchError(
                        f"{run.record.label} seed {run.spec.seed}: {run.record.state}, {run.record.reason}"
                    )
            by_role[role] = ran.runs
        done = Experiment(by_role, budget, folder)
        figure = claim.statistic.measure(done)
    except SlateBenchError as error:
        return Result(verdict="not run", reason=str(error), notices=notices, **head)
    return Result(
        verdict=claim.rule.verdict(figure),
        reason=figure.why_no_interval,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        details=figure.details,
        beside=[_measured(one, done) for one in claim.beside],
        runs=[str(run.folder.relative_to(folder)) for members in by_role.values() for run in members],
        notices=notices,
        **head,
    )


def _measured(statistic: Statistic, done: Experiment) -> dict[str, Any]:
    try:
        figure = statistic.measure(done)
    except SlateBenchError as error:
        return {"statistic": statistic.text, "value": None, "low": None, "high": None, "reason": str(error)}
    return {"statistic": statistic.text, "value": figure.value, "low": figure.low, "high": figure.high}


def choose(ids: Sequence[str], claims: Sequence[Claim]) -> list[Claim]:
    """The claims of those ids (all without any).

    Raises:
        UsageError: an unknown id; says the nearest.
    """
    known = {claim.id: claim for claim in claims}
    if len(known) < len(claims):
        raise UsageError("two claims have the same id")
    for id_ in ids:
        if id_ not in known:
            raise unknown_name("claim", id_, known)
    return [known[id_] for id_ in ids] if ids else list(claims)


# --- results on disk -----------------------------------------------------------------------------------


def write_result(result: Result, folder: Path) -> None:
    """Keep a result; one that was not run never takes the place of one that was."""
    path = folder / ".claims" / result.dataset / f"{result.claim}.json"
    if result.verdict == "not run" and path.exists() and _read(path).verdict != "not run":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(asdict(result), indent=1))


def read_results(folder: Path) -> list[Result]:
    """All results that were kept, by dataset and claim; one whose runs are not of today says so as its reason."""
    results = [_read(path) for path in sorted((folder / ".claims").glob("*/*.json"))]
    return [replace(one, reason=why) if (why := _outdated(one, folder)) else one for one in results]


def _outdated(result: Result, folder: Path) -> str | None:
    """Why the runs behind a result are not of today; None if they are, or are gone."""
    from ..today import today_of

    for path in result.runs:
        with contextlib.suppress(SlateBenchError):
            run = read_run(folder / path)
            if why := today_of(run).stale(run):
                return f"{run.record.label} is {why}" + (f"; {result.reason}" if result.reason else "")
    return None


def merge_published(path: Path, results: Sequence[Result]) -> list[Result]:
    """Results together with those published in `path`, which holds them all afterwards; of two, what ran last stays.

    One of budget smoke never takes the place of another. So several machines, or one whose runs are gone, publish to
    one page.
    """

    def weight(one: Result) -> tuple[bool, bool, str]:
        return one.verdict != "not run", one.budget != "smoke", one.created

    by_name: dict[tuple[str, str], Result] = {}
    for one in [*(_read_many(path) if path.exists() else []), *results]:
        other = by_name.setdefault((one.dataset, one.claim), one)
        if weight(one) >= weight(other):
            by_name[one.dataset, one.claim] = one
    merged = [by_name[name] for name in sorted(by_name)]
    write_text(path, to_json([asdict(one) for one in merged], indent=1))
    return merged


def _read(path: Path) -> Result:
    return _parse(path, "delete it and run the claim again", lambda content: Result(**content))


def _read_many(path: Path) -> list[Result]:
    return _parse(path, "restore or delete it", lambda content: [Result(**one) for one in content])


def _parse(path: Path, mend: str, make: Callable[[Any], T]) -> T:
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise SlateBenchError(f"{path}: damaged results ({error}); {mend}") from error
