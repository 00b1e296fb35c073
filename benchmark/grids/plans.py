"""The plans of a grid: cells resolved once, with the floors and ceilings of their boards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...datasets.errors import DataError
from ...datasets.tasks import task_named
from ...leaderboards.records import list_runs
from ...leaderboards.schema import RunSpec
from ...leaderboards.sweeps import tuned as tuned_settings
from ..cells.cell import Cell, Plan
from ..cells.machine import other_libraries
from ..processes.worker import Worker
from .listening import Listener
from .schedule import expected_seconds


def plan_cells(worker: Worker, cells: Sequence[Cell], leave_out: bool, tell: Listener) -> tuple[list[Plan], list[str]]:
    """Plans of the cells, each spec once, and what a reader must know."""
    plans: list[Plan] = []
    gone: dict[str, DataError] = {}
    for cell in cells:
        if cell.dataset in gone:
            continue
        try:
            plans.append(plan_cell(worker, cell, tell))
        except DataError as error:
            if not leave_out:
                raise
            gone[cell.dataset] = error
    plans = unique(plans)
    if gone and not plans:
        raise next(iter(gone.values()))
    notices = [plan.notice for plan in plans if plan.notice]
    notices += [f"dataset {name} is left out: {error}" for name, error in gone.items()]
    notices = list(dict.fromkeys(notices))
    for notice in notices:
        tell("notice", plans[0].cell, {"text": notice})
    return plans, notices


def plan_cell(worker: Worker, cell: Cell, tell: Listener) -> Plan:
    """Resolve a cell in the worker (models are imported there); a user's mistake ends the whole call."""
    tell("planning", cell, {})
    command = {"do": "plan", "cell": cell.model_dump()}
    event = worker.call(command, lambda *at: tell("progress", cell, {"at": at})).checked(cell.label)
    cell = cell.model_copy(update={"overrides": event["overrides"]})  # of what was set, what changes something
    return Plan(cell, RunSpec(**event["spec"]), event["notice"], event["origin"], event["skip"],
                tuple(event["ceilings"]), event["fit"])  # fmt: skip


def tuned_cells(worker: Worker, cells: Sequence[Cell], runs: Path, tell: Listener) -> list[Cell]:
    """The cells with what `sweep` found for their models."""
    found, trials = [], {}
    for cell in cells:
        spec = plan_cell(worker, cell, tell).spec
        settings = tuned_settings(runs, spec)
        found.append(cell.model_copy(update={"overrides": settings.overrides | settings.settings | cell.overrides}))
        trials[cell.model] = settings.trials
    if len(set(trials.values())) > 1:
        unequal = ", ".join(f"{model} {n}" for model, n in trials.items())
        tell("notice", cells[0], {"text": f"tuned with unequal numbers of trials: {unequal}"})
    return found


def unique(plans: Iterable[Plan]) -> list[Plan]:
    """Plans without those that ask for the same spec again (a deterministic model with another seed)."""
    first: dict[str, Plan] = {}
    for plan in plans:
        first.setdefault(plan.spec.hash, plan)
    return list(first.values())


def floor_plans(worker: Worker, plans: Sequence[Plan], tell: Listener) -> list[Plan]:
    """Floors and ceilings of every board on which a plan stands."""
    found = []
    of_board = {"seed": 0, "samples": None, "overrides": {}}
    for plan in {
        plan.cell.model_copy(update=of_board).model_dump_json(exclude={"model"}): plan for plan in plans
    }.values():
        for name in (*task_named(plan.spec.task).floors, *plan.ceilings):
            found.append(plan_cell(worker, plan.cell.model_copy(update=of_board | {"model": name}), tell))
    return found


def expected_work(plans: Sequence[Plan], runs: Path, rerun: bool, tell: Listener) -> dict[str, float]:
    """Tell which cells wait, and for how many seconds of work (by spec hash; 0 where a record is used again)."""
    earlier = [run for name in {plan.spec.dataset for plan in plans} for run in list_runs(runs, name)[0]]
    finished = {run.spec.hash: run for run in earlier if run.record.state == "done" and not rerun}
    done = {name for name, run in finished.items() if not other_libraries(run.record.packages)}
    if again := [finished[one.spec.hash] for one in plans if one.spec.hash in finished.keys() - done]:
        made = other_libraries(again[0].record.packages)
        tell(
            "notice",
            plans[0].cell,
            {"text": f"{len(again)} finished before with {made}: run again, figures may differ"},
        )
    expected = expected_seconds([plan for plan in plans if plan.spec.hash not in done], earlier, runs)
    expected |= dict.fromkeys(done, 0.0)
    for plan in plans:
        tell("queued", plan.cell, {"expected": expected.get(plan.spec.hash)})
    return expected
