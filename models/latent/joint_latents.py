"""Item latents trained together with the network that generates them: an open question of the DMSG paper.

The denoising loss alone would be least where all items are one point. Two things keep the latents apart: each keeps
its length (only its direction is trained), and the rounding cross-entropy of Diffusion-LM (Li et al., NeurIPS 2022):
an item must be told from others by its own latent.

Only items of train slates have a latent of their own. All others, items that are new in the catalogue among them, go
along by the linear map that best explains how the trained ones moved.

Shapes: B slates, N items, M items of train slates, d latent dims.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from .loss import LatentTask

OTHERS = 1024  # items, drawn at each step, from which those of the batch must be told, beside each other
RIDGE = 1.0  # of the map


@dataclass
class JointLatents:
    """What was learned.

    Attributes:
        ids: original ids of the M items.
        rows: their latents [M, d].
        map: how a latent moves: z -> z + z map [d, d].
    """

    ids: list[str]
    rows: np.ndarray
    map: np.ndarray

    def __call__(self, ids: list[str], fixed: np.ndarray) -> np.ndarray:
        """Latents [N, d] of a catalogue whose items have these fixed ones."""
        latents = fixed + fixed @ self.map
        known = {id_: row for row, id_ in enumerate(self.ids)}
        rows = np.array([known.get(id_, -1) for id_ in ids], dtype=np.int64)
        latents[rows >= 0] = self.rows[rows[rows >= 0]]
        return latents

    def arrays(self) -> dict[str, np.ndarray]:
        """As `of_arrays` takes them."""
        ids = np.frombuffer("\n".join(self.ids).encode(), dtype=np.uint8)
        return {"joint.ids": ids, "joint.rows": self.rows, "joint.map": self.map}

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> JointLatents | None:
        """From what `arrays` gave; None where there is nothing of it."""
        if "joint.ids" not in arrays:
            return None
        return cls(arrays["joint.ids"].tobytes().decode().split("\n"), arrays["joint.rows"], arrays["joint.map"])


class JointTask(nn.Module):
    """A task over train slates whose items' latents are trained too."""

    trained: Tensor  # items of train slates [M]
    fixed: Tensor  # [N, d]

    def __init__(self, task: LatentTask) -> None:
        super().__init__()
        self.task = task
        real = torch.arange(task.slates.shape[1]) < task.lengths[:, None]
        self.register_buffer("trained", task.slates[real].unique(), persistent=False)
        self.register_buffer("fixed", task.vectors, persistent=False)
        self.directions = nn.Parameter(task.vectors[self.trained].clone())

    def latents(self) -> Tensor:
        """Of the train slates' items, as they are now [M, d]."""
        return normalize(self.directions, dim=-1) * self.fixed[self.trained].norm(dim=-1, keepdim=True)

    def forward(self, rows: Tensor) -> Tensor:
        """The task's loss at the latents as they are now, and the rounding cross-entropy of the slates' items."""
        latents = self.latents()
        self.task.vectors = self.fixed.index_copy(0, self.trained, latents)
        loss = self.task(rows)
        self.task.vectors = self.fixed  # no graph outlives its step
        slates, lengths = self.task.slates[rows], self.task.lengths[rows]
        items = slates[torch.arange(slates.shape[1], device=rows.device) < lengths[:, None]].unique()
        own = torch.searchsorted(self.trained, items)  # rows of `latents`
        drawn = torch.randint(len(latents), (OTHERS,), device=rows.device)
        candidates = torch.cat([own, drawn]).unique()
        logits = latents[own] @ normalize(latents[candidates], dim=-1).T  # rounding goes by direction
        return loss + cross_entropy(logits, torch.searchsorted(candidates, own))

    @torch.no_grad()
    def learned(self, ids: list[str], scale: float) -> JointLatents:
        """What was learned so far, in units of which the task's latents are `scale` times as large."""
        items = self.trained.cpu().numpy()
        before, after = (x.cpu().numpy() / scale for x in (self.fixed[self.trained], self.latents()))
        gram = before.T.astype(np.float64) @ before + RIDGE * np.eye(before.shape[1])
        moved = np.linalg.solve(gram, before.T.astype(np.float64) @ (after - before))
        return JointLatents([ids[i] for i in items], after.astype(np.float32), moved.astype(np.float32))
