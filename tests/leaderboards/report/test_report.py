"""The report in a real browser: it stands, sorts, explores, asks nobody, and foreign text stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from slatebench.benchmark.boards.report import report
from slatebench.datasets.registry import dataset_card
from slatebench.datasets.schema import CATALOG_SCHEMA, REFERENCE_SCHEMA, REQUEST_SCHEMA, Catalog, Part, SlateDataset
from slatebench.leaderboards.board import Board, build_board
from slatebench.leaderboards.records import list_runs
from slatebench.leaderboards.report.explorer import explorer
from slatebench.leaderboards.report.page import Claims, Extras, render
from slatebench.leaderboards.report.sweeps import sweep_plots
from slatebench.leaderboards.sweeps import read_sweeps

P, N = 12, 20
HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 2'>",
    "\u2028window.broken = 3;//\u2029",
    "<!--<script>",
    "javascript:window.broken = 4",
    "{{ 7 * 7 }} & \" ' ]]>",
]
MACHINE = {"cpu": "CPU", "cores": 2, "threads": 1, "memory_gib": 4.0, "gpu": None, "system": "x", "python": "3.11"}
IDS = [f"{'food' if p % 2 else 'toys'}/{p}" for p in range(P)]
PROMPTS = [HOSTILE[p] if p < len(HOSTILE) else f"camping {p}" for p in range(P)]


def latency(p99: float) -> dict[str, Any]:
    return {"p50_ms": p99 / 2, "p95_ms": p99 * 0.9, "p99_ms": p99, "p99_rough": True, "requests": 200,
            "peak_rss_mib": 300.0, "machine": MACHINE}  # fmt: skip


def scores(mean: float, samples: int = 1) -> dict[str, np.ndarray]:
    values = np.clip(np.random.default_rng(1).normal(mean, 0.03, (P, samples)), 0, 1)
    found = {"ndcg_sim_at_10": values, "ndcg_at_10": values / 2, "popularity": values * 3,
             "freshness": np.full(P, 0.5 if samples > 1 else 0.0)}  # fmt: skip
    return found | ({f"freshness_m{m}": np.full(P, 1 / m) for m in range(2, samples + 1)})


@pytest.fixture(scope="module")
def dataset() -> SlateDataset:
    titles = [HOSTILE[i] if i < len(HOSTILE) else f"title {i}" for i in range(N)]
    rows = [(f"i{i}", titles[i], titles[i], [], 1) for i in range(N)]
    asked = [
        (id_, prompt, [], [3] if p == 0 else [], id_) for p, (id_, prompt) in enumerate(zip(IDS, PROMPTS, strict=True))
    ]
    right = [(id_, [0, 7]) for id_ in IDS]
    part = Part("test", pl.DataFrame(asked, schema=REQUEST_SCHEMA, orient="row"),
                pl.DataFrame(right, schema=REFERENCE_SCHEMA, orient="row"))  # fmt: skip
    card = dataset_card("bundle-synthetic").model_copy(
        update={"name": "toy", "licence": HOSTILE[0], "homepage": HOSTILE[4], "quirks": HOSTILE}
    )
    catalog = Catalog(pl.DataFrame(rows, schema=CATALOG_SCHEMA, orient="row"))
    return SlateDataset("toy", "synthetic", card, catalog, part, part, part, slate_length=10)


@pytest.fixture(scope="module")
def runs(make_run_in: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "runs"
    make = make_run_in(folder)
    asked = {"ids": IDS, "prompts": PROMPTS}

    def slates(first: int, samples: int = 1) -> list[list[list[str]]]:
        return [[[f"i{(first + 3 * s + i) % N}" for i in range(5)] for s in range(samples)] for _ in range(P)]

    make(
        scores(0.4),
        model="bm25",
        slates=slates(0),
        record={"latency": latency(2.0), "cost": {"parameters": 0.0}},
        **asked,
    )
    for seed in (0, 1):
        curves = {"loss": [[1, 2.0], [2, float("nan")], [3, 1.0]], "valid": [[1, 0.2], [3, 0.4]]}
        card = {"title": HOSTILE[1], "summary": HOSTILE[0], "departures": HOSTILE, "paper": HOSTILE[5]}
        record = {"latency": latency(9.0), "fit": {"curves": curves, "seconds": 3.0}, "model_card": card,
                  "cost": {"parameters": 6.1e6, "nfe": 10.0}, "label": f"dmsg {HOSTILE[0]}",
                  "packages": {"torch": HOSTILE[0]}, "stochastic": True}  # fmt: skip
        make(scores(0.6, 3), model="dmsg", seed=seed, samples=3, slates=slates(5, 3), sampling={"steps": 10},
             record=record, **asked)  # fmt: skip
    make(scores(0.05), model="random", slates=slates(9), record={"latency": latency(1.0)}, **asked)
    make(scores(1.0), model="ceiling:reference", slates=slates(0), **asked)
    make(scores(0.5), model="dense", k=20, record={"created": "2025-01-01"}, **asked)
    make(scores(0.5), model="higr", state="failed", record={"reason": f"{HOSTILE[1]} {'long' * 40}"}, **asked)
    trials = {"trial": [0, 1], "best": [False, True], "model": ["dmsg", HOSTILE[0]], "study": ["0123456789"] * 2,
              "budget": ["smoke"] * 2, "fingerprint": ["f00d"] * 2, "steps": [5, 10], "ndcg_sim_at_10": [0.4, 0.5],
              "settings": ['{"steps": 5}', '{"steps": 10}'], "latency_p50_ms": [2.0, None]}  # fmt: skip
    study = folder / "sweeps" / "toy" / "dmsg" / "0123"
    study.mkdir(parents=True)
    pl.DataFrame(trials).write_parquet(study / "trials.parquet")
    return folder


@pytest.fixture(scope="module")
def board(runs: Path) -> Board:
    return build_board(list_runs(runs)[0], "toy", k=10)


@pytest.fixture(scope="module")
def page(board: Board, dataset: SlateDataset, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    claims = Claims("how", ["claim", "verdict"], [[HOSTILE[0], "held"]], verdict=1)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(
        render(board, dataset, Extras(claims, sweep_plots(board, read_sweeps(runs, "toy")))), encoding="utf-8"
    )
    return path


def drawn(browser: Any) -> None:
    """Bring every plot near the screen and wait until it is drawn."""
    browser.evaluate("document.querySelectorAll('.chart').forEach(c => c.scrollIntoView())")
    charts = browser.evaluate("document.querySelectorAll('.chart').length")
    for i in range(charts):
        browser.evaluate(f"document.querySelectorAll('.chart')[{i}].scrollIntoView()")
        browser.wait(f"document.querySelectorAll('.chart')[{i}].querySelector('svg') !== null")


def test_everything_stands_and_nobody_is_asked(browser: Any, page: Path) -> None:
    browser.open(page)
    drawn(browser)
    headings = browser.evaluate("[...document.querySelectorAll('main h2')].map(h => h.textContent)")
    assert headings == ["Board", "Plots", "Prompts", "Every metric", "Model cards", "Claims", "Data card", "Runs"]
    plots = browser.evaluate("[...document.querySelectorAll('.chart')].map(c => c.dataset.figure)")
    assert plots == [
        "speed",
        "freshness",
        "popularity",
        "samples-freshness",
        "domains",
        "validation",
        "loss-0",
        "sweep-steps",
        "sweep-latency_p50_ms",
    ]
    assert browser.evaluate("document.querySelectorAll('.chart path').length") > 20
    speed = browser.evaluate("document.querySelector('#figure-speed svg').textContent")
    assert f"dmsg {HOSTILE[0]} (steps 10)" in speed  # a statement about speed names its steps
    text = browser.evaluate("document.body.innerText")
    assert "failed" in text and "k 20 instead of 10" in text and "6.1 M" in text
    assert browser.complaints == []
    assert [url.rsplit("/", 1)[1] for url in browser.requests] == ["report.html"]


def test_foreign_text_is_only_text(browser: Any, page: Path) -> None:
    browser.open(page)
    drawn(browser)
    shown = []
    for p in range(P):
        browser.evaluate(f"(() => {{ const list = document.getElementById('prompt-list'); list.value = {p}; "
                         "list.dispatchEvent(new Event('change')); })()")  # fmt: skip
        shown.append(browser.evaluate("document.querySelector('#prompt blockquote').textContent"))
    assert shown == PROMPTS
    titles = browser.evaluate("[...document.querySelectorAll('.slate.reference li')].map(li => li.textContent)")
    assert titles == [f"✓ {HOSTILE[0]} (hit)by bm25", f"✓ title 7 (hit)by dmsg {HOSTILE[0]}"]
    assert browser.evaluate("typeof window.broken") == "undefined"
    foreign = "img, iframe, object, [onerror], main script, main a[href^=j]"
    assert browser.evaluate(f"document.querySelectorAll('{foreign}').length") == 0
    assert browser.evaluate("document.querySelectorAll('script').length") == 4
    assert browser.complaints == []


def test_the_policy_stops_a_script_that_got_in(browser: Any, page: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    foreign = "<script>window.broken = 5</script><img src='https://example.org/x.png'><p onclick='1' style='color:red'>"
    spoilt.write_text(page.read_text().replace("<main>", f"<main>{foreign}"))
    browser.open(spoilt)
    assert browser.evaluate("typeof window.broken") == "undefined"
    stopped = "\n".join(line for line in browser.complaints if "Content Security Policy" in line)
    assert all(f"{kind}-src" in stopped for kind in ("script", "img", "style"))


def test_sorting_with_the_keyboard(browser: Any, page: Path) -> None:
    browser.open(page)

    def column() -> list[str]:
        return browser.evaluate("[...document.querySelectorAll('#board-table tbody tr')].map(r => r.cells[1].querySelector('.label').textContent.split(' ')[0])")  # fmt: skip  # noqa: E501

    def press(head: str) -> Any:
        find = f"[...document.querySelectorAll('#board-table th button')].find(b => b.textContent === '{head}')"
        browser.evaluate(f"{find}.focus()")
        browser.press("Enter")
        return browser.evaluate(f"{find}.parentNode.getAttribute('aria-sort')")

    assert column() == ["dmsg", "bm25", "random", "ceiling:reference"]
    assert press("NDCG@10") == "descending"
    assert column() == ["ceiling:reference", "dmsg", "bm25", "random"]
    assert press("NDCG@10") == "ascending"
    assert column() == ["random", "bm25", "dmsg", "ceiling:reference"]
    assert press("p99") == "ascending"
    assert column() == ["random", "bm25", "dmsg", "ceiling:reference"]  # without a figure: last
    assert press("p99") == "descending"
    assert column() == ["dmsg", "bm25", "random", "ceiling:reference"]
    assert browser.evaluate("document.querySelectorAll('[aria-sort]').length") == 1


def test_help_opens_and_closes_with_the_keyboard(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.evaluate("document.querySelector('#board-table button.help').focus()")
    browser.press("Enter")
    text = browser.evaluate("document.querySelector('.popover:popover-open').textContent")
    assert "NDCGSim@10" in text and "higher is better" in text
    browser.press("Escape")
    assert browser.evaluate("document.querySelector('.popover:popover-open')") is None


CHOOSE = ("(value => { const list = document.getElementById('sample-list'); list.value = value; "
          "list.dispatchEvent(new Event('change')); })")  # fmt: skip


def test_the_explorer_finds_prompts_and_marks_hits(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.evaluate("(() => { const box = document.getElementById('prompt-search'); box.value = 'CAMPING 7'; "
                     "box.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert browser.evaluate("document.getElementById('prompt-count').textContent") == "Prompt (1 of 12)"
    cards = browser.evaluate("[...document.querySelectorAll('.slate h4')].map(h => h.textContent.split(' ')[0])")
    assert cards == ["Reference", "dmsg", "bm25", "random"]

    def hits() -> list[str]:
        return browser.evaluate(
            "[...document.querySelectorAll('.slate:not(.reference) li.hit')].map(li => li.textContent)"
        )

    assert hits() == ["✓ title 7 (hit)", f"✓ {HOSTILE[0]} (hit)"]  # dmsg i5..i9, bm25 i0..i4, random i9..i13
    browser.evaluate(f"{CHOOSE}('1')")  # dmsg's second sample: i8..i12
    assert hits() == [f"✓ {HOSTILE[0]} (hit)"]
    browser.evaluate(f"{CHOOSE}('all')")
    assert browser.evaluate("document.querySelectorAll('.slate.all .columns > div').length") == 3
    assert browser.evaluate("document.querySelectorAll('.slate.all .new').length") == 6  # 3 of 5 in samples 2 and 3
    browser.evaluate("document.querySelector('#system-list input').click()")
    assert browser.evaluate("document.querySelectorAll('.slate').length") == 3
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_only_down(browser: Any, page: Path, dark: bool) -> None:
    browser.open(page, width=360, height=740, dark=dark)
    drawn(browser)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.evaluate(f"{CHOOSE}('all')")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    light = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
    assert light is not dark


# --- without a browser ---------------------------------------------------------------------------------------


def test_the_explorer_leaves_out_samples_then_prompts_and_says_so(board: Board, dataset: SlateDataset) -> None:
    whole = explorer(board, dataset)
    dmsg = whole["systems"][0]
    assert [len(slates) for slates in dmsg["slates"]] == [3] * P
    assert [whole["titles"][i] for i in dmsg["slates"][2][1]] == [f"title {i}" for i in range(8, 13)]
    expected = board.systems[0].scores[0].values["ndcg_sim_at_10"]
    np.testing.assert_allclose(dmsg["each"], expected, atol=6e-4)
    np.testing.assert_allclose(dmsg["score"], expected.mean(1), atol=6e-4)
    size = len(json.dumps(whole, separators=(",", ":")))
    fewer = explorer(board, dataset, limit=int(size * 0.93))
    assert [len(slates) for slates in fewer["systems"][0]["slates"]] == [2] * P
    assert "the first 2 of 3 samples are here" in fewer["notes"]
    least = explorer(board, dataset, limit=size // 3)
    assert len(least["prompts"]["ids"]) < P and len(json.dumps(least, separators=(",", ":"))) <= size // 3 + 200
    assert f"{len(least['prompts']['ids'])} of {P} requests are here, taken evenly" in least["notes"]


def test_significance_stands_on_the_board(board: Board) -> None:
    assert [system.better_than for system in board.systems] == [["bm25", "random"], ["random"], [], []]


def test_the_command_writes_one_file_also_without_the_data(runs: Path, tmp_path: Path) -> None:
    path = report("toy", tmp_path / "new" / "page.html", k=10, runs=runs)
    text = path.read_text(encoding="utf-8")
    assert "titles and references are left out" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"']?(http|//|file)", text)
    assert path.stat().st_size < 2e6
