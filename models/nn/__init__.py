"""Network parts that neural models share: `transformer`, `context`, `units`, `beam_step`."""
