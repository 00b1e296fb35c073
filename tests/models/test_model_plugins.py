import re
import subprocess
import sys
import textwrap

import pytest

from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.models.describe import describe
from slatebench.models.registry import model_class, model_names, model_titles, refused_models
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


@pytest.mark.parametrize(
    ("name", "why"),
    [("bm25", "taken"), ("Dense", "taken"), ("ceiling", "reserved"), ("sweeps", "reserved"), ("aux.model", "reserved"),
     ("up/../down", "a name has"), ("...", "a name has"), (".out", "a name has"), ("two--parts", "a name has"),
     ("tail-", "a name has"), ("line\x1bend", "a name has"), ("x" * 65, "a name has")],
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_refused_and_hides_no_other(tmp_path, on_path, name, why):
    on_path(
        install(tmp_path, "greedy_plugin", NEWEST, [f"{name} = greedy_plugin:Newest", "fine = greedy_plugin:Newest"])
    )
    assert "fine" in model_names() and model_class("fine").name == "newest"
    assert name not in set(model_names()) - {"bm25"}
    [line] = refused_models()
    assert "greedy_plugin:Newest" in line and why in line and "\n" not in line
    if name != "bm25":  # which is ours
        with pytest.raises(UsageError, match="rename its entry point"):
            model_class(name)


def test_of_two_plug_ins_with_one_name_neither_is_taken_silently(tmp_path, on_path):
    on_path(install(tmp_path / "a", "first_plugin", NEWEST, ["same = first_plugin:Newest"]))
    on_path(install(tmp_path / "b", "second_plugin", NEWEST, ["same = second_plugin:Newest"]))
    assert "same" not in model_names()
    with pytest.raises(UsageError, match="uninstall one"):
        model_class("same")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("card = None", "card must be a ModelCard"),
        ("PRESETS = {'../up': {}}", "preset '../up'"),
        ("PRESETS = ['fast']", "PRESETS must be a dict"),
        ("BUDGETS = {'huge': {}}", "'huge' of BUDGETS is none of smoke, standard, paper"),
        ("Config = dict", "Config must be a subclass of Settings"),
        ("version = 2", "its version must be text"),
        ("arrays = SlateModel.arrays", "write arrays"),
    ],
)
def test_a_class_that_lacks_something_is_one_clear_line(tmp_path, on_path, change, says):
    on_path(install(tmp_path, "odd_plugin", f"{NEWEST}\n    {change}\n", ["odd = odd_plugin:Newest"]))
    with pytest.raises(SlateBenchError, match=re.escape(says)):
        model_class("odd")


# --- what is used again means the same -----------------------------------------------------------------


def version_of(name: str) -> str:
    """As a new process would see it."""
    code = f"from slatebench.models.registry import *; print(code_version(model_class({name!r})))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def helped(tmp_path, monkeypatch):
    """A plug-in of one module with a helper beside it, a package beside it, and data files."""
    source = NEWEST.replace("import numpy as np", "import numpy as np\nTABLE = 'table.json'  # read later", 1)
    install(tmp_path, "helped_plugin", source, ["helped = helped_plugin:Newest"])
    (tmp_path / "helped_plugin.yaml").write_text("a: 1")
    (tmp_path / "lazy_helper.py").write_text("SCALE = 1\n")  # imported by nobody yet
    for file in ("parts/__init__.py", "parts/words.txt", "parts/deep/more.py", "table.json", "data/table.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_text("1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "file",
    ["helped_plugin.py", "lazy_helper.py", "helped_plugin.yaml", "parts/words.txt", "parts/deep/more.py", "table.json",
     "data/table.json", "parts/new.bin", "helped_plugin-0.1.0.dist-info/METADATA"],
)  # fmt: skip
def test_the_version_of_a_plug_in_covers_all_that_belongs_to_it(helped, file):
    before = version_of("helped")
    path = helped / file
    text = path.read_text() if path.exists() else ""
    path.write_text(text.replace("Version: 0.1.0", "Version: 0.2.0") if "METADATA" in file else f"{text}\n# more\n")
    after = version_of("helped")
    assert before.startswith("1-") and after.startswith("1-") and before != after


def test_what_runs_leave_in_its_folder_makes_it_no_other_plug_in(helped):
    before = version_of("helped")
    for file in ("out.txt", "log.json", "runs/x/record.json", ".git/HEAD", "parts/__pycache__/a.pyc", "parts/run.log"):
        (helped / file).parent.mkdir(exist_ok=True, parents=True)
        (helped / file).write_text("something")
    assert version_of("helped") == before
    (helped / "parts/words.txt").touch()
    assert version_of("helped") == before  # content counts, not time


def test_the_files_of_an_installed_plug_in_are_those_of_its_record(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    install(site, "recorded_plugin", NEWEST, ["recorded = recorded_plugin:Newest"])
    (site / "shared_data").mkdir()
    for file in ("shared_data/table.csv", "recorded_helper.py", "stranger.py"):
        (site / file).write_text("1")
    files = ["recorded_plugin.py", "recorded_helper.py", "shared_data/table.csv"]
    record = "".join(f"{file},,\n" for file in files)
    (site / "recorded_plugin-0.1.0.dist-info" / "RECORD").write_text(record)
    monkeypatch.setenv("PYTHONPATH", str(site))
    versions = [version_of("recorded")]
    for file in ("recorded_helper.py", "shared_data/table.csv", "stranger.py"):
        (site / file).write_text("2")
        versions.append(version_of("recorded"))
    assert len(set(versions[:3])) == 3 and versions[3] == versions[2]


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
