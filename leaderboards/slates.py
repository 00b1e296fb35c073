"""Slates on disk, in original ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ..datasets.errors import FaultySlates
from ..datasets.files.table import write_table
from ..datasets.schema import EMPTY, Catalog, Slates
from .checked import damaged, diagnostics_of, slates_of
from .records import Run


def write_slates(folder: Path, slates: Slates, requests: pl.DataFrame, catalog: Catalog) -> None:
    """slates.parquet in original ids (request, sample, items; null = empty slot) and diagnostics.parquet."""
    P, S, K = slates.items.shape
    if taken := sorted({"request", "sample"} & slates.diagnostics.keys()):
        raise FaultySlates(f"a diagnostic can't be called '{taken[0]}': that names the slate it belongs to")
    keys = {"request": np.repeat(requests["request"].to_numpy(), S), "sample": np.tile(np.arange(S), P)}
    ids = pl.Series([*catalog.ids, None], dtype=pl.String)  # index -1 -> null
    flat = ids.gather(np.where(slates.items == EMPTY, len(catalog), slates.items).reshape(-1))
    items = flat.reshape((P * S, K)).arr.to_list()
    write_table(pl.DataFrame(keys | {"items": items}), folder / "slates.parquet")
    diagnostics = {name: values.reshape(-1) for name, values in slates.diagnostics.items()}
    write_table(pl.DataFrame(keys | diagnostics), folder / "diagnostics.parquet")


def read_slates(run: Run, requests: pl.DataFrame, catalog: Catalog) -> Slates:
    """What `write_slates` wrote, through the same border as what a model emits.

    Raises:
        SlateBenchError: the slates are damaged, for other requests, or break the contract.
    """
    spec = run.spec
    shape = (requests.height, spec.samples)
    items = slates_of(run, requests["request"].to_list())["items"].explode()
    index = items.replace_strict(list(catalog.index), range(len(catalog)), default=None, return_dtype=pl.Int64)
    if foreign := items.filter(items.is_not_null() & index.is_null()).to_list():
        raise damaged(run, "slates.parquet", f"the catalogue does not know '{foreign[0]}'")
    diagnostics = diagnostics_of(run, requests["request"].to_list())
    slates = Slates(index.fill_null(EMPTY).to_numpy().astype(np.int64).reshape(*shape, spec.k),
                    {name: diagnostics[name].to_numpy().reshape(shape) for name in diagnostics.columns})  # fmt: skip
    try:
        slates.check(requests, len(catalog), spec.k, spec.samples)
    except FaultySlates as error:
        raise damaged(run, "slates.parquet", str(error)) from error
    return slates
