"""Names, cards, plug-ins, the synthetic twin that stands in, and verification."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib

import pytest

from slatebench.datasets import frozen
from slatebench.datasets.card import builtin_cards
from slatebench.datasets.checks.verify import verify
from slatebench.datasets.errors import DataError, UsageError
from slatebench.datasets.frozen import freeze, statistics
from slatebench.datasets.registry import dataset_card, dataset_names, find_dataset, load_dataset, refused_datasets

# a plug-in with a real dataset, whose file its card names, and its synthetic twin
CODE = """
import polars as pl
from slatebench.datasets.build import build_dataset
from slatebench.datasets.card import CardFile, DatasetCard
from slatebench.datasets.files.reading import read_card_file

def load(card, folder, split_seed):
    if folder is not None:
        read_card_file(folder, card.files[0])
    items = pl.DataFrame({{"id": ["a", "b"], "title": ["A", "B"], "text": ["A", "B"], "categories": [[], []]}},
                         schema_overrides={{"categories": pl.List(pl.List(pl.String))}})
    slates = pl.DataFrame({{"request": ["1", "2", "3"], "prompt": ["p", "q", "r"], "group": ["1", "2", "3"],
                           "items": [["a"], ["b"], ["a"]], "part": ["train", "valid", "test"]}})
    return build_dataset(card, items, slates, split_seed)

BASE = dict(title="x", task="prompt->slate", licence="-", citation="-", homepage="-", loader="shop_pkg.data:load",
            text_fields=["title"], item_vectors="text", evaluation_embedding="lsa-text", slate_length=1, cutoffs=[1],
            split="-")
{card}
"""
REAL = """
CARD = DatasetCard(name="shop", source="real", twin={twin!r}, files=[CardFile(path="shop/a.txt", bytes=2,
    sha256="8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4", urls=["http://127.0.0.1:9/a.txt"])],
    **BASE)
"""
TWIN = """
def CARD():
    return DatasetCard(name="shop-synthetic", source="synthetic", **BASE)
