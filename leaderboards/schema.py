"""Spec (what to run) and record (what came out): the schemas behind `runs/<dataset>/<model>/<hash>/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..datasets.schema import Repeats
from ..datasets.tasks import PROMPT_TO_SLATE, task_named

RECORD_VERSION = 1

State = Literal["done", "failed", "diverged", "timeout", "interrupted", "skipped"]
Budget = Literal["smoke", "standard", "paper"]


class _Strict(BaseModel):
    # JSON has no infinity: as a string it survives the round trip
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def folder_name(address: str) -> str:
    """A model's address as a folder name.

    >>> folder_name("higr:parallel+prior")
    'higr--parallel+prior'
    """
    return address.replace(":", "--")


class Versions(_Strict):
    """What may change a number: versions of the model's code, the metrics, the features, the evaluation embedding."""

    model: str
    metrics: str
    features: str
    evaluation: str


class DataChoice(_Strict):
    """What is learnt from and asked: the data and their task, the split, and what makes vectors of them."""

    dataset: str
    task: str = PROMPT_TO_SLATE.name
    source: Literal["real", "synthetic"]
    fingerprint: str
    split_seed: int = 0
    train_share: float = 1.0  # of the train slates
    encoder: str  # of the texts
    item_vectors: str | None = None  # what made the item vectors; None: as the dataset's card says
    cutoffs: list[int]  # of the metrics, largest at most k
    repeats: Repeats = "excluded"  # may items of a request's history be emitted again?

    @property
    def headline(self) -> str:
        """The metric that orders a board of these."""
        return task_named(self.task).headline(self.cutoffs)

    @property
    def main_metrics(self) -> list[str]:
        """The metrics that a board of these shows unless told otherwise, the headline first."""
        return task_named(self.task).main_metrics(self.cutoffs)

    def _hashed(self, *usual: str, exclude: Collection[str] = ()) -> str:
        """16 hex digits over every field but `exclude`.

        `task`, `repeats`, and fields named `usual`, came later than the first specs: they count where they are not as
        usual, so those keep their hash.
        """
        fields = type(self).model_fields
        left_out = {name for name in ("task", "repeats", *usual) if getattr(self, name) == fields[name].default} | {
            *exclude
        }
        return _digest(self.model_dump(exclude=left_out))


LATER = ("requests", "refit")  # fields of a run that the first specs had not


class RunSpec(DataChoice):
    """What to run. Whatever may change a number is in it, libraries apart: so a finished record of it is used again."""

    part: Literal["test", "valid"] = "test"
    requests: int | None = None  # of the part, chosen by the hash of their id; None: all, where prompts are asked
    refit: bool = False  # learnt from train and validation part, for as long as validation had said
    model: str  # address with presets, e.g. "dmsg:prior"; "ceiling:<name>" for a ceiling
    config: dict[str, Any]
    sampling: dict[str, Any]
    seed: int
    k: int
    samples: int
    budget: Budget
    bertscore: str | None = None  # model of BERTScore, None = not measured
    versions: Versions

    @cached_property
    def hash(self) -> str:
        """16 hex digits over every field."""
        return self._hashed(*LATER)

    @cached_property
    def system(self) -> str:
        """Hash of everything but the seed: runs that differ only in their seed are one system."""
        return self._hashed(*LATER, exclude={"seed"})

    @property
    def asked(self) -> tuple[object, ...]:
        """What was asked for, whatever the data and the code were then."""
        return (self.dataset, self.part, self.k, self.budget, self.split_seed, self.train_share, self.repeats,
                self.requests, self.refit)  # fmt: skip

    @property
    def board(self) -> tuple[str, str, str, int, str, str, str, str, str, int | None, str]:
        """What two runs must share to stand on one board (docs/protocol.md, section 6)."""
        return (self.dataset, self.fingerprint, self.part, self.k, self.budget, self.versions.metrics,
                self.versions.evaluation, "/".join(map(str, self.cutoffs)), self.repeats, self.requests,
                "train and validation" if self.refit else "train")  # fmt: skip


class Estimate(_Strict):
    """A metric of a run: mean with its 95 % interval (None where none exists, e.g. per-run figures) and n."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    sd_over_seeds: float | None = None


class Machine(_Strict):
    """Where it ran."""

    cpu: str
    cores: int
    threads: int
    memory_gib: float
    gpu: str | None
    system: str
    python: str


class Record(_Strict):
    """What came out of a spec."""

    schema_version: int = RECORD_VERSION
    spec: RunSpec
    label: str  # model address plus the values set by hand: `bm25 k1=2.0`
    state: State
    reason: str | None = None  # why it is not `done`
    metrics: dict[str, Estimate] = {}
    timings: dict[str, float] = {}  # seconds per phase: data, features, fit, generate, score
    fit_cached: bool = False
    stochastic: bool = False  # do two samples of a request differ?
    latency: dict[str, Any] | None = None  # raw samples and percentiles, measured last and alone
    cost: dict[str, float] = {}
    bertscore: dict[str, Any] | None = None  # model, layer, library version, baseline
    model_card: dict[str, Any] = {}
    fit: dict[str, Any] = {}  # curves, health, notes
    machine: Machine | None = None
    packages: dict[str, str] = {}
    commit: str | None = None
    created: str = ""
    text_health: dict[str, float] = {}  # how much of the texts nothing could use (datasets/health.py)
    notice: str | None = None  # e.g. that a synthetic twin stands in for the real data
    overrides: dict[str, Any] = Field(default_factory=dict)
