"""What a claim is: the systems it compares, the rule fixed before a run, the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from .statistics import Figure, Statistic

Verdict = Literal["held", "not held", "inconclusive", "not run"]


@dataclass(frozen=True)
class System:
    """A system of an experiment: a model's address, values set by hand, and what it learns from."""

    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    encoder: str | None = None
    item_vectors: str | None = None
    train_share: float = 1.0


@dataclass(frozen=True)
class Rule:
    """The claim holds if the statistic lies between `low` and `high` (a missing bound: no bound on that side)."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def text(self) -> str:
        """The rule in words."""
        if math.isinf(self.high):
            return f"above {self.low:g}"
        if math.isinf(self.low):
            return f"below {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"

    def verdict(self, figure: Figure) -> Verdict:
        """Held: the whole interval satisfies the rule. Not held: none of it does. Else inconclusive.

        >>> Rule(low=1.0).verdict(Figure(1.2, 1.1, 1.3)), Rule(low=1.0).verdict(Figure(1.2, 0.9, 1.5))
        ('held', 'inconclusive')
        """
        low, high = figure.low, figure.high
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
            return "inconclusive"
        if self.low < low and high < self.high:
            return "held"
        return "not held" if high <= self.low or low >= self.high else "inconclusive"


@dataclass(frozen=True)
class Claim:
    """A paper's statement and the experiment that tests it.

    Attributes:
        sentence: the statement in our words.
        published: the figure the paper gives, or that it gives none.
        systems: by role.
        samples: per request of stochastic systems (default: the budget's).
        k: slots of a slate (default: the dataset's).
        beside: what else the same runs tell; no verdict hangs on it.
        note: what a reader must know of the experiment.
        missing: what the suite can't do yet, if that is so; the claim then stands as not run.
    """

    id: str
    paper: str
    sentence: str
    published: str
    systems: dict[str, System]
    statistic: Statistic
    rule: Rule
    samples: int | None = None
    k: int | None = None
    beside: tuple[Statistic, ...] = ()
    note: str = ""
    missing: str | None = None
