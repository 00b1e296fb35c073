"""Items as people name them: by id, or by title."""

from __future__ import annotations

from difflib import get_close_matches

from ...datasets.errors import UsageError
from ...datasets.schema import Catalog
from ...datasets.text import composed


def item_named(name: str, catalog: Catalog, dataset: str) -> int:
    """The item of that id, or of that title (or the only one whose title begins so), whatever its case.

    Raises:
        UsageError: none, or several; says which are near.
    """
    name = composed(name).strip()
    if name in catalog.index:
        return catalog.index[name]
    wanted = name.casefold()
    titles = [title.casefold() for title in catalog.titles]
    for found in (
        [i for i, title in enumerate(titles) if title == wanted],
        [i for i, title in enumerate(titles) if wanted and title.startswith(wanted)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            some = "; ".join(f"{catalog.ids[i]} ({catalog.titles[i]})" for i in found[:3])
            raise UsageError(f"history: '{name}' is the title of {len(found)} items, e.g. {some}: name the id")
    near = get_close_matches(wanted, titles, n=1)
    hint = f": did you mean '{catalog.titles[titles.index(near[0])]}'" if near else ""
    raise UsageError(f"history: '{name}' is neither id nor title of an item of {dataset}{hint}")
