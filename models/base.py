"""The contract of every model: what it is called, what it can be told, how it is fitted and asked.

A model sees a catalogue, features and train slates; it is asked with requests and answers with `Slates`.
It never sees a metric or a reference: `evaluate` is handed in.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from ..datasets.errors import SlateBenchError, UsageError, one_line, unknown_name, why_not_json
from ..datasets.files.table import read_table, write_table
from ..datasets.schema import Catalog, Slates
from ..datasets.train_data import TrainData
from ..datasets.vectors.features import Features, load_features, save_features

Evaluate = Callable[[Slates], float]
Condition = Literal["prompt", "history"]
Budget = Literal["smoke", "standard", "paper"]


class Settings(BaseModel):
    """Base of Config and Sampling: unknown keys refused, values checked, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Progress(Protocol):
    """Told how far a fit is; the caller draws the bar."""

    def __call__(self, step: int, total: int, message: str = "") -> None:
        """`step` of `total` is done."""
        ...


def no_progress(step: int, total: int, message: str = "") -> None:
    """A Progress that shows nothing."""


@dataclass(frozen=True)
class ModelCard:
    """What a reader must know of a model before trusting its row."""

    title: str
    paper: str  # citation, or what it is where no paper stands behind it
    conditions: frozenset[Condition]
    summary: str
    departures: tuple[str, ...] = ()  # from the paper, and why


