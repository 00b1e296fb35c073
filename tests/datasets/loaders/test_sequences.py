"""Histories: each rule of a split against sequences made by hand, and what must hold for any log."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.build import asked_as, with_train_share
from slatebench.datasets.errors import DataError, FaultySlates, UsageError
from slatebench.datasets.loaders.sequences import DAY, build_sequences, split_rule
from slatebench.datasets.schema import Slates, forbidden
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.evaluation import whole_lists
from slatebench.models.fixture import history_fixture

CARD = history_fixture().card


def dataset(rows, **split):
    """A dataset of (user, item, time) under a split."""
    card = CARD.model_copy(update={"options": {"split": split}})
    log = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String, "time": pl.Int64}, orient="row")
    ids = sorted(set(log["item"]))
    items = pl.DataFrame(
        {"id": ids, "title": ids, "text": ids, "categories": [[] for _ in ids]},
        schema_overrides={"categories": pl.List(pl.List(pl.String))},
    )
    return build_sequences(card, items, log)


def questions(data, part):
    """{request: (history, reference)} in original ids."""
    ids, asked = data.catalog.ids, data.part(part)
    both = asked.requests.join(asked.references, on="request")
    return {
        request: ("".join(ids[i] for i in history), "".join(ids[i] for i in items))
        for request, history, items in both.select("request", "history", "items").iter_rows()
    }


def log(user, items, times=None):
    times = range(len(items)) if times is None else times
    return [(user, item, time) for item, time in zip(items, times, strict=True)]


def test_leave_one_out():
    data = dataset([*log("v", "abcde"), *log("u", "ba")], kind="leave-one-out")
    assert questions(data, "test") == {"v/test": ("abcd", "e")}
    assert questions(data, "valid") == {"v/valid": ("abc", "d")}
    assert questions(data, "train") == {"v/train": ("ab", "c"), "u/train": ("b", "a")}
    assert data.sequences is not None and data.sequences["user"].to_list() == ["v", "u"]  # as they first occur
    assert data.catalog.train_count.tolist() == [2, 2, 1, 0, 0]


def test_items_go_by_time_and_ties_by_the_order_of_the_rows():
    data = dataset(log("u", "edcba", [9, 2, 2, 5, 1]), kind="leave-one-out")
    assert questions(data, "test") == {"u/test": ("adcb", "e")}
    assert data.test.requests["history_times"].to_list() == [[1, 2, 2, 5]]
    assert data.test.requests["request_time"].to_list() == [9]


def test_a_user_with_an_unknown_time_keeps_the_order_of_the_rows():
    data = dataset([*log("u", "cbad", [3, 2, None, 1]), *log("v", "abcd")], kind="leave-one-out")
    assert questions(data, "test")["u/test"] == ("cba", "d")
    assert data.test.requests["history_times"].to_list() == [None, [0, 1, 2]]


def test_next_k():
    data = dataset([*log("u", "abcdefgh"), *log("v", "abcde")], kind="next-k", k=2, history=2)
    assert questions(data, "test") == {"u/test": ("abcdef", "gh")}
    assert questions(data, "valid") == {"u/valid": ("abcd", "ef")}
    assert questions(data, "train") == {"u/train": ("ab", "cd"), "v/train": ("abc", "de")}  # too short: train only


def test_only_references_of_next_k_have_an_order():
    rows = [
        *log("u", "abcdefgh", [0, 1 * DAY, 1 * DAY, 2 * DAY, 2 * DAY, 3 * DAY, 3 * DAY, 3 * DAY]),
        *log("v", "abcdefg"),
    ]
    ordered = {kind: dataset(rows, kind=kind, k=2).ordered for kind in ("next-k", "basket", "leave-one-out")}
    assert ordered == {"next-k": True, "basket": False, "leave-one-out": False}
    assert not dataset(rows, kind="next-k", k=1).ordered
    asked = asked_as(dataset(rows, kind="next-k", k=2), "excluded", 1)
    assert asked.ordered


def test_baskets_of_a_day():
    days = [0, 1, 1, 2, 2, 3, 3, 3]
    rows = log("u", "abcdefgh", [day * DAY for day in days])
    data = dataset([*rows, *log("v", "ab", [0, DAY])], kind="basket")
    assert questions(data, "test") == {"u/test": ("abcde", "fgh")}
    assert questions(data, "valid") == {"u/valid": ("abc", "de")}
    assert questions(data, "train") == {"u/train": ("a", "bc")}


def test_baskets_of_a_session_end_with_a_gap():
    rows = log("u", "gabcdef", [-900, 0, 50, 100, 500, 550, 900])
    data = dataset([*rows, ("u", "h", 950)], kind="basket", gap=200)
    assert questions(data, "test") == {"u/test": ("gabcde", "fh")}
    assert questions(data, "valid") == {"u/valid": ("gabc", "de")}
    assert questions(data, "train") == {"u/train": ("g", "abc")}


def test_a_cut_in_time():
    rows = [*log("u", "abcdefghij", range(0, 100, 10)), *log("v", "abc", [2, 3, 95]), *log("w", "ab", [None, None])]
    data = dataset(rows, kind="global-time", quantile=0.75)
    assert questions(data, "test") == {
        "u/test/0": ("abcdefgh", "i"),
        "u/test/1": ("abcdefghi", "j"),
        "v/test": ("ab", "c"),
    }
    assert questions(data, "valid") == {
        "u/valid/0": ("abcde", "f"),
        "u/valid/1": ("abcdef", "g"),
        "u/valid/2": ("abcdefg", "h"),
    }
    assert data.sequences is not None
    learnt = {user: len(items) for user, items in data.sequences.select("user", "items").iter_rows()}
    assert learnt == {"u": 5, "v": 2, "w": 2}  # what lies at the cut lies before it; without times: train only
    last = dataset(rows, kind="global-time", quantile=0.75, target="last")
    assert questions(last, "test") == {"u/test": ("abcdefghi", "j"), "v/test": ("ab", "c")}


def had(sequences, data):
    """{user: items} in original ids."""
    return {user: "".join(data.catalog.ids[i] for i in items) for user, items, _ in sequences.iter_rows()}


@pytest.mark.parametrize(
    ("split", "before"),
    [
        ({"kind": "leave-one-out"}, "abcdefg"),
        ({"kind": "next-k", "k": 2, "history": 2}, "abcdef"),
        ({"kind": "basket"}, "abcde"),
        ({"kind": "global-time", "quantile": 0.8}, "abcdef"),
        ({"kind": "global-time", "quantile": 0.8, "target": "last"}, "abcdef"),
    ],
)
def test_what_lies_before_the_test_part_is_what_a_refit_learns_from(split, before):
    days = [0, 1, 1, 2, 2, 3, 3, 3]
    rows = log("u", "abcdefgh", [day * DAY + place for place, day in enumerate(days)])
    data = dataset([*rows, *log("v", "ab", [0, DAY])], **split)
    assert data.before_test is not None and data.sequences is not None
    assert had(data.before_test, data) == {"u": before, "v": "ab"}
    assert all(before.startswith(items) for user, items in had(data.sequences, data).items() if user == "u")
    refit = train_data(data, None, refit=True)
    assert refit.sequences is data.before_test and train_data(data, None).sequences is data.sequences
    slates = refit.slates.filter(pl.col("group") == "u")["request"].to_list()
    assert any("/valid" in request for request in slates) and not any("/test" in request for request in slates)
    fewer = with_train_share(dataset([*rows, *log("v", "abcdefgh", [d * DAY for d in days])], **split), 0.6)
    assert fewer.before_test is not None and fewer.before_test.height == 1


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ({"kind": "last-item"}, "option 'split.kind'"),
        ({"kind": "next-k", "k": 0}, "option 'split.k'"),
        ({}, "option 'split.kind'"),
        ({"kind": "next-k", "k": 5}, "the part 'train' is empty"),
        ({"kind": "basket", "gap": 1}, "is empty"),
    ],
)
def test_what_can_not_be_split_is_told(split, why):
    with pytest.raises(DataError, match=why):
        dataset(log("u", "abcde", [10, 20, 30, 40, 50]), **split)


def test_other_mistakes_are_told():
    with pytest.raises(DataError, match="needs times"):
        dataset(log("u", "abc", [None] * 3), kind="global-time")
    with pytest.raises(UsageError, match="draws nothing"):
        build_sequences(CARD, history_fixture().catalog.items, pl.DataFrame(), split_seed=1)
    items = history_fixture().catalog.items
    rows = pl.DataFrame({"user": ["u"], "item": ["nowhere"], "time": [1]})
    with pytest.raises(DataError, match="user 'u': item 'nowhere' is not in the items"):
        build_sequences(CARD, items, rows)
    assert split_rule(CARD).kind == "leave-one-out"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_nothing_that_is_asked_is_learnt(data):
    kind = data.draw(st.sampled_from(["leave-one-out", "next-k", "basket", "global-time"]))
    rows = []
    for user in range(data.draw(st.integers(3, 6))):
        n = data.draw(st.integers(4, 14))
        times = sorted(data.draw(st.lists(st.integers(0, 6 * DAY), min_size=n, max_size=n)))
        rows += log(f"u{user}", data.draw(st.permutations("abcdefghijklmn"))[:n], times)
    try:
        made = dataset(rows, kind=kind, k=2, history=1, quantile=0.7)
    except DataError as error:
        assert "is empty" in str(error)
        return
    assert made.sequences is not None
    learnt = dict(made.sequences.select("user", "items").iter_rows())
    for part in ("valid", "test"):
        asked = made.part(part)
        for group, history, items in (
            asked.requests.join(asked.references, on="request").select("group", "history", "items").iter_rows()
        ):
            sequence = learnt.get(group, [])
            assert not set(items) & set(sequence)  # no item comes twice here
            assert history[: len(sequence)] == sequence and not set(items) & set(history)
    held = np.bincount(np.concatenate([*learnt.values()]), minlength=len(made.catalog))
    assert np.array_equal(held, made.catalog.train_count)
    assert all(set(row) for row in whole_lists(made))


def test_asked_are_some_requests_by_hash_and_the_dataset_stays_the_same():
    data = history_fixture()
    few, fewer = asked_as(data, "excluded", 40), asked_as(data, "allowed", 10)
    assert len(few.test) == len(few.valid) == 40 and few.fingerprint == fewer.fingerprint == data.fingerprint
    assert set(fewer.test.requests["request"]) < set(few.test.requests["request"])
    assert few.test.requests["request"].to_list() == [
        request for request in data.test.requests["request"] if request in set(few.test.requests["request"])
    ]
    assert forbidden(few.test.requests) == few.test.requests["history"].to_list()
    assert not any(forbidden(fewer.test.requests)) and not any(forbidden(data.test.requests))


def test_the_border_refuses_items_of_the_history():
    asked = asked_as(history_fixture(), "excluded", 3).test.requests
    items = np.array([[[row[0], -1]] for row in asked["history"].to_list()])
    slates = Slates(items)
    with pytest.raises(FaultySlates, match="an item of the history of the request was emitted"):
        slates.check(asked, 240, 2, 1)
    slates.check(asked.with_columns(repeats=pl.lit(True)), 240, 2, 1)


def test_a_share_of_the_users(tmp_path):
    from slatebench.datasets.vectors.features import make_features

    data = history_fixture()
    half = with_train_share(data, 0.5)
    assert (
        half.sequences is not None and half.sequences.height * 2 == len(data.test) and len(half.test) == len(data.test)
    )
    assert half.catalog.train_count.sum() == half.sequences["items"].list.len().sum()
    seen = train_data(half, make_features(half, encoder="hash", cache=tmp_path))
    assert seen.sequences is not None and seen.sequences.equals(half.sequences)
    assert "items" not in seen.valid_requests.columns
