"""Pages of the documentation that are made from the code: models, datasets, metrics, command line.

`docs/hooks.py` adds them to the site when it is built, so that they can't differ from what the code does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..datasets.card import DatasetCard, builtin_cards
from ..leaderboards.tables import table
from ..metrics.base import Metric
from ..metrics.registry import METRICS
from ..models.describe import Row, describe
from ..models.registry import BUILTIN, model_class


def generated_pages(docs: Path) -> dict[str, str]:
    """Markdown by path in the site.

    Args:
        docs: folder of the pages written by hand; `models/<name>.md` there becomes the first part of a model's page.
    """
    pages = {"models/index.md": _models(), "datasets/index.md": _datasets(), "metrics.md": _metrics(), "cli.md": _cli()}
    for path, source in (("index.md", "README.md"), ("add-your-own.md", "CONTRIBUTING.md")):
        text = (docs.parent / source).read_text(encoding="utf-8")
        pages[path] = text.replace("(CONTRIBUTING.md)", "(add-your-own.md)").replace("(docs/", "(")
    for name in BUILTIN:
        by_hand = docs / "models" / f"{name}.md"
        pages[f"models/{name}.md"] = _model(name, by_hand.read_text(encoding="utf-8") if by_hand.exists() else "")
    for name, card in builtin_cards().items():
        pages[f"datasets/{name}.md"] = _dataset(card)
    return pages


# --- models ---------------------------------------------------------------------------------------------


def _models() -> str:
    rows = [(f"[{name}]({name}.md)", builtin.title, ", ".join(sorted(model_class(name).PRESETS)) or "–")
            for name, builtin in BUILTIN.items()]  # fmt: skip
    return "\n".join(
        [
            "# Models",
            "",
            "An address is a name with presets: `dmsg`, `dmsg:prior`, `higr:parallel+prior`. `slatebench models show "
            "ADDRESS` prints what a model would run with and where each value comes from.",
            "",
            *table(("model", "what", "presets"), rows),
        ]
    )


def _model(name: str, by_hand: str) -> str:
    cls = model_class(name)
    card = cls.card
    title = card.title if card.title.lower().startswith(name) else f"{name}: {card.title}"
    lines = [f"# {title}", "", card.summary, "", f"*Source: {card.paper}.*", "", by_hand.strip(), ""]
    if card.departures:
        lines += ["## Departures", "", *(f"- {text}" for text in card.departures), ""]
    if cls.PRESETS:
        values = {preset: ", ".join(f"`{k}={v}`" for k, v in fields.items()) for preset, fields in cls.PRESETS.items()}
        lines += ["## Presets", "", *table(("preset", "sets"), [(f"`{name}:{p}`", v) for p, v in values.items()]), ""]
    rows = describe(name)
    for kind, title in (("config", "Config: a change needs a new fit"), ("sampling", "Sampling: changes without one")):
        mine = [row for row in rows if row.kind == kind]
        if mine:
            lines += [f"## {title}", "", *_settings(name, mine), ""]
    return "\n".join(lines)


def _settings(name: str, rows: list[Row]) -> list[str]:
    """Defaults, and what the budgets make of them."""
    by_budget = {b: {row.field: row.value for row in describe(name, b)} for b in ("smoke", "standard", "paper")}

    def value(row: Row) -> str:
        values = [by_budget[budget][row.field] for budget in by_budget]
        return f"`{values[0]}`" if values.count(values[0]) == 3 else " / ".join(f"`{value}`" for value in values)

    return table(
        ("setting", "smoke / standard / paper", "allowed", "what"),
        [(f"`{row.field}`", value(row), row.type, row.doc) for row in rows],
    )


# --- datasets -------------------------------------------------------------------------------------------


def _datasets() -> str:
    rows = [(f"[{card.name}]({card.name}.md)", card.title, card.source, card.licence)
            for card in builtin_cards().values()]  # fmt: skip
    own = (
        "Data of your own: [prompt -> slate](../add-your-own.md#add-a-dataset), [a log of who had what](../own-log.md)."
    )
    return "\n".join(["# Datasets", "", *table(("dataset", "what", "source", "licence"), rows), "", own])


def _dataset(card: DatasetCard) -> str:
    facts = [
        ("task", card.task), ("source", card.source), ("licence", card.licence), ("citation", card.citation),
        ("homepage", card.homepage), ("slate length", str(card.slate_length)),
        ("cut-offs", ", ".join(map(str, card.cutoffs))), ("text of an item", ", ".join(card.text_fields)),
        ("item vectors", card.item_vectors), ("evaluation embedding", card.evaluation_embedding),
        ("split", card.split), ("twin", card.twin or "–"),
    ]  # fmt: skip
    if card.superseded_by:
        facts.append(("superseded by", card.superseded_by))
    lines = [f"# {card.name}: {card.title}", "", *table(("", ""), facts), ""]
    if card.statistics:
        counts = card.statistics.model_dump(exclude={"first_item", "middle_item", "last_item", "first_request",
                                                     "last_request"})  # fmt: skip
        lines += ["## Counts that loading re-checks", ""]
        lines += table(("", ""), [(key.replace("_", " "), f"{v:,}" if isinstance(v, int) else v)
                                  for key, v in counts.items()])  # fmt: skip
        lines += [""]
    if card.quirks:
        lines += ["## Quirks", "", *(f"- {text}" for text in card.quirks), ""]
    if card.instructions:
        lines += ["## How to get the files", "", card.instructions, ""]
    if card.files:
        rows = [(f"`{file.path}`", f"{file.bytes:,}", f"`{file.sha256[:16]}…`") for file in card.files]
        lines += ["## Files", "", *table(("file", "bytes", "sha256"), rows), ""]
    return "\n".join(lines)


# --- metrics and commands -------------------------------------------------------------------------------


def _metrics() -> str:
    lines = ["# Metrics", "", "`{k}` is a cut-off, `{m}` a number of samples. A null is left out of means.", ""]
    for metric in METRICS:
        lines += [f"## {metric.name}", "", metric.summary, ""]
        if metric.formula:
            lines += ["```text", metric.formula, "```", ""]
        lines += [f"{_nature(metric)}. *Source: {metric.source}.*", ""]
    return "\n".join(lines)


def _nature(metric: Metric) -> str:
    better = {True: "Higher is better", False: "Lower is better", None: "Neither direction is better by itself"}
    low, high = (
        ("–∞" if metric.low is None else f"{metric.low:g}"),
        ("∞" if metric.high is None else f"{metric.high:g}"),
    )
    parts = [better[metric.higher_is_better], f"range {low} to {high}", f"one value per {metric.scope}"]
    return "; ".join([*parts, *([f"null: {metric.null}"] if metric.null else [])])


def _cli() -> str:
    from typer.main import get_command

    from .cli.app import app

    lines = ["# Command line", ""]

    def walk(command: Any, path: str, parent: Any) -> None:  # typer brings a click of its own
        context = command.context_class(command, info_name=path.split()[-1], parent=parent, max_content_width=100)
        lines.extend([f"{'#' * (len(path.split()) + 1)} {path}", "", "```text", command.get_help(context), "```", ""])
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}", context)

    walk(get_command(app), "slatebench", None)
    return "\n".join(lines)
