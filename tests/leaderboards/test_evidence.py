"""Without evidence nothing passes, and every figure says on how many requests it stands."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slatebench.benchmark.boards.compare import compare
from slatebench.benchmark.boards.gate import gate
from slatebench.benchmark.cli.compare_text import comparison_json, print_comparison
from slatebench.leaderboards.board import build_board
from slatebench.leaderboards.records import Run
from slatebench.leaderboards.tables import as_json, as_table, caption

Make = Callable[..., Run]
GONE = float("nan")


@pytest.fixture
def pair(make_run: Make) -> Callable[..., tuple[Run, Run]]:
    """Two runs with these values of a metric that is not the headline, per request."""

    def make(a: list[float], b: list[float], groups: list[str] | None = None, seed: int = 0) -> tuple[Run, Run]:
        lead = np.linspace(0.1, 0.9, len(a))
        made = [
            make_run({"ndcg_sim_at_10": lead, "recall_at_10": np.array(values)}, model=model, groups=groups, seed=seed)
            for model, values in (("bm25", a), ("random", b))
        ]
        return made[0], made[1]

    return make


def folders(runs: tuple[Run, Run]) -> tuple[str, str]:
    return str(runs[0].folder), str(runs[1].folder)


@pytest.mark.parametrize(
    ("a", "groups", "n"),
    [
        ([GONE, GONE, GONE, GONE], None, 0),
        ([0.9, GONE, GONE, GONE], None, 1),
        ([0.9, 0.8, 0.9, 0.8], ["one"] * 4, 4),
        ([0.9, 0.8, GONE, GONE], ["one", "one", "two", "three"], 2),
    ],
)
def test_a_gate_without_an_interval_fails(pair: Any, a: list[float], groups: Any, n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gate(*folders(pair(a, [0.1, 0.2, 0.1, 0.2], groups)), metric="recall_at_10", margin=1.0)
    assert (found.passed, found.conclusive, found.requests) == (False, False, n)
    assert found.low is None and found.high is None
    assert found.line.startswith(f"FAILED, no evidence: {n} of 4 requests") and "nan" not in found.line


def test_a_comparison_counts_the_requests_of_each_metric(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    runs = pair([0.9, GONE, 0.7, GONE, 0.2], [0.1, 0.2, GONE, GONE, 0.1])
    nothing = pair([GONE] * 5, [0.1] * 5, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(*folders(runs), metrics=["ndcg_sim_at_10", "recall_at_10"])
        assert found.table["n"].to_list() == [5, 2] and found.table["a"].to_list()[1] == pytest.approx(0.55)
        print_comparison(found)
        none = compare(*folders(nothing), metrics=["recall_at_10"])
        print_comparison(none)
    shown = capsys.readouterr()
    assert "nan" not in shown.out and shown.err == ""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (row,) = json.loads(comparison_json(none), parse_constant=refuse)["metrics"]
    assert row["n"] == 0 and all(row[name] is None for name in ("a", "b", "difference", "low", "high", "p", "p_holm"))


def test_the_gate_goes_by_the_headline_of_its_board(make_run: Make) -> None:
    rng = np.random.default_rng(0)
    runs = [
        make_run({"ndcg_sim_at_3": np.clip(mean + 0.01 * rng.standard_normal(30), 0, 1)}, model=model, k=3, cutoffs=[3])
        for model, mean in (("bm25", 0.6), ("random", 0.2))
    ]
    found = gate(str(runs[0].folder), str(runs[1].folder))
    assert found.metric == "ndcg_sim_at_3" and found.passed and found.conclusive


def test_a_board_of_one_group_warns_of_nothing_and_separates_nobody(pair: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        board = build_board(pair([GONE] * 4, [0.1] * 4, ["one"] * 4), "toy")
        as_table(board)
        assert "NaN" not in as_json(board) and caption(board)
    assert all(system.summary["ndcg_sim_at_10"]["low"] is None and not system.better_than for system in board.systems)
