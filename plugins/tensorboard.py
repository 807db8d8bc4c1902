"""TensorBoard: a run's scalars and pictures, to be looked at with `tensorboard --logdir runs`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import ganzoo


class TensorBoard(ganzoo.Logger):
    """Event files in the folder `tensorboard` of the run."""

    name = "tensorboard"
    summary = "TensorBoard event files in the run's folder"

    def __init__(self, folder: Path, step: int):
        # Importing it takes a second, which only runs should pay.
        from torch.utils.tensorboard import SummaryWriter

        # A run that was killed may have logged beyond the step it goes on from: TensorBoard drops those.
        self.writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        self.writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


@ganzoo.hookimpl
def register_loggers(register):
    register(TensorBoard)
