"""A cell of a grid: what the user asked for, and the frozen spec that follows from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ..datasets.ceilings import ceiling_names
from ..datasets.errors import LARGEST, UsageError, one_line, unknown_name
from ..datasets.evaluation import EvaluationSpace, evaluation_embedding
from ..datasets.features import Features, make_features, usual_item_vectors
from ..datasets.health import text_health
from ..datasets.identity import load_known
from ..datasets.registry import find_dataset
from ..datasets.schema import PartName, SlateDataset
from ..datasets.text_encoder import DEFAULT_ENCODER, unit_rows
from ..leaderboards.board import kind_of
from ..leaderboards.schema import Budget, RunSpec, Versions
from ..metrics.base import Truth, make_truth
from ..metrics.bertscore import SlateBertScore
from ..metrics.registry import METRICS_VERSION
from ..models.base import SlateModel, resolve
from ..models.registry import code_version, model_class, parse_model
from .budgets import MEASURING
from .limits import MOST_DRAWN, check_range

CEILING = "ceiling"
JSON_KINDS = ("float", "int", "str", "bool", "list", "dict", "NoneType")  # what pydantic adds to a JSON value's place
SLOTS = 50_000_000  # of all slates of a run: more don't fit into memory


class Cell(BaseModel):
    """What was asked for; unset values follow from the dataset's card, the model and the budget."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dataset: str
    model: str  # address: name or name:preset+preset, or "ceiling" for all ceilings of the dataset
    seed: int = Field(default=0, ge=0, le=LARGEST)
    part: Literal["test", "valid"] = "test"
    budget: Budget = "standard"
    source: Literal["auto", "real", "synthetic"] = "auto"
    split_seed: int = Field(default=0, ge=-LARGEST, le=LARGEST)
    train_share: float = Field(default=1.0, gt=0, le=1)
    k: int | None = Field(default=None, ge=1)
    samples: int | None = Field(default=None, ge=1)
    encoder: str | None = None
    item_vectors: str | None = None
    bertscore: str | None = None
    overrides: dict[str, JsonValue] = {}
    timeout: float | None = Field(default=None, gt=0)  # seconds after which the cell is stopped; None: by budget
    memory_gib: float | None = Field(default=None, gt=0)  # memory above which it is stopped

    @property
    def label(self) -> str:
        """Model address and the values set by hand."""
        return " ".join([self.model, *(f"{key}={value}" for key, value in sorted(self.overrides.items()))])


def cell_of(**values: Any) -> Cell:
    """The cell with these values.

    Raises:
        UsageError: a value out of range, or of a kind that can't be set; says which.
    """
    try:
        return Cell(**values)
    except ValidationError as error:
        raise UsageError(wrong_value(error).replace("memory_gib=", "memory=")) from error  # as the option is called


def wrong_value(error: ValidationError) -> str:
    """The first thing that is wrong with values, as one line: which, what it is and why it is refused."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]] or ["value"]
    where = ".".join(parts[:-1] if parts[-1] in JSON_KINDS else parts).removeprefix("overrides.")
    if first["type"] == "missing":
        return f"{where}: {first['msg']}"
    return f"{where}={one_line(first['input'], 80)}: {first['msg']}"


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset with what is computed from it once and used by every cell."""

    dataset: SlateDataset
    features: Features
    space: EvaluationSpace
    notice: str | None

    @cached_property
    def text_health(self) -> dict[str, float]:
        """How much of the texts nothing can use."""
        return text_health(self.dataset, self.space, self.features.text_encoder)

    def bertscore(self, model: str) -> SlateBertScore:
        """What measures BERTScore with `model`, its token vectors kept for the next cells."""
        return _bertscore(self, model)

    def truth(self, part: PartName, keep: set[str] | None = None) -> Truth:
        """What the metrics know of a part (or of the requests `keep` of it)."""
        return _truth(self, part, frozenset(keep) if keep is not None else None)


@lru_cache(maxsize=2)
def _bertscore(data: Data, model: str) -> SlateBertScore:
    return SlateBertScore(data.dataset.catalog.texts, model=model)


@lru_cache(maxsize=8)
def _truth(data: Data, part: PartName, keep: frozenset[str] | None) -> Truth:
    dataset = data.dataset
    spaces = {"evaluation": data.space.vectors, "model": unit_rows(data.features.items())}
    truth_part = dataset.part(part)
    if keep is not None:
        truth_part = truth_part.only(keep)
    return make_truth(truth_part, dataset.catalog, spaces)


