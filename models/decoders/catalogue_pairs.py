"""Auxiliary catalogue pairs: an item's own text or its category as a prompt, the item as the slate.

One helper, offered to all alike (docs/protocol.md, section 7): most items of new slates are in no train slate, and
item metadata is open to every model.
"""

from __future__ import annotations

import numpy as np

from ...datasets.schema import Catalog
from ...datasets.vectors.features import Features

PRESET = {"catalogue_pairs": 64}  # of the models that offer them: so many per step
TEXT_SHARE = 0.7  # of the pairs have the item's text as prompt, the others its category


class CataloguePairs:
    """Prompt vectors for items of the whole catalogue.

    Attributes:
        texts: the items' text vectors [N, d].
        categories: vectors of the names of the leaf categories [C, d].
        category: row in `categories` of each item [N]; -1 = none.
    """

    def __init__(self, catalog: Catalog, features: Features) -> None:
        leaves = [paths[0][-1] if paths and paths[0] else "" for paths in catalog.items["categories"].to_list()]
        names = {name: row for row, name in enumerate(sorted({*leaves} - {""}))}
        self.texts = features.item_texts()
        self.categories = features.prompts(list(names)) if names else np.zeros((1, self.texts.shape[1]), np.float32)
        self.category = np.array([names.get(leaf, -1) for leaf in leaves])

    def draw(self, items: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Prompt vectors [B, d] of `items` [B]; `uniform` [B] in [0, 1) decides between text and category."""
        rows = self.category[items]
        by_text = (uniform < TEXT_SHARE) | (rows < 0)
        return np.where(by_text[:, None], self.texts[items], self.categories[rows])
