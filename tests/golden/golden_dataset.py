"""Tiny datasets by arithmetic alone, a change of which changes all: 60 items of 6 themes.

One has 48 train slates and 7 requests; of the other, 36 people had four to eight items each.
"""

from __future__ import annotations

import polars as pl

from slatebench.datasets.build import asked_as
from slatebench.datasets.card import DatasetCard
from slatebench.datasets.loaders.sequences import build_sequences
from slatebench.datasets.schema import (
    CATALOG_SCHEMA,
    REFERENCE_SCHEMA,
    REQUEST_SCHEMA,
    Catalog,
    Part,
    PartName,
    SlateDataset,
)

NOUNS = {
    "camping": ("tent", "stove", "lantern", "rope"),
    "garden": ("rose", "spade", "hose", "bench"),
    "winter": ("coat", "scarf", "boots", "sledge"),
    "piano": ("sonata", "stool", "lamp", "waltz"),
    "coffee": ("mug", "grinder", "filter", "beans"),
    "running": ("shoe", "watch", "belt", "bottle"),
}
THEMES = tuple(NOUNS)
ADJECTIVES = ("red", "light", "old", "quiet", "large", "warm", "blue")
FRAMES = ("something for", "gifts: a friend's first", "we need", "my weekend of", "cheap & good,")
PER_THEME = 10  # the last two of each theme are in no train slate


def word(i: int) -> str:
    """The noun of item i."""
    return NOUNS[THEMES[i % 6]][i // 6 % 4]


def prompt(j: int) -> str:
    """Frame, theme and one or two nouns."""
    theme = THEMES[j % 6]
    nouns = (NOUNS[theme][j // 6 % 4], NOUNS[theme][j // 2 % 4])[: 1 + j % 2]
    return f"{FRAMES[j % 5]} {theme} {' '.join(nouns)}"


def slate(j: int) -> list[int]:
    """Two to five items of a theme, and now and then one of the next theme; low numbers are popular."""
    chosen = [(j * j // 7 + 3 * s) % 8 * 6 + j % 6 for s in range(2 + j % 4)]
    return chosen if j % 5 else [*chosen[:4], (j + 1) % 6 + 6 * (j % 3)]


def part(name: PartName, rows: list[tuple[str, list[int], list[int]]]) -> Part:
    """A part of (prompt, seed items, items)."""
    ids = [f"{name}-{n}" for n in range(len(rows))]
    prompts, seeds, items = zip(*rows, strict=True)
    requests = {"request": ids, "prompt": prompts, "history": [[]] * len(ids), "seed_items": seeds, "group": ids}
    return Part(
        name,
        pl.DataFrame(requests, schema=REQUEST_SCHEMA),
        pl.DataFrame({"request": ids, "items": items}, schema=REFERENCE_SCHEMA),
    )


def items() -> pl.DataFrame:
    """The items, without their train counts."""
    n = range(PER_THEME * 6)
    titles = [f"{ADJECTIVES[i * 5 % 7]} {THEMES[i % 6]} {word(i)}, no. {i // 6}" for i in n]
    return pl.DataFrame(
        {
            "id": [f"i{i}" for i in n],
            "title": titles,
            "text": [f"{title}. shop {THEMES[i % 6]}" for i, title in enumerate(titles)],
            "categories": [[["shop", THEMES[i % 6], word(i)], ["all", ADJECTIVES[i * 5 % 7]]] for i in n],
        }
    )


def card(name: str, task: str, loader: str, **options: dict) -> DatasetCard:
    """The card of a dataset."""
    return DatasetCard(
        name=name,
        title="Fixture of the golden slates",
        task=task,
        source="synthetic",
        licence="Apache-2.0",
        citation="none",
        homepage="none",
        loader=f"golden_dataset:{loader}",
        text_fields=["title"],
        item_vectors="text",
        evaluation_embedding="lsa-text",
        slate_length=5,
        cutoffs=[5, 3],
        split="by arithmetic",
        options=options,
    )


def golden_histories() -> SlateDataset:
    """People's items in order, leave-one-out: a theme, then the next; the sixth person has no times."""
    rows = []
    for j in range(36):
        for s in range(4 + j % 5):
            item = (j * j // 7 + 3 * s) % 8 * 6 + (j + s // 3) % 6
            rows.append((f"u{j}", f"i{item}", None if j == 5 else 1_000_000 * j + 90_000 * s))
    interactions = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    split = {"kind": "leave-one-out"}
    histories = card("golden-histories", "history->slate", "golden_histories", split=split)
    return asked_as(build_sequences(histories, items(), interactions), "excluded", 7)


def golden_dataset() -> SlateDataset:
    """Prompts and their slates."""
    train = [(prompt(j), slate(j)[:1] if j % 11 == 3 else [], slate(j)[j % 11 == 3 :]) for j in range(48)]
    counts = [sum(i in [*seeds, *chosen] for _, seeds, chosen in train) for i in range(PER_THEME * 6)]
    catalog = Catalog(pl.DataFrame(items().with_columns(train_count=pl.Series(counts)), schema=CATALOG_SCHEMA))
    valid = [(prompt(3 * j + 1), [], slate(5 * j + 1)) for j in range(6)]
    test = [
        ("a quiet camping stove", [], [6, 12, 54]),
        ("roses & a bench for the garden", [], [1, 19]),
        ("winter coat", [2], [8, 14, 50, 56]),
        ("piano waltz by lamp light", [3, 9], [21]),
        ("my weekend of coffee beans", [], [22, 4, 10, 16, 58]),
        ("zebra", [], [5]),
        ("running or camping?", [], [0, 5, 6, 11]),
    ]
    parts = part("train", train), part("valid", valid), part("test", test)
    return SlateDataset("golden", "synthetic", card("golden", "prompt->slate", "golden_dataset"), catalog, *parts, 5)
