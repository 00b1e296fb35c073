"""Similarity-aware relevance (PROTOCOL section 3)."""

from __future__ import annotations

from .base import Metric

METRICS: list[Metric] = []
