"""The command line. Imports nothing heavy: what a command needs is imported when it runs."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...datasets.errors import SlateBenchError, UsageError
from ...datasets.output import say, to_json
from .datasets import datasets_app
from .export import add_commands as add_export
from .latency import add_commands
from .leaderboard import leaderboard_app
from .models import models_app
from .options import (
    DatasetOption,
    DebugOption,
    EncoderOption,
    ItemVectorsOption,
    JsonOption,
    PartOption,
    RunsOption,
    SetOption,
    SourceOption,
    TrainShareOption,
    parse_seeds,
    parse_set,
)
from .sweep import sweep
from .tokenizers import tokenizers_app
from .ui import ui

app = typer.Typer(
    name="slatebench",
    help="Compare generative slate recommenders: same data, same metrics, with intervals, floors and ceilings.",
    epilog="First steps: slatebench bench bm25 --dataset bundle, then slatebench leaderboard show --dataset bundle",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(datasets_app, name="datasets")
app.add_typer(models_app, name="models")
app.add_typer(tokenizers_app, name="tokenizers")
app.add_typer(leaderboard_app, name="leaderboard")
add_commands(app)
add_export(app)
app.command()(ui)
app.command(epilog="Example: slatebench sweep dmsg --dataset bundle --trials 30")(sweep)


@app.command(
    epilog="Examples: slatebench bench bm25 dense --dataset bundle --seeds 0,1,2   |   "
    "slatebench bench bm25 --dataset bundle --set k1=1.2 --budget smoke   |   slatebench bench --suite card --jobs 2"
)
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
    from .grid_screen import GridScreen
    from .screen import Screen

    many = {"jobs": jobs, "runs": runs, "rerun": rerun, "timeout": timeout, "memory_gib": memory, "latency": latency,
            "debug": debug}  # fmt: skip
    screen = GridScreen(jobs) if suite or jobs > 1 else Screen()
    chosen = {"part": part, "budget": budget, "source": source}
    if suite is None:
        if not models or not dataset or shard != "1/1":
            wrong = "models" if not models else "--dataset" if not dataset else "--suite: --shard splits a suite"
            raise UsageError(f"missing {wrong}; e.g. bench bm25 --dataset bundle, or bench --suite card")
        own = {"split_seed": split_seed, "train_share": train_share, "k": k, "samples": samples, "encoder": encoder,
               "item_vectors": item_vectors, "bertscore": bertscore, "tuned": tuned}  # fmt: skip
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
                 "--bertscore": bertscore, "--tuned": tuned, "--allow-collapse": allow_collapse}  # fmt: skip
        if given := [name for name, value in apart.items() if value]:
            raise UsageError(f"{given[0]} beside --suite: write it into a suite of your own (a TOML file)")
        with screen:
            result = bench_suite(suite, datasets=dataset, seeds=parse_seeds(seeds) if seeds else None,
                                 shard=parse_shard(shard), listener=screen, **chosen, **many)  # fmt: skip
    if json_:
        say(*(run_json(run) for run in result.runs))
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


def run_json(run: Any) -> str:
    """One run as one line of JSON."""
    record, spec = run.record, run.spec
    return to_json(
        {
            "dataset": spec.dataset,
            "source": spec.source,
            "fingerprint": spec.fingerprint,
            "part": spec.part,
            "model": spec.model,
            "label": record.label,
            "seed": spec.seed,
            "budget": spec.budget,
            "state": record.state,
            "reason": record.reason,
            "path": str(run.folder),
            "metrics": {
                name: {key: getattr(value, key) for key in ("mean", "low", "high", "n")}
                for name, value in record.metrics.items()
            },
            "timings": record.timings,
            "latency": {key: value for key, value in (record.latency or {}).items() if key != "samples_ms"} or None,
            "cost": record.cost,
            "notice": record.notice,
        }
    )


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
        board = leaderboard(dataset, like=mine[0].spec, runs=folder)
        board.notices[:] = [notice for notice in board.notices if notice not in result.notices]
        console.print(as_table(board, width=console.width, all_in="--json"))
        say(*caption(board))


@app.command(epilog="Example: slatebench compare prompt2vec bm25 --dataset bundle")
def compare(
    a: Annotated[str, typer.Argument(help="A system (e.g. bm25) or a run folder.")],
    b: Annotated[str, typer.Argument(help="The system or run folder to compare it with.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where a and b are systems.")] = None,
    part: PartOption = "test",
    budget: Annotated[str | None, typer.Option(help="Which budget's runs (default: one that both have).")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics; may be given several times.")] = None,
    examples: Annotated[int, typer.Option(help="Prompts to show for each side.")] = 3,
    runs: RunsOption = None,
    json_: JsonOption = False,
) -> None:
    """Paired comparison of two systems: differences with intervals and p values, and where each wins most."""
    from ..boards.compare import compare as run_compare
    from .compare_text import comparison_json, print_comparison
    from .screen import Screen

    found = run_compare(a, b, dataset=dataset, part=part, budget=budget, metrics=metric, examples=examples, runs=runs)
    if json_:
        say(comparison_json(found))
    else:
        print_comparison(found)
    for notice in found.notices:
        Screen().notice(notice)


@app.command(
    epilog='Example: slatebench generate dense:sampled -d bundle --prompt "camping trip with kids" -k 5 --samples 2'
)
def generate(
    model: Annotated[str, typer.Argument(help="Model, e.g. dense:sampled.")],
    dataset: DatasetOption,
    prompt: Annotated[str, typer.Option(help="What the slate is for.")],
    k: Annotated[int | None, typer.Option("-k", help="Slots (default: the dataset's).")] = None,
    samples: Annotated[int, typer.Option(help="Slates to draw.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    seed_item: Annotated[
        list[str] | None, typer.Option(help="Original id of an item that is part of the question.")
    ] = None,
    source: SourceOption = "auto",
    set_: SetOption = None,
    runs: RunsOption = None,
    json_: JsonOption = False,
) -> None:
    """Type a prompt, see slates with titles (from the newest fitted run; fits one if there is none)."""
    from dataclasses import asdict

    from ..serving.generate import generate as run_generate

    made = run_generate(
        model,
        dataset,
        prompt,
        k=k,
        samples=samples,
        seed=seed,
        seed_items=seed_item,
        overrides=parse_set(set_),
        source=source,
        runs=runs,
    )
    if json_:
        say(to_json(asdict(made)))
        return
    say(f"{made.model}: {made.prompt}")
    for i, slate in enumerate(made.slates, 1):
        say("", *([f"slate {i}"] if len(made.slates) > 1 else []))
        say(*(f"{rank:4d}  {title}" for rank, title in enumerate(slate, 1)))
    freshness = f", freshness {made.freshness:.2f}" if made.freshness is not None else ""
    say("", f"{made.seconds * 1000:.0f} ms a slate{freshness}")
    say(*(f"note: {note}" for note in made.notes), error=True)


@app.command(epilog="Example: slatebench rescore runs/bundle/bm25/0123456789abcdef")
def rescore(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")],
    bertscore: Annotated[
        str | None, typer.Option(help="Also measure BERTScore with this model or model@layer.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Compute the metrics of finished runs again from their slates, without a new fit."""
    from ...leaderboards.records import read_run
    from ..boards.rescore import rescore as run_rescore

    for run in run_rescore([read_run(folder) for folder in folders], bertscore=bertscore):
        say(run_json(run) if json_ else f"{run.record.label} seed {run.spec.seed}: {run.folder}")


