"""`slatebench export-mlflow`: hand a fitted recommender to MLflow."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.output import say, to_json
from .options import JsonOption


def export_mlflow(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run (`bench --json` says `path`).")],
    json_: JsonOption = False,
) -> None:
    """Log a fitted recommender as an MLflow model that answers {"prompt": ...} with slates and titles."""
    from ...leaderboards.records import read_run
    from ..serving.export_mlflow import export_mlflow as export
    from .screen import Screen

    made = export(read_run(run))
    for notice in made.notices:
        Screen().notice(notice)
    place = shlex.quote(str(made.folder or made.uri))
    if json_:
        say(to_json({"uri": made.uri, "folder": made.folder and str(made.folder), "run_id": made.run_id}))
        return
    say(made.uri)
    say(f"mlflow models serve -m {place} --env-manager local --port 5001")
    say("curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' "
          """-d '{"inputs": {"prompt": ["camping trip with kids"]}, "params": {"samples": 2}}'""")  # fmt: skip


def add_commands(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("export-mlflow", epilog="Example: slatebench export-mlflow runs/bundle/dmsg/0123456789abcdef")(
        export_mlflow
    )
