"""CPCD: conversations that curate a playlist, with title, artists and album of each track (SIGIR 2023).

Only the development part is at hand: the official test part and the full retrieval corpus are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..build import build_dataset
from ..card import DatasetCard
from ..errors import DataError
from ..files.reading import read_card_file, read_json_lines
from ..schema import SlateDataset
from ..split import hash_order
from ..text import clean, track_text

VALID = 40  # conversations of dev.train


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load dev.train (train and valid, by the hash of the id) and dev.val (test) of the first release."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.homepage}")
    tracks: dict[str, dict[str, Any]] = {}
    tables = []
    for file in card.files:
        conversations = [
            _conversation(record, tracks, file.path, row)
            for row, record in read_json_lines(read_card_file(folder, file), file.path)
        ]
        tables.append(pl.DataFrame(conversations, schema_overrides={"items": pl.List(pl.String)}))
    train, test = tables
    part = np.full(train.height, "train", dtype=object)
    part[hash_order(train["request"].to_list(), split_seed)[:VALID]] = "valid"
    slates = pl.concat([train.with_columns(part=pl.Series(part.tolist())), test.with_columns(part=pl.lit("test"))])
    slates = slates.filter(pl.col("items").list.len() > 0)  # some goals are empty
    items = pl.DataFrame(list(tracks.values()), schema_overrides={"categories": pl.List(pl.List(pl.String))})
    return build_dataset(card, items, slates, split_seed)


def _conversation(record: dict[str, Any], tracks: dict[str, dict[str, Any]], file: str, row: int) -> dict[str, Any]:
    """One request with its goal; its tracks are added to `tracks` by id."""
    try:
        for id_, track in record["tracks"].items():
            title = clean(track["track_titles"])
            artists = [clean(artist) for artist in track["track_artists"]]
            text = track_text(title, artists, clean(track.get("track_release_titles") or ""))
            tracks.setdefault(id_, {"id": id_, "title": track_text(title, artists, ""), "text": text, "categories": []})
        queries = [clean(turn["user_query"]) for turn in record["turns"]]
        goal = list(dict.fromkeys(record["goal_playlist"]))
        id_ = str(record["id"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}, row {row}: not a CPCD conversation ({error!r}): fetch the file again") from error
    unknown = [track for track in goal if track not in tracks]
    if unknown:
        raise DataError(f"{file}, row {row}: goal track '{unknown[0]}' has no metadata: use the first release's file")
    return {"request": id_, "prompt": " ".join(filter(None, queries)), "group": id_, "items": goal}
