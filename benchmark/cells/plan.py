"""A cell with everything resolved: the frozen spec that follows from what was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets.card import DatasetCard
from ...datasets.ceilings import ceiling_names
from ...datasets.errors import UsageError, unknown_name
from ...datasets.tasks import task_named
from ...datasets.vectors.features import usual_item_vectors
from ...leaderboards.board import kind_of
from ...leaderboards.schema import RunSpec, Versions
from ...metrics.registry import METRICS_VERSION
from ...models.base import SlateModel, resolve
from ...models.registry import code_version, model_class, parse_model
from ..limits import MOST_DRAWN, check_range
from .budgets import MEASURING
from .cell import Cell, Plan
from .data import Data, cutoffs_of, load_data
from .fit import fit_folder

SLOTS = 50_000_000  # of all slates of a run: more don't fit into memory


def plan(cell: Cell) -> Plan:
    """Resolve a cell into its spec.

    Raises:
        UsageError: unknown dataset, model, preset or setting, or a value out of range.
        DataError: the data can't be had.
    """
    data = load_data(cell)
    dataset, measuring = data.dataset, MEASURING[cell.budget]
    k = min(dataset.slate_length, len(dataset.catalog)) if cell.k is None else cell.k
    if not 1 <= k <= len(dataset.catalog):
        raise UsageError(f"k={k}: choose 1 to {len(dataset.catalog)}, the size of the catalogue of {dataset.name}")
    if cell.samples is not None:
        requests = len(data.asked.part(cell.part))
        most = min(MOST_DRAWN, max(1, SLOTS // (requests * k)))
        check_range("samples", cell.samples, most, f"for {requests:,} requests and k={k}")
    if cell.refit and (dataset.before_test is None or cell.part == "valid"):
        why = "asks with prompts" if dataset.before_test is None else "is asked for its validation part"
        raise UsageError(f"refit: {dataset.name} {why}: leave it out")
    config: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    origin: dict[str, str] = {}
    skip, seed, samples, version = None, 0, 1, "1"
    cls = None if kind_of(cell.model) == "ceiling" else model_class(parse_model(cell.model)[0])
    if cls is None or "allow_collapse" not in cls.Config.model_fields:  # a permission for whoever has a codebook
        own = {key: value for key, value in cell.overrides.items() if key != "allow_collapse"}
        cell = cell.model_copy(update={"overrides": own})
    if cls is None:
        if cell.model not in (known := ceiling_names(dataset.card)):
            raise unknown_name(f"ceiling of {dataset.name}", cell.model, known)
        if cell.overrides:
            raise UsageError(
                f"{cell.model}: a ceiling has no settings, so no {next(iter(cell.overrides))}: leave it out"
            )
    else:
        presets = parse_model(cell.model)[1]
        resolved = resolve(cls, presets, cell.budget, cell.overrides)
        cell = cell.model_copy(update={"overrides": resolved.changed})
        config, sampling = resolved.config.model_dump(mode="json"), resolved.sampling.model_dump(mode="json")
        origin, version = resolved.origin, code_version(cls)
        model = cls(resolved.config, resolved.sampling)
        if model.stochastic():
            samples = cell.samples or measuring.samples
        if model.stochastic() or cls.seeded_fit:
            seed = cell.seed  # a deterministic model runs once: all seeds are one spec
        skip = mismatch(model, dataset.card)
    encoder, made_by = data.features.text_encoder.name, data.features.item_vectors
    usual_bertscore = measuring.bertscore if task_named(dataset.card.task).bertscore else None
    bertscore = cell.bertscore or usual_bertscore
    if bertscore:
        data.bertscore(bertscore)  # a model that can't be had is a mistake to tell before anything is run
    spec = RunSpec(
        dataset=dataset.name,
        task=dataset.card.task,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        split_seed=cell.split_seed,
        train_share=cell.train_share,
        part=cell.part,
        repeats=cell.repeats,
        requests=_asked(data, cell),
        refit=cell.refit,
        model=cell.model,
        config=config,
        sampling=sampling,
        seed=seed,
        k=k,
        samples=samples,
        budget=cell.budget,
        encoder=encoder,
        item_vectors=made_by if made_by != usual_item_vectors(dataset, encoder) else None,
        cutoffs=cutoffs_of(dataset, k),
        bertscore=bertscore,
        versions=Versions(
            model=version,
            metrics=METRICS_VERSION,
            features=data.features.version,
            evaluation=data.space.version,
        ),
    )
    planned = Plan(cell, spec, data.notice, origin, skip, tuple(ceiling_names(dataset.card)))
    if kind_of(cell.model) == "ceiling":
        return planned
    return replace(planned, fit=fit_folder(Path(), planned).as_posix())


def _asked(data: Data, cell: Cell) -> int | None:
    """How many requests are asked; None where a prompt's board, as it always did, asks them all."""
    asked, there = len(data.asked.part(cell.part)), len(data.dataset.part(cell.part))
    return None if data.dataset.sequences is None and asked == there else asked


def mismatch(model: SlateModel, card: DatasetCard) -> str | None:
    """Why a model, with its settings, has no answer to what a dataset asks; None if it has."""
    asked, answered = task_named(card.task).condition, model.conditions()
    if asked in answered or not answered:
        return None
    return f"{model.name} answers {'/'.join(sorted(answered))}, {card.name} asks with {asked}"
