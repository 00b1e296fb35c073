"""Bundle: every quirk of the files, every kind of damage, and the real data."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slatebench.datasets.errors import DataError
from slatebench.datasets.loaders import bundle
from slatebench.datasets.registry import dataset_card, load_dataset
from slatebench.datasets.text import clean, item_text

N = 12  # sessions, bundles and items of the tiny domain

FROZEN = "d6d742c812849123"  # fingerprint of the tiny files below: another one is another dataset in every spec


def tiny_files() -> dict[str, str]:
    """A domain of 12 sessions with one bundle of two items each; bundles 0 and 5 hold the same items."""
    items = [f"{100 + i}" for i in range(N)]
    pairs = {i: (items[i], items[(i + 1) % N]) for i in range(N)}
    pairs[5] = tuple(reversed(pairs[0]))
    files = {
        "bundle_intent.csv": [["bundle ID", "intent"]] + [[i, f"  intent\nof  {i} "] for i in range(N)],
        "bundle_item.csv": [["bundle ID", "item ID"]] + [[i, item] for i in range(N) for item in pairs[i]],
        "item_titles.csv": [["item ID", "titles"]] + [[item, f"Salt &amp; Pepper, {item}"] for item in items],
        "item_categories.csv": [["item ID", "categories"]]
        + [[item, "[[Food, Drink & Co,Salt],[X]]"] for item in items],
        "session_bundle.csv": [["session ID", "bundle ID"]] + [[i + 50, i] for i in range(N)],
    }
    texts = {}
    for name, rows in files.items():
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows(rows)
        texts[name] = stream.getvalue()
    return texts


@pytest.fixture
def tiny(tmp_path, card, as_file):
    """Write a tiny domain; changes replace the text (or bytes) of a file; the card's checksums follow them."""

    def write(**changes: str | bytes):
        files = {}
        for name, text in (tiny_files() | {f"{key}.csv": value for key, value in changes.items()}).items():
            content = text if isinstance(text, bytes) else text.encode()
            path = tmp_path / "bundle" / "food" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files[name] = as_file(f"bundle/food/{name}", content)
        return card("bundle-food", files=list(files.values()), options={"domains": ["food"]}), tmp_path

    return write


def test_the_quirks_of_the_files(tiny):
    spec, folder = tiny()
    data = bundle.load(spec, folder, 0)
    assert data.fingerprint == FROZEN
    first = data.catalog.items.row(0, named=True)
    assert first["id"] == "food/100" and first["title"] == "Salt & Pepper, 100"
    assert first["categories"] == [["Food, Drink & Co", "Salt"], ["X"]]
    assert first["text"] == "Salt & Pepper, 100. Salt, X"
    rows = pl.concat([data.part(name).requests for name in ("train", "valid", "test")])
    prompts = dict(rows.select("request", "prompt").iter_rows())
    assert prompts["food/3"] == "intent of 3"
    groups = dict(rows.select("request", "group").iter_rows())
    assert groups["food/0"] == groups["food/5"] == "food/50"  # other sessions, same items
    assert len(set(groups.values())) == N - 1


def test_bundles_without_an_intent_are_dropped(tiny):
    text = tiny_files()["bundle_intent.csv"].replace('"  intent\nof  4 "', '" \n "')
    data = bundle.load(*tiny(bundle_intent=text), 0)
    assert sum(len(part) for part in (data.train, data.valid, data.test)) == N - 1
    assert len(data.catalog) == N


