"""TensorBoard: a run's scalars and pictures, to be looked at with `tensorboard --logdir runs`."""

import io
import json
import os
import socket
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import ganzoo
from ganzoo.loggers import about

CHARTS = {"training": {"losses": ["Multiline", ["loss/.*"]], "scores": ["Multiline", ["score/.*"]]}}
"""Those that show several curves in one, by the names of their scalars."""
_opened = count()
"""Tells the files apart that one process opens in one second."""


class TensorBoard(ganzoo.Logger):
    """Event files in the run's folder, by whose name TensorBoard shows them.

    Written here and not by torch's `SummaryWriter`, whose thread prints a traceback when the disk is full, and leaves
    half a record, at which TensorBoard stops reading.
    """

    name = "tensorboard"
    summary = "TensorBoard event files in the run's folder"

    def __init__(self, folder: Path, step: int):
        # Importing these takes a second, which only runs should pay.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from torch.utils.tensorboard import summary

        self.event, self.summaries = Event, summary
        before = folder / "tensorboard"  # Where versions up to 0.2 put them, and a resumed run of theirs goes on.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_opened)}"
        self.path = (before if before.is_dir() else folder) / name
        # A run that was killed may have logged beyond the step it goes on from: TensorBoard drops those.
        self._write(
            {"file_version": "brain.Event:2"},
            {"step": step + 1, "session_log": SessionLog(status=SessionLog.START)},
            *({"step": step, "summary": told} for told in self._about(folder)),
        )

    def _about(self, folder: Path) -> list[Any]:
        """What is told of the run itself: its charts, its options as hyperparameters, and all it is made with as text.

        The text has four spaces before each line, which makes it code.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        told = about(folder)
        start = plugin_data_pb2.SessionStartInfo(group_name=told.name)
        for name, value in told.config.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            elif value is not None:
                start.hparams[name].string_value = str(value)
        held = plugin_data_pb2.HParamsPluginData(session_start_info=start, version=metadata.PLUGIN_DATA_VERSION)
        kind = metadata.create_summary_metadata(held)
        options = Summary.Value(tag=metadata.SESSION_START_INFO_TAG, metadata=kind, tensor=metadata.NULL_TENSOR)
        text = json.dumps({"name": told.name, "tags": told.tags, **told.config}, indent=2)
        return [
            self.summaries.custom_scalars(CHARTS),
            Summary(value=[options]),
            self.summaries.text("config", "\n".join(f"    {line}" for line in text.splitlines())),
        ]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._write(*({"step": step, "summary": self.summaries.scalar(name, value)} for name, value in values.items()))

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        self._write({"step": step, "summary": self.summaries.image(name, picture, dataformats="HWC")})

    def close(self) -> None:
        """There is nothing to close: the file is open while something is written alone, whatever ends a run."""

    def _write(self, *events: dict[str, Any]) -> None:
        """Append events; all of them, or, where the disk is full, none."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        buffer = io.BytesIO()
        records, now = RecordWriter(buffer), time.time()
        for event in events:
            records.write(self.event(wall_time=now, **event).SerializeToString())
        rest = buffer.getbuffer()
        with self.path.open("ab", buffering=0) as file:
            good = file.seek(0, io.SEEK_END)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(good)
                raise


@ganzoo.hookimpl
def register_loggers(register):
    register(TensorBoard)
