"""Model names: found lazily, so that a list of names never imports torch."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from ..datasets.errors import SlateBenchError, unknown_name
from .base import SlateModel

ENTRY_POINTS = "slatebench.models"

# name -> (module in this package, class)
BUILTIN: dict[str, tuple[str, str]] = {
    "random": ("random", "Random"),
    "popularity": ("popularity", "Popularity"),
    "bm25": ("bm25", "BM25"),
    "dense": ("dense", "Dense"),
    "prompt-knn": ("prompt_knn", "PromptKNN"),
    "prompt2vec": ("prompt2vec", "Prompt2Vec"),
    "hybrid": ("hybrid", "Hybrid"),
}


def model_names() -> list[str]:
    """Names of all models: built in, then plug-ins (entry points of group `slatebench.models`).

    Raises:
        SlateBenchError: a plug-in takes a name that is taken.
    """
    names = list(BUILTIN)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in names:
            raise SlateBenchError(f"plug-in {point.value} wants the model name '{point.name}', which is taken")
        names.append(point.name)
    return names


def model_class(name: str) -> type[SlateModel]:
    """The class registered under `name` (without preset).

    Raises:
        UsageError: unknown name; says the nearest.
    """
    if name in BUILTIN:
        module, attribute = BUILTIN[name]
        return getattr(import_module(f".{module}", __package__), attribute)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return point.load()
    raise unknown_name("model", name, model_names())


def parse_model(address: str) -> tuple[str, list[str]]:
    """Split `name:preset+preset` into name and presets.

    >>> parse_model("higr:parallel+prior")
    ('higr', ['parallel', 'prior'])
    """
    name, _, presets = address.partition(":")
    return name, [preset for preset in presets.split("+") if preset]
