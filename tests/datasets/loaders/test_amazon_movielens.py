"""Amazon's sequences and MovieLens: the real files where they are, and small ones made here."""

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from slatebench.datasets.card import CardFile, builtin_cards
from slatebench.datasets.checks.audit import audit
from slatebench.datasets.errors import DataError
from slatebench.datasets.loaders import amazon, movielens
from slatebench.datasets.registry import find_dataset, load_dataset

FOLDER = Path(os.environ.get("SLATEBENCH_DATA", "").split(os.pathsep)[0])


def real(name, folder):
    """The real dataset, else skip."""
    if not os.environ.get("SLATEBENCH_DATA") or not (FOLDER / folder).is_dir():
        pytest.skip(f"real data needed: set SLATEBENCH_DATA to a folder with {folder}/")
    return load_dataset(name, source="real")


@pytest.mark.parametrize(
    ("name", "folder", "users", "items", "interactions"),
    [
        ("amazon-beauty", "amazon2014", 22_363, 12_101, 198_502),
        ("amazon-toys", "amazon2014", 19_412, 11_924, 167_597),
        ("ml-latest-small", "movielens-latest-small", 610, 9_724, 100_836),
    ],
)
def test_the_counts_are_the_published_ones(name, folder, users, items, interactions):
    data = real(name, folder)
    assert data.sequences is not None
    assert (len(data.test), len(data.catalog)) == (users, items)
    assert data.sequences["items"].list.len().sum() + 2 * users == interactions


def test_popularity_of_beauty_is_what_was_counted_elsewhere():
    import numpy as np

    data = real("amazon-beauty", "amazon2014")
    order = np.argsort(-data.catalog.train_count, kind="stable")
    hits = {5: 0, 10: 0}
    both = data.test.requests.join(data.test.references, on="request")
    for history, (target,) in both.select("history", "items").iter_rows():
        top = [item for item in order[: 10 + len(history)].tolist() if item not in set(history)][:10]
        for k in hits:
            hits[k] += target in top[:k]
    assert (round(hits[5] / len(data.test), 4), round(hits[10] / len(data.test), 4)) == (0.0075, 0.0115)


def test_the_audit_of_beauty_tells_ties_and_unseen_targets():
    report = audit(real("amazon-beauty", "amazon2014"))
    test = dict(report.parts.filter(part="test").select("measure", "value").iter_rows())
    assert test["targets_tied"] == pytest.approx(0.434, abs=5e-4) and test["targets_unseen"] == pytest.approx(
        0.0062, abs=5e-5
    )
    assert dict(report.overall.iter_rows())["sorted_by_id"] < 0.3


def test_without_the_files_the_twin_stands_in_and_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("SLATEBENCH_DATA", raising=False)
    monkeypatch.setenv("SLATEBENCH_CACHE", str(tmp_path))
    found = find_dataset("amazon-beauty", download=False)
    assert found.name == "sessions-synthetic" and "stands in for 'amazon-beauty'" in str(found.notice)


# --- small files ---------------------------------------------------------------------------------------

ITEMS = (
    "item_id\tasin\ttitle\tcategories\tattributes\tllm_keywords\n"
    '1\tB1\tRose &amp; Oil\t[["Beauty", "Skin"]]\t\trose oil\n'
    "2\tB2\t\t\t\tnail file\n"
    '3\tB3\tA "quoted" one\t[]\t\t\n'
    "4\tB4\t\t\t\t\n"
)
SEQUENCES = "7 1 2 3 4\n9 4 3 2\n"
TIMES = "user_id\titem_id\tunix_time\n7\t1\t100\n7\t2\t100\n7\t3\t200\n7\t4\t300\n"


def amazon_card(folder, **files):
    """A card of files written into the folder."""
    content = {"s3rec/Small.txt": SEQUENCES, "derived/items.tsv": ITEMS, "derived/timestamps.tsv": TIMES} | files
    made = []
    for path, text in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        raw = text.encode()
        (folder / path).write_bytes(raw)
        made.append(CardFile(path=path, bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest()))
    return builtin_cards()["amazon-beauty"].model_copy(update={"files": made, "statistics": None})


