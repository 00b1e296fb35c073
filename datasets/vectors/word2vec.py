"""Word2Vec item vectors: slates or sequences as sentences (skip-gram); items never seen there by ridge from their text.

Deterministic: one worker, a fixed seed, vocabulary in an order of our own, nothing that hangs on PYTHONHASHSEED.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from .text_encoder import unit_rows

RECIPE = "word2vec-5"  # raise the number when the vectors change
DIMS = 128
WINDOW = 50  # wider than our slates: every pair of a slate is a context
SEQUENCE_WINDOW = 5  # a history runs over years: only what was had at about the same time is a context
WORDS_TRAINED = 5_000_000  # epochs: as many as reach this, but from 5 to 50
SEED = 0
RIDGE = 1.0


def fit_word2vec(slates: list[list[int]], item_texts: np.ndarray, window: int = WINDOW) -> dict[str, np.ndarray]:
    """Item vectors and the regression that places new items among them.

    Args:
        slates: train slates (or sequences), item indices.
        item_texts: text vectors [N, d_text].
        window: how far apart in a slate two items are still of one context.

    Returns:
        "items": float32 [N, d], rows of length n / (n + 1) for an item of n train slates, and what the
        regression gives for a new one; "ridge": float32 [d_text + 1, d], last row the
        intercept.
    """
    from gensim.models import Word2Vec

    sentences = [[str(item) for item in slate] for slate in slates if slate]
    counts = Counter(item for slate in slates for item in slate)
    items = np.zeros((len(item_texts), DIMS), np.float32)
    if not counts:
        return {"items": items, "ridge": np.zeros((item_texts.shape[1] + 1, DIMS), np.float32)}
    epochs = int(np.clip(WORDS_TRAINED // counts.total(), 5, 50))
    model = Word2Vec(
        vector_size=DIMS, window=window, shrink_windows=False, min_count=1, sg=1, negative=5, sample=0,
        workers=1, seed=SEED, epochs=epochs,
    )  # fmt: skip
    order = sorted(counts, key=lambda item: (-counts[item], item))
    model.build_vocab_from_freq({str(item): counts[item] for item in order}, corpus_count=len(sentences))
    model.train(sentences, total_examples=len(sentences), epochs=epochs)

    seen = np.array(order, dtype=np.int64)
    vectors = unit_rows(model.wv[[str(item) for item in order]])
    # skip-gram vectors share one strong direction; left in, every slate's centre points at the new items, whose
    # predicted vectors are little else (Mu and Viswanath, All-but-the-top, ICLR 2018)
    directions = unit_rows(vectors - vectors.mean(axis=0))
    # an item of one slate points exactly at the middle of that slate: at length 1 such items crowd out the popular ones
    # wherever a slate's centre is asked for. Shrunk as the mean of n observations and one of nothing.
    seen_in = np.array([counts[item] for item in order], np.float32)[:, None]
    items[seen] = directions * (seen_in / (seen_in + 1))
    ridge = _fit_ridge(item_texts[seen], items[seen])
    cold = np.setdiff1d(np.arange(len(items)), seen)
    items[cold] = predict_cold(ridge, item_texts[cold])
    return {"items": items, "ridge": ridge}


def predict_cold(ridge: np.ndarray, item_texts: np.ndarray) -> np.ndarray:
    """Vectors [M, d] of items known only by their text vectors [M, d_text], of the length that the regression gives.

    That is the expected unit vector: the less the text tells, the shorter. Put to length 1 such vectors attract every
    regressed query and crowd the known items out (hubness).
    """
    return (item_texts @ ridge[:-1] + ridge[-1]).astype(np.float32)


def _fit_ridge(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Ridge regression with a free intercept (normal equations in float64) [d_in + 1, d_out]."""
    x, y = inputs.astype(np.float64), targets.astype(np.float64)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return np.vstack([weights, mean_y - mean_x @ weights]).astype(np.float32)
