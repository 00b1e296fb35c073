"""Beyond relevance (PROTOCOL section 4)."""

from __future__ import annotations

from .base import Metric

METRICS: list[Metric] = []
