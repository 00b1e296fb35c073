"""What a sweep searches: ranges, values and points, and mistakes in them told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from slatebench.benchmark.cells.cell import Cell
from slatebench.benchmark.sweeps.child import study_spec
from slatebench.benchmark.sweeps.space import Range, as_json, distributions, parse_over, points, search_space
from slatebench.datasets.errors import UsageError
from slatebench.models.registry import model_class, model_names


def test_axes_vary_one_field_at_a_time_from_the_defaults() -> None:
    over = parse_over(["steps=2,5,10", "guidance=1,1.5,2", "eta=0,1"])
    space = search_space(model_class("dmsg"), [], "standard", {}, over, fit=False)
    default = {"steps": 5, "guidance": 2.0, "eta": 0.0}
    found = points("axes", space, default)
    assert found[0] == default
    assert all(sum(point[name] != default[name] for name in default) == 1 for point in found[1:])
    assert [point["steps"] for point in found if point["steps"] != 5] == [2, 10]
    assert len(found) == 1 + 2 + 2 + 1
    assert len(points("grid", space, default)) == 3 * 3 * 2


def test_a_range_holds_what_its_field_takes() -> None:
    over = parse_over(["guidance=1:5", "steps=2:10", "eta=0:1:0.5"])
    space = search_space(model_class("dmsg"), [], "standard", {}, over, fit=False)
    assert space == {"guidance": Range(1.0, 5.0), "steps": Range(2, 10), "eta": Range(0.0, 1.0, 0.5)}
    drawn = distributions(space)
    assert (
        type(drawn["guidance"]).__name__ == "FloatDistribution" and type(drawn["steps"]).__name__ == "IntDistribution"
    )
    for wrong in ("steps=2:10:0.5", "compile=0:1", "order=1:2"):
        with pytest.raises(UsageError):
            search_space(model_class("dmsg"), [], "standard", {}, parse_over([wrong]), fit=False)


@pytest.mark.parametrize("name", model_names())
def test_search_spaces_of_the_models_hold_values_that_they_take(name: str) -> None:
    cls = model_class(name)
    if cls.SPACE:
        assert search_space(cls, [], "standard", {}, {}, fit=True).keys() == cls.SPACE.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bm25", "--over", "temprature=0:2"], "did you mean 'temperature'"),
        (["bm25", "--over", "temperature=2:0"], "nothing lies between 2 and 0"),
        (["bm25", "--over", "temperature=-1:2"], "temperature=-1"),
        (["bm25", "--over", "temperature="], "write name="),
        (["bm25", "--over", "k1=1:2"], "add --fit"),
        (["bm25"], "with --fit: k1, b"),
        (["popularity"], "popularity has nothing to sweep"),
        (["dense"], "--over: order, temperature"),
        (["bm25", "--over", "temperature=0:2", "--objective", "ndcg_sim"], "unknown objective 'ndcg_sim'"),
        (["bm25", "--over", "temperature=0:2", "--objective", "popularity"], "is no objective"),
        (["bm25", "--over", "temperature=0:2", "--sampler", "grid"], "needs values or a step"),
        (["bm25", "--over", "temperature=0:2", "--sampler", "tpa"], "did you mean 'tpe'"),
        (["bm25", "--over", "temperature=0:2", "--set", "temperature=1"], "choose one"),
        (["ceiling:reference", "--over", "k=1:2"], "is no model"),
    ],
)
def test_mistakes_are_told_in_one_line(plugins: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    names = {"--over": "over", "--objective": "objectives", "--sampler": "sampler", "--set": "set"}
    given = {names[key]: value for key, value in zip(arguments[1::2], arguments[2::2], strict=True)}
    with pytest.raises(UsageError) as error:
        asked = {"over": parse_over([given["over"]])} if "over" in given else {}
        asked |= {key: [value] if key == "objectives" else value for key, value in given.items() if key not in asked}
        cell = {"overrides": {"temperature": 1}} if asked.pop("set", None) else {}
        study_spec(
            Cell(dataset="tiny", model=arguments[0], part="valid", budget="smoke", **cell),
            {"objectives": [], "sampler": None, "fit": False, "any": False, "pruner": None}
            | asked
            | {"over": as_json(asked.get("over", {}))},
        )
    assert says in str(error.value) and "\n" not in str(error.value)
