"""A board of histories from the command to the page of published figures, on the twin."""

import polars as pl
import pytest

from slatebench.benchmark.boards import reproductions
from slatebench.benchmark.boards.show import leaderboard
from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.cells.plan import plan
from slatebench.benchmark.grids.bench import bench
from slatebench.benchmark.serving.generate import generate
from slatebench.datasets.errors import UsageError
from slatebench.datasets.registry import dataset_names
from slatebench.leaderboards.command import bench_command
from slatebench.leaderboards.tables import caption
from slatebench.models.registry import BUILTIN

TWIN = "sessions-synthetic"


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """Popularity on some requests, on all, and with repeats allowed; a prompt model that has no answer."""
    folder = tmp_path_factory.mktemp("runs")
    common = {"encoder": "hash", "budget": "smoke", "runs": folder, "latency": False, "mlflow": False}
    first = bench(["popularity", "bm25"], TWIN, **common)
    rest = [
        bench(["popularity", "markov"], TWIN, requests="all", **common),
        bench("popularity", TWIN, repeats="allowed", **common),
    ]
    return folder, first, *rest


def test_requests_and_repeats_are_in_the_spec_and_two_numbers_share_no_board(benched):
    folder, first, whole, allowed = benched
    popularity = first.runs[0]
    spec = popularity.spec
    assert (spec.requests, spec.repeats, spec.headline) == (500, "excluded", "ndcg_at_10")
    assert whole.runs[0].spec.requests == 7912 and allowed.runs[0].spec.repeats == "allowed"
    assert len({run.spec.board for run in (popularity, whole.runs[0], allowed.runs[0])}) == 3
    assert "--repeats allowed" in bench_command([allowed.runs[0]])
    assert "--requests 7912" in bench_command([whole.runs[0]])
    board = leaderboard(TWIN, like=popularity.spec, runs=folder)
    labels = {system.label.split()[0] for system in board.systems}
    assert {"popularity", "random", "markov", "item-knn", "ceiling:reference", "reference:oracle"} <= labels
    floors = [system.label for system in board.systems if system.kind == "floor"]
    assert sorted(floors) == ["item-knn", "markov", "popularity", "random"]
    assert caption(board)[1].startswith(f"{', '.join(floors[:-1])} and {floors[-1]} are floors; ")
    assert board.best("ndcg_at_10") == {"item-knn"}  # a floor that looks at the request may be the best
    reasons = {reason for label, reason in board.not_comparable if label == "popularity"}
    assert reasons == {"requests 7912 instead of 500", "items of the history allowed instead of excluded"}


def test_a_fit_that_validation_may_stop_is_kept_apart_by_what_may_be_emitted():
    cells = [Cell(dataset=TWIN, model="sasrec", budget="smoke", encoder="hash", repeats=repeats)
             for repeats in ("excluded", "allowed")]  # fmt: skip
    assert len({plan(cell).fit for cell in cells}) == 2
    few = plan(cells[0].model_copy(update={"requests": 40}))
    assert few.spec.requests == 40 and few.fit == plan(cells[0]).fit  # validation is the same for any number asked


def test_a_refit_learns_from_validation_too_and_stops_where_it_had_stopped(benched):
    folder, first, *_ = benched
    common = {"encoder": "hash", "budget": "smoke", "runs": folder, "latency": False, "mlflow": False}
    settings = {"max_steps": 30, "check_every": 5, "patience": 2, "width": 16}
    sasrec, refit = (
        bench("sasrec", TWIN, refit=again, overrides=settings, **common).runs[0] for again in (False, True)
    )
    assert refit.record.state == "done" and refit.spec.refit and refit.spec.board != sasrec.spec.board
    one, other = (run.record.fit for run in (sasrec, refit))
    assert other["curves"]["valid"] == one["curves"]["valid"] and other["curves"]["loss"] != one["curves"]["loss"]
    assert other["notes"]["best_step"] == one["notes"]["best_step"] and other["seconds"] > one["seconds"]
    counted = bench("popularity", TWIN, refit=True, **common).runs[0]
    assert counted.record.metrics["ndcg_at_10"] != first.runs[0].record.metrics["ndcg_at_10"]
    assert bench_command([counted]).endswith("--refit")
    labels = {system.label.split()[0] for system in leaderboard(TWIN, like=counted.spec, runs=folder).systems}
    assert {"popularity", "sasrec", "random", "markov"} <= labels
    with pytest.raises(UsageError, match="refit: bundle-synthetic asks with prompts"):
        plan(Cell(dataset="bundle-synthetic", model="popularity", refit=True))


def test_a_model_of_prompts_is_skipped_with_the_reason(benched):
    _, first, *_ = benched
    bm25 = first.runs[1].record
    assert (bm25.state, bm25.reason) == ("skipped", "bm25 answers prompt, sessions-synthetic asks with history")


def test_the_twin_tells_systems_apart(benched):
    folder, _, whole, _ = benched
    board = leaderboard(TWIN, like=whole.runs[0].spec, runs=folder)
    score = {system.label.split()[0]: system.summary["ndcg_at_10"]["mean"] for system in board.systems}
    assert score["random"] < score["popularity"] < score["markov"] < score["item-knn"] < score["reference:oracle"] < 0.6
    assert score["markov"] > 5 * score["popularity"]


def test_published_figures_stand_beside_ours_where_all_were_asked(benched, monkeypatch):
    _, first, whole, _ = benched
    row = {"dataset": TWIN, "repeats": "excluded", "name": "theirs", "systems": ["markov"], "source": "a paper",
           "metrics": {"recall_at_10": 0.0974}, "differs": "all of it"}  # fmt: skip
    monkeypatch.setattr(reproductions, "published", lambda: [reproductions.Published(**row)])
    page = reproductions.reproductions([*first.runs, *whole.runs], "made so")
    assert page is not None and "7,912 requests" in page
    lines = page.splitlines()
    ours = next(i for i, line in enumerate(lines) if line.startswith("| **markov"))
    assert lines[ours + 1] == "| *theirs* | a paper | – | – | .0974 | – | – | – | all of it |"
    assert reproductions.reproductions(first.runs, "made so") is None  # 500 requests are not the part


def test_published_figures_name_what_there_is():
    rows = reproductions.published()
    assert len(rows) > 20
    for row in rows:
        assert row.dataset in dataset_names() and set(row.systems) <= BUILTIN.keys()
        assert row.metrics and set(row.metrics) <= set(reproductions.METRICS)
        assert all(0 < value < 1 for value in row.metrics.values()) and row.differs


def test_slates_after_what_was_had(benched):
    folder, *_ = benched
    asked = {"runs": folder}
    made = generate("markov", TWIN, history=["P0000004", "P0000007"], k=5, **asked)
    assert len(made.ids[0]) == 5 and not {"P0000004", "P0000007"} & set(made.ids[0])
    assert made.prompt.startswith("after ")
    title = pl.read_parquet(next(folder.glob(f"{TWIN}/markov/*/model/catalog.parquet")))["title"][7]
    by_title = generate("markov", TWIN, history=["P0000004", title.upper()], k=5, **asked)
    assert by_title.ids == made.ids
    for history, why in (([], "asks with histories"), (["nothing such"], "neither id nor title")):
        with pytest.raises(UsageError, match=why):
            generate("markov", TWIN, "a prompt", history=history, **asked)