@dataclass
class FitReport:
    """What fitting did: curves {name: [(step, value)]}, health {name: value}, notes; `state` may be 'diverged'."""

    state: Literal["done", "diverged"] = "done"
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    health: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class SlateModel(ABC):
    """A slate recommender. A subclass sets the class variables and writes fit, generate, arrays and restore.

    `Config` is what needs a new fit, `Sampling` all that can change without one; their field names are disjoint.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    card: ClassVar[ModelCard]
    Config: ClassVar[type[Settings]] = Settings
    Sampling: ClassVar[type[Settings]] = Settings
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    BUDGETS: ClassVar[dict[Budget, dict[str, Any]]] = {}
    SPACE: ClassVar[dict[str, Any]] = {}  # what a sweep tries: [values], (low, high), (low, high, step or "log")
    seeded_fit: ClassVar[bool] = False  # does another seed give another fitted model?

    catalog: Catalog
    features: Features
    checkpoint_folder: Path | None = None  # set by the caller: where a long fit leaves and finds its checkpoint

    def __init__(self, config: Settings | None = None, sampling: Settings | None = None) -> None:
        self.config: Any = config if config is not None else self.Config()
        self.sampling: Any = sampling if sampling is not None else self.Sampling()

    # --- what a model must say -----------------------------------------------------------------

    @abstractmethod
    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Fit on `data`; must set `self.catalog` and `self.features`.

        Args:
            data: all the model may see.
            seed: of initialisation and of every random choice of the fit.
            evaluate: headline metric of slates for `data.valid_requests` (1 sample, k = data.slate_length).
            progress: told the step.
        """

    @abstractmethod
    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k] for `requests` (REQUEST_SCHEMA); never a repeat, a seed item or a foreign id.

        Noise hangs on (seed, request id, sample) alone: see `noise`.
        """

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """The fitted state as named arrays (written as safetensors), without catalogue and item vectors."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave; `catalog`, `features`, `config` and `sampling` are already set."""

    def conditions(self) -> frozenset[Condition]:
        """Of what a request must hold one, so that this model, with its settings, can answer it."""
        return self.card.conditions

    def stochastic(self, sampling: Settings | None = None) -> bool:
        """Do two samples of the same request differ?"""
        return False

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """Deterministic costs of one slate: `parameters` (trained), `nfe` (sequential network evaluations)."""
        return {"parameters": 0, "nfe": 0}

    def with_catalog(self, catalog: Catalog, features: Features) -> Self:
        """The same fitted model over another catalogue, without a re-fit.

        Raises:
            SlateBenchError: where the method does not allow it.
        """
        raise SlateBenchError(f"{self.name} can't change its catalogue without a new fit")

    # --- for subclasses --------------------------------------------------------------------------

    def _asked(self, sampling: Settings | None) -> Any:
        """The Sampling of one call: what the call says, else the model's own."""
        return self.sampling if sampling is None else sampling

    def _over(self, catalog: Catalog, features: Features) -> Self:
        """An unfitted model of the same settings over another catalogue: what `with_catalog` starts from."""
        other = type(self)(self.config, self.sampling)
        other.catalog, other.features = catalog, features
        return other

    # --- saving: safetensors + JSON + parquet, never a pickle -----------------------------------

    def save(self, folder: Path) -> None:
        """Write the complete model (catalogue and item vectors inside) into `folder`."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        write_table(self.catalog.items, folder / "catalog.parquet")
        save_features(self.features, folder)
        save_file({k: np.ascontiguousarray(v) for k, v in self.arrays().items()}, folder / "state.safetensors")
        head = {
            "name": self.name,
            "version": self.version,
            "config": self.config.model_dump(mode="json"),
            "sampling": self.sampling.model_dump(mode="json"),
        }
        (folder / "model.json").write_text(json.dumps(head, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, features: Features | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            folder: what `save` was given.
            features: to use instead of the saved ones.

        Raises:
            SlateBenchError: the folder holds no whole model, another one, or another version of this one.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            head = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            named = head["name"], head["version"]
            settings = head["config"], head["sampling"]
            arrays = load_file(folder / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise damaged_model(folder, error) from error
        if named != (cls.name, cls.version):
            raise SlateBenchError(
                f"{folder} holds {named[0]} version {named[1]}, not {cls.name} version {cls.version}: fit again"
            )
        try:
            model = cls(*(kind(**values) for kind, values in zip((cls.Config, cls.Sampling), settings, strict=True)))
        except (TypeError, ValidationError) as error:
            raise damaged_model(folder, error) from error
        model.catalog = read_catalog(folder)
        model.features = features if features is not None else load_features(folder, model.catalog)
        model.restore(arrays)
        return model


def read_catalog(folder: Path) -> Catalog:
    """The catalogue of a saved model.

    Raises:
        SlateBenchError: it is missing or damaged.
    """
    try:
        return Catalog(read_table(folder / "catalog.parquet", "fit again"))
    except SlateBenchError as error:
        raise damaged_model(folder, error) from error


def damaged_model(folder: Path, error: Exception) -> SlateBenchError:
    """The error for a saved model that is not there, or not whole."""
    line = one_line(error.strerror if isinstance(error, OSError) and error.strerror else error, 120)
    return SlateBenchError(f"{folder}: no whole model ({line}): run the same bench again with --rerun")


# --- settings: defaults, preset, budget, --set, in this order ------------------------------------


@dataclass(frozen=True)
class Resolved:
    """Settings of a model and where each value came from.

    `changed` are the overrides that change something: a model told by hand what it does anyway is no other system.
    """

    config: Settings
    sampling: Settings
    origin: dict[str, str]  # field -> default | preset NAME | budget NAME | set
    changed: dict[str, Any]


def resolve(cls: type[SlateModel], presets: list[str], budget: Budget, overrides: dict[str, Any]) -> Resolved:
    """Settings of `cls`: defaults, then presets from left to right, then budget, then overrides.

    Raises:
        UsageError: an unknown preset or field (names the nearest), or a value of the wrong kind.
    """
    fields = {**cls.Config.model_fields, **cls.Sampling.model_fields}
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers: list[tuple[str, dict[str, Any]]] = []
    for preset in presets:
        if preset not in cls.PRESETS:
            raise unknown_name(f"preset of {cls.name}", preset, cls.PRESETS)
        layers.append((f"preset {preset}", cls.PRESETS[preset]))
    layers.append((f"budget {budget}", cls.BUDGETS.get(budget, {})))
    for label, layer in [*layers, ("set", overrides)]:
        for key in layer:
            if key not in fields:
                raise unknown_name(f"setting of {cls.name}", key, fields)
            origin[key] = label
    for _, layer in layers:
        values |= layer
    told = _validated(cls, values | overrides)
    try:
        usual = _values(*_validated(cls, values))
    except UsageError:  # only with what is set by hand do they make a whole
        usual = {key: field.get_default(call_default_factory=True) for key, field in fields.items()} | values
    asked = _values(*told)
    changed = {key: asked[key] for key in overrides if not _same(asked[key], usual[key])}
    changed = {key: 0.0 if isinstance(value, float) and not value else value for key, value in changed.items()}  # -0.0
    config, sampling = _validated(cls, values | changed)
    return Resolved(config, sampling, {key: origin.get(key, "default") for key in fields}, changed)


def _validated(cls: type[SlateModel], values: dict[str, Any]) -> tuple[Settings, Settings]:
    """Config and Sampling with these values, all of which can be written as JSON."""
    try:
        config = cls.Config(**{k: v for k, v in values.items() if k in cls.Config.model_fields})
        sampling = cls.Sampling(**{k: v for k, v in values.items() if k in cls.Sampling.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "settings"
        raise UsageError(f"{cls.name}: {key}={one_line(repr(values.get(key)), 80)}: {first['msg']}") from error
    for settings in (config, sampling):  # defaults too, which nobody has validated
        for key, value in settings:
            if (why := why_not_json(value)) is not None:
                raise UsageError(f"{cls.name}: {key}={one_line(repr(value), 80)}: {why}")
    return config, sampling


def _values(config: Settings, sampling: Settings) -> dict[str, Any]:
    """All values as they stand in a spec."""
    try:
        return config.model_dump(mode="json") | sampling.model_dump(mode="json")
    except PydanticSerializationError as error:
        raise UsageError(f"a setting that can't be written as JSON: {one_line(error)}") from error


def _same(a: Any, b: Any) -> bool:
    """Are two validated values one setting? 2 and 2.0 are, 1 and true are not."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


# --- noise ----------------------------------------------------------------------------------------


def noise(seed: int, request: str, sample: int, stream: str = "") -> np.random.Generator:
    """The generator of one (seed, request, sample): the same noise whatever the batch or the order."""
    key = hashlib.sha256(f"{seed}|{request}|{sample}|{stream}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], dtype=np.uint64)))
