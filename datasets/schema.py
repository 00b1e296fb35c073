"""The shapes of the data that every room of the suite shares: catalogue, requests, references, sequences, slates.

Sizes in docstrings: P prompts (requests), S samples, K slots, N items, d dims.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from .errors import FaultySlates, SlateBenchError
from .text import composed

if TYPE_CHECKING:
    from .card import DatasetCard

from .references import references_closed, refuse_if_closed

Source = Literal["real", "synthetic"]
PartName = Literal["train", "valid", "test"]

PARTS: tuple[PartName, ...] = ("train", "valid", "test")
EMPTY = -1  # a slot left empty: a miss in every metric

CATALOG_SCHEMA = {
    "id": pl.String,  # original id
    "title": pl.String,  # what a person is shown
    "text": pl.String,  # the one text of the item that every model and embedding uses
    "categories": pl.List(pl.List(pl.String)),  # category paths, root first
    "train_count": pl.Int64,  # train slates that hold the item
}
REQUEST_SCHEMA = {
    "request": pl.String,  # unique id, given once by the dataset
    "prompt": pl.String,
    "history": pl.List(pl.Int64),
    "seed_items": pl.List(pl.Int64),  # part of the question, never emitted
    "group": pl.String,  # the split's key: groups, not rows, are independent evidence
}
# requests of a task that asks with histories; once they are asked (`asked_as`), a column `repeats` says whether items
# of the history may be emitted again
HISTORY_SCHEMA = REQUEST_SCHEMA | {
    "history_times": pl.List(pl.Int64),  # unix seconds, one per item of the history; null where unknown
    "request_time": pl.Int64,  # when the answer is wanted; null where unknown
}
REFERENCE_SCHEMA = {"request": pl.String, "items": pl.List(pl.Int64)}
SEQUENCE_SCHEMA = {
    "user": pl.String,
    "items": pl.List(pl.Int64),  # train items, oldest first
    "times": pl.List(pl.Int64),  # unix seconds; null where unknown
}
Repeats = Literal["excluded", "allowed"]


@dataclass(frozen=True)
class Catalog:
    """The items 0..N-1 of a dataset; row i of `items` describes item i (columns: CATALOG_SCHEMA)."""

    items: pl.DataFrame

    def __post_init__(self) -> None:
        if self.items.schema != pl.Schema(CATALOG_SCHEMA):
            raise SlateBenchError(f"catalog has columns {dict(self.items.schema)}, expected {CATALOG_SCHEMA}")

    def __len__(self) -> int:
        return self.items.height

    @cached_property
    def ids(self) -> list[str]:
        """Original ids by item index."""
        return self.items["id"].to_list()

    @cached_property
    def titles(self) -> list[str]:
        """Titles by item index."""
        return self.items["title"].to_list()

    @cached_property
    def texts(self) -> list[str]:
        """Item texts by item index."""
        return self.items["text"].to_list()

    @cached_property
    def train_count(self) -> np.ndarray:
        """Train slates that hold each item, int64 [N], read-only."""
        counts = self.items["train_count"].to_numpy().copy()
        counts.setflags(write=False)
        return counts

    @cached_property
    def by_popularity(self) -> np.ndarray:
        """Item indices, most train slates first, ties by index: the order of all ties [N], read-only."""
        order = np.argsort(-self.train_count, kind="stable")
        order.setflags(write=False)
        return order

    @cached_property
    def index(self) -> dict[str, int]:
        """Item index by original id."""
        return {id_: i for i, id_ in enumerate(self.ids)}


@dataclass(frozen=True)
class Part:
    """One part of the split: what is asked (REQUEST_SCHEMA) and, kept apart, what is right (REFERENCE_SCHEMA).

    The references are no field: only the function that checks whether they are closed can reach them.
    """

    name: PartName
    requests: pl.DataFrame
    _references: InitVar[pl.DataFrame]
    _read: Callable[[], pl.DataFrame] = field(init=False, repr=False, compare=False)

    def __post_init__(self, _references: pl.DataFrame) -> None:
        name = self.name

        def read() -> pl.DataFrame:
            if name != "train":
                refuse_if_closed(name)
            return _references

        object.__setattr__(self, "_read", read)

    @property
    def references(self) -> pl.DataFrame:
        """Reference items per request (REFERENCE_SCHEMA), in the order of `requests`.

        Raises:
            ReferencesClosed: a model at work asks for the references of valid or test.
        """
        return self._read()

    def __len__(self) -> int:
        return self.requests.height

    def only(self, keep: Iterable[str]) -> Part:
        """The part cut down to the requests `keep`, in the same order."""
        chosen = pl.col("request").is_in(list(keep))
        with references_closed(False):
            return Part(self.name, self.requests.filter(chosen), self.references.filter(chosen))

    def with_requests(self, requests: pl.DataFrame) -> Part:
        """The part with another table of the same requests."""
        with references_closed(False):
            return Part(self.name, requests, self.references)


@dataclass(frozen=True)
class SlateDataset:
    """A dataset, split and ready: the same content and split always have the same fingerprint.

    Attributes:
        sequences: what users had, in order (SEQUENCE_SCHEMA): train items alone; None where there are no histories.
        before_test: the same up to the test part, with the items of validation: what a refit learns from.
        whole: the fingerprint of the dataset that this one asks a choice of requests of.
        ordered: do the references stand in an order that counts?
    """

    name: str
    source: Source
    card: DatasetCard
    catalog: Catalog
    train: Part
    valid: Part
    test: Part
    slate_length: int
    split_seed: int = 0
    sequences: pl.DataFrame | None = None
    before_test: pl.DataFrame | None = None
    whole: str | None = None
    ordered: bool = False

    def part(self, name: PartName) -> Part:
        """The part of that name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the canonical content and the split (first 16 hex digits)."""
        if self.whole is not None:
            return self.whole
        digest = hashlib.sha256()
        digest.update(f"{self.name}|{self.source}|{self.slate_length}".encode())
        digest.update(_frame_digest(self.catalog.items))
        with references_closed(False):  # a hash tells nothing
            for part in (self.train, self.valid, self.test):
                digest.update(part.name.encode())
                digest.update(_frame_digest(part.requests))
                digest.update(_frame_digest(part.references))
        if self.sequences is not None:
            digest.update(_frame_digest(self.sequences))
        return digest.hexdigest()[:16]


def _frame_digest(frame: pl.DataFrame) -> bytes:
    """sha256 of a frame's content as JSON lines: independent of the polars version and of chunking."""
    digest = hashlib.sha256()
    for rows in frame.iter_slices(50_000):
        digest.update(rows.write_ndjson().encode())
    return digest.digest()


