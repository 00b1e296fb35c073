"""Ceilings: what no model can, or should be able to, exceed. They look at the references, so they are never models.

All are slates [P, 1, k] in the order of a part's requests, -1 where a slot stays empty:

- `ceiling:reference`: the reference itself (exact NDCG 1);
- `ceiling:train-seen`: the reference items that some train slate holds, the best that a model can do on the exact
  metrics if it only emits items it was trained on;
- `reference:oracle` (synthetic twins): the k likeliest items under the latent theme of the request. It knows the theme
  and not the reference, so it is no ceiling: luck, and a model that has learnt more than the theme, may exceed it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from .card import DatasetCard
from .schema import EMPTY, PartName, SlateDataset, Slates, forbidden
from .synthetic import World, latent, request_rows
from .synthetic.users import session_of_next

WITH_ORACLE = ("slatebench.datasets.synthetic:load", "slatebench.datasets.synthetic.users:load")  # know the themes
CELLS_AT_ONCE = 10_000_000  # of the request x item table of probabilities
TIE_BITS = 21  # item numbers fit into so many bits (synthetic catalogues end at 2,000,000)


def ceiling_names(card: DatasetCard) -> list[str]:
    """The rows that `ceilings` yields for a dataset with this card, without loading it."""
    oracle = ["reference:oracle"] if card.loader in WITH_ORACLE else []
    return ["ceiling:reference", "ceiling:train-seen", *oracle]


def ceilings(dataset: SlateDataset, part: PartName, k: int) -> dict[str, Slates]:
    """The ceilings of a part, by the name of their row on the board.

    Args:
        dataset: gets an oracle if it is one of the synthetic twins.
        part: whose requests and references.
        k: slots of a slate.

    Returns:
        Slates of one sample each; what a request forbids is never in them.
    """
    data = dataset.part(part)
    row, item = _reference_slots(data.requests, data.references)
    seen = dataset.catalog.train_count[item] > 0
    found = {
        "ceiling:reference": _slates(row, item, len(data), k),
        "ceiling:train-seen": _slates(row[seen], item[seen], len(data), k),
    }
    if dataset.card.loader in WITH_ORACLE:
        if dataset.sequences is None:
            world, rows = latent(dataset.card), request_rows(data.requests["request"])
        else:
            world, rows = session_of_next(dataset.card, data.requests)
        found["reference:oracle"] = Slates(_likeliest(world, rows, k, forbidden(data.requests))[:, None, :])
    return found


def _reference_slots(requests: pl.DataFrame, references: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Row of the request and item of each reference slot in order, without what may not be emitted and repeats."""
    numbered = requests.select("request", barred=pl.Series(forbidden(requests), dtype=pl.List(pl.Int64)))
    numbered = numbered.with_row_index("row")
    slots = numbered.join(references, on="request", maintain_order="left").explode("items").drop_nulls("items")
    slots = slots.filter(~pl.col("items").is_in("barred")).unique(["row", "items"], maintain_order=True)
    return slots["row"].to_numpy().astype(np.int64), slots["items"].to_numpy()


def _slates(row: np.ndarray, item: np.ndarray, P: int, k: int) -> Slates:
    """Slots (row [n] ascending, item [n]) as slates [P, 1, k], cut at k and padded."""
    count = np.bincount(row, minlength=P)
    place = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    items = np.full((P, 1, k), EMPTY, dtype=np.int64)
    kept = place < k
    items[row[kept], 0, place[kept]] = item[kept]
    return Slates(items)


def _likeliest(world: World, rows: np.ndarray, k: int, barred: list[list[int]]) -> np.ndarray:
    """The k likeliest items of each slate of the world, [P, k], none of the barred; ties: the lowest item number."""
    N = len(world.cell)
    # requests of the same latent theme have the same likeliest items, where nothing is barred
    theme = np.stack([world.main, world.neighbour, world.facet], axis=1)[rows]  # [P, 3]
    _, first, which = np.unique(theme, axis=0, return_index=True, return_inverse=True)
    if any(barred):
        first = which = np.arange(len(rows))
    rows = rows[first]
    k_found = min(k, N)
    items = np.full((len(rows), k), EMPTY, dtype=np.int64)
    step = max(1, CELLS_AT_ONCE // N)
    for start in range(0, len(rows), step):  # blocks, so that memory stays bounded
        block = world.probability(rows[start : start + step])  # [B, N]
        for line, items_barred in enumerate(barred[start : start + step] if any(barred) else ()):
            block[line, items_barred] = 0.0
        # one integer per item that sorts by probability (to 2^-40), then by item number: no ties, so the partition's
        # choice is the same everywhere
        key = ((block * 2.0**40).astype(np.int64) << TIE_BITS) + (N - 1 - np.arange(N))
        best = np.argpartition(key, N - k_found, axis=1)[:, N - k_found :]
        order = np.argsort(-np.take_along_axis(key, best, axis=1), axis=1)
        items[start : start + step, :k_found] = np.take_along_axis(best, order, axis=1)
    return items[which]
