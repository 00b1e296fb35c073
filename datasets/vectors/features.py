"""Vectors of items and prompts that every model may use: lazy, cached on disk, the same for all models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import DataError
from ..files.array_cache import Arrays, DamagedFile, cache_folder, cached_array, read_array, write_arrays
from ..schema import PARTS, Catalog, Part, SlateDataset
from ..text import READING, plainly_read
from .lsa import ARRAYS as LSA_ARRAYS
from .lsa import RECIPE as LSA
from .lsa import LsaEncoder, lsa_encoder
from .text_encoder import DEFAULT_ENCODER, Encoded, TextEncoder, open_encoder
from .word2vec import RECIPE as WORD2VEC
from .word2vec import SEQUENCE_WINDOW, WINDOW, fit_word2vec, predict_cold

KEPT_TEXTS = 64  # lists of at most so many texts are kept until the next one is encoded
RECIPE = "1"  # raise it when the numbers change for another reason than the encoder


@dataclass(frozen=True)
class Features:
    """Vectors that any model may use: numpy float32, read-only, computed when first asked for, cached on disk.

    Text vectors have unit length. So have item vectors, except that Word2Vec's are the shorter the fewer train slates
    tell of the item; of a new one they are a guess from its text. Made by `make_features`, `load_features` or
    `features_for_catalog`.

    Attributes:
        text_encoder: what encodes prompts and the items' texts.
        item_encoder: the text encoder that makes the item vectors; None where Word2Vec makes them.
        catalog: the items, row by row.
        reading: how the dataset's words are found, where they are more than plain letters and digits; else empty.
    """

    text_encoder: TextEncoder = field(repr=False)
    item_encoder: TextEncoder | None = field(repr=False)
    catalog: Catalog = field(repr=False)
    reading: str = field(repr=False)
    _arrays: _Arrays = field(repr=False)
    _prompts: _PromptStore | None = field(default=None, repr=False)
    _last: dict[tuple[str, ...], Encoded] = field(default_factory=dict, repr=False, init=False)  # of this object alone

    @property
    def item_vectors(self) -> str:
        """Name of what made the item vectors, e.g. "minilm" or "word2vec"."""
        return self.item_encoder.name if self.item_encoder else "word2vec"

    @cached_property
    def version(self) -> str:
        """Changes when the numbers may change."""
        text = f"{self.text_encoder.version}.r{RECIPE}" + (f".{self.reading}" if self.reading else "")
        if self.item_vectors == self.text_encoder.name:
            return text
        return f"{self.item_encoder.version if self.item_encoder else WORD2VEC}+{text}"

    def items(self) -> np.ndarray:
        """Item vectors [N, d]."""
        return self._arrays["items" if "items" in self._arrays.names else "item_texts"]

    def item_texts(self) -> np.ndarray:
        """Text vectors [N, d_text] of the items' texts (equal to `items()` where the same encoder makes both)."""
        return self._arrays["item_texts"]

    def prompts(self, texts: Sequence[str]) -> np.ndarray:
        """Text vectors [P, d_text]; prompts of the dataset come from the cache, any others are encoded now."""
        parts = [(where, encoded.pooled[rows]) for where, encoded, rows in self._encoded(texts, tokens=False)]
        out = np.zeros((len(texts), self._text_dims(parts)), np.float32)
        for where, vectors in parts:
            out[where] = vectors
        return out

    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token states [P, L, d_text] and mask [P, L] (True = a real token); L is the longest of these texts.

        The states are the encoder's last layer as it is (no unit rows), special tokens included; zero off the mask.
        """
        parts = [(where, *encoded.states_of(rows)) for where, encoded, rows in self._encoded(texts, tokens=True)]
        lengths = np.zeros(len(texts), np.int64)
        for where, _, part_lengths in parts:
            lengths[where] = part_lengths
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]  # [P, L]
        out = np.zeros((*mask.shape, self._text_dims(parts)), np.float32)
        for where, states, _ in parts:
            block = np.zeros_like(mask)
            block[where] = mask[where]
            out[block] = states  # rows of `states` follow the texts in order, as the mask does
        return out, mask

    def live(self) -> Features:
        """The same features, but prompts never come from the cache: what a latency harness must time.

        What was encoded last is kept, as a server would, so that a model may ask for vector and token states of one
        prompt and pay once. Call `forget` before each request, or a repeated prompt costs nothing.
        """
        return replace(self, _prompts=None)

    def forget(self) -> None:
        """Drop what was encoded last: the next request is encoded anew."""
        self._last.clear()

    def _encoded(self, texts: Sequence[str], tokens: bool) -> Iterator[tuple[np.ndarray, Encoded, np.ndarray]]:
        """Where in `texts`, what holds their vectors, and in which rows: from the cache, then encoded now."""
        known = self._prompts.rows if self._prompts else {}
        rows = np.array([known.get(text, -1) for text in texts], dtype=np.int64)
        cached = np.flatnonzero(rows >= 0)
        if self._prompts and len(cached):
            yield cached, self._prompts.encoded(tokens), rows[cached]
        fresh = np.flatnonzero(rows < 0)
        if len(fresh):
            distinct, fresh_rows = _distinct([texts[i] for i in fresh.tolist()])
            yield fresh, self._encode_now(distinct, tokens), fresh_rows

    def _encode_now(self, texts: list[str], tokens: bool) -> Encoded:
        if len(texts) > KEPT_TEXTS:
            return self.text_encoder.encode(texts, tokens=tokens)
        key = tuple(texts)
        encoded = self._last.get(key) or self.text_encoder.encode(texts, tokens=True)
        self._last.clear()
        self._last[key] = encoded
        return encoded

    def _text_dims(self, parts: list) -> int:
        return parts[0][1].shape[-1] if parts else self.item_texts().shape[1]


def usual_item_vectors(dataset: SlateDataset, encoder: str) -> str:
    """What makes the item vectors unless something else is asked for: as the card says."""
    return "word2vec" if dataset.card.item_vectors == "word2vec" else encoder


def make_features(
    dataset: SlateDataset, *, encoder: str | None = None, item_vectors: str | None = None, cache: Path | None = None
) -> Features:
    """Features of a dataset.

    Nothing is read or computed before it is asked for.

    Args:
        dataset: the dataset.
        encoder: of prompts and item texts: "minilm" (default), a sentence-transformers name or folder, "lsa" (fitted
            on the item texts and the train prompts), or "hash".
        item_vectors: what makes the item vectors: "word2vec" (over the train slates or sequences) or a text encoder as
            above; default: as the card says, `encoder` or "word2vec".
        cache: where vectors are kept; default `SLATEBENCH_CACHE`, else the user's cache folder.
    """
    folder = (cache or cache_folder()) / "features"
    catalog = dataset.catalog

    def opened(name: str) -> TextEncoder:
        if name != LsaEncoder.name:
            return open_encoder(name)
        return lsa_encoder([*catalog.texts, *dataset.train.requests["prompt"]], folder / name)

    text_encoder = opened(encoder or DEFAULT_ENCODER)
    wanted = item_vectors or usual_item_vectors(dataset, text_encoder.name)
    item_encoder = None if wanted == "word2vec" else opened(wanted)

    def texts_by(encoder: TextEncoder) -> np.ndarray:
        texts, rows = _distinct(catalog.texts)
        path = folder / _cache_file("items", encoder, json.dumps(texts))
        return cached_array(path, "pooled", lambda: {"pooled": encoder.encode(texts).pooled})[rows]

    def word2vec(name: str) -> np.ndarray:
        path = folder / _cache_file(WORD2VEC, text_encoder, dataset.fingerprint)
        window = WINDOW if dataset.sequences is None else SEQUENCE_WINDOW
        return cached_array(path, name, lambda: fit_word2vec(learnt_lists(dataset), arrays["item_texts"], window))

    makers: dict[str, Callable[[], np.ndarray]] = {"item_texts": lambda: texts_by(text_encoder)}
    if item_encoder is None:
        makers |= {"items": partial(word2vec, "items"), "ridge": partial(word2vec, "ridge")}
    elif item_encoder.name != text_encoder.name:
        makers["items"] = partial(texts_by, item_encoder)
    arrays = _Arrays(makers)
    prompts, _ = _distinct([p for name in PARTS for p in dataset.part(name).requests["prompt"].to_list()])
    return Features(
        text_encoder=text_encoder,
        item_encoder=item_encoder,
        catalog=catalog,
        reading="" if plainly_read([*catalog.texts, *prompts]) else READING,
        _arrays=arrays,
        _prompts=_PromptStore(folder, _cache_file("prompts", text_encoder, json.dumps(prompts)), text_encoder, prompts),
    )


def features_for_catalog(features: Features, catalog: Catalog) -> Features:
    """The same features over another catalogue: known items keep their vectors, new ones get theirs from their text.

    With a text encoder an item is known by its text; with Word2Vec by its id, and new ids get a vector by the
    ridge regression that was fitted with it.
    """

    def texts_by(encoder: TextEncoder, known: Callable[[], np.ndarray]) -> np.ndarray:
        return _carried_over(
            features.catalog.texts,
            known(),
            catalog.texts,
            lambda new: encoder.encode([catalog.texts[i] for i in new]).pooled,
        )

    def word2vec() -> np.ndarray:
        return _carried_over(
            features.catalog.ids,
            features.items(),
            catalog.ids,
            lambda new: predict_cold(features._arrays["ridge"], arrays["item_texts"][new]),
        )

    makers: dict[str, Callable[[], np.ndarray]] = {
        "item_texts": partial(texts_by, features.text_encoder, features.item_texts)
    }
    if features.item_encoder is None:
        makers |= {"items": word2vec, "ridge": lambda: features._arrays["ridge"]}
    elif "items" in features._arrays.names:
        makers["items"] = partial(texts_by, features.item_encoder, features.items)
    arrays = _Arrays(makers)
    return replace(features, catalog=catalog, _arrays=arrays)


def save_features(features: Features, folder: Path) -> None:
    """Write what `load_features` needs (item vectors, encoder names, a fitted LSA) into a model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: features._arrays[name] for name in features._arrays.names}
    encoders = {"text_encoder": features.text_encoder, "item_encoder": features.item_encoder}
    for encoder in encoders.values():
        if isinstance(encoder, LsaEncoder):
            arrays |= {f"lsa.{name}": array for name, array in encoder.arrays().items()}
    write_arrays(folder / "features.safetensors", arrays)
    head: dict[str, Any] = {use: [one.name, one.version] if one else None for use, one in encoders.items()}
    head |= {"arrays": features._arrays.names, "prompts": features._prompts.file if features._prompts else None}
    head["reading"] = features.reading
    (folder / "features.json").write_text(json.dumps(head, indent=1), encoding="utf-8")


