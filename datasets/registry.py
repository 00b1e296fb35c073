"""Dataset names, cards and loading: real data where it can be had, else the synthetic twin, and then loudly."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Literal

from .build import Loader, with_train_share
from .card import DatasetCard, builtin_cards
from .errors import DataError, SlateBenchError, UsageError, one_line, unknown_name
from .files.finding import Found, find_files
from .frozen import check_statistics
from .plugins import Plugins, find_plugins
from .schema import SlateDataset

ENTRY_POINTS = "slatebench.datasets"

SourceChoice = Literal["auto", "real", "synthetic"]


def _plugins() -> Plugins:
    return find_plugins(ENTRY_POINTS, "dataset", builtin_cards())


def dataset_names() -> list[str]:
    """Names of all datasets: built in, then plug-ins (entry points of group `slatebench.datasets`)."""
    return [*builtin_cards(), *_plugins().points]


def refused_datasets() -> list[str]:
    """A line for each plug-in whose name can't be used: it is in no list."""
    return list(_plugins().refused.values())


def dataset_card(name: str) -> DatasetCard:
    """The card registered under `name`.

    A plug-in's entry point names a `DatasetCard` or a function without arguments that returns one.

    Raises:
        UsageError: unknown name (says the nearest), or a plug-in's that can't be used.
        DataError: a plug-in can't be loaded, or is no card of that name.
    """
    if name in builtin_cards():
        return builtin_cards()[name]
    plugins = _plugins()
    if name in plugins.refused:
        raise UsageError(plugins.refused[name])
    if name not in plugins.points:
        raise unknown_name("dataset", name, dataset_names())
    return _plugin_card(plugins.points[name])


def _plugin_card(point: EntryPoint) -> DatasetCard:
    try:
        card = point.load()
        card = card if isinstance(card, DatasetCard) else card()
    except (Exception, SystemExit) as error:  # a plug-in may raise anything
        line = one_line(f"{type(error).__name__}: {one_line(error)}")
        raise DataError(f"plug-in {point.value} of dataset '{point.name}' failed: {line}: mend or remove it") from error
    if not isinstance(card, DatasetCard) or card.name != point.name:
        raise DataError(f"plug-in {point.value} is not the card of dataset '{point.name}': mend or uninstall it")
    return card


def find_dataset(name: str, source: SourceChoice = "auto", *, download: bool = True) -> Found:
    """What `load_dataset(name, source=source)` will load, and from where.

    Without `download` data that would have to be fetched count as data that can't be had.

    Raises:
        UsageError: unknown name or source, or no synthetic twin.
        DataError: real data was asked for, or has no twin, and can't be had.
    """
    card = dataset_card(name)
    if source not in ("auto", "real", "synthetic"):
        raise unknown_name("source", source, ["auto", "real", "synthetic"])
    if card.source == "synthetic":
        if source == "real":
            raise UsageError(f"dataset '{name}' is synthetic: ask for a real one, or drop the source 'real'")
        return Found(name, None)
    if source == "synthetic":
        if card.twin is None:
            raise UsageError(f"dataset '{name}' has no synthetic twin: use source 'real'")
        return Found(card.twin, None)
    try:
        return Found(name, find_files(card, download))
    except DataError as error:
        if source == "real" or card.twin is None:
            raise
        return Found(card.twin, None, f"NOT REAL DATA: '{card.twin}' stands in for '{name}': {error}")


def load_dataset(
    name: str, *, source: SourceChoice = "auto", split_seed: int = 0, train_share: float = 1.0
) -> SlateDataset:
    """Load a dataset and check it against its card.

    With source `auto`, a real dataset that can't be had is replaced by its synthetic twin, whose name and source the
    returned dataset bears; `find_dataset(name, source).notice` is what the user must then be told.

    Raises:
        UsageError: unknown name or source.
        DataError: the data can't be had, is damaged, or is not what its card says.
    """
    return load_found(find_dataset(name, source), split_seed=split_seed, train_share=train_share)


def load_found(found: Found, *, split_seed: int = 0, train_share: float = 1.0) -> SlateDataset:
    """Load what `find_dataset` has found; with a `train_share` below 1, only that share of the train slates.

    Raises:
        UsageError: a share that is not above 0 and at most 1.
        DataError: see `load_dataset`; or a plug-in's loader fails.
    """
    card = dataset_card(found.name)
    load = card_loader(card)
    try:
        dataset = load(card, found.folder, split_seed)
    except (Exception, SystemExit) as error:
        if isinstance(error, SlateBenchError | OSError | MemoryError) or card.name in builtin_cards():
            raise
        line = one_line(f"{type(error).__name__}: {one_line(error)}")
        raise DataError(
            f"dataset '{card.name}': its loader '{card.loader}' failed: {line}: mend the plug-in"
        ) from error
    if not isinstance(dataset, SlateDataset) or dataset.name != card.name:
        given = f"'{dataset.name}'" if isinstance(dataset, SlateDataset) else type(dataset).__name__
        raise DataError(f"dataset '{card.name}': its loader '{card.loader}' gave {given}: mend the plug-in")
    check_statistics(dataset)
    return with_train_share(dataset, train_share)


def card_loader(card: DatasetCard) -> Loader:
    """The function that the card's `loader` names: `module:function`.

    Raises:
        DataError: there is no such function.
    """
    module, _, attribute = card.loader.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"dataset '{card.name}': the card's loader '{card.loader}' can't be loaded: {error}") from error
