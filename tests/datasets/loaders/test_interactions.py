"""An organisation's own log: the same in every form, split by any rule, every mistake found with file, row and mend."""

from __future__ import annotations

import calendar
import gzip
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slatebench.datasets.card import builtin_cards
from slatebench.datasets.errors import DataError, UsageError
from slatebench.datasets.loaders import interactions
from slatebench.datasets.loaders.times import read_times

CARD = builtin_cards()["interactions"]
START = 1_700_000_000
ROWS = [(f"u{u}", f"i{(u + i) % 7}", START + 1000 * i + u) for i in range(7) for u in range(5)]
ITEMS: list[dict[str, Any]] = [
    {"id": f"i{i}", "title": f"Tent {i}", "categories": [["Home", "Camp"]]} for i in range(7)
]

FROZEN = "75dd880537f9aeaa"  # fingerprint of the log of ROWS: another one is another dataset in every spec


def text(rows: list[Any], between: str = ",", head: str = "user,item,time") -> str:
    return "\n".join([head.replace(",", between), *(between.join(map(str, row)) for row in rows)]) + "\n"


def write(folder: Path, content: str | bytes, name: str = "interactions.csv") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def lines(folder: Path, **given: Any) -> list[str]:
    found = interactions.check_log(folder, CARD, given).problems
    return [str(problem).replace(str(folder), "").lstrip("/") for problem in found]


def notes(folder: Path, **given: Any) -> str:
    found = interactions.check_log(folder, CARD, given)
    assert not found.problems
    return "\n".join(found.notes)


def load(place: Path):
    return interactions.load(CARD, place, 0)


def asked(data: Any, part: str = "test") -> dict[str, tuple[list[str], list[str]]]:
    """{request: (history, reference)} in original ids."""
    ids, both = data.catalog.ids, data.part(part).requests.join(data.part(part).references, on="request")
    return {
        request: ([ids[i] for i in history], [ids[i] for i in items])
        for request, history, items in both.select("request", "history", "items").iter_rows()
    }


