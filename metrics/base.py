"""What every metric works with: the truth of a part, blocks of slates beside it, and the scores that come out.

Sizes in docstrings: P requests, B requests of one block, S samples, K slots, G references, N items, d dims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from scipy import sparse

from ..datasets.errors import DataError
from ..datasets.schema import EMPTY, Catalog, Part

Scope = Literal["sample", "request", "run"]

# Similarities are rounded to this step, so that equal vectors tie on every machine, whatever its BLAS does.
SIMILARITY_STEP = 2.0**-20

# Floats of one block's largest array (64 MiB as float32): bounds memory whatever the number of requests.
BLOCK_FLOATS = 2**24


@dataclass(frozen=True)
class Truth:
    """What metrics know of one part: what was asked, what is right, and what the items are.

    Attributes:
        requests: request ids, length P.
        groups: the split's group of each request, length P: groups are independent evidence, rows are not.
        offsets, items: references as CSR: those of request p are `items[offsets[p]:offsets[p + 1]]`, ascending, unique.
        train_count: train slates that hold each item, int64 [N].
        leaf, level2: category membership [N, categories], each item's row sums to 1 (0 without a category).
        spaces: item vectors [N, d] of unit length (or zero): "evaluation", and "model" where there is one.
        places: place of each of `items` among its request's references, 0 first; None where they are sets.
    """

    requests: list[str]
    groups: list[str]
    offsets: np.ndarray
    items: np.ndarray
    train_count: np.ndarray
    leaf: sparse.csr_array
    level2: sparse.csr_array
    spaces: dict[str, np.ndarray] = field(default_factory=dict)
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def n_items(self) -> int:
        """Items of the catalogue (N)."""
        return len(self.train_count)

    @cached_property
    def n_references(self) -> np.ndarray:
        """Number of references of each request, int64 [P]."""
        return np.diff(self.offsets)

    @cached_property
    def seen(self) -> np.ndarray:
        """Which items some train slate holds, bool [N]."""
        return self.train_count > 0

    @cached_property
    def heads(self) -> dict[int, np.ndarray]:
        """Which items are the most popular 1 % and 10 % (at least one item; ties: lowest id), bool [N] each."""
        order = np.argsort(-self.train_count, kind="stable")
        heads = {}
        for percent in (1, 10):
            heads[percent] = np.zeros(self.n_items, bool)
            heads[percent][order[: max(1, round(percent / 100 * self.n_items))]] = True
        return heads


def make_truth(
    part: Part, catalog: Catalog, spaces: dict[str, np.ndarray] | None = None, ordered: bool = False
) -> Truth:
    """The truth of `part`.

    Args:
        part: requests and references; repeated items of a reference count once, where they first stand.
        catalog: the items.
        spaces: item vectors [N, d] of unit length: "evaluation" (docs/protocol.md, section 3) and, optionally, "model".
        ordered: the references stand in an order that counts.

    Raises:
        DataError: a request without references, a foreign item, or vectors that do not fit the catalogue.
    """
    requests = part.requests["request"].to_list()
    table = part.requests.select("request").join(part.references, on="request", how="left", maintain_order="left")
    if table.height != len(requests):
        raise DataError(f"part '{part.name}': some request has several reference lists, expected one row each")
    lists = table["items"].fill_null([]).list.unique().list.sort()
    lengths = lists.list.len().to_numpy()
    if (lengths == 0).any():
        at = requests[int(np.argmin(lengths))]
        raise DataError(f"part '{part.name}': request {at!r} has no reference item: drop it from the dataset")
    items = lists.explode().to_numpy().astype(np.int64)
    if len(items) and (items.min() < 0 or items.max() >= len(catalog)):
        raise DataError(f"part '{part.name}': a reference item is outside the catalogue 0..{len(catalog) - 1}")
    spaces = {name: np.asarray(vectors, np.float32) for name, vectors in (spaces or {}).items()}
    for name, vectors in spaces.items():
        if vectors.ndim != 2 or len(vectors) != len(catalog):
            raise DataError(f"space '{name}' has shape {vectors.shape}, expected one row for {len(catalog)} items")
        length = np.linalg.norm(vectors, axis=1)
        if not (np.isclose(length, 1, atol=1e-3) | (length == 0)).all():
            raise DataError(f"space '{name}': item vectors must have length 1 (or be zero): normalise them")
    return Truth(
        requests=requests,
        groups=part.requests["group"].to_list(),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=items,
        train_count=catalog.train_count,
        leaf=_membership(catalog, levels=None),
        level2=_membership(catalog, levels=2),
        spaces=spaces,
        places=_places(table["items"]) if ordered else None,
    )


def _places(references: pl.Series) -> np.ndarray:
    """The place of each different item in its list, 0 first; by list, in the order of item numbers."""
    rows = pl.DataFrame({"list": pl.arange(len(references), eager=True), "item": references}).explode("item")
    first = rows.unique(["list", "item"], keep="first", maintain_order=True)
    return first.with_columns(place=pl.int_range(pl.len()).over("list")).sort("list", "item")["place"].to_numpy()


def _membership(catalog: Catalog, levels: int | None) -> sparse.csr_array:
    """Share of each item in each category [N, C]; a category is a path from the root, cut after `levels` names."""
    paths = catalog.items.select("categories").with_row_index("item").explode("categories").drop_nulls()
    path = pl.col("categories") if levels is None else pl.col("categories").list.head(levels)
    paths = paths.filter(pl.col("categories").list.len() > 0)
    pairs = paths.select("item", path.list.join("\x1f").alias("path")).unique().sort("item", "path")
    codes = pairs["path"].rank("dense").to_numpy().astype(np.int64) - 1
    item = pairs["item"].to_numpy().astype(np.int64)
    weight = 1.0 / np.bincount(item, minlength=len(catalog))[item]
    shape = (len(catalog), int(codes.max()) + 1 if len(codes) else 1)
    return sparse.csr_array((weight, (item, codes)), shape=shape)


class Block:
    """The slates of some requests beside their references; what several metrics share is computed once.

    Attributes:
        items: [B, S, K], -1 = empty slot.
        n_references: |G| [B].
        references: [B, G], ascending, -1 = padding.
        places: of the references where their order counts, [B, G], -1 = padding.
    """

    def __init__(self, truth: Truth, rows: np.ndarray, items: np.ndarray) -> None:
        self.truth, self.rows, self.items = truth, rows, items
        self.n_references = truth.n_references[rows]
        column = np.arange(self.n_references.max())
        inside = column < self.n_references[:, None]  # [B, G]
        flat = truth.offsets[rows][:, None] + np.where(inside, column, 0)
        self.references = np.where(inside, truth.items[flat], EMPTY)
        self.places = None if truth.places is None else np.where(inside, truth.places[flat], EMPTY)
        self._shared: dict[object, np.ndarray] = {}

    def share(self, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array `make` gives, computed once per block and key."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    @cached_property
    def filled(self) -> np.ndarray:
        """Which slots hold an item, bool [B, S, K]."""
        return self.items != EMPTY

    @cached_property
    def match(self) -> np.ndarray:
        """Column of `references` that each slot's item is, -1 = none, [B, S, K]."""
        stride = self.truth.n_items + 1  # an empty slot has key 0 of its request, which no reference has
        first = np.arange(len(self.items)) * stride
        inside = self.references != EMPTY
        keys = (self.references + 1 + first[:, None])[inside]  # ascending
        wanted = self.items + 1 + first[:, None, None]
        position = np.minimum(np.searchsorted(keys, wanted.ravel()), len(keys) - 1).reshape(wanted.shape)
        start = np.cumsum(self.n_references) - self.n_references
        return np.where(keys[position] == wanted, position - start[:, None, None], -1)

    @cached_property
    def reference_place(self) -> np.ndarray:
        """Place of each slot's item among the ordered references, -1 where it is none of them, [B, S, K]."""
        assert self.places is not None
        row = np.arange(len(self.items))[:, None, None]
        return np.where(self.match >= 0, self.places[row, self.match], EMPTY)

    @cached_property
    def relevance(self) -> np.ndarray:
        """rel_i = 1 where the slot's item is a reference, float [B, S, K]."""
        return (self.match >= 0).astype(np.float64)

    def of_slots(self, values: np.ndarray) -> np.ndarray:
        """`values` [N] of the slots' items, 0 at empty slots, [B, S, K]."""
        return np.where(self.filled, values[self.items], 0)

    def vectors(self, space: str) -> np.ndarray:
        """Item vectors of the slots, zero at empty ones, [B, S, K, d]."""

        def gather() -> np.ndarray:
            vectors = self.truth.spaces[space][self.items]
            vectors[~self.filled] = 0
            return vectors

        return self.share(("vectors", space), gather)

    def similarity(self, space: str) -> np.ndarray:
        """s(w_i, g) [B, S, K, G]: 1 if the same item, else max(0, cosine); 0 at empty slots and padding."""

        def compare() -> np.ndarray:
            B, S, K = self.items.shape
            references = self.truth.spaces[space][self.references]
            references[self.references == EMPTY] = 0
            slots = self.vectors(space).reshape(B, S * K, -1)
            s = (slots @ references.transpose(0, 2, 1)).reshape(B, S, K, -1)
            np.clip(s, 0, 1, out=s)
            s /= SIMILARITY_STEP
            np.rint(s, out=s)
            s *= SIMILARITY_STEP
            b, sample, slot = np.nonzero(self.match >= 0)
            s[b, sample, slot, self.match[b, sample, slot]] = 1
            return s

        return self.share(("similarity", space), compare)


