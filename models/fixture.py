"""The small made-up datasets of the contract suite: one that asks with prompts, one that asks with histories."""

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
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]

    def words(n: int, length: int) -> list[str]:
        picks = rng.choice(len(syllables), size=(n, length))
        return ["".join(syllables[i] for i in row) for row in picks]

    topics, general, prefixes = words(80, 3), words(30, 2), ["for", "my", "some", "a night of", "we need"]
    titles = [f"{topics[2 * (i // 6) + i % 2]} {general[rng.integers(30)]} {topics[2 * (i // 6)]}" for i in range(240)]

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
    catalog = Catalog(
        pl.DataFrame(
            {
                "id": [f"item-{i}" for i in range(240)],
                "title": titles,
                "text": titles,
                "categories": [[["topic", topics[2 * (i // 6)]]] for i in range(240)],
                "train_count": counts.tolist(),
            },
            schema=CATALOG_SCHEMA,
        )
    )
    card = DatasetCard(
        name="contract-fixture",
        title="Fixture of the contract suite",
        task="prompt->slate",
        source="synthetic",
        licence="Apache-2.0",
        citation="none",
        homepage="none",
        loader="slatebench.models.fixture:fixture_dataset",
        text_fields=["title"],
        item_vectors="text",
        evaluation_embedding="lsa-text",
        slate_length=5,
        cutoffs=[5],
        split="by construction",
    )
    return SlateDataset("contract-fixture", "synthetic", card, catalog, train, valid, test, slate_length=5)


def history_fixture() -> SlateDataset:
    """The items of `fixture_dataset`, and 160 users who go through the six items of a topic in turn, then the next.

    Each user has 7 to 13 items, two a day, and starts somewhere else, so what follows an item is nearly always the same
    item, and popularity tells next to nothing.
    """
    base = fixture_dataset()
    rows = []
    for user in range(160):
        for n in range(7 + user % 7):
            topic, place = user * 3 + n // 6, (user // 40 + n) % 6
            rows.append((f"user-{user}", f"item-{6 * (topic % 40) + place}", (user + n // 2) * DAY))
    interactions = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String, "time": pl.Int64}, orient="row")
    card = base.card.model_copy(
        update={
            "name": "contract-histories",
            "task": "history->slate",
            "loader": "slatebench.models.fixture:history_fixture",
            "options": {"split": {"kind": "leave-one-out"}},
        }
    )
    return build_sequences(card, base.catalog.items.drop("train_count"), interactions)
