"""Grids: suites from TOML, several cells at a time, parts of a suite on several machines, what a person sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slatebench.benchmark.cells.cell import Cell, Plan
from slatebench.benchmark.cells.data import cutoffs_of, load_data
from slatebench.benchmark.cells.plan import plan as plan_of
from slatebench.benchmark.grids.local import run_cells
from slatebench.benchmark.grids.schedule import expected_seconds, fit_key, longest_first, take_shard
from slatebench.benchmark.grids.suite import bench_suite, parse_shard, read_suite, suite_cells, suite_names
from slatebench.benchmark.processes.worker import Outcome, side_by_side
from slatebench.datasets.card import builtin_cards
from slatebench.datasets.errors import DataError, SlateBenchError, UsageError
from slatebench.leaderboards.records import Run, list_runs
from slatebench.leaderboards.schema import Record, RunSpec, Versions
from slatebench.models.base import resolve
from slatebench.models.registry import model_class, parse_model

OWN = """
title = "mine"
datasets = ["tiny"]
seeds = [0, 1]
budget = "smoke"
encoder = "hash"

[[systems]]
models = ["bm25", "random", "dense", "dense:sampled"]

[[systems]]
models = ["bm25"]
settings = [{k1 = 0.5}, {k1 = 2.0}]
seeds = [0]

[[systems]]
models = ["dmsg"]
seeds = [0]
timeout = 0.001
"""
SYSTEMS = {"bm25", "random", "dense", "dense:sampled", "bm25 k1=0.5", "bm25 k1=2.0", "dmsg"}


def plan(model: str = "dense", seed: int = 0, fit: str | None = None, dataset: str = "toy") -> Plan:
    spec = RunSpec(
        dataset=dataset, source="synthetic", fingerprint="f", model=model, config={}, sampling={}, seed=seed, k=5,
        samples=1, budget="smoke", encoder="hash", cutoffs=[5],
        versions=Versions(model="1", metrics="1", features="1", evaluation="1"),
    )  # fmt: skip
    return Plan(Cell(dataset=dataset, model=model, seed=seed), spec, None, {}, fit=fit)


class Idle:
    """A worker that has nothing to stop."""

    def stop(self) -> None:
        pass


@pytest.mark.parametrize(("k", "cutoffs"), [(20, [10, 5, 20]), (10, [10, 5]), (7, [5, 7]), (3, [3])])
def test_metrics_are_cut_where_the_card_says_and_at_the_whole_slate(k: int, cutoffs: list[int]) -> None:
    assert cutoffs_of(load_data(Cell(dataset="bundle-synthetic", model="bm25")).dataset, k) == cutoffs


# --- scheduling ------------------------------------------------------------------------------------


def test_cells_run_side_by_side_but_never_two_of_one_fit() -> None:
    plans = [plan(seed=seed, fit=f"fit{seed % 3}") for seed in range(9)]
    working: set[str] = set()
    most, lock = 0, threading.Lock()

    def run(worker: Any, one: Plan, stopped: threading.Event) -> Any:
        nonlocal most
        with lock:
            assert fit_key(one) not in working
            working.add(fit_key(one))
            most = max(most, len(working))
        time.sleep(0.02)
        with lock:
            working.discard(fit_key(one))
        return one.spec.seed

    assert run_cells(plans, [Idle(), Idle()], run) == list(range(9))  # type: ignore[list-item]
    assert most == 2


def test_our_own_error_in_a_thread_ends_the_grid() -> None:
    begun = []

    def run(worker: Any, one: Plan, stopped: threading.Event) -> Any:
        begun.append(one.spec.seed)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        run_cells([plan(seed=seed) for seed in range(5)], [Idle()], run)  # type: ignore[list-item]
    assert begun == [0]


class Busy:
    """A worker that works until it is stopped."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def stop(self) -> None:
        self.ended.set()


def test_the_first_error_ends_the_work_of_all() -> None:
    broken, busy, stopped = Busy(), Busy(), threading.Event()

    def work(worker: Any) -> None:
        if worker is broken:
            raise OSError("no space left")
        assert worker.ended.wait(60) and stopped.is_set()

    with pytest.raises(OSError, match="no space"):
        side_by_side([busy, broken], work, stopped)  # type: ignore[list-item]
    assert busy.ended.is_set()


