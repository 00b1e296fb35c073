"""Claims: statements of papers as runnable experiments, with a verdict rule decided beforehand.

A claim names the systems to run, a statistic over their records and a rule. `run_claims` runs the systems through
`bench` (finished cells are used again), computes the statistic with its interval and writes the verdict to
`runs/.claims/<dataset>/<id>.json`; `read_results` and claims_report.py read it. No claim is ever tuned until it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...datasets.card import DatasetCard
from ...datasets.errors import SlateBenchError, UsageError, unknown_name
from ...leaderboards.records import Run, runs_folder
from ...leaderboards.schema import Budget
from ..cells.machine import machine
from .claim import Claim, System
from .results import Result, write_result
from .statistics import Experiment, Statistic


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


def _asked_else(claim: Claim, card: DatasetCard) -> str | None:
    """Why a system has no answer to what a dataset asks: to be told before a cell is started for each of its seeds."""
    from ...models.base import resolve
    from ...models.registry import model_class, parse_model
    from ..cells.plan import mismatch

    for system in claim.systems.values():
        name, presets = parse_model(system.model)
        cls = model_class(name)
        resolved = resolve(cls, presets, "standard", system.settings)
        if (why := mismatch(cls(resolved.config, resolved.sampling), card)) is not None:
            return why
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
    from ...datasets.registry import dataset_card, find_dataset

    if jobs < 1:
        raise UsageError(f"jobs={jobs}: choose at least 1")
    folder = runs_folder(runs).resolve()
    found = find_dataset(dataset, source)  # type: ignore[arg-type]
    card, results = dataset_card(found.name), []
    for claim in claims:
        reason = why_not(claim) or _asked_else(claim, card)
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
