import doctest
from typing import Any, ClassVar

import pytest
from pydantic import Field

from slatebench.datasets.errors import UsageError
from slatebench.models import describe, ranking, registry
from slatebench.models.base import Settings, resolve
from slatebench.models.describe import Row
from slatebench.models.registry import BUILTIN, model_class, model_titles
from slatebench.models.retrieval import bm25_index, prior
from slatebench.models.retrieval.hybrid import Hybrid


@pytest.mark.parametrize("module", [ranking, bm25_index, prior, registry, describe])
def test_the_examples_in_the_docstrings(module):
    import numpy as np

    with np.printoptions(legacy=False):
        assert doctest.testmod(module).failed == 0


def test_describe_says_every_value_and_where_it_comes_from():
    rows = describe.describe("bm25:sampled", "smoke", {"k1": 1.2})
    assert rows[0] == Row(
        "document", "text", "default", "config", "Literal['text', 'train_prompts', 'both']", "what stands for an item"
    )
    assert {row.field: (row.value, row.origin, row.kind) for row in rows[1:]} == {
        "k1": (1.2, "set", "config"),
        "b": (0.75, "default", "config"),
        "order": ("score", "default", "sampling"),
        "temperature": (rows[-1].value, "preset sampled", "sampling"),
    }
    assert rows[-1].value > 0
    assert rows[2].type == "float, >= 0, <= 1"


def test_what_was_so_anyway_counts_as_nothing_set():
    found = resolve(model_class("bm25"), ["sampled"], "standard", {"k1": 1.5, "b": 0.5, "temperature": 1.1})
    assert found.changed == {"b": 0.5} and found.origin["k1"] == "set"


def test_settings_of_a_plugin_may_be_required_made_or_named_otherwise():
    class Plugin(Hybrid):
        class Config(Settings):
            size: int | None
            made: list[int] = Field(default_factory=lambda: [1])
            other: int = Field(2, alias="another")

    found = resolve(Plugin, [], "standard", {"size": None, "bm25_weight": 0.25})
    assert found.changed == {"size": None}
    assert found.config.model_dump() == {"size": None, "made": [1], "other": 2}


def test_settings_of_every_builtin_are_described():
    for name in BUILTIN:
        assert all(row.doc and row.type for row in describe.describe(name))


def test_a_typo_names_the_nearest_setting():
    with pytest.raises(UsageError, match="did you mean 'bm25_weight'"):
        resolve(Hybrid, [], "standard", {"bm25_wieght": 1})


@pytest.mark.parametrize(("field", "value"), [("k1", 0), ("b", 1.5), ("document", "titles"), ("temperature", -1)])
def test_values_out_of_bounds_are_one_line(field, value):
    with pytest.raises(UsageError) as error:
        describe.describe("bm25", overrides={field: value})
    assert field in str(error.value) and "\n" not in str(error.value)


def test_every_title_is_one_line():
    assert BUILTIN.keys() <= model_titles().keys()
    assert all(title and "\n" not in title for title in model_titles().values())


def test_names_and_classes_agree():
    for name in BUILTIN:
        assert model_class(name).name == name


@pytest.mark.parametrize("told", [1.5, "1.5", "15e-1", "1.50"])
def test_a_default_told_by_hand_changes_nothing_whatever_its_type(told):
    cls = model_class("bm25")
    plain, found = resolve(cls, [], "standard", {}), resolve(cls, [], "standard", {"k1": told})
    assert not found.changed and found.config == plain.config


def test_one_value_has_one_name_whatever_its_type():
    cls = model_class("bm25")
    found = [resolve(cls, [], "standard", {"k1": told}).changed for told in (2, 2.0, "2", "2e0")]
    assert {repr(changed) for changed in found} == {"{'k1': 2.0}"}
    weights = [resolve(model_class("hybrid"), [], "standard", {"bm25_weight": w}).changed for w in (0, 0.0, -0.0, "-0")]
    assert {repr(changed) for changed in weights} == {"{'bm25_weight': 0.0}"}


class Loose(Hybrid):
    """Fields of every kind, with defaults that nobody has validated."""

    name = "loose"

    class Config(Settings):
        rate: float = 1  # a whole number
        widths: list[int] = Field([8, 4])
        extra: Any = 1

    PRESETS: ClassVar = {"wide": {"widths": [16]}}


@pytest.mark.parametrize(
    ("presets", "told", "changed"),
    [
        ([], {"rate": 1.0, "widths": [8, 4], "extra": 1}, {}),
        ([], {"rate": "1"}, {}),
        ([], {"extra": True}, {"extra": True}),
        ([], {"widths": ["8", 5]}, {"widths": [8, 5]}),
        (["wide"], {"widths": ["16"]}, {}),
        (["wide"], {"widths": [8, 4]}, {"widths": [8, 4]}),
    ],
)
def test_settings_are_compared_after_they_are_validated(presets, told, changed):
    plain, found = resolve(Loose, presets, "smoke", {}), resolve(Loose, presets, "smoke", told)
    assert found.changed == changed and repr(found.changed) == repr(changed)
    if not changed:
        assert found.config.model_dump_json() == plain.config.model_dump_json()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "Infinity", "nan", "1e999", 10**400])
def test_numbers_that_are_set_must_be_finite(value):
    with pytest.raises(UsageError) as error:
        resolve(model_class("hybrid"), [], "smoke", {"bm25_weight": value})
    line = str(error.value)
    assert line.startswith("hybrid: bm25_weight=") and len(line) < 200
    assert "finite" in line or "valid number" in line


@pytest.mark.parametrize(
    ("value", "says"),
    [({"a": [1, float("nan")]}, "finite"), (2**70, "more than 63 bits"), ("\ud800", "can't be encoded")],
)
def test_what_no_record_can_hold_is_refused_wherever_it_hides(value, says):
    with pytest.raises(UsageError, match=says):
        resolve(Loose, [], "smoke", {"extra": value})


def test_a_default_that_is_not_finite_is_refused_too():
    class Odd(Loose):
        class Config(Settings):
            rate: float = float("nan")

    with pytest.raises(UsageError, match="rate=nan: numbers must be finite"):
        resolve(Odd, [], "smoke", {})
