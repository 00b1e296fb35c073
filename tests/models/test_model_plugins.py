import sys
import textwrap

import pytest

from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.models.describe import describe
from slatebench.models.registry import model_class, model_names, model_titles
from slatebench.models.skeleton import write_skeleton
from slatebench.models.testing import run_contract

NEWEST = """
import numpy as np
from slatebench.models.base import FitReport, ModelCard, SlateModel
from slatebench.models.ranking import rank


class Newest(SlateModel):
    name = "newest"
    card = ModelCard("Newest items", "none", frozenset({"prompt", "history"}), "Items by index, the last first.")

    def fit(self, data, *, seed=0, evaluate=None, progress=None):
        self.catalog, self.features = data.catalog, data.features
        return FitReport()

    def generate(self, requests, k, *, samples=1, seed=0, sampling=None):
        N = len(self.catalog)
        return rank(requests, k, lambda part: np.tile(np.arange(N), (part.height, 1)), self.catalog, samples=samples)

    def arrays(self):
        return {}

    def restore(self, arrays):
        pass
"""


def install(folder, module, source, entries):
    """What pip does for a pure-Python package: a module and a dist-info folder with its entry points."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    info = folder / f"{module}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[slatebench.models]\n" + "\n".join(entries) + "\n")
    return folder


@pytest.fixture
def on_path(monkeypatch):
    modules = set(sys.modules)
    yield monkeypatch.syspath_prepend
    for name in set(sys.modules) - modules:
        if not name.startswith("slatebench."):
            del sys.modules[name]


def test_a_plug_in_is_found_and_passes_the_contract(tmp_path, on_path):
    on_path(install(tmp_path, "newest_plugin", NEWEST, ["newest = newest_plugin:Newest"]))
    assert "newest" in model_names()
    assert model_titles()["newest"] == "plug-in newest_plugin:Newest"
    assert "newest_plugin" not in sys.modules  # names need no import
    failed = [check for check in run_contract("newest") if not check.passed]
    assert not failed, failed


def test_a_plug_in_may_not_take_a_name_that_is_taken(tmp_path, on_path):
    on_path(install(tmp_path, "greedy_plugin", NEWEST, ["bm25 = greedy_plugin:Newest"]))
    with pytest.raises(SlateBenchError, match="'bm25', which is taken"):
        model_names()


def test_two_plug_ins_of_one_name_are_both_named(tmp_path, on_path):
    for module in ("one_plugin", "other_plugin"):
        on_path(install(tmp_path / module, module, NEWEST, [f"newest = {module}:Newest"]))
    with pytest.raises(SlateBenchError, match=r"both bring a model 'newest': uninstall one") as error:
        model_class("newest")
    assert "one_plugin:Newest" in str(error.value) and "other_plugin:Newest" in str(error.value)


@pytest.mark.parametrize(
    ("entry", "line"),
    [("lost = lost_plugin:Gone", "can't be imported"), ("lost = lost_plugin:np", "no subclass of SlateModel")],
)
def test_a_broken_plug_in_is_one_clear_line(tmp_path, on_path, entry, line):
    on_path(install(tmp_path, "lost_plugin", NEWEST, [entry]))
    with pytest.raises(SlateBenchError, match=line):
        model_class("lost")


@pytest.mark.parametrize("name", ["mine", "my-first-model2"])
def test_the_skeleton_passes_the_contract(tmp_path, on_path, name):
    import tomllib

    folder = write_skeleton(name, tmp_path)
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    entries = project["project"]["entry-points"]["slatebench.models"]
    [module] = project["tool"]["setuptools"]["py-modules"]
    source = (folder / f"{module}.py").read_text()
    on_path(install(tmp_path / "site", module, source, [f"{k} = {v}" for k, v in entries.items()]))
    for address in (name, f"{name}:sampled"):
        checks = run_contract(address)
        assert len(checks) > 10
        assert not [check for check in checks if not check.passed]
    assert [row.field for row in describe(name)] == ["popularity", "temperature"]


@pytest.mark.parametrize("name", ["", "Upper", "../evil", "a b", "x--y", "bm25", "1st"])
def test_the_skeleton_refuses_odd_and_taken_names(tmp_path, name):
    with pytest.raises(UsageError):
        write_skeleton(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_skeleton_overwrites_nothing(tmp_path):
    write_skeleton("mine", tmp_path)
    with pytest.raises(UsageError, match="there already"):
        write_skeleton("mine", tmp_path)
