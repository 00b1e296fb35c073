"""Records on disk: whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slatebench.datasets.errors import SlateBenchError
from slatebench.leaderboards.records import (
    BESIDE,
    HOST,
    find_run,
    folder_in_the_making,
    list_runs,
    read_run,
    run_folder,
    runs_folder,
    write_text,
)
from slatebench.leaderboards.schema import RunSpec

Make = Callable[..., Any]


def test_the_hash_covers_every_field(make_spec: Make) -> None:
    base = make_spec()
    other = {
        "dataset": "x", "source": "real", "fingerprint": "x", "split_seed": 9, "train_share": 0.5, "part": "valid",
        "model": "x", "config": {"a": 1}, "sampling": {"a": 1}, "seed": 9, "k": 9, "samples": 9, "budget": "paper",
        "encoder": "x", "item_vectors": "x", "bertscore": "x", "repeats": "allowed", "requests": 9, "refit": True,
        "cutoffs": [3], "task": "x", "versions": base.versions.model_copy(update={"metrics": "x"}),
    }  # fmt: skip
    assert set(other) == set(RunSpec.model_fields)
    hashes = {make_spec(**{name: value}).hash for name, value in other.items()}
    assert len(hashes | {base.hash}) == len(other) + 1


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
        max_size=5,
    )
)
def test_the_hash_does_not_depend_on_order_or_on_a_round_trip(make_spec: Make, config: dict) -> None:
    made = make_spec(config=config)
    backwards = make_spec(config=dict(reversed(config.items())))
    again = RunSpec(**json.loads(made.model_dump_json()))
    assert made.hash == backwards.hash == again.hash


def test_seeds_of_one_system_share_the_system(make_spec: Make, make_run: Make) -> None:
    assert make_spec(seed=1).system == make_spec(seed=2).system != make_spec(seed=1, k=5).system


def test_presets_are_folders_of_their_own(make_spec: Make, tmp_path: Path) -> None:
    assert run_folder(tmp_path, make_spec(model="higr:parallel+prior")).parent.name == "higr--parallel+prior"


def test_a_folder_in_the_making_vanishes_when_the_work_fails(tmp_path: Path) -> None:
    final = tmp_path / "there"
    with pytest.raises(ValueError, match="boom"), folder_in_the_making(final) as folder:
        (folder / "half").write_text("half")
        raise ValueError("boom")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_making_replaces_the_old_one_whole(tmp_path: Path) -> None:
    final = tmp_path / "there"
    for content in ("old", "new"):
        with folder_in_the_making(final) as folder:
            (folder / content).write_text(content)
    assert [path.name for path in final.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_leftovers_of_a_killed_process_are_removed_and_those_of_a_living_one_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    (tmp_path / f"{BESIDE}abc-{HOST}-{dead.pid}").mkdir()
    living = tmp_path / f"{BESIDE}abc-{HOST}-{os.getppid()}"
    elsewhere = tmp_path / f"{BESIDE}abc-another-{dead.pid}"  # of another machine on the same folder
    living.mkdir(), elsewhere.mkdir()
    with folder_in_the_making(tmp_path / "there"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, elsewhere.name, "there"])


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_damaged_record_is_named_and_does_not_hide_the_others(make_run: Make, tmp_path: Path) -> None:
    whole, damaged = make_run(seed=0), make_run(seed=1)
    (damaged.folder / "record.json").write_text('{"schema_version": 1, "spec"')
    found, problems = list_runs(tmp_path / "runs")
    assert [run.folder for run in found] == [whole.folder]
    assert len(problems) == 1 and str(damaged.folder) in problems[0] and "\n" not in problems[0]


def test_a_record_of_another_schema_version_is_refused(make_run: Make) -> None:
    run = make_run()
    content = json.loads((run.folder / "record.json").read_text()) | {"schema_version": 99}
    (run.folder / "record.json").write_text(json.dumps(content))
    with pytest.raises(SlateBenchError, match="schema version 99"):
        read_run(run.folder)


def test_find_run(make_spec: Make, make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    assert find_run(tmp_path / "runs", run.spec) is not None
    assert find_run(tmp_path / "runs", make_spec(seed=5)) is None


def test_damaged_scores_are_named(make_run: Make) -> None:
    run = make_run()
    (run.folder / "scores.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SlateBenchError, match=r"scores\.parquet"):
        run.table("scores.parquet")


def test_a_home_folder_is_understood_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs_folder("~/mine") == tmp_path / "mine"
    monkeypatch.setenv("SLATEBENCH_RUNS", "~/runs")
    assert runs_folder() == tmp_path / "runs"


def test_a_dataset_is_a_name_and_no_pattern(make_run: Make, tmp_path: Path) -> None:
    for dataset in ("toy", "to[y]", "t*"):
        make_run(dataset=dataset)
    for dataset in ("toy", "to[y]", "t*"):
        assert [run.spec.dataset for run in list_runs(tmp_path / "runs", dataset)[0]] == [dataset]
    assert list_runs(tmp_path / "runs", "/elsewhere") == ([], []) and len(list_runs(tmp_path / "runs")[0]) == 3


def test_a_missing_or_damaged_table_of_a_run_says_what_to_do(make_run: Make) -> None:
    run = make_run()
    (run.folder / "scores.parquet").write_bytes(b"")
    (run.folder / "requests.parquet").unlink()
    for name in ("scores", "requests"):
        with pytest.raises(SlateBenchError, match=rf"{name}\.parquet: .*: run the same bench again with --rerun"):
            run.table(f"{name}.parquet")
