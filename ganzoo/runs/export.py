"""A trained generator as one file for other programs, checked against the original before it is kept."""

import copy
import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo import __version__
from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError, one_line, warn
from ganzoo.fields import validated
from ganzoo.files import whole
from ganzoo.gan import GAN
from ganzoo.plugins import Registry
from ganzoo.runs.sampler import Sampler, exported_parts
from ganzoo.runs.weights import KEY, apart, told
from ganzoo.training.building import build
from ganzoo.training.draws import own_draws
from ganzoo.training.layout import arranged

BATCHES = (1, 2, 7, 64)
"""Sizes of the random batches on which the exported generator must equal the original."""
SOURCES = ((1, 0, 0), (2, 1, 3), (3, 16, 8))
"""Of models that translate: the same, and by how many pixels sources are higher and wider than in training."""
LONGEST = 65536
"""Most images of a batch, and pixels of a side, that a program takes."""
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")

Inputs = tuple[Tensor, ...]
Loaded = Callable[[Inputs], Tensor]
"""What a file computes, once it is read back: images for (z,) or (z, y), or with a source before these."""


class Drawn(nn.Module):
    """A model with what it draws with, and nothing else."""

    def __init__(self, gan: GAN):
        super().__init__()
        self.gan = copy.copy(gan)
        # A generator alone: who receives it has no use for what it was trained against, or for images of the past.
        played = {part for player in gan.players().values() for part in player.modules()}

        def needed(name: str, module: nn.Module) -> bool:
            own = any(part in played or getattr(part, "own", False) for part in module.modules())
            return name != "discriminator" and (name in gan.saved or not own)

        self.gan._modules = {
            name: module for name, module in gan._modules.items() if module is not None and needed(name, module)
        }


class Images(Drawn):
    """The generator as other programs call it: images for latents, and for conditions where it takes any."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.gan.generate(z, y)


class Translations(Drawn):
    """The same of a model that translates: images for sources, and for latents and conditions where it takes any."""

    def __init__(self, gan: GAN, names: tuple[str, ...]):
        super().__init__(gan)
        self.names = names
        """What the inputs are called."""

    def forward(self, source: Tensor, *others: Tensor) -> Tensor:
        given = dict(zip(self.names[1:], others, strict=True))
        z = given.get("z")
        return self.gan.generate(source.new_zeros(source.shape[0], 0) if z is None else z, given.get("y"), source)


def caller(gan: GAN) -> nn.Module:
    """The module that is exported: `Images`, or `Translations`."""
    return (Translations(gan, tuple(draw(gan, 1, seed=0))) if gan.translates else Images(gan)).eval()


@dataclass(frozen=True)
class Format:
    """One kind of file: how its bytes are made and read back, and how far its images may lie from the original's."""

    make: Callable[[GAN, dict[str, str], bool], bytes]
    """Of a model, what the file says of itself, and whether sources are of any size."""
    load: Callable[[bytes, Registry], Loaded]
    tolerance: float
    about: str


