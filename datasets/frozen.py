"""Frozen statistics of a dataset: what loading checks again."""

from __future__ import annotations

import hashlib
import json

import polars as pl

from .card import CardStatistics
from .errors import DataError
from .references import references_closed
from .schema import PARTS, SlateDataset

# these hang on the split, so they hold for the default split only
SPLIT_BOUND = ("train", "valid", "test", "first_request", "last_request", "fingerprint")


def statistics(dataset: SlateDataset, *, fingerprint: bool = True) -> CardStatistics:
    """What a card freezes of a loaded dataset; the fingerprint costs a pass over all content (else it is empty)."""
    items, parts = dataset.catalog.items, [dataset.part(name) for name in PARTS]

    def shown(row: tuple[str, str]) -> str:
        # a card must not carry other people's texts: the id in full, the text as a digest
        return f"{row[0]} | {hashlib.sha256(row[1].encode()).hexdigest()[:16]}"

    def item(row: int) -> str:
        return shown(items.select("id", "title").row(row))

    def request(rows: pl.DataFrame, row: int) -> str:
        return shown(rows.select("request", "prompt").row(row))

    with references_closed(False):  # a count tells nothing; a model may load a dataset
        reference_slots = sum(int(part.references["items"].list.len().sum()) for part in parts)
    return CardStatistics(
        items=items.height,
        train=len(dataset.train),
        valid=len(dataset.valid),
        test=len(dataset.test),
        groups=pl.concat([part.requests["group"] for part in parts]).n_unique(),
        reference_slots=reference_slots,
        users=None if dataset.sequences is None else dataset.sequences.height,
        interactions=None if dataset.sequences is None else int(dataset.sequences["items"].list.len().sum()),
        first_item=item(0),
        middle_item=item(items.height // 2),
        last_item=item(-1),
        first_request=request(dataset.train.requests, 0),
        last_request=request(dataset.test.requests, -1),
        fingerprint=dataset.fingerprint if fingerprint else "",
    )


def check_statistics(dataset: SlateDataset) -> None:
    """Compare counts and first, middle, last rows with the card's frozen statistics (if it has any).

    Raises:
        DataError: the first difference.
    """
    for problem in differences(dataset, fingerprint=False):
        raise DataError(problem)


def differences(dataset: SlateDataset, *, fingerprint: bool) -> list[str]:
    """In which of its frozen statistics a dataset is another one, a line each."""
    frozen = dataset.card.statistics
    if frozen is None:
        return []
    now = statistics(dataset, fingerprint=fingerprint)
    skip = set(SPLIT_BOUND) if dataset.split_seed else set() if fingerprint else {"fingerprint"}
    return [
        f"dataset '{dataset.name}': {key} is {getattr(now, key)!r}, the card says {getattr(frozen, key)!r}: "
        "the files are not those of the card, fetch them again"
        for key in CardStatistics.model_fields
        if key not in skip and getattr(now, key) != getattr(frozen, key)
    ]


def freeze(dataset: SlateDataset) -> str:
    """The `[statistics]` block for the card of `dataset`, as TOML."""
    values = statistics(dataset).model_dump(exclude_none=True)
    # a JSON string is a TOML basic string; numbers are the same in both
    return "\n".join(
        ["[statistics]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())]
    )
