"""`export-mlflow`: a fitted recommender as an `mlflow.pyfunc` model, for `mlflow models predict` and `serve`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote
from urllib.request import url2pathname

from ...datasets.errors import SlateBenchError, UsageError
from ...datasets.schema import Catalog
from ...datasets.tasks import task_named
from ...leaderboards.mlflow_view.runs import log_runs, run_of
from ...leaderboards.mlflow_view.store import connect, place, without_password
from ...leaderboards.records import Run, runs_of
from ...models.registry import model_class, parse_model
from ..today import told_of

CODE = Path(__file__).with_name("pyfunc_model.py")
NAME = "recommender"
EXAMPLE = "camping trip with kids"


@dataclass(frozen=True)
class Exported:
    """Where the model is: `uri` in the tracking store, `folder` its files on this machine (None: on a server).

    Attributes:
        notices: what a person must be told of the run: a twin's, of other data than today's, ...
    """

    uri: str
    folder: Path | None
    run_id: str
    notices: list[str] = field(default_factory=list)


def export_mlflow(run: Run) -> Exported:
    """Log the fitted recommender of a run to MLflow, into the run that shows the record.

    The model holds the fitted folder with its catalogue, its sha256 sums (checked when it is loaded), a signature and
    an input example; its code is a copy of `pyfunc_model.py`, nothing is pickled.

    Args:
        run: a finished run with a saved model.

    Raises:
        UsageError: the run has no fitted model (it failed, or is a ceiling), stands in no runs folder, or where MLflow
            can't load it.
        SlateBenchError: the model is damaged, or MLflow can't be reached.
    """
    folder, runs = run.folder / "model", runs_of(run)
    if unquote(str(runs)) != str(runs):  # which it decodes once more when it loads
        raise UsageError(f"{runs}: MLflow can't load a model from a path with a % code: rename that folder")
    if run.record.state != "done" or not (folder / "model.json").exists():
        raise UsageError(f"{run.folder}: no fitted model to export; choose a finished run of a model")
    fitted = model_class(parse_model(run.spec.model)[0]).load(folder)  # whole, or one clear line
    log_runs([run], runs)
    client = connect(runs)
    run_id = run_of(client, run)
    import mlflow
    from mlflow.tracking import is_tracking_uri_set

    before = mlflow.get_tracking_uri() if is_tracking_uri_set() else None
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        with mlflow.start_run(run_id=run_id):
            return replace(_log(run, fitted.catalog, run_id), notices=told_of(run))
    except SlateBenchError:
        raise
    except mlflow.MlflowException as error:
        line = without_password(str(error).strip().splitlines()[0])
        raise SlateBenchError(f"MLflow at {place(client.tracking_uri)} did not take the model: {line}") from error
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  (None unsets it, and its environment variable)


def _log(run: Run, catalog: Catalog, run_id: str) -> Exported:
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    from .pyfunc_model import sha256_of

    spec, folder = run.spec, run.folder / "model"
    texts = Array(DataType.string)
    asks = task_named(spec.task).condition
    of_items = asks == "history"
    example = catalog.titles[:2] if of_items else EXAMPLE
    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType(), asks)]),  # MLflow would make the text "None" of a missing one
        outputs=Schema([ColSpec(texts if of_items else DataType.string, asks), ColSpec(DataType.long, "sample"),
                        ColSpec(texts, "ids"), ColSpec(texts, "titles")]),
        params=ParamSchema([ParamSpec("k", DataType.long, 0), ParamSpec("samples", DataType.long, 1),
                            ParamSpec("seed", DataType.long, 0)]),
    )  # fmt: skip
    config = {"model": parse_model(spec.model)[0], "asks": asks, "k": spec.k, "sha256": sha256_of(folder)}
    logged = mlflow.pyfunc.log_model(
        name=NAME,
        python_model=str(CODE),
        artifacts={"model": folder.resolve().as_uri()},
        model_config=config,
        signature=signature,
        input_example=pd.DataFrame({asks: [example]}),
        pip_requirements=[f"slatebench=={version('slatebench')}", f"mlflow=={version('mlflow')}"],
        metadata={"dataset": spec.dataset, "fingerprint": spec.fingerprint, "system": run.record.label,
                  "hash": spec.hash},
    )  # fmt: skip
    place = logged.artifact_path or ""
    files = Path(url2pathname(place.removeprefix("file://")) if place.startswith("file:") else place).resolve()
    return Exported(logged.model_uri, files if (files / "MLmodel").is_file() else None, run_id)
