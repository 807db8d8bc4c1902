"""One run directory as a report sees it. Files may be missing, old or a stranger's: what is not a number is missing."""

import math
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError, UsageError, plain
from ganzoo.fields import validated
from ganzoo.files import number, read_json
from ganzoo.marks import marks_of
from ganzoo.metrics.protocol import asked_of, describe, labels_of
from ganzoo.plugins import GIVEN, NOT_INSTALLED
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.folder import open_run, read_metrics
from ganzoo.runs.hub import sibling, spoken
from ganzoo.runs.lock import being_written
from ganzoo.runs.measuring import result_of
from ganzoo.settings import BEFORE, Settings
from ganzoo.terminal import argument

Curve = tuple[list[float], list[float]]

SAME_LINE = (
    "dataset", "image_size", "channels", "epochs", "steps", "max_time", "precision", "engine", "init_from",
    "freeze_discriminator",
)  # fmt: skip
"""Settings in which the runs of one line agree. The rest is the seed, or changes nothing of what is trained; which
device of a machine and which folder of its disk were used is no difference: the hardware and the data are compared.
Nor is it one how engine `auto` took the steps of each."""
ADDED = (
    "source", "limit", "mirror", "jitter", "balance", "augment", "regularise", "clip_gradients", "nonfinite_gradients",
    "sync_batchnorm", "accumulate", "deterministic",
)  # fmt: skip
"""More such settings, which version 0.1.0 did not have: a run that lacks one is as one that has its default."""
REPEATED = (*SAME_LINE, "labels", "data_root", "device", "seed", "eval_every")
"""Settings that a command must name to train the same again."""
LOGGED = (
    "fid", "accuracy", "modes", "good_samples", "reverse_kl", "tags", "tags_at_5", "tags_at_1", "tags_frequent",
    "tags_retrieved", "tags_possible", "precision", "recall", "density", "coverage",
)  # fmt: skip
"""What `--eval-every` measures, of images and of vectors, among the numbers of a line of the log."""
ATTEMPTS, PAUSE = 3, 0.2
"""To read a run that is being written, and seconds between them."""


