"""The tables of a run as they are read back: whole, or an error of one line. Nothing on disk is taken on trust."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import polars as pl

from ..datasets.errors import DataError, SlateBenchError
from ..metrics.base import Scores, read_scores
from ..metrics.evaluate import mean_over
from ..metrics.registry import diagnostic_name, metric_info
from .records import Run

SLATES = {"request": pl.String, "sample": pl.Int64, "items": pl.List(pl.String)}


def damaged(run: Run, file: str, why: str) -> SlateBenchError:
    """The error for a file of a run that is not what was written."""
    return SlateBenchError(f"{run.folder / file}: {why}: damaged; run the same bench again with --rerun")


def requests_of(run: Run) -> pl.DataFrame:
    """What the run was asked: request, group, prompt, and what else a request holds.

    Raises:
        SlateBenchError: no such file, or a damaged one.
    """
    name, found = "requests.parquet", run.table("requests.parquet")
    for column in ("request", "group", "prompt"):
        if found.schema.get(column) != pl.String or found[column].null_count():
            raise damaged(run, name, f"no text in every row of '{column}'")
    if found["request"].is_duplicated().any():
        raise damaged(run, name, "a request stands there twice")
    return found


def scores_of(run: Run, only: Collection[str] | None = None) -> Scores:
    """What the run scored: per request what its file says, which must be what the record tells; the rest of the record.

    Args:
        run: a finished run.
        only: the metrics per request to read (default: all).

    Raises:
        SlateBenchError: no such file, or a damaged one: a request is missing or stands there twice, ...
    """
    name, requests, metrics = "scores.parquet", _asked(run), run.record.metrics
    per_run = {n: e.mean for n, e in metrics.items() if metric_info(n).scope == "run"}
    per_request = {n for n in metrics.keys() - per_run.keys() if only is None or n in only}
    try:
        rows = None if only is None else pl.col("metric").cast(pl.String).is_in(list(only))
        scores = read_scores(run.table(name, rows), per_run)
    except pl.exceptions.PolarsError as error:
        raise damaged(run, name, str(error).splitlines()[0]) from error
    except DataError as error:
        raise damaged(run, name, str(error)) from error
    if scores.requests != requests:
        raise damaged(run, name, "its requests are not those of requests.parquet")
    for metric in scores.values.keys() ^ per_request:
        raise damaged(run, name, f"{metric} stands only {'there' if metric in scores.values else 'in record.json'}")
    for metric, values in scores.values.items():
        here, told = float(mean_over(mean_over(values.reshape(len(values), -1), 1), 0)), metrics[metric].mean
        if not math.isclose(here, math.nan if told is None else told, rel_tol=1e-6, abs_tol=1e-9) and not (
            math.isnan(here) and told is None
        ):
            raise damaged(run, name, f"the mean of {metric} is {here:.6g}, record.json says {told}")
    return scores


def slates_of(run: Run, requests: Sequence[str] | None = None) -> pl.DataFrame:
    """The slates of the run in original ids: request, sample, items (null = empty slot).

    Args:
        run: a finished run.
        requests: what they must answer, in this order (default: what the run says it was asked).

    Raises:
        SlateBenchError: no such file, or a damaged one: slates of another length, an item twice in one, ...
    """
    name, spec, found = "slates.parquet", run.spec, run.slates
    if dict(found.schema) != SLATES:
        raise damaged(run, name, f"columns {_columns(found.schema)}, expected {_columns(SLATES)}")
    _refuse_other_keys(run, name, found, _asked(run) if requests is None else requests)
    lengths = found["items"].list.len()
    if wrong := found.filter((lengths != spec.k).fill_null(True)).head(1).rows():
        raise damaged(run, name, f"request {wrong[0][0]!r}, sample {wrong[0][1]}: not {spec.k} slots")
    items = found["items"].list.drop_nulls()
    if twice := found.filter(items.list.n_unique() < items.list.len()).head(1).rows():
        raise damaged(run, name, f"request {twice[0][0]!r}, sample {twice[0][1]}: an item is repeated")
    return found


def diagnostics_of(run: Run, requests: Sequence[str]) -> pl.DataFrame:
    """What the model said of each of its slates, a column each, row by row as `slates_of`.

    Raises:
        SlateBenchError: no such file, or a damaged one: a diagnostic that the record does not know, text, ...
    """
    name = "diagnostics.parquet"
    found = run.table(name)
    _refuse_other_keys(run, name, found, requests)
    values = found.drop("request", "sample")
    for column, kind in values.schema.items():
        if not kind.is_numeric() or diagnostic_name(column) not in run.record.metrics:
            raise damaged(run, name, f"'{column}' ({kind}) is no diagnostic of this run")
    told = {metric for metric in run.record.metrics if metric_info(metric).family == "diagnostic"}
    if missing := told - {diagnostic_name(column) for column in values.columns}:
        raise damaged(run, name, f"{min(missing)} stands only in record.json")
    return values


def _asked(run: Run) -> list[str]:
    return requests_of(run)["request"].to_list()


def _refuse_other_keys(run: Run, name: str, found: pl.DataFrame, requests: Sequence[str]) -> None:
    """Every sample of every request once, in their order."""
    samples = run.spec.samples
    expected = [(request, sample) for request in requests for sample in range(samples)]
    if not {"request", "sample"} <= set(found.columns) or found.select("request", "sample").rows() != expected:
        raise damaged(
            run, name, f"not the {len(requests)} requests in their order, each with samples 0 to {samples - 1}"
        )


def _columns(schema: dict[str, pl.DataType]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in schema.items())
