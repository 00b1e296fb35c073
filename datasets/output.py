"""What leaves the suite: foreign text as a terminal may show it, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from typing import Any

# Letters and emoji are joined by these; beside ASCII they only hide.
_JOINS = re.compile("(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (bidi, zero width), surrogates, line separators


def shown(text: object) -> str:
    r"""Text from data, models, paths or servers on one line of a terminal: what would act or hide there is escaped.

    >>> print(shown("red \x1b[31m title\n"), shown("a\u202eb"), shown("caf\u00e9"))
    red \x1b[31m title\n a\u202eb café
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    joins = {match.start() for match in _JOINS.finditer(text)}
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in _HIDDEN and at not in joins else character
        for at, character in enumerate(text)
    )


def is_text(text: str) -> bool:
    """Can it be written as UTF-8? An argument of the command line that is not holds lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def say(*lines: object, error: bool = False) -> None:
    """Print lines for people; what stands in them is foreign text."""
    for line in lines:
        print(shown(line), file=sys.stderr if error else sys.stdout, flush=True)


def to_json(content: Any, indent: int | None = None) -> str:
    """JSON in ASCII without NaN and infinity, which it does not know: they are null.

    >>> to_json({"mean": float("nan"), "n": 3})
    '{"mean": null, "n": 3}'
    """
    return json.dumps(finite(content), indent=indent, allow_nan=False)


def finite(value: Any) -> Any:
    """The same content with None for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value
