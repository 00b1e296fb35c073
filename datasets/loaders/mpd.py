"""The Spotify Million Playlist Dataset: title -> playlist. The user brings the official zip or its slice files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import polars as pl

from ..build import build_dataset
from ..card import DatasetCard
from ..errors import DataError
from ..files.archive import DAMAGED, read_zip_member
from ..files.finding import brought_folder
from ..files.reading import is_leftover, read_content, unreadable
from ..schema import SlateDataset
from ..split import grouped_split
from ..text import clean, normalised, track_text

MAX_SLICE = 500_000_000  # bytes; official slices have about 35 MB
_SLICE = re.compile(r"(?:^|[/\\:])mpd\.slice\.(\d+)-(\d+)\.json(?:\.gz)?$")
_TRACK = pl.Struct({"track_uri": pl.String, "track_name": pl.String, "artist_name": pl.String, "album_name": pl.String})
_PLAYLIST = pl.Struct({"pid": pl.Int64, "name": pl.String, "tracks": pl.List(_TRACK)})


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the first `playlists` playlists by pid.

    The reference is the set of the playlist's tracks, in order of first appearance. Playlists without a title or
    without tracks are left out. Card options: `playlists`, and `split_by`: `playlist` (by pid) or `title` (the hard
    split: no normalised title is in two parts).
    """
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    wanted: int = card.options["playlists"]
    tables = [
        _slice_table(content, name, pids) for name, pids, content in _slices(folder / brought_folder(card), wanted)
    ]
    rows = pl.concat(tables).filter(pl.col("pid") < wanted).sort("pid", "slot")
    tracks = rows.unique("id", keep="first", maintain_order=True).select("id", "track", "artist", "album")
    texts = [
        (track_text(clean(track), [clean(artist)], ""), track_text(clean(track), [clean(artist)], clean(album)))
        for track, artist, album in tracks.select("track", "artist", "album").iter_rows()
    ]
    items = tracks.select("id").with_columns(
        title=pl.Series([title for title, _ in texts], dtype=pl.String),
        text=pl.Series([text for _, text in texts], dtype=pl.String),
        categories=pl.lit(None, dtype=pl.List(pl.List(pl.String))).fill_null([]),
    )
    slates = (
        rows.unique(["pid", "id"], keep="first", maintain_order=True)
        .group_by("pid", "prompt", maintain_order=True)
        .agg(items="id")
        .with_columns(request=pl.col("pid").cast(pl.String))
    )
    by = card.options["split_by"]
    titles = [normalised(title) for title in slates["prompt"]]
    slates = slates.with_columns(group=pl.Series(titles, dtype=pl.String) if by == "title" else pl.col("request"))
    return build_dataset(card, items, slates.with_columns(part=grouped_split(slates["group"], split_seed)), split_seed)


def _slices(folder: Path, wanted: int) -> Iterator[tuple[str, range, bytes]]:
    """Name, pids and content of the slices that cover the pids 0..wanted-1, from slice files or from a zip."""
    try:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    except OSError as error:
        raise unreadable(folder, error) from error
    files = [path for path in files if not is_leftover(path.relative_to(folder))]
    slices = [path for path in files if _SLICE.search(path.name)]
    packed = {path: found for path in files if path.suffix.lower() == ".zip" and (found := _members(path))}
    sources = [*slices[:1], *packed]
    if not sources:
        raise DataError(
            f"{folder}: holds neither mpd.slice.*.json files nor the official zip: put them there, unpacked "
            "if they came in another archive"
        )
    if len(sources) > 1:
        raise DataError(f"{folder}: {sources[0]} and {sources[1]} both hold slices: keep one of them")
    if slices:
        for pids, name in _needed(list(map(str, slices)), wanted, folder):
            yield name, pids, read_content(Path(name), MAX_SLICE, "make it again from the official file")
        return
    archive, members = next(iter(packed.items()))
    infos = {info.filename: info for info in members}
    with zipfile.ZipFile(archive) as pack:
        for pids, name in _needed([info.filename for info in members], wanted, archive):
            yield f"{archive}, member {name}", pids, read_zip_member(pack, infos[name], MAX_SLICE)


