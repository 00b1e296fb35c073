"""Claims and the gate end to end, on one bed of runs."""

import dataclasses
import json
import math
import shutil

import pytest
from typer.testing import CliRunner

from slatebench.benchmark import bench, gate
from slatebench.benchmark.claims.catalogue import CLAIMS
from slatebench.benchmark.claims.claim import Claim, Rule, System
from slatebench.benchmark.claims.report import as_html, as_markdown, pair_up
from slatebench.benchmark.claims.results import Result, merge_published, read_results, write_result
from slatebench.benchmark.claims.run import run_claims, why_not
from slatebench.benchmark.claims.statistics import (
    Experiment,
    Health,
    LatencyRatio,
    difference,
    level,
    ratio,
)
from slatebench.benchmark.cli.app import app
from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.leaderboards.records import Run, read_run, write_record

# --- end to end ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bed(install, tmp_path_factory):
    """Retrieval models on the small dataset: good, and bad."""
    install("from plain_model import Plain", {"plain": "Plain"})
    folder = tmp_path_factory.mktemp("runs")
    encoder = "hash"
    claim = Claim(
        "test-better", "no paper", "Retrieval <b>beats</b> random | items.", "none",
        {"retrieval": System("bm25", encoder=encoder), "random": System("random", encoder=encoder)},
        difference("ndcg_at_5", "retrieval", "random"), Rule(low=0.0), beside=(level("random", "ndcg_at_5"),),
    )  # fmt: skip
    claims = [
        claim,
        dataclasses.replace(claim, id="test-setting", systems={"a": System("bm25", {"kk1": 2.0}, encoder)}),
        dataclasses.replace(
            claim,
            id="test-longer",
            k=7,
            statistic=difference("ndcg_at_7", "retrieval", "random"),
            beside=(level("random", "no_such_metric"),),
        ),
        dataclasses.replace(claim, id="test-speed", statistic=LatencyRatio("retrieval", "random", 50)),
        dataclasses.replace(claim, id="test-absent", systems={"a": System("no-such-model")}),
    ]
    results = run_claims(claims, "small", budget="smoke", runs=folder, mlflow=False)
    return folder, claims, {result.claim: result for result in results}


def test_claims_run_end_to_end(bed):
    _, _, results = bed
    better = results["test-better"]
    assert better.verdict == "held" and 0 < better.low < better.value < better.high
    assert better.machine["cpu"] and len(better.runs) == 2 and better.details.keys() == {
        "retrieval: ndcg_at_5", "random: ndcg_at_5"
    }  # fmt: skip
    for id_, words in {"test-setting": "setting 'kk1' of model 'bm25' is not there yet",
                       "test-absent": "model 'no-such-model' is not there yet"}.items():  # fmt: skip
        assert results[id_].verdict == "not run" and words in results[id_].reason, results[id_]
    (beside,) = better.beside
    assert beside["statistic"] == "ndcg_at_5 of random"
    assert beside["value"] == pytest.approx(better.details["random: ndcg_at_5"])
    assert beside["low"] < beside["value"] < beside["high"]
    longer = results["test-longer"]
    assert longer.verdict == "held" and not set(longer.runs) & set(better.runs)
    assert longer.beside[0]["value"] is None and "has no no_such_metric" in longer.beside[0]["reason"]
    speed = results["test-speed"]
    assert speed.verdict == "inconclusive" and speed.value > 0 and "too few" in speed.reason
    assert "budget smoke" in better.verdict_line and "budget smoke" not in results["test-absent"].verdict_line


def test_statistics_from_records(bed):
    folder, _, results = bed
    retrieval, chance = (read_run(folder / path) for path in results["test-better"].runs)
    done = Experiment({"retrieval": [retrieval], "random": [chance]}, "smoke", folder)
    worse = difference("ndcg_at_5", "random", "retrieval").measure(done)
    assert worse.value == pytest.approx(-results["test-better"].value) and Rule(low=0.0).verdict(worse) == "not held"
    recorded = retrieval.record.metrics["ndcg_at_5"].mean - chance.record.metrics["ndcg_at_5"].mean
    assert worse.value == pytest.approx(-recorded)
    with pytest.raises(SlateBenchError, match="bm25 encoder=hash has no ndcg_at_7"):
        ratio("ndcg_at_7", "retrieval", "random").measure(done)
    health = Health("collision_rate", "retrieval", "random")
    with pytest.raises(SlateBenchError, match="retrieval reports no collision_rate"):
        health.measure(done)

    def with_health(run, seed, value):
        spec = run.spec.model_copy(update={"seed": seed})
        return Run(
            run.folder, run.record.model_copy(update={"spec": spec, "fit": {"health": {"collision_rate": value}}})
        )

    low = [with_health(retrieval, seed, value) for seed, value in enumerate((0.02, 0.03, 0.01))]
    high = [with_health(chance, seed, value) for seed, value in enumerate((0.12, 0.14, 0.10))]
    one = health.measure(Experiment({"retrieval": low[:1], "random": high[:1]}, "smoke", folder))
    assert one.low is None and "--seeds" in one.why_no_interval and one.value == pytest.approx(-0.10)
    three = health.measure(Experiment({"retrieval": low, "random": high}, "smoke", folder))
    half = 4.302652729911275 * 0.01 / 3**0.5  # t with 2 degrees of freedom; the gaps are .10, .11, .09
    assert (three.low, three.high) == (pytest.approx(-0.10 - half), pytest.approx(-0.10 + half))


