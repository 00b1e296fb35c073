"""MovieLens: films that people rated, in the order in which they did. The ratings themselves are not used.

GroupLens' own files: `ratings.dat` and `movies.dat` (`::` between fields, ISO-8859-1) of the 1M set, `ratings.csv` and
`movies.csv` of the newer ones. Of the 1M set, a table `interactions.tsv` (user_id, movie_id, unix_time) serves as well.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from ..card import DatasetCard
from ..errors import DataError
from ..files.finding import brought_folder
from ..files.reading import is_leftover, read_card_file, read_content, read_csv
from ..schema import SlateDataset
from ..text import clean, item_text
from .sequences import build_sequences

MAX_FILE = 1 << 30  # bytes, unpacked
_ARTICLE = re.compile(r"^(.+), (The|A|An|Le|La|Les|L'|Il|Der|Die|Das|El)((?: \([^()]*\))*)$")
_NO_GENRES = "(no genres listed)"


def load_1m(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """The 1M set: films with at least `ratings_at_least` (option) ratings, everybody's in order of time."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    inside = folder / brought_folder(card)
    path = _found(inside, "movies.dat")
    movies = _rows(path, read_content(path, MAX_FILE).decode("iso-8859-1"), "::", 3)
    rated = _found(inside, "ratings.dat", "interactions.tsv")
    text = read_content(rated, MAX_FILE).decode("iso-8859-1")
    if rated.name.startswith("ratings.dat"):
        ratings = [(user, movie, time) for user, movie, _, time in _rows(rated, text, "::", 4)]
    else:
        ratings = [tuple(row) for row in _rows(rated, text, "\t", 3)[1:]]
    rows = pl.DataFrame(ratings, schema={"user": pl.String, "item": pl.String, "time": pl.String}, orient="row")
    return _built(card, [tuple(row) for row in movies], rows, split_seed)


def load_csv(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """A newer set, from the two files that the card names: `ratings.csv` and `movies.csv`."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    files = {Path(file.path).name: file for file in card.files}
    columns = {
        "ratings.csv": ["userId", "movieId", "rating", "timestamp"],
        "movies.csv": ["movieId", "title", "genres"],
    }
    tables = {name: read_csv(read_card_file(folder, files[name]), names, name) for name, names in columns.items()}
    rows = tables["ratings.csv"].select(user="userId", item="movieId", time="timestamp")
    return _built(card, list(tables["movies.csv"].select("movieId", "title", "genres").iter_rows()), rows, split_seed)


def film_title(title: str) -> str:
    """The title as it is said: with its article in front.

    >>> film_title("Usual Suspects, The (1995)"), film_title("Heat (1995)")
    ('The Usual Suspects (1995)', 'Heat (1995)')
    """
    found = _ARTICLE.match(title)
    if found is None:
        return title
    name, article, years = found.groups()
    return f"{article}{'' if article.endswith(chr(39)) else ' '}{name}{years}"


def _built(card: DatasetCard, movies: list[tuple[str, ...]], rows: pl.DataFrame, split_seed: int) -> SlateDataset:
    """Films that enough people rated, and who rated them when."""
    wrong = rows.filter(pl.col("time").cast(pl.Int64, strict=False).is_null() & (pl.col("time") != ""))
    if wrong.height:
        raise DataError(f"dataset '{card.name}': time '{wrong['time'][0]}' is no number: fetch the files again")
    rows = rows.with_columns(pl.col("time").cast(pl.Int64, strict=False))
    often = rows["item"].value_counts().filter(pl.col("count") >= card.options.get("ratings_at_least", 1))["item"]
    rows = rows.filter(pl.col("item").is_in(often.implode()))
    kept = set(often)
    items = []
    for movie, title, genres in movies:
        if movie in kept:
            name = film_title(clean(title))
            paths = [[genre] for genre in genres.split("|") if genre and genre != _NO_GENRES]
            items.append((movie, name, item_text(name, paths), paths))
    schema = {"id": pl.String, "title": pl.String, "text": pl.String, "categories": pl.List(pl.List(pl.String))}
    return build_sequences(card, pl.DataFrame(items, schema=schema, orient="row"), rows, split_seed)


def _found(folder: Path, *names: str) -> Path:
    """The first file of one of these names (also as `.gz`) anywhere below the folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_leftover(path.relative_to(folder))]
    for name in names:
        for path in paths:
            if path.name in (name, f"{name}.gz"):
                return path
    raise DataError(f"{folder}: holds no {' or '.join(names)}: unpack the official archive into it")


def _rows(path: Path, text: str, separator: str, fields: int) -> list[list[str]]:
    """The lines of a file, each with so many fields."""
    rows = [line.split(separator) for line in text.replace("\r", "").split("\n") if line]
    for number, row in enumerate(rows, start=1):
        if len(row) != fields:
            raise DataError(f"{path}, row {number}: {len(row)} fields, expected {fields}: fetch the file again")
    return rows
