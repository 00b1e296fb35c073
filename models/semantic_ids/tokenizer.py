"""Tokenizers: an item's vector becomes D codes. One form for all: an encoder (or none) and D codebooks on residuals.

    r_0 = encoder(x);  c_d = argmin_k |r_{d-1} - e_k^d|^2;  r_d = r_{d-1} - e_{c_d}^d

- `rkmeans`: no encoder, k-means on the residuals of the vectors themselves;
- `rqvae`: RQ-VAE (Lee et al., CVPR 2022; as tokenizer of items: TIGER, Rajput et al., NeurIPS 2023);
- `crqvae`: CRQ-VAE (HiGR, arXiv 2512.24787): a global quantisation loss and a contrast over prefixes.

Shapes: N items, d dims, e dims of the codes, D levels, K codes.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from ...datasets.files.array_cache import cache_folder, cached_array
from ...datasets.schema import Catalog
from ...datasets.train_data import TrainData
from ..base import Settings
from .health import check_collapse, health_report
from .quantiser import Tokenizer, residual_kmeans

VERSION = "3"  # raise it when the same settings give other codes


class TokenizerConfig(Settings):
    """How items get their semantic ids; the Config of a model over semantic ids inherits these."""

    tokenizer: Literal["rkmeans", "rqvae", "crqvae"] = Field("rqvae", description="of items")
    levels: int = Field(3, gt=0, description="codes of an item (D)")
    codes: int = Field(256, gt=1, description="of a level's codebook (K); never more than there are items")
    positives: Literal["cooccurrence", "neighbours", "category"] = Field(
        "category", description="of crqvae's contrast: which other item a code prefix is pulled to"
    )
    tokenizer_steps: int = Field(500, gt=0, description="of rqvae and crqvae, after 100 as a plain autoencoder")
    allow_collapse: bool = Field(False, description="go on with a collapsed codebook")


def fit_tokenizer(
    vectors: np.ndarray, slates: list[list[int]], catalog: Catalog, config: TokenizerConfig, seed: int
) -> Tokenizer:
    """Fit the tokenizer that `config` names.

    Args:
        vectors: item vectors [N, d].
        slates: train slates (only `positives=cooccurrence` looks at them).
        catalog: the items (only `positives=category` looks at their categories).
        config: which tokenizer, and its sizes.
        seed: of initialisation, batches and k-means.

    Raises:
        SlateBenchError: the positives asked for do not exist in these data.
    """
    vectors, codes = np.ascontiguousarray(vectors, dtype=np.float32), min(config.codes, len(vectors))
    if config.tokenizer == "rkmeans":
        return Tokenizer(residual_kmeans(vectors, config.levels, codes, seed))
    from .positives import find_positives
    from .rqvae import fit_rqvae

    positives = None
    if config.tokenizer == "crqvae":
        positives = find_positives(config.positives, vectors, slates, catalog)
    codebooks, layers = fit_rqvae(vectors, config.levels, codes, config.tokenizer_steps, seed, positives)
    return Tokenizer(codebooks, layers)


@dataclass(frozen=True)
class SemanticIds:
    """The semantic ids of a catalogue: tokenizer, codes [N, D], health by name, processor seconds of the fit."""

    tokenizer: Tokenizer
    codes: np.ndarray
    health: dict[str, float]
    seconds: float


def semantic_ids(data: TrainData, config: TokenizerConfig, seed: int) -> SemanticIds:
    """Semantic ids of `data`'s items, cached on disk by vectors, train slates, catalogue, config and seed.

    Raises:
        SlateBenchError: the codebook collapsed, and `allow_collapse` is not set.
    """
    vectors, slates = data.features.items(), train_slates(data)
    settings = {name: getattr(config, name) for name in TokenizerConfig.model_fields if name != "allow_collapse"}
    if config.tokenizer != "crqvae":
        del settings["positives"]
    key = hashlib.sha256(json.dumps([VERSION, data.fingerprint, data.features.version, settings, seed]).encode())
    key.update(np.ascontiguousarray(vectors).data)
    path = cache_folder() / "semantic_ids" / f"{config.tokenizer}-{key.hexdigest()[:16]}.safetensors"

    def build() -> dict[str, np.ndarray]:
        start = time.process_time()
        tokenizer = fit_tokenizer(vectors, slates, data.catalog, config, seed)
        seconds = time.process_time() - start
        arrays = tokenizer.arrays() | {"codes": tokenizer.encode(vectors)}
        names = np.frombuffer("\n".join(tokenizer.arrays()).encode(), dtype=np.uint8)
        return arrays | {"names": names, "seconds": np.array([seconds])}

    names = cached_array(path, "names", build).tobytes().decode().split("\n")
    tokenizer = Tokenizer.from_arrays({name: cached_array(path, name, build) for name in names})
    codes = cached_array(path, "codes", build)
    health = health_report(codes, tokenizer.codebooks.shape[1], data.catalog)
    if not config.allow_collapse:
        check_collapse(config.tokenizer, health, codes, vectors)
    return SemanticIds(tokenizer, codes, health, float(cached_array(path, "seconds", build)[0]))


def train_slates(data: TrainData) -> list[list[int]]:
    """Whole train slates: seed items, then the others."""
    return [seeds + items for seeds, items in data.slates.select("seed_items", "items").iter_rows()]
