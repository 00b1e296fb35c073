"""Dataset names, cards and loading: real data where it can be had, else the synthetic twin, and then loudly."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Literal

from .build import Loader, with_train_share
from .card import DatasetCard, builtin_cards
from .errors import DataError, UsageError, unknown_name
from .finding import Found, find_files
from .schema import SlateDataset
from .verify import check_statistics

ENTRY_POINTS = "slatebench.datasets"

SourceChoice = Literal["auto", "real", "synthetic"]


def dataset_names() -> list[str]:
    """Names of all datasets: built in, then plug-ins (entry points of group `slatebench.datasets`).

    Raises:
        DataError: a plug-in takes a name that is taken.
    """
    names = list(builtin_cards())
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in names:
            raise DataError(
                f"plug-in {point.value} wants the dataset name '{point.name}', which is taken: uninstall it"
            )
        names.append(point.name)
    return names


def dataset_card(name: str) -> DatasetCard:
    """The card registered under `name`.

    A plug-in's entry point names a `DatasetCard` or a function without arguments that returns one.

    Raises:
        UsageError: unknown name; says the nearest.
        DataError: a plug-in can't be loaded, or is no card of that name, or two bring one.
    """
    if name in builtin_cards():
        return builtin_cards()[name]
    points = list(entry_points(group=ENTRY_POINTS, name=name))
    if len(points) > 1:
        raise DataError(f"{points[0].value} and {points[1].value} both bring a dataset '{name}': uninstall one")
    if points:
        return _plugin_card(points[0])
    raise unknown_name("dataset", name, dataset_names())


def _plugin_card(point: EntryPoint) -> DatasetCard:
    try:
        card = point.load()
        card = card if isinstance(card, DatasetCard) else card()
    except Exception as error:  # a plug-in may raise anything
        raise DataError(
            f"plug-in {point.value} of dataset '{point.name}' failed: {error!r}: mend or remove it"
        ) from error
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
    """
    card = dataset_card(found.name)
    dataset = card_loader(card)(card, found.folder, split_seed)
    check_statistics(dataset)
    return with_train_share(dataset, train_share)


def card_loader(card: DatasetCard) -> Loader:
    """The function that the card's `loader` names: `module:function` in this package, or of a plug-in.

    Raises:
        DataError: there is no such function.
    """
    module, _, attribute = card.loader.partition(":")
    try:
        ours = "." not in module and find_spec(f".{module}", __package__) is not None
        return getattr(import_module(f".{module}" if ours else module, __package__), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"dataset '{card.name}': the card's loader '{card.loader}' can't be loaded: {error}") from error
