import doctest

import pytest
from pydantic import Field

from slatebench.datasets.errors import UsageError
from slatebench.models import bm25_index, describe, prior, ranking, registry
from slatebench.models.base import Settings, resolve
from slatebench.models.describe import Row
from slatebench.models.hybrid import Hybrid
from slatebench.models.registry import BUILTIN, model_class, model_titles


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
