"""Dataset cards: what a dataset is, where it comes from, and what loading it must find (cards/<name>.toml)."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import DataError
from .tasks import TASKS

CARDS = Path(__file__).parent / "cards"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CardFile(_Strict):
    """A file of the dataset; `sha256` and `bytes` are those of the uncompressed content (`X` or `X.gz` on disk)."""

    path: str
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    urls: list[str] = []  # official place first, then mirrors


class CardStatistics(_Strict):
    """Frozen counts of the loaded dataset that loading re-checks; rows are `id | digest of the title or prompt`."""

    items: int
    train: int
    valid: int
    test: int
    groups: int
    reference_slots: int
    users: int | None = None  # whose histories are learnt from
    interactions: int | None = None  # of them, in train
    first_item: str
    middle_item: str
    last_item: str
    first_request: str
    last_request: str
    fingerprint: str


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"unknown task '{name}', known: {', '.join(TASKS)}")
    return name


class DatasetCard(_Strict):
    """A dataset's card. Unknown keys are refused."""

    name: str
    title: str
    task: Annotated[str, AfterValidator(_known_task)]
    source: Literal["real", "synthetic"]
    licence: str
    citation: str
    homepage: str
    loader: str  # module:function in this package, or of a plug-in
    text_fields: list[str]
    item_vectors: Literal["text", "word2vec"]
    evaluation_embedding: Literal["lsa-text", "ppmi-slates"]
    slate_length: int = Field(gt=0)
    cutoffs: list[int]
    split: str  # the rule in words
    twin: str | None = None  # the embedded synthetic dataset that stands in where the real data can't be had
    files: list[CardFile] = []
    instructions: str | None = None  # where a licence forbids redistribution: how a user gets the files
    statistics: CardStatistics | None = None
    quirks: list[str] = []
    superseded_by: str | None = None
    options: dict[str, Any] = {}  # handed to the loader (domains, sizes, seeds)


def read_card(path: Path) -> DatasetCard:
    """Read and validate one card.

    Raises:
        DataError: the file is no TOML or not a valid card; says which key and why.
    """
    try:
        return DatasetCard(**tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: card key '{key}': {first['msg']}") from error
    except (tomllib.TOMLDecodeError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a valid card: {error}") from error


@cache
def builtin_cards() -> dict[str, DatasetCard]:
    """The cards that ship with the suite, by dataset name."""
    return {path.stem: read_card(path) for path in sorted(CARDS.glob("*.toml"), key=lambda p: p.stem)}
