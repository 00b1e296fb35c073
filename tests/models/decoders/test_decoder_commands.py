import json
from importlib import import_module

from typer.testing import CliRunner

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.cells.plan import plan
from slatebench.benchmark.cli.app import app


def test_parameters_stand_side_by_side(slatebench):
    small = ("--set", "codes=16", "--set", "width=32")
    done = slatebench("models", "parameters", "s2s:sids", "higr", "--dataset", "tiny", "--json", *small)
    assert done.code == 0, done.err
    flat, higr = json.loads(done.out)["models"]
    assert (flat["model"], flat["difference_percent"]) == ("s2s:sids", 0)
    shared = {"embeddings", "heads", "prompt encoder"}
    assert set(flat["parts"]) == shared | {"decoder"}
    assert set(higr["parts"]) == shared | {"planner", "project", "generator"}
    assert all(flat["parts"][part] == higr["parts"][part] for part in shared - {"embeddings"})
    for row in (flat, higr):
        assert row["parameters"] == sum(row["parts"].values()) > 0
    assert round(higr["parameters"] / flat["parameters"], 6) == round(1 + higr["difference_percent"] / 100, 6)


def test_allow_collapse_is_for_those_who_have_a_codebook(plugins, monkeypatch):
    asked, bench = [], import_module("slatebench.benchmark.grids.bench")
    monkeypatch.setattr(bench, "bench", lambda *a, overrides, **_: asked.append(overrides) or bench.BenchResult([]))
    CliRunner().invoke(app, ["bench", "bm25", "--dataset", "tiny", "--allow-collapse", "--set", "k1=2", "--json"])
    assert asked == [{"k1": 2, "allow_collapse": True}]
    permitted = {"allow_collapse": True}
    cells = {m: plan(Cell(dataset="tiny", model=m, budget="smoke", overrides=permitted)) for m in ("higr", "bm25")}
    assert cells["higr"].spec.config["allow_collapse"] and cells["higr"].cell.label == "higr allow_collapse=True"
    assert "allow_collapse" not in cells["bm25"].spec.config and cells["bm25"].cell.label == "bm25"
