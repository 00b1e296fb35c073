"""The results pages of the documentation, made from records: a page per dataset, one of its sweeps, and the claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...datasets.errors import UsageError, unknown_name
from ...leaderboards.board import Board, System, build_board, per_request, set_by_hand
from ...leaderboards.command import bench_command
from ...leaderboards.records import Run, list_runs, runs_folder, write_text
from ...leaderboards.report.charts import groups
from ...leaderboards.report.plot import Figure
from ...leaderboards.report.sweeps import LATENCY, sweep_plots
from ...leaderboards.sweeps import read_sweeps
from ...leaderboards.tables import caption, markdown_table, number, short_name, table, title
from ..claims.catalogue import CLAIMS
from ..claims.report import as_markdown as claims_markdown
from ..claims.report import pair_up
from ..claims.results import merge_published, read_results
from ..today import once, today_of
from .compare import paired
from .reproductions import reproductions

AGAINST = ("bm25", "dense", "hybrid", "prompt2vec", "trie-prior", "set-regressor", "markov", "item-knn")
RELEVANCE = ("ndcg_sim_at_10", "ndcg_at_10", "map_sim_at_10", "map_at_10", "recall_at_10", "hit_at_10")
BEYOND = ("freshness", "jaccard_distance", "coherence", "leaf_entropy", "popularity", "popularity_ratio",
          "train_seen_share", "short_rate", "raw_duplicate_rate", "bertscore_f1")  # fmt: skip
PICTURE = {"width": 640, "background": "white"}
MADE = "*Made by `slatebench leaderboard publish` from records; nothing on this page was typed by hand.*"


def publish(out: Path, runs: Path | str | None = None, pages: Sequence[str] = ()) -> list[Path]:
    """Write the pages of every dataset with finished test runs, `claims.md` and `index.md` into `out`, with pictures.

    A dataset has `<dataset>.md` and, where it was swept, `<dataset>-sweeps.md`; pictures stand in `<page>/`. Published
    figures of histories stand beside ours in `histories.md`. Other pages, and results of claims that were not run here
    (`claims.json`), stay as they are.

    Args:
        out: folder of the pages.
        runs: folder of the records.
        pages: those to write, e.g. bundle, bundle-sweeps or claims (default: all).

    Raises:
        UsageError: there is no finished run, or no such page.
    """
    folder = runs_folder(runs).resolve()
    found, results = list_runs(folder)[0], read_results(folder)
    names = sorted({run.spec.dataset for run in found if run.record.state == "done" and run.spec.part == "test"})
    if not names and not results:
        raise UsageError(f"{folder}: no finished run of a test part; `slatebench bench MODEL --dataset NAME` makes one")
    swept = {f"{name}-sweeps": name for name in names if not read_sweeps(folder, name).is_empty()}
    beside = reproductions(found, MADE)
    known = [*names, *swept, *(["histories"] if beside else []), "claims"]
    for page in pages:
        if page not in known:
            raise unknown_name("page", page, known)
    out.mkdir(parents=True, exist_ok=True)
    wanted, texts = pages or known, {}
    for page in (page for page in known if page in wanted and page not in ("claims", "histories")):
        lines, figures = _sweeps_page(swept[page], found, folder) if page in swept else _dataset_page(page, found)
        if page in swept and not figures:  # trials on other data than the board's
            continue
        texts[page] = "\n".join(line.format(page=page) if line.startswith("![") else line for line in lines)
        _draw(figures, out / page)
    if beside and "histories" in wanted:
        texts["histories"] = beside + "\n"
    if "claims" in wanted:
        claims = merge_published(out / "claims.json", results)
        texts["claims"] = claims_markdown(pair_up(CLAIMS, claims)) + f"\n{MADE}\n"
    there = {path.stem for path in out.glob("*.md")} | set(texts)
    links = [f"- [{name.replace('-sweeps', ': sweeps')}]({name}.md)" for name in sorted(there - {"index", "claims"})]
    links += ["- [claims of the papers](claims.md)"] * ("claims" in there)
    texts["index"] = "\n".join(["# Results", "", MADE, "", *links, ""])
    for name, text in texts.items():
        write_text(out / f"{name}.md", text)
    return [out / f"{name}.md" for name in texts]


def _draw(figures: list[Figure], folder: Path) -> None:
    """Draw the figures of a page into its folder, and leave none of an earlier page."""
    import vl_convert

    drawn = {f"{one.name}.svg": vl_convert.vegalite_to_svg(one.spec | PICTURE) for one in figures}
    folder.mkdir(exist_ok=True)
    for name, picture in drawn.items():
        write_text(folder / name, picture)
    for old in set(folder.glob("*.svg")) - {folder / name for name in drawn}:
        old.unlink()


def _shown(figure: Figure) -> list[str]:
    """Markdown of a figure; `{page}` stands for the page's own folder of pictures."""
    return [f"![{figure.title}]({{page}}/{figure.name}.svg)", "", figure.caption, ""]


def _sweeps_page(dataset: str, runs: list[Run], folder: Path) -> tuple[list[str], list[Figure]]:
    plots = sweep_plots(_board(dataset, runs), read_sweeps(folder, dataset))
    # a trial's latency is of a few requests, whatever ran beside
    figures = [one for group in plots for one in group.figures if one.name != f"sweep-{LATENCY}"]
    lines = [f"# Sweeps on {dataset}", "", MADE, "", "Trials on requests of the validation part.", ""]
    for figure in figures:
        head, *rows = (tuple(row) for row in figure.table)
        lines += [f"## {figure.title}", "", *_shown(figure), *table(head, rows), ""]
    return lines, figures


