"""The command that makes runs again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from ..datasets.text_encoder import DEFAULT_ENCODER
from .records import Run


def bench_command(runs: Sequence[Run]) -> str:
    """`slatebench bench ...` for the runs of one system, which differ in their seeds alone."""
    spec, record = runs[0].spec, runs[0].record
    options: dict[str, object] = {"--dataset": spec.dataset, "--budget": spec.budget}
    options["--seeds"] = ",".join(str(seed) for seed in sorted({run.spec.seed for run in runs}))
    options["-k"] = spec.k
    if record.stochastic:
        options["--samples"] = spec.samples
    usual = {
        "--part": (spec.part, "test"),
        "--split-seed": (spec.split_seed, 0),
        "--train-share": (spec.train_share, 1.0),
        "--encoder": (spec.encoder, DEFAULT_ENCODER),
        "--item-vectors": (spec.item_vectors, None),
        "--bertscore": (spec.bertscore, None if spec.budget == "smoke" else "minilm"),
    }
    options |= {name: value for name, (value, default) in usual.items() if value not in (default, None)}
    words = ["slatebench", "bench", spec.model, *(str(word) for pair in options.items() for word in pair)]
    for name, value in record.overrides.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)
