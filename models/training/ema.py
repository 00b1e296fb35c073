"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Averaged copy of a module's trainable parameters.

    The decay ramps up, min(decay, (1 + n) / (10 + n)) after n updates, so that early weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.parameters: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the module's weights and the average."""
        for p, a in zip(self.parameters, self.average, strict=True):
            kept = p.detach().clone()
            p.copy_(a)
            a.copy_(kept)

    def state(self) -> dict[str, int | list[Tensor]]:
        """What `restore` takes back (plain values and tensors)."""
        return {"updates": self.updates, "average": [a.clone() for a in self.average]}

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        """Take back what `state` gave."""
        self.updates = state["updates"]
        for a, kept in zip(self.average, state["average"], strict=True):
            a.copy_(kept)
