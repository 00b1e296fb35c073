"""The continuous space in which a slate is a set of points: shared by dmsg and set-regressor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class LatentSpace:
    """PCA of the catalogue's frozen vectors on one global scale: coordinates of mean deviation 1, directions kept."""

    mean: np.ndarray  # [d_item]
    basis: np.ndarray  # [d_item, d]
    scale: float

    @classmethod
    def of(cls, vectors: np.ndarray, dims: int) -> LatentSpace:
        """Fitted on all item vectors [N, d_item]; `dims` at most."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - mean
        _, basis = np.linalg.eigh(centred.T @ centred)
        basis = basis[:, ::-1][:, :dims]  # largest variance first
        basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
        return cls(mean, basis, float(1 / max(1e-6, (centred @ basis).std(axis=0).mean())))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Latents [..., d] of vectors [..., d_item], float32."""
        return ((vectors - self.mean) @ self.basis * self.scale).astype(np.float32)
