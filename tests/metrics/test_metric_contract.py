"""What every registered metric promises, held against random, empty, short and single slates."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.errors import DataError, UsageError
from slatebench.datasets.schema import Slates
from slatebench.metrics.base import Scores, Truth, blocks, make_truth, read_scores
from slatebench.metrics.evaluate import evaluate, summarise, summarise_systems
from slatebench.metrics.registry import METRICS, metric_info, metric_names, metrics_version

MODULES = [
    "base",
    "registry",
    "relevance",
    "similarity",
    "beyond",
    "statistics",
    "evaluate",
    "bertscore",
]
CUTOFFS = [10, 5, 20]


def expected_names(samples: int, diagnostics: list[str] | None = None) -> list[str]:
    return metric_names(CUTOFFS, samples=samples, spaces=("evaluation", "model"), diagnostics=diagnostics or [])


def hold_contract(scores: Scores, samples: int, truth: Truth) -> None:
    names = expected_names(samples)
    assert set(names) == set(scores.values) | set(scores.per_run)
    for name in names:
        metric = metric_info(name)
        low, high = (-np.inf if metric.low is None else metric.low), (np.inf if metric.high is None else metric.high)
        if metric.scope == "run":
            value = scores.per_run[name]
            assert value is not None or metric.null, name
            assert value is None or low - 1e-9 <= value <= high + 1e-9, name
            continue
        values = scores.values[name]
        assert values.shape == ((len(truth), samples) if metric.scope == "sample" else (len(truth),)), name
        assert not np.isinf(values).any(), name
        assert metric.null or not np.isnan(values).any(), f"{name} has a null that it does not declare"
        there = values[~np.isnan(values)]
        assert (there >= low - 1e-9).all() and (there <= high + 1e-9).all(), name


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    P=st.integers(1, 5),
    S=st.integers(1, 4),
    K=st.sampled_from([1, 4, 10]),
    empty=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_every_metric_is_total_and_in_range(
    board: SimpleNamespace, seed: int, P: int, S: int, K: int, empty: float
) -> None:
    rng = np.random.default_rng(seed)
    truth = board.random_truth(rng, P)
    scores = evaluate(Slates(board.random_slates(rng, (P, S, K), empty=empty)), truth, cutoffs=CUTOFFS)
    hold_contract(scores, S, truth)


def test_an_empty_slate_gets_the_declared_worst_value(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0, 1], [2]], 30, train_count=[1, 0] * 15)
    scores = evaluate(Slates(np.full((2, 3, 10), -1)), truth, cutoffs=CUTOFFS)
    for name in expected_names(3):
        metric = metric_info(name)
        if name.endswith("_reference"):
            continue  # says something of the reference, whatever the slate
        got = np.array(scores.per_run[name] if metric.scope == "run" else scores.values[name], np.float64)
        got = got[~np.isnan(got)] if "_seen_" in name or "_unseen_" in name else got  # null without such a reference
        if name == "jaccard_distance":
            assert (got == 0).all()
        elif metric.worst is None:
            assert np.isnan(got).all(), name
        else:
            np.testing.assert_allclose(got, metric.worst, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order_seed=st.integers(0, 100))
def test_a_request_scores_alike_whoever_stands_beside_it(board: SimpleNamespace, seed: int, order_seed: int) -> None:
    rng = np.random.default_rng(seed)
    references = [rng.choice(30, rng.integers(1, 9), replace=False).tolist() for _ in range(6)]
    vectors = rng.normal(size=(30, 4))
    items = board.random_slates(rng, (6, 2, 5), 30)
    order = np.random.default_rng(order_seed).permutation(6)[:4]
    whole = evaluate(Slates(items), board.truth_of(references, 30, vectors=vectors), cutoffs=[5])
    chosen = board.truth_of([references[p] for p in order], 30, vectors=vectors)
    part = evaluate(Slates(items[order]), chosen, cutoffs=[5])
    for name, values in part.values.items():
        np.testing.assert_allclose(values, whole.values[name][order], atol=1e-6, err_msg=name)


def test_blocks_cover_every_request_once(board: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slatebench.metrics.base.BLOCK_FLOATS", 2000)  # a handful of requests per block
    rng = np.random.default_rng(0)
    truth = board.random_truth(rng, 37)
    items = board.random_slates(rng, (37, 2, 10))
    rows = [block.rows for block in blocks(items, truth)]
    assert len(rows) > 3
    assert sorted(np.concatenate(rows).tolist()) == list(range(37))
    small = evaluate(Slates(items), truth)
    monkeypatch.undo()
    for name, values in evaluate(Slates(items), truth).values.items():
        np.testing.assert_allclose(small.values[name], values, atol=1e-6, err_msg=name)


def test_only_what_is_asked_for(board: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    truth = board.random_truth(rng, 3)
    slates = Slates(board.random_slates(rng, (3, 2, 10)), {"rounding_gap": np.ones((3, 2))})
    scores = evaluate(slates, truth, cutoffs=[10], only={"ndcg_at_10", "gini"})
    assert set(scores.values) == {"ndcg_at_10"}
    assert set(scores.per_run) == {"gini"}


def test_names_are_safe_and_unique() -> None:
    names = expected_names(10, ["rounding_gap", "mine"])
    assert len(names) == len(set(names))
    assert all(name.replace("_", "").isalnum() and name.isascii() for name in names)
    for name in names:
        metric = metric_info(name)
        assert metric.name == name
        assert metric.summary and metric.formula and metric.source
        assert "{" not in metric.name + metric.formula.replace("_{", "")
    assert all(metric.worst is not None or metric.null or metric.family for metric in METRICS)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'ndcg_at_10'"):
        metric_info("ndgc_at_10")
    with pytest.raises(UsageError):
        metric_info("ndcg_at_0")


def test_the_version_names_the_space() -> None:
    assert metrics_version("a") != metrics_version("b")


def test_scores_survive_parquet(board: SimpleNamespace, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = board.random_truth(rng, 7)
    scores = evaluate(Slates(board.random_slates(rng, (7, 3, 10))), truth)
    table = scores.per_request
    assert table.columns == ["request", "sample", "metric", "value"]
    assert not table["value"].is_nan().any()
    assert table.filter(pl.col("metric").cast(pl.String) == "freshness")["sample"].null_count() == 7
    table.write_parquet(tmp_path / "scores.parquet")
    again = read_scores(pl.read_parquet(tmp_path / "scores.parquet"), scores.per_run)
    assert again.requests == scores.requests
    assert list(again.values) == list(scores.values)
    for name, values in scores.values.items():
        np.testing.assert_array_equal(again.values[name], values, err_msg=name)


def test_scores_are_read_in_any_order_but_only_whole(board: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    scores = evaluate(Slates(board.random_slates(rng, (7, 3, 10))), board.random_truth(rng, 7))
    table = scores.per_request
    first = pl.concat([table.head(0), *(table.filter(pl.col("request").cast(pl.String) == r) for r in scores.requests)])
    again = read_scores(first, {})  # by request, not by metric
    assert again.requests == scores.requests and again.values.keys() == scores.values.keys()
    for name, values in scores.values.items():
        np.testing.assert_array_equal(again.values[name], values, err_msg=name)
    for broken in (table[1:], pl.concat([table, table[:1]]), table[[1, *range(1, table.height)]],
                   table.with_columns(sample=pl.col("sample") - 1)):  # fmt: skip
        with pytest.raises(DataError, match=r"ndcg_at_10 has not one value for each of 7 requests"):
            read_scores(broken, {})


def test_systems_are_summarised_together_as_alone(board: SimpleNamespace) -> None:
    rng = np.random.default_rng(5)
    truth = board.random_truth(rng, 9)
    systems = [
        [evaluate(Slates(board.random_slates(rng, (9, S, 10))), truth, cutoffs=[10]) for _ in range(seeds)]
        for S, seeds in ((1, 1), (3, 2))
    ]
    groups = [f"g{i // 2}" for i in range(9)]
    together = summarise_systems(systems, groups, resamples=300)
    some = summarise_systems(systems, groups, resamples=300, intervals={"hit_at_10"})
    for i, runs in enumerate(systems):
        alone = summarise(runs, groups, resamples=300)
        assert list(together[i]) == list(some[i]) == list(alone)
        for name, value in alone.items():
            without = value if name == "hit_at_10" else {**value, "low": None, "high": None}
            for found, expected in ((together[i][name], value), (some[i][name], without)):
                rounded = [{key: v if v is None else round(v, 9) for key, v in d.items()} for d in (found, expected)]
                assert rounded[0] == rounded[1], name


def test_summary_is_the_mean_over_samples_and_seeds(board: SimpleNamespace) -> None:
    rng = np.random.default_rng(2)
    truth = board.random_truth(rng, 12)
    runs = [evaluate(Slates(board.random_slates(rng, (12, 3, 10))), truth, cutoffs=[10]) for _ in range(3)]
    summary = summarise(runs, truth.groups, resamples=500)
    of = summary["hit_at_10"]
    per_seed = [run.values["hit_at_10"].mean() for run in runs]
    assert of["mean"] == pytest.approx(np.mean(per_seed))
    assert of["sd_over_seeds"] == pytest.approx(np.std(per_seed, ddof=1))
    assert of["n"] == 12
    assert of["low"] is not None and of["high"] is not None and of["mean"] is not None
    assert of["low"] < of["mean"] < of["high"]
    run_scope = summary["coverage"]
    assert run_scope["low"] is None and run_scope["n"] == 3
    values = [run.per_run["coverage"] or 0.0 for run in runs]
    assert run_scope["mean"] == pytest.approx(np.mean(values))
    assert summarise(runs[0], truth.groups, resamples=500)["hit_at_10"]["sd_over_seeds"] is None


def test_summary_leaves_nulls_out_and_counts_the_rest(board: SimpleNamespace) -> None:
    truth = board.truth_of([[0], [1], [0]], 4, train_count=[1, 0, 0, 0])
    summary = summarise(evaluate(Slates(np.array([[[0]], [[0]], [[2]]])), truth, cutoffs=[1]), truth.groups)
    assert summary["recall_seen_at_1"]["n"] == 2
    assert summary["recall_seen_at_1"]["mean"] == 0.5
    assert summary["freshness"] == {"mean": None, "low": None, "high": None, "n": 0, "sd_over_seeds": None}


def test_summaries_of_different_requests_are_refused(board: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    short, long = board.random_truth(rng, 2), board.random_truth(rng, 3)
    runs = [evaluate(Slates(board.random_slates(rng, (len(t), 1, 5))), t) for t in (short, long)]
    with pytest.raises(UsageError, match="different requests"):
        summarise(runs, short.groups)
    with pytest.raises(UsageError, match="can't be scored"):
        evaluate(Slates(board.random_slates(rng, (2, 1, 5))), long)


def test_truth_is_checked(board: SimpleNamespace) -> None:
    catalog = board.make_catalog([1, 1, 1])
    with pytest.raises(DataError, match="'r1' has no reference"):
        make_truth(board.make_part([[0], []]), catalog)
    with pytest.raises(DataError, match="outside the catalogue"):
        make_truth(board.make_part([[3]]), catalog)
    with pytest.raises(DataError, match="length 1"):
        make_truth(board.make_part([[0]]), catalog, {"evaluation": np.full((3, 2), 2.0)})
    with pytest.raises(DataError, match="one row for 3 items"):
        make_truth(board.make_part([[0]]), catalog, {"evaluation": np.ones((2, 1))})
    truth = make_truth(board.make_part([[2, 0, 2]]), catalog)
    assert truth.items.tolist() == [0, 2]  # a repeated reference counts once


@pytest.mark.parametrize("name", MODULES)
def test_worked_examples(name: str) -> None:
    result = doctest.testmod(import_module(f"slatebench.metrics.{name}"))
    assert result.failed == 0


def test_every_formula_has_a_worked_example() -> None:
    for name in ("relevance", "similarity", "beyond"):
        module = import_module(f"slatebench.metrics.{name}")
        public = [value for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
        own = [value for value in public if getattr(value, "__module__", "") == module.__name__]
        bare = [value.__name__ for value in own if ">>>" not in (value.__doc__ or "")]
        assert not bare, f"{name}: no example in {bare}"


def test_importing_the_metrics_loads_nothing_heavy() -> None:
    modules = ", ".join(f"slatebench.metrics.{name}" for name in MODULES)
    heavy = "('torch', 'transformers', 'bert_score', 'sklearn', 'mlflow', 'pytorch_lightning', 'faiss')"
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
