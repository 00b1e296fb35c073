"""The process that runs a sweep's trials: plans the study, fits once, then measures trial after trial.

A trial: slates for the validation requests that a fit is checked on too, their scores, and 30 single requests timed.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from filelock import FileLock

from ...datasets.errors import SlateBenchError, UsageError, one_line, unknown_name
from ...datasets.references import references_closed
from ...datasets.tasks import task_named
from ...datasets.train_data import train_data
from ...datasets.vectors.features import load_features
from ...leaderboards.board import kind_of
from ...leaderboards.sweeps import StudySpec, read_study
from ...metrics.base import Truth
from ...metrics.evaluate import evaluate, summarise
from ...metrics.registry import metric_info, metric_names
from ...models.base import Settings, SlateModel, resolve
from ...models.registry import model_class, parse_model
from ..cells.cell import Cell, Plan, seeded
from ..cells.data import Data, load_data
from ..cells.fit import FIT, fit_folder, kept_fit
from ..cells.plan import plan
from ..processes.serve import serve
from ..timing.harness import latency_lock
from .space import as_json, from_json, own_space, search_space

if TYPE_CHECKING:
    from optuna.trial import Trial

FRESH_SAMPLES = 4  # samples per request where freshness is an objective, else one
LATENCY_REQUESTS, WARM_UP = 30, 3
COSTS = ("latency_p50_ms", "latency_p95_ms", "nfe")  # objectives that no metric measures; less is better
Report = Callable[..., None]


def main() -> None:
    """Plan studies and run trials."""
    serve(_answer)


def _answer(command: dict[str, Any], say: Callable[..., None], report: Report) -> None:
    from ...datasets.vectors import text_encoder

    text_encoder.listener = lambda done, total, name: report("features", done, total, f"encoding texts with {name}")
    cell = Cell(**command["cell"])
    if command["do"] == "plan":
        say("planned", **study_spec(cell, command))
    else:
        ran = run_trials(cell, Path(command["runs"]), Path(command["folder"]), command["trials"], report)
        say("ended", trials=ran)


# --- the study ---------------------------------------------------------------------------------------------------


def study_spec(cell: Cell, asked: dict[str, Any]) -> dict[str, Any]:
    """The study that follows from what was asked for: its spec, notices, and the number of its points if it has one.

    Raises:
        UsageError: see `search_space`; an unknown objective or sampler, or one that can't serve.
    """
    from .study import LISTED, PRUNERS, SAMPLERS, listed_points

    if kind_of(cell.model) == "ceiling":
        raise UsageError(f"{cell.model} is no model: nothing to sweep")
    name, presets = parse_model(cell.model)
    cls = model_class(name)
    over = from_json(asked["over"])
    fit = asked["fit"] or (asked["any"] and not any(field in cls.Sampling.model_fields for field in own_space(cls)))
    space = search_space(cls, presets, cell.budget, cell.overrides, over, fit)
    planned = plan(cell)
    if planned.skip:
        raise UsageError(planned.skip)
    spec, notices = planned.spec, [planned.notice] if planned.notice else []
    objectives = asked["objectives"] or [spec.headline]
    samples = FRESH_SAMPLES if any(o.startswith(("freshness", "jaccard")) for o in objectives) else 1
    for objective in objectives:
        _check_objective(objective, spec.cutoffs, samples)
    if len(set(objectives)) < len(objectives):
        raise UsageError("an objective is named twice")
    sampler = asked["sampler"] or ("tpe" if len(objectives) == 1 else "nsga2")
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    if sampler == "nsga2" and any(o in COSTS[:2] for o in objectives):
        notices.append("times differ from run to run: a study with a latency objective can't repeat itself exactly")
    refits = [field for field in space if field in cls.Config.model_fields]
    pruner = asked["pruner"] if refits and objectives == [spec.headline] else None
    if pruner is not None and pruner not in PRUNERS:
        raise unknown_name("pruner", pruner, ["none", *PRUNERS])
    found = StudySpec(
        **spec.model_dump(include={"dataset", "task", "source", "fingerprint", "split_seed", "train_share", "model",
                                   "config", "sampling", "k", "budget", "encoder", "item_vectors", "cutoffs"}),
        versions=spec.versions,
        seed=cell.seed,
        overrides=planned.cell.overrides,
        space=as_json(space),
        objectives=objectives,
        directions=["maximize" if _more_is_better(o) else "minimize" for o in objectives],
        sampler={"name": sampler, **SAMPLERS[sampler]},
        pruner=pruner and {"name": pruner, **PRUNERS[pruner]},
        samples=samples,
        requests=min(task_named(spec.task).valid_requests, load_data(cell).dataset.valid.requests.height),
        latency_requests=LATENCY_REQUESTS,
    )  # fmt: skip
    points = listed_points(found) if sampler in LISTED else None
    return {"spec": found.model_dump(), "notices": notices, "points": points and len(points)}


def _check_objective(name: str, cutoffs: list[int], samples: int) -> None:
    measured = [*COSTS, *metric_names(cutoffs, samples=samples)]
    if name not in measured:
        raise unknown_name("objective", name, [n for n in measured if n in COSTS or metric_info(n).higher_is_better])
    if name not in COSTS and metric_info(name).higher_is_better is None:
        raise UsageError(f"{name} is no objective: neither more nor less of it is better")


def _more_is_better(name: str) -> bool:
    return name not in COSTS and bool(metric_info(name).higher_is_better)


# --- trials -------------------------------------------------------------------------------------------------------


def run_trials(cell: Cell, runs: Path, folder: Path, total: int, report: Report) -> int:
    """Take and run trials until `total` are taken; returns how many this process ran."""
    import optuna

    from .study import OUTCOME, REASON, best_trials, counted, next_trial, open_study, same_before, settings_of

    spec, ran = read_study(folder), 0
    study = open_study(folder, spec)
    bench = _Bench(cell, spec, runs, report)
    while (trial := next_trial(study, spec, folder, total)) is not None:
        started, ran = time.perf_counter(), ran + 1
        settings = settings_of(trial)
        try:
            if (same := same_before(study, trial)) is not None:
                result = same.user_attrs[OUTCOME] | {"same_as": same.number}
            else:
                result = bench.measure(settings, trial)
            trial.set_user_attr(OUTCOME, result | {"seconds": time.perf_counter() - started})
            study.tell(trial, [result["figures"][name] for name in spec.objectives])
            said = ", ".join(f"{name} {result['figures'][name]:.4g}" for name in spec.objectives)
            if trial.number not in (t.number for t in best_trials(study, spec)):
                bench.forget_fit()
        except (UsageError, optuna.TrialPruned) as error:  # settings that don't go together, or a fit that lags behind
            said = one_line(error) or "pruned"
            trial.set_user_attr(REASON, said)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except BaseException as error:  # a model that can't do this is a trial that failed, not a sweep that failed
            said = f"failed: {type(error).__name__}: {one_line(error)}"
            trial.set_user_attr(REASON, said.removeprefix("failed: "))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        done = sum(t.state.is_finished() for t in counted(study))
        shown = " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                         for name, value in settings.items())  # fmt: skip
        report("trials", done, total)
        report(f"trial {trial.number}", message=f"{shown}: {said}")
    return ran


@dataclass
class _Fitted:
    """A fitted model; `timed` is a second copy that encodes every prompt anew."""

    model: SlateModel
    timed: SlateModel


class _Bench:
    """What stays the same from trial to trial: data, requests, truth, and the fitted model."""

    def __init__(self, cell: Cell, spec: StudySpec, runs: Path, report: Report) -> None:
        self.cell, self.spec, self.runs, self.report = cell, spec, runs, report
        self.data: Data = load_data(cell)
        if self.data.dataset.fingerprint != spec.fingerprint:
            raise SlateBenchError(f"the data changed: the study was made on fingerprint {spec.fingerprint}")
        self.requests: pl.DataFrame = train_data(self.data.dataset, self.data.features, spec.requests).valid_requests
        self.truth: Truth = self.data.truth("valid", set(self.requests["request"]))
        self.kept: tuple[Path, _Fitted] | None = None
        name, self.presets = parse_model(spec.model)
        self.cls = model_class(name)
        self.made: set[Path] = set()  # fits of this process's trials
        if not any(field in self.cls.Config.model_fields for field in spec.space):
            self._fitted(plan(cell), None)

    def forget_fit(self) -> None:
        """Remove the last trial's fit if that trial made it: thirty fits nobody needs would fill a disk."""
        if self.kept is not None and self.kept[0] in self.made:
            folder = self.kept[0]
            with FileLock(folder.parent / f".{folder.name}.lock"):
                shutil.rmtree(folder, ignore_errors=True)
            self.made.discard(folder)
            self.kept = None

    def measure(self, settings: dict[str, Any], trial: Trial) -> dict[str, Any]:
        """Figures of the validation requests with these settings.

        Returns:
            {"figures": {name: mean, name_low, name_high}} in JSON's types.
        """
        overrides = self.spec.overrides | settings
        sampling = resolve(self.cls, self.presets, self.cell.budget, overrides).sampling
        of_fit = {name: value for name, value in settings.items() if name in self.cls.Config.model_fields}
        fitted = self._fitted(plan(self.cell.model_copy(update={"overrides": self.spec.overrides | of_fit})), trial)
        stochastic = fitted.model.stochastic(sampling)
        samples = self.spec.samples if stochastic else 1
        with references_closed():
            slates = fitted.model.generate(self.requests, self.spec.k, samples=samples,
                                           seed=seeded(self.cell.seed, "sampling"), sampling=sampling)  # fmt: skip
        slates.check(self.requests, len(self.data.dataset.catalog), self.spec.k, samples)
        metrics = {*self.spec.main_metrics, *self.spec.objectives} - set(COSTS)
        scores = evaluate(slates, self.truth, cutoffs=self.spec.cutoffs, only=metrics, deterministic=not stochastic)
        figures: dict[str, float] = {}
        for name, summary in summarise(scores, self.truth.groups, resamples=2000).items():
            ends = {name: summary["mean"], f"{name}_low": summary["low"], f"{name}_high": summary["high"]}
            figures |= {key: float(value) for key, value in ends.items() if value is not None}
        figures["nfe"] = float(fitted.model.cost(self.spec.k, sampling).get("nfe", 0))
        figures |= self._latency(fitted.timed, sampling)
        if missing := [name for name in self.spec.objectives if name not in figures]:
            raise SlateBenchError(f"no value of {', '.join(missing)} with these settings")
        return {"figures": figures}

    def _latency(self, model: SlateModel, sampling: Settings) -> dict[str, float]:
        """p50 and p95 of single requests, everything included; only one process of the machine times at a time."""
        P, n = self.requests.height, self.spec.latency_requests
        rows = [int(row) for row in np.resize(np.random.default_rng(0).permutation(P), n + WARM_UP)]
        samples = []
        with latency_lock(self.runs), references_closed():
            gc.collect()
            for row in rows:
                model.features.forget()
                started = time.perf_counter_ns()
                model.generate(self.requests[row], self.spec.k, seed=0, sampling=sampling)
                samples.append((time.perf_counter_ns() - started) / 1e6)
        p50, p95 = np.percentile(samples[WARM_UP:], [50, 95])
        return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}

    def _fitted(self, planned: Plan, trial: Trial | None) -> _Fitted:
        """The fitted model of a plan, from the fits of `bench` or fitted now (watched by the pruner)."""
        curve: list[float] = []
        folder = fit_folder(self.runs, planned)
        checkpoint = folder.parent / f"{folder.name}.partial"

        def watch(value: float) -> None:
            curve.append(value)
            if trial is not None and self.spec.pruner is not None:
                import optuna

                trial.report(value, len(curve))
                if trial.should_prune():
                    shutil.rmtree(checkpoint, ignore_errors=True)  # of no use to anybody
                    raise optuna.TrialPruned(f"pruned at check {len(curve)}: {self.spec.objectives[0]} {value:.4g}")

        with kept_fit(planned, self.data, self.runs, self.report, watch=watch) as (kept, cached):
            if cached and trial is not None and self.spec.pruner is not None:
                curves = json.loads((kept / FIT).read_text(encoding="utf-8"))["report"]["curves"]
                for check, (_, value) in enumerate(curves.get("valid", []), start=1):
                    trial.report(value, check)
            if trial is not None and not cached:
                self.made.add(kept)
            if self.kept is None or self.kept[0] != kept:
                model = self.cls.load(kept, features=self.data.features)
                live = load_features(kept, self.data.dataset.catalog).live()  # every prompt is encoded anew
                self.kept = (kept, _Fitted(model, self.cls.load(kept, live)))
            return self.kept[1]


if __name__ == "__main__":
    main()
