"""Archives from strangers: a member is read whole, or refused with one line; and files that are written whole."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slatebench.datasets.errors import DataError
from slatebench.datasets.files.archive import read_zip_member, replace_file

LINES = b"1,2\n" * 100
LIMIT = 100_000_000


def packed(path: Path, content: bytes, how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as pack:
        pack.writestr("a.csv", content)
    return path


def first(path: Path, limit: int = LIMIT) -> bytes:
    with zipfile.ZipFile(path) as pack:
        return read_zip_member(pack, pack.infolist()[0], limit)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_is_read_whole(tmp_path, how):
    assert first(packed(tmp_path / "x.zip", LINES, how)) == LINES


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_refused(tmp_path, how):
    path = packed(tmp_path / "x.zip", bytes(60_000_000), how)
    with pytest.raises(DataError, match=r"x\.zip, member a\.csv: 60,000,000 bytes unpacked look like a bomb"):
        first(path)


def test_a_member_beyond_the_limit_is_refused(tmp_path):
    path = packed(tmp_path / "x.zip", LINES)
    assert first(path, len(LINES)) == LINES
    with pytest.raises(DataError, match="look like a bomb"):
        first(path, len(LINES) - 1)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path):
    """Both headers say 400 bytes; what is read never exceeds that, and does not match the checksum."""
    path = packed(tmp_path / "x.zip", bytes(60_000_000))
    content = path.read_bytes()
    lie = content.replace((60_000_000).to_bytes(4, "little"), (400).to_bytes(4, "little"))
    assert lie != content
    path.write_bytes(lie)
    with pytest.raises(DataError, match=r"x\.zip, member a\.csv: damaged"):
        first(path)


def test_an_encrypted_member_is_refused(tmp_path):
    path = packed(tmp_path / "x.zip", LINES)
    with zipfile.ZipFile(path) as pack:
        info = pack.infolist()[0]
        info.flag_bits |= 1
        with pytest.raises(DataError, match="damaged or encrypted"):
            read_zip_member(pack, info, LIMIT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 130), st.binary(min_size=1, max_size=30))
@example(82, bytes(10) + b"\n")  # a line break in the member's name
def test_a_damaged_archive_is_read_whole_or_refused(tmp_path, place, noise):
    path = packed(tmp_path / "x.zip", LINES)
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    try:
        assert first(path) == LINES
    except (zipfile.BadZipFile, NotImplementedError):
        pass  # no zip at all: the caller's to name
    except DataError as error:
        assert "\n" not in str(error) and "x.zip" in str(error)


def test_replace_file_is_all_or_nothing(tmp_path):
    path = tmp_path / "x"
    replace_file(path, lambda beside: beside.write_text("one"))

    def broken(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, broken)
    assert path.read_text() == "one" and [file.name for file in tmp_path.iterdir()] == ["x"]
