"""Errors that a user can cause: one clear line that says what, where and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SlateBenchError(Exception):
    """A problem that the user can mend; the command line prints it as one line, without a traceback."""


class UsageError(SlateBenchError):
    """A wrong name, option or value (exit code 2)."""


class DataError(SlateBenchError):
    """Data that is missing, damaged or not what its card says."""


class FaultySlates(SlateBenchError):
    """Slates that break the contract at the border between model and metrics: the cell fails."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that nobody registered, with the nearest known name.

    >>> print(unknown_name("model", "bm52", ["bm25", "dense"]))
    unknown model 'bm52': did you mean 'bm25'? Known: bm25, dense
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UsageError(f"unknown {kind} '{name}': {hint}Known: {', '.join(known) or '(none)'}")
