"""The fitted run that a name means now; fitted where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...datasets.errors import UsageError
from ...datasets.vectors.text_encoder import DEFAULT_ENCODER
from ...leaderboards.records import Run, list_runs, runs_folder
from ...models.base import SlateModel, resolve
from ...models.registry import contained, model_class, parse_model
from ..today import once, today


def load_fitted(
    model: str, dataset: str, overrides: dict[str, Any], source: str, runs: Path | str | None
) -> tuple[SlateModel, Run, list[str]]:
    """The newest fitted run of a model with these settings, loaded; fitted now if there is none."""
    run, notes = find_or_fit(model, dataset, overrides, source, runs)
    name, presets = parse_model(model)
    cls = model_class(name)
    with contained(model):
        fitted = cls.load(run.folder / "model")
    sampling = {key: value for key, value in overrides.items() if key in cls.Sampling.model_fields}
    fitted.sampling = resolve(cls, presets, run.spec.budget, sampling).sampling
    return fitted, run, notes


def find_or_fit(
    model: str, dataset: str, overrides: dict[str, Any], source: str, runs: Path | str | None
) -> tuple[Run, list[str]]:
    """The newest finished run of a model with this Config on today's data, and notes.

    Where there is none, it is fitted now, at budget smoke.

    Raises:
        UsageError: unknown names or values, or a model that could not be fitted.
    """
    from ..grids.bench import bench

    folder = runs_folder(runs)
    now = today(dataset, folder, source, download=True)
    found = list_runs(folder, now.dataset)[0]
    fitted = _fitted_runs(model, overrides, found)
    of_today = [run for run in fitted if now.stale(run) is None]
    if of_today:
        run = of_today[-1]
        failed = now.failed_since(run, found)
        later = f"a later run of {model} {failed.record.state}: {failed.record.reason}" if failed else None
        notes = once(run.record.notice, *now.notices, later)
    else:
        none = f"no fitted run of {model} on {dataset} yet"
        none = f"the newest run of {model} on {now.dataset} is {now.stale(fitted[-1])}" if fitted else none
        notes = [f"{none}: fitted now (budget smoke; `slatebench bench` makes a full run)"]
        result = bench(model, dataset, budget="smoke", source=source, overrides=overrides, runs=runs, latency=False)
        run = result.runs[0]
        notes += result.notices
        if run.record.state != "done":
            raise UsageError(f"{model} could not be fitted on {dataset}: {run.record.reason}")
    return run, [*once(*notes), f"from {run.folder}"]


def _fitted_runs(model: str, overrides: dict[str, Any], runs: list[Run]) -> list[Run]:
    """The finished runs of a model whose Config is the one asked for (a Sampling value never needs a new fit), by age.

    Runs on another split, with other vectors or on less data are not meant.
    """
    name, presets = parse_model(model)
    cls = model_class(name)
    fitting = []
    for run in runs:
        spec = run.spec
        if run.record.state != "done" or spec.model != model or not (run.folder / "model").exists():
            continue
        if spec.split_seed or spec.train_share < 1 or spec.encoder != DEFAULT_ENCODER or spec.item_vectors is not None:
            continue
        if spec.config == resolve(cls, presets, spec.budget, overrides).config.model_dump():
            fitting.append(run)
    return sorted(fitting, key=lambda run: run.record.created)
