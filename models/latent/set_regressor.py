"""Set regressor: DMSG's network asked once, trained with a set loss. The control that isolates what diffusion adds."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..base import ModelCard, Settings
from ..ordering import Order
from . import gaussian
from .dmsg import DMSG
from .gaussian import T
from .loss import LatentTask
from .rounding import Rounding


class SetTask(LatentTask):
    """Noise in, all slots out in one pass; each vector is held to the item that Hungarian matching gives it."""

    def forward(self, rows: Tensor) -> Tensor:
        """Mean squared error under the best matching of predicted and true slots."""
        x0, condition = self.batch(rows)
        prepared = self.network.prepare(condition, torch.full((1, 1), float(T - 1), device=rows.device))
        output = self.network(torch.randn_like(x0), prepared, 0)
        return (output - x0.gather(1, match(output.detach(), x0.detach())[..., None].expand_as(x0))).pow(2).mean()


def match(output: Tensor, x0: Tensor) -> Tensor:
    """For each slot of `output` [B, K, d] the row of `x0` that it is matched to [B, K], least squared error in sum."""
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(output.float(), x0.float()).pow(2).cpu().numpy()
    return torch.from_numpy(np.stack([linear_sum_assignment(table)[1] for table in cost])).to(x0.device)


class SetRegressor(DMSG):
    """All slots in one pass of DMSG's network."""

    name = "set-regressor"
    version = "3"
    card = ModelCard(
        title="Set regressor (DMSG's network in one step)",
        paper="none: a control for DMSG",
        conditions=frozenset({"prompt"}),
        summary="The same network, latents, prompts, noise and rounding as dmsg, but one pass from noise to the slate, "
        "trained with squared error under Hungarian matching of slots and items.",
    )

    class Config(DMSG.Config):
        """As dmsg; the network predicts the items themselves."""

        target: gaussian.Target = Field("x0", pattern="^x0$", description="always x0: the items' latents")

    class Sampling(Settings):
        """Rounding and order; there is one step and no fresh noise."""

        noise_scale: float = Field(1.0, ge=0, description="of the start noise")
        guidance: float = Field(1.0, ge=0, description="classifier-free guidance; 1 = off")
        rounding: Rounding = Field("greedy", description="greedy or assignment")
        prior_weight: float = Field(0.0, ge=0, description="of the retrieval prior in the rounding")
        votes: int = Field(1, gt=0, description="sampled slates of which the consensus is taken; 1 = round the sample")
        order: Order = Field("prompt", description="of the emitted slate: slot, confidence, prompt or prompt2vec")

    SPACE: ClassVar = {
        "guidance": (1.0, 3.0, 0.25), "noise_scale": (0.0, 1.0, 0.1),
        "learning_rate": (5e-4, 5e-3, "log"), "dropout": (0.0, 0.3, 0.05), "latent_dim": [64, 128, 256],
    }  # fmt: skip
    PRESETS: ClassVar = {
        "residual": {"centre": "prompt2vec"},
        "prior": DMSG.PRESETS["prior"],
    }
    Task: ClassVar[type[LatentTask]] = SetTask

    def _asked(self, sampling: Settings | None) -> Any:
        """In the words of DMSG's sampling: one step."""
        return DMSG.Sampling(steps=1, **super()._asked(sampling).model_dump())