@dataclass
class RunRecord:
    """What a report needs of one run."""

    folder: Path
    info: dict[str, Any]
    """`run.json`."""
    status: dict[str, Any]
    """`status.json`; empty while a run has not ended."""
    log: list[dict[str, Any]]
    """The lines of `metrics.jsonl`."""
    result: dict[str, Any] | None
    """A result as `ganzoo eval` writes it, or None."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the numbers must know."""
    running: bool = False
    """Whether it is being trained at this moment."""
    checkpoint: str | None = None
    """Of which the result is, as `--checkpoint` names it; None: of the generator as it was last saved."""
    lacks: str = ""
    """Where the run has neither such a checkpoint nor a result of it: that it has none, and which it has."""

    @property
    def model(self) -> str:
        return str(self.info["model"])

    @property
    def label(self) -> str:
        """The model, with its preset as `ganzoo compare` takes it: MODEL:PRESET."""
        preset = self.info.get("preset")
        return f"{self.model}:{preset}" if isinstance(preset, str) and preset else self.model

    @property
    def package(self) -> str | None:
        """What brought the model, where that is known: two packages may have models of one name."""
        package = mapping(self.info.get("plugin")).get("package")
        return plain(package) if isinstance(package, str) else None

    @property
    def name(self) -> str | None:
        """What its user calls it."""
        return marks_of(self.info).name

    @property
    def seed(self) -> Any:
        return mapping(self.info.get("settings")).get("seed")

    @property
    def processes(self) -> int:
        """How many trained it together: each draws its own numbers, so that two are not one with the same seed."""
        return int(number(self.machine.get("processes")) or 1)

    @property
    def imported(self) -> dict[str, Any]:
        """Of what `ganzoo import` made, the files that it was made of; else empty."""
        return mapping(self.info.get("imported"))

    @property
    def imported_from(self) -> list[str]:
        """The names of these files."""
        files = self.imported.get("files")
        return [str(mapping(f).get("file")) for f in (files if isinstance(files, list) else [self.imported])]

    @property
    def handed_over(self) -> str:
        """What no command has, since a program handed it over: `data`, or `class`, the model's; else empty."""
        if mapping(self.info.get("settings")).get("dataset") == GIVEN:
            return "data"
        return "class" if self.package == NOT_INSTALLED else ""

    @property
    def from_python(self) -> str:
        """What measures a run of something that was handed over, in Python."""
        folder, made = str(self.folder), str(mapping(self.info.get("plugin")).get("module")).rpartition(".")[2]
        of_class = f"ganzoo.load({folder!r}, model={made})"
        what = of_class if self.package == NOT_INSTALLED else repr(folder)
        more = [", dataset=IMAGES"] if self.handed_over == "data" else []
        more += [f", checkpoint={self.checkpoint!r}"] if self.checkpoint else []
        return f"ganzoo.evaluate({what}{''.join(more)})"

    @property
    def trained_on(self) -> tuple[Any, ...]:
        """Name, shape and number of the training images, as far as `run.json` says them."""
        data = mapping(self.info.get("data"))
        name, count = (data.get(key) if isinstance(data.get(key), str | int) else None for key in ("name", "count"))
        return name, tuple(side for side in listed(data.get("shape")) if isinstance(side, int)), count

    @property
    def source(self) -> Any:
        """How sources were made of the training images, where they were."""
        return mapping(self.info.get("settings")).get("source")

    @property
    def settings(self) -> dict[str, Any]:
        """Options of run and model that make a line, those at None left out; and where one ended before its time."""
        settings = mapping(self.info.get("settings"))
        chosen = {key: settings[key] for key in SAME_LINE if settings.get(key) is not None} | self._precision
        # Where all classes are drawn alike, the two ways are one.
        counts = listed(mapping(self.info.get("data")).get("counts"))
        if any(count != counts[0] for count in counts):
            chosen["labels"] = "data"
        added = {k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in self._added().items()}
        own = mapping(settings.get("data_options")) | mapping(self.info.get("options"))
        return chosen | added | own | self._early

    @property
    def cut_short(self) -> bool:
        """Whether training ended before its budget did: then its numbers are not of what its options say."""
        if (self.checkpoint or "").isdecimal():  # At that step it had trained as far as any other.
            return False
        # One that failed has nothing to show, and is missed among the others of its line.
        return not self.imported and not self.running and self.status.get("status") not in ("finished", "failed")

    @property
    def _early(self) -> dict[str, str]:
        """How far one came that was cut short: seeds that a batch system ended at the same time are one line."""
        budget = self.info.get("steps"), mapping(self.info.get("settings")).get("max_time")
        spent = self.step, self.status.get("seconds", self.log[-1].get("seconds") if self.log else None)
        pairs = [(number(done), number(whole)) for done, whole in zip(spent, budget, strict=True)]
        shares = [done / whole for done, whole in pairs if done and whole]
        reached = f"at {100 * max(shares):.0f} %" if shares else f"at step {self.step}"
        return {"training ended": reached} if self.cut_short else {}

    @property
    def _precision(self) -> dict[str, Any]:
        """The arithmetic that was used, where that is known: `auto` is another on another machine."""
        used = self.machine.get("precision")
        return {"precision": used} if isinstance(used, str) else {}

    def _added(self) -> dict[str, Any]:
        """Those of `ADDED` that are not at their defaults."""
        settings, usual = mapping(self.info.get("settings")), validated(Settings, {}).model_dump(mode="json")
        return {key: settings[key] for key in ADDED if key in settings and settings[key] != usual[key]}

    @property
    def step(self) -> Any:
        """The last step that is known of: of a run that ended, where it did; else the log's last."""
        ended = None if self.running else self.status.get("step")
        return ended if ended is not None or not self.log else self.log[-1]["step"]

    @property
    def machine(self) -> dict[str, Any]:
        return mapping(self.info.get("machine"))

    @property
    def command(self) -> str | None:
        """What repeats the run in a new folder, every option spelt out: defaults may change, presets too.

        None: something of it was handed over by a program.
        """
        if self.handed_over:
            return None
        if self.imported:
            return f"ganzoo import {' '.join(map(argument, self.imported_from))} --out {shlex.quote(str(self.again))}"
        settings, options = mapping(self.info.get("settings")), mapping(self.info.get("options"))
        chosen = {key: settings.get(key, BEFORE.get(key)) for key in REPEATED} | options
        chosen |= self._added() | mapping(settings.get("data_options"))
        words = ["ganzoo", "run", self.model]
        for key, value in chosen.items():
            flag = key.replace("_", "-")
            if key in ("augment", "regularise"):  # Their own options have commas.
                words += [word for text in listed(value) for word in (f"--{flag}", str(text))]
            elif isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif value is not None:
                words += [f"--{flag}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
        words += ["--nproc", str(self.processes)] if self.processes > 1 else []
        return shlex.join([*words, "--out", str(self.again)])

    @property
    def measuring(self) -> str | None:
        """The command that then measures it as this run was measured; None if no such command did that."""
        return self.measures(self.again)

    def measures(self, folder: Path, *more: str) -> str | None:
        """The command that measures a folder as this run was measured, and by more metrics; None as `measuring`."""
        if self.result is None or "seed" not in self.result or self.handed_over:
            return None
        protocol, asked = self.result["protocol"], asked_of(self.result, mapping(self.info.get("data")).get("name"))
        chosen = {
            "dataset": asked.get("dataset"),
            "data-root": asked.get("data_root"),
            "split": asked["split"],
            "features": asked.get("features"),
            "inception-weights": asked.get("weights"),
            "metrics": ",".join(dict.fromkeys([*self.result["settings"], *more])),
            "n": protocol["n"],
            "labels": "uniform" if labels_of(self.result) == "uniform" else None,
            "seed": self.result["seed"],
            "checkpoint": self.checkpoint,
        }
        words = [str(word) for key, value in chosen.items() if value not in (None, "") for word in (f"--{key}", value)]
        for key, value in {**mapping(asked.get("data_options")), **mapping(protocol.get("sampling"))}.items():
            flag = str(key).replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif value is not None:
                words += [f"--{flag}", str(value)]
        return f"ganzoo eval {argument(spoken(folder))} {shlex.join(words)}"

    @property
    def again(self) -> Path:
        """A folder beside the run's own, which `ganzoo run` would refuse."""
        return sibling(self.folder, "again")

    @property
    def protocol(self) -> dict[str, Any] | None:
        return self.result["protocol"] if self.result else None

    def curve(self, name: str, against: str) -> Curve:
        """A logged value against `seconds`, `step` or `images`: those lines that have both."""
        xs, ys = [], []
        for line in self.log:
            x = self._images(line) if against == "images" else number(line.get(against))
            y = number(line.get(name))
            if x is not None and y is not None:
                xs.append(x)
                ys.append(y)
        return xs, ys

    def _images(self, line: Mapping[str, Any]) -> float | None:
        """Real images seen: epochs are whole batches, as the loader counts them."""
        batch = number(mapping(self.info.get("options")).get("batch_size"))
        epoch, batches = number(line.get("epoch")), number(self.info.get("batches_per_epoch"))
        return None if epoch is None or batch is None or batches is None else round(epoch * batches) * batch

    def interval(self, name: str) -> tuple[float, float] | None:
        """Where 95 % of other drawings of as many images would have brought a measured number, if that is known."""
        ends = [number(end) for end in listed(mapping((self.result or {}).get("intervals")).get(name))]
        if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] > ends[1]:
            return None
        return ends[0], ends[1]

    def numbers(self) -> dict[str, float]:
        """Everything measured, by name: the evaluation's metrics, speed, sizes, time."""
        found: dict[str, float | None] = dict(mapping(self.result["metrics"])) if self.result else {}
        speeds = sorted(v for line in self.log if (v := number(line.get("images_per_second"))) is not None)
        found["images_per_second"] = speeds[len(speeds) // 2] if speeds else None
        parameters = mapping(self.info.get("parameters"))
        found["parameters"] = number(parameters.get("generator"))
        found["parameters_all"] = sum(number(v) or 0 for v in parameters.values()) or None
        found["seconds"] = number(self.status.get("seconds"))
        found["epochs"] = number(self.status.get("epoch"))
        found["memory"] = number(self.status.get("peak_memory_bytes"))
        return {str(k): v for k, value in found.items() if (v := number(value)) is not None}


def read_run(folder: Path, checkpoint: str | None = None) -> RunRecord:
    """Read one run directory, with what was measured of a checkpoint, where one is named.

    Raises:
        UsageError: it is not one.
        GanzooError: a file in it is damaged.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _read_run(folder, checkpoint)
        except RecursionError:
            raise GanzooError(f"{folder} is damaged: a file in it is nested too deeply") from None
        except GanzooError:
            # While it trains a file may go between two looks, as `status.json` does when a run goes on.
            if attempt == ATTEMPTS - 1 or not being_written(folder):
                raise
            time.sleep(PAUSE)
    raise AssertionError("the last attempt returns or raises")


def _read_run(folder: Path, checkpoint: str | None) -> RunRecord:
    info = clean(open_run(folder))
    status = clean(read_json(folder / "status.json")) if (folder / "status.json").is_file() else {}
    log, path = list(read_metrics(folder)), result_of(folder, checkpoint)
    record = RunRecord(folder, info, mapping(status), log, None, running=being_written(folder), checkpoint=checkpoint)
    if path.is_file():
        record.result = checked(clean(read_json(path)), path)
        measured, made = record.result.get("step"), record.step if checkpoint is None else step_at(folder, checkpoint)
        if isinstance(measured, int) and isinstance(made, int) and measured != made:
            of = "trained to" if checkpoint is None else f"its checkpoint '{checkpoint}' is of"
            record.notes.append(f"measured at step {measured:,}, {of} step {made:,}: run `ganzoo eval` again")
    elif checkpoint is None:
        record.result = logged_result(record)
    else:
        record.lacks = why_lacking(folder, checkpoint)
    if record.imported:
        record.notes.append(f"imported from {', '.join(record.imported_from)}: how it was trained is not known")
    elif record.running:
        at = f"step {record.step:,}" if isinstance(record.step, int) else "its beginning"
        record.notes.append(f"is being trained at this moment: these are its numbers up to {at}")
    elif record.status.get("status") != "finished":
        status = record.status.get("status", "killed")
        command = "" if record.handed_over else ": its command trains to the whole budget"
        record.notes.append(f"training did not finish (status: {status}){command}")
    if record.handed_over:
        what = "on data" if record.handed_over == "data" else "with a class"
        record.notes.append(f"trained {what} that a program handed over: no command repeats it")
    return record


def step_at(folder: Path, checkpoint: str) -> int | None:
    """The step of a checkpoint as `--checkpoint` names it; None where the run has none."""
    try:
        return Checkpoints(folder / "checkpoints").named(checkpoint)
    except UsageError:
        return None


def why_lacking(folder: Path, checkpoint: str) -> str:
    """That a run has no such checkpoint, and which it has; empty where it has it."""
    try:
        Checkpoints(folder / "checkpoints").named(checkpoint)
    except UsageError as error:
        return str(error)
    return ""


def checked(result: Any, path: Path) -> dict[str, Any]:
    """A result of `ganzoo eval`, if that is what it is.

    Raises:
        GanzooError: it is something else.
    """
    parts = ("protocol", "metrics", "settings")
    if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in parts):
        raise GanzooError(f"{path} is not a result of `ganzoo eval`: it has no protocol, metrics and settings")
    for metric, settings in result["settings"].items():
        if not isinstance(settings, dict):
            raise GanzooError(f"{path} is damaged: the settings of {metric} are {settings!r:.50}, not names and values")
    try:
        describe(result["protocol"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GanzooError(f"{path} is damaged: its protocol is not complete ({error!r})") from None
    return result


def logged_result(record: RunRecord) -> dict[str, Any] | None:
    """The evaluation that `--eval-every` made at the last step, as a result; None if there was none."""
    result = last_logged(record)
    if result is None or (result["step"] != record.step and not record.running):
        return None
    return checked(result, record.folder / "run.json")


def last_logged(record: RunRecord) -> dict[str, Any] | None:
    """The last evaluation that `--eval-every` made, at whatever step, as a result; None if there was none."""
    protocol = record.info.get("evaluation")
    found = ((line["step"], _scores(line)) for line in reversed(record.log))
    step, metrics = next(((step, scores) for step, scores in found if scores), (None, {}))
    if not isinstance(protocol, dict) or not metrics:
        return None
    return {"step": step, "protocol": protocol, "metrics": metrics, "settings": {}, "left_out": {}}


def _scores(line: Mapping[str, Any]) -> dict[str, float]:
    """What an evaluation measured, of a line of the log; a model may have numbers of its own by these names."""
    if "evaluation" not in line and "fid" not in line:
        return {}
    return {name: value for name in LOGGED if (value := number(line.get(name))) is not None}


def clean(value: Any) -> Any:
    """The value of a JSON file with what no JSON or UTF-8 file can hold taken out: NaN, infinities, half characters."""
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
