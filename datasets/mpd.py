"""The Spotify Million Playlist Dataset: title -> playlist. The user brings the official zip or its slice files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from .archive import DAMAGED, read_zip_member
from .build import build_dataset
from .card import DatasetCard
from .errors import DataError
from .finding import brought_folder
from .reading import read_content, unreadable
from .schema import SlateDataset
from .split import grouped_split
from .text import clean, normalised, track_text

MAX_SLICE = 500_000_000  # bytes; official slices have about 35 MB
_SLICE = re.compile(r"mpd\.slice\.(\d+)-(\d+)\.json$")
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
    tables = [_slice_table(content, name) for name, content in _slices(folder / brought_folder(card), wanted)]
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


def _slices(folder: Path, wanted: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the slices that cover the pids 0..wanted-1, from slice files or from a zip."""
    try:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    except OSError as error:
        raise unreadable(folder, error) from error
    slices = {path.name.removesuffix(".gz"): path for path in files if _SLICE.search(path.name.removesuffix(".gz"))}
    if slices:
        for name in _needed(list(slices), wanted, folder):
            yield str(slices[name]), read_content(slices[name], MAX_SLICE)
        return
    archives = [path for path in files if path.suffix == ".zip"]
    if not archives:
        raise DataError(
            f"{folder}: holds neither mpd.slice.*.json files nor the official zip: put them there, unpacked "
            "if they came in another archive"
        )
    try:
        with zipfile.ZipFile(archives[0]) as pack:
            members = {Path(info.filename).name: info for info in pack.infolist() if _SLICE.search(info.filename)}
            for name in _needed(list(members), wanted, archives[0]):
                yield f"{archives[0]}, member {name}", read_zip_member(pack, members[name], MAX_SLICE)
    except OSError as error:
        raise unreadable(archives[0], error) from error
    except DAMAGED as error:
        raise DataError(f"{archives[0]}: damaged zip archive ({error}): fetch it again") from error


def _needed(names: list[str], wanted: int, where: Path) -> list[str]:
    """The slices that cover the pids 0..wanted-1, in order, without a gap."""
    needed, covered = [], 0
    for start, end, name in sorted((*map(int, _SLICE.search(name).groups()), name) for name in names):  # type: ignore[union-attr]
        if covered >= wanted:
            break
        if start != covered:
            break
        needed.append(name)
        covered = end + 1
    if covered < wanted:
        raise DataError(f"{where}: the slice that begins with playlist {covered} is missing: add mpd.slice.{covered}-*")
    return needed


def _slice_table(content: bytes, name: str) -> pl.DataFrame:
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
