"""`export-mlflow`: a fitted recommender as an `mlflow.pyfunc` model, for `mlflow models predict` and `serve`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..datasets.errors import SlateBenchError, UsageError
from ..leaderboards.mlflow_view import connect, log_runs, run_of, without_password
from ..leaderboards.records import Run
from ..models.registry import model_class, parse_model

CODE = Path(__file__).with_name("pyfunc_model.py")
NAME = "recommender"
EXAMPLE = "camping trip with kids"


@dataclass(frozen=True)
class Exported:
    """Where the model is: `uri` in the tracking store, `folder` its files on this machine (None: on a server)."""

    uri: str
    folder: Path | None
    run_id: str


def export_mlflow(run: Run) -> Exported:
    """Log the fitted recommender of a run to MLflow, into the run that shows the record.

    The model holds the fitted folder with its catalogue, its sha256 sums (checked when it is loaded), a signature and
    an input example; its code is a copy of `pyfunc_model.py`, nothing is pickled.

    Args:
        run: a finished run with a saved model.

    Raises:
        UsageError: the run has no fitted model (it failed, or is a ceiling).
        SlateBenchError: the model is damaged, or MLflow can't be reached.
    """
    folder = run.folder / "model"
    if run.record.state != "done" or not (folder / "model.json").exists():
        raise UsageError(f"{run.folder}: no fitted model to export; choose a finished run of a model")
    model_class(parse_model(run.spec.model)[0]).load(folder)  # whole, or one clear line
    runs = run.folder.resolve().parents[2]
    log_runs([run], runs)
    client = connect(runs)
    run_id = run_of(client, run)
    import mlflow
    from mlflow.tracking import is_tracking_uri_set

    before = mlflow.get_tracking_uri() if is_tracking_uri_set() else None
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        with mlflow.start_run(run_id=run_id):
            return _log(run, folder, run_id)
    except SlateBenchError:
        raise
    except mlflow.MlflowException as error:
        line = without_password(str(error).strip().splitlines()[0])
        raise SlateBenchError(
            f"MLflow at {without_password(client.tracking_uri)} did not take the model: {line}"
        ) from error
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  (None unsets it, and its environment variable)


def _log(run: Run, folder: Path, run_id: str) -> Exported:
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    from .pyfunc_model import sha256_of

    spec = run.spec
    texts = Array(DataType.string)
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.string, "prompt"), ColSpec(DataType.long, "sample"),
                        ColSpec(texts, "ids"), ColSpec(texts, "titles")]),
        params=ParamSchema([ParamSpec("k", DataType.long, 0), ParamSpec("samples", DataType.long, 1),
                            ParamSpec("seed", DataType.long, 0)]),
    )  # fmt: skip
    config = {"model": parse_model(spec.model)[0], "k": spec.k, "sha256": sha256_of(folder)}
    logged = mlflow.pyfunc.log_model(
        name=NAME,
        python_model=str(CODE),
        artifacts={"model": str(folder)},
        model_config=config,
        signature=signature,
        input_example=pd.DataFrame({"prompt": [EXAMPLE]}),
        pip_requirements=[f"slatebench=={version('slatebench')}", f"mlflow=={version('mlflow')}"],
        metadata={"dataset": spec.dataset, "fingerprint": spec.fingerprint, "system": run.record.label,
                  "hash": spec.hash},
    )  # fmt: skip
    place = Path(os.path.normpath(logged.artifact_path.removeprefix("file://"))) if logged.artifact_path else None
    return Exported(logged.model_uri, place if place is not None and place.is_dir() else None, run_id)
