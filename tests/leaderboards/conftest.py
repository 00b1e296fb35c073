"""Run folders with known scores, written as a bench would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from slatebench.leaderboards.records import Run, folder_in_the_making, read_run, run_folder, write_record
from slatebench.leaderboards.schema import Estimate, Record, RunSpec, Versions

MakeRun = Callable[..., Run]


def spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "dataset": "toy", "source": "synthetic", "fingerprint": "f00d", "model": "dense", "config": {}, "sampling": {},
        "seed": 0, "k": 10, "samples": 1, "budget": "smoke", "encoder": "minilm", "cutoffs": [10, 5],
        "versions": Versions(model="1", metrics="1", features="1", evaluation="1"),
    }  # fmt: skip
    return RunSpec(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., RunSpec]:
    return spec


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(values: dict[str, np.ndarray] | None = None, *, state: str = "done", groups: list[str] | None = None,
             record: dict[str, Any] | None = None, **changes: Any) -> Run:  # fmt: skip
        """A run whose metrics have these values per request ([P] or [P, S])."""
        values = values or {"ndcg_sim_at_10": np.array([0.2, 0.4, 0.6])}
        made = spec(**changes)
        final = run_folder(tmp_path / "runs", made)
        rows = []
        for name, table in values.items():
            table = np.asarray(table, float)
            table = table[:, None] if table.ndim == 1 else table
            for p, s in np.ndindex(*table.shape):
                rows.append((f"r{p}", s, name, None if np.isnan(table[p, s]) else table[p, s]))
        P = len(next(iter(values.values())))
        metrics = {name: Estimate(mean=float(np.nanmean(table)), n=P) for name, table in values.items()}
        facts = {"created": "2026-01-01T00:00:00+00:00", "label": made.model, "metrics": metrics, **(record or {})}
        final.parent.mkdir(parents=True, exist_ok=True)
        with folder_in_the_making(final) as folder:
            schema = {"request": pl.Categorical, "sample": pl.Int32, "metric": pl.Categorical, "value": pl.Float64}
            pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "scores.parquet")
            ids = [f"r{p}" for p in range(P)]
            pl.DataFrame(
                {"request": ids, "group": groups or ids, "prompt": [f"prompt {p}" for p in range(P)]}
            ).write_parquet(folder / "requests.parquet")
            slates = [[f"{made.model} item {i}" for i in range(3)] for _ in ids]
            pl.DataFrame({"request": ids, "sample": [0] * P, "items": slates}).write_parquet(folder / "slates.parquet")
            write_record(folder, Record(spec=made, state=state, **facts))  # type: ignore[arg-type]
        return read_run(final)

    return make
