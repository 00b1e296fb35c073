"""From the latent world to words: titles of the items, prompts of the slates, all rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from . import words_music as music
from . import words_shop as shop
from .exact import Draws, WordLists, join, pick, sometimes, where, words
from .world import World

ITEM_STREAM, MAKER_STREAM, PROMPT_STREAM, NOISE_STREAM = 10, 11, 12, 13  # streams of Draws


@dataclass(frozen=True)
class Vocabulary:
    """The word lists of a twin, by theme, sub-theme and facet."""

    theme_of: np.ndarray  # [S]
    paths: list[list[str]]  # category path of each sub-theme
    theme_prompts: WordLists
    sub_prompts: WordLists
    sub_titles: WordLists
    facet_prompts: WordLists
    facet_titles: WordLists
    facet_suffixes: WordLists

    @property
    def facets(self) -> int:
        """Number of facets."""
        return len(self.facet_prompts.count)


def vocabulary(style: str) -> Vocabulary:
    """The vocabulary of the shop, or the one of music (listener and editor)."""
    source = shop if style == "shop" else music
    theme_of: list[int] = []
    paths: list[list[str]] = []
    theme_prompts: list[list[str]] = []
    subs: list[tuple[list[str], list[str]]] = []
    domain, genre = "Music", ""
    for line in source.THEMES.strip().splitlines():
        if line.startswith("#"):
            domain = line[2:]
        elif line.startswith("="):
            genre, prompts = line[2:].split(" | ")
            theme_prompts.append(words(prompts))
        else:
            prompts, titles, *leaf = line.split(" : ")
            theme_of.append(len(theme_prompts) - 1)
            paths.append([domain, genre, *leaf])
            subs.append((words(prompts), words(titles)))
    facets = [[words(part) for part in line.split(" : ")] for line in source.FACETS.strip().splitlines()]
    return Vocabulary(
        np.array(theme_of),
        paths,
        WordLists(theme_prompts),
        WordLists([prompts for prompts, _ in subs]),
        WordLists([titles for _, titles in subs]),
        *(WordLists([facet[part] for facet in facets]) for part in range(3)),
    )


def item_table(world: World, words_of: Vocabulary) -> pl.DataFrame:
    """The catalogue: id, title, text, categories (one row per item)."""
    style = world.options.style
    sub, facet = world.cell // world.facets, world.cell % world.facets
    draws = Draws(world.options.seed, ITEM_STREAM)
    categories, names = _categories(draws, style, words_of, sub)
    maker = makers(world, words_of)
    if style == "shop":
        title = _product(draws, words_of, sub, facet, maker)
    else:
        title = _track(draws, words_of, sub, facet) + " - " + maker
    letter = {"shop": "P", "listener": "T", "editor": "E"}[style]
    return pl.DataFrame(
        {
            "id": letter + pl.Series(np.arange(len(sub))).cast(pl.String).str.zfill(7),
            "title": title,
            "text": title if style == "listener" else title + ". " + names,
            "categories": categories,
        }
    )


def makers(world: World, words_of: Vocabulary) -> pl.Series:
    """The brand or artist of each item [N]; each works in one sub-theme, some have many items."""
    draws, S = Draws(world.options.seed, MAKER_STREAM), len(words_of.theme_of)
    each = max(3, world.options.items // (12 * S))  # per sub-theme
    sub = world.cell // world.facets
    lean = draws.uniform(len(sub)) * draws.uniform(len(sub))
    number = sub + S * (lean * each).astype(np.int64)
    n = S * each
    if world.options.style == "shop":
        names = pick(draws, shop.BRAND_STARTS, n) + pick(draws, shop.BRAND_ENDS, n)
    else:
        first = pick(draws, music.FIRST_NAMES, n)
        person = join(first, pick(draws, music.LAST_NAMES, n))
        band = join(sometimes(draws, 0.6, pl.Series(["The"] * n)), pick(draws, music.BAND_ADJECTIVES, n))
        band = join(band, pick(draws, music.BAND_NOUNS, n))
        named = join(words_of.sub_titles.pick(draws, np.arange(n) % S), pick(draws, music.BAND_NOUNS, n))
        names = sometimes(draws, 0.45, person, sometimes(draws, 0.7, band, named))
    return names.gather(number)


def _categories(draws: Draws, style: str, words_of: Vocabulary, sub: np.ndarray) -> tuple[pl.Series, pl.Series]:
    """Category paths of each item, and their distinct names in one text."""
    N, S, theme_of = len(sub), len(words_of.theme_of), words_of.theme_of
    if style == "listener":  # playlist archives know no genres
        return pl.Series([[]], dtype=pl.List(pl.List(pl.String))).gather(np.zeros(N, dtype=np.int64)), pl.repeat(
            "", N, eager=True
        )
    if style == "editor":  # a genre, in a quarter of the cases a wrong one
        options = [[path] for path in words_of.paths]
        chosen = np.where(draws.uniform(N) < 0.25, draws.below(S, N), sub)
    else:  # the product's path, and in some cases a second leaf of the same category
        beside = [np.flatnonzero(theme_of == theme_of[s]) for s in range(S)]
        options = [
            [words_of.paths[s]] if other == s else [words_of.paths[s], words_of.paths[int(other)]]
            for s in range(S)
            for other in beside[s]
        ]
        width = len(beside[0])  # every theme of the shop has as many product types
        own = np.array([int(np.flatnonzero(beside[s] == s)[0]) for s in range(S)])
        chosen = sub * width + np.where(draws.uniform(N) < 0.15, draws.below(width, N), own[sub])
    texts = [", ".join(dict.fromkeys(name for path in paths for name in path)) for paths in options]
    return pl.Series(options, dtype=pl.List(pl.List(pl.String))).gather(chosen), pl.Series(texts).gather(chosen)


def _track(draws: Draws, words_of: Vocabulary, sub: np.ndarray, facet: np.ndarray) -> pl.Series:
    """Titles of tracks, such as "Faded Motel (Mono)"."""
    n = len(sub)
    plain = pick(draws, music.PLAIN_ADJECTIVES, n)
    adjective = sometimes(draws, 0.55, words_of.facet_titles.pick(draws, facet), plain)
    noun = sometimes(draws, 0.7, words_of.sub_titles.pick(draws, sub), pick(draws, music.PLAIN_NOUNS, n))
    tail = sometimes(draws, 0.6, pick(draws, music.TAILS, n), "& " + words_of.sub_titles.pick(draws, sub))
    title = sometimes(draws, 0.65, join(adjective, noun), join(noun, tail))
    return join(title, sometimes(draws, 0.25, words_of.facet_suffixes.pick(draws, facet)))


def _product(draws: Draws, words_of: Vocabulary, sub: np.ndarray, facet: np.ndarray, maker: pl.Series) -> pl.Series:
    """Titles of products, such as "Zentek Folding Tripod, Black (Travel Size)"."""
    n = len(sub)
    adjective = sometimes(draws, 0.6, words_of.facet_titles.pick(draws, facet))
    noun = words_of.sub_titles.pick(draws, sub)
    domains = list(dict.fromkeys(path[0] for path in words_of.paths))
    domain = np.array([domains.index(path[0]) for path in words_of.paths])[sub]
    variants, sizes = (
        WordLists([words(line) for line in text.strip().splitlines()]) for text in (shop.VARIANTS, shop.SIZES)
    )
    variant = sometimes(draws, 0.4, ", " + variants.pick(draws, domain))
    size = sometimes(draws, 0.5, ", " + sizes.pick(draws, domain))
    model = draws.uniform(n) < 0.3
    number = pl.Series(draws.below(23, n)).replace_strict(np.arange(23), list("ABCDEFGHJKLMNPQRSTVWXYZ")) + (
        pl.Series(100 + draws.below(900, n)).cast(pl.String)
    )
    title = join(maker, where(model, number), adjective, noun, variant, size)
    return join(title, sometimes(draws, 0.35, words_of.facet_suffixes.pick(draws, facet)))


def prompts(world: World, words_of: Vocabulary) -> pl.Series:
    """The prompt of each slate [R], in the words of those who ask: few of them stand in the titles."""
    seed = world.options.seed
    draws = Draws(seed, PROMPT_STREAM)
    theme = words_of.theme_of[world.main]
    # local slang: the words for facet j mean facet (j + shift) in the themes with that shift
    shift = np.arange(theme.max() + 1) % 3 if world.options.local_slang else np.zeros(theme.max() + 1, dtype=np.int64)
    spoken = (world.facet - shift[theme]) % world.facets
    shared = world.options.shared_words

    def sub_phrase(sub: np.ndarray) -> pl.Series:
        in_title = words_of.sub_titles.pick(draws, sub).str.to_lowercase()
        return sometimes(draws, shared, in_title, words_of.sub_prompts.pick(draws, sub))

    main, beside = sub_phrase(world.main), sub_phrase(world.neighbour)
    of_theme = words_of.theme_prompts.pick(draws, theme)
    facet = words_of.facet_prompts.pick(draws, spoken)
    if world.options.style == "shop":
        return _shopper(draws, main, beside, of_theme, facet)
    star = makers(world, words_of).gather(world.leader[world.main * world.facets + world.facet])
    if world.options.style == "editor":
        return _editor(draws, main, beside, of_theme, facet, star)
    clean = _listener(draws, main, of_theme, facet, star)
    return _noise(Draws(seed, NOISE_STREAM), clean)


def _shopper(draws: Draws, main: pl.Series, beside: pl.Series, theme: pl.Series, facet: pl.Series) -> pl.Series:
    """Short intents: an aim, at times with a wish and a second aim."""
    n = len(main)
    aim = sometimes(draws, 0.8, main, theme)
    aim = join(sometimes(draws, 0.15, pick(draws, shop.HEADS, n)), sometimes(draws, 0.55, facet), aim)
    aim = join(aim, sometimes(draws, 0.15, pick(draws, shop.TAILS, n)))
    text = join(aim, sometimes(draws, 0.2, "and " + beside))
    return sometimes(draws, 0.6, text.str.slice(0, 1).str.to_uppercase() + text.str.slice(1), text)


def _editor(
    draws: Draws, main: pl.Series, beside: pl.Series, theme: pl.Series, facet: pl.Series, star: pl.Series
) -> pl.Series:
    """Full sentences that name the mood, where it drifts to, a star and the occasion."""
    n = len(main)
    start = join(pick(draws, music.OPENINGS, n), sometimes(draws, 0.8, facet + ","), main)
    drift = sometimes(draws, 0.6, join(pick(draws, music.JOINTS, n), beside))
    close = sometimes(draws, 0.5, join(",", pick(draws, music.CLOSINGS, n), theme))
    return join(start, drift, sometimes(draws, 0.3, ", featuring " + star), close) + "."


def _listener(draws: Draws, main: pl.Series, theme: pl.Series, facet: pl.Series, star: pl.Series) -> pl.Series:
    """What people call their playlists, before they mistype it."""
    n, kind = len(main), draws.uniform(len(main))
    mood = join(sometimes(draws, 0.45, facet), sometimes(draws, 0.7, main, theme))
    fan = join(star, sometimes(draws, 0.5, "& " + main))
    text = where(kind < 0.1, pick(draws, music.GENERIC_TITLES, n), where(kind < 0.25, fan, mood))
    return join(text, sometimes(draws, 0.2, pick(draws, music.LISTENER_TAILS, n)))


def _noise(draws: Draws, text: pl.Series) -> pl.Series:
    """Lower case, lost letters, dropped vowels, years and emoji."""
    n = len(text)
    case = draws.uniform(n)
    text = where(case < 0.6, text.str.to_lowercase(), where(case < 0.66, text.str.to_uppercase(), text))
    length = text.str.len_chars().to_numpy()
    lost = pl.Series(1 + draws.below(np.maximum(length - 1, 1), n))
    text = sometimes(draws, 0.1, text.str.slice(0, lost) + text.str.slice(lost + 1), text)
    text = sometimes(draws, 0.05, text.str.replace_all(r"\B[aeiou]", ""), text)
    text = sometimes(draws, 0.3, text.str.replace_all(" and ", " n ").str.replace_all("[,.]", ""), text)
    year = pl.Series(2010 + draws.below(15, n)).cast(pl.String)
    text = join(text, sometimes(draws, 0.08, year), sometimes(draws, 0.15, pick(draws, music.EMOJI, n)))
    return text
