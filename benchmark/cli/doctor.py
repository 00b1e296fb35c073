"""`slatebench doctor`: what is here, and what to do about what is not."""

from __future__ import annotations

import typer

from ...datasets.output import say, to_json
from .options import JsonOption, RunsOption


def doctor(runs: RunsOption = None, json_: JsonOption = False) -> None:
    """Check versions, machine, data, MLflow store and disk, and say what to do about each problem."""
    from dataclasses import asdict

    from ...leaderboards.terminal import fitted
    from ..doctor import doctor as examine
    from .printing import output_console

    findings = examine(runs)
    if json_:
        say(to_json({"findings": [asdict(finding) for finding in findings]}))
    else:
        style = {"ok": "green", "note": "yellow", "problem": "bold red"}
        head, console = ["", "what", "state", "what to do"], output_console()
        rows = [[f.level, f.topic, f.state, f.mend] for f in findings]
        console.print(fitted(head, rows, console.width, keep=4, words=head[2:], left=["what"],
                             styles=[style[f.level] for f in findings]))  # fmt: skip
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)