def make_requests(
    prompts: list[str],
    *,
    seed_items: list[list[int]] | None = None,
    histories: list[list[int]] | None = None,
) -> pl.DataFrame:
    """Requests for typed prompts (REQUEST_SCHEMA); the id is the hash of the composed text and, if given, the items.

    Where histories are asked with, `asked_as` says what may be emitted.

    >>> make_requests(["camping trip"])["request"][0]
    'typed-e35c35335bcf'
    """
    prompts = [composed(prompt) for prompt in prompts]
    seed_items = seed_items or [[] for _ in prompts]
    histories = histories or [[] for _ in prompts]
    ids = []
    for prompt, seeds, history in zip(prompts, seed_items, histories, strict=True):
        key = prompt if not seeds and not history else f"{prompt}|{seeds}|{history}"
        ids.append("typed-" + hashlib.sha256(key.encode()).hexdigest()[:12])
    return pl.DataFrame(
        {"request": ids, "prompt": prompts, "history": histories, "seed_items": seed_items, "group": ids},
        schema=REQUEST_SCHEMA,
    )


def forbidden(requests: pl.DataFrame) -> list[list[int]]:
    """The items that no slate may hold, per request: its seed items, and its history unless repeats are allowed.

    A history may be repeated where no column `repeats` says otherwise: there it stands beside a prompt.
    """
    if "repeats" not in requests.columns:
        return requests["seed_items"].to_list()
    had = pl.when("repeats").then(pl.lit([], pl.List(pl.Int64))).otherwise("history")
    return requests.select(pl.concat_list("seed_items", had))["seed_items"].to_list()


