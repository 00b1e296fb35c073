"""Where the MLflow view is kept: an address, a connection, one clear line for what goes wrong there.

MLFLOW_TRACKING_URI if set, else the sqlite file `mlflow.db` in the runs folder.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ...datasets.errors import SlateBenchError

if TYPE_CHECKING:
    from mlflow import MlflowClient

OURS = "mlflow.db"
NO_ACCESS = {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
NO_DAMAGE = NO_ACCESS | {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
LONGEST = 500  # bytes of a path that sqlite opens, with room for its journals


def tracking_uri(runs: Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else sqlite in the runs folder."""
    from sqlalchemy import URL

    # "sqlite:///..." would make MLflow create the parent folder by its quoted name
    ours = URL.create("sqlite+pysqlite", database=str((runs / OURS).resolve()))
    return os.environ.get("MLFLOW_TRACKING_URI") or ours.render_as_string(hide_password=False)


def is_server(uri: str) -> bool:
    """Is it an MLflow server's address?"""
    return uri.startswith("http")


def is_database(uri: str) -> bool:
    """Is it a database, which we open ourselves?"""
    return uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")


def place(uri: str) -> str:
    """A tracking URI as people may see it: the file of a sqlite store, no password."""
    from sqlalchemy import make_url

    return (uri.startswith("sqlite") and make_url(uri).database) or without_password(uri)


def without_password(text: str) -> str:
    """A tracking URI, or a sentence that holds one, as it may be printed.

    >>> without_password("postgresql://ann:secret@host/bench")
    'postgresql://ann:***@host/bench'
    >>> without_password("no answer from https://token@host, postgresql://host/bench?user=ann&password=secret")
    'no answer from https://***@host, postgresql://host/bench?user=ann&password=***'
    """
    text = re.sub(r"://([^\s/@:]*):\S*@", r"://\1:***@", text)
    text = re.sub(r"(https?)://[^\s/@:]+@", r"\1://***@", text)
    return re.sub(r"(?i)([?&]\w*password=)[^&\s'\"]*", r"\1***", text)


def connect(runs: Path) -> MlflowClient:
    """A client; the first one on a fresh sqlite file makes the tables, under a lock (they must not race).

    Raises:
        SlateBenchError: the store can't be reached.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # migrations are no news; errors are told once, by us
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a run, into our --json too
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # a server that is not there must not hang a bench
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri = tracking_uri(runs)
    with named_errors(uri), view_lock(runs):
        if is_database(uri):
            _open(uri)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def _open(uri: str) -> None:
    """Ask the database for a sign of life: MLflow would ask one that is down or damaged for minutes."""
    from sqlalchemy import create_engine, text

    engine = create_engine(uri)
    file = engine.url.database if uri.startswith("sqlite") else None
    if file and file != ":memory:":
        if len(os.fsencode(file)) > LONGEST:
            raise SlateBenchError(
                f"{file}: longer than sqlite takes ({LONGEST} bytes): choose a shorter path with --runs"
            )
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    with closing(engine.connect()) as connection:
        if file:
            connection.execute(text("PRAGMA schema_version"))
    engine.dispose()


@contextmanager
def named_errors(uri: str) -> Iterator[None]:
    """One clear line for whatever MLflow's store at `uri` raises inside the block.

    Raises:
        SlateBenchError: with the address, what was wrong, and how the view is made again.
    """
    try:
        yield
    except SlateBenchError:
        raise
    except Exception as error:
        root = _root(error)
        lines = str(root.strerror if isinstance(root, OSError) and root.strerror else root).strip().splitlines()
        line = textwrap.shorten(without_password(lines[0] if lines else type(root).__name__), 300, placeholder=" ...")
        mend = "the records are safe, `slatebench leaderboard rebuild` logs them again"
        if _full(root):
            line = "the disk is full"
            mend = "the records are safe: free some space, then `slatebench leaderboard rebuild` logs them again"
        elif uri.startswith("sqlite") and _is_damage(root):
            line = f"damaged ({line})"
            mend = "the records are safe, `slatebench leaderboard rebuild` puts that file aside and makes a new one"
            if os.environ.get("MLFLOW_TRACKING_URI"):
                mend = (
                    "the records are safe: move that file away, then `slatebench leaderboard rebuild` makes a new one"
                )
        elif _code(root) in NO_ACCESS:
            mend = "the records are safe: see that you may write there, then `slatebench leaderboard rebuild` logs them"
        if isinstance(error, ModuleNotFoundError):
            line += ", the store's driver (for Postgres: pip install 'psycopg[binary]')"
        raise SlateBenchError(f"MLflow at {place(uri)}: {line}; {mend}") from error


def _root(error: BaseException) -> BaseException:
    """What lies below an error of SQLAlchemy, requests and MLflow: the driver's or the system's own."""
    below = getattr(error, "orig", None) or error.__cause__ or error.__context__
    if below is None:
        return error
    root = _root(below)
    ours = isinstance(root, OSError | sqlite3.Error) or type(root).__module__.startswith("psycopg")
    return root if ours else error


def _full(root: BaseException) -> bool:
    """Is the disk full (ours, or the server's that says so)?"""
    return getattr(root, "errno", None) == errno.ENOSPC or "disk is full" in str(root) or "No space left" in str(root)


def _is_damage(root: BaseException) -> bool:
    """Does what a sqlite store raised say that its content is wrong, and not its place?"""
    if isinstance(root, sqlite3.Error):
        return _code(root) not in NO_DAMAGE
    return not isinstance(root, OSError)


def _code(root: BaseException) -> int | None:
    """The kind of error that sqlite gave, None where it was another's."""
    code = getattr(root, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def put_damaged_aside(runs: Path) -> Path | None:
    """Rename our own sqlite file where it is damaged: a view is made from the records, not from it.

    Returns:
        Its new name, None where it is sound or the store is another one.
    """
    file = runs / OURS
    if os.environ.get("MLFLOW_TRACKING_URI") or not file.is_file() or _sound(runs):
        return None
    with view_lock(runs):
        number = next(n for n in range(1, 10_000) if not (runs / f"{OURS}.damaged-{n}").exists())
        for journal in ("-wal", "-shm", "-journal", ""):
            if (runs / f"{OURS}{journal}").exists():
                (runs / f"{OURS}{journal}").rename(runs / f"{OURS}.damaged-{number}{journal}")
    return runs / f"{OURS}.damaged-{number}"


def _sound(runs: Path) -> bool:
    try:
        with closing(sqlite3.connect(runs / OURS)) as store:
            if store.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return False
        connect(runs)
    except sqlite3.Error as error:
        return not _is_damage(error)
    except SlateBenchError as error:
        return error.__cause__ is None or not _is_damage(_root(error.__cause__))
    return True


def view_lock(runs: Path) -> FileLock:
    """What whoever writes to the view of this runs folder holds, so that two processes do not log the same twice."""
    return FileLock(runs / ".mlflow.lock")
