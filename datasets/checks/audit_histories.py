"""The leak report of histories (docs/protocol.md, section 10): what order, ties and time give away."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..schema import PARTS, SlateDataset


def audit_histories(dataset: SlateDataset) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What can be known of validation and test without understanding the data.

    Overall: `users`, `interactions` (of train), `shortest_sequence`, `median_sequence`, `sorted_by_id` (share of train
    sequences in order of their ids: 1 in a file whose order was lost), `duplicate_users` (share whose sequence another
    user has too), `recurring_items` (share of interactions whose item the user had before), `items_unseen` (share of
    the catalogue that no train sequence holds), `users_without_times`.
    For validation and test: `requests`, `users`, `targets` (reference items), `targets_unseen` (share that no train
    sequence holds), `targets_in_history` (share that can't be hit where repeats are excluded), `targets_tied` (share of
    the requests, of those with times, whose next item shares its time with the last item of the history),
    `requests_tie_free`,
    `train_after` (share of train interactions that lie after the median request: what leave-one-out leaks),
    `users_in_train` (share whose earlier items are learnt from).

    Returns:
        Columns `measure`, `value`; and `part`, `measure`, `value`.
    """
    assert dataset.sequences is not None
    sequences = dataset.sequences
    items, lengths = sequences["items"], sequences["items"].list.len()
    place = _order_of_ids(dataset.catalog.items["id"])
    flat = sequences.select(user=pl.int_range(pl.len()), item="items").explode("item")
    order = place[flat["item"].to_numpy()]
    user = flat["user"].to_numpy()
    rising = np.ones(sequences.height, bool)
    falls = (np.diff(order) < 0) & (user[1:] == user[:-1])
    rising[user[1:][falls]] = False
    long = lengths.to_numpy() > 1
    seen = dataset.catalog.train_count > 0
    length, as_text = lengths.to_numpy(), items.list.eval(pl.element().cast(pl.String)).list.join(" ")
    overall = {
        "users": sequences.height,
        "interactions": length.sum(),
        "shortest_sequence": length.min(initial=length.max(initial=0)),
        "median_sequence": np.median(length),
        "sorted_by_id": rising[long].mean() if long.any() else 0.0,
        "duplicate_users": as_text.is_duplicated().to_numpy().mean(),
        "recurring_items": 1 - items.list.n_unique().to_numpy().sum() / max(1, length.sum()),
        "items_unseen": 1 - seen.mean(),
        "users_without_times": sequences["times"].is_null().to_numpy().mean(),
    }
    rows = [
        (part, measure, float(value)) for part in PARTS[1:] for measure, value in _part(dataset, part, seen).items()
    ]
    return (
        pl.DataFrame({"measure": list(overall), "value": [float(value) for value in overall.values()]}),
        pl.DataFrame(rows, schema={"part": pl.String, "measure": pl.String, "value": pl.Float64}, orient="row"),
    )


def tie_free(requests: pl.DataFrame) -> pl.Series:
    """Which requests come at another time than the last item of their history; null where times are unknown."""
    last = pl.col("history_times").list.last()
    return requests.select((pl.col("request_time") != last).alias("tie_free")).to_series()


def _part(dataset: SlateDataset, name: str, seen: np.ndarray) -> dict[str, float]:
    assert dataset.sequences is not None
    part = dataset.part(name)  # type: ignore[arg-type]
    both = part.requests.join(part.references, on="request", how="left", maintain_order="left")
    targets = both["items"].explode(empty_as_null=False).to_numpy()
    had = both.select(pl.col("items").list.set_intersection("history").list.len().sum()).item()
    known = tie_free(part.requests).drop_nulls().to_numpy()
    found = {
        "requests": len(part),
        "users": part.requests["group"].n_unique(),
        "targets": len(targets),
        "targets_unseen": float(1 - seen[targets].mean()),
        "targets_in_history": had / len(targets),
        "users_in_train": part.requests["group"].is_in(dataset.sequences["user"].implode()).to_numpy().mean(),
    }
    if len(known):
        times = dataset.sequences["times"].explode().drop_nulls().to_numpy()
        asked = np.median(part.requests["request_time"].drop_nulls().to_numpy())
        found |= {
            "targets_tied": 1 - known.mean(),
            "requests_tie_free": known.sum(),
            "train_after": (times > asked).mean(),
        }
    return found


def _order_of_ids(ids: pl.Series) -> np.ndarray:
    """Rank of each item by its original id: as a number where all are numbers, else as text [N]."""
    numbers = ids.cast(pl.Int64, strict=False)
    return (ids if numbers.null_count() else numbers).rank("ordinal").to_numpy().astype(np.int64)