@pytest.mark.parametrize(
    ("outcome", "error", "says"),
    [
        (Outcome({"event": "failed", "kind": "DataError"}, "failed", "no such file"), DataError, "no such file"),
        (Outcome({"event": "failed", "kind": "UsageError"}, "failed", "no such name"), UsageError, "no such name"),
        (Outcome({"event": "failed", "kind": "OSError"}, "failed", "broken"), SlateBenchError, "bm25: broken"),
        (Outcome(None, "timeout", "stopped after 1 s"), SlateBenchError, "bm25: stopped after 1 s"),
    ],
)
def test_a_command_that_failed_is_its_error_here(outcome: Outcome, error: type, says: str) -> None:
    with pytest.raises(SlateBenchError) as raised:
        outcome.checked("bm25")
    assert type(raised.value) is error and str(raised.value) == says
    assert Outcome({"event": "planned"}).checked("bm25") == {"event": "planned"}


@given(st.lists(st.sampled_from("abcdefg"), max_size=40), st.integers(1, 6))
def test_shards_are_disjoint_and_complete_and_keep_a_fit_together(fits: list[str], n: int) -> None:
    plans = [plan(seed=seed, fit=fit) for seed, fit in enumerate(fits)]
    parts = [take_shard(plans, (i, n)) for i in range(1, n + 1)]
    assert sorted(p.spec.seed for part in parts for p in part) == list(range(len(plans)))
    held = [{fit_key(p) for p in part} for part in parts]
    assert sum(map(len, held)) == len(set(fits))
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_time_is_known_from_earlier_records_and_a_fit_is_paid_once(tmp_path: Path) -> None:
    timings = {"fit": 0.1, "generate": 20.0, "score": 4.0}
    record = Record(
        spec=plan("dmsg").spec, label="dmsg encoder=hash", state="done", timings=timings, fit={"seconds": 100.0}
    )
    plans = [plan("dmsg", 1, "a"), plan("dmsg:prior", 1, "a"), plan("dmsg", 2, "kept"), plan("s2s"),
             plan("dmsg", dataset="other")]  # fmt: skip
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "fit.json").touch()
    found = expected_seconds(plans, [Run(tmp_path, record)], tmp_path)
    assert [found.get(p.spec.hash) for p in plans] == [124.0, 24.0, 24.0, None, None]
    order = longest_first(plans, found)
    assert [p.spec.model for p in order[:2]] == ["s2s", "dmsg"] and order[2].spec.hash == plans[0].spec.hash


# --- the file --------------------------------------------------------------------------------------


def test_the_shipped_suites_name_what_exists() -> None:
    assert suite_names() == ["card", "everything", "histories"]
    cells = suite_cells(read_suite("card"))
    assert {cell.seed for cell in cells} == {0, 1, 2} and {cell.dataset for cell in cells} == {"bundle"}
    addresses = [parse_model(cell.model) for cell in cells]
    assert {"popularity", "bm25", "s2s", "dmsg", "higr", "maskgr", "dense", "hybrid", "prompt2vec"} <= {
        name for name, _ in addresses
    }
    for name, presets in addresses:
        resolve(model_class(name), presets, "standard", {})
    everything = {(cell.dataset, cell.model) for cell in suite_cells(read_suite("everything"), datasets=["bundle"])}
    assert {cell.model for cell in cells} - {model for _, model in everything} <= {
        model for model in (cell.model for cell in cells) if "+" in model
    }
    assert ("bundle", "bm25:sampled") in everything


def test_the_histories_suite_is_planned_on_every_history_card() -> None:
    cells = suite_cells(read_suite("histories"))
    histories = {name: card for name, card in builtin_cards().items() if card.task == "history->slate"}
    frozen = {name for name, card in histories.items() if card.source == "real" and card.statistics}  # no own log
    assert {cell.dataset for cell in cells} == frozen
    for cell in cells:
        name, presets = parse_model(cell.model)
        resolve(model_class(name), presets, "standard", {})
    assert {cell.model for cell in cells if cell.seed == 2} == {"sasrec", "bert4rec", "hstu"}
    planned = [plan_of(cell) for cell in suite_cells(read_suite("histories"), datasets=["sessions-synthetic"])]
    assert len(planned) == 6 + 3 * 3 and not [found.skip for found in planned if found.skip]
    assert {found.spec.headline for found in planned} == {"ndcg_at_10"}
    assert planned[0].ceilings == ("ceiling:reference", "ceiling:train-seen", "reference:oracle")  # run along


