"""Texts of prompts and items, made the same way for every dataset."""

from __future__ import annotations

import html
import re


def clean(text: str) -> str:
    """Entities resolved, line breaks and runs of blanks turned into one blank, ends trimmed.

    >>> clean(' Red,  White &amp;\\n Blueberry ')
    'Red, White & Blueberry'
    """
    return " ".join(html.unescape(text).split())


def normalised(text: str) -> str:
    """Lower case, letters and digits only; a text of other signs (emoji) stays as it is.

    >>> normalised("  Chill-Out  VIBES!! ")
    'chill out vibes'
    """
    return " ".join(re.findall(r"[^\W_]+", text.casefold())) or text


CATEGORY_NAMES = 4  # of an item's text; more of them drown the title (chosen on Bundle's validation parts)


def item_text(title: str, paths: list[list[str]]) -> str:
    """Title and the last four distinct category names of all paths, without the roots.

    >>> item_text("Luna Bra", [["Clothing", "Women", "Bras"], ["Clothing", "Women", "Sale"]])
    'Luna Bra. Bras, Women, Sale'
    """
    names: dict[str, None] = {}
    for path in paths:
        for name in path[1:] or path:
            names.pop(name, None)  # the last mention counts
            names[name] = None
    return f"{title}. {', '.join(list(names)[-CATEGORY_NAMES:])}" if names else title


def track_text(title: str, artists: list[str], album: str) -> str:
    """The one text of a track; what is missing is left out.

    >>> track_text("Hollaback Girl", ["Gwen Stefani"], "Love Angel Music Baby")
    'Hollaback Girl - Gwen Stefani - Love Angel Music Baby'
    """
    return " - ".join(part for part in (title, ", ".join(artists), album) if part)