def in_words(requests: pl.DataFrame, titles: Sequence[str], newest: int = 5) -> list[str]:
    """What each request asks: its prompt, or the titles of the newest items of its history.

    >>> in_words(make_requests(["", "tea"], histories=[[0, 1], []]), ["a pot", "a cup"])
    ['after a pot; a cup', 'tea']
    """

    def words(prompt: str, history: list[int]) -> str:
        shown = [titles[item] if 0 <= item < len(titles) else "?" for item in history[-newest:]]
        more = "...; " if len(history) > newest else ""
        return prompt or (f"after {more}{'; '.join(shown)}" if shown else "")

    return [words(*row) for row in requests.select("prompt", "history").iter_rows()]


@dataclass
class Slates:
    """What a model emits.

    Attributes:
        items: int64 [P, S, K], unique inside a slate, -1 = slot left empty.
        diagnostics: float arrays [P, S] by name (raw_duplicate_rate, invalid_id_rate, rounding_gap, ...).
    """

    items: np.ndarray
    diagnostics: dict[str, np.ndarray] = field(default_factory=dict)

    def check(self, requests: pl.DataFrame, n_items: int, k: int, samples: int) -> None:
        """Raise FaultySlates, with one clear line, unless the slates keep the contract."""
        items, P = self.items, requests.height
        if not isinstance(items, np.ndarray) or items.dtype != np.int64:
            raise FaultySlates(f"slates must be an int64 array, got {getattr(items, 'dtype', type(items).__name__)}")
        if items.shape != (P, samples, k):
            raise FaultySlates(
                f"slates have shape {items.shape}, expected {(P, samples, k)} (requests, samples, slots)"
            )

        def where(mask: np.ndarray) -> str:
            p, s = np.argwhere(mask)[0][:2]
            return f"request {requests['request'][int(p)]!r}, sample {s}"

        outside = (items < EMPTY) | (items >= n_items)
        if outside.any():
            raise FaultySlates(f"id {items[outside][0]} is outside the catalogue 0..{n_items - 1} ({where(outside)})")
        ordered = np.sort(items, axis=-1)
        repeats = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] != EMPTY)
        if repeats.any():
            raise FaultySlates(f"an item is repeated inside a slate ({where(repeats)})")
        barred = forbidden(requests)
        if any(barred):
            # one number per (request, item), so that one look-up serves all requests
            row = np.repeat(np.arange(P), [len(row) for row in barred])
            flat = np.concatenate([np.asarray(row, np.int64) for row in barred])
            inside = (flat >= 0) & (flat < n_items)
            keys = row[inside] * n_items + flat[inside]
            emitted = np.isin(np.arange(P)[:, None, None] * n_items + items, keys) & (items != EMPTY)
            if emitted.any():
                p, s = np.argwhere(emitted)[0][:2]
                seed = bool(np.isin(items[p, s], requests["seed_items"][int(p)].to_numpy()).any())
                what = "a seed item" if seed else "an item of the history"
                raise FaultySlates(f"{what} of the request was emitted ({where(emitted)})")
        for name, values in self.diagnostics.items():
            if np.shape(values) != (P, samples):
                raise FaultySlates(f"diagnostic '{name}' has shape {np.shape(values)}, expected {(P, samples)}")
            if not np.isfinite(values).all():
                raise FaultySlates(f"diagnostic '{name}' holds NaN or infinity ({where(~np.isfinite(values))})")
