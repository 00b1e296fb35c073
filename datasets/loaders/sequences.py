"""Histories: users' items in order of time, split into what is learnt from and what is asked (docs/protocol.md).

A card of the task history->slate says in `[options.split]` how. Sizes in comments: U users, n items of one user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
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

Question = tuple[PartName, int, int]  # part, at, end: the history is items[:at], the reference items[at:end]


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
class _Cut:
    """Where one user's items are cut: items[:learnt] are train."""

    learnt: int
    questions: tuple[Question, ...] = ()


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
    users, numbers, times = _ordered(interactions, items["id"], where)
    cuts = list(_cuts(rule, numbers, times))

    rows: dict[PartName, list[tuple[str, int, int, int]]] = {name: [] for name in PARTS}  # request, user, at, end
    for u, cut in enumerate(cuts):
        count = {name: sum(part == name for part, _, _ in cut.questions) for name in PARTS}
        place = dict.fromkeys(PARTS, 0)
        for part, at, end in cut.questions:
            number = f"/{place[part]}" if count[part] > 1 else ""
            rows[part].append((f"{users[u]}/{part}{number}", u, at, end))
            place[part] += 1
    for part in PARTS:
        if not rows[part]:
            raise DataError(
                f"{where}: the part '{part}' is empty ({len(users):,} users, {sum(map(len, numbers)):,} interactions): "
                f"the split '{rule.kind}' needs longer histories"
            )
    made = {name: _part(name, rows[name], users, numbers, times) for name in PARTS}
    sequences = pl.DataFrame(
        {
            "user": users,
            "items": [row[: cut.learnt] for row, cut in zip(numbers, cuts, strict=True)],
            "times": [None if row is None else row[: cut.learnt] for row, cut in zip(times, cuts, strict=True)],
        },
        schema=SEQUENCE_SCHEMA,
    ).filter(pl.col("items").list.len() > 0)
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
        ordered=rule.kind == "next-k" and rule.k > 1,  # a basket is a set, and one item has no order
    )


# --- the rules ---------------------------------------------------------------------------------------


def _cuts(rule: SplitRule, numbers: list[list[int]], times: list[list[int] | None]) -> Iterator[_Cut]:
    """Where each user's items are cut."""
    if rule.kind == "global-time":
        yield from _by_time(rule, numbers, times)
        return
    k, least = (1, 1) if rule.kind == "leave-one-out" else (rule.k, rule.history)
    for row, when in zip(numbers, times, strict=True):
        yield _by_basket(rule, len(row), when) if rule.kind == "basket" else _by_count(len(row), k, least)


def _by_count(n: int, k: int, history: int) -> _Cut:
    """The last k items, and the k before them; what is learnt is cut once more in the same way."""
    asked = n >= 2 * k + history
    learnt = n - 2 * k if asked else n
    questions: list[Question] = []
    if learnt >= k + history:
        questions.append(("train", learnt - k, learnt))
    if asked:
        questions.extend((("valid", n - 2 * k, n - k), ("test", n - k, n)))
    return _Cut(learnt, tuple(questions))


