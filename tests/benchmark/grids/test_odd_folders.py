"""Data, runs, cache and export in folders whose names hold what others take for patterns; neighbours are never read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Command = Callable[..., Any]
ODD = "a [1] {x}* $HOME ~b"


def bring(folder: Path, word: str) -> None:
    """Curated data as Parquet whose titles begin with `word`."""
    folder.mkdir(parents=True)
    titles = [f"{word} {kind} {i}" for i, kind in enumerate(["lamp", "tent", "cake", "book", "shoe"] * 5)]
    pl.DataFrame({"id": [f"i{i}" for i in range(25)], "title": titles}).write_parquet(folder / "catalog.parquet")
    slates = [{"prompt": f"{titles[i]} please", "items": [f"i{i}", f"i{(i + 5) % 25}"]} for i in range(25)]
    pl.DataFrame(slates).write_parquet(folder / "slates.parquet")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the data of an odd name, and what that name would stand for as a pattern."""
    folder = tmp_path_factory.mktemp("place")
    bring(folder / "d[1]" / "curated", "right")
    bring(folder / "d1" / "curated", "wrong")
    (folder / ODD).mkdir()
    return folder


@pytest.fixture(scope="module")
def command(slatebench: Command, place: Path) -> Command:
    def run(*arguments: str) -> str:
        folders = {"DATA": place / "d[1]", "RUNS": place / ODD / "runs", "CACHE": place / ODD / "cache"}
        environment = {f"SLATEBENCH_{name}": str(path) for name, path in folders.items()}
        done = slatebench(*arguments, cwd=place / ODD, **environment)
        assert done.code == 0, done.err
        return done.out

    return run


@pytest.fixture(scope="module")
def row(command: Command) -> dict[str, Any]:
    out = command("bench", "bm25", "-d", "curated", "--budget", "smoke", "--no-latency", "--json")
    return next(row for row in json.loads(out)["runs"] if row["model"] == "bm25")


def test_a_bench_reads_and_writes_where_it_is_told_to(row: dict[str, Any], command: Command, place: Path) -> None:
    assert row["state"] == "done" and row["source"] == "real"
    titles = pl.read_parquet(Path(row["path"], "model", "catalog.parquet").read_bytes())["title"]
    assert titles.str.starts_with("right").all()
    assert {path.name for path in place.iterdir()} == {"d[1]", "d1", ODD}
    assert {path.name for path in (place / ODD).iterdir()} == {"runs", "cache"}


def test_the_records_are_found_again(row: dict[str, Any], command: Command) -> None:
    assert "bm25" in command("leaderboard", "show", "-d", "curated")
    assert "right tent" in command("generate", "bm25", "-d", "curated", "--prompt", "right tent 1", "-k", "2")
    assert "NDCG" in command("compare", "bm25", "popularity", "-d", "curated")
    rescored = command("rescore", row["path"], "--json")
    assert json.loads(rescored)["runs"][0]["metrics"] == row["metrics"]


def test_what_is_exported_and_checked_is_the_folder_of_that_name(command: Command, place: Path) -> None:
    assert "well formed" in command("datasets", "check", str(place / "d[1]" / "curated"))
    command("datasets", "export", "curated", "--to", "~out")
    titles = pl.read_parquet((place / ODD / "~out" / "catalog.parquet").read_bytes())["title"]
    assert titles.str.starts_with("right").all() and titles.len() == 25