def test_a_gzipped_copy_is_the_same_data(tiny):
    spec, folder = tiny()
    plain = bundle.load(spec, folder, 0)
    for file in spec.files:
        path = folder / file.path
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert bundle.load(spec, folder, 0).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("item_titles", "item ID,titles", "item,title", "row 1: columns are ['item', 'title']"),
        ("item_titles", '100,"Salt', '101,"Salt', "row 3: item ID '101' is a duplicate of row 2"),
        ("item_titles", '100,"Salt &amp; Pepper, 100"', '100,"Salt', "row 2: not valid CSV"),
        ("item_titles", '100,"Salt', '100,x,"Salt', "row 2: 3 fields, expected 2"),
        ("bundle_item", "0,100\n", "0,999\n", "row 2: unknown item ID '999'"),
        ("bundle_item", "3,103\n3,104\n", "", "row 5: unknown bundle ID '3'"),  # an empty slate
        ("bundle_item", "0,100\n", "0,100\n0,100\n", "row 3: bundle ID '0 / 100' is a duplicate of row 2"),
        ("session_bundle", "52,2\n", "", "row 4: unknown bundle ID '2'"),
        ("item_categories", '"[[Food, Drink & Co,Salt],[X]]"', "Food", "row 2: not a list of paths"),
    ],
)
def test_damage_is_named_with_file_row_and_mend(tiny, file, old, new, words):
    text = tiny_files()[f"{file}.csv"]
    assert old in text
    with pytest.raises(DataError) as error:
        bundle.load(*tiny(**{file: text.replace(old, new, 1)}), 0)
    assert words in str(error.value) and "\n" not in str(error.value) and ".csv" in str(error.value)
    assert str(error.value).count(": ") >= 2  # place: problem: mend


def test_wrong_encoding_and_huge_field(tiny):
    text = tiny_files()["item_titles.csv"]
    with pytest.raises(DataError, match=r"item_titles.csv, row 4: not UTF-8 text: convert"):
        bundle.load(*tiny(item_titles=text.replace("Pepper, 102", "Pépper, 102").encode("latin-1")), 0)
    with pytest.raises(DataError, match=r"item_titles.csv, row 2: not valid CSV \(field larger than"):
        bundle.load(*tiny(item_titles=text.replace("Pepper, 100", "P" * 1_100_000)), 0)
    with pytest.raises(DataError, match=r"item_titles.csv, row 2: no rows"):
        bundle.load(*tiny(item_titles="item ID,titles\n"), 0)