def load_features(folder: Path, catalog: Catalog) -> Features:
    """Features of a saved model: its item vectors, and the text encoder for new prompts.

    Prompts of the dataset it was fitted on still come from the cache where that is at hand.

    Raises:
        DataError: files missing, damaged, or of another catalogue.
    """
    path = folder / "features.safetensors"
    try:
        head = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        arrays = {name: read_array(path, name) for name in head["arrays"]}
        text_encoder = _reopened(head["text_encoder"], path)
        item_encoder = _reopened(head["item_encoder"], path) if head["item_encoder"] else None
    except (OSError, ValueError, KeyError, TypeError, DamagedFile) as error:
        raise DataError(
            f"{folder}: no readable features of a model ({error}): run the same bench again with --rerun"
        ) from error
    if len(arrays["item_texts"]) != len(catalog):
        raise DataError(f"{path} has {len(arrays['item_texts'])} items, the catalogue {len(catalog)}: fit again")
    return Features(
        text_encoder=text_encoder,
        item_encoder=item_encoder,
        catalog=catalog,
        reading=head.get("reading", ""),
        _arrays=_Arrays({name: partial(arrays.__getitem__, name) for name in arrays}),
        _prompts=_PromptStore.reopen(cache_folder() / "features", head["prompts"], text_encoder),
    )


