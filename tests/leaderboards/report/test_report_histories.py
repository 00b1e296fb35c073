"""The report of a history card: histories with their titles, and the headline over kinds of requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from slatebench.datasets.registry import dataset_card
from slatebench.datasets.schema import CATALOG_SCHEMA, HISTORY_SCHEMA, REFERENCE_SCHEMA, Catalog, Part, SlateDataset
from slatebench.leaderboards.board import Board, build_board
from slatebench.leaderboards.records import list_runs
from slatebench.leaderboards.report.breakdowns import breakdowns
from slatebench.leaderboards.report.explorer import NEWEST, explorer
from slatebench.leaderboards.report.page import render
from slatebench.metrics.statistics import bootstrap_interval

P, N = 40, 80
IDS = [f"u{p}" for p in range(P)]
LENGTHS = [3 if p < 12 else 8 if p < 38 else 25 for p in range(P)]  # two of the longest: too few to be shown
HISTORIES = [[(3 * p + i) % N for i in range(length)] for p, length in enumerate(LENGTHS)]
TARGETS = [[(p * 7 + 1) % N] for p in range(P)]
VALUES = {model: np.random.default_rng(i).random(P) for i, model in enumerate(("markov", "item-knn"))}


@pytest.fixture(scope="module")
def dataset() -> SlateDataset:
    rows = [(f"i{i}", f"title {i}", f"title {i}", [], int(i % 3 > 0)) for i in range(N)]
    times = [list(range(100, 100 + length)) for length in LENGTHS]
    asked = [(id_, "", history, [], id_, when, when[-1] + (p % 2)) for p, (id_, history, when)
             in enumerate(zip(IDS, HISTORIES, times, strict=True))]  # fmt: skip
    part = Part("test", pl.DataFrame(asked, schema=HISTORY_SCHEMA, orient="row"),
                pl.DataFrame(list(zip(IDS, TARGETS, strict=True)), schema=REFERENCE_SCHEMA, orient="row"))  # fmt: skip
    catalog = Catalog(pl.DataFrame(rows, schema=CATALOG_SCHEMA, orient="row"))
    card = dataset_card("sessions-synthetic").model_copy(update={"name": "toy"})
    return SlateDataset("toy", "synthetic", card, catalog, part, part, part, slate_length=10)


@pytest.fixture(scope="module")
def board(dataset: SlateDataset, make_run_in: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Board:
    folder = tmp_path_factory.mktemp("histories") / "runs"
    make = make_run_in(folder)
    for model, values in VALUES.items():
        slates = [[[f"i{t}" for t in target] if model == "markov" else ["i79"]] for target in TARGETS]
        run = make({"ndcg_at_10": values}, model=model, task="history->slate", ids=IDS, slates=slates)
        dataset.test.requests.write_parquet(run.folder / "requests.parquet")
    return build_board(list_runs(folder)[0], "toy")


def test_the_headline_is_broken_down_by_what_a_request_is(board: Board, dataset: SlateDataset) -> None:
    found = {figure.name: figure.table[1:] for figure in breakdowns(board, dataset)}
    assert list(found) == ["lengths", "targets", "ties"]
    length, seen = np.array(LENGTHS), np.array([target[0] % 3 > 0 for target in TARGETS])
    free = np.arange(P) % 2 == 1
    wanted = {
        "lengths": {"up to 5": length <= 5, "6-10": (length > 5) & (length <= 10)},
        "targets": {"seen": seen, "unseen": ~seen},
        "ties": {"all": np.ones(P, bool), "tie-free": free, "tied": ~free},
    }
    for name, kinds in wanted.items():
        assert [row[:2] for row in found[name]] == [
            [model, f"{kind} ({inside.sum()})"] for kind, inside in kinds.items() for model in
            [system.label for system in board.systems]
        ]  # fmt: skip
        for system, kind, *figures in found[name]:
            inside = kinds[kind.rpartition(" ")[0]]
            expected = bootstrap_interval(VALUES[system][inside], groups=np.array(IDS)[inside], resamples=2000)
            assert [float(figure) for figure in figures] == pytest.approx(expected, abs=6e-4)


def test_without_the_data_only_what_requests_tell_is_shown(board: Board) -> None:
    assert [figure.name for figure in breakdowns(board, None)] == ["lengths", "ties"]


def test_the_explorer_has_the_newest_items_of_each_history(board: Board, dataset: SlateDataset) -> None:
    found = explorer(board, dataset)
    prompts = found["prompts"]
    assert prompts["lengths"] == LENGTHS
    for places, history in zip(prompts["histories"], HISTORIES, strict=True):
        assert [found["titles"][place] for place in places] == [f"title {i}" for i in history[-NEWEST:]]
    assert explorer(board, None)["prompts"]["histories"] == [[] for _ in IDS]


def test_a_reader_sees_history_and_who_hit_the_reference(
    browser: Any, board: Board, dataset: SlateDataset, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text(render(board, dataset), encoding="utf-8")
    browser.open(tmp_path / "report.html")
    choose = f"(() => {{ const list = document.getElementById('prompt-list'); list.value = {P - 1}; "
    browser.evaluate(choose + "list.dispatchEvent(new Event('change')); })()")
    assert browser.evaluate("document.querySelector('#prompts h2').textContent") == "Requests"
    assert browser.evaluate("document.querySelector('#prompt blockquote').textContent") == "After 25 items"
    assert browser.evaluate("document.querySelector('.slate.history ol').start") == 25 - NEWEST + 1
    lines = "[...document.querySelectorAll('.slate.{} li')].map(li => li.textContent)"
    assert browser.evaluate(lines.format("history")) == [f"title {i}" for i in HISTORIES[-1][-NEWEST:]]
    assert browser.evaluate(lines.format("reference")) == [f"✓ title {TARGETS[-1][0]} (hit)by markov"]
    assert browser.complaints == []