def blocks(items: np.ndarray, truth: Truth) -> Iterator[Block]:
    """Blocks of requests with alike numbers of references (little padding), bounded in memory.

    Args:
        items: [P, S, K].
        truth: of the same P requests.
    """
    P, S, K = items.shape
    width = max([1, *(vectors.shape[1] for vectors in truth.spaces.values())])
    order = np.argsort(truth.n_references, kind="stable")
    largest = max(width, int(truth.n_references.max(initial=1)))
    size = max(1, min(4096, BLOCK_FLOATS // max(1, S * K * largest)))
    for start in range(0, P, size):
        rows = order[start : start + size]
        yield Block(truth, rows, items[rows])


@dataclass(frozen=True)
class Metric:
    """A metric as a value: its name (with `{k}` for a cutoff, `{m}` for a number of samples) and what it promises.

    Attributes:
        scope: one value per (request, sample), per request, or per run.
        higher_is_better: None where neither direction is better by itself.
        low, high: range, None = unbounded.
        worst: value of an empty slate; None = null there.
        null: when the value is null, in words; "" = never.
        space: the item space it needs, if any.
        ordered: it needs references whose order counts.
        family: "bertscore" or "diagnostic" where somebody else computes it.
        curve_of: the sample metric whose mean of sample m = 1, 2, ... this is.
        compute: (block, k or m) -> [B, S] for scope "sample", [B] for scope "request".
        compute_run: (items [P, S, K], truth) -> the value, for scope "run".
    """

    name: str
    scope: Scope
    higher_is_better: bool | None
    summary: str
    formula: str
    low: float | None = 0.0
    high: float | None = 1.0
    worst: float | None = 0.0
    null: str = ""
    source: str = "docs/protocol.md, section 2"
    space: str | None = None
    ordered: bool = False
    family: str = ""
    curve_of: str | None = None
    compute: Callable[[Block, int], np.ndarray] | None = field(default=None, repr=False)
    compute_run: Callable[[np.ndarray, Truth], float | None] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Scores:
    """What slates scored.

    Attributes:
        requests: request ids, length P.
        values: by metric name: [P, S] (scope sample) or [P] (scope request); NaN = null.
        per_run: by metric name, None = null.
    """

    requests: list[str]
    values: dict[str, np.ndarray]
    per_run: dict[str, float | None]

    @cached_property
    def per_request(self) -> pl.DataFrame:
        """Long table: request, sample (null for scope request), metric, value (null where undefined)."""
        ids = pl.Series("request", self.requests, dtype=pl.Categorical)
        frames = []
        for name, values in self.values.items():
            S = values.shape[1] if values.ndim == 2 else 1
            sample = np.tile(np.arange(S, dtype=np.int32), len(ids))
            frames.append(
                pl.DataFrame(
                    {
                        "request": ids.gather(np.repeat(np.arange(len(ids), dtype=np.uint32), S)),
                        "sample": pl.Series(sample)
                        if values.ndim == 2
                        else pl.repeat(None, len(ids), dtype=pl.Int32, eager=True),
                        "metric": pl.repeat(name, values.size, dtype=pl.String, eager=True).cast(pl.Categorical),
                        "value": pl.Series(values.ravel(), dtype=pl.Float64, nan_to_null=True),
                    }
                )
            )
        schema = {"request": pl.Categorical, "sample": pl.Int32, "metric": pl.Categorical, "value": pl.Float64}
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def read_scores(per_request: pl.DataFrame, per_run: dict[str, float | None]) -> Scores:
    """Scores from their long table (as `Scores.per_request` gives it) and the figures of the run.

    Raises:
        DataError: a metric has not one value for each request (and sample).
    """
    words = per_request.select(pl.col("request", "metric").cast(pl.Categorical))  # numbers in place of many texts
    requests, request = _numbered(words["request"])
    names, metric = _numbered(words["metric"])
    sample = per_request["sample"].cast(pl.Int64).fill_null(EMPTY).to_numpy()
    value = per_request["value"].cast(pl.Float64).to_numpy()
    rows = np.argsort(metric.astype(np.uint16), kind="stable")  # by metric; in time linear in their number
    ends = np.cumsum(np.bincount(metric, minlength=len(names)))
    values = {}
    for name, of_metric in zip(names, np.split(rows, ends[:-1]), strict=True):
        found = _values_of(request[of_metric], sample[of_metric], value[of_metric], len(requests))
        if found is None:
            raise DataError(f"{name} has not one value for each of {len(requests)} requests")
        values[name] = found
    return Scores(requests, values, per_run)


def _numbered(texts: pl.Series) -> tuple[list[str], np.ndarray]:
    """The different texts in order of appearance, and which of them stands in each row."""
    different = texts.unique(maintain_order=True)
    known = different.to_physical().to_numpy()
    if different.null_count():
        raise DataError(f"no text in every row of '{texts.name}'")
    place = np.empty(int(known.max(initial=0)) + 1, np.int64)
    place[known] = np.arange(len(known))
    return different.cast(pl.String).to_list(), place[texts.to_physical().to_numpy()]


def _values_of(request: np.ndarray, sample: np.ndarray, value: np.ndarray, P: int) -> np.ndarray | None:
    """A metric's values [P, S], or [P] where no row names a sample; None unless each stands there once."""
    S = int(sample.max()) + 1
    per_sample = S > 0
    if not per_sample:
        sample, S = np.zeros_like(sample), 1
    place = request * S + sample
    if len(place) != P * S or sample.min() < 0 or not (np.bincount(place, minlength=P * S) == 1).all():
        return None
    table = np.empty(P * S)
    table[place] = value
    return table.reshape(P, S) if per_sample else table
