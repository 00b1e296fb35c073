"""The small made-up datasets of the contract suite: one asks with prompts, one with histories."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..datasets.card import DatasetCard
from ..datasets.loaders.sequences import DAY, build_sequences
from ..datasets.schema import CATALOG_SCHEMA, REFERENCE_SCHEMA, REQUEST_SCHEMA, Catalog, Part, PartName, SlateDataset


def fixture_dataset() -> SlateDataset:
    """240 items in 40 topics, 160 train, 40 valid and 40 test prompts: small, and good models can be told from bad.

    Each topic has two words of its own and six items; a prompt holds words of its topic, its slate five of the items.
    The last item of each topic is in no train slate. All from one seed.
    """
    rng = np.random.default_rng(7)
    items, topics, general = _items(rng)
    prefixes = ["for", "my", "some", "a night of", "we need"]

    def part(name: PartName, repeats: int) -> Part:
        rows, references = [], []
        for n in range(repeats * 40):
            topic = n % 40
            first = [topics[2 * topic], topics[2 * topic + 1]][: 1 + int(rng.integers(2))]
            prompt = f"{prefixes[rng.integers(5)]} {' '.join(first)} {general[rng.integers(30)]}"
            items = 6 * topic + (np.arange(5) if name == "train" else rng.permutation(6)[:5])
            key = f"{name}-{n}"
            rows.append((key, prompt, [], [], key))
            references.append((key, rng.permutation(items)[: rng.integers(2, 6)].tolist()))
        requests = pl.DataFrame(rows, schema=REQUEST_SCHEMA, orient="row")
        return Part(name, requests, pl.DataFrame(references, schema=REFERENCE_SCHEMA, orient="row"))

    train, valid, test = part("train", 4), part("valid", 1), part("test", 1)
    counts = np.bincount(train.references["items"].explode().to_numpy(), minlength=240)
    catalog = Catalog(pl.DataFrame(items.with_columns(train_count=counts), schema=CATALOG_SCHEMA))
    card = _card("contract-fixture", "prompt->slate", "by construction")
    return SlateDataset(card.name, "synthetic", card, catalog, train, valid, test, slate_length=5)


def history_fixture() -> SlateDataset:
    """The items of the other, had by 240 people one after the other: the last of each is to be told, leave-one-out.

    A person goes through the items of a topic in their order, from anywhere in it, then on to the next topic; low
    topics are popular, and one item in six is any item. Every twentieth person has no times. All from one seed.
    """
    rng = np.random.default_rng(8)
    items, _, _ = _items(np.random.default_rng(7))
    liked = 1 / np.arange(1, 41)  # topics, as people start in them
    rows: list[tuple[str, str, int | None]] = []
    for person in range(240):
        at, had, length = 6 * int(rng.choice(40, p=liked / liked.sum())) + int(rng.integers(6)), [], rng.integers(4, 13)
        while len(had) < length:
            item = at if rng.random() > 1 / 6 else int(rng.integers(240))
            at = (at + 1) % 240
            had += [item] if item not in had else []
        start = int(rng.integers(300))  # days
        times = [None if person % 20 == 0 else (start + step) * DAY for step in range(length)]
        rows += [(f"person-{person}", f"item-{item}", time) for item, time in zip(had, times, strict=True)]
    interactions = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return build_sequences(_card("contract-histories", "history->slate", "leave-one-out"), items, interactions)


def _items(rng: np.random.Generator) -> tuple[pl.DataFrame, list[str], list[str]]:
    """240 items (id, title, text, categories), the two words of each topic, words of all."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]

    def words(n: int, length: int) -> list[str]:
        picks = rng.choice(len(syllables), size=(n, length))
        return ["".join(syllables[i] for i in row) for row in picks]

    topics, general = words(80, 3), words(30, 2)
    titles = [f"{topics[2 * (i // 6) + i % 2]} {general[rng.integers(30)]} {topics[2 * (i // 6)]}" for i in range(240)]
    items = pl.DataFrame(
        {
            "id": [f"item-{i}" for i in range(240)],
            "title": titles,
            "text": titles,
            "categories": [[["topic", topics[2 * (i // 6)]]] for i in range(240)],
        }
    )
    return items, topics, general


def _card(name: str, task: str, split: str) -> DatasetCard:
    return DatasetCard(
        name=name,
        title="Fixture of the contract suite",
        task=task,
        source="synthetic",
        licence="Apache-2.0",
        citation="none",
        homepage="none",
        loader="slatebench.models.fixture",
        text_fields=["title"],
        item_vectors="text",
        evaluation_embedding="lsa-text",
        slate_length=5,
        cutoffs=[5],
        split=split,
        options={"split": {"kind": "leave-one-out"}} if task == "history->slate" else {},
    )
