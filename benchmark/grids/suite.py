"""Suites: grids of models x datasets x seeds x settings, written in a TOML file.

`benchmark/grids/suites/*.toml` come with the package (`card`, `histories`, `everything`); a path names one's own.
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ...datasets.errors import UsageError, one_line, unknown_name
from ...datasets.files.reading import named_path
from ...datasets.registry import dataset_names
from ...datasets.schema import Repeats
from ...leaderboards.schema import Budget
from ...models.registry import model_class, model_names, parse_model
from ..cells.cell import CEILING, Cell, cell_of, wrong_value
from ..limits import check_seeds
from .bench import BenchResult, bench_cells
from .listening import Listener
from .schedule import Shard

FOLDER = Path(__file__).parent / "suites"
ALL = "*"  # every registered model, or every dataset
ALL_PRESETS = "*:*"  # every preset of every registered model


def _each_once(seeds: list[int]) -> list[int]:
    check_seeds(seeds, "seeds")
    return seeds


class Axes(BaseModel):
    """What both a suite and its blocks of systems may set; a block's value goes before the suite's."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    datasets: list[str] | None = None
    seeds: Annotated[list[int], AfterValidator(_each_once)] | None = None
    part: Literal["test", "valid"] | None = None
    budget: Budget | None = None
    source: Literal["auto", "real", "synthetic"] | None = None
    split_seed: int | None = None
    train_share: float | None = None
    k: int | None = None
    samples: int | None = None
    encoder: str | None = None
    item_vectors: str | None = None
    repeats: Repeats | None = None
    requests: Literal["all"] | int | None = None
    refit: bool | None = None
    bertscore: str | None = None
    timeout: float | None = None  # seconds, for each cell
    memory_gib: float | None = None  # for each cell


class Systems(Axes):
    """Models (addresses, "*" or "*:*") that are run with each of `settings`."""

    models: list[str] = Field(min_length=1)
    settings: list[dict[str, JsonValue]] = Field(default=[{}], min_length=1)  # what --set sets: one system for each


class Suite(Axes):
    """A grid."""

    title: str = ""
    systems: list[Systems] = Field(min_length=1)


def suite_names() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_suite(name: str) -> Suite:
    """The suite of that name, or of that file.

    Raises:
        UsageError: no such suite, or a file that is no suite; says what is wrong with it.
    """
    path = FOLDER / f"{name}.toml" if name in suite_names() else named_path(name)
    if path.suffix != ".toml":
        raise unknown_name("suite (or path of a .toml file)", name, suite_names())
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return Suite(**content)
    except UsageError as error:
        raise UsageError(f"suite {path}: {error}") from error
    except FileNotFoundError as error:
        raise UsageError(f"suite {path}: no such file; suites that come along: {', '.join(suite_names())}") from error
    except OSError as error:
        raise UsageError(f"suite {path}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise UsageError(f"suite {path}: {_wrong(error)}") from error
        raise UsageError(f"suite {path}: can't be read as TOML: {one_line(error, 200)}") from error


def _wrong(error: ValidationError) -> str:
    """What is wrong with a suite; a key that nobody knows gets the nearest that is known."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return wrong_value(error)
    *path, key = (str(part) for part in first["loc"])
    known = Systems if path and path[0] == "systems" else Suite
    return str(unknown_name(f"key of {'.'.join(path) or 'a suite'}", key, known.model_fields))


def suite_cells(suite: Suite, **instead: Any) -> list[Cell]:
    """The cells of a suite, dataset by dataset; no name is left unchecked, and nothing heavy imported for it.

    Args:
        suite: what `read_suite` gave.
        instead: values of Axes that go before all that the suite says (None = as the suite says).

    Raises:
        UsageError: unknown models or datasets, or no dataset named.
    """
    instead = {name: value for name, value in instead.items() if value is not None}
    found = []
    for block in suite.systems:
        axes = Axes(**{name: _first(instead.get(name), getattr(block, name), getattr(suite, name))
                       for name in Axes.model_fields})  # fmt: skip
        if not axes.datasets:
            raise UsageError(f"suite {suite.title}: name datasets, in the file or with --dataset")
        own = axes.model_dump(exclude={"datasets", "seeds"}, exclude_none=True)
        models, datasets = _models(block.models), _datasets(axes.datasets)
        for dataset, model, values, seed in itertools.product(datasets, models, block.settings, axes.seeds or [0]):
            found.append(cell_of(dataset=dataset, model=model, seed=seed, overrides=values, **own))
    place = {dataset: i for i, dataset in enumerate(dict.fromkeys(cell.dataset for cell in found))}
    return sorted(found, key=lambda cell: place[cell.dataset])


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _models(addresses: list[str]) -> list[str]:
    names, found = model_names(), []
    for address in addresses:
        if address == ALL:
            found += names
        elif address == ALL_PRESETS:
            found += [f"{name}:{preset}" for name in names for preset in model_class(name).PRESETS]
        else:
            name, _ = parse_model(address)
            if name not in (*names, CEILING):
                raise unknown_name("model", name, names)
            found.append(address)
    return found


def _datasets(wanted: list[str]) -> list[str]:
    names, found = dataset_names(), []
    for name in wanted:
        if name != ALL and name not in names:
            raise unknown_name("dataset", name, names)
        found += names if name == ALL else [name]
    return found


def bench_suite(
    name: str,
    *,
    datasets: list[str] | None = None,
    seeds: list[int] | None = None,
    part: str | None = None,
    budget: str | None = None,
    source: str | None = None,
    timeout: float | None = None,
    memory_gib: float | None = None,
    jobs: int = 1,
    shard: Shard = (1, 1),
    runs: Path | str | None = None,
    rerun: bool = False,
    latency: bool = True,
    mlflow: bool = True,
    listener: Listener | None = None,
    debug: bool = False,
) -> BenchResult:
    """Run a suite; finished cells are used again, so the same call goes on where it was stopped.

    A dataset that can't be had is left out with a notice, as long as another one is there.

    Args:
        name: of a suite that comes along (`card`, `histories`, `everything`), or the path of a TOML file.
        datasets, seeds, part, budget, source, timeout, memory_gib: in place of what the suite says.
        jobs: cells at a time, each in a process of its own; the threads are divided among them.
        shard: (i, n) runs part i of n: several machines share the work and the runs folder.
        runs, rerun, latency, mlflow, listener, debug: as in `bench`.

    Raises:
        UsageError: no such suite, or an unknown name or a wrong value in it, before anything is run.
        DataError: none of its data can be had.
    """
    cells = suite_cells(read_suite(name), datasets=datasets, seeds=seeds, part=part, budget=budget, source=source,
                        timeout=timeout, memory_gib=memory_gib)  # fmt: skip
    return bench_cells(cells, runs=runs, rerun=rerun, latency=latency, mlflow=mlflow, jobs=jobs, shard=shard,
                       leave_out=True, listener=listener, debug=debug)  # fmt: skip


def parse_shard(text: str) -> Shard:
    """Part i of n from `i/n`.

    >>> parse_shard("2/3")
    (2, 3)

    Raises:
        UsageError: anything else.
    """
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise UsageError(f"--shard {text}: write part/parts, e.g. 1/3, 2/3 and 3/3 on three machines")
    return int(i), int(n)