def test_truncated_changed_missing_and_damaged_files(tiny):
    spec, folder = tiny()
    path = folder / "bundle" / "food" / "item_titles.csv"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(DataError, match=r"item_titles.csv: truncated, .* fetch it again"):
        bundle.load(spec, folder, 0)
    path.write_bytes(content.replace(b"Salt", b"Malt"))
    with pytest.raises(DataError, match=r"item_titles.csv: wrong checksum .* fetch it again"):
        bundle.load(spec, folder, 0)
    path.write_bytes(content + b"x")
    with pytest.raises(DataError, match=r"item_titles.csv: content is longer"):
        bundle.load(spec, folder, 0)
    path.unlink()
    with pytest.raises(DataError, match=r"item_titles.csv: file is missing \(also as .gz\)"):
        bundle.load(spec, folder, 0)
    packed = gzip.compress(content)
    for damaged in (packed[: len(packed) // 2], b"\x1f\x8b no gzip", b"plain"):
        Path(f"{path}.gz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"item_titles.csv.gz: damaged gzip file"):
            bundle.load(spec, folder, 0)
    Path(f"{path}.gz").write_bytes(gzip.compress(bytes(50_000_000)))  # a bomb stops at the card's size
    with pytest.raises(DataError, match=r"content is longer than"):
        bundle.load(spec, folder, 0)


names = st.text(st.characters(blacklist_characters="[],&;\n\r", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda name: clean(name) == name and name != ""
)
with_comma = st.builds("{}, {}".format, names, names)


@given(st.lists(st.lists(names | with_comma, min_size=1, max_size=5), max_size=4))
def test_category_paths_survive_being_written(paths):
    text = "[" + ",".join("[" + ",".join(path) + "]" for path in paths) + "]" if paths else "[[]]"
    assert bundle.parse_categories(text) == paths


@given(st.text(alphabet="[], aB&;\n'\"", max_size=40) | st.text(max_size=40))
def test_any_category_text_is_parsed_or_refused(text):
    try:
        paths = bundle.parse_categories(text)
    except ValueError:
        assert not (text.startswith("[[") and text.endswith("]]") and len(text) >= 4)
    else:
        assert all(path and all(name and name == clean(name) for name in path) for path in paths)


def test_item_text_without_categories():
    assert item_text("Salt", []) == "Salt"


# -- the real data --------------------------------------------------------------------------------------------------


def raw(folder: Path, domain: str, name: str) -> list[list[str]]:
    """A raw file, read by other means than the loader's."""
    path = folder / "bundle" / domain / name
    text = gzip.decompress(Path(f"{path}.gz").read_bytes()) if not path.exists() else path.read_bytes()
    return list(csv.reader(io.StringIO(text.decode("utf-8"), newline="")))[1:]


def test_real_bundle_has_the_published_size(real_data):
    data = load_dataset("bundle", source="real")
    assert len(data.catalog) == 11753
    assert len(data.train) + len(data.valid) + len(data.test) == 5444 - 2
    for part in (data.valid, data.test):
        assert abs(len(part) - 544) <= 5
    groups = pl.concat([data.part(name).requests["group"] for name in ("train", "valid", "test")])
    assert groups.n_unique() == 2771
    assert data.fingerprint == dataset_card("bundle").statistics.fingerprint  # type: ignore[union-attr]
    assert not any("&amp;" in title or "&quot;" in title or "\n" in title for title in data.catalog.titles)


def test_real_bundle_leaks_neither_sessions_nor_item_sets(real_data):
    data = load_dataset("bundle", source="real")
    session = {
        f"{domain}/{bundle_id}": f"{domain}/{session_id}"
        for domain in ("electronic", "clothing", "food")
        for session_id, bundle_id in raw(real_data, domain, "session_bundle.csv")
    }
    seen: dict[object, str] = {}
    for name in ("train", "valid", "test"):
        part = data.part(name)
        for request, items in zip(part.requests["request"], part.references["items"].to_list(), strict=True):
            for key in (session[request], frozenset(items)):
                assert seen.setdefault(key, name) == name


def test_real_domains_are_the_pooled_set_in_parts(real_data):
    pooled = load_dataset("bundle", source="real")
    for domain in ("electronic", "clothing", "food"):
        alone = load_dataset(f"bundle-{domain}", source="real")
        for name in ("train", "valid", "test"):
            inside = pooled.part(name).requests.filter(pl.col("request").str.starts_with(f"{domain}/"))
            assert alone.part(name).requests["request"].to_list() == inside["request"].to_list()


def test_real_category_names_keep_their_commas(real_data):
    data = load_dataset("bundle", source="real")
    paths = [path for paths in data.catalog.items["categories"].to_list() for path in paths]
    names = {name for path in paths for name in path}
    raw_text = [row[1] for d in ("electronic", "clothing", "food") for row in raw(real_data, d, "item_categories.csv")]
    # nothing is lost: the paths written back are the file's text
    written = [",".join("[" + ",".join(path) + "]" for path in p) for p in data.catalog.items["categories"].to_list()]
    by_id = dict(zip(data.catalog.ids, written, strict=True))
    for domain in ("electronic", "clothing", "food"):
        for item, text in raw(real_data, domain, "item_categories.csv"):
            assert f"[{by_id[f'{domain}/{item}'] or '[]'}]" == text
    assert len(raw_text) == 11753
    assert "Clothing, Shoes & Jewelry" in names and "Coffee, Tea & Cocoa" in names
    assert not names & {"Shoes & Jewelry", "Tea & Cocoa"}


def test_another_split_seed_is_another_dataset(real_data):
    one, other = load_dataset("bundle-food", source="real"), load_dataset("bundle-food", source="real", split_seed=1)
    assert one.fingerprint != other.fingerprint
    assert set(one.catalog.ids) == set(other.catalog.ids)
    assert set(one.test.requests["request"]) != set(other.test.requests["request"])
