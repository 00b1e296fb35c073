"""Network parts that every neural model uses: `transformer`, `embedding`, `ema`."""
