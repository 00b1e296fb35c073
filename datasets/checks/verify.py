"""Is the data what its card says? A cheap check at every load, a complete one on demand."""

from __future__ import annotations

from dataclasses import dataclass

from ..card import DatasetCard
from ..errors import DataError
from ..frozen import differences


@dataclass(frozen=True)
class Verification:
    """What `verify` found: what holds, and the problems (one line each); no problem means the dataset is its card."""

    name: str
    checked: list[str]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(name: str) -> Verification:
    """Re-check a dataset against its card: files present, size, sha256 of the content, statistics, fingerprint.

    Raises:
        UsageError: unknown name.
    """
    from ..files.finding import find_files
    from ..files.reading import read_card_file
    from ..registry import card_loader, dataset_card  # the registry checks statistics by this module

    card: DatasetCard = dataset_card(name)
    checked: list[str] = []
    problems: list[str] = []
    try:
        folder = find_files(card) if card.source == "real" else None
    except DataError as error:
        return Verification(name, checked, [str(error)])
    for file in card.files if folder else []:
        try:
            read_card_file(folder, file)  # type: ignore[arg-type]
            checked.append(f"{file.path}: {file.bytes:,} bytes, sha256 {file.sha256[:12]}")
        except DataError as error:
            problems.append(str(error))
    if problems:
        return Verification(name, checked, problems)
    try:
        dataset = card_loader(card)(card, folder, 0)
        problems = differences(dataset, fingerprint=True)
    except DataError as error:
        return Verification(name, checked, [str(error)])
    if not problems:
        frozen = "as the card says" if card.statistics else "the card freezes no statistics"
        checked.append(f"{len(dataset.catalog):,} items, fingerprint {dataset.fingerprint}: {frozen}")
    return Verification(name, checked, problems)
