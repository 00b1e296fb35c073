"""Where data comes from: folders in order, the cache, and downloads that go wrong in every way."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path

import pytest

from slatebench.datasets.errors import DataError
from slatebench.datasets.files import array_cache, finding
from slatebench.datasets.files.finding import fetch, find_files, find_folder
from slatebench.datasets.vectors import features
from slatebench.metrics import bertscore

CONTENT = b"id,title\n1,one\n" * 200


def put(folder: Path, path: str = "tiny/a.csv", content: bytes = CONTENT) -> Path:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return folder


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def brief(monkeypatch):
    """Short patience, so that tests are quick."""
    monkeypatch.setattr(finding, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(finding, "STALL_SECONDS", 0.3)


def test_folders_are_searched_in_order_then_the_cache(card, as_file, no_data, tmp_path, monkeypatch):
    spec = card(files=[as_file("tiny/a.csv", CONTENT)])
    put(no_data / "data")
    assert find_folder(spec) == no_data / "data"
    one, two = tmp_path / "one", put(tmp_path / "two")
    one.mkdir()
    monkeypatch.setenv("SLATEBENCH_DATA", os.pathsep.join(map(str, (one, two))))
    assert find_folder(spec) == two
    put(one, "tiny/a.csv.gz", gzip.compress(CONTENT))
    assert find_folder(spec) == one


def test_data_that_the_user_brings_is_found_by_its_folder(card, no_data, tmp_path, monkeypatch):
    spec = card("mine", instructions="bring it.", options={"folder": "theirs"})
    monkeypatch.setenv("SLATEBENCH_DATA", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    with pytest.raises(DataError, match=r"bring it\. Put it in <folder>/theirs/ and set SLATEBENCH_DATA=<folder>"):
        find_files(spec)  # an empty folder is nothing
    for leftover in (".DS_Store", "Thumbs.db", "._x", "__MACOSX/x"):
        put(tmp_path, f"theirs/{leftover}")
    with pytest.raises(DataError, match=r"bring it\. Put it in <folder>/theirs/"):
        find_files(spec)  # nor is what a system leaves in it
    put(tmp_path, "theirs/x")
    assert find_files(spec) == tmp_path


def test_a_forgotten_file_is_named(card, as_file, no_data, tmp_path, monkeypatch, brief):
    files = [as_file(f"tiny/{name}.csv", CONTENT, ["http://127.0.0.1:9/x"]) for name in "ab"]
    monkeypatch.setenv("SLATEBENCH_DATA", str(put(tmp_path / "one")))
    with pytest.raises(DataError, match=r"one lacks tiny/b.csv; cannot download tiny/a.csv"):
        find_files(card(files=files))


def test_a_folder_without_permission(card, as_file, no_data, tmp_path, monkeypatch):
    folder = put(tmp_path / "closed")
    monkeypatch.setenv("SLATEBENCH_DATA", str(folder))
    (folder / "tiny").chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(DataError, match=r"cannot be read \(Permission denied\): check its permissions"):
            find_folder(card(files=[as_file("tiny/a.csv", CONTENT)]))
    finally:
        os.seteuid(user)
        (folder / "tiny").chmod(0o755)


def test_a_download_lands_in_the_cache_and_is_not_repeated(card, as_file, no_data, server):
    server.pages |= {"/a.csv": CONTENT, "/b.csv.gz": gzip.compress(CONTENT)}
    files = [
        as_file(f"tiny/{p.removesuffix('.gz')}", CONTENT, [f"{server.address}/{p}"]) for p in ("a.csv", "b.csv.gz")
    ]
    spec = card(files=files)
    folder = find_files(spec)
    assert folder == no_data / "data" and left_in(folder) == ["tiny/a.csv", "tiny/b.csv"]
    assert all((folder / f"tiny/{name}.csv").read_bytes() == CONTENT for name in "ab")
    assert find_files(spec) == fetch(spec) == folder
    assert server.asked == ["/a.csv", "/b.csv.gz"]


def test_a_damaged_cache_is_mended_by_fetch(card, as_file, no_data, server):
    server.pages["/a.csv"] = CONTENT
    put(no_data / "data", content=CONTENT[:-1])
    fetch(card(files=[as_file("tiny/a.csv", CONTENT, [f"{server.address}/a.csv"])]))
    assert (no_data / "data/tiny/a.csv").read_bytes() == CONTENT


def test_a_mirror_stands_in(card, as_file, no_data, server):
    server.pages["/mirror.csv"] = CONTENT
    urls = ["http://127.0.0.1:9/x", f"{server.address}/gone.csv", f"{server.address}/mirror.csv"]
    fetch(card(files=[as_file("tiny/a.csv", CONTENT, urls)]))
    assert server.asked == ["/gone.csv", "/mirror.csv"]  # a 404 is not asked for again


@pytest.mark.parametrize(
    ("path", "page", "words"),
    [
        ("/gone.csv", None, "404"),
        ("/wrong.csv", CONTENT.replace(b"one", b"two"), "wrong checksum"),
        ("/long.csv", CONTENT + b"more", "content is longer than"),
        ("/short.csv", CONTENT[:-7], "broke off after 2,993 of 3,000 bytes"),
        ("/breaks.csv", CONTENT, "1500 bytes read"),
        ("/silent.csv", CONTENT, "timed out"),
        ("/slow.csv", CONTENT, "not done after"),
        ("/bomb.csv.gz", gzip.compress(bytes(20_000_000)), "content is longer than"),
        ("/bad.csv.gz", b"\x1f\x8b\x08 nonsense", "damaged gzip"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing(
    card, as_file, no_data, server, brief, monkeypatch, path, page, words
):
    monkeypatch.setattr(finding, "FILE_SECONDS", 0.6 if path == "/slow.csv" else 30.0)
    if path == "/slow.csv":
        monkeypatch.setattr(finding, "RETRIES", 0)
    if page is not None:
        server.pages[path] = page
    with pytest.raises(DataError) as error:
        fetch(card(files=[as_file("tiny/a.csv", CONTENT, [server.address + path])]))
    text = str(error.value)
    assert words in text and "tiny/a.csv" in text and "SLATEBENCH_DATA" in text and "\n" not in text
    assert left_in(no_data) == []


def test_no_network_makes_no_cache(card, as_file, no_data, brief):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.csv"
        with pytest.raises(DataError, match=r"127.0.0.1 does not answer\): connect to the network"):
            fetch(card(files=[as_file("tiny/a.csv", CONTENT, [url])]))
    assert not no_data.exists()


def test_a_name_lookup_that_hangs_does_not_hang_us(card, as_file, no_data, brief, monkeypatch):
    import threading

    release = threading.Event()

    def hang(*_: object) -> None:
        release.wait(20)
        raise OSError

    monkeypatch.setattr(finding.socket, "create_connection", hang)
    with pytest.raises(DataError, match="does not answer"):
        fetch(card(files=[as_file("tiny/a.csv", CONTENT, ["http://nowhere.invalid/a.csv"])]))
    assert not release.is_set()
    release.set()


def test_a_cache_that_cannot_be_written(card, as_file, no_data, server):
    server.pages["/a.csv"] = CONTENT
    no_data.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot be written .*: free or allow it"):
        fetch(card(files=[as_file("tiny/a.csv", CONTENT, [f"{server.address}/a.csv"])]))


def test_no_address_no_download(card, as_file, no_data):
    with pytest.raises(DataError, match="has no download"):
        fetch(card(instructions="bring it"))
    with pytest.raises(DataError, match="has no download"):
        fetch(card(files=[as_file("tiny/a.csv", CONTENT)]))


def test_there_is_one_cache_folder_and_it_understands_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLATEBENCH_CACHE", "~/cache")
    assert finding.cache_folder is array_cache.cache_folder is features.cache_folder is bertscore.cache_folder
    assert array_cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SLATEBENCH_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert array_cache.cache_folder().is_relative_to(tmp_path)
