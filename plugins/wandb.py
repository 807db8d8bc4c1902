"""Weights & Biases: a run's scalars and pictures, on its server or, with `WANDB_MODE=offline`, in the run's folder."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import ganzoo
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import write_text
from ganzoo.loggers import about, ended, kept_id


class WeightsAndBiases(ganzoo.Logger):
    """One W&B run for a ganzoo run, whatever sessions it takes: its id is kept in the folder `wandb`.

    W&B drops entries of a step that it has gone beyond. A run that goes on from an earlier checkpoint tells the same
    again, so nothing is missed. The project is `ganzoo` unless WANDB_PROJECT names one.
    """

    name = "wandb"
    summary = "Weights & Biases; WANDB_MODE=offline keeps all in the run's folder; needs ganzoo[wandb]"

    @classmethod
    def check(cls) -> None:
        try:
            import wandb  # noqa: F401
        except ImportError:
            raise UsageError("the logger 'wandb' needs the package wandb: pip install 'ganzoo[wandb]'") from None

    def __init__(self, folder: Path, step: int):
        self.check()
        import wandb

        told, place = about(folder), folder / "wandb" / "id.txt"
        run_id = kept_id(place)
        if run_id is None:
            run_id = secrets.token_hex(8)
            place.parent.mkdir(exist_ok=True)
            write_text(place, run_id)
        self.folder, self.picture = folder, wandb.Image
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "ganzoo"),
                id=run_id,
                resume="allow",
                name=told.name,
                tags=list(told.tags),
                config=told.config,
                dir=str(folder),
                # It would print between the lines of progress, and catch what training prints.
                settings=wandb.Settings(silent=True, console="off"),
            )
        except Exception as error:  # Of whatever kind its versions raise.
            raise GanzooError(
                f"Weights & Biases cannot begin ({one_line(error)[:200]}): log in with `wandb login`, or set "
                "WANDB_MODE=offline, which needs no account and no network"
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        self.run.log({name: self.picture(picture)}, step=step)

    def close(self) -> None:
        self.run.finish(exit_code=int(ended(self.folder) == "failed"))


@ganzoo.hookimpl
def register_loggers(register):
    register(WeightsAndBiases)
