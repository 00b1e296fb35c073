"""Quantisers: vectors to codes, level by level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHUNK = 65_536  # items encoded at once


@dataclass(frozen=True)
class Tokenizer:
    """A fitted tokenizer.

    Attributes:
        codebooks: [D, K, e].
        layers: weight [out, in] and bias [out] of each of the encoder's linear layers, ReLU between; or empty.
    """

    codebooks: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Codes [N, D] of item vectors [N, d], int64."""
        out = np.empty((len(vectors), len(self.codebooks)), dtype=np.int64)
        for start in range(0, len(vectors), CHUNK):
            residual = self.latents(vectors[start : start + CHUNK])
            for level, codebook in enumerate(self.codebooks):
                code = nearest_code(residual, codebook)
                out[start : start + CHUNK, level] = code
                residual = residual - codebook[code]
        return out

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """What is quantised [N, e]."""
        for i, (weight, bias) in enumerate(self.layers):
            vectors = vectors @ weight.T + bias
            if i < len(self.layers) - 1:
                vectors = np.maximum(vectors, 0)
        return vectors

    def arrays(self) -> dict[str, np.ndarray]:
        """The tokenizer as named arrays."""
        named = {"codebooks": self.codebooks}
        for i, (weight, bias) in enumerate(self.layers):
            named |= {f"layer{i}.weight": weight, f"layer{i}.bias": bias}
        return named

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Tokenizer:
        """The tokenizer that `arrays` describes."""
        n = sum(name.endswith(".weight") for name in arrays)
        layers = tuple((arrays[f"layer{i}.weight"], arrays[f"layer{i}.bias"]) for i in range(n))
        return cls(arrays["codebooks"], layers)


def nearest_code(residual: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Row of `codebook` [K, e] nearest to each row of `residual` [N, e]: int64 [N]."""
    return (residual @ codebook.T - 0.5 * (codebook**2).sum(axis=1)).argmax(axis=1)


def residual_kmeans(vectors: np.ndarray, levels: int, codes: int, seed: int) -> np.ndarray:
    """Codebooks [levels, codes, e] by k-means on what the levels before left over (faiss, one after the other)."""
    import torch  # noqa: F401  (before faiss: two OpenMP copies, and this order is the fast one)
    import faiss  # isort: skip

    residual = np.ascontiguousarray(vectors, dtype=np.float32)
    codebooks = np.zeros((levels, codes, residual.shape[1]), np.float32)
    for level in range(levels):
        kmeans = faiss.Kmeans(
            residual.shape[1], codes, niter=20, seed=seed + level, min_points_per_centroid=1, verbose=False
        )
        kmeans.train(residual)
        codebooks[level] = kmeans.centroids
        residual = residual - codebooks[level][nearest_code(residual, codebooks[level])]
    return codebooks
