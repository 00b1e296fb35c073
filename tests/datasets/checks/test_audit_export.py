"""The leak report against brute force, and the export against the dataset."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.build import build_dataset
from slatebench.datasets.checks.audit import audit, near_duplicates, seen_only_ceiling, slate_matrix
from slatebench.datasets.checks.export import export, original_ids
from slatebench.datasets.errors import DataError
from slatebench.datasets.registry import load_dataset
from slatebench.datasets.schema import CATALOG_SCHEMA, HISTORY_SCHEMA, REQUEST_SCHEMA, SEQUENCE_SCHEMA
from slatebench.models.fixture import history_fixture

slates = st.lists(st.sets(st.integers(0, 11), min_size=1, max_size=8), min_size=1, max_size=30)


@settings(max_examples=150)
@given(slates, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_near_duplicates_equal_brute_force(sets, threshold):
    X = slate_matrix(pl.Series([sorted(items) for items in sets], dtype=pl.List(pl.Int64)), 12)
    want = {
        (i, j): len(a & b) / len(a | b)
        for (i, a), (j, b) in itertools.combinations(enumerate(sets), 2)
        if len(a & b) / len(a | b) >= threshold
    }
    left, right, jaccard = near_duplicates(X, threshold)
    assert {(int(i), int(j)): float(s) for i, j, s in zip(left, right, jaccard, strict=True)} == want


def test_near_duplicates_over_several_blocks(monkeypatch):
    from slatebench.datasets.checks import audit as module

    random = np.random.default_rng(0)
    column = pl.Series([sorted(random.choice(30, 4, replace=False)) for _ in range(200)], dtype=pl.List(pl.Int64))
    whole = near_duplicates(slate_matrix(column, 30))
    monkeypatch.setattr(module, "_BLOCK", 7)
    parts = near_duplicates(slate_matrix(column, 30))
    pairs = [set(zip(left.tolist(), right.tolist(), strict=True)) for left, right, _ in (whole, parts)]
    assert pairs[0] == pairs[1] and pairs[0]


@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 10))
def test_the_ceiling_is_that_of_the_best_slate_of_seen_items(size, seen, k):
    seen = min(seen, size)
    relevant = [1] * min(seen, k) + [0] * (k - min(seen, k))  # by hand, from docs/protocol.md, section 2
    dcg = sum(rel / math.log2(i + 2) for i, rel in enumerate(relevant))
    ideal = sum(1 / math.log2(i + 2) for i in range(min(k, size)))
    precision = sum(rel * sum(relevant[: i + 1]) / (i + 1) for i, rel in enumerate(relevant))
    ndcg, average = seen_only_ceiling(np.array([size]), np.array([seen]), k)
    assert ndcg[0] == pytest.approx(dcg / ideal) and average[0] == pytest.approx(precision / min(k, size))


@pytest.fixture
def leaky(card):
    """Train: {a,b}, {c}; valid: {b,a} again; test: {a,d} with the prompt of train, {e}."""
    items = pl.DataFrame({"id": list("abcdef"), "title": list("ABCDEF"), "text": list("ABCDEF")}).with_columns(
        categories=pl.lit(None, dtype=pl.List(pl.List(pl.String))).fill_null([])
    )
    rows = pl.DataFrame(
        {
            "request": ["1", "2", "3", "4", "5"],
            "prompt": ["Camping  trip!", "tea", "x", "camping trip", "y"],
            "group": ["g1", "g2", "g1", "g4", "g5"],
            "items": [["a", "b"], ["c"], ["b", "a"], ["a", "d"], ["e"]],
            "history": [[], ["f"], [], [], []],
            "seed_items": [[], [], ["c"], [], []],
            "part": ["train", "train", "valid", "test", "test"],
        }
    )
    return build_dataset(card(), items, rows, 0)


def test_the_leak_report_by_hand(leaky):
    report = audit(leaky)
    overall = dict(report.overall.iter_rows())
    assert overall == {
        "items_unseen": 0.5,
        "slates_with_equal": 0.4,
        "slates_with_near_twin": 0.4,
        "near_twins_in_group": 1.0,
    }
    parts = {(part, measure): value for part, measure, value in report.parts.iter_rows()}
    assert parts["valid", "slates_in_train"] == parts["valid", "slates_near_train"] == 1.0
    assert parts["valid", "groups_in_train"] == 1.0 and parts["test", "groups_in_train"] == 0.0
    assert parts["test", "prompts_in_train"] == 0.5 and parts["valid", "prompts_in_train"] == 0.0
    assert parts["test", "slots_seen"] == pytest.approx(1 / 3)
    assert parts["test", "requests_all_unseen"] == 0.5
    assert parts["test", "ceiling_map_at_2"] == pytest.approx((0.5 + 0) / 2)
    assert parts["test", "ceiling_ndcg_at_1"] == pytest.approx((1 + 0) / 2)
    assert parts["valid", "ceiling_ndcg_at_2"] == 1.0


def test_the_leak_of_the_real_bundles(real_data):
    data = load_dataset("bundle", source="real")
    report = audit(data)
    overall = dict(report.overall.iter_rows())
    assert overall["slates_with_near_twin"] == pytest.approx(0.36, abs=0.01)  # docs/protocol.md, section 1
    assert overall["near_twins_in_group"] == pytest.approx(0.98, abs=0.015)
    assert overall["items_unseen"] == pytest.approx(0.18, abs=0.01)
    parts = {(part, measure): value for part, measure, value in report.parts.iter_rows()}
    assert 1 - parts["test", "slots_seen"] == pytest.approx(0.81, abs=0.02)
    assert parts["test", "groups_in_train"] == parts["valid", "groups_in_train"] == 0
    assert parts["test", "slates_in_train"] == parts["valid", "slates_in_train"] == 0


def test_export_speaks_original_ids_and_can_be_read_back(leaky, card, tmp_path):
    files = export(leaky, tmp_path / "out")
    assert [file.name for file in files] == ["catalog.parquet", "train.parquet", "valid.parquet", "test.parquet"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(file.name for file in files)
    frames = {file.stem: pl.read_parquet(file) for file in files}
    assert frames["catalog"].schema == pl.Schema(CATALOG_SCHEMA)
    assert frames["train"].columns == [*REQUEST_SCHEMA, "items"]
    assert frames["train"]["items"].to_list() == [["a", "b"], ["c"]]
    assert frames["train"]["history"].to_list() == [[], ["f"]]
    assert frames["valid"].row(0, named=True) == {
        "request": "3", "prompt": "x", "items": ["b", "a"], "group": "g1", "history": [], "seed_items": ["c"],
    }  # fmt: skip
    rows = pl.concat(frames[name].with_columns(part=pl.lit(name)) for name in ("train", "valid", "test"))
    again = build_dataset(card(), frames["catalog"], rows, 0)
    assert again.fingerprint == leaky.fingerprint


def test_histories_are_exported_with_their_times_and_the_train_sequences(tmp_path):
    dataset = history_fixture()
    frames = {file.stem: pl.read_parquet(file) for file in export(dataset, tmp_path)}
    assert list(frames) == ["catalog", "train", "valid", "test", "sequences"]
    assert frames["test"].columns == [*HISTORY_SCHEMA, "items"]
    assert frames["sequences"].columns == [*SEQUENCE_SCHEMA] and dataset.sequences is not None
    ids = dataset.catalog.ids
    named = [[ids[item] for item in items] for items in dataset.sequences["items"]]
    assert frames["sequences"]["items"].to_list() == named
    assert frames["sequences"]["times"].equals(dataset.sequences["times"])
    assert frames["test"]["request_time"].equals(dataset.test.requests["request_time"])
    assert frames["test"]["history_times"].equals(dataset.test.requests["history_times"])


def test_export_twice_replaces_and_a_closed_folder_is_one_line(leaky, tmp_path):
    export(leaky, tmp_path)
    before = (tmp_path / "test.parquet").read_bytes()
    export(leaky, tmp_path)
    assert (tmp_path / "test.parquet").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another folder"):
        export(leaky, tmp_path / "file")


def test_a_write_that_fails_leaves_the_old_file(leaky, tmp_path, monkeypatch):
    export(leaky, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left on device"):
        export(leaky, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@given(st.lists(st.lists(st.integers(-1, 4), max_size=4), max_size=5))
def test_original_ids_equal_a_lookup(lists):
    ids = list("abcde")
    got = original_ids(pl.Series("items", lists, dtype=pl.List(pl.Int64)), pl.Series(ids)).to_list()
    assert got == [[ids[i] if i >= 0 else None for i in row] for row in lists]
