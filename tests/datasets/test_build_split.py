"""Putting a dataset together, and splits in which nothing leaks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.build import build_dataset, into_lists, with_train_share
from slatebench.datasets.errors import DataError, UsageError
from slatebench.datasets.registry import load_dataset
from slatebench.datasets.split import connected_groups, grouped_split, hash_order

ITEMS = pl.DataFrame(
    {
        "id": ["a", "b", "c"],
        "title": ["A", "B", "C"],
        "text": ["A", "B", "C"],
        "categories": [[["x", "y"]], [], [["z"]]],
    }
)
SLATES = pl.DataFrame(
    {
        "request": ["1", "2", "3", "4"],
        "prompt": ["p", "q", "r", "s"],
        "group": ["1", "2", "3", "4"],
        "items": [["c", "a"], ["b"], ["c"], ["c"]],
        "seed_items": [["b"], [], ["a"], []],
        "part": ["train", "valid", "test", "train"],
    }
)


def test_a_dataset_keeps_order_and_counts_train_slates(card):
    data = build_dataset(card(), ITEMS, SLATES, 0)
    assert data.catalog.ids == ["a", "b", "c"]
    assert data.catalog.train_count.tolist() == [1, 0, 2]
    assert data.train.requests["request"].to_list() == ["1", "4"]
    assert data.train.references["items"].to_list() == [[2, 0], [2]]
    assert data.train.requests["seed_items"].to_list() == [[1], []]
    assert data.test.requests["history"].to_list() == [[]]


def test_ids_and_row_numbers_make_the_same_dataset(card):
    numbers = SLATES.with_columns(items=pl.Series([[2, 0], [1], [2], [2]]), seed_items=pl.Series([[1], [], [0], []]))
    one, other = build_dataset(card(), ITEMS, SLATES, 0), build_dataset(card(), ITEMS, numbers, 0)
    assert one.fingerprint == other.fingerprint
    swapped = SLATES.with_columns(part=pl.Series(["train", "test", "valid", "train"]))
    assert build_dataset(card(), ITEMS, swapped, 0).fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"items": [["c", "q"], ["b"], ["c"], ["c"]]}, "item 'q' is not in the items"),
        ({"items": [[2, 9], [1], [2], [2]]}, "item '9' is not in the items"),
        ({"items": [[2, -1], [1], [2], [2]]}, "item '-1' is not in the items"),
        ({"items": [["c"], [], ["c"], ["c"]]}, "request '2' has an empty slate"),
        ({"items": [["c"], ["a", "a"], ["c"], ["c"]]}, "request '2' holds an item twice"),
        ({"items": [["b"], ["b"], ["c"], ["c"]]}, "request '1' has a seed item in its reference"),
        ({"request": ["1", "2", "2", "4"]}, "request id '2' is given twice (rows 2 and 3)"),
        ({"part": ["train", "valid", "dev", "train"]}, "request '3' has an unknown part"),
        ({"part": ["train", "train", "test", "train"]}, "the part 'valid' is empty"),
        ({"prompt": ["p", None, "r", "s"]}, "column 'prompt' is null in row 2"),
    ],
)
def test_bad_slates_are_one_clear_line(card, change, words):
    slates = SLATES.with_columns(pl.Series(name, values, strict=False) for name, values in change.items())
    with pytest.raises(DataError) as error:
        build_dataset(card(), ITEMS, slates, 0)
    assert words in str(error.value) and "\n" not in str(error.value) and "tiny" in str(error.value)


def test_bad_items_are_one_clear_line(card):
    with pytest.raises(DataError, match=r"item id 'a' is given twice \(rows 1 and 2\)"):
        build_dataset(card(), ITEMS.with_columns(id=pl.Series(["a", "a", "c"])), SLATES, 0)
    with pytest.raises(DataError, match="column 'text' is missing"):
        build_dataset(card(), ITEMS.drop("text"), SLATES, 0)
    with pytest.raises(DataError, match=r"column 'categories' is String, expected List"):
        build_dataset(card(), ITEMS.with_columns(categories=pl.lit("x")), SLATES, 0)


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=8))
def test_into_lists_is_the_inverse_of_explode(lists):
    column = pl.Series("x", lists, dtype=pl.List(pl.Int64))
    lengths = np.array([len(values) for values in lists], dtype=np.int64)
    assert into_lists(column.explode(empty_as_null=False), lengths).to_list() == lists


def union_find(*keys: list[int]) -> list[int]:
    """Plain union-find over rows, the oracle."""
    parent = list(range(len(keys[0])))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for key in keys:
        for i in range(len(key)):
            for j in range(i):
                if key[i] == key[j]:
                    parent[root(i)] = root(j)
    return [root(i) for i in range(len(keys[0]))]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_connected_groups_equal_union_find(rows):
    first, second = [row[0] for row in rows], [row[1] for row in rows]
    got = connected_groups(pl.Series(first), pl.Series(second)).tolist()
    roots = union_find(first, second)
    want = [sorted(set(roots), key=roots.index).index(root) for root in roots]
    assert got == want


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=60, max_size=200), st.integers(0, 3), st.randoms())
def test_grouped_split_never_cuts_a_group_and_ignores_row_order(numbers, seed, random):
    groups = pl.Series([f"g{number}" for number in numbers])
    part = grouped_split(groups, seed)
    table = pl.DataFrame({"group": groups, "part": part})
    assert table.unique().height == table["group"].n_unique()
    order = list(range(len(numbers)))
    random.shuffle(order)
    assert grouped_split(groups[order], seed).to_list() == part[order].to_list()


def test_grouped_split_keeps_its_share_and_hangs_on_the_seed():
    groups = pl.Series([f"g{i // 3}" for i in range(3000)])
    parts = [grouped_split(groups, seed) for seed in (0, 0, 1)]
    assert parts[0].to_list() == parts[1].to_list() != parts[2].to_list()
    for part in parts:
        assert abs((part == "valid").sum() - 300) <= 3 and abs((part == "test").sum() - 300) <= 3


def test_hash_order_is_that_of_sha256():
    import hashlib

    keys = ["x", "y", "z", "é"]
    want = sorted(keys, key=lambda key: hashlib.sha256(f"7|{key}".encode()).hexdigest())
    assert [keys[i] for i in hash_order(keys, 7)] == want


def test_a_train_share_keeps_whole_groups_and_what_is_evaluated():
    whole = load_dataset("bundle-synthetic")
    quarter, half = (with_train_share(whole, share) for share in (0.25, 0.5))
    assert with_train_share(whole, 1) is whole
    for part, share in ((quarter, 0.25), (half, 0.5)):
        assert abs(len(part.train) / len(whole.train) - share) < 0.01
        kept = part.train.requests
        assert whole.train.requests.filter(pl.col("group").is_in(kept["group"].implode())).height == kept.height
        counted = part.train.references["items"].explode().value_counts().rows()
        assert {i: n for i, n in enumerate(part.catalog.train_count.tolist()) if n} == dict(counted)
        assert part.test.references.equals(whole.test.references)
    assert set(quarter.train.requests["request"]) < set(half.train.requests["request"])
    assert len({quarter.fingerprint, half.fingerprint, whole.fingerprint}) == 3


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_an_impossible_train_share_is_one_clear_line(share):
    with pytest.raises(UsageError, match="choose more than 0 and at most 1"):
        load_dataset("bundle-synthetic", train_share=share)
