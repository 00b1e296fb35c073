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

__all__ = ["Options", "World", "latent", "load"]


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Generate the dataset that the card's options describe (`folder` is not used)."""
    world, words_of = _world(card)
    part_of = _groups(world)
    frame = pl.DataFrame(
        {
            "request": request_ids(world),
            "prompt": prompts(world, words_of),
            "group": "g" + pl.Series(part_of).cast(pl.String).str.zfill(6),
            "items": _lists(world.slates),
        }
    )
    frame = frame.with_columns(part=grouped_split(frame["group"], split_seed))
    return build_dataset(card, item_table(world, words_of), frame, split_seed)


def latent(card: DatasetCard) -> World:
    """The truth behind the dataset of this card, row r of which belongs to request `request_ids(world)[r]`.

    For ceilings and tests only; it does not depend on the split.
    """
    return _world(card)[0]


def request_ids(world: World) -> pl.Series:
    """Ids of the requests, by row of the world."""
    return "r" + pl.Series(np.arange(len(world.main))).cast(pl.String).str.zfill(7)


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
