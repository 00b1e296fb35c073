"""Which data a name means now, and which runs are of today: whoever takes a run by its name asks here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets.errors import DataError, SlateBenchError, UsageError
from ..datasets.files.finding import Found
from ..datasets.identity import Identity, identity
from ..datasets.registry import dataset_card, dataset_names, find_dataset
from ..datasets.vectors.text_encoder import DEFAULT_ENCODER
from ..leaderboards.board import kind_of
from ..leaderboards.records import Run, datasets_with_runs
from ..leaderboards.schema import RunSpec
from ..metrics.registry import METRICS_VERSION
from ..models.registry import code_version, model_class, model_names, parse_model


@dataclass
class Today:
    """What the name of a dataset means now.

    Attributes:
        dataset: the data's own name: the twin's, where it stands in.
        found: the data; None where they are not here, and only runs on them are.
        notices: what a person must be told; what can't be checked is added as it shows.
    """

    dataset: str
    found: Found | None
    notices: list[str] = field(default_factory=list)
    _identities: dict[tuple[int, float], Identity | SlateBenchError] = field(default_factory=dict)

    def stale(self, run: Run) -> str | None:
        """Why a run is not of today, so that its figures may not stand beside those of a new one; None if it is.

        What can't be told (the data or the model is not here) is no reason, but a notice.
        """
        spec, versions = run.spec, run.spec.versions
        now, code = self._identity(spec), self._code(spec.model)
        pairs = [("the metrics", versions.metrics, METRICS_VERSION), ("the model", versions.model, code)]
        if isinstance(now, SlateBenchError):
            return f"of data that can't be read now ({now})"
        if now is not None:
            if spec.fingerprint != now.fingerprint:
                return f"of other data than today's (fingerprint {spec.fingerprint}, now {now.fingerprint})"
            pairs.append(("the evaluation embedding", versions.evaluation, now.evaluation))
            if kind_of(spec.model) == "system" and spec.encoder == DEFAULT_ENCODER and spec.item_vectors is None:
                pairs.append(("the features", versions.features, now.features))
        for what, then, today in pairs:
            if today is not None and then != today:
                return f"of another version of {what} than today's ({then}, now {today})"
        return None

    def failed_since(self, run: Run, runs: Sequence[Run]) -> Run | None:
        """The newest run of the same system that failed after `run`, on today's data and code."""
        later = [
            other
            for other in runs
            if other.record.state not in ("done", "skipped")
            and (other.record.label, other.spec.asked) == (run.record.label, run.spec.asked)
            and other.record.created > run.record.created
            and self.stale(other) is None
        ]
        return max(later, key=lambda other: other.record.created, default=None)

    def _identity(self, spec: RunSpec) -> Identity | SlateBenchError | None:
        key = (spec.split_seed, spec.train_share)
        if self.found is None:
            return None
        if key not in self._identities:
            try:
                self._identities[key] = identity(self.found, split_seed=key[0], train_share=key[1])
            except SlateBenchError as error:
                self._identities[key] = error
        return self._identities[key]

    def _code(self, model: str) -> str | None:
        """The version of a model's code now; None where there is no such model here."""
        if kind_of(model) == "ceiling":
            return "1"
        name = parse_model(model)[0]
        if name not in model_names():
            notice = f"not checked whether the runs of {name} are of its newest version: no such model is here"
            self.notices += [notice] if notice not in self.notices else []
            return None
        try:
            return code_version(model_class(name))
        except Exception as error:  # a plug-in may raise anything
            return f"none that can be loaded: {error}"


def today(name: str, runs: Path, source: str = "auto", *, download: bool = False) -> Today:
    """What the name of a dataset means now: the real data where they are here, or runs on them are; else the twin.

    Args:
        name: of a dataset.
        runs: folder of the records.
        source: `auto`, `real` or `synthetic`.
        download: fetch real data where neither they nor runs on them are here.

    Raises:
        UsageError: unknown name or source, or no synthetic twin.
        DataError: real data was asked for, or has no twin, and neither it nor a run on it is here.
    """
    there = datasets_with_runs(runs)
    have_runs = source != "synthetic" and name in there
    if have_runs and name not in dataset_names():
        return Today(name, None, [f"{_unchecked(name)}: no such dataset is here"])
    try:
        found = find_dataset(name, source, download=download and not have_runs)  # type: ignore[arg-type]
    except DataError as error:
        if not have_runs:
            raise
        return Today(name, None, [f"{_unchecked(name)}: {error}"])
    if found.notice is None or not have_runs:
        return Today(found.name, found, [found.notice] if found.notice else [])
    apart = f"; runs on its twin stand apart: --dataset {found.name}" if found.name in there else ""
    return Today(name, None, [f"{_unchecked(name)}: the data is not here{apart}"])


def today_of(run: Run) -> Today:
    """What the dataset of a run means now where the run itself was named: no other data stand in for it."""
    name = run.spec.dataset
    try:
        return Today(name, find_dataset(name, "real" if run.spec.source == "real" else "auto", download=False))
    except SlateBenchError as error:
        return Today(name, None, [f"{_unchecked(name)}: {error}"])


def told_of(run: Run) -> list[str]:
    """What a person must be told of a run that was named by its folder: a twin's, not of today, not the newest, ..."""
    now = today_of(run)
    stale = now.stale(run)
    return once(run.record.notice, *now.notices, stale and f"the run in {run.folder} is {stale}")


def once(*notices: str | None) -> list[str]:
    """The notices, each once; that a twin stands in for real data is told once, whatever reason was found when.

    >>> once(None, "NOT REAL DATA: 'a' stands in for 'b': not here", "NOT REAL DATA: 'a' stands in for 'b': no network")
    ["NOT REAL DATA: 'a' stands in for 'b': not here"]
    """
    first: dict[str, str] = {}
    for notice in filter(None, notices):
        first.setdefault(notice.split("': ")[0] if notice.startswith("NOT REAL DATA") else notice, notice)
    return list(first.values())


def _unchecked(name: str) -> str:
    return f"not checked whether the runs on '{name}' are of today's data"


def no_runs(what: str, now: Today, runs: Path) -> UsageError:
    """The error where there is no run of what was asked for; says what the name means, and where there are runs."""
    there = datasets_with_runs(runs)
    twin = dataset_card(now.dataset).twin if now.dataset in dataset_names() else None
    of_twin = f". Runs on its synthetic twin are no runs on it: --dataset {twin}" if twin in there else ""
    means = "".join(f"; {notice}" for notice in now.notices)
    return UsageError(f"{what}{of_twin}. Datasets with runs: {', '.join(there) or 'none'}{means}")
