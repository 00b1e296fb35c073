"""A network among the arrays of a fitted model: what every neural model writes and reads back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

PREFIX = "network."


def network_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """The network's weights as named arrays; `network_state` takes them back."""
    return {f"{PREFIX}{name}": value.cpu().numpy() for name, value in network.state_dict().items()}


def network_state(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The network's state among the arrays of a model."""
    return {name.removeprefix(PREFIX): torch.tensor(a) for name, a in arrays.items() if name.startswith(PREFIX)}
