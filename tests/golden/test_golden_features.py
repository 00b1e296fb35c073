"""Golden vectors: text encoders, Word2Vec, the evaluation embeddings and the tokenizers, beside their versions.

Vectors are compared by their cosines, which no turn of the axes (a matter of the processor) changes.
"""

from dataclasses import replace

import numpy as np
import pytest
from golden import line, lines

from slatebench.datasets.vectors import evaluation, features, lsa, text_encoder, word2vec
from slatebench.datasets.vectors.evaluation import evaluation_embedding
from slatebench.datasets.vectors.features import make_features
from slatebench.datasets.vectors.text_encoder import HashEncoder
from slatebench.models.semantic_ids import tokenizer
from slatebench.models.semantic_ids.tokenizer import TokenizerConfig, semantic_ids

CLOSE = {"": 1e-4}
CLOSE_NETWORK = {"": 5e-4}  # MiniLM
CLOSE_WORD2VEC = {"": 5e-3}  # gensim's kernels add up in another order, epoch by epoch
CLOSE_CODEBOOKS, SLOTS = {"": 1e-3}, 0.95  # of codes: an item between two of them goes to either


def cosines(a, b):
    """Cosines of rows, or of each pair of them; a zero row has none."""
    return text_encoder.unit_rows(a) @ text_encoder.unit_rows(b).T


def encoded(made, dataset):
    """How prompts lie to items, and the token states of two prompts to each other; lengths of the vectors."""
    prompts = dataset.test.requests["prompt"].to_list()
    tokens, mask = made.tokens(prompts[:2])
    states = tokens[mask]
    found = {
        "prompts to items": cosines(made.prompts(prompts), made.item_texts()[::5]),
        "token states": states @ states[:4].T / np.linalg.norm(states, axis=1).max() ** 2,
        "dims": [made.item_texts().shape[1], lsa.DIMS if made.text_encoder.name == "lsa" else np.nan],
    }
    return {"numbers": {name: line(np.round(values, 6)) for name, values in found.items()}}


@pytest.mark.parametrize(
    ("encoder", "version", "where"),
    [
        ("hash", HashEncoder.version, "`version` of HashEncoder in datasets/text_encoder.py"),
        ("lsa", lsa.RECIPE, "`RECIPE` in datasets/lsa.py"),
        ("minilm", features.RECIPE, "`RECIPE` in datasets/features.py"),
    ],
)
def test_text_vectors_are_golden(encoder, version, where, dataset, goldens, tmp_path):
    found = encoded(make_features(dataset, encoder=encoder, cache=tmp_path), dataset)
    close = CLOSE_NETWORK if encoder == "minilm" else CLOSE
    goldens("features").hold(encoder, version, where, found, close=close)


def test_word2vec_is_golden(dataset, goldens, tmp_path):
    items = make_features(dataset, encoder="hash", item_vectors="word2vec", cache=tmp_path).items()
    found = {"cosines": cosines(items[::4], items[:12]), "lengths": np.linalg.norm(items, axis=1)}
    numbers = {name: line(values.round(5)) for name, values in found.items()}
    where = "`RECIPE` in datasets/word2vec.py"
    goldens("features").hold("word2vec", word2vec.RECIPE, where, {"numbers": numbers}, close=CLOSE_WORD2VEC)


@pytest.mark.parametrize("kind", sorted(evaluation.RECIPES))
def test_evaluation_embeddings_are_golden(kind, dataset, goldens, tmp_path):
    card = dataset.card.model_copy(update={"evaluation_embedding": kind})
    vectors = evaluation_embedding(replace(dataset, card=card), cache=tmp_path).vectors
    numbers = {"cosines": line((vectors[::3] @ vectors[:15].T).round(6)), "dims": line([evaluation.DIMS])}
    where = f"`RECIPES['{kind}']` in datasets/evaluation.py"
    goldens("features").hold(kind, evaluation.RECIPES[kind], where, {"numbers": numbers}, close=CLOSE)


TOKENIZERS = {
    "rkmeans": {"tokenizer": "rkmeans"},
    "rqvae": {"tokenizer": "rqvae"},
    "crqvae cooccurrence": {"tokenizer": "crqvae", "positives": "cooccurrence"},
    "crqvae neighbours": {"tokenizer": "crqvae", "positives": "neighbours"},
    "crqvae category": {"tokenizer": "crqvae", "positives": "category"},
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_semantic_ids_are_golden(name, data, goldens):
    config = TokenizerConfig(codes=8, tokenizer_steps=5, allow_collapse=True, **TOKENIZERS[name])
    ids = semantic_ids(data, config, 4)  # with this seed no item lies within 1e-3 of two codes
    numbers = {"norms": line([np.linalg.norm(book) for book in ids.tokenizer.codebooks])}
    found = {"slates": lines(ids.codes), "numbers": numbers}
    where = "`VERSION` in models/semantic_ids/tokenizer.py, and `version` of the models that have semantic ids"
    goldens("features").hold(name, tokenizer.VERSION, where, found, slots=SLOTS, close=CLOSE_CODEBOOKS)


def test_nothing_else_is_golden(goldens):
    goldens("features").hold_names(["hash", "lsa", "minilm", "word2vec", *evaluation.RECIPES, *TOKENIZERS])
