"""The latent world behind a synthetic twin: themes, sub-themes, facets, items in cells, and slates drawn from them.

A cell is a (sub-theme, facet) pair; every item lives in one cell. A slate has a main sub-theme, a neighbouring one of
the same theme, and a facet. Each of its slots picks a sub-theme (main, neighbour, any of the theme), a facet (the
slate's or any) and then an item of that cell, popular ones more often (Zipf); some slots hold a hit from anywhere.
Some items are *rare*: they appear in the slates of one group only. So the test part holds items that no train slate
has, and as other rare items appear nowhere, being unseen says little about lying in the test part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import DataError
from .exact import Draws, falling

EMPTY = -1
MAIN, NEIGHBOUR, _THEME, HIT = range(4)  # where a slot's item comes from


Share = Annotated[float, Field(ge=0, le=1)]


class Options(BaseModel):
    """Sizes and shape of a twin (`[options]` of its card)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: Literal["shop", "listener", "editor"]  # whose words
    seed: int
    items: int = Field(gt=0, le=2_000_000)
    groups: int = Field(gt=9)
    slates_per_group: int = Field(gt=0)  # at most; 1..n, few more often
    shortest: int = Field(gt=0)  # length of the slates
    longest: int
    one_pool: bool = False  # slates of a group are drawn from one pool of items (near-duplicates)
    ordered: bool = False  # slates run from the main sub-theme over the neighbour to the rest
    main: Share = 0.62  # share of slots from the main sub-theme
    neighbour: Share = 0.2
    theme: Share = 0.1  # ... from any sub-theme of the theme; what is left of 1: hits
    facet_match: Share = 0.8  # share of slots that keep the slate's facet
    zipf: int = Field(4, ge=0, le=8)  # quarters: 4 = popularity 1/rank inside a cell
    rare_items: Share = 0.5  # share of the items
    rare_slots: Share = 0.05  # share of the slots that would like one
    shared_words: Share = 0.25  # how often a prompt names its sub-theme by a title word
    local_slang: bool = False  # the same facet word means another facet in another theme


def read_options(name: str, options: dict[str, Any]) -> Options:
    """The checked options of a card.

    Raises:
        DataError: an unknown or impossible option, in one line.
    """
    try:
        read = Options(**options)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"card '{name}': option '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error
    if read.longest < read.shortest:
        raise DataError(f"card '{name}': option 'longest' ({read.longest}) is below 'shortest' ({read.shortest})")
    if read.main + read.neighbour + read.theme > 1 + 1e-9:
        raise DataError(f"card '{name}': options 'main', 'neighbour' and 'theme' are shares and add up to more than 1")
    return read


@dataclass(frozen=True)
class World:
    """The truth. R slates, N items, S sub-themes, F facets; cell = sub-theme * F + facet."""

    options: Options
    theme_of: np.ndarray  # [S] theme of each sub-theme
    facets: int
    cell: np.ndarray  # [N]
    within: np.ndarray  # [N] probability of the item once its cell is picked
    hit: np.ndarray  # [N] probability among the hits
    leader: np.ndarray  # [cells] the most popular item of each cell
    group: np.ndarray  # [R]
    main: np.ndarray  # [R] main sub-theme
    neighbour: np.ndarray  # [R]
    facet: np.ndarray  # [R]
    slates: np.ndarray  # [R, L] item numbers, EMPTY behind the last

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """Probability that a slot of slate r holds item i, [len(rows), N]: what the oracle ranks by."""
        options, S, F = self.options, len(self.theme_of), self.facets
        theme = self.theme_of[None, :] == self.theme_of[self.main[rows]][:, None]  # [B, S]
        of_sub = options.theme * theme / theme.sum(axis=1, keepdims=True)
        line = np.arange(len(rows))
        of_sub[line, self.main[rows]] += options.main
        of_sub[line, self.neighbour[rows]] += options.neighbour
        of_facet = np.full((len(rows), F), (1 - options.facet_match) / F)
        of_facet[line, self.facet[rows]] += options.facet_match
        of_cell = (of_sub[:, :, None] * of_facet[:, None, :]).reshape(len(rows), S * F)
        return of_cell[:, self.cell] * self.within + (1 - options.main - options.neighbour - options.theme) * self.hit


