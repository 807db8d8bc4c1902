"""What a run is told besides the model's own options, and how both are resolved: default < preset < file < command."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.fields import NoOption, Repeated, as_recorded, validated
from ganzoo.files import read_bytes, read_json

if TYPE_CHECKING:
    from ganzoo.gan import GAN

DEFAULT_EPOCHS = 20
ORIGIN = "run to begin with"
"""Where a value comes from that nobody gave, and the run of `--init-from` has."""
BUDGET = ("epochs", "steps", "max_time")
BEFORE: dict[str, Any] = {"labels": "uniform", "data_options": None}
"""What a run is that does not record how it draws classes, or its data set's options: version 0.1.0 had one way."""


def duration(value: Any) -> Any:
    """Seconds from `90`, `90s`, `2m` or `1h30m`.

    Raises:
        ValueError: the text is none of these.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", value.strip())
    if not match or not any(match.groups()):
        raise ValueError("write a duration as 90s, 2m or 1h30m")
    hours, minutes, seconds = (float(g or 0) for g in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def absolute(path: Path | None) -> Path | None:
    """The path from the root, so that a run can be resumed from any folder."""
    if path is not None and "\0" in str(path):
        raise ValueError("a path holds no NUL")
    return path.expanduser().absolute() if path else None


TAKEN = {
    "as_json", "config", "dry_run", "help", "json", "name", "nproc", "out", "preset", "quiet", "tag", "tags", "video",
}  # fmt: skip
"""Names of options of `ganzoo run` besides those of `Settings`."""


def shortest(source: str | None) -> str | None:
    """`hole` for `hole:0.5`: what is recorded, and compared, tells the same sources in the same words.

    Raises:
        UsageError: there is no such way of making sources.
    """
    if source is None:
        return None
    from ganzoo.data.making import Maker  # It takes torch with it.

    return Maker.named(source).text


Ingredients = Annotated[tuple[str, ...], Repeated()]
"""Augmentations or regularisers, each as NAME or NAME:OPTION=VALUE,..."""


class Settings(BaseModel):
    """The run's own options."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dataset: str = Field("mnist", description="Data set, by name (`ganzoo list datasets`).")
    data_root: Annotated[Path | None, AfterValidator(absolute)] = Field(
        None, description="Where the data set's files are, or the user's own images."
    )
    image_size: int | None = Field(None, ge=8, le=1024, description="Side of the images; default: the data's own.")
    channels: Literal[1, 3] | None = Field(None, description="Grey (1) or colour (3); default: the data's own.")
    data_options: Annotated[dict[str, Any] | None, NoOption()] = Field(
        {}, description="The data set's own options, by name; each is an option of the commands that take --dataset."
    )
    source: Annotated[str | None, AfterValidator(shortest)] = Field(
        None,
        description="Make a source of each image, for image-to-image models: smaller:4, grey, edges or "
        "hole; default: the data's own sources.",
    )
    limit: int | None = Field(None, ge=1, description="Train on so many of the samples, the same ones in every run.")
    mirror: bool = Field(False, description="Flip each real image left-right with probability 1/2; a pair alike.")
    jitter: int = Field(
        0,
        ge=0,
        le=1024,
        description="Enlarge each real image by so many pixels and crop its old size out at random; a pair alike.",
    )
    balance: bool = Field(
        False, description="Show real images of each class equally often; fakes then are of each equally often, too."
    )
    labels: Literal["data", "uniform"] = Field(
        "data",
        description="How often fakes are of a class: as often as the training data, or of each equally often.",
    )
    augment: Ingredients = Field(
        (), description="Change what the discriminator sees, by name and options: ada, or ada:target=0.6,speed=500."
    )
    regularise: Ingredients = Field(
        (), description="Add to the losses, by name and options: r1, or r1:gamma=1,every=16."
    )
    init_from: Annotated[Path | None, AfterValidator(absolute)] = Field(
        None,
        description="Begin with the weights of this run, or of what `ganzoo import` made, as far as they fit; "
        "of the same model its options are the defaults.",
    )
    freeze_discriminator: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="With --init-from: so many of the discriminator's layers, from the image on, stay as they are.",
    )
    epochs: float | None = Field(None, gt=0, description=f"Passes over the data; default: {DEFAULT_EPOCHS}.")
    steps: int | None = Field(None, ge=1, description="Generator steps, instead of epochs.")
    max_time: Annotated[float | None, BeforeValidator(duration)] = Field(
        None,
        gt=0,
        description="Stop after this much training, grids and evaluations not counted: 90s, 2m, 1h30m. "
        "How many steps fit varies with the machine's load.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of weights, latents, labels and data order.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto", description="Arithmetic of the networks; auto: tf32 on GPUs that have it, else fp32, which is exact."
    )
    deterministic: bool = Field(
        False, description="On a GPU, add in the same order every time: slower, and equal bit for bit after a resume."
    )
    engine: Literal["auto", "eager", "graph", "compile"] = Field(
        "auto",
        description="How steps are run: one operator after the other, recorded and replayed, or compiled; "
        "auto records them where that proves equal and faster.",
    )
    sample_interval: int = Field(500, ge=1, description="Steps between sample grids; a grid changes no step's weights.")
    checkpoint_interval: int = Field(2000, ge=1, description="Steps between checkpoints.")
    eval_every: float | None = Field(None, gt=0, description="Epochs between evaluations by FID; default: none.")
    workers: int = Field(2, ge=0, le=64, description="Processes that decode images, for sets larger than memory.")
    accumulate: int = Field(
        1, ge=1, le=65536, description="Look at each batch in so many parts, one after the other: less memory."
    )
    clip_gradients: float | None = Field(
        None, gt=0, description="Scale each player's gradients down to this norm at most; default: they are left alone."
    )
    nonfinite_gradients: Literal["stop", "zero"] = Field(
        "stop", description="Gradients that are not finite end the run, or count as zero."
    )
    sync_batchnorm: bool = Field(False, description="BatchNorm over the global batch, where several GPUs share it.")
    loggers: tuple[str, ...] = Field(("tensorboard",), description="Loggers, by name (`ganzoo list loggers`).")

    def total_steps(self, batches_per_epoch: int, batches_per_step: float) -> int | None:
        """Steps to take; None when only time limits the run. An epoch counts every real batch."""
        if self.steps is not None:
            return self.steps
        if self.epochs is None and self.max_time is not None:
            return None
        epochs = DEFAULT_EPOCHS if self.epochs is None else self.epochs
        return max(1, round(epochs * batches_per_epoch / batches_per_step))