def test_amazon_sequences_keep_their_order_and_titles_are_made_readable(tmp_path):
    data = amazon.load(amazon_card(tmp_path), tmp_path, 0)
    assert data.catalog.ids == ["B1", "B2", "B3", "B4"]
    assert data.catalog.titles == ["Rose & Oil", "nail file", 'A "quoted" one', "B4"]
    assert data.catalog.texts[0] == "Rose & Oil. Skin"
    assert data.test.requests["history"].to_list() == [[0, 1, 2], [3, 2]]
    assert data.test.requests["request_time"].to_list() == [300, None]  # of user 9 no time is known


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"s3rec/Small.txt": "7 1 2 3\n8\n"}, "row 2: a user without items"),
        ({"s3rec/Small.txt": "7 1 2 9\n"}, "an item that derived/items.tsv does not know"),
        ({"derived/items.tsv": "item_id\tasin\n1\tB1\n"}, "derived/items.tsv: not the expected table"),
        ({"derived/items.tsv": ITEMS.replace("[]", "[broken")}, "row 4: categories are no JSON"),
    ],
)
def test_damaged_amazon_files_are_told(tmp_path, files, why):
    with pytest.raises(DataError, match=why):
        amazon.load(amazon_card(tmp_path, **files), tmp_path, 0)


def movielens_folder(folder, rated="ratings.dat", separator="::"):
    """Five films, of which one has too few ratings, and two users."""
    inside = folder / "movielens-1m" / "ml-1m"
    inside.mkdir(parents=True)
    films = "".join(
        f"{line}\n"
        for line in (
            "1::Usual Suspects, The (1995)::Crime|Thriller",
            "2::Heat (1995)::(no genres listed)",
            "3::Am\xe9lie (2001)::Comedy",
            "4::Rare (1999)::Drama",
            "5::Alien (1979)::Horror",
        )
    )
    with gzip.open(inside / "movies.dat.gz", "wb") as file:
        file.write(films.encode("iso-8859-1"))
    rows = [("1", "1", "30"), ("1", "2", "10"), ("1", "3", "20"), ("1", "4", "5"), ("1", "5", "1")]
    rows += [("2", movie, "7") for movie in "1235"]
    if rated == "ratings.dat":
        lines = [separator.join((user, movie, "4", time)) for user, movie, time in rows]
    else:
        lines = ["user_id\tmovie_id\tunix_time", *("\t".join(row) for row in rows)]
    (inside / rated).write_text("\n".join(lines) + "\n")
    card = builtin_cards()["ml-1m"]
    return card.model_copy(update={"statistics": None, "options": card.options | {"ratings_at_least": 2}})


@pytest.mark.parametrize("rated", ["ratings.dat", "interactions.tsv"])
def test_movielens_from_either_file(tmp_path, rated):
    data = movielens.load_1m(movielens_folder(tmp_path, rated), tmp_path, 0)
    assert data.catalog.titles == ["The Usual Suspects (1995)", "Heat (1995)", "Am\xe9lie (2001)", "Alien (1979)"]
    assert data.catalog.items["categories"].to_list() == [[["Crime"], ["Thriller"]], [], [["Comedy"]], [["Horror"]]]
    assert data.test.requests["history"].to_list() == [[3, 1, 2], [0, 1, 2]]  # by time; ties by the file's order


def test_damaged_movielens_files_are_told(tmp_path):
    card = movielens_folder(tmp_path, separator=":")
    with pytest.raises(DataError, match=r"ratings\.dat, row 1: 1 fields, expected 4"):
        movielens.load_1m(card, tmp_path, 0)
    (tmp_path / "movielens-1m" / "ml-1m" / "ratings.dat").unlink()
    with pytest.raises(DataError, match=r"holds no ratings\.dat or interactions\.tsv"):
        movielens.load_1m(card, tmp_path, 0)