def load_data(cell: Cell) -> Data:
    """Dataset, features and evaluation space of a cell (kept for the next cells of this process)."""
    return _load_data(cell.dataset, cell.source, cell.split_seed, cell.train_share, cell.encoder, cell.item_vectors)


@lru_cache(maxsize=2)
def _load_data(
    name: str, source: Any, split_seed: int, train_share: float, encoder: str | None, item_vectors: str | None
) -> Data:
    found = find_dataset(name, source)
    dataset = load_known(found, split_seed=split_seed, train_share=train_share)
    thinned = f"learnt from {train_share:.3g} of the train slates ({len(dataset.train):,})" if train_share < 1 else None
    notice = "; ".join(filter(None, [found.notice, thinned])) or None
    features = make_features(dataset, encoder=encoder, item_vectors=item_vectors)
    return Data(dataset, features, evaluation_embedding(dataset), notice)


@dataclass(frozen=True)
class Plan:
    """A cell with everything resolved; `skip` says why it can't run."""

    cell: Cell
    spec: RunSpec
    notice: str | None
    origin: dict[str, str]
    skip: str | None = None
    ceilings: tuple[str, ...] = ()  # of the dataset
    fit: str | None = None  # where its fitted model is kept, under the runs folder; plans may share one

    @property
    def label(self) -> str:
        """The cell's label, with what its vectors are made by where that is not the usual."""
        if kind_of(self.spec.model) != "system":  # the others look at no vectors
            return self.cell.label
        encoder = f" encoder={self.spec.encoder}" if self.spec.encoder != DEFAULT_ENCODER else ""
        return self.cell.label + encoder + (f" item_vectors={self.spec.item_vectors}" if self.spec.item_vectors else "")


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
        requests = dataset.part(cell.part).requests.height
        most = min(MOST_DRAWN, max(1, SLOTS // (requests * k)))
        check_range("samples", cell.samples, most, f"for {requests:,} requests and k={k}")
    config: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    origin: dict[str, str] = {}
    skip, seed, samples, version = None, 0, 1, "1"
    cls = None if cell.model.split(":")[0] == CEILING else model_class(parse_model(cell.model)[0])
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
        skip = _mismatch(cls, dataset)
    encoder, made_by = data.features.text_encoder.name, data.features.item_vectors
    bertscore = cell.bertscore or measuring.bertscore
    if bertscore:
        data.bertscore(bertscore)  # a model that can't be had is a mistake to tell before anything is run
    spec = RunSpec(
        dataset=dataset.name,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        split_seed=cell.split_seed,
        train_share=cell.train_share,
        part=cell.part,
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
    if cell.model.split(":")[0] == CEILING:
        return planned
    return replace(planned, fit=fit_folder(Path(), planned).as_posix())


def _mismatch(cls: type[SlateModel], dataset: SlateDataset) -> str | None:
    asked = "prompt" if dataset.card.task == "prompt->slate" else "history"
    if asked in cls.card.conditions or not cls.card.conditions:
        return None
    return f"{cls.name} answers {'/'.join(sorted(cls.card.conditions))}, {dataset.name} asks with {asked}"


def fit_folder(runs: Path, plan: Plan) -> Path:
    """Where the fitted model of a plan is kept, apart from its runs: a change of Sampling never fits again."""
    spec = plan.spec
    name, _ = parse_model(spec.model)
    key = spec.model_dump(include={"dataset", "fingerprint", "config", "encoder", "item_vectors"})
    key |= {"model": name, "versions": spec.versions.model_dump()}  # metrics too: early stopping goes by them
    key["seed"] = spec.seed if model_class(name).seeded_fit else 0
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return runs / ".fits" / spec.dataset / name / digest


def cutoffs_of(dataset: SlateDataset, k: int) -> list[int]:
    """Cut-offs of the metrics: the card's, none longer than the slate, and the whole slate."""
    shorter = [c for c in dataset.card.cutoffs if c <= k]
    return shorter if k in shorter else [*shorter, k]


def seeded(seed: int, stream: str) -> int:
    """A seed derived by name: initialisation and sampling never share a stream."""
    return int(np.frombuffer(hashlib.sha256(f"{seed}|{stream}".encode()).digest()[:4], dtype=np.uint32)[0])