class Record(dict[str, Any]):
    """Every option of a run as its `run.json` records them, and the name of its preset, which has done its work."""


@dataclass
class Plan:
    """A run, resolved and valid, before anything is opened."""

    model: "type[GAN]"
    settings: Settings
    options: Any
    preset: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    """For each value that is not a default: `ORIGIN`, `preset`, `file` or `command line`."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What is not as it is by default, options of the run and of the model alike."""
        parts = ((part, validated(type(part), {})) for part in (self.settings, self.options))
        return {
            name: getattr(part, name)
            for part, plain in parts
            for name in type(part).model_fields
            if getattr(part, name) != getattr(plain, name)
        }


def resolve(
    model: "type[GAN]",
    command: Mapping[str, Any],
    preset: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Plan:
    """Merge the layers and validate the result.

    Raises:
        UsageError: an unknown preset or option (the nearest name is given), a value out of its range, steps and
            epochs in one layer, or a preset for a run's record, which leaves it nothing to set.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    file = {key.replace("-", "_"): value for key, value in (config or {}).items()}
    recorded = isinstance(config, Record)
    if recorded and preset is not None:
        raise UsageError(f"--preset {preset} would change nothing: a run.json sets every option; give one of the two")
    preset = preset or file.get("preset")
    if recorded:
        file = as_recorded(model.Options, file)
        preset = preset if isinstance(preset, str) else None
    elif preset is not None:
        if not isinstance(preset, str) or preset not in model.presets:
            known = did_you_mean(str(preset), list(model.presets)) if model.presets else "it has none"
            raise UsageError(f"model '{model.name}' has no preset '{preset}': {known}")
        layers.append(("preset", dict(model.presets[preset])))
    given = [command.get("init_from"), file.get("init_from"), *(layer.get("init_from") for _, layer in layers)]
    if not recorded and (origin := next((place for place in given if place is not None), None)) is not None:
        layers.insert(0, (ORIGIN, _as_in(Path(origin), model)))
    layers.append(("file", {k: v for k, v in file.items() if k not in ("preset", "model")}))
    layers.append(("command line", dict(command)))

    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        if layer.get("steps") is not None and layer.get("epochs") is not None and not (recorded and source == "file"):
            raise UsageError(f"{source}: --steps and --epochs say the same thing twice; give one of them")
        if any(layer.get(key) is not None for key in BUDGET):  # A nearer budget replaces a farther one whole.
            for key in BUDGET:
                merged.pop(key, None)
                sources.pop(key, None)
        if "dataset" in merged and layer.get("dataset", merged["dataset"]) != merged["dataset"]:
            merged.pop("data_options", None)  # They were another data set's.
        elif isinstance(layer.get("data_options"), dict):
            layer = {**layer, "data_options": {**(merged.get("data_options") or {}), **layer["data_options"]}}
        merged |= layer
        sources |= dict.fromkeys(layer, source)

    run_fields, model_fields = set(Settings.model_fields), set(model.Options.model_fields)
    for key in merged:
        if key not in run_fields | model_fields:
            hint = did_you_mean(key.replace("_", "-"), [f.replace("_", "-") for f in run_fields | model_fields])
            raise UsageError(f"{sources[key]}: model '{model.name}' has no option '{key}': {hint}")
    settings = validated(Settings, {k: v for k, v in merged.items() if k in run_fields}, sources)
    options = validated(model.Options, {k: v for k, v in merged.items() if k in model_fields}, sources)
    return Plan(model, settings, options, preset, sources)


def _as_in(run: Path, model: "type[GAN]") -> dict[str, Any]:
    """What a run of the same model says of the networks: its options, and the images' size as it was asked for.

    Of a run that cannot be read, nothing: whoever takes its weights tells why.
    """
    try:
        info = read_json(run / "run.json")
    except (GanzooError, ValueError):
        return {}
    options, settings = (info.get(key) if isinstance(info, dict) else None for key in ("options", "settings"))
    if not (isinstance(options, dict) and isinstance(settings, dict) and info.get("model") == model.name):
        return {}
    recorded = as_recorded(model.Options, options)
    chosen = {name: value for name, value in recorded.items() if name in model.Options.model_fields}
    return chosen | {name: settings[name] for name in ("image_size", "channels") if settings.get(name) is not None}


def read_config(path: Path) -> dict[str, Any]:
    """The options in a TOML file, or those of a finished run in its `run.json`, as one flat mapping.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    if path.suffix == ".json":
        try:
            value = read_json(path)
        except GanzooError as error:
            raise UsageError(str(error)) from None
        if not isinstance(value, dict):
            raise UsageError(f"{path} holds no options")
        if "settings" not in value:
            return value
        return flatten(value, path)
    try:
        return tomllib.loads(read_bytes(path, 2**20).decode())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def flatten(info: Mapping[str, Any], path: Path) -> Record:
    """The options that a `run.json` records; one of version 0.1.0, which knew no `labels`, drew classes uniformly.

    Raises:
        UsageError: it does not record them.
    """
    settings, options = info.get("settings"), info.get("options")
    if not (isinstance(settings, dict) and isinstance(options, dict)):
        raise UsageError(f"{path} is damaged: it records no options")
    return Record({"model": info.get("model"), "preset": info.get("preset"), **BEFORE, **settings, **options})
