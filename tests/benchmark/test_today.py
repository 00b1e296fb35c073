"""Which data a name means, and which run: never another's without a word, none that is out of date beside a new one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from slatebench.benchmark import bench, compare, export_mlflow, gate, generate, leaderboard, rescore
from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.leaderboards.records import Run, list_runs, read_run, run_folder, runs_of, write_record
from slatebench.leaderboards.tables import caption

QUICK: dict[str, Any] = {"budget": "smoke", "latency": False, "mlflow": False}
PLACES = ("lake", "forest", "city", "desert", "island")


def brought(folder: Path, word: str) -> None:
    """Data of one's own: 40 items, 60 slates, none like another; `word` stands in every title."""
    data = folder / "curated"
    data.mkdir(parents=True, exist_ok=True)
    items = [{"id": f"x{i}", "title": f"{word} {PLACES[i % 5]} {i}", "categories": [["All", PLACES[i % 5]]]}
             for i in range(40)]  # fmt: skip
    slates = [{"request": f"q{i}", "prompt": f"{PLACES[i % 5]} days {i}", "group": f"g{i}",
               "items": [f"x{i % 5 + 5 * ((i // 5 + j) % 8)}" for j in range(2 + i // 40)]}
              for i in range(60)]  # fmt: skip
    for name, rows in (("catalog", items), ("slates", slates)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def benched(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` and `runs`: bm25 and the floors on the data."""
    folder = tmp_path_factory.mktemp("today")
    brought(folder / "data", "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLATEBENCH_DATA", str(folder / "data"))
        assert bench("bm25", "curated", runs=folder / "runs", **QUICK).ok
    return folder


@pytest.fixture
def place(benched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `benched` for one test."""
    shutil.copytree(benched, tmp_path / "place")
    monkeypatch.setenv("SLATEBENCH_DATA", str(tmp_path / "place" / "data"))
    return tmp_path / "place"


def run_of(place: Path, model: str) -> Run:
    (found,) = [run for run in list_runs(place / "runs", "curated")[0] if run.spec.model == model]
    return found


def again(run: Run, place: Path, *, state: str = "done", created: str = "2099-01-01T00:00:00+00:00",
          version: str | None = None, **changes: Any) -> Run:  # fmt: skip
    """A later record of the same system."""
    versions = run.spec.versions.model_copy(update={"model": version} if version else {})
    spec = run.spec.model_copy(update=changes | {"versions": versions})
    record = run.record.model_copy(update={"spec": spec, "state": state, "created": created, "reason": "it broke"})
    folder = run_folder(place / "runs", spec)
    shutil.copytree(run.folder, folder)
    write_record(folder, record)
    return read_run(folder)


# --- other data than today's ----------------------------------------------------------------------------------


def test_runs_on_older_data_are_refused_and_told(place: Path) -> None:
    runs = place / "runs"
    ours: dict[str, Any] = {"dataset": "curated", "runs": runs}
    assert compare("bm25", "random", **ours).notices == []
    brought(place / "data", "new")
    for call in (compare, gate):
        with pytest.raises(UsageError, match=r"of other data than today's .*slatebench bench bm25 --dataset curated"):
            call("bm25", "random", **ours)
    folders = [str(run_of(place, model).folder) for model in ("bm25", "random")]
    assert "of other data than today's" in " ".join(compare(*folders, runs=runs).notices)  # named exactly: told alone
    assert any("not of today: of other data" in line for line in caption(leaderboard("curated", runs=runs)))
    assert bench("popularity", "curated", runs=runs, **QUICK).ok
    board = leaderboard("curated", runs=runs)
    assert {system.label for system in board.systems if system.kind != "ceiling"} == {"popularity", "random"}
    assert dict(board.not_comparable)["bm25"].startswith("of other data than today's") and not board.notices
    with pytest.raises(UsageError, match="bm25 on curated is of other data"):  # only random's is of today
        compare("random", "bm25", **ours)


def test_generate_fits_anew_where_the_data_changed(place: Path) -> None:
    asked: dict[str, Any] = {"prompt": "lake", "k": 3, "runs": place / "runs"}
    before = generate("bm25", "curated", **asked)
    assert all(title.startswith("old ") for title in before.slates[0]) and len(before.notes) == 1
    brought(place / "data", "new")
    after = generate("bm25", "curated", **asked)
    assert all(title.startswith("new ") for title in after.slates[0])
    assert "of other data than today's" in after.notes[0] and "fitted now" in after.notes[0]


def test_without_the_data_the_newest_runs_are_held_together_and_it_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = place / "runs"
    monkeypatch.setenv("SLATEBENCH_DATA", "")
    ours: dict[str, Any] = {"dataset": "curated", "runs": runs}
    assert (
        "not checked whether the runs on 'curated' are of today's data" in compare("bm25", "random", **ours).notices[0]
    )
    assert leaderboard("curated", runs=runs).dataset == "curated"
    again(run_of(place, "bm25"), place, fingerprint="another")
    with pytest.raises(UsageError, match="differ in fingerprint"):
        gate("bm25", "random", **ours)


# --- older versions, failed since -------------------------------------------------------------------------------


def test_a_run_of_an_older_version_is_refused(place: Path) -> None:
    run = run_of(place, "bm25")
    again(run, place, version="0")
    shutil.rmtree(run.folder)
    with pytest.raises(UsageError, match=r"of another version of the model than today's \(0, now"):
        gate("bm25", "random", dataset="curated", runs=place / "runs")
    board = leaderboard("curated", runs=place / "runs")
    assert "another version of the model" in dict(board.not_comparable)["bm25"]


def test_a_failure_after_the_last_good_run_is_no_good_run(place: Path) -> None:
    runs = place / "runs"
    again(run_of(place, "bm25"), place, state="failed", version="0", samples=7)  # of code that is gone: no matter
    assert compare("bm25", "random", dataset="curated", runs=runs).notices == []
    again(run_of(place, "popularity"), place, state="failed", seed=5)
    for a, b in (("bm25", "popularity"), ("popularity", "bm25")):
        with pytest.raises(UsageError, match=r"the newest run of popularity on curated failed \(it broke\)"):
            gate(a, b, dataset="curated", runs=runs)
    assert "a later run of popularity failed: it broke" in generate("popularity", "curated", "x", runs=runs).notes


# --- real and synthetic -------------------------------------------------------------------------------------------


def test_the_twin_is_found_by_the_real_name_and_loudly(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLATEBENCH_DATA", raising=False)
    assert bench("popularity", "lost", runs=tmp_path, **QUICK).ok  # `lost` can't be had: its twin `tiny` stands in
    board = leaderboard("lost", runs=tmp_path)
    assert board.dataset == "tiny" and any("NOT REAL DATA: 'tiny' stands in for 'lost'" in n for n in board.notices)
    assert sum("NOT REAL DATA" in notice for notice in board.notices) == 1  # once, though two reasons were found
    found = compare("popularity", "random", dataset="lost", runs=tmp_path)
    assert sum("NOT REAL DATA" in notice for notice in found.notices) == 1
    assert found.dataset == "tiny" and "NOT REAL DATA" in " ".join(found.notices)
    assert "NOT REAL DATA" in " ".join(gate("popularity", "random", dataset="lost", runs=tmp_path).notices)
    assert "NOT REAL DATA" in " ".join(generate("popularity", "lost", "tent", runs=tmp_path).notes)
    with pytest.raises(UsageError, match=r"no finished run of tiny \(valid\).* Datasets with runs: tiny; NOT REAL"):
        leaderboard("lost", part="valid", runs=tmp_path)


def test_a_twins_run_is_none_of_the_real_data(place: Path) -> None:
    runs, real = place / "runs", place / "runs" / "curated"
    real.rename(runs / "curated-synthetic")  # as if the twin alone had been run
    for call in (
        lambda: leaderboard("curated", runs=runs),
        lambda: compare("bm25", "random", dataset="curated", runs=runs),
    ):
        with pytest.raises(UsageError, match=r"--dataset curated-synthetic. Datasets with runs: curated-synthetic"):
            call()
    made = generate("bm25", "curated", "lake", runs=runs)
    assert made.slates[0][0].startswith("old ") and "no fitted run of bm25 on curated yet" in made.notes[0]


# --- what is read from disk -----------------------------------------------------------------------------------------


def changed(run: Run, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    frame = pl.read_parquet(run.folder / name)
    rows = frame.to_dicts()
    rows = change(rows) or rows
    pl.DataFrame(rows, schema=frame.schema).write_parquet(run.folder / name)


def put(row: int, slot: int, item: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[row]["items"][slot] = rows[row]["items"][item] if isinstance(item, int) else item

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (put(1, 0, 1), "an item is repeated"),
        (put(1, 0, "stranger"), "does not know 'stranger'"),
        (lambda rows: rows[2].update(items=rows[2]["items"][:9]), "not 10 slots"),
        (lambda rows: [row | {"items": row["items"][:4]} for row in rows], "not 10 slots"),
        (lambda rows: rows[0].update(items=None), "not 10 slots"),
        (lambda rows: rows[1:] + rows[:1], "requests in their order"),
        (lambda rows: rows[:-1], "requests in their order"),
        (lambda rows: [*rows, rows[-1]], "requests in their order"),
        (lambda rows: rows[0].update(sample=1), "requests in their order"),
    ],
)
def test_slates_that_no_model_may_emit_are_not_scored(place: Path, change: Any, word: str) -> None:
    run = run_of(place, "bm25")
    before = (run.folder / "record.json").read_text()
    changed(run, "slates.parquet", change)
    with pytest.raises(SlateBenchError, match=word) as told:
        rescore([run])
    assert "slates.parquet" in str(told.value) and "\n" not in str(told.value)
    assert (run.folder / "record.json").read_text() == before


def test_files_that_are_no_tables_of_a_run_are_one_clear_line(place: Path) -> None:
    run = run_of(place, "bm25")
    for name in ("slates.parquet", "diagnostics.parquet"):
        kept = (run.folder / name).read_bytes()
        for content in (b"junk", None, "columns"):
            if content == "columns":
                pl.DataFrame({"request": ["a"], "ndcg_at_10": ["b"]}).write_parquet(run.folder / name)
            elif isinstance(content, bytes):
                (run.folder / name).write_bytes(content)
            else:
                (run.folder / name).unlink()
            with pytest.raises(SlateBenchError, match=name):
                rescore([read_run(run.folder)])
        (run.folder / name).write_bytes(kept)
    assert rescore([read_run(run.folder)])[0].record.metrics == run.record.metrics


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1:],
        lambda rows: [*rows, rows[0]],
        lambda rows: [row for row in rows if row["request"] != rows[0]["request"]],
        lambda rows: [row for row in rows if row["metric"] != "ndcg_at_10"],
        lambda rows: rows[0].update(value=float("nan")),
        lambda rows: rows[0].update(value=7.0),
    ],
)
def test_damaged_scores_stand_on_no_board(place: Path, change: Any) -> None:
    run = run_of(place, "bm25")
    changed(run, "scores.parquet", change)
    board = leaderboard("curated", runs=place / "runs")
    assert "bm25" not in [system.label for system in board.systems]
    assert "scores.parquet" in dict(board.not_comparable)["bm25"]
    with pytest.raises(SlateBenchError, match=r"scores\.parquet.*--rerun"):
        compare("bm25", "random", dataset="curated", runs=place / "runs")


# --- where a run stands ---------------------------------------------------------------------------------------------


def test_a_lonely_copy_of_a_run_writes_nowhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(place, "bm25")
    lonely = place / "a" / "b" / "lonely"
    shutil.copytree(run.folder, lonely)
    before = sorted(place.rglob("*"))
    for call in (lambda run: rescore([run]), export_mlflow):
        with pytest.raises(UsageError, match=f"stands in no runs folder.*curated/bm25/{run.spec.hash}"):
            call(read_run(lonely))
    assert sorted(place.rglob("*")) == before
    (place / "link").symlink_to(run.folder)
    monkeypatch.chdir(run.folder)
    for name in (".", place / "link", f"{run.folder}/"):
        assert runs_of(read_run(Path(name))) == (place / "runs").resolve()
