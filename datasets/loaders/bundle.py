"""Bundle: crowd-sourced product bundles on Amazon items, each with an intent in natural language (SIGIR 2022).

Three domains (electronic, clothing, food) whose ids are local: the original id of an item is `electronic/10675`.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from ..build import build_dataset
from ..card import DatasetCard
from ..errors import DataError
from ..files.reading import read_card_file, read_csv, refuse_repeats, refuse_unknown
from ..schema import SlateDataset
from ..split import connected_groups, grouped_split
from ..text import clean, item_text

# user_item.csv is left alone: it is the join of user_bundle.csv and bundle_item.csv, so it tells the test bundles
COLUMNS = {
    "bundle_intent.csv": ["bundle ID", "intent"],
    "bundle_item.csv": ["bundle ID", "item ID"],
    "item_titles.csv": ["item ID", "titles"],
    "item_categories.csv": ["item ID", "categories"],
    "session_bundle.csv": ["session ID", "bundle ID"],
}
_NAME_BORDER = re.compile(r",(?! )")  # a comma before a blank belongs to the name: "Clothing, Shoes & Jewelry"


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the domains named by the card's option `domains`; each domain is split on its own, then they are pooled."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.homepage}")
    items, slates = zip(*(_domain(card, folder, domain, split_seed) for domain in card.options["domains"]), strict=True)
    return build_dataset(card, pl.concat(items), pl.concat(slates), split_seed)


def parse_categories(text: str) -> list[list[str]]:
    """Category paths of a string like `[[A,B, C & D],[E]]`, which is neither JSON nor a Python literal.

    Paths are separated by `],[`; a comma that a blank follows belongs to a name.

    Raises:
        ValueError: no such list.

    >>> parse_categories("[[Clothing, Shoes & Jewelry,Women],[Shoes]]")
    [['Clothing, Shoes & Jewelry', 'Women'], ['Shoes']]
    >>> parse_categories("[[]]")
    []
    """
    if not (text.startswith("[[") and text.endswith("]]") and len(text) >= 4):
        raise ValueError("not a list of paths like [[A,B],[C]]")
    paths = [[name for raw in _NAME_BORDER.split(path) if (name := clean(raw))] for path in text[2:-2].split("],[")]
    return [path for path in paths if path]


def _domain(card: DatasetCard, folder: Path, domain: str, split_seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Items and slates of one domain."""
    tables = {}
    for name, columns in COLUMNS.items():
        path = f"bundle/{domain}/{name}"
        file = next(file for file in card.files if file.path == path)
        tables[name] = read_csv(read_card_file(folder, file), columns, path)
    titles, categories = tables["item_titles.csv"], tables["item_categories.csv"]
    intents, contents, sessions = (tables[f"{name}.csv"] for name in ("bundle_intent", "bundle_item", "session_bundle"))

    for name, keys in {
        "item_titles.csv": ["item ID"],
        "item_categories.csv": ["item ID"],
        "bundle_intent.csv": ["bundle ID"],
        "session_bundle.csv": ["bundle ID"],
        "bundle_item.csv": ["bundle ID", "item ID"],
    }.items():
        refuse_repeats(tables[name], keys, f"bundle/{domain}/{name}")
    for name, column, known in (
        ("bundle_item.csv", "item ID", "item_titles.csv"),
        ("item_titles.csv", "item ID", "item_categories.csv"),
        ("bundle_intent.csv", "bundle ID", "session_bundle.csv"),
        ("bundle_intent.csv", "bundle ID", "bundle_item.csv"),
        ("bundle_item.csv", "bundle ID", "bundle_intent.csv"),
    ):
        refuse_unknown(tables[name], column, tables[known][column], f"bundle/{domain}/{name}", known)

    paths = {}
    for item, text, row in categories.select("item ID", "categories", "row").iter_rows():
        try:
            paths[item] = parse_categories(text)
        except ValueError as error:
            raise DataError(f"bundle/{domain}/item_categories.csv, row {row}: {error}: mend the row") from error
    ids = titles["item ID"].to_list()
    names = [clean(title) for title in titles["titles"]]
    items = pl.DataFrame(
        {
            "id": [f"{domain}/{item}" for item in ids],
            "title": names,
            "text": [item_text(name, paths[item]) for item, name in zip(ids, names, strict=True)],
            "categories": [paths[item] for item in ids],
        },
        schema_overrides={"categories": pl.List(pl.List(pl.String))},
    )

    slates = (
        intents.with_columns(prompt=pl.Series([clean(intent) for intent in intents["intent"]]))
        .filter(pl.col("prompt") != "")  # without an intent there is nothing to ask
        .join(contents.group_by("bundle ID", maintain_order=True).agg(items="item ID"), on="bundle ID", how="left")
        .join(sessions.select("bundle ID", "session ID"), on="bundle ID", how="left")
        .sort("row")
    )
    # shoppers of different sessions made the same bundle: such sessions are one group
    same_items = slates["items"].list.sort().list.join(" ")
    number = connected_groups(slates["session ID"], same_items)
    slates = slates.with_columns(number=number).with_columns(
        group=domain + "/" + pl.col("session ID").min().over("number")
    )
    return items, slates.select(
        request=domain + "/" + pl.col("bundle ID"),
        prompt="prompt",
        group="group",
        items=pl.col("items").list.eval(domain + "/" + pl.element()),
        part=grouped_split(slates["group"], split_seed),
    )
