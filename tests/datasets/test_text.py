"""Texts of every script: one normal form, words with their marks, n-grams where there are no blanks."""

from __future__ import annotations

import json
import re
from unicodedata import normalize

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slatebench.datasets.build import build_dataset
from slatebench.datasets.errors import DataError
from slatebench.datasets.loaders import curated
from slatebench.datasets.schema import make_requests
from slatebench.datasets.text import composed, normalised, plainly_read, terms, words
from slatebench.datasets.vectors.evaluation import lsa_text

TRICKY = "é\u0301\u0308ßİıﬁＡ½²™①のガｶﾞดูनी\u200d\ufe0f\ufeff🇩👍🏽_ -"
ANY = st.text(st.one_of(st.characters(), st.sampled_from(TRICKY)), max_size=30)
SAME = [  # two spellings that a reader takes for one
    ("Tiếng Việt", normalize("NFD", "Tiếng Việt")),
    ("ＣＡＭＰ　２５", "camp 25"),
    ("ｷｬﾝﾌﾟ", "キャンプ"),
    ("oﬃce", "OFFICE"),
    ("Straße", "STRASSE"),
    ("İstanbul", "istanbul"),
    ("\ufeffcamp\u00ading\u200b", "camping"),
    ("می‌خواهم", "میخواهم"),
    ("❤️ 👍🏽", "❤ 👍🏽"),
    ("ﻛﺘﺎﺏ", "كتاب"),
    (normalize("NFD", "캠핑 의자"), "캠핑 의자"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_that_look_alike_are_one_text(one, other):
    assert normalised(one) == normalised(other) != ""
    assert words(one) == words(other) != []
    assert terms(one) == terms(other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("चाय का कप, चाँदी", ["चाय", "का", "कप", "चाँदी"]),  # vowel signs and nasal sign stay with their letters
        ("தமிழ் நூல்", ["தமிழ்", "நூல்"]),
        ("كِتَابٌ جديد", ["كِتَابٌ", "جديد"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("캠핑 의자", ["캠핑", "의자"]),
        ("größe 2½ Lego™ m²", ["grösse", "2½", "lego", "m²"]),
        ("茶", ["茶"]),
        ("帐篷", ["帐", "篷", "帐篷"]),
        ("お茶セット", ["お", "茶", "セ", "ッ", "ト", "お茶", "茶セ", "セッ", "ット"]),
        ("帐篷tent2人", ["帐", "篷", "帐篷", "tent2", "人"]),
        ("ชา", ["ชา"]),
        ("กาแฟ", ["กา", "าแ", "แฟ", "กาแ", "าแฟ"]),
        ("កាហ្វេ", ["កាហ្", "ហ្វេ", "កាហ្វេ"]),  # pairs and triples of letters with their marks
        ("rain 🌧️ day", ["rain", "🌧", "day"]),
        ("👩🏽‍🌾", ["👩", "🌾"]),
        ("♪♫", ["♪", "♫"]),
        ("♪ song", ["song"]),
        ("!!! \u200b", []),
    ],
)
def test_words_of_every_script(text, found):
    assert words(text) == [normalize("NFC", word) for word in found]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("ร้านกาแฟสด", "กาแฟ"),
        ("ຮ້ານກາເຟສົດ", "ກາເຟ"),
        ("ហាងកាហ្វេស្រស់", "កាហ្វេ"),
        ("ကော်ဖီဆိုင်သစ်", "ကော်ဖီ"),
        ("登山用品專賣", "用品"),
    ],
)
def test_a_word_is_found_inside_a_text_without_blanks(text, asked):
    assert set(words(asked)) <= set(words(text))


@given(ANY)
@example("\u0345")
def test_the_normal_form_plays_no_part(text):
    for form in ("NFC", "NFD"):
        spelt = normalize(form, text)
        assert words(spelt) == words(text) and terms(spelt) == terms(text)
        assert normalised(spelt) == normalised(text) and composed(spelt) == composed(text)
    assert composed(composed(text)) == composed(text)
    assert normalised(normalised(text)) == normalised(text)
    assert all(words(text)) and not any(" " in word for word in words(text))


@given(st.text(st.characters(codec="ascii"), max_size=40))
def test_ascii_is_read_as_it_always_was(text):
    assert words(text) == re.findall(r"[^\W_]+", text.lower())
    assert words(text, underscore=True) == re.findall(r"\w+", text.lower())
    assert terms(text) == re.findall(r"(?u)\b\w\w+\b", text.lower())
    assert normalised(text) == (" ".join(re.findall(r"[^\W_]+", text.casefold())) or " ".join(text.lower().split()))
    assert composed(text) == text and plainly_read([text])


def test_versions_know_what_is_read_otherwise():
    assert plainly_read(["Café für zwei – Lego® 5 m²", "señor", "떡볶이", "Чай"])
    assert not any(plainly_read([text]) for text in ("चाय", "帐篷", "cafe\u0301", "🔥", "กาแฟ"))


@pytest.mark.parametrize("titles", ["😀🎉🔥", "abc", "茶酒水", "कखग", "♪★→"])
def test_equal_titles_are_alike_in_the_evaluation_space(titles):
    vectors = lsa_text([title for title in titles for _ in range(3)])
    near = vectors @ vectors.T
    same = np.kron(np.eye(3), np.ones((3, 3)))
    np.testing.assert_allclose(near, same, atol=1e-6)


def test_a_typed_prompt_is_one_request_however_it_is_spelt():
    one, other = (make_requests([normalize(form, "thé à la crème")]) for form in ("NFC", "NFD"))
    assert one.equals(other)


def _data(card, ids, prompts=("tent", "stove", "lamp")):
    items = pl.DataFrame({"id": ids, "title": ids, "text": ids}).with_columns(
        categories=pl.lit(None, dtype=pl.List(pl.List(pl.String))).fill_null([])
    )
    slates = pl.DataFrame({"request": ["a", "b", "c"], "prompt": prompts, "group": ["a", "b", "c"],
                           "items": [[ids[0]]] * 3, "part": ["train", "valid", "test"]})  # fmt: skip
    return build_dataset(card("made"), items, slates, 0)


def test_ids_that_only_differ_in_their_normal_form_are_an_error(card):
    with pytest.raises(DataError, match=r"item id 'clé' is given twice \(rows 1 and 2\)"):
        _data(card, ["cle\u0301", "cl\u00e9"])
    data = _data(card, ["cle\u0301", "b"], ("e\u0301te\u0301", "stove", "lamp"))
    assert data.catalog.ids[0] == "cl\u00e9" and data.train.requests["prompt"][0] == "\u00e9t\u00e9"


def test_curated_data_are_composed(tmp_path, card):
    spelt = [{"id": normalize("NFD", f"clé{i}"), "title": f"\ufeffthé {i}"} for i in range(6)]
    slates = [{"prompt": normalize(form, f"été {i}"), "items": [f"clé{i}", f"clé{i + 1}"]}
              for i in range(5) for form in ("NFC", "NFD")]  # fmt: skip
    folder = tmp_path / "curated"
    folder.mkdir()
    for name, rows in (("catalog", spelt), ("slates", slates)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert curated.check_curated(folder) == []
    spec = card("curated", slate_length=10, cutoffs=[10, 5], instructions="write it")
    data = curated.load(spec, tmp_path, 0)
    assert data.catalog.ids[0] == "clé0" and data.catalog.titles[0] == "thé 0"
    groups = pl.concat([data.part(name).requests for name in ("train", "valid", "test")])
    assert groups["group"].n_unique() == groups["prompt"].n_unique() == 5  # two spellings are one prompt
    spelt += [{"id": "clé0", "title": "again"}, {"id": "z", "title": "\u200b"}]
    (folder / "catalog.jsonl").write_text("\n".join(map(json.dumps, spelt)))
    told = "\n".join(map(str, curated.check_curated(folder)))
    assert "row 7" in told and "duplicate of row 1" in told
    assert "row 8: field 'title': holds no character that can be seen" in told