def _members(archive: Path) -> list[zipfile.ZipInfo]:
    """The slices in a zip archive."""
    try:
        with zipfile.ZipFile(archive) as pack:
            found = [info for info in pack.infolist() if _SLICE.search(info.filename)]
    except OSError as error:
        raise unreadable(archive, error) from error
    except DAMAGED as error:
        raise DataError(f"{archive}: damaged zip archive ({error}): fetch it again") from error
    return [info for info in found if not is_leftover(PurePosixPath(info.filename))]


def _needed(names: list[str], wanted: int, where: Path) -> list[tuple[range, str]]:
    """The slices that cover the pids 0..wanted-1, in order, without a gap and without an overlap."""
    needed: list[tuple[range, str]] = []
    covered = 0
    for start, end, name in sorted((*map(int, _SLICE.search(name).groups()), name) for name in names):  # type: ignore[union-attr]
        if start >= wanted or start > covered:
            break
        if start < covered:
            raise DataError(f"{where}: {needed[-1][1]} and {name} hold the same playlists: keep one of them")
        needed.append((range(start, end + 1), name))
        covered = end + 1
    if covered < wanted:
        raise DataError(f"{where}: the slice that begins with playlist {covered} is missing: add mpd.slice.{covered}-*")
    return needed


def _slice_table(content: bytes, name: str, pids: range) -> pl.DataFrame:
    """One row per slot: pid, prompt, slot, id, track, artist, album."""
    try:
        frame = pl.read_json(io.BytesIO(content), schema={"playlists": pl.List(_PLAYLIST)})
    except (pl.exceptions.PolarsError, OverflowError) as error:
        raise DataError(f"{name}: not a slice of playlists ({str(error).splitlines()[0]}): fetch it again") from error
    playlists = frame.explode("playlists").unnest("playlists").with_row_index("row", offset=1)
    bad = playlists.filter(pl.col("pid").is_null() | pl.col("tracks").is_null())
    if bad.height or not playlists.height:
        row = bad["row"][0] if bad.height else 1
        raise DataError(f"{name}, playlist {row}: no pid or no tracks: fetch the file again")
    if (bad := playlists.filter(pl.col("pid").is_duplicated())).height:
        rows, pid = " and ".join(map(str, bad.filter(pid=bad["pid"][0])["row"][:2])), bad["pid"][0]
        raise DataError(f"{name}, playlists {rows}: both have the pid {pid}: fetch the file again")
    if (bad := playlists.filter(~pl.col("pid").is_between(pids.start, pids.stop - 1))).height:
        found = f"pid {bad['pid'][0]} is none of the slice's"
        raise DataError(f"{name}, playlist {bad['row'][0]}: {found}: fetch the file again, or give it its own name")
    prompts = pl.Series([clean(title or "") for title in playlists["name"]], dtype=pl.String)
    slots = (
        playlists.select("row", "pid", prompt=prompts, tracks="tracks")
        .filter((pl.col("prompt") != "") & (pl.col("tracks").list.len() > 0))
        .explode("tracks")
        .with_columns(slot=pl.int_range(pl.len()).over("pid"))
        .unnest("tracks")
    )
    bad = slots.filter(pl.col("track_uri").is_null() | pl.col("track_name").is_null())
    if bad.height:
        raise DataError(f"{name}, playlist {bad['row'][0]}: a track without uri or name: fetch the file again")
    return slots.select(
        "pid",
        "prompt",
        "slot",
        id="track_uri",
        track="track_name",
        artist=pl.col("artist_name").fill_null(""),
        album=pl.col("album_name").fill_null(""),
    )
