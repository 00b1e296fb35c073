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


def item_text(title: str, paths: list[list[str]]) -> str:
    """Title and the distinct category names of all paths, in order.

    >>> item_text("Luna Bra", [["Clothing", "Women"], ["Clothing", "Sale"]])
    'Luna Bra. Clothing, Women, Sale'
    """
    names = dict.fromkeys(name for path in paths for name in path)
    return f"{title}. {', '.join(names)}" if names else title


def track_text(title: str, artists: list[str], album: str) -> str:
    """The one text of a track; what is missing is left out.

    >>> track_text("Hollaback Girl", ["Gwen Stefani"], "Love Angel Music Baby")
    'Hollaback Girl - Gwen Stefani - Love Angel Music Baby'
    """
    return " - ".join(part for part in (title, ", ".join(artists), album) if part)
