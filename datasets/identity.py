"""What tells one state of a dataset from another, found without loading it where it is known from before.

Loading a large dataset takes minutes, too long to print a board. So what was found is kept in the cache, under the
places, sizes and times of the files, the card, and the code that reads them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from .card import DatasetCard
from .files.array_cache import cache_folder
from .files.finding import Found, brought_folder
from .files.reading import stored_path
from .registry import card_loader, dataset_card, load_found
from .schema import SlateDataset
from .vectors.evaluation import evaluation_version
from .vectors.features import make_features
from .vectors.text_encoder import DEFAULT_ENCODER, open_encoder

SETTLED = 2.0  # seconds after which a file that changes again surely bears another time


@dataclass(frozen=True)
class Identity:
    """What tells a dataset from others of its name: its fingerprint, and versions of what is computed of it.

    Attributes:
        fingerprint: of content and split.
        evaluation: version of the evaluation embedding.
        features: version of the features, with the usual encoder and item vectors.
    """

    fingerprint: str
    evaluation: str
    features: str


def identity(found: Found, *, split_seed: int = 0, train_share: float = 1.0) -> Identity:
    """What `load_found` would load, told apart from other states of it.

    Raises:
        DataError: the data is damaged, or is not what its card says.
    """
    path = _kept(found, split_seed, train_share)
    if path is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):  # not there, or damaged: found anew
            return Identity(**json.loads(path.read_text(encoding="utf-8")))
    return _keep(path, load_found(found, split_seed=split_seed, train_share=train_share))


def load_known(found: Found, *, split_seed: int = 0, train_share: float = 1.0) -> SlateDataset:
    """`load_found`, and its identity is known from then on."""
    path = _kept(found, split_seed, train_share)
    dataset = load_found(found, split_seed=split_seed, train_share=train_share)
    if path is not None and not path.exists():
        _keep(path, dataset)
    return dataset


def _keep(path: Path | None, dataset: SlateDataset) -> Identity:
    made = Identity(dataset.fingerprint, evaluation_version(dataset), make_features(dataset).version)
    if path is not None:
        with contextlib.suppress(OSError):  # a cache that can't be written costs time alone
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            beside.write_text(json.dumps(asdict(made)), encoding="utf-8")
            beside.replace(path)
    return made


def _kept(found: Found, split_seed: int, train_share: float) -> Path | None:
    """Where the identity of these files is kept; None where they, or the code that reads them, may change unseen."""
    card = dataset_card(found.name)
    times = [path.stat() for path in _files(found, card)]
    newest = max((max(one.st_mtime, one.st_ctime) for one in times), default=0)
    if not card_loader(card).__module__.startswith("slatebench.") or time.time() - newest < SETTLED:
        return None
    files = [(one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for one in times]
    key = [card.model_dump(mode="json"), str(found.folder), files, split_seed, train_share, _code(),
           open_encoder(DEFAULT_ENCODER).version]  # fmt: skip
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "identity" / f"{card.name}-{digest}.json"


def _files(found: Found, card: DatasetCard) -> list[Path]:
    if found.folder is None:
        return []
    if card.files:
        places = [stored_path(found.folder, file.path) for file in card.files]
        return [path for path in places if path is not None]
    brought = os.walk(found.folder / brought_folder(card), followlinks=True)
    return sorted(Path(folder, name) for folder, _, names in brought for name in names)


@lru_cache
def _code() -> str:
    """sha256 of this room's code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