def export(gan: GAN, kind: str, path: Path, plugins: Registry, step: int | None = None) -> dict[str, Any]:
    """Write the generator of a GAN in evaluation mode, on the CPU, once the bytes are shown to equal it.

    Returns:
        `file`, `format`, `bytes`, `inputs` (name, shape, dtype, meaning), `images_checked`, `largest_difference`
        (in [-1, 1] units) and `tolerance`.

    Raises:
        UsageError: the extra packages of the format are missing.
        GanzooError: the generator cannot be exported, differs from the original, or cannot be written.
    """
    form = FORMATS[kind]
    free = gan.translates and Sampler(gan).takes_any_size()
    try:
        try:
            content, difference, facts = _checked(gan, form, plugins, step, free)
        except GanzooError:
            raise
        except Exception as error:
            if not free:
                raise
            _, h, w = gan.data.source_shape or gan.data.shape
            warn(
                f"as {kind}, model '{gan.name}' takes sources of {w} x {h} pixels alone: no program of it holds for "
                f"all sizes ({one_line(error)[:200]})"
            )
            free = False
            content, difference, facts = _checked(gan, form, plugins, step, free)
    except GanzooError:
        raise
    except Exception as error:
        raise GanzooError(f"model '{gan.name}' cannot be exported as {kind}: {one_line(error)[:300]}") from error
    if not difference <= form.tolerance:
        raise GanzooError(
            f"model '{gan.name}' as {kind} differs from the original by {difference:.2g} (at most {form.tolerance:g} "
            "is allowed); nothing was written"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(content)
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error
    return {
        "file": str(path),
        "format": kind,
        "bytes": len(content),
        "inputs": json.loads(facts["inputs"]),
        "images_checked": sum(n for n, *_ in checks(gan, free)),
        "largest_difference": difference,
        "tolerance": form.tolerance,
    }


def _checked(
    gan: GAN, form: Format, plugins: Registry, step: int | None, free: bool
) -> tuple[bytes, float, dict[str, str]]:
    """A file's content, how far its images lie from the original's, and what it says of itself."""
    facts = {"ganzoo": __version__, "model": gan.name, "step": str(step), **describe(gan, free)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporters' own, about themselves.
        content = form.make(gan, facts, free)
        return content, compare(gan, form.load(content, plugins), free), facts


def describe(gan: GAN, free: bool = False) -> dict[str, str]:
    """What a file says of itself, as JSON texts: `inputs`, `output`, and the `config` that rebuilds the model."""
    classes = f"class indices, 0 to {len(gan.data.classes) - 1}"
    meanings = {"z": "latents, as the model draws them", "y": classes, "source": "pixels in [-1, 1]"}
    inputs = []
    for name, value in draw(gan, 2, seed=0).items():
        meaning = meanings[name]
        if name == "y" and value.dtype != torch.int64:
            meaning = "one-hot class, then " * bool(gan.data.classes) + ", ".join(
                f"{a.name} in [{a.low:g}, {a.high:g}]" for a in gan.data.attributes
            )
        shape = ["N", value.shape[1], "H", "W"] if free and name == "source" else ["N", *value.shape[1:]]
        inputs.append({"name": name, "shape": shape, "dtype": str(value.dtype)[6:], "meaning": meaning})
    made: list[Any] = ["N", *gan.data.shape]
    if free and gan.data.source_shape is not None:
        times = gan.data.shape[1] / gan.data.source_shape[1]
        made[2:] = [side if times == 1 else f"{times:g} {side}" for side in ("H", "W")]
    output = {"name": "images", "shape": made, "dtype": "float32", "meaning": "pixels in [-1, 1]"}
    config = {"model": gan.name, "options": gan.options.model_dump(mode="json"), "data": gan.data.to_json()}
    return {"inputs": json.dumps(inputs), "output": json.dumps(output), "config": json.dumps(config)}


def draw(gan: GAN, n: int, seed: int, higher: int = 0, wider: int = 0) -> dict[str, Tensor]:
    """Random inputs as the model draws them, in order: z, and y for a model that takes a condition.

    Of a model that translates: `source`, so much higher and wider than in training, before those that it has.
    """
    with torch.no_grad(), own_draws(gan, seed):
        z, y = gan.sample_latent(n), gan.sample_labels(n)
        inputs = {"z": z} if y is None else {"z": z, "y": y}
        if not gan.translates:
            return inputs
        assert gan.data.source_shape is not None
        c, h, w = gan.data.source_shape
        source = torch.rand(n, c, h + higher, w + wider) * 2 - 1
    return {"source": source} | {name: value for name, value in inputs.items() if name != "z" or value.shape[1]}


def checks(gan: GAN, free: bool) -> list[tuple[int, int, int]]:
    """What the exported generator is tried on: how many images, and how much higher and wider their sources are."""
    if not gan.translates:
        return [(n, 0, 0) for n in BATCHES]
    return [(n, higher * free, wider * free) for n, higher, wider in SOURCES]


def compare(gan: GAN, loaded: Loaded, free: bool = False) -> float:
    """The largest difference of a pixel between the original's images and the loaded one's, both in [-1, 1].

    Infinite where a shape differs or a value is not finite.
    """
    largest = 0.0
    original = caller(gan)
    for n, higher, wider in checks(gan, free):
        inputs = tuple(draw(gan, n, n, higher, wider).values())
        with torch.no_grad():
            expected, found = original(*inputs).float(), loaded(inputs)
        if found.shape != expected.shape or not found.isfinite().all():
            return float("inf")
        largest = max(largest, float((found - expected).abs().max()))
    return largest


# safetensors: the weights, and in the header what rebuilds the model around them


def _safetensors(gan: GAN, facts: dict[str, str], free: bool) -> bytes:
    from safetensors.torch import save

    # One key: safetensors writes several in any order, and equal weights should make equal files.
    return save(apart(_drawing(gan).state_dict()), metadata={KEY: json.dumps(facts, sort_keys=True)})


def _drawing(gan: GAN) -> nn.Module:
    """What a model draws with: its generator; where it translates and has more, everything that a run keeps."""
    parts = exported_parts(type(gan))
    if parts == ("generator",):
        return gan.generator
    return nn.ModuleDict({name: getattr(gan, name) for name in parts})


def _load_safetensors(content: bytes, plugins: Registry) -> Loaded:
    from safetensors.torch import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    config: Mapping[str, Any] = json.loads(told(header["__metadata__"])["config"])
    model = plugins.get("models", config["model"])
    gan = build(model, DataSpec.from_json(config["data"]), validated(model.Options, config["options"]))
    gan = arranged(gan, gan.device)  # As the original lies: another layout rounds otherwise.
    _drawing(gan).load_state_dict(load(content))
    images = caller(gan.eval().requires_grad_(False))
    return lambda inputs: images(*inputs)


# pt2: torch.export's program


def _traced(gan: GAN, free: bool) -> tuple[nn.Module, dict[str, Tensor], dict[str, Any]]:
    """The module, inputs to follow it with, and which of their sides are free, by the names of its arguments."""
    inputs = draw(gan, 3, 0, 9 * free, 14 * free)
    n = torch.export.Dim("n", min=1, max=LONGEST)
    shapes: dict[str, Any] = {name: {0: n} for name in inputs}
    if gan.translates:
        source, *others = shapes.values()
        if free:
            assert gan.data.source_shape is not None
            _, h, w = gan.data.source_shape
            source |= {i: torch.export.Dim(name, min=m, max=LONGEST) for i, name, m in ((2, "h", h), (3, "w", w))}
        shapes = {"source": source} | ({"others": tuple(others)} if others else {})
    return caller(gan), inputs, shapes


@contextmanager
def _any_number() -> Iterator[None]:
    """Inside, a program that is followed holds for maps of one pixel too, though it was followed with larger ones."""
    from torch.fx.experimental import _config

    config: Any = _config
    with config.patch(backed_size_oblivious=True) if hasattr(config, "backed_size_oblivious") else nullcontext():
        yield


def _pt2(gan: GAN, facts: dict[str, str], free: bool) -> bytes:
    module, inputs, shapes = _traced(gan, free)
    with torch.no_grad(), _any_number() if free else nullcontext():
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"ganzoo.json": json.dumps(facts, indent=2)})
    return buffer.getvalue()


def _load_pt2(content: bytes, plugins: Registry) -> Loaded:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: module(*inputs)


# onnx


def _onnx(gan: GAN, facts: dict[str, str], free: bool) -> bytes:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--format onnx needs {', '.join(missing)}: pip install 'ganzoo[onnx]'")
    module, inputs, shapes = _traced(gan, free)
    with _any_number() if free else nullcontext():
        program = torch.onnx.export(
            module, tuple(inputs.values()), dynamo=True, verbose=False, input_names=list(inputs),
            output_names=["images"], dynamic_shapes=shapes,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)
    content: bytes = proto.SerializeToString()
    return content


def _load_onnx(content: bytes, plugins: Registry) -> Loaded:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def images(inputs: Inputs) -> Tensor:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return images


FORMATS = {
    "safetensors": Format(_safetensors, _load_safetensors, 0.0, "weights, with what ganzoo needs to rebuild the model"),
    "pt2": Format(_pt2, _load_pt2, 1e-5, "a program for torch.export.load, without ganzoo"),
    "onnx": Format(_onnx, _load_onnx, 1e-4, "for onnxruntime and other programs; needs ganzoo[onnx]"),
}