def learnt_lists(dataset: SlateDataset) -> list[list[int]]:
    """What items are found together in, of the train part: slates, or users' sequences."""
    return slates_of(dataset.train) if dataset.sequences is None else dataset.sequences["items"].to_list()


def slates_of(part: Part) -> list[list[int]]:
    """Whole slates of a part: seed items, then the reference items."""
    joined = part.requests.join(part.references, on="request", how="left", maintain_order="left")
    return joined.select(pl.concat_list("seed_items", "items"))["seed_items"].to_list()


# --- inside ---------------------------------------------------------------------------------------


class _Arrays:
    """Arrays by name, each made once, when first asked for; read-only."""

    def __init__(self, makers: dict[str, Callable[[], np.ndarray]]) -> None:
        self._makers = makers
        self._made: dict[str, np.ndarray] = {}
        self.names = sorted(makers)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._made:
            array = self._makers[name]()
            array.setflags(write=False)
            self._made[name] = array
        return self._made[name]


def _reopened(saved: list[str], path: Path) -> TextEncoder:
    """A text encoder of a model's features (name, version); a fitted one from the arrays beside them."""
    name, version = saved
    if name == LsaEncoder.name:
        fitted = {array: read_array(path, f"lsa.{array}") for array in LSA_ARRAYS}
        encoder = LsaEncoder(f"{LSA}-{version.rsplit('-', 1)[1]}", fitted.__getitem__)
    else:
        encoder = open_encoder(name)
    if encoder.version != version:
        raise DataError(f"{path.parent} was fitted with text encoder {version}, here is {encoder.version}: fit again")
    return encoder


