"""One study in its journal: which trial comes next, what came out of it, whose process is gone.

What trial number n tries hangs on (seed, n, what is finished) alone: the sampler is made anew for each trial, with a
seed of its own. So a study that was killed goes on to the same trials as an undisturbed one (with one worker).
"""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from ...datasets.errors import SlateBenchError, one_line
from ...leaderboards.records import HOST
from ...leaderboards.sweeps import StudySpec
from ..cells.cell import seeded
from .space import clean, contains, default_point, distributions, from_json, points

JOURNAL = "journal.log"
LISTED = ("grid", "axes")  # samplers whose points are known beforehand
SAMPLERS: dict[str, dict[str, Any]] = {  # all arguments are named: Optuna's defaults change
    "tpe": {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True, "group": False,
            "constant_liar": True},
    "nsga2": {"population_size": 10, "mutation_prob": None, "crossover_prob": 0.9, "swapping_prob": 0.5},
    "random": {},
    "grid": {},
    "axes": {},
}  # fmt: skip
PRUNERS: dict[str, dict[str, Any]] = {
    "median": {"n_startup_trials": 5, "n_warmup_steps": 1, "interval_steps": 1, "n_min_trials": 2},
    "hyperband": {"min_resource": 1, "max_resource": 9, "reduction_factor": 3, "bootstrap_count": 0},
}
WAIT = 0.5  # seconds between two looks at the trials of others
ELSEWHERE = 6 * 3600  # seconds after which a trial that runs on another machine counts as lost
SETTINGS, WORKER, OUTCOME, REASON = "settings", "worker", "outcome", "reason"  # what is written beside a trial


def quiet() -> None:
    """Optuna without its log lines and its notes about experimental features."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module=r"optuna.*")
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class _Lock:
    """The journal's lock; the system frees it when its holder is killed (Optuna's own would wait for half a minute)."""

    def __init__(self, path: Path) -> None:
        self.lock = FileLock(path)

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


def open_study(folder: Path, spec: StudySpec) -> optuna.Study:
    """The study in `folder`, made if it is not there yet.

    Raises:
        SlateBenchError: the journal is damaged or holds another study.
    """
    quiet()
    path = folder / JOURNAL
    with FileLock(folder / ".lock"):
        lock: Any = _Lock(folder / ".journal.lock")
        with lock.lock:
            _cut_torn_end(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), lock))
            names = optuna.get_all_study_names(storage)
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise SlateBenchError(f"{path}: damaged ({one_line(error, 120)}); sweep again with --rerun") from error
        if names and names != [spec.hash]:
            raise SlateBenchError(f"{path}: holds another study ({', '.join(names)}); sweep again with --rerun")
        study = optuna.create_study(study_name=spec.hash, storage=storage, directions=spec.directions,
                                    pruner=_pruner(spec), load_if_exists=True)  # fmt: skip
        release(study, spec)
    return study


def _cut_torn_end(path: Path) -> None:
    """Cut what a crash left at the end of a journal: half a line, zeros; the trial that it told of is lost, no other.

    Raises:
        SlateBenchError: the damage is in the middle: what follows it can't be told apart, for trials are only counted.
    """
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    good = [_is_entry(line) for line in lines]
    first = good.index(False) if False in good else len(lines)
    if any(good[first:]):
        raise SlateBenchError(
            f"{path}: line {first + 1} of {len(lines)} is damaged: cut the file before it to keep earlier trials, "
            "or sweep again with --rerun"
        )
    if first < len(lines):
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_bytes(b"".join(lines[:first]))
        beside.replace(path)


def _is_entry(line: bytes) -> bool:
    """A whole line of the journal?"""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _pruner(spec: StudySpec) -> optuna.pruners.BasePruner:
    if spec.pruner is None:
        return optuna.pruners.NopPruner()
    arguments = {key: value for key, value in spec.pruner.items() if key != "name"}
    kinds = {"median": optuna.pruners.MedianPruner, "hyperband": optuna.pruners.HyperbandPruner}
    return kinds[spec.pruner["name"]](**arguments)


def _sampler(spec: StudySpec, number: int, point: dict[str, Any] | None) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; with a `point` it gives just that."""
    seed = seeded(spec.seed, f"trial {number}")
    if point is not None:
        return optuna.samplers.PartialFixedSampler(point, optuna.samplers.RandomSampler(seed))
    arguments = {key: value for key, value in spec.sampler.items() if key != "name"}
    kinds = {"tpe": optuna.samplers.TPESampler, "nsga2": optuna.samplers.NSGAIISampler}
    return kinds.get(spec.sampler["name"], optuna.samplers.RandomSampler)(seed=seed, **arguments)


