"""Metrics and statistics: array-wise, no torch. Knows datasets only."""