def build_world(name: str, options: Options, theme_of: np.ndarray, facets: int) -> World:
    """Place the items in cells and draw the slates; deterministic in `options.seed`."""
    S, cells = len(theme_of), len(theme_of) * facets
    if options.items < 3 * cells:
        raise DataError(f"card '{name}': option 'items' is {options.items}; {cells} cells need at least {3 * cells}")
    popular = falling(Draws(options.seed, 0).order(S), 1)  # [S] sub-themes differ in size and demand
    cell, rare = _place_items(options, popular, facets)
    within, leader, head, spare = _popularity(options, cell, rare, cells)
    hit = np.zeros(options.items)
    hit[leader] = falling(Draws(options.seed, 1).order(cells), 2)
    hit /= np.cumsum(hit)[-1]

    draws = Draws(options.seed, 2)
    size = 1 + _short(draws, options.slates_per_group, options.groups)  # slates per group
    group = np.repeat(np.arange(options.groups), size)  # [R]
    unit = group if options.one_pool else np.arange(len(group))  # slates of one unit share the pool and its theme
    U = options.groups if options.one_pool else len(group)

    # a group keeps to one theme; its units choose sub-theme, neighbour and facet
    themes = theme_of.max() + 1
    demand = np.bincount(theme_of, weights=popular, minlength=themes)
    theme = draws.choose(demand, options.groups)[np.arange(U) if options.one_pool else group]  # [U]
    main, beside = _two_of(draws, theme, theme_of, popular)
    facet = draws.choose(falling(np.arange(facets), 2), U)
    pool, source = _fill(draws, options, theme_of, facets, (theme, main, beside, facet), (head, spare, hit))
    slates = _slates(draws, options, pool[unit], source[unit])
    return World(
        options, theme_of, facets, cell, within, hit, leader, group, main[unit], beside[unit], facet[unit], slates
    )


def _short(draws: Draws, n: int, *shape: int) -> np.ndarray:
    """Integers in 0..n-1 that lean to the small ones."""
    return (draws.uniform(*shape) * draws.uniform(*shape) * n).astype(np.int64)


def _place_items(options: Options, popular: np.ndarray, facets: int) -> tuple[np.ndarray, np.ndarray]:
    """Cell and rarity of each item [N]; the index tells nothing, and no cell lacks a common or a rare item."""
    draws, N, cells = Draws(options.seed, 3), options.items, len(popular) * facets
    cell = draws.choose(popular, N) * facets + draws.below(facets, N)
    rare = draws.uniform(N) < options.rare_items
    cell[: 3 * cells] = np.tile(np.arange(cells), 3)
    rare[: 3 * cells] = np.repeat([False, False, True], cells)
    order = draws.order(N)
    return cell[order], rare[order]


