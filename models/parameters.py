"""How many parameters a neural model trains, part by part, on given data and without training it."""

from __future__ import annotations

from typing import Any

from ..datasets.train_data import TrainData
from .base import Budget, resolve
from .registry import model_class, parse_model

# Attributes of networks that are one part to a reader; any other attribute is a part of its own.
PARTS = {
    "prompt encoder": ("prompt", "tokens", "pooled", "pooled_time", "seeds", "nothing", "encoder"),
    "embeddings": ("slots", "levels", "start", "mask", "input", "time"),
    "prior": ("query", "scales"),
    "heads": ("output",),
    "denoiser": ("blocks", "norm"),
}
QUICK = {"tokenizer_steps": 1, "allow_collapse": True}  # the number of codes is all that counts here


def count_parameters(
    address: str, data: TrainData, budget: Budget = "standard", overrides: dict[str, Any] | None = None
) -> dict[str, int]:
    """Trained parameters of the model at `address` by part: prompt encoder, embeddings, heads, and what else it has.

    A model is told to fit and is stopped before the first step, so this holds for every model that trains through
    `fit_network`. Others are fitted, and have the one part `all` that their `cost` names, or none.

    Raises:
        UsageError: unknown model, preset or setting, or a value out of bounds.
    """
    from .training.fit import BeforeTraining, stop_before_training

    name, presets = parse_model(address)
    cls = model_class(name)
    quick = {key: value for key, value in QUICK.items() if key in cls.Config.model_fields}
    settings = resolve(cls, presets, budget, (overrides or {}) | quick)
    model = cls(settings.config, settings.sampling)
    try:
        with stop_before_training():
            model.fit(data, seed=0)
    except BeforeTraining as stopped:
        return _by_part(stopped.task)
    whole = int(model.cost(data.slate_length)["parameters"])
    return {"all": whole} if whole else {}


def _by_part(task: Any) -> dict[str, int]:
    """Trained parameters of a task's network; of the task itself where it names none."""
    counts: dict[str, int] = {}
    for name, parameter in getattr(task, "network", task).named_parameters():
        if parameter.requires_grad:
            part = _part(name)
            counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def _part(name: str) -> str:
    """The part that a parameter belongs to.

    >>> _part("units.heads.0.weight"), _part("units.tables.1.weight"), _part("planner.blocks.0.norm_self.bias")
    ('heads', 'embeddings', 'planner')
    """
    first, *rest = name.split(".")
    if first == "units":
        return "heads" if rest[0].startswith("head") else "embeddings"
    return next((part for part, names in PARTS.items() if first in names), first)