def test_every_form_of_a_log_is_the_same_data(tmp_path):
    records = [dict(zip(("user", "item", "time"), row, strict=True)) for row in ROWS]
    frame = pl.DataFrame(records)
    stamp = pl.from_epoch("time", "s")
    quoted = '"user","item","time"\r\n' + "".join(f'"{u}","{i}","{t}"\r\n' for u, i, t in ROWS)
    forms: dict[str, bytes] = {
        "interactions.csv": text(ROWS).encode(),
        "interactions.tsv": b"\xef\xbb\xbf" + text(ROWS, "\t").encode(),
        "interactions.jsonl": "\n".join(map(json.dumps, records)).encode(),
        "interactions.csv.gz": gzip.compress(text(ROWS).replace("\n", "\r\n").encode()),
        "interactions.jsonl.gz": gzip.compress("\n\n".join(map(json.dumps, records)).encode()),
    }
    made = {name: write(tmp_path / name / "interactions", content, name) for name, content in forms.items()}
    made["quoted"] = write(tmp_path / "quoted" / "interactions", quoted)
    tables = {"whole": frame, "stamps": frame.with_columns(stamp), "floats": frame.cast({"time": pl.Float64}),
              "zone": frame.with_columns(stamp.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")),
              "nano": frame.with_columns(pl.col("time") * 10**9), "names": frame.cast({"item": pl.Categorical}),
              "dates": frame.with_columns(stamp.dt.strftime("%Y-%m-%d %H:%M:%S"))}  # fmt: skip
    for name, table in tables.items():
        table.write_parquet(content := io.BytesIO())
        made[name] = write(tmp_path / name / "interactions", content.getvalue(), "interactions.parquet")
    for name, folder in made.items():
        assert lines(folder) == [], name
        assert load(folder.parent).fingerprint == FROZEN, name


def test_every_form_of_the_items_is_the_same_data(tmp_path):
    log = text(ROWS)
    bare = load(write(tmp_path / "bare" / "interactions", log).parent)
    assert bare.catalog.titles == bare.catalog.ids == [f"i{n}" for n in (0, 1, 2, 3, 4, 5, 6)]
    assert "titles are ids" in notes(tmp_path / "bare" / "interactions")
    table = text([(row["id"], row["title"], "Home > Camp") for row in ITEMS], head="id,title,categories")
    as_json = text(
        [(row["id"], row["title"], '"[[""Home"", ""Camp""]]"') for row in ITEMS], "\t", "id,title,categories"
    )
    frame = io.BytesIO()
    pl.DataFrame(ITEMS).write_parquet(frame)
    forms = {"items.csv": table, "items.jsonl": "\n".join(map(json.dumps, ITEMS)), "items.parquet": frame.getvalue(),
             "items.tsv.gz": gzip.compress(as_json.encode())}  # fmt: skip
    prints = set()
    for name, content in forms.items():
        folder = write(write(tmp_path / name / "interactions", log), content, name)
        assert lines(folder) == [] and "titles are ids" not in notes(folder)
        data = load(folder.parent)
        prints.add(data.fingerprint)
        assert data.catalog.texts[0] == "Tent 0. Camp" and asked(data) == asked(bare)
    assert len(prints) == 1 and bare.fingerprint not in prints


# -- settings ---------------------------------------------------------------------------------------------------------


def test_columns_and_split_are_settings_given_or_kept_in_the_folder(tmp_path):
    folder = write(tmp_path / "interactions", text([(*row, 1) for row in ROWS], head="customer,sku,when,price"))
    assert "column 'user' is missing (there are 'customer', 'sku', 'when', 'price'): rename" in lines(folder)[0]
    named = {"user": "customer", "item": "sku", "time": "when"}
    assert "unknown field 'price': drop it (known: customer, sku, when), or name it in" in lines(folder, **named)[0]
    all_of_it = named | {"ignore": "price", "split": "next-k", "k": 2, "history": 1}
    assert "split next-k, k 2, history 1: 5 requests of validation, 5 of test" in notes(folder, **all_of_it)
    interactions.keep_settings(folder, named | {"ignore": ["price"]})
    assert asked(load(tmp_path))["u0/test"] == (["i0", "i1", "i2", "i3", "i4", "i5"], ["i6"])
    interactions.keep_settings(folder, {"split": "next-k", "k": 2, "history": 1})
    data = load(tmp_path)
    assert asked(data)["u0/test"] == (["i0", "i1", "i2", "i3", "i4"], ["i5", "i6"])
    assert data.card.options["split"] == {"kind": "next-k", "k": 2, "history": 1}
    assert "split leave-one-out" in notes(folder, split="leave-one-out")  # what is given goes first
    interactions.keep_settings(folder, {"gap": None})  # as it is without
    assert interactions.log_settings(folder, CARD).user == "customer"


@pytest.mark.parametrize("split", ["leave-one-out", "next-k", "basket", "global-time"])
def test_every_rule_of_a_split_can_be_chosen(tmp_path, split):
    two_a_day = [(user, item, START + 90_000 * (n // 2)) for user in "abc" for n, item in enumerate("pqrstuvw")]
    folder = write(tmp_path / "interactions", text(two_a_day))
    assert f"split {split}" in notes(folder, split=split, k=1, quantile=0.7)
    interactions.keep_settings(folder, {"split": split, "k": 1, "quantile": 0.7})
    history, reference = next(iter(asked(load(tmp_path)).values()))
    assert ["".join(history), "".join(reference)] == {
        "leave-one-out": ["pqrstuv", "w"],
        "next-k": ["pqrstuv", "w"],
        "basket": ["pqrstu", "vw"],
        "global-time": ["pqrstu", "v"],
    }[split]


@pytest.mark.parametrize(
    ("given_", "words"),
    [({"splt": "next-k"}, "unknown setting 'splt': rename it to 'split'"),
     ({"kind": "basket"}, "unknown setting 'kind'"),
     ({"k": 0}, "setting 'k': input should be greater"), ({"split": "last"}, "setting 'split': input should be"),
     ({"user": 7}, "setting 'user': input should be a valid string")],
)  # fmt: skip
def test_a_setting_that_is_none_is_told(tmp_path, given_, words):
    folder = write(tmp_path / "interactions", text(ROWS))
    with pytest.raises(UsageError, match=f"--set: {words}"):
        interactions.check_log(folder, CARD, given_)
    interactions.keep_settings(folder, given_)
    assert lines(folder)[0].startswith(f"interactions.toml: {words}")
    with pytest.raises(DataError, match=words):
        load(tmp_path)
    write(folder, b"split = next", interactions.SETTINGS)
    assert "interactions.toml: not valid TOML" in lines(folder)[0]


# -- order ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_only_a_user_s_own_rows_and_their_order_decide(tmp_path, data):
    users = {}
    for user in ("u", "v", "w"):
        times = data.draw(st.lists(st.integers(1, 4), min_size=4, max_size=8))  # ties
        users[user] = [(user, f"i{k}", time) for k, time in enumerate(times)]
    rows = [row for of in users.values() for row in of]
    waiting = {user: iter(of) for user, of in users.items()}
    mixed = [next(waiting[user]) for user in data.draw(st.permutations([row[0] for row in rows]))]
    found = [asked(load(write(tmp_path / "interactions", text(log)).parent)) for log in (rows, mixed)]
    assert found[0] == found[1]
    for user, of in users.items():
        ordered = [item for _, item, _ in sorted(of, key=lambda row: row[2])]  # a stable sort
        assert found[0][f"{user}/test"] == (ordered[:-1], ordered[-1:])


def test_without_times_rows_stand_in_order(tmp_path):
    for name, log in {"none": text([row[:2] for row in ROWS], head="user,item"),
                      "empty": text([(*row[:2], "") for row in ROWS])}.items():  # fmt: skip
        folder = write(tmp_path / name / "interactions", log)
        assert "no times: the rows of a user are taken to stand in order" in notes(folder)
        data = load(folder.parent)
        assert asked(data)["u1/test"] == (["i1", "i2", "i3", "i4", "i5", "i6"], ["i0"])
        assert data.test.requests["request_time"].null_count() == 5
        assert "the split 'basket' needs times" in lines(folder, split="basket")[0]
    assert "column 'when' is missing" in lines(folder, time="when")[0]


SECONDS = {
    "1709287200": "seconds", "1709287200.0": "seconds", "1709287200000": "milliseconds",
    "1709287200000000": "microseconds", "1709287200000000000": "nanoseconds",
    "2024-03-01T10:00:00Z": "dates", "2024-03-01 10:00": "dates",
    "2024-03-01 11:00:00.250+01:00": "dates", "2024-03-01T05:00:00-0500": "dates", "2024-03-01 10:00:00 UTC": "dates",
}  # fmt: skip


@pytest.mark.parametrize(("value", "form"), SECONDS.items())
def test_a_time_is_read_in_every_usual_form(value, form):
    assert read_times(pl.Series([value])).rows() == [(1_709_287_200, form)]
    assert read_times(pl.Series(["x", value, None])).rows() == [(None, None), (1_709_287_200, form), (None, None)]


@given(st.datetimes(min_value=datetime(1974, 1, 1), max_value=datetime(2099, 12, 30)))
def test_a_time_is_the_same_in_every_form(when):
    seconds = calendar.timegm(when.timetuple())
    forms = [when.isoformat(), when.isoformat(" ", "microseconds") + "+00:00", f"{seconds}", f"{seconds}000.0"]
    assert [read_times(pl.Series([form]))["seconds"].item() for form in forms] == [seconds] * 4
    assert read_times(pl.Series([when]))["seconds"].item() == seconds
    assert read_times(pl.Series([when.strftime("%Y%m%d")]))["seconds"].item() == seconds // 86_400 * 86_400


# -- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES: dict[str | bytes, str] = {
    ",i1,{t}": "'user' is empty: add it",
    "NULL,i1,{t}": "'user' is 'NULL': add it",
    "\u200b,i1,{t}": "'user' is empty",
    "\u2061,i1,{t}": "user '\\u2061' holds no character that can be seen",
    "u1, ,{t}": "'item' is empty",
    "u\0,i1,{t}": "user 'u\\x00' holds a NUL byte",
    "u1,I1,{t}": "item 'I1' is not in items.csv (it has 'i1'): write an id in the same way in both files",
    "u1,zz,{t}": "item 'zz' is not in items.csv: add it there, or drop the row",
    "u1,i1,": "'time' is empty though other rows have it",
    "u1,i1,soon": "time 'soon' is no time",
    "u1,i1,03/04/2024": "time '03/04/2024' is no time",
    "u1,i1,-5": "time '-5' lies before 1970",
    "u1,i1,99999999999": "time '99999999999' lies after 2099 in any unit",
    "u1,i1,{t}000": "time '1700000000000' reads as milliseconds, most rows as seconds (row 2): write",
    "u1,i1,2024-03-01": "time '2024-03-01' reads as dates, most rows as seconds (row 2)",
    "u1,i1,12": "time '12' reads as small numbers, most rows as seconds (row 2)",
    "u0,i0,{t}": "is the same as row 2: keep it once",
    "u1,i1": "row has 2 fields (3 in the header): mend the row",
    "u1,i1,{t},": "row has 4 fields (3 in the header): mend the row",
    '"u"1,i1,{t}': "not valid CSV (",
    b"caf\xe9,i1,1700000000": "not UTF-8 text: convert the file to UTF-8",
    '"u1,i1,{t}': "not valid CSV (unexpected end of data)",
}


EVERY = """
1: unknown field 'raiting': drop it (known: user, item, time), or name it in the setting 'ignore'
37: 'user' is empty: add it, or drop the row (likewise in 2 more: rows 38, 39)
40: user '\\u2061' holds no character that can be seen: mend the value
41: 'item' is empty: add it, or drop the row
42: user 'u\\x00' holds a NUL byte: mend the value
43: item 'I1' is not in items.csv (it has 'i1'): write an id in the same way in both files
44: item 'zz' is not in items.csv: add it there, or drop the row
45: 'time' is empty though other rows have it: add it, or drop the row (or the column)
46: time 'soon' is no time: write unix seconds, or 2024-03-01T10:00:00 (likewise in 1 more: rows 47)
48: time '-5' lies before 1970: mend it, or drop the row
49: time '99999999999' lies after 2099 in any unit: mend it, or drop the row
50: time '1700000000000' reads as milliseconds, most rows as seconds (row 2): write all times in one form
51: time '2024-03-01' reads as dates, most rows as seconds (row 2): write all times in one form
52: time '12' reads as small numbers, most rows as seconds (row 2): write all times in one form
53: is the same as row 2: keep it once
54: row has 3 fields (4 in the header): mend the row
55: row has 5 fields (4 in the header): mend the row
56: not valid CSV (',' expected after '"'): mend the row
57: not UTF-8 text: convert the file to UTF-8
58: not valid CSV (unexpected end of data): mend the row
"""


def as_row(mistake: str | bytes) -> bytes:
    return mistake if isinstance(mistake, bytes) else mistake.replace("{t}", str(START)).encode()


@pytest.mark.parametrize(("mistake", "words"), MISTAKES.items())
def test_a_bad_row_is_found(tmp_path, mistake, words):
    folder = write(
        tmp_path / "interactions", text([(row["id"], row["title"]) for row in ITEMS], head="id,title"), "items.csv"
    )
    write(folder, text(ROWS).encode() + as_row(mistake) + b"\n")
    (line,) = lines(folder)
    assert line.startswith("interactions.csv, row 37: ") and words in line
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert words in str(error.value)


def test_every_mistake_of_a_log_is_a_line_of_its_own(tmp_path):
    folder = write(
        tmp_path / "interactions", text([(row["id"], row["title"]) for row in ITEMS], head="id,title"), "items.csv"
    )
    rows = [as_row(mistake) + (b"" if b'"' in as_row(mistake) else b",5") for mistake in MISTAKES]
    write(folder, text([(*row, 5) for row in ROWS], head="user,item,time,raiting").encode() + b"\n".join(rows) + b"\n")
    assert lines(folder) == [f"interactions.csv, row {line}" for line in EVERY.strip().splitlines()]


def test_mistakes_of_ids_without_items(tmp_path):
    rows = [*ROWS, ("7", "3", START), ("7.0", "3.0", START + 1), ("7.0", "3.0", START + 2)]
    found = lines(write(tmp_path / "interactions", text(rows)))
    assert found == [
        "interactions.csv, row 38: user '7.0' is the '7' of other rows (row 37): "
        "write an id in the same way in all rows (likewise in 1 more: rows 39)"
    ]
    found = lines(write(tmp_path / "items", text([("7", "3", START), ("8", "3.0", START)])))
    assert "row 3: item '3.0' is the '3' of other rows (row 2)" in found[0]


def test_mistakes_of_the_items(tmp_path):
    folder = write(tmp_path / "interactions", text(ROWS))
    write(folder, "id,title\n1,a\n1.0,b\n1,c\n2,\n,d\n3\n", "items.csv")
    assert lines(folder) == [
        "items.csv, row 3: id '1.0' is a duplicate of row 2, id '1': drop the row or give it another id",
        "items.csv, row 4: id '1' is a duplicate of row 2: drop the row or give it another id",
        "items.csv, row 5: field 'title' is missing: add it",
        "items.csv, row 6: field 'id' is missing: add it",
        "items.csv, row 7: row has 1 fields (2 in the header): mend the row",
    ]
    write(folder, "id,title,title\n1,a,b\n", "items.csv")
    assert lines(folder) == ["items.csv, row 1: column 'title' is given twice: keep it once"]
    write(folder, "id,title,price\n1,a,2\n", "items.csv")
    assert "items.csv, row 2: unknown field 'price': drop it" in lines(folder)[0]
    assert not any("items.csv, row 2" in line for line in lines(folder, ignore=["price"]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("interactions.csv", b"", "interactions.csv: holds no interactions: write one a row"),
        ("interactions.csv", b"user,item,time\n", "holds no interactions"),
        (
            "interactions.csv",
            b"u1,i1,5\nu2,i2,6\n",
            "row 1: column 'user' is missing (there are 'u1', 'i1', '5'): rename",
        ),
        ("interactions.csv", b"user,user,item\n1,2,3\n", "row 1: column 'user' is given twice"),
        ("interactions.csv", text(ROWS).encode("utf-16"), "interactions.csv: UTF-16 text: convert the file to UTF-8"),
        ("interactions.csv.gz", gzip.compress(text(ROWS).encode())[:-9], "damaged gzip file"),
        ("interactions.parquet", b"PAR1 no PAR1", "not a Parquet file"),
        ("interactions.jsonl", b'{"user": 1, "item": 2}\n{"user": 1', "row 2: not valid JSON"),
        ("interactions.jsonl", b'{"user": 1, "item": [2]}', "row 1: field 'item' is [2]: write text or a number"),
        ("interactions.jsonl", b'{"user": true, "item": 2}', "row 1: field 'user' is True: write text or a number"),
        ("interactions.jsonl", b'{"user": "\\ud800", "item": 2}', "row 1: field 'user' is '\\ud800': write text"),
        ("interactions.jsonl", b'{"user": 1, "user": 2, "item": 2}', "row 1: key 'user' is given twice"),
        ("interactions.jsonl", b'{"user": 1}', "column 'item' is missing (there are 'user')"),
        ("interactions.jsonl", b'{"user": NaN, "item": 2}', "row 1: 'user' is empty"),
        (
            "interactions.csv",
            b"user,item,time\nu,i1,1\nu,i2,2\n",
            "the part 'valid' is empty (1 users, 2 interactions)",
        ),
    ],
)
def test_a_file_that_can_not_be_used_is_told(tmp_path, name, content, words):
    folder = write(tmp_path / "interactions", content, name)
    (line,) = lines(folder)
    assert words in line
    with pytest.raises(DataError):
        load(tmp_path)


def test_two_files_or_none(tmp_path):
    folder = write(tmp_path / "interactions", text(ROWS))
    write(folder, b"", "interactions.parquet")
    assert (
        lines(folder) == ["holds interactions.csv and interactions.parquet: keep one of them"]
        or "keep one" in lines(folder)[0]
    )
    (folder / "interactions.parquet").unlink()
    (folder / "interactions.csv").rename(folder / "interactions.txt")
    assert "interactions.csv: file is missing (also as .csv.gz, .tsv" in lines(folder)[0]
    assert not interactions.is_log(folder)


def test_parquet_columns_of_another_kind(tmp_path):
    def kind(**columns: Any) -> str:
        pl.DataFrame({"user": ["u"] * 3, "item": ["i"] * 3} | columns, strict=False).write_parquet(
            content := io.BytesIO()
        )
        return lines(write(tmp_path / "interactions", content.getvalue(), "interactions.parquet"))[0]

    assert "column 'user' is List(Int64): write text or whole numbers" in kind(user=[[1], [2], [3]])
    assert "column 'item' holds floats too large to be exact" in kind(item=[1.0, 2.0**60, 3.0])
    assert "row 2: 'user' is empty: add it" in kind(user=[1.0, float("nan"), 2.0])
    assert "row 1: unknown field 'prize'" in kind(prize=[1, 2, 3]).replace("parquet:", "parquet, row 1:")
    assert "row 3: 'time' is empty though other rows have it" in kind(time=[1.5e9, 1.6e9, float("nan")])


def test_the_index_of_pandas_is_no_column(tmp_path):
    for head in ("", "Unnamed: 0"):
        log = text([(n, *row) for n, row in enumerate(ROWS)], head=f"{head},user,item,time")
        assert load(write(tmp_path / "interactions", log).parent).fingerprint == FROZEN


def test_users_who_are_too_short_are_counted(tmp_path):
    short = [(f"s{n}", "i0", START) for n in range(4)]
    found = notes(write(tmp_path / "interactions", text([*ROWS, *short])))
    assert "39 interactions of 9 users with 7 items; split leave-one-out: 5 requests of validation, 5 of test" in found
    assert "4 of 9 users have no test request: too short a history for 'leave-one-out'" in found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["csv", "tsv", "jsonl"]), st.text('uit01.,\t"\n\r\0é{}[]:-TZ', max_size=60) | st.binary(max_size=40)
)
def test_whatever_is_written_is_checked_and_what_passes_can_be_loaded(tmp_path, end, noise):
    records = [dict(zip(("user", "item", "time"), row, strict=True)) for row in ROWS]
    right = "\n".join(map(json.dumps, records)) + "\n" if end == "jsonl" else text(ROWS, "\t" if end == "tsv" else ",")
    more = noise.encode() if isinstance(noise, str) else noise
    folder = tmp_path / end / "interactions"
    found = lines(write(folder, right.encode() + more, f"interactions.{end}"))
    assert all("\n" not in line for line in found)
    if found:
        with pytest.raises(DataError):
            load(tmp_path / end)
    else:
        assert len(load(tmp_path / end).test) >= 5
