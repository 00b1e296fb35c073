"""Errors that a user can cause: one clear line that says what, where and the mend."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

LARGEST = 2**63 - 1  # what a column of whole numbers holds


class SlateBenchError(Exception):
    """A problem that the user can mend; the command line prints it as one line, without a traceback."""

    state = "failed"  # of the cell that it ends


class UsageError(SlateBenchError):
    """A wrong name, option or value (exit code 2)."""


class DataError(SlateBenchError):
    """Data that is missing, damaged or not what its card says."""


class FaultySlates(SlateBenchError):
    """Slates that break the contract at the border between model and metrics: the cell fails."""


def one_line(text: object, limit: int = 500) -> str:
    r"""Whatever somebody else's code says as one line that can be shown, written and read.

    >>> print(one_line("a line\nand\tanother \ud800"))
    a line and another \ud800

    Args:
        text: a message, or an error.
        limit: characters of the line.
    """
    try:
        said = str(text)
    except Exception as error:  # its own text fails; a number of thousands of digits has none
        said = f"{type(text).__name__}, whose text fails with {type(error).__name__}"
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(said[: 20 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def why_not_json(value: Any) -> str | None:
    """Why a value can't be written as JSON and read back the same; None where it can. Enums and paths are text there.

    >>> why_not_json({"rate": [1, float("nan")]})
    'numbers must be finite'
    """
    if isinstance(value, dict):
        return next((why for item in (*value, *value.values()) if (why := why_not_json(item))), None)
    if isinstance(value, list | tuple | set | frozenset):
        return next((why for item in value if (why := why_not_json(item))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return "numbers must be finite"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a whole number of more than 63 bits"
    if isinstance(value, str) and not _encodable(value):
        return "text that can't be encoded"
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that nobody registered, with the nearest known name.

    >>> print(unknown_name("model", "bm52", ["bm25", "dense"]))
    unknown model 'bm52': did you mean 'bm25'? Known: bm25, dense
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UsageError(f"unknown {kind} '{name}': {hint}Known: {', '.join(known) or '(none)'}")
