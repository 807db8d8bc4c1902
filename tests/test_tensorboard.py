"""The TensorBoard logger, read back as TensorBoard reads it."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from ganzoo_plugins.tensorboard import TensorBoard

RUN = ("run", "tiny", "--dataset", "small-digits", "--batch-size", 32, "--engine", "eager", "--quiet")
reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder: Path):
    return reader.EventAccumulator(str(folder)).Reload()


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


def test_tensorboard_is_told_what_the_run_is_made_with(tmp_path):
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    info = {"model": "cgan", "name": "first light", "tags": ["a"], "settings": {"seed": 3, "steps": None}}
    info["options"] = {"lr": 0.5, "loss": "hinge", "augment": ["ada"]}
    (tmp_path / "run.json").write_text(json.dumps(info))
    TensorBoard(tmp_path, 0)
    events = read(tmp_path)
    (text,) = events.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert all(line.startswith("    ") for line in shown.splitlines())  # Markdown takes it as code.
    assert json.loads(shown) == {
        "name": "first light",
        "tags": ["a"],
        "model": "cgan",
        **info["settings"],
        **info["options"],
    }
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert charts == {"losses": ["loss/.*"], "scores": ["score/.*"]}
    held = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(held).session_start_info
    assert start.group_name == "first light"
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert values == {"model": "cgan", "seed": 3, "lr": 0.5, "loss": "hinge", "augment": "['ada']"}


def test_both_players_losses_are_in_the_chart_of_losses(ganzoo, tmp_path):
    assert ganzoo(*RUN, "--steps", 2, "--out", "r").code == 0
    tags = read(tmp_path / "r").Tags()["scalars"]
    assert {"loss/generator", "loss/discriminator", "speed/images_per_second"} <= set(tags)
    assert all("/" in tag for tag in tags)


def test_tensorboard_shows_runs_by_the_names_of_their_folders(tmp_path):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    for name in ("first light", "second"):
        (tmp_path / name).mkdir()
        TensorBoard(tmp_path / name, 0)
    shown = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    assert set(shown.Runs()) == {"first light", "second"}


def test_a_run_whose_events_are_in_a_folder_of_their_own_goes_on_there(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    assert TensorBoard(tmp_path, 0).path.parent == tmp_path / "tensorboard"
