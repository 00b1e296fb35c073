"""Model names: found lazily, so that a list of names never imports torch."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple

from ..datasets.errors import SlateBenchError, UsageError, unknown_name
from .base import SlateModel

ENTRY_POINTS = "slatebench.models"


class Builtin(NamedTuple):
    """Where a built-in model lives, and its one-line title."""

    module: str  # in this package
    attribute: str
    title: str


BUILTIN: dict[str, Builtin] = {
    "random": Builtin("random", "Random", "random items: a floor"),
    "popularity": Builtin("popularity", "Popularity", "most popular items: a floor"),
    "bm25": Builtin("bm25", "BM25", "BM25 over item texts or train prompts"),
    "dense": Builtin("dense", "Dense", "prompt vector to item vectors, exact"),
    "prompt-knn": Builtin("prompt_knn", "PromptKNN", "vote of the nearest train prompts' slates"),
    "prompt2vec": Builtin("prompt2vec", "Prompt2Vec", "ridge from prompt vector to slate centre"),
    "prompt-centre": Builtin("prompt_centre", "PromptCentre", "mean slate of similar train prompts, nearest items"),
    "hybrid": Builtin("hybrid", "Hybrid", "z-scored dense + .25 BM25: the retrieval prior alone"),
    "dmsg": Builtin("dmsg", "DMSG", "diffusion over a slate's item vectors"),
    "set-regressor": Builtin("set_regressor", "SetRegressor", "DMSG's network in one step: a control"),
    "trie-prior": Builtin("trie_prior", "TriePriorModel", "retrieval factorised along semantic ids: their prior alone"),
    "s2s": Builtin("s2s", "S2S", "autoregressive decoder over items or (preset sids) semantic ids"),
    "higr": Builtin("higr", "HiGR", "hierarchical planner and item generator over semantic ids"),
    "maskgr": Builtin("maskgr", "MaskGR", "masked diffusion over a slate's semantic ids"),
}


def model_titles() -> dict[str, str]:
    """One line for each model by name: built in, then plug-ins (entry points of group `slatebench.models`).

    Imports none of them, so a plug-in's line is where it comes from.

    Raises:
        SlateBenchError: a plug-in takes a name that is taken.
    """
    titles = {name: builtin.title for name, builtin in BUILTIN.items()}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in titles:
            raise SlateBenchError(f"plug-in {point.value} wants the model name '{point.name}', which is taken")
        titles[point.name] = f"plug-in {point.value}"
    return titles


def model_names() -> list[str]:
    """Names of all models: built in, then plug-ins.

    Raises:
        SlateBenchError: a plug-in takes a name that is taken.
    """
    return list(model_titles())


def model_class(name: str) -> type[SlateModel]:
    """The class registered under `name` (without preset).

    Raises:
        UsageError: unknown name; says the nearest.
        SlateBenchError: a plug-in that can't be imported or is no model, or two of one name.
    """
    if name in BUILTIN:
        module, attribute, _ = BUILTIN[name]
        return getattr(import_module(f".{module}", __package__), attribute)
    points = list(entry_points(group=ENTRY_POINTS, name=name))
    if len(points) > 1:
        raise SlateBenchError(f"{points[0].value} and {points[1].value} both bring a model '{name}': uninstall one")
    for point in points:
        try:
            found = point.load()
        except (ImportError, AttributeError) as error:
            raise SlateBenchError(f"plug-in model '{name}' ({point.value}) can't be imported: {error}") from error
        if not (isinstance(found, type) and issubclass(found, SlateModel)):
            raise SlateBenchError(f"plug-in model '{name}' ({point.value}) is no subclass of SlateModel")
        return found
    raise unknown_name("model", name, model_names())


def parse_model(address: str) -> tuple[str, list[str]]:
    """Split `name:preset+preset` into name and presets.

    >>> parse_model("higr:parallel+prior")
    ('higr', ['parallel', 'prior'])

    Raises:
        UsageError: an empty name or preset, or a preset twice.
    """
    name, colon, rest = address.partition(":")
    presets = rest.split("+") if colon else []
    if not name or not all(presets) or len(set(presets)) != len(presets):
        raise UsageError(f"model '{address}': write name, name:preset or name:preset+preset, each preset once")
    return name, presets
