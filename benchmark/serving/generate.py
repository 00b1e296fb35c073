"""`generate`: type a prompt, see slates with titles."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...datasets.errors import UsageError
from ...datasets.output import is_text
from ...datasets.schema import EMPTY, in_words, make_requests
from ...datasets.tasks import task_named
from ...datasets.text import composed, normalised
from ...models.registry import contained
from ..cells.cell import seeded
from ..limits import MOST_DRAWN, check_range, check_seeds
from .fitted import load_fitted
from .items import item_named


@dataclass(frozen=True)
class Generated:
    """Slates for a typed prompt.

    Attributes:
        slates: per sample the titles, best first.
        ids: the same as original item ids.
        seconds: per slate.
        freshness: share of items per further sample that no earlier sample held (None for one sample).
        notes: what a reader must know (which run it came from, that a model is deterministic, ...).
    """

    prompt: str
    model: str
    slates: list[list[str]]
    ids: list[list[str]]
    seconds: float
    freshness: float | None
    notes: list[str] = field(default_factory=list)


def generate(
    model: str,
    dataset: str,
    prompt: str = "",
    *,
    history: list[str] | None = None,
    k: int | None = None,
    samples: int = 1,
    seed: int = 0,
    seed_items: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    source: str = "auto",
    runs: Path | str | None = None,
) -> Generated:
    """Slates for `prompt`, or after `history`, from the newest fitted run of `model` on today's data.

    Fits one if there is none.

    Args:
        model: address, e.g. `dense:sampled`.
        dataset: name.
        prompt: free text.
        history: ids or titles of the items that somebody had, oldest first; none of them is emitted again.
        k: slots (default: the dataset's slate length).
        samples: slates to draw.
        seed: of the drawing.
        seed_items: original ids of items that belong to the question.
        overrides: values of Sampling fields; a Config field needs a new fit.
        source: `auto`, `real` or `synthetic`.
        runs: folder of the records.

    Raises:
        UsageError: unknown names or values, an unknown item, neither prompt nor history.
        SlateBenchError: the model's files are damaged, or it fails.
    """
    if not normalised(prompt) and not history:
        raise UsageError('the prompt is empty: say what the slate is for, e.g. --prompt "camping trip with kids"')
    if not is_text(prompt):
        raise UsageError(f"the prompt is not UTF-8 text: {prompt}")
    check_seeds([seed], "seed")
    check_range("samples", samples, MOST_DRAWN, "each is a slate to read")
    fitted, run, notes = load_fitted(model, dataset, overrides or {}, source, runs)
    catalog = fitted.catalog
    k = run.spec.k if k is None else k
    check_range("k", k, len(catalog), f"the size of the catalogue of {run.spec.dataset}")
    seeds = [composed(item) for item in seed_items or []]
    unknown = [item for item in seeds if item not in catalog.index]
    if unknown:
        raise UsageError(f"seed item '{unknown[0]}' is not in the catalogue of {run.spec.dataset}")
    had = [item_named(item, catalog, run.spec.dataset) for item in history or []]
    requests = make_requests([prompt], seed_items=[[catalog.index[item] for item in seeds]], histories=[had])
    if had:
        requests = requests.with_columns(repeats=pl.lit(False))
    asks = task_named(run.spec.task).condition
    if asks == "history" and not had:
        raise UsageError(
            f'{run.spec.dataset} asks with histories: name what was had, e.g. --history "{catalog.ids[0]}"'
        )
    if asks == "prompt" and not normalised(prompt):
        raise UsageError(f"{run.spec.dataset} asks with prompts: say what the slate is for with --prompt")
    with contained(model):
        if samples > 1 and not fitted.stochastic():
            notes.append(f"{model} is deterministic: it has one slate for a prompt, so one is shown")
            samples = 1
        drawing = seeded(seed, "sampling")
        fitted.generate(requests, k, seed=drawing)  # loads the text encoder: not part of the time shown
        started = time.perf_counter()
        slates = fitted.generate(requests, k, samples=samples, seed=drawing)
        seconds = (time.perf_counter() - started) / samples
        slates.check(requests, len(catalog), k, samples)
    items = slates.items[0]  # [samples, k]
    return Generated(
        prompt=in_words(requests, catalog.titles)[0],
        model=model,
        slates=[[catalog.titles[i] for i in slate if i != EMPTY] for slate in items],
        ids=[[catalog.ids[i] for i in slate if i != EMPTY] for slate in items],
        seconds=seconds,
        freshness=_freshness(items) if samples > 1 else None,
        notes=notes,
    )


def _freshness(items: np.ndarray) -> float:
    """Mean over m = 2..S of the share of sample m's items that no earlier sample held (docs/protocol.md, section 4)."""
    new = [np.isin(items[m], items[:m], invert=True).mean() for m in range(1, len(items))]
    return float(np.mean(new))
