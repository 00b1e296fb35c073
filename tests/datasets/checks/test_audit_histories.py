"""The audit of histories on logs made by hand."""

import polars as pl
import pytest

from slatebench.datasets.checks.audit import audit
from slatebench.datasets.loaders.sequences import DAY, build_sequences
from slatebench.models.fixture import history_fixture


def report(rows, **split):
    base = history_fixture()
    card = base.card.model_copy(update={"options": {"split": {"kind": "leave-one-out"} | split}})
    ids = [str(n) for n in range(12)]
    items = base.catalog.items.head(12).drop("train_count").with_columns(pl.Series("id", ids))
    log = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String, "time": pl.Int64}, orient="row")
    made = audit(build_sequences(card, items, log))
    parts = {(part, measure): value for part, measure, value in made.parts.iter_rows()}
    return dict(made.overall.iter_rows()), parts


def log(user, items, days):
    return [(user, str(item), day * DAY) for item, day in zip(items, days, strict=True)]


def test_a_file_sorted_by_id_is_told_and_ids_are_read_as_numbers():
    days = [0, 1, 2, 3, 4]
    overall, _ = report([*log("u", [1, 2, 9, 10, 11], days), *log("v", [0, 3, 10, 11, 4], days)])
    assert overall["sorted_by_id"] == 1.0  # of the train sequences 1, 2, 9 and 0, 3, 10
    overall, _ = report([*log("u", [9, 2, 1, 10, 11], days), *log("v", [0, 3, 10, 11, 4], days)])
    assert overall["sorted_by_id"] == 0.5


def test_ties_unseen_targets_recurring_items_and_the_leak_in_time():
    rows = [
        *log("u", [1, 2, 3, 4, 5], [0, 1, 2, 3, 3]),  # the test item shares its day
        *log("v", [1, 2, 3, 4, 1], [0, 1, 2, 3, 9]),  # the test item was had before
        *log("w", [6, 6, 7, 8, 2], [20, 21, 22, 23, 24]),  # learnt from after the others' tests
    ]
    overall, parts = report(rows)
    assert (overall["users"], overall["interactions"], overall["duplicate_users"]) == (3, 9, pytest.approx(2 / 3))
    assert overall["recurring_items"] == pytest.approx(1 / 9)
    assert parts["test", "targets_tied"] == pytest.approx(1 / 3) and parts["test", "requests_tie_free"] == 2
    assert parts["test", "targets_unseen"] == pytest.approx(1 / 3)  # item 5
    assert parts["test", "targets_in_history"] == pytest.approx(1 / 3)
    assert parts["test", "train_after"] == pytest.approx(3 / 9)
    assert parts["test", "users_in_train"] == 1.0


def test_a_cut_in_time_leaks_none():
    rows = [*log("u", range(10), range(10)), *log("v", range(9, -1, -1), range(10))]
    _, parts = report(rows, kind="global-time", quantile=0.7)
    assert parts["test", "train_after"] == 0.0


def test_without_times_nothing_is_said_of_them():
    _, parts = report([("u", str(n), None) for n in range(6)])
    assert ("test", "targets") in parts and ("test", "targets_tied") not in parts
