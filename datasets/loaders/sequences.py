"""Histories: users' items in order of time, split into what is learnt from and what is asked (docs/protocol.md).

A card of the task history->slate says in `[options.split]` how. All users are cut at once: a log may hold millions of
interactions. Sizes in comments: U users, Q questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..build import composed_frame, item_frame, train_counts
from ..card import DatasetCard
from ..errors import DataError, UsageError
from ..schema import (
    HISTORY_SCHEMA,
    PARTS,
    REFERENCE_SCHEMA,
    SEQUENCE_SCHEMA,
    Catalog,
    Part,
    PartName,
    SlateDataset,
)

DAY = 86_400  # seconds


class SplitRule(BaseModel):
    """How users' items become train sequences, histories and references.

    - `leave-one-out`: the last item is the test reference, the second last that of validation.
    - `next-k`: the last k items in order, the k before them; users with fewer than 2 k + `history` are train only.
    - `basket`: the items of the last day (or of the last session, where `gap` seconds without an item end one) as a
      set, the basket before it for validation; only baskets of two items or more, after at least one item.
    - `global-time`: cut at the `quantile` of all times, validation at the same quantile of what lies before; the
      requests of users with at least `history` items before the cut, one per later item (`successive`, what came
      before it in the history) or for the `last` one alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["leave-one-out", "next-k", "basket", "global-time"]
    k: int = Field(10, ge=1)
    history: int = Field(2, ge=1)
    gap: int | None = Field(None, gt=0)
    quantile: float = Field(0.9, gt=0, lt=1)
    target: Literal["successive", "last"] = "successive"


@dataclass(frozen=True)
class _Cuts:
    """Where users' items are cut.

    Attributes:
        learnt: items[:learnt] of each user are train [U].
        known: items[:known] of each user lie before the test part [U].
        asked: the questions of each part, by user: `user` (its number), `at`, `end` [Q]; the history is items[:at], the
            reference items[at:end].
    """

    learnt: np.ndarray
    known: np.ndarray
    asked: dict[PartName, pl.DataFrame]


