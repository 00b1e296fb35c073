"""A small dataset by hand: 60 items of 6 themes, playlists that keep to a theme, two cold items."""

from __future__ import annotations

import numpy as np
import polars as pl

from slatebench.datasets.card import DatasetCard
from slatebench.datasets.schema import (
    CATALOG_SCHEMA,
    REFERENCE_SCHEMA,
    REQUEST_SCHEMA,
    Catalog,
    Part,
    PartName,
    SlateDataset,
)

THEMES = ("camping tent", "garden rose", "winter coat", "piano sonata", "coffee mug", "running shoe")
COLD = (58, 59)  # in no train slate


def small_catalog(rows: list[int]) -> Catalog:
    """Items named by number: item i belongs to theme i % 6."""
    themes = [THEMES[i % 6] for i in rows]
    return Catalog(
        pl.DataFrame(
            {
                "id": [f"id{i}" for i in rows],
                "title": [f"{theme} {i}" for i, theme in zip(rows, themes, strict=True)],
                "text": [f"{theme} {i}. {theme.split()[0]}" for i, theme in zip(rows, themes, strict=True)],
                "categories": [[["all", theme.split()[0]], ["all", theme.split()[1]]] for theme in themes],
                "train_count": [1] * len(rows),
            },
            schema=CATALOG_SCHEMA,
        )
    )


def small_part(name: PartName, prompts: list[str], slates: list[list[int]]) -> Part:
    ids = [f"{name}-{i}" for i in range(len(prompts))]
    none: list[list[int]] = [[] for _ in ids]
    requests = {"request": ids, "prompt": prompts, "history": none, "seed_items": none, "group": ids}
    return Part(
        name,
        pl.DataFrame(requests, schema=REQUEST_SCHEMA),
        pl.DataFrame({"request": ids, "items": slates}, schema=REFERENCE_SCHEMA),
    )


def small_dataset(item_vectors: str = "text", evaluation_embedding: str = "lsa-text") -> SlateDataset:
    card = DatasetCard(
        name="small",
        title="Small",
        task="prompt->slate",
        source="synthetic",
        licence="CC0-1.0",
        citation="none",
        homepage="https://example.org",
        loader="small:load",
        text_fields=["title"],
        item_vectors=item_vectors,  # type: ignore[arg-type]
        evaluation_embedding=evaluation_embedding,  # type: ignore[arg-type]
        slate_length=4,
        cutoffs=[4],
        split="by hand",
    )
    rng = np.random.default_rng(3)
    by_theme = [[i for i in range(60) if i % 6 == theme and i not in COLD] for theme in range(6)]
    slates = [rng.permutation(by_theme[i % 6])[:4].tolist() for i in range(120)]
    return SlateDataset(
        name="small",
        source="synthetic",
        card=card,
        catalog=small_catalog(list(range(60))),
        train=small_part("train", [f"something for {THEMES[i % 6]} number {i % 9}" for i in range(120)], slates),
        valid=small_part("valid", ["roses in the garden", "a long walk"], [[1, 7], [5]]),
        test=small_part("test", ["coffee", "roses in the garden"], [[4, 58], [59]]),
        slate_length=4,
    )
