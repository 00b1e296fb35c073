"""An organisation's own data: loaded when right, every fault found with file, row and mend."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slatebench.datasets.errors import DataError
from slatebench.datasets.files.reading import each_json_line
from slatebench.datasets.loaders import curated

CATALOG: list[dict[str, Any]] = [
    {"id": f"i{i}", "title": f" Item  {i} ", "categories": [["Home", f"C{i % 2}"]]} for i in range(8)
]
SLATES: list[dict[str, Any]] = [{"prompt": f"gift {i}", "items": [f"i{i % 8}", f"i{(i + 1) % 8}"]} for i in range(40)]

FROZEN = "441c96a1016dade1"  # fingerprint of the tiny files below: another one is another dataset in every spec


def write(folder: Path, catalog: list[Any] | None = None, slates: list[Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("catalog", catalog or CATALOG), ("slates", slates or SLATES)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


@pytest.fixture
def spec(card):
    return card("curated", slate_length=10, cutoffs=[10, 5], instructions="write it")


def test_jsonl_gzip_and_parquet_are_the_same_data(tmp_path, spec):
    folder = write(tmp_path / "curated")
    assert curated.check_curated(folder) == []
    plain = curated.load(spec, tmp_path, 0)
    assert len(plain.catalog) == 8 and len(plain.train) + len(plain.valid) + len(plain.test) == 40
    assert plain.catalog.texts[0] == "Item  0. C0"
    assert plain.fingerprint == FROZEN
    for name in ("catalog", "slates"):
        path = folder / f"{name}.jsonl"
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert curated.load(spec, tmp_path, 0).fingerprint == plain.fingerprint
    for name, rows in (("catalog", CATALOG), ("slates", SLATES)):
        (folder / f"{name}.jsonl.gz").unlink()
        pl.DataFrame(rows).write_parquet(folder / f"{name}.parquet")
    assert curated.check_curated(folder) == []
    assert curated.load(spec, tmp_path, 0).fingerprint == plain.fingerprint


def test_given_parts_groups_and_seeds_are_kept(tmp_path, spec):
    parts = ["train", "valid", "test"]
    rows = [
        {
            "request": f"r{i}",
            "prompt": "",
            "items": ["i0"],
            "seed_items": ["i1"],
            "history": ["i2", 3],
            "part": parts[i % 3],
        }
        for i in range(9)
    ]
    catalog = [*CATALOG, {"id": 3, "title": "a number as an id", "text": "its own text"}]
    write(tmp_path / "curated", catalog, rows)
    data = curated.load(spec, tmp_path, 0)
    assert data.valid.requests["request"].to_list() == ["r1", "r4", "r7"]
    row = data.test.requests.row(0, named=True)
    assert (row["seed_items"], row["history"]) == ([1], [2, 8])
    assert data.catalog.texts[8] == "its own text"
    assert data.catalog.train_count.tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 0]


def test_without_parts_prompts_groups_and_item_sets_stay_together(tmp_path, spec):
    rows = [
        {"prompt": f"Gift {i // 2}!" if i % 2 else f"gift {i // 2}", "items": [f"i{i % 7}"], "group": f"e{i // 4}"}
        for i in range(28)
    ]
    write(tmp_path / "curated", None, rows)
    # everything hangs together: nothing honest can be split
    with pytest.raises(DataError, match=r"28 slates make 1 group, .* 7 named groups, 14 prompts, 7 item sets"):
        curated.load(spec, tmp_path, 0)
    catalog = [{"id": f"i{i}", "title": "t"} for i in range(200)]
    rows = [{"prompt": f"p{i // 2}", "items": [f"i{i}", f"i{i + 1}"], "group": f"e{i // 4}"} for i in range(120)]
    write(tmp_path / "curated", catalog, rows)
    data = curated.load(spec, tmp_path, 0)
    place: dict[str, str] = {}
    for name in ("train", "valid", "test"):
        for request in data.part(name).requests["request"]:
            editor = str((int(request.removeprefix("row-")) - 1) // 4)
            assert place.setdefault(editor, name) == name
    assert len(set(place)) == 30


@pytest.mark.parametrize(
    ("file", "row", "change", "words"),
    [
        ("catalog", 3, {"id": "i0"}, "id 'i0' is a duplicate of row 1"),
        ("catalog", 3, {"title": None}, "field 'title' is missing: add it"),
        ("catalog", 3, {"titel": "x"}, "unknown field 'titel': rename it to 'title'"),
        ("catalog", 3, {"categories": ["Home"]}, "field 'categories.0'"),
        ("catalog", 3, {"text": "x" * 900_000}, None),
        ("catalog", 3, {"text": "x" * 1_100_000}, "line has"),
        ("slates", 2, {"items": []}, "field 'items': list should have at least 1 item"),
        ("slates", 2, {"items": ["i0", "zz"]}, "items: item 'zz' is not in the catalogue: add it"),
        ("slates", 2, {"items": ["i0", "i0"]}, "'i0' is given twice: keep it once"),
        ("slates", 2, {"seed_items": ["i1"]}, "seed item 'i1' is in the slate too"),
        ("slates", 2, {"history": ["zz"]}, "history: item 'zz' is not in the catalogue"),
        ("slates", 2, {"prompt": "  "}, "neither prompt nor seed_items nor history"),
        ("slates", 2, {"part": "dev"}, "field 'part': input should be 'train', 'valid' or 'test'"),
        ("slates", 2, {"request": "row-1"}, "request 'row-1' is a duplicate of row 1"),
        ("slates", 2, {"zzz": 1}, "unknown field 'zzz': drop it"),
    ],
)
def test_a_bad_row_is_found(tmp_path, spec, file, row, change, words):
    rows = {"catalog": [dict(r) for r in CATALOG], "slates": [dict(r) for r in SLATES]}
    rows[file][row - 1] |= change
    folder = write(tmp_path / "curated", rows["catalog"], rows["slates"])
    problems = curated.check_curated(folder)
    if words is None:
        assert problems == []
        return
    first = problems[0]
    assert words in str(first) and first.row == row and first.file.endswith(f"{file}.jsonl") and first.mend
    assert "\n" not in str(first)
    with pytest.raises(DataError) as error:
        curated.load(spec, tmp_path, 0)
    assert words in str(error.value)


def test_every_problem_is_listed_not_only_the_first(tmp_path, spec):
    slates = [dict(row) for row in SLATES]
    slates[1] |= {"items": ["zz"]}
    slates[4] |= {"part": "train"}
    slates[7] = {"items": ["i1"]}
    folder = write(tmp_path / "curated", None, slates)
    with (folder / "slates.jsonl").open("ab") as stream:
        stream.write(b'{"prompt": "\xff", "items": ["i1"]}\nnot json\n[]\n')
    problems = curated.check_curated(folder)
    found = {problem.row: problem.problem for problem in problems}
    assert {2, 8, 41, 42, 43} <= set(found) and len(found) > 5
    assert found[8] == "field 'prompt' is missing" and "not UTF-8" in found[41] and "not valid JSON" in found[42]
    with pytest.raises(DataError, match=r"and [\d,]+ more: `slatebench datasets check FOLDER` lists them"):
        curated.load(spec, tmp_path, 0)


def test_a_group_in_two_parts_and_an_empty_part(tmp_path):
    slates = [dict(row) | {"part": "train", "group": "g"} for row in SLATES]
    slates[5]["part"] = "test"
    problems = [str(problem) for problem in curated.check_curated(write(tmp_path / "c", None, slates))]
    assert any("row 6: group 'g' is in part 'test' here and in 'train' in row 1" in text for text in problems)
    assert any("part 'valid' has no rows" in text for text in problems)


def test_missing_double_and_broken_files(tmp_path):
    folder = tmp_path / "c"
    assert "catalog.jsonl: file is missing" in str(curated.check_curated(folder)[0])
    write(folder)
    (folder / "catalog.parquet").write_bytes(b"PAR1 nonsense PAR1")
    assert "keep one of them" in str(curated.check_curated(folder)[0])
    (folder / "catalog.jsonl").unlink()
    assert "catalog.parquet: not a Parquet file" in str(curated.check_curated(folder)[0])
    (folder / "catalog.parquet").unlink()
    (folder / "catalog.jsonl").write_text("\n\n")
    assert "holds no items" in str(curated.check_curated(folder)[0])


def test_a_folder_without_permission(tmp_path):
    folder = write(tmp_path / "c")
    tmp_path.chmod(0o755)
    folder.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # root may read everything: become nobody for a moment
            os.seteuid(65534)
        problems = curated.check_curated(folder)
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
    assert "cannot be read (Permission denied): check its permissions" in str(problems[0])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["i0", "i1", "train", "", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "title", "items"]), inner),
    max_leaves=6,
)
catalog_keys = st.sampled_from(["id", "title", "text", "categories", "x"])
slate_keys = st.sampled_from(["prompt", "items", "request", "group", "part", "seed_items", "history", "x"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(catalog_keys, values, max_size=4), max_size=4),
    st.lists(st.dictionaries(slate_keys, values, max_size=6), max_size=4),
)
def test_whatever_is_written_is_checked_and_what_passes_can_be_loaded(tmp_path, spec, catalog, slates):
    folder = write(tmp_path / "curated", CATALOG + catalog, SLATES + slates)
    problems = curated.check_curated(folder)
    assert all("\n" not in str(problem) for problem in problems)
    if problems:
        with pytest.raises(DataError):
            curated.load(spec, tmp_path, 0)
    else:
        assert len(curated.load(spec, tmp_path, 0).catalog) == 8 + len(catalog)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_json_lines_or_named_rows(content):
    lines = content.split(b"\n")
    for row, record in each_json_line(content, "f"):
        assert 1 <= row <= len(lines) and lines[row - 1].strip()
        assert isinstance(record, dict) or (isinstance(record, str) and "\n" not in record)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_damaged_parquet_file_is_a_problem_never_a_crash(tmp_path, noise, place):
    folder = write(tmp_path / "curated")
    (folder / "catalog.jsonl").unlink()
    pl.DataFrame(CATALOG).write_parquet(folder / "catalog.parquet")
    content = (folder / "catalog.parquet").read_bytes()
    (folder / "catalog.parquet").write_bytes(content[:place] + noise + content[place + len(noise) :])
    assert isinstance(curated.check_curated(folder), list)


# -- what pandas and others make of a table ---------------------------------------------------------------------------


def as_parquet(folder: Path, name: str, rows: list[Any], **schema: Any) -> Path:
    (folder / f"{name}.jsonl").unlink(missing_ok=True)
    pl.DataFrame(rows, schema_overrides=schema or None, strict=False).write_parquet(folder / f"{name}.parquet")
    return folder


def lines(folder: Path) -> list[str]:
    return [str(problem).replace(str(folder), "").lstrip("/") for problem in curated.check_curated(folder)]


NOTHING = [float("nan"), float("inf"), -float("inf"), None]


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize(
    ("file", "field"), [("catalog", "title"), ("catalog", "id"), ("slates", "prompt"), ("slates", "items")]
)
def test_a_value_that_is_no_number_is_missing_in_both_forms(tmp_path, file, field, nothing):
    rows = {
        "catalog": [*CATALOG, {"id": "new", "title": "new"}],
        "slates": [*SLATES, {"prompt": "new", "items": ["i0"]}],
    }
    rows[file] = [*rows[file][:-1], rows[file][-1] | {field: nothing}]
    folder = write(tmp_path / "curated", rows["catalog"], rows["slates"])
    row = len(rows[file])
    missing = f"field '{field}' is missing: add it"
    assert lines(folder) == [f"{file}.jsonl, row {row}: {missing}"]
    # a column of a table that holds nothing else: every row lacks its value
    as_parquet(folder, file, [record | {field: nothing} for record in rows[file]], **{field: pl.Float64})
    assert lines(folder) == [f"{file}.parquet, row 1: {missing} (likewise in {row - 1} more: rows 2, 3, 4, ...)"]


@pytest.mark.parametrize("nothing", NOTHING)
def test_an_optional_value_that_is_missing_is_left_out(tmp_path, spec, nothing):
    gaps = {"text": nothing, "categories": nothing}
    folder = write(tmp_path / "curated", [row | gaps for row in CATALOG], [row | {"group": nothing} for row in SLATES])
    assert lines(folder) == []
    data = curated.load(spec, tmp_path, 0)
    assert data.catalog.texts[0] == "Item  0" and data.catalog.items["categories"].list.len().sum() == 0
    write(folder, [{"id": row["id"], "title": row["title"]} for row in CATALOG])
    assert curated.load(spec, tmp_path, 0).fingerprint == data.fingerprint


def test_a_gap_inside_a_list_is_a_fault(tmp_path):
    folder = write(tmp_path / "c", None, [*SLATES, {"prompt": "p", "items": ["i0", float("nan")]}])
    assert lines(folder) == ["slates.jsonl, row 41: field 'items.1': input should be a valid string: mend the value"]


def test_the_index_of_pandas_is_no_field(tmp_path, spec):
    folder = write(tmp_path / "curated")
    plain = curated.load(spec, tmp_path, 0)
    write(folder, [{"Unnamed: 0": i, **row} for i, row in enumerate(CATALOG)])
    assert curated.load(spec, tmp_path, 0).fingerprint == plain.fingerprint
    as_parquet(folder, "catalog", [row | {"__index_level_0__": i} for i, row in enumerate(CATALOG)])
    assert lines(folder) == [] and curated.load(spec, tmp_path, 0).fingerprint == plain.fingerprint


def test_a_fault_in_every_row_is_one_line(tmp_path):
    wide = [row | {f"v{j}": 0.5 for j in range(100)} for row in CATALOG]
    folder = write(tmp_path / "c", wide, SLATES)
    (line,) = lines(folder)
    assert line.startswith("catalog.jsonl, row 1: unknown fields 'v0', 'v1', 'v2' and 97 more: drop or rename them")
    assert line.endswith("(likewise in 7 more: rows 2, 3, 4, ...)")
    write(folder, CATALOG, [row | {"items": [["i0"], ["i1"], ["i2"]]} for row in SLATES])
    (line,) = lines(folder)
    assert line.startswith("slates.jsonl, row 1: field 'items.0'") and "39 more: rows 2, 3, 4, ..." in line
    as_parquet(folder, "catalog", [row | {"title": [1, 2]} for row in CATALOG])
    assert lines(folder)[0].startswith("catalog.parquet, row 1: field 'title': input should be a valid string")
    (folder / "catalog.parquet").unlink()
    text = (folder / "slates.jsonl").read_text()
    write(folder)
    (folder / "slates.jsonl").write_bytes(text.encode("utf-16"))
    found = lines(folder)
    assert "not UTF-8 text: convert the file to UTF-8" in found[0] and len(found) <= 2


@pytest.mark.parametrize(
    ("ids", "asked", "hint"),
    [(range(8), float, "'0.0' is not in the catalogue (the catalogue has '0')"),
     ([float(i) for i in range(8)], int, "'0' is not in the catalogue (the catalogue has '0.0')"),
     ([f"{i:03}" for i in range(8)], int, "'0' is not in the catalogue (the catalogue has '000')"),
     ([f"B{i}" for i in range(8)], "b{}".format, "'b0' is not in the catalogue (the catalogue has 'B0')")],
)  # fmt: skip
def test_an_id_that_is_written_otherwise_in_the_catalogue_is_shown(tmp_path, ids, asked, hint):
    catalog = [{"id": id_, "title": "t"} for id_ in ids]
    slates = [{"prompt": f"p{i}", "items": [asked(i % 8), asked((i + 1) % 8)]} for i in range(24)]
    (line,) = lines(write(tmp_path / "c", catalog, slates))
    assert hint in line and "write an id in the same way in both files (likewise in 23 more" in line


def test_one_number_written_in_two_ways_is_one_id_and_one_group(tmp_path):
    twice = [*CATALOG, {"id": 7, "title": "t"}, {"id": 7.0, "title": "t"}, {"id": "7", "title": "t"}]
    found = lines(write(tmp_path / "c", twice))
    assert found == [
        "catalog.jsonl, row 10: id '7.0' is a duplicate of row 9, id '7': drop the row or give it another id",
        "catalog.jsonl, row 11: id '7' is a duplicate of row 9: drop the row or give it another id",
    ]
    groups = [row | {"group": i // 2 if i % 2 else i / 2} for i, row in enumerate(SLATES)]
    assert (
        "row 2: group '0' is '0.0' in row 1: write a group in the same way"
        in lines(write(tmp_path / "c", None, groups))[0]
    )


def test_names_with_line_breaks_stay_on_one_line(tmp_path):
    catalog = [*CATALOG, {"id": "a\nb", "title": "t", "c\nd": 1}]
    found = lines(write(tmp_path / "c", catalog))
    assert found == ["catalog.jsonl, row 9: unknown field 'c\\nd': drop it (known: id, title, text, categories)"]
    found = lines(write(tmp_path / "c", CATALOG, [*SLATES, {"prompt": "p", "items": ["a\nb"]}]))
    assert len(found) == 1 and "\n" not in found[0] and "'a\\nb'" in found[0]


# -- two sources for one thing, things that are no files --------------------------------------------------------------


@pytest.mark.parametrize("name", ["catalog", "slates"])
def test_two_files_for_one_table_are_refused_with_both_names(tmp_path, spec, name):
    folder = write(tmp_path / "curated")
    content = (folder / f"{name}.jsonl").read_bytes()
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(content))
    assert lines(folder) == [f": holds {name}.jsonl and {name}.jsonl.gz: keep one of them".lstrip("/")]
    (folder / f"{name}.jsonl").unlink()
    assert lines(folder) == []
    (folder / f"{name}.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=rf"holds {name}\.jsonl\.gz and {name}\.parquet: keep one of them"):
        curated.load(spec, tmp_path, 0)


def test_a_key_twice_in_a_row_is_refused(tmp_path):
    folder = write(tmp_path / "c")
    with (folder / "catalog.jsonl").open("a") as stream:
        stream.write('{"id": "x", "title": "one", "title": "two"}\n')
    assert lines(folder) == ["catalog.jsonl, row 9: key 'title' is given twice: keep it once"]


def test_what_stands_in_the_place_of_a_file(tmp_path):
    folder = write(tmp_path / "c")
    path = folder / "catalog.jsonl"
    path.unlink()
    for make, words in ((path.mkdir, "is a folder"), (lambda: os.mkfifo(path), "is no file"),
                        (lambda: path.symlink_to(path), "cannot be read")):  # fmt: skip
        make()
        (line,) = lines(folder)
        assert line.startswith(f"catalog.jsonl: {words}")
        path.rmdir() if path.is_dir() else path.unlink()


def test_damaged_files_of_the_user_s_own_are_not_to_be_fetched(tmp_path):
    folder = write(tmp_path / "c")
    content = gzip.compress((folder / "catalog.jsonl").read_bytes())
    (folder / "catalog.jsonl").unlink()
    for damaged in (content[:-12], b"no gzip", content[:20] + b"\0" * 8 + content[28:]):
        (folder / "catalog.jsonl.gz").write_bytes(damaged)
        (line,) = lines(folder)
        assert "damaged gzip file" in line and line.endswith(": make it again") and "fetch" not in line


# -- what check says beforehand, load says too ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row | {"group": "one"} for row in SLATES], "40 slates make 1 group, and train, valid and test need 3"),
        ([row | {"group": f"g{i % 2}"} for i, row in enumerate(SLATES)], "40 slates make 2 groups"),
        ([row | {"prompt": "Same!"} for row in SLATES], "(there are 1 prompts, 8 item sets)"),
        ([{"prompt": f"p{i}", "items": [f"i{i % 2}"]} for i in range(9)], "(there are 9 prompts, 2 item sets)"),
        (SLATES[:2], "holds 2 slates: at least 3 are needed"),
        ([row | {"part": "train"} for row in SLATES], "part 'valid' has no rows"),
    ],
)
def test_data_that_can_not_be_split_are_told_beforehand(tmp_path, spec, rows, words):
    folder = write(tmp_path / "curated", None, rows)
    assert words in lines(folder)[0]
    with pytest.raises(DataError) as error:
        curated.load(spec, tmp_path, 0)
    assert words in str(error.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 3))
def test_three_groups_of_any_size_can_be_split(tmp_path, spec, sizes, seed):
    catalog = [{"id": f"{g}-{i}", "title": "t"} for g, size in enumerate(sizes) for i in range(size)]
    slates = [{"prompt": f"{row['id']}", "items": [row["id"]], "group": row["id"].split("-")[0]} for row in catalog]
    folder = write(tmp_path / "curated", catalog, slates)
    if len(sizes) < 3:
        assert "group" in lines(folder)[0] or "at least 3" in lines(folder)[0]
    else:
        assert lines(folder) == [] and len(curated.load(spec, tmp_path, seed).train)
