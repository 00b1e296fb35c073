"""Verdicts on disk: written whole, read in their present form only, joined page by page."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ...datasets.errors import SlateBenchError
from ...datasets.output import to_json
from ...leaderboards.records import read_run, write_text
from .claim import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What came of a claim on a dataset; `reason`: why it was not run, or why it has no interval."""

    claim: str
    dataset: str
    verdict: Verdict
    reason: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    beside: list[dict[str, Any]] = field(default_factory=list)  # statistic, value, low, high; or reason
    rule: str = ""
    statistic: str = ""
    budget: str | None = None
    seeds: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    machine: dict[str, Any] | None = None
    created: str = ""
    notices: list[str] = field(default_factory=list)

    @property
    def verdict_line(self) -> str:
        """Verdict, and what a reader must know of it."""
        barely = " (budget smoke: models barely trained)" if self.budget == "smoke" and self.value is not None else ""
        return self.verdict + barely + (f": {self.reason}" if self.reason else "")


# --- results on disk -----------------------------------------------------------------------------------


def write_result(result: Result, folder: Path) -> None:
    """Keep a result; one that was not run never takes the place of one that was."""
    path = folder / ".claims" / result.dataset / f"{result.claim}.json"
    if result.verdict == "not run" and path.exists() and _read(path).verdict != "not run":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(asdict(result), indent=1))


def read_results(folder: Path) -> list[Result]:
    """All results that were kept, by dataset and claim; one whose runs are not of today says so as its reason."""
    results = [_read(path) for path in sorted((folder / ".claims").glob("*/*.json"))]
    return [replace(one, reason=why) if (why := _outdated(one, folder)) else one for one in results]


def _outdated(result: Result, folder: Path) -> str | None:
    """Why the runs behind a result are not of today; None if they are, or are gone."""
    from ..today import today_of

    for path in result.runs:
        with contextlib.suppress(SlateBenchError):
            run = read_run(folder / path)
            if why := today_of(run).stale(run):
                return f"{run.record.label} is {why}" + (f"; {result.reason}" if result.reason else "")
    return None


def merge_published(path: Path, results: Sequence[Result]) -> list[Result]:
    """Results together with those published in `path`, which holds them all afterwards; of two, what ran last stays.

    One of budget smoke never takes the place of another. So several machines, or one whose runs are gone, publish to
    one page.
    """

    def weight(one: Result) -> tuple[bool, bool, str]:
        return one.verdict != "not run", one.budget != "smoke", one.created

    by_name: dict[tuple[str, str], Result] = {}
    for one in [*(_read_many(path) if path.exists() else []), *results]:
        other = by_name.setdefault((one.dataset, one.claim), one)
        if weight(one) >= weight(other):
            by_name[one.dataset, one.claim] = one
    merged = [by_name[name] for name in sorted(by_name)]
    write_text(path, to_json([asdict(one) for one in merged], indent=1))
    return merged


def _read(path: Path) -> Result:
    return _parse(path, "delete it and run the claim again", lambda content: Result(**content))


def _read_many(path: Path) -> list[Result]:
    return _parse(path, "restore or delete it", lambda content: [Result(**one) for one in content])


def _parse(path: Path, mend: str, make: Callable[[Any], T]) -> T:
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise SlateBenchError(f"{path}: damaged results ({error}); {mend}") from error