class _PromptStore:
    """The prompts of a dataset, encoded together once and kept in one file: pooled, states, offsets, texts."""

    def __init__(self, folder: Path, file: str, text_encoder: TextEncoder, texts: list[str]) -> None:
        self.file = file  # relative to `folder`: a model folder remembers it
        self.rows = {text: row for row, text in enumerate(texts)}
        self._path = folder / file
        self._text_encoder = text_encoder
        self._arrays = _Arrays(
            {name: partial(cached_array, self._path, name, self._build) for name in ("pooled", "states", "offsets")}
        )

    @classmethod
    def reopen(cls, folder: Path, file: str | None, text_encoder: TextEncoder) -> _PromptStore | None:
        """The store in that file; None where there is none (any more)."""
        try:
            blob = read_array(folder / str(file), "texts")
        except (OSError, DamagedFile):
            return None
        return cls(folder, str(file), text_encoder, json.loads(blob.tobytes()))

    def encoded(self, tokens: bool) -> Encoded:
        """All prompts' vectors, with the token states if `tokens`."""
        if not tokens:
            return Encoded(self._arrays["pooled"])
        return Encoded(self._arrays["pooled"], self._arrays["states"], self._arrays["offsets"])

    def _build(self) -> Arrays:
        texts = list(self.rows)
        encoded = self._text_encoder.encode(texts, tokens=True)
        assert encoded.states is not None and encoded.offsets is not None
        blob = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
        return {"pooled": encoded.pooled, "states": encoded.states, "offsets": encoded.offsets, "texts": blob}


def _cache_file(kind: str, text_encoder: TextEncoder, key: str) -> str:
    """Name of a cache file, relative to the cache's features folder: encoder, kind, hash of key and version."""
    digest = hashlib.sha256(f"{text_encoder.version}|{RECIPE}|{key}".encode()).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', text_encoder.name).strip('-.')}/{kind}-{digest}.safetensors"


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Distinct texts in sorted order, and for each text its row there."""
    rows = {text: row for row, text in enumerate(sorted(set(texts)))}
    return list(rows), np.array([rows[text] for text in texts], dtype=np.int64)


def _carried_over(
    old_keys: list[str], old: np.ndarray, keys: list[str], make: Callable[[list[int]], np.ndarray]
) -> np.ndarray:
    """Rows for `keys`: the old row where the key was known, otherwise what `make(positions)` gives."""
    known = {key: row for row, key in enumerate(old_keys)}
    rows = np.array([known.get(key, -1) for key in keys], dtype=np.int64)
    out = old[np.maximum(rows, 0)]  # a copy
    new = np.flatnonzero(rows < 0)
    if len(new):
        out[new] = make(new.tolist())
    return out