def _by_basket(rule: SplitRule, n: int, when: list[int] | None) -> _Cut:
    """The last basket, and the one before it; both of two items or more, or it is no question."""
    if when is None:
        return _Cut(n)
    stamps = np.asarray(when)
    new = np.diff(stamps // DAY) != 0 if rule.gap is None else np.diff(stamps) > rule.gap
    starts = [0, *(np.flatnonzero(new) + 1).tolist(), n]  # basket b is items[starts[b]:starts[b + 1]]
    baskets = list(pairwise(starts))
    test = baskets.pop() if len(baskets) > 1 and _is_question(baskets[-1]) else None
    valid = baskets.pop() if test and len(baskets) > 1 and _is_question(baskets[-1]) else None
    learnt = baskets[-1][1]
    train = baskets[-1] if _is_question(baskets[-1]) else None
    named: list[tuple[PartName, tuple[int, int] | None]] = [("train", train), ("valid", valid), ("test", test)]
    return _Cut(learnt, tuple((name, *at) for name, at in named if at))


def _is_question(basket: tuple[int, int]) -> bool:
    """Two items or more, after at least one."""
    return basket[0] > 0 and basket[1] - basket[0] > 1


def _by_time(rule: SplitRule, numbers: list[list[int]], times: list[list[int] | None]) -> Iterator[_Cut]:
    """What lies after the cuts; users with an unknown time are train only."""
    known = np.concatenate([np.asarray(row, np.int64) for row in times if row is not None] or [np.zeros(0, np.int64)])
    if not len(known):
        raise DataError("the split 'global-time' needs times: choose another split")
    test_after = np.quantile(known, rule.quantile, method="lower")  # what lies at a cut lies before it
    valid_after = np.quantile(known[known <= test_after], rule.quantile, method="lower")
    for row, when in zip(numbers, times, strict=True):
        if when is None:
            yield _Cut(len(row))
            continue
        # items up to each cut
        learnt, valid_end = np.searchsorted(when, [valid_after, test_after], side="right").tolist()
        spans: list[Question] = [("valid", learnt, valid_end), ("test", valid_end, len(row))]
        questions: list[Question] = []
        if learnt > rule.history:
            questions.append(("train", learnt - 1, learnt))
        for part, start, end in spans:
            if start >= rule.history and end > start:
                first = start if rule.target == "successive" else end - 1
                questions.extend((part, at, at + 1) for at in range(first, end))
        yield _Cut(learnt, tuple(questions))


# --- inside ------------------------------------------------------------------------------------------


def _ordered(
    interactions: pl.DataFrame, ids: pl.Series, where: str
) -> tuple[list[str], list[list[int]], list[list[int] | None]]:
    """Users in order of their first row, and the item numbers and times of each, oldest first."""
    index = pl.DataFrame({"item": ids, "number": np.arange(len(ids))})
    rows = composed_frame(interactions, ["user", "item"]).join(index, on="item", how="left", maintain_order="left")
    if rows["number"].null_count():
        unknown = rows.row(int(rows["number"].is_null().arg_max() or 0), named=True)
        raise DataError(f"{where}: user '{unknown['user']}': item '{unknown['item']}' is not in the items: add it")
    # a user with an unknown time keeps the given order: all of that user's times count as equal
    known = pl.col("time").is_not_null().all().over("user")
    rows = rows.with_columns(time=pl.when(known).then("time")).with_row_index("first")
    rows = rows.with_columns(pl.col("first").min().over("user")).sort("first", "time", maintain_order=True)
    lists = rows.group_by("user", maintain_order=True).agg("number", "time")
    times = [None if row and row[0] is None else row for row in lists["time"].to_list()]
    return lists["user"].to_list(), lists["number"].to_list(), times


def _part(
    name: PartName,
    rows: list[tuple[str, int, int, int]],
    users: list[str],
    numbers: list[list[int]],
    times: list[list[int] | None],
) -> Part:
    """The part of these questions (request, user, at, end)."""
    ids = [row[0] for row in rows]
    found = [(numbers[u][:at], times[u], u, at, end) for _, u, at, end in rows]
    requests = pl.DataFrame(
        {
            "request": ids,
            "prompt": [""] * len(rows),
            "history": [history for history, *_ in found],
            "seed_items": [[] for _ in rows],
            "group": [users[u] for _, _, u, _, _ in found],
            "history_times": [None if when is None else when[:at] for _, when, _, at, _ in found],
            "request_time": [None if when is None else when[at] for _, when, _, at, _ in found],
        },
        schema=HISTORY_SCHEMA,
    )
    # an item counts once in a reference, where it first stands
    items = [list(dict.fromkeys(numbers[u][at:end])) for _, _, u, at, end in found]
    return Part(name, requests, pl.DataFrame({"request": ids, "items": items}, schema=REFERENCE_SCHEMA))
