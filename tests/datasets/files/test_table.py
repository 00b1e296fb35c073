"""A path is the name of one file, whatever signs are in it; what lies beside it is never read."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slatebench.datasets.errors import DataError
from slatebench.datasets.files.reading import csv_batches, named_path
from slatebench.datasets.files.table import read_plain, read_table, write_table

# a name, and a neighbour that it would stand for as a pattern
ODD = [("d[1]", "d1"), ("a*", "ab"), ("q?", "qu"), ("{x,y}", "x"), ("%20", " "), ("$HOME", "h"), ("~", "t"),
       ("-f", "f"), ("file:", "f"), ("s3:", "s"), ("k=1", "k"), ("two\nlines", "two")]  # fmt: skip


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("name", "neighbour"), ODD)
def test_a_table_is_read_from_the_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, neighbour: str, relative: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    for folder, value in ((neighbour, 1), (name, 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = Path(folder, "t.parquet") if relative else tmp_path / folder / "t.parquet"
        write_table(pl.DataFrame({"value": [value], "other": ["x"]}), path)
    assert read_table(path, "").rows() == [(2, "x")] and read_table(path, "", ["value"]).rows() == [(2,)]
    assert pl.read_parquet((tmp_path / neighbour / "t.parquet").open("rb"))["value"].to_list() == [1]
    assert not any(home.iterdir())
    (tmp_path / name / "t.parquet").unlink()
    with pytest.raises(DataError, match=r"file is missing: make it"):
        read_table(path, "make it")


def test_what_is_no_table_is_one_line_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for content in (b"", b"PAR1 nonsense PAR1", b"x" * 200):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"t\.parquet: not a Parquet file \(.*\): make it$"):
            read_table(path, "make it")
    write_table(pl.DataFrame({"a": [1]}), path)
    with pytest.raises(DataError, match="make it"):
        read_table(path, "make it", ["b"])
    path.unlink()
    path.mkdir()
    write_table(pl.DataFrame({"a": [1]}), path / "inside.parquet")
    with pytest.raises(DataError, match="cannot be read"):  # polars would read what is inside
        read_table(path, "make it")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_table(pl.DataFrame({"a": range(100)}), Path("/dev/full"))


def test_the_home_folder_and_names_that_begin_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", f"{os.sep}my{os.sep}home")
    assert named_path("~/data") == Path("/my/home/data")
    assert named_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x") and named_path("a~b") == Path("a~b")


# -- plain text, read at once -----------------------------------------------------------------------------------------


def test_plain_text_is_read_at_once() -> None:
    for content in ("\ufeffa,b\n1, é\n,\n".encode(), b"a,b\r\n1,x y\r\n3,4"):
        found = read_plain(content, ",")
        assert found is not None and found[0] == ["a", "b"] and found[1].height == 2 and found[1]["0"][0] == "1"
    for content in (
        b"",
        b"a,b",
        b"a\n1\n",
        b"a,b\n1\n",
        b"a,b\n1,2\n\n3,4",
        b'a,b\n"1",2',
        b"a,b\n1,\xff",
        b"a,b\n\0,1",
    ):
        assert read_plain(content, ",") is None, content


@given(st.text('ab,\t"\n\ré \0', max_size=30) | st.lists(st.tuples(*[st.text("abé 01", max_size=3)] * 2), max_size=5))
def test_plain_text_is_read_as_rows_are(given_: str | list[tuple[str, str]]) -> None:
    text = given_ if isinstance(given_, str) else "\n".join(map(",".join, given_))
    found = read_plain(text.encode(), ",")
    if found is not None:
        names, table = found
        (batch,) = csv_batches(text.encode(), ",", "f")
        assert batch == (1, [names, *([field or "" for field in row] for row in table.iter_rows())])


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_rows_that_can_not_be_read_keep_their_numbers(size: int) -> None:
    content = b'a,b\n1,2\n"1"x,2\n\n3,\xe9\n5,6\n"7,8'
    rows = [row for first, batch in csv_batches(content, ",", "f", size) for row in enumerate(batch, first)]
    assert [number for number, _ in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row for _, row in rows] == [
        ["a", "b"],
        ["1", "2"],
        "not valid CSV (',' expected after '\"'): mend the row",
        [],
        "not UTF-8 text: convert the file to UTF-8",
        ["5", "6"],
        "not valid CSV (unexpected end of data): mend the row",
    ]