def test_results_are_kept_and_reported(bed):
    folder, claims, results = bed
    kept = {result.claim: result for result in read_results(folder)}
    assert kept == results
    later = dataclasses.replace(claims[0], id="test-later")
    moved = dataclasses.replace(claims[0], rule=Rule(low=0.1))  # measured before the claim got this rule
    assert [result.verdict for _, result in pair_up([moved], list(kept.values()))] == ["not run"]
    rows = pair_up([*claims, later], list(kept.values()))
    text, page = as_markdown(rows), as_html(rows)
    assert "2 held, 0 not held, 1 inconclusive, 3 not run" in text and "2 held, 0 not held" in page
    assert "slatebench claims run test-later" in text
    assert "<b>beats" not in page and "&lt;b&gt;beats" in page and "beats&lt;/b> random \\| items" in text
    assert "http" not in page and "<script" not in page and "src=" not in page
    better = results["test-better"]
    assert f"[{better.low:.3f}, {better.high:.3f}]" in text and better.machine["cpu"] in text
    (beside,) = better.beside
    shown = f"beside: ndcg_at_5 of random {beside['value']:.3f} [{beside['low']:.3f}, {beside['high']:.3f}]"
    assert shown in text and shown in page
    row = next(line for line in text.splitlines() if "`test-better`" in line)
    assert row.endswith(f"| **held** (smoke) {better.value:.3f} [{better.low:.3f}, {better.high:.3f}] |")


def test_a_result_from_runs_of_an_older_version_says_so(bed, tmp_path):
    folder, _, results = bed
    shutil.copytree(folder, tmp_path / "runs")
    run = read_run(tmp_path / "runs" / results["test-better"].runs[0])
    older = run.spec.model_copy(update={"versions": run.spec.versions.model_copy(update={"metrics": "0"})})
    write_record(run.folder, run.record.model_copy(update={"spec": older}))
    (told,) = [result for result in read_results(tmp_path / "runs") if result.claim == "test-better"]
    assert "of another version of the metrics than today's (0, now" in told.verdict_line


def test_a_result_is_not_overwritten_by_not_run(tmp_path):
    done = Result("c", "d", "held", value=1.0, low=0.5, high=1.5)
    write_result(done, tmp_path)
    write_result(Result("c", "d", "not run", "gone"), tmp_path)
    assert read_results(tmp_path) == [done]
    write_result(Result("c", "d", "not held"), tmp_path)
    assert read_results(tmp_path)[0].verdict == "not held"


def test_published_results_are_joined_and_the_last_stays(tmp_path):
    path = tmp_path / "claims.json"
    old = Result("c", "d", "held", value=1.0, low=0.5, high=1.5, created="2026-01-01T00:00:00+00:00")
    new = dataclasses.replace(old, verdict="not held", created="2026-02-01T00:00:00+00:00")
    elsewhere = dataclasses.replace(old, dataset="e", value=math.nan)
    assert merge_published(path, [new]) == [new]
    joined = merge_published(path, [old, elsewhere, Result("c", "d", "not run", "gone", created="2026-03-01")])
    assert joined[0] == new and joined[1].dataset == "e"
    assert merge_published(path, []) == [new, dataclasses.replace(elsewhere, value=None)]  # JSON knows no NaN
    assert merge_published(path, [dataclasses.replace(old, budget="smoke", created="2026-05-01")])[0] == new
    newest = dataclasses.replace(old, created="2026-04-01T00:00:00+00:00")
    assert merge_published(path, [newest])[0] == newest
    path.write_text("[")
    with pytest.raises(SlateBenchError, match="damaged results"):
        merge_published(path, [new])


