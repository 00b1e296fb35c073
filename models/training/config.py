"""The settings that all neural models share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field

from ..base import Settings

FLOOR = 0.05  # share of the learning rate at the end of the cosine


class TrainingConfig(Settings):
    """How a network is trained; the Config of a neural model inherits these."""

    learning_rate: float = Field(2e-3, gt=0, description="of AdamW, after warm-up; falls along a cosine to 5 %")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, on matrices only")
    beta2: float = Field(0.99, gt=0, lt=1, description="of AdamW: memory of the squared gradient")
    batch_size: int = Field(96, gt=0, description="slates per step")
    max_steps: int = Field(2000, gt=0, description="optimiser steps")
    warmup_steps: int = Field(50, ge=0, description="steps of linear warm-up")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights, which are what is kept")
    check_every: int = Field(250, gt=0, description="steps between two checks on the validation requests")
    patience: int = Field(0, ge=0, description="checks without improvement before stopping; 0: no checks, to the end")
    precision: Literal["32", "bf16"] = Field("32", description="of training")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="of training; auto: a GPU where there is one")
    devices: int = Field(1, gt=0, description="processes of data-parallel training; more than one: one fit a command")
    strategy: Literal["auto", "ddp"] = Field("auto", description="Lightning's strategy")


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine down to FLOOR at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def pick_device(config: TrainingConfig) -> torch.device:
    """Where the network works, in training and afterwards."""
    gpu = config.device == "gpu" or (config.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if gpu else "cpu")
