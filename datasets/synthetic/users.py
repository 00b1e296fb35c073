"""Made-up users: the sessions of a latent world strung together, so that interests last, drift and come back.

A session is a slate of the world, had on one day. A user's next session has the main sub-theme of the one before
(`stay`), of an earlier one (`back`), a neighbour's (`drift`), or any. What came last therefore tells most, the rest
something, and whoever knows the session of the next item (the oracle) knows how likely each item is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..card import DatasetCard
from ..errors import DataError
from ..loaders.sequences import DAY, build_sequences
from ..schema import SlateDataset
from .exact import Draws
from .texts import item_table, vocabulary
from .world import EMPTY, World, build_world, read_options

WALK_STREAM, DAY_STREAM = 20, 21  # streams of Draws
START = 1_300_000_000  # unix seconds of the first day
DAYS = 1500  # on which users begin

Share = Annotated[float, Field(ge=0, le=1)]


class Walk(BaseModel):
    """How sessions follow each other (`[options.walk]` of the card)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: int = Field(gt=1)  # sessions of a user; 2..most, few more often
    shortest: int = Field(gt=2)  # items of a user
    stay: Share  # with the main sub-theme of the session before
    back: Share  # to that of any earlier session
    drift: Share  # to the neighbour of the session before; what is left of 1: anywhere


@dataclass(frozen=True)
class Users:
    """The truth: each user's items, oldest first, the world's session of each, and its day."""

    world: World
    items: list[list[int]]
    sessions: list[list[int]]
    days: list[list[int]]


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Generate the dataset that the card's options describe (`folder` is not used)."""
    users = made_up_users(card)
    lengths = [len(row) for row in users.items]
    names = _names(len(lengths))
    items = item_table(users.world, vocabulary(users.world.options.style))
    rows = pl.DataFrame(
        {
            "user": names.gather(np.repeat(np.arange(len(lengths)), lengths)),
            "item": items["id"].gather(np.concatenate(users.items)),
            "time": START + DAY * np.concatenate(users.days),
        }
    )
    return build_sequences(card, items, rows, split_seed)


def made_up_users(card: DatasetCard) -> Users:
    """The truth behind the dataset of this card. For ceilings and tests only.

    Raises:
        DataError: an unknown or impossible option, in one line.
    """
    options = read_options(card.name, {k: v for k, v in card.options.items() if k not in ("walk", "split")})
    try:
        walk = Walk(**card.options.get("walk", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"card '{card.name}': option 'walk.{where}': {first['msg']}") from error
    words_of = vocabulary(options.style)
    world = build_world(card.name, options, words_of.theme_of, words_of.facets)
    items, sessions, days = [], [], []
    gaps = Draws(options.seed, DAY_STREAM)
    for chain in _chains(world, walk):
        begin = int(gaps.below(DAYS, 1)[0])
        day = begin + np.cumsum(1 + gaps.below(60, len(chain)))
        seen: dict[int, tuple[int, int]] = {}  # an item is had once: when it first came
        for row, when in zip(chain, day.tolist(), strict=True):
            for item in world.slates[row][world.slates[row] != EMPTY].tolist():
                seen.setdefault(item, (row, when))
        if len(seen) >= walk.shortest:
            items.append(list(seen))
            sessions.append([row for row, _ in seen.values()])
            days.append([when for _, when in seen.values()])
    return Users(world, items, sessions, days)


def session_of_next(card: DatasetCard, requests: pl.DataFrame) -> tuple[World, np.ndarray]:
    """The world, and its session to which the item that follows each history belongs [P]."""
    users = made_up_users(card)
    of_user = dict(zip(_names(len(users.items)), users.sessions, strict=True))
    asked = requests.select("group", pl.col("history").list.len()).iter_rows()
    return users.world, np.array([of_user[user][had] for user, had in asked], dtype=np.int64)


def _names(users: int) -> pl.Series:
    return "u" + pl.Series(np.arange(users)).cast(pl.String).str.zfill(6)


def _chains(world: World, walk: Walk) -> list[list[int]]:
    """Sessions of each user in order; every session of the world is somebody's, once."""
    draws = Draws(world.options.seed, WALK_STREAM)
    R = len(world.main)
    order = draws.order(R).tolist()
    unused: dict[int, list[int]] = defaultdict(list)  # by main sub-theme, next one last
    for row in reversed(order):
        unused[int(world.main[row])].append(row)
    used = np.zeros(R, bool)
    chains: list[list[int]] = []
    for first in order:
        if used[first]:
            continue
        used[first] = True
        chain = [first]
        length = 2 + int(draws.uniform(1)[0] * draws.uniform(1)[0] * (walk.most - 1))
        while len(chain) < length:
            way, which = draws.uniform(2).tolist()
            theme = int(world.main[chain[-1]])
            if way >= walk.stay:
                theme = int(world.main[chain[int(which * len(chain))]])
            if way >= walk.stay + walk.back:
                theme = int(world.neighbour[chain[-1]])
            if way >= walk.stay + walk.back + walk.drift:
                theme = int(world.main[order[int(which * R)]])
            row = _take(unused[theme], used)
            if row is None:
                break  # nobody has had more of it
            chain.append(row)
        chains.append(chain)
    return chains


def _take(rows: list[int], used: np.ndarray) -> int | None:
    """The next unused session of a list, which is used up from its end."""
    while rows:
        row = rows.pop()
        if not used[row]:
            used[row] = True
            return row
    return None