"""


@pytest.fixture
def shop(plugin, tmp_path, monkeypatch):
    """A plug-in package `shop_pkg` with the loader, and the entry points `shop` and `shop-synthetic`."""

    def install(twin: str | None = "shop-synthetic") -> None:
        package = tmp_path / "package" / "shop_pkg"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "data.py").write_text(CODE.format(card=""))
        monkeypatch.syspath_prepend(str(tmp_path / "package"))
        for module in ("shop_pkg", "shop_pkg.data"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        plugin("shop", "shop_real", CODE.format(card=REAL.format(twin=twin)))
        plugin("shop-synthetic", "shop_twin", CODE.format(card=TWIN))

    return install


def test_every_twin_is_a_registered_synthetic_dataset():
    twins = {name: card.twin for name, card in builtin_cards().items() if card.twin is not None}
    assert twins
    for name, twin in twins.items():
        assert twin in dataset_names(), f"{name}: no dataset '{twin}'"
        assert dataset_card(twin).source == "synthetic", f"{name}: '{twin}' is real"


def test_every_builtin_card_is_sound():
    for name, card in builtin_cards().items():
        assert card.name == name
        assert card.cutoffs and max(card.cutoffs) <= card.slate_length
        assert card.source == "synthetic" or card.twin
        assert card.source == "synthetic" or card.files or card.instructions
        assert all(file.urls or card.instructions for file in card.files)
        assert all(url.startswith("https://") for file in card.files for url in file.urls)
    for name in ("bundle", "bundle-electronic", "bundle-clothing", "bundle-food", "cpcd"):
        assert builtin_cards()[name].statistics is not None
    assert {"bundle", "cpcd", "mpd", "curated"} <= set(dataset_names())


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'bundle'"):
        dataset_card("bundel")
    with pytest.raises(UsageError, match="unknown source 'rael': did you mean 'real'"):
        find_dataset("bundle", "rael")  # type: ignore[arg-type]


def test_a_plugin_dataset_is_found_and_loaded(shop, no_data, tmp_path, monkeypatch):
    shop()
    assert {"shop", "shop-synthetic"} <= set(dataset_names())
    (tmp_path / "mine" / "shop").mkdir(parents=True)
    (tmp_path / "mine" / "shop" / "a.txt").write_bytes(b"hi")
    monkeypatch.setenv("SLATEBENCH_DATA", str(tmp_path / "mine"))
    data = load_dataset("shop")
    assert (data.name, data.source) == ("shop", "real")
    assert find_dataset("shop").notice is None
    (tmp_path / "mine" / "shop" / "a.txt").write_bytes(b"ho")  # damaged data is an error, never silently synthetic
    with pytest.raises(DataError, match=r"a.txt: wrong checksum"):
        load_dataset("shop")


def test_the_twin_stands_in_with_a_notice(shop, no_data):
    shop()
    found = find_dataset("shop")
    assert found.name == "shop-synthetic" and found.folder is None
    assert found.notice and "NOT REAL DATA" in found.notice and "\n" not in found.notice
    assert "cannot download shop/a.txt" in found.notice and "SLATEBENCH_DATA" in found.notice
    data = load_dataset("shop")
    assert (data.name, data.source) == ("shop-synthetic", "synthetic")


def test_source_real_and_synthetic(shop, no_data):
    shop()
    with pytest.raises(DataError, match=r"cannot download shop/a.txt .*: connect to the network"):
        load_dataset("shop", source="real")
    assert load_dataset("shop", source="synthetic").name == "shop-synthetic"
    assert find_dataset("shop", "synthetic").notice is None  # asked for, so nothing to tell
    assert load_dataset("shop-synthetic").source == "synthetic"
    with pytest.raises(UsageError, match="is synthetic"):
        load_dataset("shop-synthetic", source="real")


def test_without_a_twin_missing_data_is_an_error(shop, no_data):
    shop(twin=None)
    with pytest.raises(DataError, match="cannot download"):
        load_dataset("shop")
    with pytest.raises(UsageError, match="has no synthetic twin"):
        load_dataset("shop", source="synthetic")


@pytest.mark.parametrize(
    ("name", "why"), [("bundle", "which is taken"), ("../up", "but a name has"), ("sweeps", "which is reserved")]
)
def test_a_name_that_cannot_be_used_is_refused_and_hides_no_other(plugin, name, why):
    before = dataset_names()
    plugin(name, "thief", "CARD = None")
    assert dataset_names() == before and "curated" in before
    assert any(f"plug-in thief:CARD wants the dataset name '{name}', {why}" in line for line in refused_datasets())
    if name != "bundle":  # which is ours
        with pytest.raises(UsageError, match="rename its entry point"):
            dataset_card(name)


def test_two_plug_ins_of_one_name_are_both_named(plugin):
    for module in ("one", "other"):
        plugin("mine", module, "CARD = None")
    with pytest.raises(UsageError, match=r"the dataset name 'mine', .* uninstall one of them") as error:
        dataset_card("mine")
    assert "one:CARD" in str(error.value) and "other:CARD" in str(error.value)


@pytest.mark.parametrize("code", ["CARD = 3", "raise RuntimeError('boom')", "OTHER = 1", "def CARD(): return 'x'"])
def test_a_broken_plugin_is_one_clear_line(plugin, code):
    plugin("broken", "broken_plugin", code)
    assert "broken" in dataset_names()  # listing imports nothing
    with pytest.raises(DataError, match=r"plug-in broken_plugin:CARD"):
        dataset_card("broken")


def test_names_and_cards_load_nothing_heavy():
    code = (
        "import sys; from slatebench.datasets.registry import dataset_names, dataset_card;"
        "dataset_names(); dataset_card('bundle');"
        "print([m for m in ('torch', 'transformers', 'faiss', 'mlflow', 'sklearn', 'gensim') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_frozen_statistics_survive_toml_and_tell_every_change(shop, no_data):
    shop()
    data = load_dataset("shop-synthetic")
    block = tomllib.loads(freeze(data))["statistics"]
    assert (
        block == statistics(data).model_dump(exclude_none=True)
        and block["items"] == 2
        and block["fingerprint"] == data.fingerprint
    )
    assert block["first_request"].startswith("1 | ") and len(block["first_request"]) == 20  # the text as a digest only
    for key, value in block.items():
        wrong = block | {key: value + 1 if isinstance(value, int) else "other"}
        card = data.card.model_copy(update={"statistics": type(statistics(data))(**wrong)})
        changed = dataclasses.replace(data, card=card)
        problems = frozen.differences(changed, fingerprint=True)
        assert len(problems) == 1 and f": {key} is " in problems[0]
        if key == "fingerprint":
            frozen.check_statistics(changed)  # left to verify: loading stays cheap
        else:
            with pytest.raises(DataError, match=f"{key} is"):
                frozen.check_statistics(changed)


def test_verify_says_what_holds_and_what_does_not(shop, no_data, tmp_path, monkeypatch):
    shop()
    report = verify("shop")
    assert not report.ok and "cannot download" in report.problems[0]
    (tmp_path / "mine" / "shop").mkdir(parents=True)
    monkeypatch.setenv("SLATEBENCH_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine" / "shop" / "a.txt").write_bytes(b"h")
    assert "truncated" in verify("shop").problems[0]
    (tmp_path / "mine" / "shop" / "a.txt").write_bytes(b"hi")
    report = verify("shop")
    assert report.ok and len(report.checked) == 2 and "a.txt" in report.checked[0]
    with pytest.raises(UsageError, match="unknown dataset"):
        verify("shopp")


@pytest.mark.parametrize("name", ["bundle", "bundle-electronic", "bundle-clothing", "bundle-food", "cpcd"])
def test_the_real_data_is_what_its_card_says(name, real_data):
    report = verify(name)
    assert report.ok, report.problems
    assert len(report.checked) == len(dataset_card(name).files) + 1
