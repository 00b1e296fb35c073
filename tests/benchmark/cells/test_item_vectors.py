"""What vectors are made by: part of a system's identity and of its name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slatebench.benchmark.boards.rescore import rescore
from slatebench.benchmark.cells.cell import Cell, Plan
from slatebench.benchmark.cells.fit import fit_folder
from slatebench.benchmark.cells.plan import plan
from slatebench.benchmark.cells.run import run_plan
from slatebench.benchmark.cli.app import app
from slatebench.leaderboards.command import bench_command
from slatebench.leaderboards.records import list_runs


def planned(model: str = "prompt2vec", **values: str) -> Plan:
    return plan(Cell(dataset="tiny", model=model, budget="smoke", **values))


@pytest.mark.usefixtures("plugins")
def test_another_maker_is_another_system_with_its_name(tmp_path: Path) -> None:
    usual = planned(encoder="hash")
    assert planned(encoder="hash", item_vectors="hash").spec == usual.spec  # the card says so anyway
    assert usual.label == "prompt2vec encoder=hash" and usual.spec.item_vectors is None
    others = [planned(encoder="hash", item_vectors="lsa"), planned(encoder="hash", item_vectors="word2vec"),
              planned(encoder="lsa")]  # fmt: skip
    assert [one.label.removeprefix("prompt2vec ") for one in others] == [
        "encoder=hash item_vectors=lsa", "encoder=hash item_vectors=word2vec", "encoder=lsa"
    ]  # fmt: skip
    everyone = [usual, *others]
    assert len({one.spec.system for one in everyone}) == len({fit_folder(tmp_path, one) for one in everyone}) == 4
    assert len({one.spec.board for one in everyone}) == 1
    assert planned("random", encoder="hash", item_vectors="lsa").label == "random"  # looks at no vector


@pytest.mark.usefixtures("plugins")
def test_runs_and_rescores(tmp_path: Path) -> None:
    run = run_plan(planned(encoder="lsa", item_vectors="word2vec"), tmp_path, lambda *a, **b: None)
    assert run.record.state == "done" and run.record.label == "prompt2vec encoder=lsa item_vectors=word2vec"
    again = rescore([run])[0]
    assert again.spec == run.spec and again.record.metrics == run.record.metrics


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("options", [
    [], ["--item-vectors", "lsa"], ["--encoder", "lsa", "--set", "alpha=2.0", "--train-share", "0.5"],
    ["--part", "valid", "-k", "3", "--split-seed", "1"],
])  # fmt: skip
def test_the_printed_command_makes_the_run_again(tmp_path: Path, options: list[str]) -> None:
    """What a results page prints, typed into a shell: the same spec."""
    runner = CliRunner()
    asked = ["bench", "prompt2vec", "--dataset", "tiny", "--budget", "smoke", "--no-latency", "--runs", str(tmp_path)]
    encoder = [] if "--encoder" in options else ["--encoder", "hash"]
    assert runner.invoke(app, [*asked, *encoder, *options]).exit_code == 0
    (run,) = [run for run in list_runs(tmp_path)[0] if run.spec.model == "prompt2vec"]
    command = shlex.split(bench_command([run]))
    assert command[0] == "slatebench"
    elsewhere = tmp_path / "again"
    assert runner.invoke(app, [*command[1:], "--no-latency", "--runs", str(elsewhere)]).exit_code == 0
    (again,) = [run for run in list_runs(elsewhere)[0] if run.spec.model == "prompt2vec"]
    assert again.spec == run.spec
