"""Single-request latency, measured last and alone."""
