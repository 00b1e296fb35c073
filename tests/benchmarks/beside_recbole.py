"""SASRec here and in RecBole on the same data: seconds of an epoch and of a validation score, epochs in turn.

    python tests/benchmarks/beside_recbole.py --recbole /env-with-recbole/bin/python [--dataset amazon-beauty]

RecBole is no dependency: it lives in an environment of its own (recbole==1.2.1 with numpy < 2). Each side is a process
with one thread that fits for an epoch, is scored, and waits while the other one does the same, so that whatever else
the machine does falls on both. Both have one block, width 64, one head, dropout .3, histories of at most 50 items and
full cross entropy; each keeps what is its own: batches, order, schedule, how dropout is drawn. Scored is NDCG@10 over
all validation users, whole catalogue, nothing filtered. Writes the page docs/results/recbole.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIDES = ("slatebench", "recbole")


def main() -> None:
    """Let both sides fit in turn and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recbole", help="python of an environment with RecBole")
    parser.add_argument("--dataset", default="amazon-beauty", help="a dataset that is split leave-one-out")
    parser.add_argument("--epochs", type=int, default=20, help="of each side, at most")
    parser.add_argument("--minutes", type=float, default=60, help="after which no further epoch is begun")
    parser.add_argument("--page", type=Path, default=Path("docs/results/recbole.md"))
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        {"slatebench": fit_here, "recbole": fit_recbole}[asked.child](asked.dataset, asked.epochs, asked.folder)
        return
    if not asked.recbole:
        parser.error("--recbole: name the python of an environment with RecBole")
    with tempfile.TemporaryDirectory() as folder:
        curves = in_turn(asked, Path(folder))
    asked.page.write_text(page(asked.dataset, curves), encoding="utf-8")
    print(f"wrote {asked.page}")