def split_rule(card: DatasetCard) -> SplitRule:
    """The rule of the card's option `split`.

    Raises:
        DataError: an unknown or impossible value, in one line.
    """
    try:
        return SplitRule(**card.options.get("split", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"dataset '{card.name}': option 'split.{where}': {first['msg']}") from error


def build_sequences(
    card: DatasetCard, items: pl.DataFrame, interactions: pl.DataFrame, split_seed: int = 0
) -> SlateDataset:
    """Check items and interactions, split each user's items, count the train interactions, put the dataset together.

    Args:
        card: the dataset's card; its option `split` is the rule.
        items: one row per item, in catalogue order: `id`, `title`, `text`, `categories`.
        interactions: `user`, `item` (an id), `time` (unix seconds, null where unknown). Users stand in the order in
            which they first occur, a user's items in order of time (ties, and items of a user with an unknown time: as
            they are given).
        split_seed: no rule draws anything, so it must be 0.

    Raises:
        DataError: duplicate id, unknown item, or a part without a request.
        UsageError: another split seed.
    """
    where = f"dataset '{card.name}'"
    if split_seed:
        raise UsageError(f"{where}: its split goes by time and draws nothing: leave the split seed out")
    rule, items = split_rule(card), item_frame(items, where)
    users = _ordered(interactions, items["id"], where)
    if rule.kind in ("basket", "global-time") and users["times"].null_count() == users.height:
        raise DataError(f"{where}: the split '{rule.kind}' needs times: choose another split")
    cuts = _cuts(rule, users)
    for part in PARTS:
        if cuts.asked[part].is_empty():
            raise DataError(
                f"{where}: the part '{part}' is empty ({users.height:,} users, {interactions.height:,} interactions): "
                f"the split '{rule.kind}' needs longer histories"
            )
    made = {name: _part(name, cuts.asked[name], users) for name in PARTS}
    sequences = _up_to(cuts.learnt, users)
    return SlateDataset(
        name=card.name,
        source=card.source,
        card=card,
        catalog=Catalog(items.with_columns(train_count=train_counts(sequences["items"], items.height))),
        train=made["train"],
        valid=made["valid"],
        test=made["test"],
        slate_length=card.slate_length,
        sequences=sequences,
        before_test=_up_to(cuts.known, users),
        ordered=rule.kind == "next-k" and rule.k > 1,  # a basket is a set, and one item has no order
    )


# --- the rules ---------------------------------------------------------------------------------------


def _cuts(rule: SplitRule, users: pl.DataFrame) -> _Cuts:
    """Where each user's items are cut."""
    n = users["items"].list.len().to_numpy().astype(np.int64)  # [U]
    if rule.kind == "global-time":
        return _by_time(rule, n, users["times"])
    if rule.kind == "basket":
        return _by_basket(rule, n, users["times"])
    return _by_count(n, 1, 1) if rule.kind == "leave-one-out" else _by_count(n, rule.k, rule.history)


def _by_count(n: np.ndarray, k: int, history: int) -> _Cuts:
    """The last k items, and the k before them; what is learnt is cut once more in the same way."""
    asked = n >= 2 * k + history
    learnt = np.where(asked, n - 2 * k, n)
    questions: dict[PartName, pl.DataFrame] = {
        "train": _questions(learnt >= k + history, learnt - k, learnt),
        "valid": _questions(asked, n - 2 * k, n - k),
        "test": _questions(asked, n - k, n),
    }
    return _Cuts(learnt, np.where(asked, n - k, n), questions)


def _by_basket(rule: SplitRule, n: np.ndarray, times: pl.Series) -> _Cuts:
    """The last basket, and the one before it; both of two items or more, after at least one, or it is no question."""
    known = times.is_not_null().to_numpy()
    size = n[known]
    stamps = times.explode(empty_as_null=False).drop_nulls().to_numpy()
    first = np.cumsum(size) - size  # where a user's items begin among all items of known time
    new = np.zeros(len(stamps), bool)
    new[1:] = np.diff(stamps // DAY) != 0 if rule.gap is None else np.diff(stamps) > rule.gap
    new[first] = True
    starts = np.flatnonzero(new)  # of all baskets
    lengths = np.diff(np.append(starts, len(stamps)))
    ends = np.cumsum(size)
    earliest, last = np.searchsorted(starts, first), np.searchsorted(starts, ends) - 1  # baskets of each user

    test = (last > earliest) & (lengths[last] > 1)
    before = last - test
    valid = test & (before > earliest) & (lengths[before] > 1)
    newest = before - valid  # what is learnt ends with it
    train = (newest > earliest) & (lengths[newest] > 1)

    learnt, before_test = n.copy(), n.copy()
    learnt[known] = starts[newest] + lengths[newest] - first
    before_test[known] -= test * lengths[last]
    numbers = np.flatnonzero(known)

    def asked(mask: np.ndarray, basket: np.ndarray) -> pl.DataFrame:
        at = (starts[basket] - first)[mask]
        return pl.DataFrame({"user": numbers[mask], "at": at, "end": at + lengths[basket][mask]})

    questions: dict[PartName, pl.DataFrame] = {
        "train": asked(train, newest),
        "valid": asked(valid, before),
        "test": asked(test, last),
    }
    return _Cuts(learnt, before_test, questions)


def _by_time(rule: SplitRule, n: np.ndarray, times: pl.Series) -> _Cuts:
    """What lies after the cuts; users with an unknown time are train only."""
    stamps = times.explode(empty_as_null=False).drop_nulls().to_numpy()
    test_after = np.quantile(stamps, rule.quantile, method="lower")  # what lies at a cut lies before it
    valid_after = np.quantile(stamps[stamps <= test_after], rule.quantile, method="lower")
    owner = np.repeat(np.arange(len(n)), np.where(times.is_not_null().to_numpy(), n, 0))  # user of each stamp
    learnt, valid_end = (np.bincount(owner[stamps <= cut], minlength=len(n)) for cut in (valid_after, test_after))
    known = times.is_not_null().to_numpy()

    def later(start: np.ndarray, end: np.ndarray) -> pl.DataFrame:
        spans = _questions(known & (start >= rule.history) & (end > start), start, end)
        if rule.target == "last":
            return spans.with_columns(at=pl.col("end") - 1)
        return spans.with_columns(at=pl.int_ranges("at", "end")).explode("at").with_columns(end=pl.col("at") + 1)

    questions: dict[PartName, pl.DataFrame] = {
        "train": _questions(known & (learnt > rule.history), learnt - 1, learnt),
        "valid": later(learnt, valid_end),
        "test": later(valid_end, n),
    }
    return _Cuts(np.where(known, learnt, n), np.where(known, valid_end, n), questions)


def _questions(mask: np.ndarray, at: np.ndarray, end: np.ndarray) -> pl.DataFrame:
    """A question for each user of the mask [U]."""
    return pl.DataFrame({"user": np.flatnonzero(mask), "at": at[mask], "end": end[mask]})


# --- inside ------------------------------------------------------------------------------------------


def _ordered(interactions: pl.DataFrame, ids: pl.Series, where: str) -> pl.DataFrame:
    """Users in order of their first row, with all items, oldest first (SEQUENCE_SCHEMA); no times where one lacks."""
    index = pl.DataFrame({"item": ids, "number": np.arange(len(ids))})
    rows = composed_frame(interactions, ["user", "item"]).join(index, on="item", how="left", maintain_order="left")
    if rows["number"].null_count():
        row = rows.row(int(rows["number"].is_null().arg_max() or 0), named=True)
        raise DataError(f"{where}: user '{row['user']}': item '{row['item']}' is not in the items: add it")
    users = rows.select(pl.col("user").unique(maintain_order=True))
    # a user with an unknown time keeps the given order: all of that user's times count as equal
    unknown = rows.filter(pl.col("time").is_null())["user"].unique()
    rows = rows.with_columns(time=pl.when(~pl.col("user").is_in(unknown.implode())).then("time"))
    lists = rows.sort("time", maintain_order=True).group_by("user", maintain_order=True).agg("number", "time")
    times = pl.when(pl.col("time").list.first().is_not_null()).then("time")
    lists = users.join(lists, on="user", how="left", maintain_order="left")
    return lists.select("user", items="number", times=times).cast(SEQUENCE_SCHEMA)  # type: ignore[arg-type]


def _up_to(ends: np.ndarray, users: pl.DataFrame) -> pl.DataFrame:
    """Each user's items[:end], of those that have any (SEQUENCE_SCHEMA)."""
    cut = pl.col("items", "times").list.head(pl.lit(pl.Series(ends)))
    return users.select("user", cut).filter(pl.col("items").list.len() > 0)


def _part(name: PartName, asked: pl.DataFrame, users: pl.DataFrame) -> Part:
    """The part of these questions."""
    rows = pl.concat([asked, users[asked["user"]].rename({"user": "group"})], how="horizontal")
    # the questions of a user who is asked several are numbered
    several = pl.when(pl.len().over("user") > 1).then(pl.format("/{}", pl.int_range(pl.len()).over("user")))
    rows = rows.with_columns(request=pl.concat_str("group", pl.lit(f"/{name}"), several.otherwise(pl.lit(""))))
    requests = rows.select(
        "request",
        prompt=pl.lit(""),
        history=pl.col("items").list.head("at"),
        seed_items=pl.lit([], pl.List(pl.Int64)),
        group="group",
        history_times=pl.col("times").list.head("at"),
        request_time=pl.col("times").list.get("at"),
    )
    # an item counts once in a reference, where it first stands
    given = pl.col("items").list.slice("at", pl.col("end") - pl.col("at")).list.unique(maintain_order=True)
    return Part(name, requests.cast(HISTORY_SCHEMA), rows.select("request", items=given).cast(REFERENCE_SCHEMA))  # type: ignore[arg-type]
