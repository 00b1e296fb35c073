"""The readers on anything, and the examples in the docstrings of this room."""

from __future__ import annotations

import csv
import doctest
import io
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slatebench.datasets.card as card_module
from slatebench.datasets.card import read_card
from slatebench.datasets.errors import DataError
from slatebench.datasets.files.reading import read_csv, read_json_lines
from slatebench.datasets.text import clean, normalised

ROOM = Path(card_module.__file__).parent
fields = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@pytest.mark.parametrize("module", sorted(path.stem for path in ROOM.glob("*.py") if ">>>" in path.read_text()))
def test_the_examples_in_docstrings_hold(module):
    result = doctest.testmod(import_module(f"slatebench.datasets.{module}"), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0 and result.failed == 0


@settings(max_examples=200)
@given(st.lists(st.tuples(fields, fields), min_size=1, max_size=8))
def test_csv_survives_being_written(rows):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    frame = read_csv(stream.getvalue().encode(), ["a", "b"], "f.csv")
    assert frame.select("a", "b").rows() == rows
    assert frame["row"].to_list() == list(range(2, len(rows) + 2))


@settings(max_examples=300)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_a_table_or_one_clear_line(noise, headed):
    content = (b"a,b\n1,2\n" if headed else b"") + noise
    try:
        frame = read_csv(content, ["a", "b"], "f.csv")
    except DataError as error:
        assert str(error).startswith("f.csv, row ") and "\n" not in str(error)
    else:
        assert frame.columns == ["a", "b", "row"] and frame.height


def test_a_byte_order_mark_is_no_part_of_the_first_column():
    assert read_csv(b"\xef\xbb\xbfa,b\n1,2\n", ["a", "b"], "f").rows() == [("1", "2", 2)]
    assert read_json_lines(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}', "f") == [(1, {"a": 1}), (3, {"a": 2})]
    with pytest.raises(DataError, match="f, row 1: no rows"):
        read_json_lines(b"\n \n", "f")


@given(st.text(max_size=60))
def test_clean_and_normalised_settle(text):
    once = clean(text)
    assert once == once.strip() and "  " not in once and "\n" not in once
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "not a valid card"),
        ('name = "x"\nnaem = "y"', "card key"),
        (None, "card key 'slate_length'"),
        (b"\xff", "not a valid card"),
    ],
)
def test_a_bad_card_is_one_clear_line(tmp_path, text, words):
    if text is None:
        text = (ROOM / "cards" / "mpd.toml").read_text().replace("slate_length = 20", "slate_length = 0")
    path = tmp_path / "x.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"x\.toml") as error:
        read_card(path)
    assert words in str(error.value)