def in_turn(asked: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """What each side said after each epoch: seconds of its processor so far, and its score."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    pythons = {"slatebench": sys.executable, "recbole": asked.recbole}
    children, curves = {}, {side: [] for side in SIDES}
    for side in SIDES:  # ours first: it writes the data that the other one reads
        command = [pythons[side], __file__, "--child", side, "--dataset", asked.dataset, "--epochs", str(asked.epochs),
                   "--folder", str(folder)]  # fmt: skip
        children[side] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                          env=os.environ | threads, cwd=folder)  # fmt: skip
        print(side, heard(children[side]), flush=True)
    until = time.monotonic() + 60 * asked.minutes
    for _ in range(asked.epochs):
        if time.monotonic() > until:
            break
        for side, child in children.items():
            child.stdin.write("\n")
            child.stdin.flush()
            curves[side].append(heard(child))
            print(side, curves[side][-1], flush=True)
    for child in children.values():
        child.kill()
    return curves


def heard(child: subprocess.Popen[str]) -> dict[str, float]:
    """The next line of a child that is for us."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"a side ended early, exit code {child.wait()}")


def turns() -> Iterator[None]:
    """Waits for each turn."""
    for _ in sys.stdin:
        yield


def say(**facts: float) -> None:
    """A line for the parent."""
    print(json.dumps(facts), flush=True)


def fit_here(dataset: str, epochs: int, folder: Path) -> None:
    """Ours: the network, task and training of the model `sasrec`, checked after every epoch."""
    from slatebench.benchmark.cells.cell import Cell
    from slatebench.benchmark.cells.data import load_data
    from slatebench.datasets.train_data import train_data
    from slatebench.metrics.evaluate import evaluate
    from slatebench.models.sequential.base import SequenceTask
    from slatebench.models.sequential.sasrec import SASRec
    from slatebench.models.training.fit import fit_network

    data = load_data(Cell(dataset=dataset, model="sasrec", source="real", repeats="allowed"))
    seen = train_data(data.dataset, data.features, valid_limit=len(data.dataset.valid))
    write_atomic(data.dataset, folder)
    assert seen.sequences is not None
    users = seen.sequences.filter(seen.sequences["items"].list.len() > 1).height
    model = SASRec(SASRec.Config())
    steps = -(-users // model.config.batch_size)
    config = SASRec.Config(max_steps=steps * epochs, check_every=steps, patience=epochs)
    model = SASRec(config)
    model.catalog, model.timed = seen.catalog, False
    network = model.network = model._new_network(len(seen.catalog), False)
    task = SequenceTask(network, seen.sequences)
    truth, turn, spent = data.truth("valid", set(seen.valid_requests["request"])), turns(), 0.0
    say(users=users, interactions=int(seen.sequences["items"].list.len().sum()))
    next(turn, None)
    begun = time.process_time()

    def check() -> float:
        nonlocal begun, spent
        spent += time.process_time() - begun
        slates = model.generate(seen.valid_requests, 10)
        value = float(evaluate(slates, truth, cutoffs=[10], only={"ndcg_at_10"}).values["ndcg_at_10"].mean())
        say(seconds=spent, ndcg=value)
        next(turn, None)
        begun = time.process_time()
        return value

    fit_network(task, len(task.lengths), config, seed=0, evaluate=check, progress=lambda *_: None, checkpoint=None,
                lengths=task.lengths)  # fmt: skip


def write_atomic(dataset: Any, folder: Path) -> None:
    """The users' items as RecBole reads them, time for their place in the order."""
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    before = dict(dataset.test.requests.select("group", "history").iter_rows())
    with_test = dataset.test.references["items"].to_list()
    for (user, history), last in zip(before.items(), with_test, strict=True):
        lines += [f"{user}\t{item}\t{place}" for place, item in enumerate([*history, *last])]
    (folder / "same").mkdir()
    (folder / "same" / "same.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")


def fit_recbole(dataset: str, epochs: int, folder: Path) -> None:
    """Theirs, by its own configuration, data loaders and trainer."""
    import torch
    from recbole.config import Config  # pyright: ignore[reportMissingImports]
    from recbole.data import create_dataset, data_preparation  # pyright: ignore[reportMissingImports]
    from recbole.model.sequential_recommender import SASRec  # pyright: ignore[reportMissingImports]
    from recbole.trainer import Trainer  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    settings = {
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "use_gpu": False,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}, "metrics": ["NDCG"],
        "topk": [10], "valid_metric": "NDCG@10", "metric_decimal_place": 6, "epochs": epochs, "show_progress": False,
        "MAX_ITEM_LIST_LENGTH": 50, "n_layers": 1, "n_heads": 1, "hidden_size": 64, "inner_size": 64,
        "hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.3, "hidden_act": "relu", "loss_type": "CE",
        "train_neg_sample_args": None, "checkpoint_dir": str(folder / "saved"),
    }  # fmt: skip
    sys.argv = sys.argv[:1]
    config = Config(model="SASRec", dataset="same", config_dict=settings)
    same = create_dataset(config)
    train, valid, _ = data_preparation(config, same)
    model = SASRec(config, train.dataset)
    trainer = Trainer(config, model)
    say(users=float(same.user_num - 1), interactions=float(len(train.dataset)))
    spent, turn = 0.0, turns()
    for epoch in range(epochs):
        next(turn)
        begun = time.process_time()
        trainer._train_epoch(train, epoch)
        spent += time.process_time() - begun
        found = trainer.evaluate(valid, load_best_model=False)
        say(seconds=spent, ndcg=float(found["ndcg@10"]))


def page(dataset: str, curves: dict[str, list[dict[str, float]]]) -> str:
    """The page: both curves, seconds of an epoch, and seconds to the best score that both have reached."""
    an_epoch = {side: curve[-1]["seconds"] / len(curve) for side, curve in curves.items()}
    level = min(max(point["ndcg"] for point in curve) for curve in curves.values())
    to_level = {
        side: next(point["seconds"] for point in curve if point["ndcg"] >= level) for side, curve in curves.items()
    }
    lines = [
        "# SASRec here and in RecBole", "",
        f"*Made by `tests/benchmarks/beside_recbole.py` on {dataset}; nothing on this page was typed by hand.*", "",
        "One block, width 64, one head, dropout .3, histories of at most 50 items, full cross entropy; one thread "
        "each, epochs in turn on the same machine. Seconds are those of the processor. RecBole 1.2.1 learns from every "
        "prefix of a sequence by itself; here a sequence is one row, and all its places are learnt from at once. "
        "NDCG@10 over all validation users, whole catalogue, nothing filtered.", "",
        "| | SlateBench | RecBole | times faster |", "| --- | --- | --- | --- |",
        *(f"| {what} | {found['slatebench']:,.1f} | {found['recbole']:,.1f} | "
          f"{found['recbole'] / found['slatebench']:.1f} |"
          for what, found in ((f"seconds of an epoch (mean of {len(curves['recbole'])})", an_epoch),
                              (f"seconds to NDCG@10 {level:.4f}, the best that both reached", to_level))), "",
        "| epoch | SlateBench, s | NDCG@10 | RecBole, s | NDCG@10 |", "| --- | --- | --- | --- | --- |",
        *(f"| {i} | {ours['seconds']:,.0f} | {ours['ndcg']:.4f} | {theirs['seconds']:,.0f} | {theirs['ndcg']:.4f} |"
          for i, (ours, theirs) in enumerate(zip(*curves.values(), strict=True), start=1)), "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
