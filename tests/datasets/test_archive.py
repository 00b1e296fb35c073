"""Archives from strangers: unpacked whole, or refused with one line and nothing left behind."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slatebench.datasets.archive import replace_file, unpack
from slatebench.datasets.errors import DataError

FILES = {"a.csv": b"1,2\n" * 100, "sub/b.csv": b"3,4\n", "sub/empty": b""}


def make(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
            pack.mkdir("sub")
            for name, content in files.items():
                pack.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as pack:
            folder = tarfile.TarInfo("sub")
            folder.type = tarfile.DIRTYPE
            pack.addfile(folder)
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                pack.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, words: str, **limits: int) -> None:
    """Refused with one line that names archive and mend; target and temporary folders do not exist afterwards."""
    target = archive.parent / "home" / "target"
    with pytest.raises(DataError) as error:
        unpack(archive, target, **limits)
    assert words in str(error.value) and archive.name in str(error.value) and "\n" not in str(error.value)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
    assert not (archive.parent / "evil").exists()


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_all_of_it_or_nothing(tmp_path, name):
    archive = make(tmp_path / name, FILES)
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", name])
    with pytest.raises(DataError, match="is already there"):
        unpack(archive, tmp_path / "out")


def test_a_single_gz_file(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    unpack(tmp_path / "a.csv.gz", tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.csv": b"1,2\n"}


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
@pytest.mark.parametrize("member", ["../evil", "sub/../../evil", "/tmp/evil", "..\\evil", "C:evil"])
def test_a_path_that_leads_out_is_refused(tmp_path, name, member):
    refused(make(tmp_path / name, FILES | {member: b"x"}), "leads out of the target folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as pack:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "../evil"
        pack.addfile(info)
    refused(path, "a link or device")


def test_links_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as pack:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        pack.writestr(info, "../evil")
    refused(path, "a link")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.xz"])
def test_bombs_are_refused(tmp_path, name):
    refused(make(tmp_path / name, {"a": b"fine", "zeros": bytes(60_000_000)}), "look like a bomb")
    refused(make(tmp_path / name, FILES), "look like a bomb", max_bytes=200)
    bomb = tmp_path / "zeros.gz"
    bomb.write_bytes(gzip.compress(b"1,2\n" * 15_000_000))
    refused(bomb, "look like a bomb")
    bomb.write_bytes(gzip.compress(bytes(60_000_000)))  # reads like a tar without members
    refused(bomb, "holds no files")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("slatebench.datasets.archive.MAX_MEMBERS", 10)
    refused(make(tmp_path / "x.zip", {f"f{i}": b"" for i in range(12)}), "more than 10 members")


def test_a_name_given_twice_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as pack:
        pack.writestr("a", "1")
        pack.writestr("a", "2")
    refused(path, "File exists")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.gz"])
def test_truncated_and_foreign_files(tmp_path, name):
    path = tmp_path / name
    noise = bytes(i * i * 7 % 251 for i in range(50_000))
    if name == "x.gz":
        path.write_bytes(gzip.compress(noise))
    else:
        make(path, FILES | {"noise": noise})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    refused(path, "fetch it again")
    other = tmp_path / "page.html"
    other.write_text("<html>not found</html>")
    refused(other, "no zip, tar or gz archive")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["x.zip", "x.tar", "x.tar.gz"]), st.integers(0, 700), st.binary(min_size=1, max_size=30))
def test_a_damaged_archive_is_unpacked_or_refused_never_half(tmp_path, name, place, noise):
    path = make(tmp_path / name, FILES)
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    target = tmp_path / "home" / "target"
    try:
        unpack(path, target)
    except DataError as error:
        assert "\n" not in str(error)
        assert not target.exists()
    else:
        for file in sorted(target.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        target.rmdir()
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


def test_replace_file_is_all_or_nothing(tmp_path):
    path = tmp_path / "x"
    replace_file(path, lambda beside: beside.write_text("one"))

    def broken(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, broken)
    assert path.read_text() == "one" and [file.name for file in tmp_path.iterdir()] == ["x"]
