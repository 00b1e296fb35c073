"""Commands that make runs again, and what in them is not as usual."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..datasets.tasks import task_named
from ..datasets.vectors.text_encoder import DEFAULT_ENCODER
from .records import Run
from .schema import DataChoice


def bench_command(runs: Sequence[Run]) -> str:
    """`slatebench bench ...` for the runs of one system, which differ in their seeds alone."""
    spec, record = runs[0].spec, runs[0].record
    task = task_named(spec.task)
    options: dict[str, object] = {"--budget": spec.budget}
    options["--seeds"] = ",".join(str(seed) for seed in sorted({run.spec.seed for run in runs}))
    options["-k"] = spec.k
    if record.stochastic:
        options["--samples"] = spec.samples
    usual = {
        "--part": (spec.part, "test"),
        "--split-seed": (spec.split_seed, 0),
        "--requests": (spec.requests, task.asked.get(spec.budget)),
        "--bertscore": (spec.bertscore, "minilm" if spec.budget != "smoke" and task.bertscore else None),
    }
    options |= {name: value for name, (value, default) in usual.items() if value not in (default, None)}
    options |= {f"--{name}": value for name, value in unusual_data(spec).items()}
    return command_line(spec.model, spec.dataset, record.overrides, options) + (" --refit" if spec.refit else "")


def command_line(model: str, dataset: str, settings: Mapping[str, Any], options: Mapping[str, object]) -> str:
    """`slatebench bench` with settings as `--set` and further options, safe to type into a shell.

    >>> command_line("dmsg", "bundle", {"steps": 2, "order": "slot"}, {"--budget": "smoke"})
    'slatebench bench dmsg --dataset bundle --set steps=2 --set order=slot --budget smoke'
    """
    words = ["slatebench", "bench", model, "--dataset", dataset]
    for name, value in settings.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, *(str(word) for pair in options.items() for word in pair)])


def unusual_data(spec: DataChoice) -> dict[str, str]:
    """What the model learns from where that is not as usual, by option of the command line."""
    found = {} if spec.train_share == 1 else {"train-share": str(spec.train_share)}
    found |= {} if spec.encoder == DEFAULT_ENCODER else {"encoder": spec.encoder}
    found |= {} if spec.repeats == "excluded" else {"repeats": spec.repeats}
    return found | ({"item-vectors": spec.item_vectors} if spec.item_vectors else {})