def test_a_damaged_result_is_one_clear_line(tmp_path):
    (tmp_path / ".claims" / "d").mkdir(parents=True)
    (tmp_path / ".claims" / "d" / "c.json").write_text("{")
    with pytest.raises(SlateBenchError, match="damaged result"):
        read_results(tmp_path)


# --- the gate --------------------------------------------------------------------------------------------------


def test_the_gate_fails_only_what_is_worse_beyond_noise(bed):
    folder, _, _ = bed
    options = {"dataset": "small", "metric": "ndcg_at_5", "runs": folder}
    better, worse = gate("bm25", "random", **options), gate("random", "bm25", **options)
    assert better.passed and better.conclusive and better.line.startswith("passed:")
    assert not worse.passed and worse.conclusive and worse.line.startswith("FAILED")
    assert worse.difference == pytest.approx(-better.difference) and worse.low <= worse.difference <= worse.high
    lenient = gate("random", "bm25", **options, margin=1.0)
    assert lenient.passed and lenient.conclusive
    middle = gate("random", "bm25", **options, margin=-worse.difference)
    assert middle.passed and not middle.conclusive and "inconclusive" in middle.line
    same = gate("bm25", "bm25", **options, margin=0.0)
    assert same.passed and same.difference == 0


def test_the_gate_knows_which_way_a_metric_points(bed):
    folder, _, _ = bed
    options = {"dataset": "small", "metric": "short_rate", "runs": folder}  # less is better; neither is ever short
    assert gate("bm25", "random", **options).passed
    with pytest.raises(UsageError, match="has no better direction"):
        gate("bm25", "random", dataset="small", metric="popularity", runs=folder)
    for margin in (-0.1, math.nan, math.inf, -math.inf):
        with pytest.raises(UsageError, match="margin"):
            gate("bm25", "random", dataset="small", metric="ndcg_at_5", margin=margin, runs=folder)
    with pytest.raises(UsageError, match="no finished run"):
        gate("dense", "random", dataset="small", metric="ndcg_at_5", runs=folder)


def test_commands(bed):
    folder, _, _ = bed
    run = CliRunner().invoke
    base = ["--dataset", "small", "--metric", "ndcg_at_5", "--runs", str(folder)]
    assert run(app, ["gate", "bm25", "--against", "random", *base]).exit_code == 0
    failed = run(app, ["gate", "random", "--against", "bm25", *base, "--json"])
    assert failed.exit_code == 1 and json.loads(failed.stdout)["passed"] is False
    listed = run(app, ["claims", "list", "--json"])
    assert [row["id"] for row in json.loads(listed.stdout)["claims"]] == [claim.id for claim in CLAIMS]
    out = folder / "report.html"
    assert run(app, ["claims", "report", "--format", "html", "--out", str(out), "--runs", str(folder)]).exit_code == 0
    absent = [claim for claim in CLAIMS if "is not there yet" in (why_not(claim) or "")]
    page = out.read_text()
    assert all(f'<p id="{claim.id}">' in page and f'href="#{claim.id}"' in page for claim in CLAIMS)
    assert page.count("is not there yet") == len(absent)
    timed = run(
        app, ["latency", "bm25", "random", "--dataset", "small", "--requests", "5", "--runs", str(folder), "--json"]
    )
    found = json.loads(timed.stdout)
    assert list(found) == ["machine", "dataset", "models", "ratios"]
    assert [one["model"] for one in found["models"]] == ["bm25", "random"]


def test_claims_run_command(bed, monkeypatch):
    """Each verdict is a line (with --json one of a list), in the order asked for; several seeds at a time."""
    folder, claims, results = bed
    monkeypatch.setattr("slatebench.benchmark.claims.catalogue.CLAIMS", claims)
    asked = ["claims", "run", "test-absent", "test-better", "--dataset", "small", "--budget", "smoke", "--seeds", "0",
             "--runs", str(folder)]  # fmt: skip
    done = CliRunner().invoke(app, [*asked, "--jobs", "2"])
    assert done.exit_code == 0, done.output
    first, second = (line for line in done.stdout.splitlines() if line.startswith("test-"))
    assert first.startswith("test-absent: not run") and second.startswith("test-better: held")
    again = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)["claims"]
    assert [one["verdict"] for one in again] == ["not run", "held"]
    assert again[1]["value"] == results["test-better"].value
    assert isinstance(CliRunner().invoke(app, [*asked, "--jobs", "0"]).exception, UsageError)


def test_bench_finds_claims_runs_again(bed):
    folder, _, results = bed
    again = bench("bm25", "small", budget="smoke", encoder="hash", runs=folder, mlflow=False, latency=False)
    assert str(again.runs[0].folder.relative_to(folder)) in results["test-better"].runs
