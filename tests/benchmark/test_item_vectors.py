"""What vectors are made by: part of a system's identity and of its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from slatebench.benchmark.cell import Cell, Plan, fit_folder, plan
from slatebench.benchmark.rescore import rescore
from slatebench.benchmark.run import run_plan


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