def _board(dataset: str, runs: list[Run], ablations: bool = True) -> Board:
    of_dataset = [run for run in runs if run.spec.dataset == dataset]
    now = today_of(of_dataset[0])
    board = build_board(of_dataset, dataset, ablations=ablations, stale=now.stale, metrics=(*RELEVANCE, *BEYOND))
    board.notices[:] = once(*board.notices, *now.notices)
    return board


def _dataset_page(dataset: str, runs: list[Run]) -> tuple[list[str], list[Figure]]:
    board = _board(dataset, runs, ablations=False)
    key = board.systems[0].runs[0].spec.board
    by_hand = any(set_by_hand(run) for run in runs if run.spec.board == key and run.record.state == "done")
    everyone = _board(dataset, runs) if by_hand else board
    have = {name for system in board.systems for name in system.summary}
    leader = board.systems[0].runs[0].spec.headline
    relevance, beyond = ([name for name in names if name in have] for names in ((leader, *RELEVANCE), BEYOND))
    relevance, main = list(dict.fromkeys(relevance)), list(dict.fromkeys((leader, "ndcg_at_10")))
    lines = [f"# Results on {board.dataset}", "", MADE, "", f"{title(board)}.", ""]
    lines += ["## Relevance", "", markdown_table(board, relevance), ""]
    lines += ["## Beyond relevance", "", markdown_table(board, beyond), ""]
    lines += ["## Cost", "", *_cost(board), ""]
    plots = [group for group in groups(board) if group.title != "Training"]
    for group in plots:
        lines += [f"## {group.title}", "", *(line for figure in group.figures for line in _shown(figure))]
    lines += ["## Paired differences", ""]
    lines += ["System minus reference on the same requests: mean [95 % interval over groups], and p of a permutation "
              "test that flips signs by group (not corrected for the number of rows).", ""]  # fmt: skip
    for reference in AGAINST:
        base = next((system for system in board.systems if system.label == reference), None)
        if base is not None:
            lines += [f"### minus {reference}", "", *_paired(board, base, main), ""]
    if by_hand:
        lines += ["## With settings set by hand", "", markdown_table(everyone, [*main, "freshness"]), ""]
    lines += ["## How to read it", "", *(f"- {line}" for line in caption(board, [*relevance, *beyond])), ""]
    lines += ["## How to make it again", "", *_again(everyone), ""]
    return lines, [figure for group in plots for figure in group.figures]


def _cost(board: Board) -> list[str]:
    rows = []
    for system in board.systems:
        if system.kind == "ceiling":
            continue
        run = system.runs[0]
        latency = [system.latency(f"{p}_ms", board.machine) for p in ("p50", "p95", "p99")]
        memory = system.latency("peak_rss_mib", board.machine)
        settings = run.spec.sampling
        parameters, passes = (run.record.cost.get(name, 0) for name in ("parameters", "nfe"))
        shown = ", ".join(
            f"{key}={settings[key]}" for key in ("steps", "beam", "decoder", "passes") if settings.get(key)
        )
        rows.append((
            system.label, *("–" if value is None else f"{value:.2f}" for value in latency),
            "–" if memory is None else f"{memory:.0f}", _seconds(system), f"{parameters:,.0f}",
            f"{passes:g}", shown or "–",
        ))  # fmt: skip
    return table(
        ("system", "p50 ms", "p95 ms", "p99 ms", "memory MiB", "fit s", "parameters", "evaluations", "sampling"), rows
    )


def _seconds(system: System) -> str:
    seconds = system.seconds("fit")
    return "–" if seconds is None else f"{seconds:.1f}"


def _paired(board: Board, base: System, metrics: list[str]) -> list[str]:
    systems = [system for system in board.systems if system is not base and system.kind != "ceiling"]
    cells = [(system, metric) for system in systems for metric in metrics]
    found = paired([metric for _, metric in cells], [per_request(system.scores, metric) for system, metric in cells],
                   [per_request(base.scores, metric) for _, metric in cells], board.groups)  # fmt: skip
    differences = [_difference(row["difference"], row["low"], row["high"], row["p"]) for row in found]
    width = len(metrics)
    rows = [(system.label, *differences[i * width : (i + 1) * width]) for i, system in enumerate(systems)]
    return table(("system", *(short_name(metric) for metric in metrics)), rows)


def _difference(mean: float | None, low: float | None, high: float | None, p: float | None) -> str:
    if mean is None or low is None or high is None:
        return f"{number(mean)}, no interval"
    return f"{number(mean, low, high)} [{number(low, low, high)}, {number(high, low, high)}], p {p:.4f}"


def _again(board: Board) -> list[str]:
    runs: list[Run] = [run for system in board.systems for run in system.runs]
    places = [run.record.machine for run in runs if run.record.machine]
    machines = sorted({f"{place.cpu}, {place.threads} thread(s), {place.system}" for place in places})
    commits = sorted({run.record.commit[:9] for run in runs if run.record.commit})
    rows = []
    for system in board.systems:
        if system.kind == "system":
            rows.append(
                (
                    system.label,
                    f"`{bench_command(system.runs)}`",
                    ", ".join(f"`{run.spec.hash[:8]}`" for run in system.runs),
                )
            )
    return [
        f"Machine: {'; '.join(machines)}." + (f" Commit: {', '.join(commits)}." if commits else ""), "",
        *table(("system", "command", "runs"), rows),
    ]  # fmt: skip
