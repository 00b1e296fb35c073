"""Health of semantic ids against counting by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.metrics.semantic_ids import concentration, consistency, semantic_id_health


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, category = rng.integers(0, 4, (25, 3)), rng.integers(-1, 3, 25)
    health = semantic_id_health(codes, [4, 4, 8], category)
    assert health["sid_collision_rate"] == pytest.approx(1 - len({tuple(c) for c in codes.tolist()}) / 25)
    for level, size in ((1, 4), (2, 4), (3, 8)):
        used = set(codes[:, level - 1].tolist())
        assert health[f"sid_dead_codes_level_{level}"] == size - len(used)
        assert health[f"sid_codebook_use_level_{level}"] == len(used) / size
        assert 0 <= health[f"sid_code_entropy_level_{level}"] <= 1
        groups = defaultdict(list)
        for code, c in zip(codes.tolist(), category.tolist(), strict=True):
            groups[tuple(code[:level])].append(c)
        assert health[f"sid_groups_level_{level}"] == len(groups)
        known = [[c for c in group if c >= 0] for group in groups.values()]
        n = sum(map(len, known))
        if n:
            majority = sum(max(Counter(group).values()) for group in known if group)
            assert health[f"sid_concentration_level_{level}"] == pytest.approx(majority / n)
        pairs = [a == b for group in known for a, b in combinations(group, 2)]
        if pairs:
            assert health[f"sid_consistency_level_{level}"] == pytest.approx(np.mean(pairs))


def test_extremes() -> None:
    category = np.array([0, 0, 1, 1])
    assert concentration(category, category) == consistency(category, category) == 1
    apart = np.arange(4)
    assert concentration(apart, category) == 1  # pure by definition: hence the number of groups beside it
    assert consistency(apart, category) is None
    assert "sid_concentration_level_1" not in semantic_id_health(apart[:, None], [4], np.full(4, -1))