def test_a_block_goes_before_the_suite_and_the_command_line_before_both(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN)
    suite = read_suite(str(tmp_path / "mine.toml"))
    cells = suite_cells(suite)
    assert {cell.label for cell in cells} == SYSTEMS
    assert [cell.seed for cell in cells if cell.label == "bm25"] == [0, 1]
    assert [cell.seed for cell in cells if cell.label == "bm25 k1=0.5"] == [0]
    assert [cell.timeout for cell in cells if cell.model == "dmsg"] == [0.001]
    assert {cell.budget for cell in cells} == {"smoke"}
    other = suite_cells(suite, seeds=[7], budget="paper", datasets=["bundle", "tiny"])
    assert {(cell.seed, cell.budget) for cell in other} == {(7, "paper")}
    assert [cell.dataset for cell in other] == ["bundle"] * 7 + ["tiny"] * 7  # dataset by dataset


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("datasets = ['tiny']\n[[systems]]\nmodels = ['bm52']", "did you mean 'bm25'"),
        ("datasets = ['tinny']\n[[systems]]\nmodels = ['bm25']", "did you mean 'tiny'"),
        ("datasets = ['tiny']\nseed = [1]\n[[systems]]\nmodels = ['bm25']", "did you mean 'seeds'"),
        ("datasets = ['tiny']\n[[systems]]\nmodels = ['bm25']\nseting = [{}]", "did you mean 'settings'"),
        ("datasets = ['tiny']\n[[systems]]\nmodel = 'bm25'", "systems.0.models: Field required"),
        ("[[systems]]\nmodels = ['bm25']", "name datasets"),
        ("datasets = [", "can't be read as TOML"),
        (None, "no such file"),
    ],
)
def test_a_mistake_in_the_file_is_one_clear_line(plugins: Path, tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as error:
        suite_cells(read_suite(str(path)))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seeds = [-3]", "seeds: -3"),
        ("seeds = [2.0]", "seeds.0=2.0"),
        ("seeds = [false]", "seeds.0=False"),
        ("seeds = [9223372036854775808]", "seeds: 9223372036854775808"),
        ("seeds = [4, 4]", "seeds: 4 is named twice"),
        ("seeds = []", "seeds: 0 of them"),
        ("timeout = nan", "timeout=nan"),
        ("memory_gib = -inf", "memory_gib=-inf"),
        ("train_share = 0.0", "train_share=0"),
        ("k = true", "k=True"),
        ("samples = 0", "samples=0"),
        ("settings = [{k1 = 1979-05-27}]", "k1=1979-05-27"),
        ("settings = [{k1 = 07:32:00}]", "k1=07:32:00"),
        ("settings = [{k1 = {deep = [1, nan]}}]", "nan"),
        ("settings = []", "settings=[]"),
    ],
)
def test_a_value_that_can_t_be_is_named_before_anything_is_run(
    plugins: Path, tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"[[systems]]\ndatasets = ['tiny']\nmodels = ['bm25']\n{line}\n")
    with pytest.raises(UsageError) as error:
        suite_cells(read_suite(str(path)))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_an_editor_marked_is_read_and_one_of_bytes_refused(plugins: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN, encoding="utf-8-sig")
    assert len(suite_cells(read_suite(str(path)))) == 11
    for content in (b"\xff\xfet", b"title = '\x00'"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="can't be read as TOML"):
            read_suite(str(path))
    with pytest.raises(UsageError, match="can't be read: Is a directory"):
        read_suite(str(Path(tmp_path.rename(tmp_path.with_suffix(".toml")))))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="part/parts"):
        parse_shard(text)


# --- the whole -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite_file(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "mine.toml"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def sharded(suite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The suite in two parts, one after the other, in one runs folder; two cells at a time."""
    runs = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"runs": runs, "jobs": 2, "latency": False, "mlflow": False}
    return runs, [bench_suite(str(suite_file), shard=(i, 2), **options) for i in (1, 2)]


def test_two_parts_make_the_whole_board(sharded: tuple[Path, list[Any]]) -> None:
    runs, (one, two) = sharded
    hashes = [{run.spec.hash for run in part.runs} for part in (one, two)]
    assert not hashes[0] & hashes[1] and all(hashes)
    found, problems = list_runs(runs, "tiny")
    labels = {run.record.label.replace(" encoder=hash", "") for run in found}
    assert not problems and labels >= {*SYSTEMS, "popularity", "ceiling:reference"}
    assert sorted(run.spec.seed for run in found if run.spec.model == "dense:sampled") == [0, 1]
    assert {run.record.state for run in found if run.spec.model != "dmsg"} == {"done"}
    assert {run.record.machine.threads for run in found if run.record.machine} == {1}


