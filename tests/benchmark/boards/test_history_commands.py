"""What searches and judges systems on a history card: the twin."""

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.claims.catalogue import CLAIMS
from slatebench.benchmark.claims.run import choose, run_claims
from slatebench.benchmark.sweeps.child import study_spec
from slatebench.datasets.tasks import HISTORY_TO_SLATE, PROMPT_TO_SLATE

TWIN = "sessions-synthetic"


def test_a_sweep_asks_as_many_validation_requests_as_a_fit_is_checked_on():
    asked = {"over": {}, "objectives": [], "sampler": None, "fit": False, "any": True, "pruner": None}
    cell = Cell(dataset=TWIN, model="item-knn", part="valid", budget="smoke", encoder="hash")
    spec = study_spec(cell, asked)["spec"]
    assert spec["requests"] == HISTORY_TO_SLATE.valid_requests == 2000
    assert spec["objectives"] == ["ndcg_at_10"] and PROMPT_TO_SLATE.valid_requests == 200


def test_a_claim_of_models_that_do_not_answer_is_told_before_anything_runs(tmp_path):
    heard = []
    results = run_claims(CLAIMS, TWIN, budget="smoke", runs=tmp_path, listener=lambda *event: heard.append(event))
    assert {result.verdict for result in results} == {"not run"} and heard == []
    assert not list(tmp_path.glob("**/record.json"))
    (claim,) = choose(["dmsg-ndcg-sim"], CLAIMS)
    (result,) = [result for result in results if result.claim == claim.id]
    assert result.reason == f"dmsg answers prompt, {TWIN} asks with history"