def listed_points(spec: StudySpec) -> list[dict[str, Any]] | None:
    """The points of a study whose points are known beforehand."""
    if spec.sampler["name"] not in LISTED:
        return None
    space = from_json(spec.space)
    return points(spec.sampler["name"], space, default_point(space, spec.config | spec.sampling))


# --- trials -------------------------------------------------------------------------------------------------


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count: all but those that were given up (failed without a reason)."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state != TrialState.FAIL or REASON in t.user_attrs]


def next_trial(study: optuna.Study, spec: StudySpec, folder: Path, total: int) -> Trial | None:
    """The next of `total` trials, taken by this process; None when all are done.

    The first one is the model's own settings where the space holds them. Waits for trials that others still run: if
    their process dies, their place is free again.
    """
    while (trial := _take(study, spec, folder, total)) is None:
        if all(t.state.is_finished() for t in counted(study)):
            return None
        time.sleep(WAIT)
    return trial


def _take(study: optuna.Study, spec: StudySpec, folder: Path, total: int) -> Trial | None:
    space, listed = from_json(spec.space), listed_points(spec)
    with FileLock(folder / ".lock"):
        release(study, spec)
        number = len(counted(study))
        if number >= total:
            return None
        point = listed[number] if listed is not None else None
        if listed is None and number == 0:
            default = default_point(space, spec.config | spec.sampling)
            point = default if contains(space, default) else None
        study.sampler = _sampler(spec, number, point)
        trial = study.ask(distributions(space, listed))
        trial.set_user_attr(SETTINGS, {name: clean(value) for name, value in trial.params.items()})
        trial.set_user_attr(WORKER, [HOST, os.getpid(), os.getppid(), psutil.Process().create_time()])
    return trial


def settings_of(trial: Trial | FrozenTrial) -> dict[str, Any]:
    """What a trial tries."""
    return trial.user_attrs.get(SETTINGS, {})


def same_before(study: optuna.Study, trial: Trial) -> FrozenTrial | None:
    """A finished trial with the same settings: the same figures."""
    for other in counted(study):
        if other.state == TrialState.COMPLETE and settings_of(other) == settings_of(trial):
            return other
    return None


def release(study: optuna.Study, spec: StudySpec) -> None:
    """Trials whose process is gone are no longer running: their place is free again, unless all was measured.

    Call it under the study's lock: a trial that nobody has signed yet is one whose process died while taking it.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _alive(trial):
            continue
        if OUTCOME in trial.user_attrs:
            study.tell(trial.number, [trial.user_attrs[OUTCOME]["figures"][name] for name in spec.objectives])
        else:
            study.tell(trial.number, state=TrialState.FAIL)


def _alive(trial: FrozenTrial) -> bool:
    if WORKER not in trial.user_attrs:
        return False
    host, pid, parent, started = trial.user_attrs[WORKER]
    if host != HOST:
        begun = trial.datetime_start
        return begun is not None and time.time() - begun.timestamp() < ELSEWHERE
    try:
        process = psutil.Process(pid)  # without its parent it ends within a second
        return process.ppid() == parent and abs(process.create_time() - started) < 1
    except psutil.Error:
        return False


# --- what came out -----------------------------------------------------------------------------------------------


def best_trials(study: optuna.Study, spec: StudySpec) -> list[FrozenTrial]:
    """The winner; with several objectives the Pareto front, best by the first objective first. The earliest of equals.

    Settings that were tried twice stand once.
    """
    done = [t for t in counted(study) if t.state == TrialState.COMPLETE]
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in spec.directions]
    cost = {t.number: tuple(sign * value for sign, value in zip(signs, t.values, strict=True)) for t in done}
    first = {str(settings_of(t)): t for t in reversed(done)}.values()
    front = [t for t in first if not any(_dominates(cost[o.number], cost[t.number]) for o in first)]
    front.sort(key=lambda t: (cost[t.number], t.number))
    return front if len(signs) > 1 else front[:1]


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def running(study: optuna.Study) -> bool:
    """Does anybody work on it?"""
    return any(_alive(t) for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
