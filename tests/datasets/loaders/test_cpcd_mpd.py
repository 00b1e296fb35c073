"""Playlists: CPCD dialogues and the Million Playlist slices."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from slatebench.datasets.errors import DataError
from slatebench.datasets.loaders import cpcd, mpd
from slatebench.datasets.registry import dataset_card, load_dataset
from slatebench.datasets.text import normalised

FROZEN = "220ced35be9b1fde"  # fingerprint of the tiny zip below: another one is another dataset in every spec


def conversation(id_: str, goal: list[str], tracks: list[str]) -> dict:
    turns = [{"user_query": f" songs\n for {id_}"}, {"user_query": ""}, {"user_query": "more &amp; more"}]
    metadata = {
        track: {"track_titles": f"Song {track}", "track_artists": ["A", "B"], "track_release_titles": "Album"}
        for track in tracks
    }
    return {"id": id_, "turns": turns, "tracks": metadata, "goal_playlist": goal}


@pytest.fixture
def dialogues(tmp_path, card, as_file):
    def write(train: list[dict] | bytes, test: list[dict]):
        files = []
        for name, records in (("train", train), ("val", test)):
            content = records if isinstance(records, bytes) else "\n".join(map(json.dumps, records)).encode()
            (tmp_path / f"{name}.jsonl").write_bytes(content)
            files.append(as_file(f"{name}.jsonl", content))
        return card("cpcd", files=files, slate_length=20), tmp_path

    return write


def test_dialogues_become_requests(dialogues):
    train = [conversation(f"c{i}", [f"t{i}", "t0"] if i else [], [f"t{i}", f"d{i}"]) for i in range(60)]
    data = cpcd.load(*dialogues(train, [conversation("v", ["t3", "w"], ["w", "t3"])]), 0)
    assert (len(data.train) + len(data.valid), len(data.test)) == (59, 1)  # the empty goal is dropped
    assert len(data.valid) in (39, 40)
    assert data.test.requests["prompt"][0] == "songs for v more & more"
    assert len(data.catalog) == 121  # disliked tracks are in the catalogue, also those of the dropped dialogue
    item = data.catalog.items.row(0, named=True)
    assert (item["title"], item["text"]) == ("Song t0 - A, B", "Song t0 - A, B - Album")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"id": 1}', "row 2: not a CPCD conversation"),
        (b"[1, 2]", "row 2: not a JSON object"),
        (b'{"id": "x", ', "row 2: not valid JSON"),
        (b'{"id": "\xff"}', "row 2: not UTF-8 text"),
        (json.dumps(conversation("x", ["nowhere"], [])).encode(), "row 2: goal track 'nowhere' has no metadata"),
        (json.dumps(conversation("c0", ["t0"], ["t0"])).encode(), "request id 'c0' is given twice"),
        (b'{"id": "' + b"x" * 1_100_000 + b'"}', "row 2: line has"),
        (b"[" * 100_000, "row 2: not valid JSON"),
    ],
)
def test_damaged_dialogues_are_one_clear_line(dialogues, line, words):
    good = json.dumps(conversation("c0", ["t0"], ["t0"])).encode()
    with pytest.raises(DataError) as error:
        cpcd.load(*dialogues(good + b"\n" + line + b"\n", [conversation("v", ["w"], ["w"])]), 0)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_real_cpcd(real_data):
    data = load_dataset("cpcd", source="real")
    assert (len(data.train), len(data.valid), len(data.test)) == (358, 40, 50)
    slots = {name: int(data.part(name).references["items"].list.len().sum()) for name in ("train", "valid", "test")}
    assert slots["train"] + slots["valid"] == 7578 and slots["test"] == 1012
    lines = []
    for name in ("train", "val"):
        path = real_data / f"cpcd/first_release/cpcd_v1.dialogs.dev.{name}.jsonl.gz"
        lines += [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert set(data.catalog.ids) == {track for line in lines for track in line["tracks"]}
    assert {line["id"] for line in lines if not line["goal_playlist"]}.isdisjoint(data.train.requests["request"])
    assert any("official test" in quirk for quirk in data.card.quirks)


# -- Million Playlist -------------------------------------------------------------------------------------------------


def playlist(pid: int, name: str, tracks: list[int]) -> dict:
    return {
        "name": name,
        "pid": pid,
        "collaborative": "false",
        "num_tracks": len(tracks),
        "tracks": [
            {
                "pos": place,
                "track_uri": f"spotify:track:{track}",
                "track_name": f"Song {track}",
                "artist_name": "Artist",
                "album_name": "Album",
                "duration_ms": 1,
            }
            for place, track in enumerate(tracks)
        ],
    }


def slice_json(start: int, end: int) -> bytes:
    titles = ["Chill Vibes", "chill vibes!!", "  CHILL  vibes ", "Workout", "workout 💪", "road trip", "Sad", "party"]
    rows = [playlist(pid, titles[pid % 8], [pid, pid + 1, pid, 0]) for pid in range(start, end + 1)]
    return json.dumps({"info": {"slice": f"{start}-{end}"}, "playlists": rows}).encode()


@pytest.fixture
def music(tmp_path, card):
    folder = tmp_path / "mpd"
    folder.mkdir()

    def spec(**options):
        defaults = {"folder": "mpd", "playlists": 80, "split_by": "playlist"}
        return card("mpd", slate_length=20, options=defaults | options, instructions="bring it")

    return folder, spec


def write_slices(folder: Path, n: int = 100, step: int = 25) -> None:
    (folder / "data").mkdir(exist_ok=True)
    for start in range(0, n, step):
        (folder / "data" / f"mpd.slice.{start}-{start + step - 1}.json").write_bytes(
            slice_json(start, start + step - 1)
        )


def test_slices_become_requests(music):
    folder, spec = music
    write_slices(folder)
    data = mpd.load(spec(), folder.parent, 0)
    rows = [(name, *row) for name in ("train", "valid", "test") for row in data.part(name).requests.iter_rows()]
    assert sorted(int(row[1]) for row in rows) == list(range(80))  # the first 80, although a slice goes on to 99
    assert len(data.valid) == len(data.test) == 8
    first = data.train.requests.row(0, named=True)
    slate = data.train.references["items"][0].to_list()
    pid = int(first["request"])
    assert [data.catalog.ids[i] for i in slate][:2] == [f"spotify:track:{pid}", f"spotify:track:{pid + 1}"]
    assert len(slate) == len(set(slate))  # tracks that a playlist repeats count once
    assert data.catalog.texts[slate[0]] == f"Song {pid} - Artist - Album"


def test_zip_and_slices_are_the_same_data(music, tmp_path):
    folder, spec = music
    with zipfile.ZipFile(folder / "official.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        for start in (50, 0, 25, 75):
            pack.writestr(f"data/mpd.slice.{start}-{start + 24}.json", slice_json(start, start + 24))
        pack.writestr("md5sums", "x")
    packed = mpd.load(spec(), folder.parent, 0)
    assert packed.fingerprint == FROZEN
    (folder / "official.zip").unlink()
    write_slices(folder)
    assert mpd.load(spec(), folder.parent, 0).fingerprint == packed.fingerprint


def test_the_hard_split_keeps_equal_titles_together(music):
    folder, spec = music
    write_slices(folder)
    data = mpd.load(spec(split_by="title"), folder.parent, 0)
    titles = {name: {normalised(p) for p in data.part(name).requests["prompt"]} for name in ("train", "valid", "test")}
    assert not titles["train"] & (titles["valid"] | titles["test"]) and not titles["valid"] & titles["test"]
    assert normalised("💪") == "💪"


def test_missing_and_damaged_slices(music):
    folder, spec = music
    with pytest.raises(DataError, match=r"holds neither mpd\.slice"):
        mpd.load(spec(), folder.parent, 0)
    write_slices(folder)
    damaged = folder / "data" / "mpd.slice.25-49.json"
    for content in (slice_json(25, 49)[:-100], b"{}", b'{"playlists": [{"pid": "x"}]}', b"\xff\xfe", b"[1]", b""):
        damaged.write_bytes(content)
        with pytest.raises(DataError) as error:
            mpd.load(spec(), folder.parent, 0)
        assert "mpd.slice.25-49.json" in str(error.value) and "\n" not in str(error.value)
    damaged.unlink()
    with pytest.raises(DataError, match=r"begins with playlist 25 is missing: add mpd.slice.25-"):
        mpd.load(spec(), folder.parent, 0)


def test_what_other_systems_leave_beside_the_slices_is_ignored(music):
    folder, spec = music
    write_slices(folder)
    plain = mpd.load(spec(), folder.parent, 0).fingerprint
    leftovers = ["data/._mpd.slice.0-24.json", "__MACOSX/data/._mpd.slice.25-49.json", "__MACOSX/mpd.slice.50-74.json"]
    leftovers += [".DS_Store", "data/Thumbs.db", "desktop.ini", "._official.zip", "data/Copy of mpd.slice.0-24.json"]
    for name in leftovers:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\26\7")
    assert mpd.load(spec(), folder.parent, 0).fingerprint == plain
    for path in (folder / "data").iterdir():
        path.unlink()
    with zipfile.ZipFile(folder / "official.zip", "w") as pack:
        for start in range(0, 100, 25):
            pack.writestr(f"data/mpd.slice.{start}-{start + 24}.json", slice_json(start, start + 24))
            pack.writestr(f"__MACOSX/data/._mpd.slice.{start}-{start + 24}.json", b"\0\5\26\7")
    with zipfile.ZipFile(folder / "challenge.zip", "w") as pack:  # no slices: not ours
        pack.writestr("challenge_set.json", b"{}")
    assert mpd.load(spec(), folder.parent, 0).fingerprint == plain


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("copy/mpd.slice.25-49.json", ["copy/mpd.slice.25-49.json", "data/mpd.slice.25-49.json"]),
        ("data/mpd.slice.25-49.json.gz", ["data/mpd.slice.25-49.json", "data/mpd.slice.25-49.json.gz"]),
        ("data/mpd.slice.20-49.json", ["data/mpd.slice.0-24.json", "data/mpd.slice.20-49.json"]),
        ("data/mpd.slice.75-199.json", ["data/mpd.slice.75-99.json", "data/mpd.slice.75-199.json"]),
        ("official.zip", ["data/mpd.slice.0-24.json", "official.zip"]),
    ],
)
def test_two_sources_of_one_playlist_are_refused_with_both_names(music, name, words):
    folder, spec = music
    write_slices(folder)
    (folder / "data" / "mpd.slice.90-99.json").write_bytes(b"")  # beyond the playlists that are read: nobody minds
    (folder / "copy").mkdir()
    if name.endswith(".zip"):
        with zipfile.ZipFile(folder / name, "w") as pack:
            pack.writestr("mpd.slice.0-99.json", slice_json(0, 99))
    else:
        start, end = map(int, name.split(".")[2].split("-"))
        content = slice_json(start, end)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match="keep one of them") as error:
        mpd.load(spec(), folder.parent, 0)
    assert all(str(folder / word) in str(error.value) for word in words) and "missing" not in str(error.value)


def test_a_slice_twice_in_a_zip_and_two_zips_are_refused(music):
    folder, spec = music
    with zipfile.ZipFile(folder / "a.zip", "w") as pack:
        for place in ("data", "copy"):
            pack.writestr(f"{place}/mpd.slice.0-99.json", slice_json(0, 99))
    with pytest.raises(
        DataError, match=r"copy/mpd\.slice.*data/mpd\.slice.* hold the same playlists: keep one of them"
    ):
        mpd.load(spec(), folder.parent, 0)
    with zipfile.ZipFile(folder / "b.zip", "w") as pack:
        pack.writestr("mpd.slice.0-99.json", slice_json(0, 99))
    with pytest.raises(DataError, match=r"a\.zip and .*b\.zip both hold slices: keep one of them"):
        mpd.load(spec(), folder.parent, 0)


def test_a_pid_twice_or_of_another_slice_is_refused(music):
    folder, spec = music
    write_slices(folder)
    path = folder / "data" / "mpd.slice.25-49.json"
    rows = json.loads(slice_json(25, 49))["playlists"]
    path.write_text(json.dumps({"playlists": [*rows, rows[3] | {"name": "another"}]}))
    with pytest.raises(DataError, match=r"25-49\.json, playlists 4 and 26: both have the pid 28"):
        mpd.load(spec(), folder.parent, 0)
    path.write_text(json.dumps({"playlists": [*rows, rows[3] | {"pid": 7}]}))
    with pytest.raises(DataError, match=r"25-49\.json, playlist 26: pid 7 is none of the slice's"):
        mpd.load(spec(), folder.parent, 0)


def test_a_damaged_slice_that_the_user_has_packed_is_to_be_packed_again(music):
    folder, spec = music
    write_slices(folder)
    path = folder / "data" / "mpd.slice.0-24.json"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-12])
    path.unlink()
    with pytest.raises(DataError, match=r"0-24\.json\.gz: damaged gzip file .*: make it again from the official file"):
        mpd.load(spec(), folder.parent, 0)


def test_a_damaged_zip_or_a_bomb_in_it(music):
    folder, spec = music
    path = folder / "official.zip"
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match=r"damaged zip archive .* fetch it again"):
        mpd.load(spec(), folder.parent, 0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("mpd.slice.0-99.json", b" " * 30_000_000)
    with pytest.raises(DataError, match="look like a bomb"):
        mpd.load(spec(), folder.parent, 0)


@pytest.mark.parametrize("member", ["../../{}", "/tmp/{}", "..\\..\\{}", "C:{}"])
def test_names_that_lead_out_of_a_zip_lead_nowhere(music, member):
    """Members are read into memory: whatever they are called, no file is written."""
    folder, spec = music
    with zipfile.ZipFile(folder / "official.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr(member.format("mpd.slice.0-99.json"), slice_json(0, 99))
    before = sorted(folder.parent.rglob("*"))
    packed = mpd.load(spec(), folder.parent, 0)
    assert sorted(folder.parent.rglob("*")) == before
    assert not Path("/tmp/mpd.slice.0-99.json").exists()
    (folder / "official.zip").unlink()
    write_slices(folder)
    assert packed.fingerprint == mpd.load(spec(), folder.parent, 0).fingerprint


def test_a_zip_of_a_version_that_nobody_knows_is_one_clear_line(music):
    folder, spec = music
    path = folder / "official.zip"
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr("mpd.slice.0-99.json", slice_json(0, 99))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 6] = 99  # version needed to extract
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged zip archive .* fetch it again"):
        mpd.load(spec(), folder.parent, 0)


def test_a_link_in_a_zip_is_not_followed(music):
    folder, spec = music
    (folder.parent / "secret.json").write_bytes(slice_json(0, 99))
    with zipfile.ZipFile(folder / "official.zip", "w") as pack:
        info = zipfile.ZipInfo("mpd.slice.0-99.json")
        info.external_attr = 0o120777 << 16
        pack.writestr(info, "../secret.json")
    with pytest.raises(DataError, match="not a slice of playlists"):
        mpd.load(spec(), folder.parent, 0)


def test_another_archive_is_not_opened_and_the_mend_is_named(music):
    folder, spec = music
    with tarfile.open(folder / "official.tar.gz", "w:gz") as pack:
        pack.addfile(tarfile.TarInfo("../../mpd.slice.0-99.json"))
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(DataError, match="put them there, unpacked if they came in another archive"):
        mpd.load(spec(), folder.parent, 0)
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["mpd", "mpd-hard"])
def test_the_card_offers_no_download(name, no_data):
    card = dataset_card(name)
    assert not card.files and card.instructions and card.options["playlists"] == 100_000
    with pytest.raises(DataError, match="SLATEBENCH_DATA"):
        load_dataset(name, source="real")
