"""What a budget means for the measuring (what it means for a model's training stands in the model's file)."""

from __future__ import annotations

from dataclasses import dataclass

from ...leaderboards.schema import Budget


@dataclass(frozen=True)
class Measuring:
    """Samples per request of a stochastic model, single requests timed, BERTScore, seconds until a cell is stopped."""

    samples: int
    latency_requests: int
    bertscore: str | None
    timeout: float | None


MEASURING: dict[Budget, Measuring] = {
    "smoke": Measuring(samples=2, latency_requests=20, bertscore=None, timeout=600),
    "standard": Measuring(samples=10, latency_requests=200, bertscore="minilm", timeout=3600),
    "paper": Measuring(samples=10, latency_requests=1000, bertscore="minilm", timeout=None),
}
