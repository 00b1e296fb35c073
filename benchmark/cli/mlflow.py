"""MLflow: `ui` (its page over the records) and `export-mlflow` (a fitted run as a model)."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.errors import UsageError
from ...datasets.output import say, to_json
from .options import JsonOption, RunsOption


def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
    runs: RunsOption = None,
) -> None:
    """Open the MLflow page over the records (Ctrl-C ends it)."""
    import subprocess

    from ...leaderboards.mlflow_view.runs import log_runs, page
    from ...leaderboards.mlflow_view.store import connect, is_server, place, tracking_uri
    from ...leaderboards.mlflow_view.sweeps import rebuild_sweeps
    from ...leaderboards.records import list_runs, runs_folder
    from ...leaderboards.sweeps import list_studies

    folder = runs_folder(runs).resolve()
    uri = tracking_uri(folder)
    served, shown = is_server(uri), place(uri)
    found = list_runs(folder)[0]
    if not served:
        if not found and not list_studies(folder)[0]:
            raise UsageError(f"{folder}: no runs yet, nothing to show: slatebench bench bm25 --dataset bundle")
        _check_port(port)
    folder.mkdir(parents=True, exist_ok=True)
    client = connect(folder)
    experiments = [e for e in client.search_experiments() if e.name != "Default"]
    if found and not experiments:
        say(f"MLflow at {shown} is empty: logging {len(found)} records")
        log_runs(found, folder)
        rebuild_sweeps(folder)
        experiments = [e for e in client.search_experiments() if e.name != "Default"]
    server = shown.rstrip("/") if served else f"http://127.0.0.1:{port}"
    for experiment in experiments:
        say(f"{experiment.name}: {server}/{page(experiment.experiment_id)}")
        say(f"{' ' * len(experiment.name)}  {server}/{page(experiment.experiment_id, 'CHART')}")
    if served:
        none_yet = "no runs yet: slatebench bench bm25 --dataset bundle"
        say(f"the server is {shown}" if experiments else f"{shown}: {none_yet}")
        return
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONSAFEPATH": "1"}
    environment |= {"MLFLOW_BACKEND_STORE_URI": uri}  # no argument: those are seen by everybody on the machine
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
               str(port), "--workers", "1", "--artifacts-destination", (folder / "mlartifacts").as_uri()]  # fmt: skip
    raise typer.Exit(subprocess.call(command, env=environment, cwd=folder))


def _check_port(port: int) -> None:
    """Raises UsageError where a server of this machine listens on the port."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: one that ended holds nothing
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            mend = f"choose another: slatebench ui --port {port + 1}"
            raise UsageError(f"port {port}: {error.strerror}; {mend}") from error


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
