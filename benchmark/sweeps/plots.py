"""Optuna's own plots of a study: one HTML page that needs no network, and a PNG of each."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...leaderboards.records import write_text
from ...leaderboards.sweeps import StudySpec

if TYPE_CHECKING:
    import optuna

PAGE = "plots.html"
DPI = 120
Plot = tuple[str, str, dict[str, Any]]  # file name, Optuna's function, its arguments


def draw(study: optuna.Study, spec: StudySpec, folder: Path) -> list[Path]:
    """Draw every plot that the study has enough trials for; returns the files written."""
    import matplotlib

    matplotlib.use("Agg")
    import optuna.visualization as plotly_plots
    import optuna.visualization.matplotlib as png_plots
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    files, parts = [], []
    for name, function, arguments in _plots(study, spec):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                figure = getattr(plotly_plots, function)(study, **arguments)
                axes = getattr(png_plots, function)(study, **arguments)
            except (ValueError, RuntimeError, ZeroDivisionError):  # too few trials, or all with the same value
                pyplot.close("all")
                continue
            height = max(450, 260 * len(spec.space)) if function == "plot_contour" else 450
            figure.update_layout(title=name, height=height)
            parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts, config={"displaylogo": False}))
            single = not hasattr(axes, "ravel")  # several fields: an array of axes
            canvas = axes.figure if single else axes.ravel()[0].figure
            if single:
                axes.set_title("", loc="left")  # Optuna's own
                axes.set_title(name)
            else:
                canvas.suptitle(name)
            canvas.set_size_inches(*_inches(function, len(spec.space)))
            files.append(folder / f"{name.replace(' ', '-')}.png")
            canvas.savefig(files[-1], dpi=DPI, bbox_inches="tight")
            pyplot.close("all")
    if parts:
        title = html.escape(f"{spec.model} on {spec.dataset}: sweep of {', '.join(spec.space)}")
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><body><h1>{title}</h1>'
        write_text(folder / PAGE, head + "\n".join(parts) + "</body></html>")
        files.append(folder / PAGE)
    return files


def _inches(function: str, fields: int) -> tuple[float, float]:
    if function == "plot_contour":
        return (7, 5.5) if fields == 2 else (3.2 * fields, 3 * fields)
    return (max(6.0, 3.2 * fields), 4.5) if function == "plot_slice" else (7, 5)


def _plots(study: optuna.Study, spec: StudySpec) -> Iterator[Plot]:
    """Importance, contour and slice for each objective; history for one, the Pareto front for two or three."""
    from optuna.importance import FanovaImportanceEvaluator

    several = len(spec.objectives) > 1
    for i, objective in enumerate(spec.objectives):
        target: dict[str, Any] = {"target_name": objective}
        if several:
            target["target"] = _value(i)
        if len(spec.space) > 1:
            evaluator = FanovaImportanceEvaluator(seed=0)
            yield f"importance {objective}", "plot_param_importances", target | {"evaluator": evaluator}
            yield f"contour {objective}", "plot_contour", target
        yield f"slice {objective}", "plot_slice", target
        if not several:
            yield f"history {objective}", "plot_optimization_history", target
    if len(spec.objectives) in (2, 3):
        yield "pareto front", "plot_pareto_front", {"target_names": spec.objectives}


def _value(i: int) -> Callable[[Any], float]:
    return lambda trial: trial.values[i]
