"""Settings that a sweep found go into benches on the same data and vectors, and into no others."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.cells.plan import plan
from slatebench.benchmark.cli.app import app
from slatebench.benchmark.grids.bench import bench
from slatebench.benchmark.sweeps.child import study_spec
from slatebench.benchmark.sweeps.space import Range, as_json
from slatebench.benchmark.sweeps.sweep import sweep
from slatebench.datasets.errors import UsageError
from slatebench.leaderboards.records import read_run, write_record
from slatebench.leaderboards.sweeps import StudySpec, tuned

UNUSUAL: dict[str, Any] = {"train_share": 0.5, "encoder": "hash", "item_vectors": "lsa"}
OPTIONS = ["--train-share", "0.5", "--encoder", "hash", "--item-vectors", "lsa"]


def test_tuned_settings_go_into_a_bench(plugins: Path, tmp_path: Path) -> None:
    found = sweep("bm25", "tiny", over={"k1": [0.1, 3.0]}, fit=True, sampler="grid", budget="smoke", test=False,
                  mlflow=False, runs=tmp_path)  # fmt: skip
    spec = plan(Cell(dataset="tiny", model="bm25", budget="smoke")).spec
    stored = tuned(tmp_path, spec)
    assert (stored.settings, stored.value) == (found.settings, found.best[0]["ndcg_sim_at_10"])
    assert (stored.study, stored.trials) == (found.spec.hash, 2)
    done = bench("bm25", "tiny", budget="smoke", tuned=True, latency=False, mlflow=False, runs=tmp_path)
    assert done.runs[0].record.label == f"bm25 k1={found.settings['k1']}" and done.runs[0].record.fit_cached
    with pytest.raises(UsageError, match="no tuned settings of popularity on tiny"):
        tuned(tmp_path, spec.model_copy(update={"model": "popularity"}))
    with pytest.raises(UsageError, match="tuned on fingerprint"):
        tuned(tmp_path, spec.model_copy(update={"fingerprint": "another"}))
    newer = spec.versions.model_copy(update={"model": "newer"})
    with pytest.raises(UsageError, match=r"tuned with another version \(model .*, now newer\): slatebench sweep bm25"):
        tuned(tmp_path, spec.model_copy(update={"versions": newer}))


def test_settings_that_are_so_anyway_make_the_models_own_row(plugins: Path) -> None:
    plain = plan(Cell(dataset="tiny", model="bm25:sampled", budget="smoke"))
    same = plan(plain.cell.model_copy(update={"overrides": {"temperature": 1.1, "k1": 1.5}}))
    assert (same.label, same.spec, same.cell.overrides) == (plain.label, plain.spec, {})
    other = plan(plain.cell.model_copy(update={"overrides": {"temperature": 1.1, "k1": 0.5}}))
    assert other.label == "bm25:sampled k1=0.5" and other.cell.overrides == {"k1": 0.5}


def test_a_run_used_again_bears_the_name_it_is_asked_for_by(plugins: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"budget": "smoke", "latency": False, "mlflow": False, "runs": tmp_path}
    run = bench("bm25", "tiny", **common).runs[0]
    told = run.record.model_copy(update={"label": "bm25 k1=1.5", "overrides": {"k1": 1.5}})  # when another was default
    write_record(run.folder, told)
    again = bench("bm25", "tiny", **common).runs[0]
    assert again.folder == run.folder and again.record == run.record == read_run(run.folder).record


def test_a_sweep_on_less_data_or_other_vectors_tunes_for_benches_on_the_same(plugins: Path, tmp_path: Path) -> None:
    shared: dict[str, Any] = UNUSUAL | {"budget": "smoke", "runs": tmp_path, "latency": False, "mlflow": False}
    found = sweep("prompt2vec", "tiny", over={"prior_weight": [0.0, 1.0]}, sampler="grid", **shared)
    run = found.run
    assert run is not None and {name: getattr(run.spec, name) for name in UNUSUAL} == UNUSUAL
    assert run.spec.sampling["prior_weight"] == found.settings["prior_weight"]
    assert found.command.endswith(" ".join(["--budget", "smoke", *OPTIONS]))
    assert bench("prompt2vec", "tiny", tuned=True, **shared).runs[0].folder == run.folder
    for usual in ({"train_share": 1.0}, {"encoder": "minilm"}, {"item_vectors": None}):
        with pytest.raises(UsageError, match="no tuned settings of prompt2vec on tiny"):
            tuned(tmp_path, run.spec.model_copy(update=usual))


def test_the_command_hands_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def stop(model: str, dataset: str, **options: Any) -> None:
        asked.update(options)
        raise UsageError("that was all")

    monkeypatch.setattr(sys.modules[sweep.__module__], "sweep", stop)
    CliRunner().invoke(app, ["sweep", "bm25", "-d", "tiny", *OPTIONS])
    assert {name: asked[name] for name in UNUSUAL} == UNUSUAL


def test_a_study_on_the_usual_data_and_vectors_keeps_the_hash_of_before_these_could_be_chosen(
    plugins: Path,
) -> None:
    cell = Cell(dataset="tiny", model="bm25", part="valid", budget="smoke")
    over = as_json({"temperature": Range(0.0, 2.0, 0.1)})
    asked = {"over": over, "objectives": [], "sampler": None, "fit": False, "any": False, "pruner": None}
    content = study_spec(cell, asked)["spec"]
    spec = StudySpec(**content)
    later = ("train_share", "item_vectors", "task", "repeats")
    older = {name: value for name, value in content.items() if name not in later}
    digest = hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()
    assert StudySpec(**older) == spec and digest.startswith(spec.hash)
    others = [StudySpec(**content | changed).hash for changed in ({"train_share": 0.5}, {"item_vectors": "lsa"})]
    assert len({spec.hash, *others}) == 3
