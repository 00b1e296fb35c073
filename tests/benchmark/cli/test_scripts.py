"""Data in other scripts from the command line: found, alike however spelt, and said where nothing can be found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import normalize

import pytest

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.grids.bench import bench_cells
from slatebench.datasets.health import health_lines
from slatebench.leaderboards.tables import _baseline
from slatebench.metrics.bertscore import SlateBertScore

THEMES = ["帐篷", "咖啡", "रसोई", "रसाई", "กาแฟสด", "crème brûlée"]
PARTS = ("train", "train", "valid", "test")


def data(folder: Path, *, titles: list[str], form: str = "NFC") -> Path:
    """Five items of each theme; each theme is asked for in each part, in a normal form of its own."""
    (folder / "curated").mkdir(parents=True)
    shown = [f"{title} {i}号" if titles is THEMES else title for i, title in enumerate(titles * 5)]
    items = [{"id": f"i{i}", "title": title} for i, title in enumerate(shown)]
    slates = [{"prompt": normalize(form, f"{theme} {'要求' * (n % 2)}"), "items": [f"i{t + 6 * n}", f"i{t + 24}"],
               "group": f"{part}-{theme}-{n}", "part": part}
              for n, part in enumerate(PARTS) for t, theme in enumerate(THEMES)]  # fmt: skip
    for name, rows in (("catalog", items), ("slates", slates)):
        lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / "curated" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def places(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scripts")
    return {
        "NFC": data(folder / "nfc", titles=THEMES),
        "NFD": data(folder / "nfd", titles=THEMES, form="NFD"),
        "signs": data(folder / "signs", titles=["!!!", "...", "???", "+", "-", "%"]),
    }


@pytest.fixture(scope="module")
def benched(places: dict[str, Path], slatebench: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Metrics and notice of bm25 and popularity by place."""
    found = {}
    for name, folder in places.items():
        where = {"SLATEBENCH_DATA": str(folder), "SLATEBENCH_RUNS": str(folder / "runs")}
        done = slatebench("bench", "bm25", "popularity", "random", "-d", "curated", "--budget", "smoke", "--no-latency",
                          "--encoder", "hash", "--json", **where)  # fmt: skip
        assert done.code == 0, done.err
        found[name] = {run["model"]: run for run in json.loads(done.out)["runs"]}
    return found


def test_words_of_scripts_without_blanks_are_found(benched):
    runs = benched["NFC"]
    assert runs["bm25"]["metrics"]["ndcg_at_10"]["mean"] > 0.6 > runs["popularity"]["metrics"]["ndcg_at_10"]["mean"]
    assert runs["random"]["metrics"]["ndcg_sim_at_10"]["mean"] > runs["random"]["metrics"]["ndcg_at_10"]["mean"]
    assert runs["bm25"]["notice"] is None


def test_a_normal_form_changes_no_figure(benched):
    for model, run in benched["NFC"].items():
        other = benched["NFD"][model]
        assert (run["metrics"], run["fingerprint"]) == (other["metrics"], other["fingerprint"]), model


def test_an_empty_evaluation_space_is_said(benched, places, slatebench):
    line = "30 of 30 slate items have no evaluation vector: NDCGSim is plain NDCG for them"
    run = benched["signs"]["bm25"]
    assert run["metrics"]["ndcg_sim_at_10"] == run["metrics"]["ndcg_at_10"] and line in run["notice"]
    where = {"SLATEBENCH_DATA": str(places["signs"]), "SLATEBENCH_RUNS": str(places["signs"] / "runs")}
    assert f"NOTE: {line}" in slatebench("leaderboard", "show", "-d", "curated", **where).out
    checked = slatebench("datasets", "check", str(places["signs"] / "curated"))
    assert checked.code == 0 and f"note: {line}" in checked.out
    assert "note: 30 of 30 items hold no word" in checked.out
    record = json.loads(next((places["signs"] / "runs").rglob("record.json")).read_text())
    assert record["text_health"]["slate_items_without_vector"] == 30


def test_the_audit_says_what_the_encoder_does_not_know(places, slatebench):
    done = slatebench("datasets", "audit", "curated", "--json", SLATEBENCH_DATA=str(places["NFC"]))
    health = json.loads(done.out)["texts"]
    shown = slatebench("datasets", "audit", "curated", SLATEBENCH_DATA=str(places["NFC"]))
    assert "items are mostly unknown to the text encoder" in shown.out
    assert health["items"] == 30 and health["slate_items_without_vector"] == 0 == health["items_without_words"]
    assert health["items_unknown"] >= 10 and 0 < health["unknown_pieces_of_prompts"] < 1


@pytest.mark.parametrize("asked", ["crème brûlée", "रसोई", "กาแฟ"])
def test_a_typed_prompt_is_answered_alike_in_both_forms(benched, places, slatebench, asked):
    where = {"SLATEBENCH_DATA": str(places["NFC"]), "SLATEBENCH_RUNS": str(places["NFC"] / "generated")}
    slates = []
    for form in ("NFC", "NFD"):
        done = slatebench("generate", "bm25", "-d", "curated", "--prompt", normalize(form, asked), "--json", **where)
        slates.append(json.loads(done.out)["slates"])
    assert slates[0] == slates[1] and all(asked in title for title in slates[0][0][:5])


def test_nothing_to_be_seen_is_no_prompt(benched, places, slatebench):
    done = slatebench(
        "generate", "bm25", "-d", "curated", "--prompt", "\u200b\ufeff", SLATEBENCH_DATA=str(places["NFC"])
    )
    assert done.code == 2 and "the prompt is empty" in done.err


def test_texts_that_bertscore_does_not_know_are_counted():
    scorer = SlateBertScore(["帐篷用品", "咖啡", "🔥", "a tent"])
    assert (scorer.record["texts"], scorer.record["unknown_texts"]) == (4, 3)
    record = scorer.record | {"baseline": {"bertscore_f1": 0.5}}
    run: Any = SimpleNamespace(record=SimpleNamespace(bertscore=record))
    assert "3 of 4 item texts are mostly unknown to its model" in (_baseline(run) or "")
    run.record.bertscore = record | {"unknown_texts": 0}
    assert "unknown" not in (_baseline(run) or "")


def test_a_few_odd_texts_are_no_news():
    few = {"items": 1000, "items_without_words": 9, "prompts": 0, "prompts_unknown": 0}
    assert health_lines(few) == [] and health_lines({}) == []
    assert health_lines(few | {"items_without_words": 90}) == [
        "90 of 1,000 items hold no word: nothing finds them by words"
    ]


def test_emoji_alone_are_alike(plugins, tmp_path, monkeypatch):
    monkeypatch.setenv("SLATEBENCH_DATA", str(data(tmp_path, titles=["😀", "🎉", "🔥", "👍🏽", "❤️", "🇫🇷"])))
    cells = [Cell(model="popularity", dataset="curated", budget="smoke", encoder="hash")]
    run = bench_cells(cells, latency=False, mlflow=False, runs=tmp_path / "runs").runs[0]
    metrics = run.record.metrics
    assert (metrics["ndcg_sim_at_10"].mean or 0) > (metrics["ndcg_at_10"].mean or 0) and run.record.notice is None
