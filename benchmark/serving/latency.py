"""`latency`: several fitted systems timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets.errors import UsageError
from ..limits import MOST_REQUESTS
from ..timing.harness import Limits, Report
from ..timing.interleave import Contender, LatencyReport, interleave
from ..timing.percentiles import P99_FROM


def latency(
    models: str | Sequence[str],
    dataset: str,
    *,
    requests: int = P99_FROM,
    overrides: dict[str, Any] | None = None,
    source: str = "auto",
    runs: Path | str | None = None,
    timeout: float | None = None,
    report: Report | None = None,
    debug: bool = False,
) -> LatencyReport:
    """Time models side by side: the newest finished runs, or fitted now at budget smoke.

    Args:
        models: addresses, e.g. `bm25` or `dense:sampled`.
        dataset: name.
        requests: single requests per model; p99 needs 1,000.
        overrides: values of Sampling fields (of Config fields: another fit) of every model.
        source: `auto`, `real` or `synthetic`.
        runs: folder of the records.
        timeout: seconds for each step of a model.
        report: told the progress.
        debug: show what the models print.

    Raises:
        UsageError: unknown names or values, fewer than 2 requests, a model twice.
        SlateBenchError: a model failed while it was timed.
    """
    from ...models.base import resolve
    from ...models.registry import model_class, parse_model
    from .fitted import find_or_fit

    models = [models] if isinstance(models, str) else list(models)
    if not models or len(set(models)) < len(models):
        raise UsageError("name at least one model, each once")
    if not 2 <= requests <= MOST_REQUESTS:
        raise UsageError(f"--requests {requests}: choose 2 to {MOST_REQUESTS:,} (200 for p95, 1000 for p99)")
    contenders, notes = [], []
    for model in models:
        run, more = find_or_fit(model, dataset, overrides or {}, source, runs)
        name, presets = parse_model(model)
        cls = model_class(name)
        wanted = {key: value for key, value in (overrides or {}).items() if key in cls.Sampling.model_fields}
        sampling = resolve(cls, presets, run.spec.budget, wanted).sampling.model_dump()
        contenders.append(Contender(model, run, sampling))
        notes += [f"{model}: {note}" for note in more]
    found = interleave(contenders, requests, Limits(timeout=timeout, debug=debug), report)
    found.notes.extend(notes)
    return found
