"""A cell of a grid: what the user asked for, and the frozen spec that follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ...datasets.errors import LARGEST, UsageError, one_line
from ...datasets.schema import Repeats
from ...datasets.vectors.text_encoder import DEFAULT_ENCODER
from ...leaderboards.board import kind_of
from ...leaderboards.schema import Budget, RunSpec

CEILING = "ceiling"
JSON_KINDS = ("float", "int", "str", "bool", "list", "dict", "NoneType")  # what pydantic adds to a JSON value's place

Report = Callable[..., None]  # report(phase, step=0, total=0, message="")


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
    repeats: Repeats = "excluded"  # may items of a history be emitted again?
    requests: Literal["all"] | Annotated[int, Field(ge=1)] | None = None  # of the part; None: by task and budget
    refit: bool = False  # fitted once more, on the validation part too
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


def seeded(seed: int, stream: str) -> int:
    """A seed derived by name: initialisation and sampling never share a stream."""
    return int(np.frombuffer(hashlib.sha256(f"{seed}|{stream}".encode()).digest()[:4], dtype=np.uint32)[0])
