"""The command line. Imports nothing heavy: what a command needs is imported when it runs."""

from __future__ import annotations

import errno
import io
import os
import sys

import typer

from ...datasets.errors import SlateBenchError, UsageError
from ...datasets.output import say
from .bench import bench
from .claims import claims_app
from .compare import compare, gate, rescore
from .datasets import datasets_app
from .doctor import doctor
from .generate import generate
from .latency import latency
from .leaderboard import leaderboard_app
from .mlflow import export_mlflow, ui
from .models import models_app, tokenizers_app
from .sweep import sweep

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
app.add_typer(claims_app, name="claims")
app.command(
    epilog="Examples: slatebench bench bm25 dense --dataset bundle --seeds 0,1,2   |   "
    "slatebench bench bm25 --dataset bundle --set k1=1.2 --budget smoke   |   slatebench bench --suite card --jobs 2"
)(bench)
app.command(epilog="Example: slatebench sweep dmsg --dataset bundle --trials 30")(sweep)
app.command(epilog="Example: slatebench compare prompt2vec bm25 --dataset bundle")(compare)
app.command(epilog="Example: slatebench gate prompt2vec --against bm25 --dataset bundle --margin 0.01")(gate)
app.command(
    epilog='Example: slatebench generate dense:sampled -d bundle --prompt "camping trip with kids" -k 5 --samples 2'
)(generate)
app.command(epilog="Example: slatebench latency popularity bm25 dense prompt2vec --dataset bundle --requests 200")(
    latency
)
app.command(epilog="Example: slatebench rescore runs/bundle/bm25/0123456789abcdef")(rescore)
app.command("export-mlflow", epilog="Example: slatebench export-mlflow runs/bundle/dmsg/0123456789abcdef")(
    export_mlflow
)
app.command()(ui)
app.command()(doctor)

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
