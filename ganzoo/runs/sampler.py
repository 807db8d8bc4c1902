"""A trained generator, loaded from its run directory, to draw samples from."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line, plain
from ganzoo.fields import as_recorded, validated
from ganzoo.files import contained, read_json
from ganzoo.gan import GAN
from ganzoo.metrics.classifier import at_once
from ganzoo.plugins import Registry, registry
from ganzoo.precision import as_usual
from ganzoo.runs import weights
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.folder import model_of, open_run, refuse_later
from ganzoo.runs.hub import local
from ganzoo.runs.parts import in_parts
from ganzoo.runs.sources import as_sources
from ganzoo.sampling import drawing
from ganzoo.terminal import argument
from ganzoo.training.building import build, refuse_giants
from ganzoo.training.draws import OwnGenerators, own_draws
from ganzoo.training.engine import choose_device
from ganzoo.training.layout import arranged


class Drawing(ABC):
    """What samples are drawn from."""

    @property
    @abstractmethod
    def sampler(self) -> "Sampler":
        """The generator that draws them."""

    @as_usual()
    def sample(
        self,
        n: int | None = None,
        labels: Sequence[int | str] | None = None,
        seed: int = 0,
        values: Mapping[str, float] | None = None,
        conditions: Tensor | None = None,
        **sampling: Any,
    ) -> Tensor:
        """Draw samples: float (n, C, H, W) in [-1, 1], or vectors (n, D), the same for the same arguments.

        Args:
            n: how many; default: one for each label, or condition, else 64.
            labels: class indices or names, repeated in turn until there are `n`; default: all classes in turn.
            seed: seed of the latents.
            values: attributes of the condition by name, where the data has any.
            conditions: whole condition vectors instead of labels and values, float (M, K), of data with attributes;
                repeated in turn until there are `n`.
            sampling: the model's options of drawing, where it has any: `truncation=0.7`.

        Raises:
            UsageError: a label or attribute that the data does not have, labels that are no sequence or for an
                unconditional model, conditions that the model does not take, n < 1, an n or seed that is no whole
                number, or an option of drawing that the model does not have or that is out of its range.
        """
        chosen = None if labels is None else _labels(labels)
        sampler = self.sampler
        if conditions is not None:
            if chosen is not None or values:
                raise UsageError("conditions are whole: leave out labels and values")
            asked = sampler.taken(conditions)
            n = len(asked) if n is None else n
            sampler.classes(n)
            return sampler.draw(n, None, seed, None, sampling, asked[torch.arange(n) % len(asked)])
        if n is None:
            n = len(chosen) if chosen is not None else 64
        return sampler.draw(n, sampler.classes(n, chosen), seed, values, sampling)

    @as_usual()
    def translate(
        self,
        images: Tensor,
        labels: Sequence[int | str] | None = None,
        seed: int = 0,
        values: Mapping[str, float] | None = None,
        **sampling: Any,
    ) -> Tensor:
        """Make an image from each of `images`: float (N, C, H, W) in [-1, 1], the same for the same arguments.

        Grey images are taken as colour and colour ones as grey, where the model was trained on the other; a note says
        so. Images are taken in their own size, if the generator takes any size, and never resized.

        Args:
            images: uint8 (N, C', H', W'), or float in [-1, 1], no smaller than those that the model was trained on.
            labels: one class for all, or one for each, by index or name, where the model takes classes; default: all
                classes in turn.
            seed: seed of whatever the generator draws.
            values: attributes of the condition by name, where the data has any.
            sampling: the model's options of drawing, where it has any.

        Raises:
            UsageError: the model does not translate, the images are none that it takes, or as `sample`.
        """
        sampler = self.sampler
        sources = as_sources(sampler.gan, images)
        n, chosen = len(sources), None if labels is None else _labels(labels)
        if chosen is not None and len(chosen) not in (1, n):
            raise UsageError(f"there are {n} images, but {len(chosen)} labels: give one for each, or one for all")
        classes = sampler.classes(n, chosen)
        size = at_once(*sources.shape[2:])
        parts = zip(sources.split(size), classes.split(size) if classes is not None else [None] * n, strict=False)
        return torch.cat([sampler.translate_part(x, c, seed, i, values, sampling) for i, (x, c) in enumerate(parts)])


class Sampler(Drawing):
    """A generator with its averaged weights, in evaluation mode. Made by `load`.

    Several threads may draw from one at a time: each call draws from generators of its own.
    """

    def __init__(self, gan: GAN, step: int | None = None):
        self.gan = gan.eval().requires_grad_(False)
        self.step = step
        """The step of training that it is of, where that is known."""

    @property
    def sampler(self) -> "Sampler":
        return self

    @property
    def data(self) -> DataSpec:
        """The data that the generator was trained on: shape, classes, attributes."""
        return self.gan.data

    def classes(self, n: int, labels: Sequence[int | str] | None = None) -> Tensor | None:
        """The class index of each of `n` samples: int64 (n,), or None when there are no classes.

        Raises:
            UsageError: as `sample`.
        """
        if _whole_number("n", n) < 1:
            raise UsageError(f"the number of samples must be at least 1, not {n}")
        if not (self.gan.conditional and self.data.classes):
            if labels is not None:
                raise UsageError(f"model '{self.gan.name}' draws without classes: it takes no label")
            return None
        chosen = [self.class_index(c) for c in labels] if labels is not None else list(range(len(self.data.classes)))
        if not chosen:
            raise UsageError("no label was given")
        return torch.tensor([chosen[i % len(chosen)] for i in range(n)])

    def class_index(self, label: Any) -> int:
        """The index of a class given by index (a number of Python, numpy or torch) or name.

        Raises:
            UsageError: there is no such class.
        """
        names = self.data.classes
        if isinstance(label, str) and label in names:
            return names.index(label)
        with suppress(TypeError):
            label = index(label)
        text = str(label)
        if re.fullmatch(r"\d{1,9}", text) and int(text) < len(names):
            return int(text)
        hint = f"classes are 0 to {len(names) - 1}"
        if names != tuple(map(str, range(len(names)))):
            hint += f", by name: {did_you_mean(text, list(names))}"
        raise UsageError(f"'{label}' is not a class of {self.data.name}: {hint}")

    @as_usual()
    @torch.no_grad()
    def draw(
        self, n: int, classes: Tensor | None, seed: int = 0, values: Mapping[str, float] | None = None,
        sampling: Mapping[str, Any] | None = None, conditions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """`sample` for class indices that are already a tensor (n,), or None, or for as many `conditions`."""
        gan = drawing(self.gan, sampling or {})
        _checked(gan, seed, values)
        if gan.translates:
            raise UsageError(f"model '{gan.name}' makes images from images: translate some (ganzoo sample RUN --from)")
        with own_draws(gan, seed):
            z = gan.sample_latent(n)
            y = self.conditions(n, classes, values) if conditions is None else conditions.to(gan.device)
            return in_parts(gan, z, y)

    @as_usual()
    @torch.no_grad()
    def translate_part(
        self, sources: Tensor, classes: Tensor | None, seed: int = 0, number: int = 0,
        values: Mapping[str, float] | None = None, sampling: Mapping[str, Any] | None = None,
    ) -> Tensor:  # fmt: skip
        """The `number`-th part of what `translate` makes, for sources as `as_sources` gives them and class indices."""
        gan, n = drawing(self.gan, sampling or {}), len(sources)
        _checked(gan, seed, values)
        with own_draws(gan, (seed * 1_000_003 + number) % 2**63):
            z, y = gan.sample_latent(n), self.conditions(n, classes, values)
            try:
                return gan.generate(z, y, sources.to(gan.device)).float()
            except RuntimeError as error:
                taken, given = gan.data.source_shape, tuple(sources.shape[1:])
                if taken is None or given == taken:
                    raise
                width, height = taken[2], taken[1]
                raise UsageError(
                    f"model '{gan.name}' was trained on images of {width} x {height} pixels and takes none of "
                    f"{given[2]} x {given[1]}: resize them"
                ) from error

    def takes_any_size(self) -> bool:
        """Whether the generator makes images of sources of other sizes than it was trained on, in the same proportion.

        It is tried on one.
        """
        shape = self.data.source_shape
        assert shape is not None
        c, h, w = shape
        sizes = []
        for height, width in ((h, w), (h + 16, w + 8)):
            classes = self.classes(1)
            try:
                made = self.translate_part(torch.zeros(1, c, height, width), classes)
            except Exception:  # Whatever a network says to a size that it does not take.
                return False
            sizes.append((made.shape[2] / height, made.shape[3] / width))
        return sizes[0] == sizes[1]

    def taken(self, conditions: Any) -> Tensor:
        """Condition vectors, if they are such as the model takes, float (M, K), finite, M at least 1.

        Raises:
            UsageError: they are not.
        """
        size = self.data.condition_size
        if not (self.gan.conditional and self.data.attributes):
            raise UsageError(f"model '{self.gan.name}' was trained without condition vectors: it takes no conditions")
        if not (isinstance(conditions, Tensor) and conditions.is_floating_point() and conditions.shape[1:] == (size,)):
            told = tuple(conditions.shape) if isinstance(conditions, Tensor) else type(conditions).__name__
            raise UsageError(f"conditions must be floats (M, {size}), not {told}")
        if not len(conditions) or not conditions.isfinite().all():
            raise UsageError("conditions must be finite, and at least one")
        return conditions.float()

    def conditions(self, n: int, classes: Tensor | None, values: Mapping[str, float] | None) -> Tensor | None:
        """What the generator takes for class indices (n,), or None, and attributes by name; None: nothing.

        Of an unconditional model, and where nothing is asked of a conditional one, they are drawn.

        Raises:
            UsageError: an attribute that the data does not have.
        """
        if classes is None and not values:
            return self.gan.sample_labels(n)
        chosen = torch.zeros(n, dtype=torch.int64) if classes is None else classes
        return self.data.condition(chosen.to(self.gan.device), values)


def _checked(gan: GAN, seed: int, values: Mapping[str, float] | None) -> None:
    if not 0 <= _whole_number("seed", seed) < 2**63:
        raise UsageError(f"seed must be at least 0 and less than 2**63, not {seed}")
    if values and not gan.conditional:
        raise UsageError(f"model '{gan.name}' was trained without a condition: it takes no attribute")


def _labels(labels: Any) -> list[Any]:
    try:
        if isinstance(labels, str):
            raise TypeError
        return list(labels)
    except TypeError:
        raise UsageError(f"labels must be a sequence of class numbers or names, such as [{labels!r}]") from None


def _whole_number(name: str, value: Any) -> int:
    try:
        return index(value)
    except TypeError:
        raise UsageError(f"{name} must be a whole number, not {value!r}") from None


@as_usual()
def load(
    run: str | Path, device: str = "auto", plugins: Registry | None = None, model: type[GAN] | None = None,
    checkpoint: str | int | None = None,
) -> Sampler:  # fmt: skip
    """The generator of a run directory, its averaged weights loaded.

    Args:
        run: the folder; the address of one on the hub, `hf://owner/name`; or a file that `ganzoo export` wrote as
            safetensors.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        plugins: where the model is looked up; default: what is installed.
        model: the model's class, where no package brings it.
        checkpoint: `best` (by FID while it trained), `last`, or a step that there is a checkpoint of; default: the
            generator as it was last saved.

    Raises:
        UsageError: not a run directory, an unknown model, no generator saved yet, or no such checkpoint; or the hub
            has no such run.
        GanzooError: the hub cannot be reached; or the run's files are damaged or do not fit each other, or a link leads
            out of it.
    """
    if not isinstance(run, str | PathLike):
        raise UsageError(f"a run is named by its folder or address, not by {type(run).__name__}")
    folder = local(run)
    config: Any = _config_of_export(folder) if folder.is_file() else _config_of_run(folder)
    known = plugins or registry()
    if model is not None:
        known = known.having("models", model)
    made = open_run(folder) if (folder / "run.json").is_file() else {}
    model = model_of(folder, {**made, "model": plain(str(config.get("model")))}, known)
    options = config.get("options")
    spec = DataSpec.from_json(config["data"])
    chosen = validated(model.Options, as_recorded(model.Options, options if isinstance(options, dict) else {}))
    if folder.is_file():
        if checkpoint is not None:
            raise UsageError(f"{folder} is an exported file, and has no checkpoints to choose from")
        step, held = _exported(folder, model)
    else:
        step, held = _saved(folder, model) if checkpoint is None else _in_checkpoint(folder, model, str(checkpoint))
    # A model that takes memory is built once its outline is known to be that of the files.
    outline = refuse_giants(model, spec, chosen)
    if outline is not None:
        _same(held, outline)
    with OwnGenerators(0):  # Weights that are drawn here and overwritten at once move nobody's random numbers.
        gan = build(model, spec, chosen)
    _same(held, gan)
    for name, tensors in held.items():
        module: nn.Module = getattr(gan, name)
        try:
            module.load_state_dict(tensors.read())
        except RuntimeError as error:
            raise GanzooError(f"{tensors.path} does not fit config.json: {one_line(error)[:200]}") from error
    return Sampler(arranged(gan, choose_device(device)), step)


class _Tensors(NamedTuple):
    """The tensors of a module, somewhere in a run directory."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[], Mapping[str, Tensor]]


def _config_of_run(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a run directory: there is no such folder")
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} is not a run directory: it has no config.json")
    contained(folder)
    config: Any = read_json(folder / "config.json")
    if not (isinstance(config, dict) and isinstance(config.get("data"), dict)):
        raise GanzooError(f"{folder / 'config.json'} is damaged: it does not describe a model")
    refuse_later(folder / "config.json", config)
    return config


def _config_of_export(path: Path) -> dict[str, Any]:
    with suppress(GanzooError, KeyError, ValueError):
        config: Any = json.loads(weights.about(path)["config"])
        if isinstance(config, dict) and isinstance(config.get("data"), dict):
            return config
    raise UsageError(f"{path} is neither a run directory nor a file that `ganzoo export --format safetensors` wrote")


def _exported(path: Path, model: type[GAN]) -> tuple[int | None, dict[str, _Tensors]]:
    """The modules in an exported file: the generator alone, or all that a model that translates keeps."""
    shapes, step, read = weights.shapes(path), weights.about(path).get("step", ""), cache(partial(weights.read, path))
    parts = exported_parts(model)
    if parts == ("generator",):
        held = {"generator": _Tensors(path, shapes, read)}
    else:
        held = {name: _Tensors(path, _part(shapes, name), partial(_read_part, read, name)) for name in parts}
    return int(step) if step.isdecimal() else None, held


def exported_parts(model: type[GAN]) -> tuple[str, ...]:
    """What an exported file holds: a generator, or all that a model keeps which translates."""
    return tuple(model.saved) if model.translates else ("generator",)


def _read_part(read: Callable[[], Mapping[str, Tensor]], name: str) -> dict[str, Tensor]:
    return _part(read(), name)


def _part(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    begins = f"{name}."
    return {key.removeprefix(begins): value for key, value in of.items() if key.startswith(begins)}


def _saved(folder: Path, model: type[GAN]) -> tuple[int | None, dict[str, _Tensors]]:
    """The modules as they were last saved, and the step they are of."""
    if not (folder / "generator.safetensors").is_file():
        raise UsageError(f"{folder} holds no generator yet: it is written with the first checkpoint")
    held = {}
    for name in model.saved:
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            raise UsageError(f"{folder} holds no {name}.safetensors: `ganzoo resume {argument(folder)}` writes it")
        held[name] = _Tensors(path, weights.shapes(path), partial(weights.read, path))
    return step_of(folder), held


def _in_checkpoint(folder: Path, model: type[GAN], which: str) -> tuple[int, dict[str, _Tensors]]:
    """The averaged modules in a checkpoint, and its step."""
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.named(which)
    state, path = checkpoints.load(step, torch.device("cpu")), checkpoints.state_file(step)
    others = state.get("averages")
    averages = {model.saved[0]: state.get("ema"), **(others if isinstance(others, dict) else {})}
    held = {}
    for name in model.saved:
        tensors = averages.get(name)
        if not (isinstance(tensors, dict) and all(isinstance(value, Tensor) for value in tensors.values())):
            raise GanzooError(f"{path} is damaged: it holds no average of the {name}")
        held[name] = _Tensors(path, {k: tuple(v.shape) for k, v in tensors.items()}, partial(dict, tensors))
    return step, held


def _same(held: Mapping[str, _Tensors], gan: GAN) -> None:
    for name, tensors in held.items():
        module: nn.Module = getattr(gan, name)
        if tensors.shapes != {key: tuple(value.shape) for key, value in module.state_dict().items()}:
            raise GanzooError(
                f"{tensors.path} is damaged or does not fit config.json: its tensors are not the {name}'s"
            )


def step_of(run: Path) -> int | None:
    """The step that the saved generator is of, as its file says.

    Raises:
        GanzooError: the file is damaged, or not there.
    """
    step = weights.about(run / "generator.safetensors").get("step", "")
    return int(step) if re.fullmatch(r"[0-9]{1,18}", step) else None
