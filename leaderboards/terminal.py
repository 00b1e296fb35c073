"""Tables for a terminal of any width: fewer columns rather than cut cells, and cells below each other at the last."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..datasets.output import shown

WORDS = 16  # characters that a column of words wants at least: it may fold


def fitted(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, keep: int, words: Collection[str] = (),
           left: Collection[str] = (), styles: Sequence[str] = (), title: str = "",
           all_in: str = "--json") -> RenderableType:  # fmt: skip
    """A table at most `width` wide: what does not fit loses columns from the right, never parts of a cell.

    Args:
        head: names of the columns; they and the cells are foreign text.
        rows: cells, as many as names.
        width: of the terminal.
        keep: how many of the first columns always stay.
        words: columns whose cells may fold.
        left: columns that stand at the left besides the first; the others are figures.
        styles: of the rows.
        title: stands above.
        all_in: option that shows everything.
    """
    count = len(head)
    while count > keep and not fits(head[:count], [row[:count] for row in rows], width, words):
        count -= 1
    table = drawn(head[:count], [row[:count] for row in rows], width, words=words, left=left, styles=styles)
    return Group(*([title_line(title)] if title else []), table, *left_out(len(head) - count, all_in))


def fits(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, words: Collection[str] = ()) -> bool:
    """Does a table of whole cells fit?"""
    widths = [max(cell_len(shown(cell)) for cell in column) for column in zip(head, *rows, strict=True)]
    wanted = [min(w, WORDS) if name in words else w for name, w in zip(head, widths, strict=True)]
    return sum(wanted) + 3 * len(wanted) + 1 <= width


def drawn(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, words: Collection[str] = (),
          left: Collection[str] = (), styles: Sequence[str] = ()) -> RenderableType:  # fmt: skip
    """A framed table, or what does not fit into a frame: the cells of a row below each other, each with its name."""
    styles = styles or [""] * len(rows)
    if fits(head, rows, width, words):
        table = Table(header_style="bold")
        for i, name in enumerate(head):
            at = "left" if i == 0 or name in words or name in left else "right"
            table.add_column(Text(shown(name)), justify=at, no_wrap=name not in words, overflow="fold")
        for row, style in zip(rows, styles, strict=True):
            table.add_row(*(Text(shown(cell), "bold" if cell.endswith(" *") else "") for cell in row), style=style)
        return table
    blocks = []
    for row, style in zip(rows, styles, strict=True):
        lines = []
        for name, cell in zip(map(shown, head), map(shown, row), strict=True):
            between = " " if cell_len(name) + 1 + cell_len(cell) <= width else "\n"
            lines += [f"{name}{between}{cell}".strip()] if cell else []
        blocks.append(Text("\n".join([*lines, ""]), style=style, overflow="fold"))
    return Group(*blocks)


def title_line(title: str) -> Text:
    """What stands above a table."""
    return Text(shown(title), style="italic")


def left_out(count: int, all_in: str) -> list[Text]:
    """The line that says how many columns did not fit."""
    if not count:
        return []
    columns = f"{count} column{'s' if count > 1 else ''}"
    return [Text(f"{columns} left out: a wider terminal or {all_in} shows everything")]