def _popularity(
    options: Options, cell: np.ndarray, rare: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Probability within the cell [N], leader of each cell, and the sorted tables that `_fill` draws from."""
    # by cell, common items first, else at random: an item's number must not tell its popularity
    order = np.lexsort((Draws(options.seed, 4).uniform(len(cell)), rare, cell))
    ends = np.cumsum(np.bincount(cell, minlength=cells))
    starts = ends - np.bincount(cell, minlength=cells)
    commons = np.bincount(cell[~rare], minlength=cells)
    rank = np.arange(len(cell)) - starts[cell[order]]
    weight = np.where(rare[order], 0.0, falling(rank, options.zipf))
    total = np.concatenate([[0.0], np.cumsum(weight)])  # total[i] = weight before position i
    low, high = total[starts], total[ends]
    within = np.empty(len(cell))
    rares = ends - starts - commons
    owner = cell[order]
    within[order] = np.where(
        rare[order], options.rare_slots / rares[owner], (1 - options.rare_slots) * weight / (high - low)[owner]
    )
    return within, order[starts], (order, starts, commons, total, low, high), (order, starts + commons, rares)


def _two_of(
    draws: Draws, theme: np.ndarray, theme_of: np.ndarray, popular: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A main sub-theme of each theme (popular ones more often), and the next one of the theme as its neighbour."""
    order = np.argsort(theme_of, kind="stable")  # sub-themes by theme
    count = np.bincount(theme_of)
    start = np.cumsum(count) - count
    total = np.concatenate([[0.0], np.cumsum(popular[order])])
    low, high = total[start[theme]], total[(start + count)[theme]]
    place = np.searchsorted(total, low + draws.uniform(len(theme)) * (high - low), side="right") - 1
    place = place.clip(start[theme], (start + count)[theme] - 1)
    step = 1 + draws.below(2, len(theme))  # one of the two that follow, round the theme
    beside = start[theme] + (place - start[theme] + step) % count[theme]
    return order[place], order[beside]


def _fill(
    draws: Draws,
    options: Options,
    theme_of: np.ndarray,
    facets: int,
    latent: tuple[np.ndarray, ...],
    tables: tuple[Any, Any, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """A pool of different items per unit [U, M] in the order drawn (EMPTY behind the last), and their sources."""
    theme, main, beside, facet = latent
    (order, starts, commons, total, low, high), (_, spare_starts, rares), hit = tables
    shape = (len(main), options.longest + (2 if options.one_pool else options.longest))
    shares = np.array([options.main, options.neighbour, options.theme])
    source = draws.choose(np.append(shares, 1 - np.cumsum(shares)[-1]), *shape)
    by_theme = np.argsort(theme_of, kind="stable")
    count = np.bincount(theme_of)
    start = np.cumsum(count) - count
    any_sub = by_theme[start[theme][:, None] + draws.below(count[theme][:, None], *shape)]
    sub = np.where(source == MAIN, main[:, None], np.where(source == NEIGHBOUR, beside[:, None], any_sub))
    keeps = draws.uniform(*shape) < options.facet_match
    cell = sub * facets + np.where(keeps, facet[:, None], draws.below(facets, *shape))

    place = np.searchsorted(total, low[cell] + draws.uniform(*shape) * (high - low)[cell], side="right") - 1
    items = order[place.clip(starts[cell], starts[cell] + commons[cell] - 1)]
    items = np.where(source == HIT, draws.choose(hit, *shape), items)

    # rare items: each is handed out once, the front of the pools first, until four fifths of a cell's stock are gone
    wants = np.flatnonzero((source != HIT) & (draws.uniform(*shape) < options.rare_slots))
    wanted = cell.ravel()[wants]
    queue = np.lexsort((draws.uniform(len(wants)), wants % shape[1], wanted))
    length = np.bincount(wanted, minlength=len(starts))
    turn = np.arange(len(wants)) - (np.cumsum(length) - length)[wanted[queue]]
    served = turn < rares[wanted[queue]] * 4 // 5
    queue, turn = queue[served], turn[served]
    items.ravel()[wants[queue]] = order[spare_starts[wanted[queue]] + turn]

    # each item once per pool, the first time it was drawn
    by_item = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, by_item, axis=1)
    repeat = np.zeros(shape, dtype=bool)
    np.put_along_axis(repeat, by_item[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    front = np.argsort(repeat, axis=1, kind="stable")
    pool = np.take_along_axis(np.where(repeat, EMPTY, items), front, axis=1)
    return pool, np.take_along_axis(source, front, axis=1)


def _slates(draws: Draws, options: Options, pool: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The slates [R, longest] cut from their pools [R, M]."""
    R, M = pool.shape
    length = options.shortest + _short(draws, options.longest - options.shortest + 1, R)
    if options.one_pool:  # each slate takes its own choice of the pool, mostly from its front
        liking = np.arange(M) * (1.5 / options.longest) + draws.uniform(R, M)
        order = np.argsort(np.where(pool == EMPTY, np.inf, liking), axis=1, kind="stable")
        pool, source = np.take_along_axis(pool, order, axis=1), np.take_along_axis(source, order, axis=1)
    slates, source = pool[:, : options.longest], source[:, : options.longest]
    slates = np.where(np.arange(options.longest) < length[:, None], slates, EMPTY)
    if options.ordered:
        order = np.argsort(np.where(slates == EMPTY, HIT + 1, source), axis=1, kind="stable")
        slates = np.take_along_axis(slates, order, axis=1)
    return slates
