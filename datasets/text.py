"""Texts of prompts and items, made and read the same way for every dataset and in every script.

Two strings that look alike are one text here: whatever is shown, hashed or looked up is first `composed`, whatever is
compared goes through `normalised`, and whatever makes words of a text asks `words` or `terms`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from unicodedata import normalize

import regex  # knows scripts and properties, which `re` does not

READING = "unicode-1"  # of `words` and `terms` beyond plain letters and digits; raise it when they find others

_PLAIN_WORD = re.compile(r"[^\W_]+")
_PLAIN_TERM = re.compile(r"\b\w\w+\b")  # scikit-learn's default

NEEDLESS = "[\u00ad\u200b\u2060\ufeff]"  # seen by nobody, needed by no script (joiners are)
_UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_LETTERS = regex.compile(r"[\p{L}\p{M}\p{Nd}\p{Nl}]+")  # no No, no symbols: ½ is not 1/2, ™ is not TM
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_WORD_OR_SIGN = regex.compile(
    r"[\p{L}\p{M}\p{N}_]+|[[\p{Extended_Pictographic}\p{Regional_Indicator}]--[\p{ASCII}\p{L}\p{N}©®™]]", regex.V1
)
_SYMBOL = regex.compile(r"[\p{S}--\p{ASCII}]", regex.V1)
_SYLLABIC = r"\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{scx=Yi}"  # a sign is a word or a syllable
_SPELT = r"\p{Line_Break=Complex_Context}"  # Thai, Lao, Khmer, Burmese and their kin: letters, and no blanks either
_STRETCH = regex.compile(rf"(?P<syllabic>[{_SYLLABIC}]+)|(?P<spelt>[{_SPELT}]+)|[^{_SYLLABIC}{_SPELT}]+", regex.V1)
_LETTER = regex.compile(r"\P{M}?\p{M}*")  # with its marks
_SHORT = regex.compile(r"[\p{Ll}\p{N}_]")


def composed(text: str) -> str:
    """The one form of a text that is shown, hashed and looked up: NFC, without signs that nobody sees or needs.

    >>> composed("cafe\\u0301 \\ufeffnoir") == "caf\\u00e9 noir"
    True
    """
    return text if text.isascii() else normalize("NFC", re.sub(NEEDLESS, "", text))


def clean(text: str) -> str:
    """Entities resolved, line breaks and runs of blanks turned into one blank, ends trimmed.

    >>> clean(' Red,  White &amp;\\n Blueberry ')
    'Red, White & Blueberry'
    """
    return " ".join(html.unescape(text).split())


def normalised(text: str) -> str:
    """Folded case and width, letters, marks and digits only; a text of other signs (emoji) keeps them.

    >>> normalised("  Chill-Out  VIBES!! ")
    'chill out vibes'
    """
    folded = _folded(text)
    return " ".join(_WORD.findall(folded)) or " ".join(folded.split())


def words(text: str, *, underscore: bool = False) -> list[str]:
    """The words of a text: lower-case runs of letters, marks and digits, and each emoji.

    Scripts without blanks are cut into what their words are found by: single signs and pairs of Chinese and Japanese,
    pairs and triples of letters of Thai, Lao, Khmer and Burmese (as search engines do that know no dictionary). A text
    without any word has its symbols for words.

    Args:
        text: any text.
        underscore: whether `_` is a letter, as in regular expressions.

    >>> words("USB-C cable, 2m"), words("露营 camping🔥"), words("ไทย")
    (['usb', 'c', 'cable', '2m'], ['露', '营', '露营', 'camping', '🔥'], ['ไท', 'ทย', 'ไทย'])
    """
    if text.isascii():
        return re.findall(r"\w+" if underscore else _PLAIN_WORD, text.lower())
    folded = _folded(text)
    found = _WORD_OR_SIGN.findall(folded if underscore else folded.replace("_", " "))
    cut = [piece for word in found for piece in _cut(word)]
    return cut or _SYMBOL.findall(folded)


def terms(text: str) -> list[str]:
    """The words that tell texts apart: those of scikit-learn's default, and what it does not see of other scripts.

    Single letters of a script with two cases and single digits are left out.

    >>> terms("a_b or 2 tents"), terms("茶 2")
    (['a_b', 'or', 'tents'], ['茶'])
    """
    return [word for word in words(text, underscore=True) if len(word) > 1 or not _SHORT.fullmatch(word)]


def plainly_read(texts: Iterable[str]) -> bool:
    """Do `words` and `terms` find plain runs of letters and digits in all these texts, as in English?

    Where they do not, versions name READING.
    """
    return all(
        text.isascii()
        or (words(text), terms(text)) == (_PLAIN_WORD.findall(text.lower()), _PLAIN_TERM.findall(text.lower()))
        for text in texts
    )


def _folded(text: str) -> str:
    """One form for all spellings that are compared as equal: NFC, no unseen signs, no case, no width, no ligatures."""
    if text.isascii():
        return text.lower()
    seen = normalize("NFC", _UNSEEN.sub("", text))
    wide = _LETTERS.sub(lambda run: normalize("NFKC", run[0]), seen)
    # the dot of a Turkish capital İ is no other letter
    return normalize("NFC", wide.casefold()).replace("i\u0307", "i")


def _cut(word: str) -> list[str]:
    """A word as it is; of scripts without blanks its n-grams."""
    pieces: list[str] = []
    for stretch in _STRETCH.finditer(word):
        shortest = 1 if stretch["syllabic"] else 2 if stretch["spelt"] else 0
        pieces += _n_grams(stretch[0], shortest) if shortest else [stretch[0]]
    return pieces


def _n_grams(stretch: str, shortest: int) -> list[str]:
    """Pieces of `shortest` and one more letters; the whole where it is shorter."""
    letters = [letter for letter in _LETTER.findall(stretch) if letter]
    starts = [(i, n) for n in (shortest, shortest + 1) for i in range(len(letters) - n + 1)]
    return ["".join(letters[i : i + n]) for i, n in starts] or [stretch]


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