def test_the_whole_again_uses_what_is_there_and_says_why_not_all(
    sharded: tuple[Path, list[Any]], suite_file: Path, slatebench: Callable[..., Any]
) -> None:
    runs, _ = sharded
    before = {run.spec.hash: run.record for run in list_runs(runs, "tiny")[0]}
    done = slatebench("bench", "--suite", str(suite_file), "--jobs", "2", "--runs", str(runs), "--no-latency")
    assert done.code == 1  # a cell failed
    after = {run.spec.hash: run.record for run in list_runs(runs, "tiny")[0]}
    assert {key: r for key, r in after.items() if r.state == "done"} == {
        key: r for key, r in before.items() if r.state == "done"
    }
    assert "9 cells asked for: 8 done, 1 timeout" in done.err
    assert "dmsg encoder=hash on tiny, seed 0: timeout: stopped after 0.001 s" in done.err
    assert "log.txt" in done.err
    assert "from before" in done.err and "Traceback" not in done.err
    for label in SYSTEMS - {"dmsg"}:
        assert label in done.out


def test_one_cell_at_a_time_gives_the_same_figures(sharded: tuple[Path, list[Any]], tmp_path: Path) -> None:
    from slatebench.benchmark import bench

    alone = bench(
        "dense:sampled", "tiny", seeds=[1], budget="smoke", encoder="hash", runs=tmp_path, latency=False, mlflow=False
    )
    (run,) = alone.runs
    twin = next(found for found in list_runs(sharded[0], "tiny")[0] if found.spec.hash == run.spec.hash)
    assert run.record.metrics == twin.record.metrics


def test_data_that_cant_be_had_are_left_out_where_others_are_there(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLATEBENCH_DATA", "")
    lost = "[[systems]]\nmodels = ['popularity']\ndatasets = ['lost']\nsource = 'real'\n"
    path = tmp_path / "mine.toml"
    options: dict[str, Any] = {"runs": tmp_path, "budget": "smoke", "latency": False, "mlflow": False}
    path.write_text(lost + "[[systems]]\nmodels = ['popularity']\ndatasets = ['tiny']\nencoder = 'hash'\n")
    found = bench_suite(str(path), **options)
    assert [run.spec.dataset for run in found.runs] == ["tiny"] and "lost is left out" in found.notices[0]
    path.write_text(lost)
    with pytest.raises(DataError, match="does not answer"):
        bench_suite(str(path), **options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bm25", "--suite", "card"), "models beside --suite"),
        (("--suite", "card", "--set", "k1=1"), "--set beside --suite"),
        (("bm25", "-d", "bundle", "--shard", "1/2"), "--shard splits a suite"),
        (("bm25", "-d", "bundle", "--jobs", "0"), "jobs=0"),
    ],
)
def test_what_does_not_go_with_a_suite_is_refused(arguments: tuple[str, ...], words: str) -> None:
    from slatebench.benchmark.cli.app import app

    with pytest.raises(UsageError, match=words):
        app(["bench", *arguments], standalone_mode=False)


# --- the screen ------------------------------------------------------------------------------------


def test_the_live_table_counts_and_says_how_long() -> None:
    from rich.console import Console

    from slatebench.benchmark.cli.screen import GridScreen

    screen = GridScreen(jobs=2)
    first, second, third = (plan(f"model{i}") for i in range(3))
    for one in (first, second, third):
        screen("queued", one.cell, {"expected": 100.0})
    screen("started", first.cell, {"reused": False})
    screen("progress", first.cell, {"at": ("fit", 3, 10, "")})
    screen("started", second.cell, {"reused": False})
    failed = Record(spec=second.spec, label="model1", state="failed", reason="no luck")
    screen("finished", second.cell, {"run": Run(Path("x"), failed), "reused": False})
    assert screen.counts() == "1 queued, 1 running, 1 failed; about 1 min left, then timing"
    console = Console(width=120, record=True)
    console.print(screen.table())
    rows = {line.split()[1]: line for line in console.export_text().splitlines() if "model" in line}
    assert "fit 3/10" in rows["model0"] and "fit" not in rows["model2"]
