"""Model names: found lazily, so that a list of names never imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import NamedTuple, get_args

from ..datasets.errors import SlateBenchError, UsageError, one_line, unknown_name
from ..datasets.plugins import Plugins, code_digest, distribution_of, find_plugins, why_no_name
from .base import Budget, ModelCard, Settings, SlateModel

ENTRY_POINTS = "slatebench.models"
BUDGETS = get_args(Budget)


class Builtin(NamedTuple):
    """Where a built-in model lives, and its one-line title."""

    module: str  # in this package
    attribute: str
    title: str


BUILTIN: dict[str, Builtin] = {
    "random": Builtin("retrieval.random", "Random", "random items: a floor"),
    "popularity": Builtin("retrieval.popularity", "Popularity", "most popular items: a floor"),
    "bm25": Builtin("retrieval.bm25", "BM25", "BM25 over item texts or train prompts"),
    "dense": Builtin("retrieval.dense", "Dense", "prompt vector to item vectors, exact"),
    "prompt-knn": Builtin("retrieval.prompt_knn", "PromptKNN", "vote of the nearest train prompts' slates"),
    "prompt2vec": Builtin("retrieval.prompt2vec", "Prompt2Vec", "ridge from prompt vector to slate centre"),
    "prompt-centre": Builtin(
        "retrieval.prompt_centre", "PromptCentre", "mean slate of similar train prompts, nearest items"
    ),
    "hybrid": Builtin("retrieval.hybrid", "Hybrid", "z-scored dense + .25 BM25: the retrieval prior alone"),
    "markov": Builtin("retrieval.markov", "Markov", "what followed the last item: a floor of histories"),
    "item-knn": Builtin("retrieval.item_knn", "ItemKNN", "neighbours of the history's items: a floor of histories"),
    "ease": Builtin("retrieval.ease", "EASE", "linear item-to-item model in closed form"),
    "sasrec": Builtin("sequential.sasrec", "SASRec", "causal transformer over a user's items"),
    "bert4rec": Builtin("sequential.bert4rec", "BERT4Rec", "bidirectional transformer that fills in masked items"),
    "hstu": Builtin("sequential.hstu", "HSTU", "gated pointwise attention with position and time"),
    "dmsg": Builtin("latent.dmsg", "DMSG", "diffusion over a slate's item vectors"),
    "set-regressor": Builtin("latent.set_regressor", "SetRegressor", "DMSG's network in one step: a control"),
    "trie-prior": Builtin(
        "decoders.trie_prior", "TriePriorModel", "retrieval factorised along semantic ids: their prior alone"
    ),
    "s2s": Builtin("decoders.s2s", "S2S", "autoregressive decoder over items or (preset sids) semantic ids"),
    "higr": Builtin("decoders.higr", "HiGR", "hierarchical planner and item generator over semantic ids"),
    "maskgr": Builtin("decoders.maskgr", "MaskGR", "masked diffusion over a slate's semantic ids"),
}


def _plugins() -> Plugins:
    return find_plugins(ENTRY_POINTS, "model", BUILTIN)


def model_titles() -> dict[str, str]:
    """One line for each model by name: built in, then plug-ins (entry points of group `slatebench.models`).

    Imports none of them, so a plug-in's line is where it comes from.
    """
    titles = {name: builtin.title for name, builtin in BUILTIN.items()}
    return titles | {name: f"plug-in {point.value}" for name, point in _plugins().points.items()}


def model_names() -> list[str]:
    """Names of all models: built in, then plug-ins."""
    return list(model_titles())


def refused_models() -> list[str]:
    """A line for each plug-in whose name can't be used: it is in no list."""
    return list(_plugins().refused.values())


def model_class(name: str) -> type[SlateModel]:
    """The class registered under `name` (without preset).

    Raises:
        UsageError: unknown name (says the nearest), or a plug-in's that can't be used.
        SlateBenchError: a plug-in that can't be imported or is no model.
    """
    if name in BUILTIN:
        module, attribute, _ = BUILTIN[name]
        return getattr(import_module(f".{module}", __package__), attribute)
    plugins = _plugins()
    if name in plugins.refused:
        raise UsageError(plugins.refused[name])
    if name not in plugins.points:
        raise unknown_name("model", name, model_names())
    point = plugins.points[name]
    who = f"plug-in model '{name}' ({point.value})"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # whatever it does when it is imported
        raise SlateBenchError(f"{who} can't be imported: {one_line(error)}: mend or uninstall it") from error
    if not (isinstance(found, type) and issubclass(found, SlateModel)):
        raise SlateBenchError(f"{who} is no subclass of SlateModel")
    if (wrong := _wrong(found)) is not None:
        raise SlateBenchError(f"{who}: {wrong}")
    return found


def _wrong(cls: type[SlateModel]) -> str | None:
    """What a model's class lacks before it can be asked anything."""
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        return f"write {', '.join(missing)}"
    if not isinstance(getattr(cls, "card", None), ModelCard):
        return "its card must be a ModelCard"
    if not isinstance(cls.version, str):
        return f"its version must be text, not {cls.version!r}"
    for kind in ("Config", "Sampling"):
        if not (isinstance(found := getattr(cls, kind), type) and issubclass(found, Settings)):
            return f"{kind} must be a subclass of Settings"
    if both := sorted(set(cls.Config.model_fields) & set(cls.Sampling.model_fields)):
        return f"{both[0]} is a field of both Config and Sampling: keep one"
    for kind in ("PRESETS", "BUDGETS"):
        layers = getattr(cls, kind)
        if not isinstance(layers, dict) or not all(isinstance(layer, dict) for layer in layers.values()):
            return f"{kind} must be a dict of dicts of settings"
    for preset in cls.PRESETS:  # part of an address and of a folder's name
        if (why := why_no_name(str(preset))) is not None:
            return f"it has a preset {preset!r}, {why}"
    if unknown := [budget for budget in cls.BUDGETS if budget not in BUDGETS]:
        return f"budget {unknown[0]!r} of BUDGETS is none of {', '.join(BUDGETS)}"
    return None


@contextmanager
def contained(address: str) -> Iterator[None]:
    """Whatever a plug-in raises becomes one line that names it; what is ours goes through.

    Raises:
        SlateBenchError: in place of what the plug-in raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, SlateBenchError) or parse_model(address)[0] in BUILTIN:
            raise
        line = one_line(f"{type(error).__name__}: {one_line(error)}")
        raise SlateBenchError(f"{address}: {line}: mend the plug-in") from error


def code_version(cls: type[SlateModel]) -> str:
    """The model's version; of a plug-in, with a digest of all that came with it: whoever edits it gets new figures."""
    bases = [base for base in cls.__mro__ if issubclass(base, SlateModel)]
    foreign = [base.__module__ for base in bases if not base.__module__.startswith("slatebench.")]
    if not foreign:
        return cls.version
    ours = [f"{base.__name__} {base.version}" for base in bases if base.__module__ not in foreign]
    return f"{cls.version}-{code_digest(foreign, distribution_of(ENTRY_POINTS, foreign), *ours)}"


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
