"""Synthetic twins: datasets made from a seed, with a truth that an oracle can use.

`load` gives what a model may see; `latent` makes the truth again, apart. All three twins come from one latent world
(world.py) in three voices (texts.py): shoppers, listeners, editors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ..build import build_dataset
from ..card import DatasetCard
from ..schema import SlateDataset
from ..split import connected_groups, grouped_split
from .texts import Vocabulary, item_table, prompts, vocabulary
from .world import EMPTY, Options, World, build_world, read_options

__all__ = ["Options", "World", "latent", "load", "request_rows"]


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Generate the dataset that the card's options describe (`folder` is not used)."""
    world, words_of = _world(card)
    groups = _groups(world)
    frame = pl.DataFrame(
        {
            "request": _numbered("r", np.arange(len(world.main))),
            "prompt": prompts(world, words_of),
            "group": _numbered("g", groups),
            "items": _lists(world.slates),
        }
    )
    frame = frame.with_columns(part=grouped_split(frame["group"], split_seed))
    return build_dataset(card, item_table(world, words_of), frame, split_seed)


def latent(card: DatasetCard) -> World:
    """The truth behind the dataset of this card; `request_rows` says which of its rows belongs to a request.

    For ceilings and tests only: no table that a model sees holds any of it. It does not depend on the split.
    """
    return _world(card)[0]


def request_rows(requests: pl.Series) -> np.ndarray:
    """Rows of the world that belong to these request ids, int64 [P]."""
    return requests.str.strip_prefix("r").cast(pl.Int64).to_numpy()


def _world(card: DatasetCard) -> tuple[World, Vocabulary]:
    options = read_options(card.name, card.options)
    words_of = vocabulary(options.style)
    return build_world(card.name, options, words_of.theme_of, words_of.facets), words_of


def _groups(world: World) -> np.ndarray:
    """Groups of slates [R]; groups that share an identical item set are merged, as for the real bundles."""
    key = _lists(np.sort(world.slates, axis=1)).cast(pl.List(pl.String)).list.join(" ")
    return connected_groups(pl.Series(world.group), key)


def _lists(slates: np.ndarray) -> pl.Series:
    """Rows of item numbers [R, L] as lists without the empty places."""
    row, column = np.nonzero(slates != EMPTY)
    frame = pl.DataFrame({"row": row, "items": slates[row, column]})
    return frame.group_by("row", maintain_order=True).agg("items")["items"]


def _numbered(letter: str, numbers: np.ndarray) -> pl.Series:
    return letter + pl.Series(numbers).cast(pl.String).str.zfill(7)
