"""MLflow: a run's scalars and pictures, in the run's folder, or on the server that `MLFLOW_TRACKING_URI` names."""

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import ganzoo
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import write_text
from ganzoo.loggers import about, ended, kept_id

LONGEST, AT_ONCE = 500, 100
"""Characters of a parameter and parameters in a request, beyond which servers refuse them."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""With a server that does not answer as a run begins; MLflow's own is several minutes long and silent."""
LONGEST_REASON = 300
"""Characters of what MLflow says of a fault."""
ENDS = {"finished": "FINISHED", "stopped": "KILLED"}


class MLflow(ganzoo.Logger):
    """One MLflow run for a ganzoo run, whatever sessions it takes: its id is kept in the folder `mlflow`.

    Without MLFLOW_TRACKING_URI the store is SQLite, `mlflow/mlflow.db`, since MLflow 3 refuses stores of plain files.
    The experiment is `ganzoo` unless MLFLOW_EXPERIMENT_NAME names one. Names may hold no parentheses there: `D(x)` is
    `D_x`.
    """

    name = "mlflow"
    summary = "MLflow, in the run's folder or where MLFLOW_TRACKING_URI says; needs ganzoo[mlflow]"

    @classmethod
    def check(cls) -> None:
        try:
            import mlflow.tracking  # noqa: F401
        except ImportError:
            raise UsageError("the logger 'mlflow' needs the package mlflow: pip install 'ganzoo[mlflow]'") from None

    def __init__(self, folder: Path, step: int):
        self.check()
        self.folder, self.place = folder, (folder / "mlflow").absolute()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri and (odd := re.search(r"\?|%[0-9A-Fa-f]{2}", str(self.place))):
            raise UsageError(
                f"MLflow's database cannot lie in {self.place}: in such an address {odd[0]} stands for something else; "
                "choose another --out, or name a server by MLFLOW_TRACKING_URI"
            )
        self.place.mkdir(exist_ok=True)
        try:
            with quiet(), less_patient():
                self._open(uri)
        except GanzooError:
            raise
        except Exception as error:  # Of whatever kind its versions, and databases, raise.
            where = uri or f"in {self.place}"
            why = one_line(error)  # What it comes of stands at its end.
            why = why if len(why) <= LONGEST_REASON else f"{why[:100]} ... {why[100 - LONGEST_REASON :]}"
            raise GanzooError(f"MLflow cannot begin {where}: {why}") from error

    def _open(self, uri: str | None) -> None:
        from mlflow.entities import RunTag
        from mlflow.tracking import MlflowClient

        own = None if uri else self.place / "artifacts"
        self.client = client = MlflowClient(tracking_uri=uri or f"sqlite:///{self.place / 'mlflow.db'}")
        run = self._known(kept_id(self.place / "id.txt"))
        told = about(self.folder)
        if run is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "ganzoo")
            found = client.get_experiment_by_name(name)
            if found and found.lifecycle_stage != "active":
                raise GanzooError(
                    f"MLflow's experiment '{name}' was deleted: `mlflow experiments restore -x {found.experiment_id}` "
                    "brings it back; or name another by MLFLOW_EXPERIMENT_NAME"
                )
            kept = own.as_uri() if own else None
            experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=kept)
            run = client.create_run(experiment, run_name=told.name)
            params = [_param(name, value) for name, value in told.config.items()]
            for i in range(0, len(params), AT_ONCE):
                client.log_batch(run.info.run_id, params=params[i : i + AT_ONCE])
            # What of a tag is lost in its name stands in its value.
            tags: dict[str, str] = {}
            for tag in told.tags:
                name = plain_name(tag) or "tag"
                tags[name] = f"{tags[name]}, {tag}" if name in tags else tag
            client.log_batch(run.info.run_id, tags=[RunTag(name, tag) for name, tag in tags.items()])
            write_text(self.place / "id.txt", run.info.run_id)
        if own and not run.info.artifact_uri.startswith(own.as_uri() + "/"):
            raise GanzooError(
                f"MLflow's store in {self.place} keeps pictures elsewhere, for it was moved: remove {self.place}, and "
                "it is begun anew"
            )
        self.id = run.info.run_id
        client.update_run(self.id, status="RUNNING")
        self.last = {
            name: max(metric.step for metric in client.get_metric_history(self.id, name)) for name in run.data.metrics
        }
        """The step up to which each name is told already: MLflow would keep a number that is told again twice."""

    def _known(self, run_id: str | None) -> Any:
        """The MLflow run of an earlier session; None where there was none, in another store, or it was deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = None if run_id is None else self.client.get_run(run_id)
            return run if run is not None and run.info.lifecycle_stage == "active" else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        named = {plain_name(name): value for name, value in values.items()}
        fresh = [Metric(name, value, now, step) for name, value in named.items() if step > self.last.get(name, -1)]
        self.client.log_batch(self.id, metrics=fresh)

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        self.client.log_image(self.id, picture, artifact_file=f"{plain_name(name)}/{step:08d}.png")

    def close(self) -> None:
        self.client.set_terminated(self.id, ENDS.get(ended(self.folder), "FAILED"))


def plain_name(name: str) -> str:
    """A name in the characters that MLflow takes: `score/D(G(z)) after` is `score/D_G_z after`."""
    return re.sub(r"[^\w\-. /]+", "_", name).replace("_ ", " ").strip("_")


def _param(name: str, value: Any) -> Any:
    from mlflow.entities import Param

    return Param(name, str(value)[:LONGEST])


@contextmanager
def less_patient() -> Iterator[None]:
    """Inside, MLflow gives up after seconds where nobody answers, unless the user says otherwise."""
    added = PATIENCE.keys() - os.environ.keys()
    os.environ.update({name: PATIENCE[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow and its database from telling, at each new store, what they do, and that parts of them are old."""
    before = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@ganzoo.hookimpl
def register_loggers(register):
    register(MLflow)
