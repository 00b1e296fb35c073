"""The report's cards: what each system is, where it ran and with which versions, and what the dataset is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets.schema import SlateDataset
from ..board import Board, System
from ..command import bench_command
from ..records import Run
from ..tables import short_count


@dataclass(frozen=True)
class ModelCard:
    """A system as its records describe it."""

    label: str
    kind: str
    title: str
    summary: str
    paper: str
    departures: list[str]
    settings: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    command: str | None


def model_cards(board: Board) -> list[ModelCard]:
    """The cards of systems and floors, in the order of the board."""
    return [_model_card(system) for system in board.systems if system.kind != "ceiling"]


def _model_card(system: System) -> ModelCard:
    first = system.runs[0]
    card, spec, fit = first.record.model_card, first.spec, first.record.fit
    settings = [(name, plain(value)) for name, value in {**spec.config, **spec.sampling}.items()]
    facts = [
        ("seeds", ", ".join(map(str, system.seeds))),
        ("samples", f"{spec.samples}{'' if first.record.stochastic else ' (deterministic)'}"),
        ("text encoder", spec.encoder),
        ("conditions", plain(card.get("conditions", []))),
        *((name, short_count(value)) for name, value in first.record.cost.items()),
        *((f"fit: {name}", plain(value)) for name, value in {**fit.get("notes", {}), **fit.get("health", {})}.items()),
        *((f"seconds: {name}", f"{seconds:.3g}") for name, seconds in first.record.timings.items()),
        ("record", "/".join(first.folder.parts[-3:])),
    ]
    return ModelCard(
        system.label, system.kind, str(card.get("title", "")), str(card.get("summary", "")), str(card.get("paper", "")),
        [str(line) for line in card.get("departures", [])], settings, [fact for fact in facts if fact[1]],
        bench_command(system.runs),
    )  # fmt: skip


def plain(value: Any) -> str:
    """A setting or a note as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(part)}" for name, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


# --- machines and versions -------------------------------------------------------------------------------


def runs_of(board: Board) -> list[Run]:
    """Every run that stands on the board."""
    return [run for system in board.systems for run in system.runs]


def machines(board: Board) -> list[tuple[str, list[str]]]:
    """Each machine in words, with the systems that ran there."""
    found: dict[str, list[str]] = {}
    for system in board.systems:
        for run in system.runs:
            if (machine := run.record.machine) is None:
                continue
            words = (
                f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads, {machine.memory_gib:.0f} GiB, "
                f"{machine.gpu or 'no GPU'}, {machine.system}, Python {machine.python}"
            )
            here = found.setdefault(words, [])
            if system.label not in here:
                here.append(system.label)
    return list(found.items())


def packages(board: Board) -> list[tuple[str, str]]:
    """Each package with its version, or its versions with the systems that ran with each."""
    found: dict[str, dict[str, list[str]]] = {}
    for system in board.systems:
        for run in system.runs:
            for name, version in run.record.packages.items():
                labels = found.setdefault(name, {}).setdefault(version, [])
                if system.label not in labels:
                    labels.append(system.label)
    return [
        (name, next(iter(versions)) if len(versions) == 1 else
         "; ".join(f"{version} ({', '.join(labels)})" for version, labels in versions.items()))
        for name, versions in sorted(found.items())
    ]  # fmt: skip


def versions(board: Board) -> list[tuple[str, str]]:
    """What may change a number: versions of the parts, commits and dates."""
    runs = runs_of(board)
    first = runs[0].spec

    def several(values: Sequence[str | None]) -> str:
        return ", ".join(dict.fromkeys(value for value in values if value)) or "unknown"

    dates = sorted(run.record.created for run in runs if run.record.created)
    return [
        ("metrics", first.versions.metrics),
        ("evaluation embedding", first.versions.evaluation),
        ("features", several([run.spec.versions.features for run in runs])),
        ("BERTScore", several([_bertscore(run) for run in runs])),
        ("commit", several([run.record.commit for run in runs])),
        ("runs", f"{len(runs)}, made {dates[0]} to {dates[-1]}" if dates else str(len(runs))),
    ]  # fmt: skip


def _bertscore(run: Run) -> str | None:
    found = run.record.bertscore
    return f"{found['model']} layer {found['layer']}, {found.get('library', '')}" if found else None


# --- data ------------------------------------------------------------------------------------------------


def data_card(board: Board, dataset: SlateDataset | None) -> list[tuple[str, list[str]]]:
    """What the dataset is, as named lines; without the dataset only what the records know."""
    facts = [
        ("name", [f"{board.dataset} ({board.source})"]),
        ("fingerprint", [board.fingerprint]),
        ("measured part", [f"{board.part}: {len(board.groups)} requests in {len(set(board.groups))} groups"]),
    ]
    if dataset is None:
        return facts
    card = dataset.card
    parts = ", ".join(f"{name} {len(part)}" for name, part in
                      (("train", dataset.train), ("valid", dataset.valid), ("test", dataset.test)))  # fmt: skip
    facts += [
        ("title", [card.title]),
        ("task", [card.task]),
        ("sizes", [f"{len(dataset.catalog)} items; requests: {parts}"]),
        ("split", [card.split]),
        ("slate length", [str(card.slate_length)]),
        ("item text", card.text_fields),
        ("evaluation embedding", [card.evaluation_embedding]),
        ("licence", [card.licence]),
        ("citation", [card.citation]),
        ("homepage", [card.homepage]),
        ("instructions", [card.instructions] if card.instructions else []),
        ("quirks", card.quirks),
        ("files", [f"{file.path}, {file.bytes:,} bytes, sha256 {file.sha256}" for file in card.files]),
    ]
    return [(name, lines) for name, lines in facts if lines]
