"""The results pages: made from records, without losing what other runs folders published."""

import re
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from slatebench.benchmark import bench, sweep
from slatebench.benchmark.boards.pages import publish
from slatebench.benchmark.claims.catalogue import CLAIMS
from slatebench.benchmark.claims.results import Result, merge_published, write_result
from slatebench.benchmark.claims.run import choose
from slatebench.benchmark.cli.app import app
from slatebench.datasets.errors import UsageError


def measured(claim: str, dataset: str, verdict: str, **figures: float) -> Result:
    (own,) = choose([claim], CLAIMS)
    form = {"statistic": own.statistic.text, "rule": own.rule.text}
    return Result(claim, dataset, verdict, created="2026-02-01", **form, **figures)


@pytest.fixture(scope="module")
def runs(install, tmp_path_factory):
    """Records of two models on the small dataset, and a claim's result."""
    install("from plain_model import Plain", {"plain": "Plain"})
    folder = tmp_path_factory.mktemp("runs")
    options = {"budget": "smoke", "encoder": "hash", "runs": folder, "mlflow": False}
    bench(["bm25", "random"], "small", latency=False, **options)
    sweep("bm25", "small", over={"b": [0.2, 0.4, 0.8]}, fit=True, sampler="grid", test=False, **options)
    write_result(measured("dmsg-ndcg-sim", "small", "held", value=1.5, low=1.2, high=1.8), folder)
    return folder


def test_pages_hold_boards_claims_and_commands(runs, tmp_path):
    written = publish(tmp_path, runs)
    assert {path.name for path in written} == {"small.md", "small-sweeps.md", "claims.md", "index.md"}
    page = (tmp_path / "small.md").read_text()
    assert "# Results on small" in page and "slatebench bench bm25 --dataset small" in page and "## Cost" in page
    assert page.count("are floors") + page.count("is a floor") == 1 and page.count("fingerprint ") == 1
    assert page.index("## Cost") < page.index("## How to read it") < page.index("## How to make it again")
    assert "**held** 1.500 [1.200, 1.800]" in (tmp_path / "claims.md").read_text()
    index = (tmp_path / "index.md").read_text()
    assert "[small](small.md)" in index and "[small: sweeps](small-sweeps.md)" in index


def test_pictures_stand_beside_the_pages(runs, tmp_path):
    publish(tmp_path, runs, ["small", "small-sweeps"])
    (tmp_path / "small" / "old.svg").touch()
    publish(tmp_path, runs, ["small", "small-sweeps"])
    assert "claims.md" not in (tmp_path / "index.md").read_text()
    for page in ("small", "small-sweeps"):
        named = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (tmp_path / f"{page}.md").read_text())
        assert named and {str(path.relative_to(tmp_path)) for path in (tmp_path / page).iterdir()} == set(named)
        for picture in named:
            assert ElementTree.parse(tmp_path / picture).getroot().tag.endswith("svg")
    sweeps = (tmp_path / "small-sweeps.md").read_text()
    assert "(small-sweeps/sweep-b.svg)" in sweeps and sweeps.count("| bm25 (smoke, ") == 3 and "latency" not in sweeps


def test_what_was_published_from_elsewhere_stays(runs, tmp_path):
    (tmp_path / "far.md").write_text("# Results on far\n")
    merge_published(tmp_path / "claims.json", [measured("dmsg-map-sim", "far", "not held", value=0.5)])
    publish(tmp_path, runs, ["claims"])
    assert (tmp_path / "far.md").read_text() == "# Results on far\n" and not (tmp_path / "small.md").exists()
    claims = (tmp_path / "claims.md").read_text()
    assert "**not held** 0.500" in claims and "**held** 1.500 [1.200, 1.800]" in claims
    index = (tmp_path / "index.md").read_text()
    assert "[far](far.md)" in index and "small.md" not in index and index.count("(claims.md)") == 1


def test_an_unknown_page_is_one_clear_line(runs, tmp_path):
    with pytest.raises(UsageError, match="unknown page 'smal': did you mean 'small'"):
        publish(tmp_path, runs, ["smal"])
    assert not any(tmp_path.iterdir())
    done = CliRunner().invoke(app, ["leaderboard", "publish", "small", "--out", str(tmp_path), "--runs", str(runs)])
    assert done.exit_code == 0 and (tmp_path / "small.md").exists(), done.output
