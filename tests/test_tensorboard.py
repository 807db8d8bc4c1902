"""The TensorBoard logger, read back as TensorBoard reads it."""

import time
from pathlib import Path

import numpy as np
import pytest
from ganzoo_plugins.tensorboard import TensorBoard

reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder: Path):
    return reader.EventAccumulator(str(folder / "tensorboard")).Reload()


def next_second() -> None:
    """TensorBoard orders the files of one second by their names alone: .10 before .9. No run is resumed so soon."""
    time.sleep(1.01 - time.time() % 1)


def test_scalars_and_pictures_arrive(tmp_path):
    logger = TensorBoard(tmp_path, 0)
    logger.scalars(3, {"generator_loss": 0.5, "D(x)": 0.25})
    logger.image(3, "samples", np.zeros((4, 6, 3), dtype=np.uint8))
    logger.close()
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("generator_loss")] == [(3, 0.5)]
    picture = events.Images("samples")[0]
    assert (picture.step, picture.height, picture.width) == (3, 4, 6)


def test_a_resumed_run_drops_what_was_logged_beyond_its_checkpoint(tmp_path):
    first = TensorBoard(tmp_path, 0)
    for step in range(1, 6):
        first.scalars(step, {"loss": float(step)})
    first.close()
    next_second()
    second = TensorBoard(tmp_path, 3)
    second.scalars(4, {"loss": 40.0})
    second.close()
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("loss")] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_a_run_that_begins_anew_drops_all_but_its_picture_of_the_data(tmp_path):
    for value in (1.0, 10.0):
        logger = TensorBoard(tmp_path, 0)
        logger.image(0, "real", np.zeros((4, 6, 3), dtype=np.uint8))
        logger.scalars(1, {"loss": value})
        logger.close()
        next_second()
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 10)]
    assert {e.step for e in events.Images("real")} == {0}
