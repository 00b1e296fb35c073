"""The explorer's data: requests, references, and what every system answered, as numbers of one list of titles."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl

from ...datasets.schema import SlateDataset, in_words
from ..board import Board
from ..checked import requests_of, slates_of
from ..records import Run
from ..tables import short_name

LIMIT = 3_300_000  # characters of the explorer's data: the page shall stay under 5 MB
NEWEST = 20  # items of a history that are shown
TITLE = 110  # characters of a title that are shown
STEPS = (10, 5, 3, 2, 1)  # samples of each prompt that are shown, as far as LIMIT allows


def explorer(board: Board, dataset: SlateDataset | None, limit: int = LIMIT) -> dict[str, Any]:
    """What the page needs to show prompts with their slates; first samples, then prompts are left out to fit `limit`.

    Args:
        board: its systems and floors are shown (ceilings know the references).
        dataset: titles and references of the board's part; without it items are shown by id, and no hits.
        limit: characters of the data as JSON.

    Returns:
        titles [items]; prompts: lists `ids`, `typed`, `texts`, `seeds`, `references` (None without a dataset),
        `lengths` of histories (None without any), `histories` (their newest items) [P]; systems with slates
        [P][samples][slots]; items as places in `titles`; `notes` on what is left out.
    """
    systems = [system for system in board.systems if system.kind != "ceiling"]
    requests = requests_of(systems[0].runs[0])
    samples = max(system.runs[0].spec.samples for system in systems)
    keep = np.arange(requests.height)
    counts = [min(samples, step) for step in STEPS if step <= samples] or [samples]
    while True:
        found = _payload(board, dataset, requests[keep], counts[0])
        size = len(json.dumps(found, separators=(",", ":")))
        if size <= limit or (len(counts) == 1 and len(keep) == 1):
            break
        if len(counts) > 1:
            counts = counts[1:]
        else:
            smaller = max(1, int(len(keep) * min(0.95, limit / size)))
            keep = np.unique(np.linspace(0, requests.height - 1, smaller).astype(int))
    notes = []
    if counts[0] < samples:
        notes.append(f"the first {counts[0]} of {samples} samples are here")
    if len(keep) < requests.height:
        notes.append(f"{len(keep)} of {requests.height} requests are here, taken evenly")
    several = [system.label for system in systems if len(system.runs) > 1]
    if several:
        notes.append(f"slates of the first seed of {', '.join(several)}")
    if dataset is None:
        notes.append("the dataset is not at hand: items are shown by id, without references and hits")
    return found | {"notes": notes}


def _payload(board: Board, dataset: SlateDataset | None, requests: pl.DataFrame, samples: int) -> dict[str, Any]:
    systems = [system for system in board.systems if system.kind != "ceiling"]
    slates = {s.label: _cut(s.runs[0], requests, samples) for s in systems}
    references, seeds, histories = _of_dataset(board, dataset, requests)
    used = pl.concat([frame.explode("items")["items"] for frame in [*slates.values(), references, seeds, histories]])
    ids = used.drop_nulls().value_counts(sort=True, name="n").sort(["n", "items"], descending=[True, False])["items"]
    place = pl.DataFrame({"items": ids, "place": pl.arange(len(ids), eager=True)})
    title_of: dict[str, str] = dict(zip(dataset.catalog.ids, dataset.catalog.titles, strict=True)) if dataset else {}
    titles = [_short(title_of.get(item, str(item))) for item in ids.to_list()]
    leader = systems[0].runs[0].spec.headline
    exact = leader.replace("_sim", "")
    rows = []
    for system in systems:
        row = {request: i for i, request in enumerate(system.scores[0].requests)}
        at = [row[request] for request in requests["request"].to_list()]
        values = system.scores[0].values
        rows.append(
            {
                "label": system.label,
                "kind": system.kind,
                "slates": _places(slates[system.label], place, requests, nested=True),
                "each": _rounded(values[leader][at][:, :samples]),
                "score": _rounded(_mean(values[leader][at])),
                "exact": _rounded(_mean(values[exact][at])) if exact != leader and exact in values else None,
            }
        )
    return {
        "metric": short_name(leader),
        "exact": short_name(exact),
        "titles": titles,
        "prompts": {
            "ids": requests["request"].to_list(),
            "typed": requests["prompt"].to_list(),
            "texts": in_words(requests, dataset.catalog.titles if dataset else []),
            "lengths": _lengths(requests),
            "histories": _places(histories, place, requests),
            "seeds": _places(seeds, place, requests),
            "references": _places(references, place, requests) if dataset else None,
        },
        "systems": rows,
    }


def _cut(run: Run, requests: pl.DataFrame, samples: int) -> pl.DataFrame:
    wanted = pl.col("request").is_in(requests["request"].to_list())
    return slates_of(run).filter(wanted & (pl.col("sample") < samples)).select("request", "sample", "items")


def _of_dataset(
    board: Board, dataset: SlateDataset | None, requests: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """References, seed items and newest items of the histories in original ids: request, sample, items."""
    if dataset is None:
        none = requests.select("request", sample=pl.lit(0), items=pl.lit([], dtype=pl.List(pl.String)))
        return none, none, none
    ids = pl.Series(dataset.catalog.ids, dtype=pl.String)

    def original(frame: pl.DataFrame, column: str) -> pl.DataFrame:
        lists = frame[column].to_list()
        items = pl.Series("items", [ids.gather(row).to_list() for row in lists], dtype=pl.List(pl.String))
        return frame.select("request", sample=pl.lit(0)).with_columns(items)

    part = dataset.part(board.part)  # type: ignore[arg-type]
    wanted = requests.select("request")
    references = wanted.join(part.references, on="request", how="left", maintain_order="left")
    asked = wanted.join(part.requests.select("request", "seed_items"), on="request", how="left", maintain_order="left")
    history = pl.col("history").list.tail(NEWEST) if "history" in requests.columns else pl.lit([], pl.List(pl.Int64))
    return (
        original(references.with_columns(pl.col("items").fill_null([])), "items"),
        original(asked.with_columns(pl.col("seed_items").fill_null([])), "seed_items"),
        original(requests.select("request", history=history), "history"),
    )


def _places(frame: pl.DataFrame, place: pl.DataFrame, requests: pl.DataFrame, nested: bool = False) -> list:
    """Item lists as places in the list of titles: [P][items], or [P][samples][items]; empty slots left out."""
    long = frame.explode("items").join(place, on="items", how="left", maintain_order="left")
    per_slate = long.group_by("request", "sample", maintain_order=True).agg(pl.col("place").drop_nulls())
    column = pl.col("place") if nested else pl.col("place").first()
    per_request = per_slate.sort("sample", maintain_order=True).group_by("request", maintain_order=True).agg(column)
    joined = requests.select("request").join(per_request, on="request", how="left", maintain_order="left")
    return joined["place"].fill_null([]).to_list()


def _lengths(requests: pl.DataFrame) -> list[int] | None:
    if "history" not in requests.columns:
        return None
    lengths = requests["history"].list.len().to_list()
    return lengths if any(lengths) else None


def _short(title: str) -> str:
    return title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"


def _mean(values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    return np.where(there.any(1), np.where(there, values, 0).sum(1) / np.maximum(there.sum(1), 1), np.nan)


def _rounded(values: np.ndarray) -> list:
    """Lists of numbers with three decimals, None for NaN."""
    rounded = np.round(values.astype(np.float64), 3)
    known = rounded.astype(object)
    known[~np.isfinite(rounded)] = None
    return known.tolist()
