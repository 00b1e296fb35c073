"""The report: one HTML file that needs nothing else, opens from disk and loads nothing from anywhere.

Records, titles and prompts are foreign text. Jinja escapes all of it; what scripts work with stands in JSON blocks and
becomes text nodes; the Content-Security-Policy admits the page's own two scripts and its style by their hashes, and
nothing else: no script from the data, no eval (Vega runs its expressions in its interpreter), no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...datasets.output import finite
from ...datasets.schema import SlateDataset
from ...datasets.tasks import task_named
from ..board import Board
from ..tables import caption, title
from . import cards, charts, table
from .explorer import explorer
from .plot import Group, leader_of

HERE = Path(__file__).parent
ELSEWHERE = (
    "[95 % interval",
    "failed: ",
    "not comparable: ",
    "NOTE: ",
)  # lines of the caption that stand elsewhere on the page


@dataclass(frozen=True)
class Claims:
    """Verdicts on papers' claims as text: a head, and a row of cells per claim; `verdict`: which cell that is."""

    introduction: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: int


@dataclass(frozen=True)
class Extras:
    """What other rooms bring to the report."""

    claims: Claims | None = None
    plots: list[Group] = field(default_factory=list)


def render(board: Board, dataset: SlateDataset | None = None, extras: Extras | None = None) -> str:
    """The report of a board.

    Args:
        board: what stands on it.
        dataset: titles and references for the prompt explorer; None where the data are not at hand.
        extras: claims and further plots (sweeps).
    """
    extras, spec = extras or Extras(), board.systems[0].runs[0].spec
    plots = [*charts.groups(board, dataset), *extras.plots]
    style, code, library = (HERE / "page.css").read_text(), (HERE / "page.js").read_text(), vega()
    figures = {figure.name: figure.spec for group in plots for figure in group.figures}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html").render(
        board=board,
        policy=policy([code, library], style),
        style=Markup(style),
        code=Markup(code),
        library=Markup(library),
        title=title(board),
        notes=[line for line in caption(board, table.shown_metrics(board)) if not line.startswith(ELSEWHERE)],
        leader=table.metric_column(leader_of(board)),
        columns=table.columns(board),
        rows=table.rows(board),
        all_metrics=table.all_metrics(board),
        plots=plots,
        figures=data_block(figures),
        asked="Requests" if task_named(spec.task).condition == "history" else "Prompts",
        explorer=data_block(explorer(board, dataset)),
        models=cards.model_cards(board),
        data=cards.data_card(board, dataset),
        machines=cards.machines(board),
        packages=cards.packages(board),
        versions=cards.versions(board),
        not_comparable=list(dict.fromkeys(board.not_comparable)),
        claims=extras.claims,
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text


def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from vl-convert: no network."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def policy(scripts: Sequence[str], style: str) -> str:
    """The Content-Security-Policy that admits exactly these scripts and this style.

    >>> policy([""], "")
    "default-src 'none'; script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; \
style-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; img-src data:; base-uri 'none'; form-action 'none'"
    """
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def data_block(content: Any) -> Markup:
    """JSON for a `<script type="application/json">`: nothing in it can end the block or the line.

    >>> print(data_block({"prompt": "</script>\\u2028"}))
    {"prompt":"\\u003c/script\\u003e\\u2028"}
    """
    text = json.dumps(finite(content), separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 is escaped too
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
