"""`slatebench bench`: cells, their progress, then the board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...datasets.errors import UsageError
from ...datasets.output import say
from .options import (
    DebugOption,
    EncoderOption,
    ItemVectorsOption,
    JsonOption,
    RefitOption,
    RepeatsOption,
    RequestsOption,
    RunsOption,
    SetOption,
    TrainShareOption,
    parse_requests,
    parse_seeds,
    parse_set,
)
from .printing import runs_json


def bench(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models, e.g. bm25 or dense:sampled (`slatebench models list`).")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option("--dataset", "-d", help="Dataset; several times.")] = None,
    suite: Annotated[str | None, typer.Option(help="A grid in place of models: card, everything, or a .toml.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, e.g. 0,1,2 (default 0). A deterministic model runs once.")
    ] = None,
    budget: Annotated[
        Literal["smoke", "standard", "paper"] | None,
        typer.Option(help="smoke: seconds, standard (default): minutes, paper: for a GPU."),
    ] = None,
    part: Annotated[
        Literal["test", "valid"] | None, typer.Option(help="test (default); valid while something is being chosen.")
    ] = None,
    source: Annotated[
        Literal["auto", "real", "synthetic"] | None, typer.Option(help="auto (default): real data, else the twin.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Another split: another fingerprint, another board.")] = 0,
    train_share: TrainShareOption = 1.0,
    k: Annotated[int | None, typer.Option("-k", help="Slots of a slate (default: the dataset's).")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples per request of a stochastic model.")] = None,
    encoder: EncoderOption = None,
    item_vectors: ItemVectorsOption = None,
    repeats: RepeatsOption = "excluded",
    requests: RequestsOption = None,
    refit: RefitOption = False,
    bertscore: Annotated[str | None, typer.Option(help="BERTScore's model or model@layer (default: minilm).")] = None,
    set_: SetOption = None,
    allow_collapse: Annotated[bool, typer.Option("--allow-collapse", help="Go on with a collapsed codebook.")] = False,
    tuned: Annotated[bool, typer.Option(help="With the settings that `slatebench sweep` found.")] = False,
    rerun: Annotated[bool, typer.Option(help="Run again even where a finished record exists.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which a cell is stopped.")] = None,
    memory: Annotated[float | None, typer.Option(help="GiB of memory above which a cell is stopped.")] = None,
    jobs: Annotated[int, typer.Option(help="Cells at a time; threads are divided among them.")] = 1,
    shard: Annotated[str, typer.Option(help="Part of a suite, e.g. 1/3: machines that share --runs.")] = "1/1",
    latency: Annotated[bool, typer.Option(help="Measure latency, last and alone.")] = True,
    runs: RunsOption = None,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Fit, generate, score, time and record models on datasets; log to MLflow; print the board."""
    from ..grids.bench import bench as run_bench
    from .screen import GridScreen, Screen

    many = {"jobs": jobs, "runs": runs, "rerun": rerun, "timeout": timeout, "memory_gib": memory, "latency": latency,
            "debug": debug}  # fmt: skip
    screen = GridScreen(jobs) if suite or jobs > 1 else Screen()
    chosen = {"part": part, "budget": budget, "source": source}
    if suite is None:
        if not models or not dataset or shard != "1/1":
            wrong = "models" if not models else "--dataset" if not dataset else "--suite: --shard splits a suite"
            raise UsageError(f"missing {wrong}; e.g. bench bm25 --dataset bundle, or bench --suite card")
        own = {"split_seed": split_seed, "train_share": train_share, "k": k, "samples": samples, "encoder": encoder,
               "item_vectors": item_vectors, "repeats": repeats, "requests": parse_requests(requests),
               "refit": refit, "bertscore": bertscore, "tuned": tuned}  # fmt: skip
        chosen = {name: value for name, value in chosen.items() if value is not None}
        with screen:
            result = run_bench(
                models, dataset, seeds=parse_seeds(seeds or "0"), listener=screen,
                overrides=parse_set(set_) | ({"allow_collapse": True} if allow_collapse else {}),
                **chosen, **own, **many,
            )  # fmt: skip
    else:
        from ..grids.suite import bench_suite, parse_shard

        apart = {"models": models, "--set": set_, "--split-seed": split_seed, "-k": k,
                 "--train-share": train_share != 1, "--samples": samples,
                 "--encoder": encoder, "--item-vectors": item_vectors,
                 "--repeats": repeats != "excluded", "--requests": requests, "--refit": refit,
                 "--bertscore": bertscore, "--tuned": tuned, "--allow-collapse": allow_collapse}  # fmt: skip
        if given := [name for name, value in apart.items() if value]:
            raise UsageError(f"{given[0]} beside --suite: write it into a suite of your own (a TOML file)")
        with screen:
            result = bench_suite(suite, datasets=dataset, seeds=parse_seeds(seeds) if seeds else None,
                                 shard=parse_shard(shard), listener=screen, **chosen, **many)  # fmt: skip
    if json_:
        say(runs_json(result.runs))
    else:
        _print_boards(result, runs)
        if suite is None and seeds is None and any(run.spec.samples > 1 for run in result.runs):
            screen.line("One seed: for a claim add --seeds 0,1,2")
    if isinstance(screen, GridScreen):
        screen.summary(result.runs)
    for notice in result.notices:
        screen.notice(notice)
    if not result.ok:
        raise typer.Exit(1)


def _print_boards(result: Any, folder: Path | None) -> None:
    """The boards of what was run; notices of the bench stand below all of them, once."""
    from ...leaderboards.tables import as_table, caption
    from ..boards.show import leaderboard
    from .printing import output_console

    console = output_console()
    for dataset in dict.fromkeys(run.spec.dataset for run in result.runs):
        mine = [run for run in result.runs if run.spec.dataset == dataset]
        if not any(run.record.state == "done" for run in mine):
            continue
        board = leaderboard(dataset, like=mine[0].spec, metrics=(), runs=folder)
        board.notices[:] = [notice for notice in board.notices if notice not in result.notices]
        console.print(as_table(board, width=console.width, all_in="--json"))
        say(*caption(board))