@app.command()
def doctor(runs: RunsOption = None, json_: JsonOption = False) -> None:
    """Check versions, machine, data, MLflow store and disk, and say what to do about each problem."""
    from dataclasses import asdict

    from ...leaderboards.terminal import fitted
    from ..doctor import doctor as examine
    from .printing import output_console

    findings = examine(runs)
    if json_:
        say(to_json([asdict(finding) for finding in findings]))
    else:
        style = {"ok": "green", "note": "yellow", "problem": "bold red"}
        head, console = ["", "what", "state", "what to do"], output_console()
        rows = [[f.level, f.topic, f.state, f.mend] for f in findings]
        console.print(fitted(head, rows, console.width, keep=4, words=head[2:], left=["what"],
                             styles=[style[f.level] for f in findings]))  # fmt: skip
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


INTERRUPTED = 130  # what typer makes of Ctrl-C


def main() -> None:
    """Entry point: one clear line for whatever a user can get wrong; exit codes 0 done, 1 failed, 2 usage."""
    _open_streams()
    try:
        code = app(standalone_mode=False) or 0
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
        sys.exit(code)
    except UsageError as error:
        _fail(error, 2)
    except SlateBenchError as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        say("", "stopped; what was finished is kept, the same command goes on from there", error=True)
        sys.exit(1)
    except BrokenPipeError:  # whoever read this has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail("the disk is full: free some space and run the same command again; finished cells are kept", 1)
        _fail(f"{error.strerror or error} ({error.filename})" if error.filename else str(error), 1)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command line itself
            _fail(f"{error.format_message()} (see --help)", 2)  # type: ignore[attr-defined]
        _fail(f"unexpected {type(error).__name__}: {error} (this is our fault; --debug shows the traceback)", 1)


def _open_streams() -> None:
    """Standard streams that take any text: '?' for what a terminal can't show, nowhere where there is none."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:  # closed: the next file that is opened would take its place
            file = os.open(os.devnull, os.O_RDWR)
            if file != number:
                os.dup2(file, number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _fail(message: object, code: int) -> None:
    if "--debug" in sys.argv:
        raise
    say(f"error: {' '.join(str(message).split())}", error=True)
    sys.exit(code)
