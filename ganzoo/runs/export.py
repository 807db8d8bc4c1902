"""A trained generator as one file for other programs, checked against the original before it is kept."""

import copy
import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo import __version__
from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import whole
from ganzoo.gan import GAN
from ganzoo.plugins import Registry
from ganzoo.runs.weights import KEY, apart, told
from ganzoo.settings import validated
from ganzoo.training.building import build
from ganzoo.training.draws import own_draws

BATCHES = (1, 2, 7, 64)
"""Sizes of the random batches on which the exported generator must equal the original."""
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")

Inputs = tuple[Tensor, ...]
Loaded = Callable[[Inputs], Tensor]
"""What a file computes, once it is read back: images for (z,) or (z, y)."""


class Images(nn.Module):
    """The generator as other programs call it: images for latents, and for conditions where it takes any."""

    def __init__(self, gan: GAN):
        super().__init__()
        self.gan = copy.copy(gan)
        # A generator alone: who receives it has no use for the discriminator's weights.
        self.gan._modules = {name: module for name, module in gan._modules.items() if name != "discriminator"}

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.gan.generate(z, y)


@dataclass(frozen=True)
class Format:
    """One kind of file: how its bytes are made and read back, and how far its images may lie from the original's."""

    make: Callable[[GAN, dict[str, str]], bytes]
    load: Callable[[bytes, Registry], Loaded]
    tolerance: float
    about: str


def export(gan: GAN, kind: str, path: Path, plugins: Registry, step: int | None = None) -> dict[str, Any]:
    """Write the generator of a GAN in evaluation mode, on the CPU, once the bytes are shown to equal it.

    Returns:
        `file`, `format`, `bytes`, `inputs` (name, shape, dtype, meaning), `images_checked`, `largest_difference`
        (in [-1, 1] units) and `tolerance`.

    Raises:
        UsageError: the model translates, or the extra packages of the format are missing.
        GanzooError: the generator cannot be exported, differs from the original, or cannot be written.
    """
    if gan.translates:
        raise UsageError(
            f"model '{gan.name}' makes images from images, which cannot be exported yet: `ganzoo sample RUN --from "
            "FOLDER` and ganzoo.load(RUN).translate(images) use it"
        )
    form = FORMATS[kind]
    facts = {"ganzoo": __version__, "model": gan.name, "step": str(step), **describe(gan)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The exporters' own, about themselves.
            content = form.make(gan, facts)
            difference = compare(gan, form.load(content, plugins))
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
        "images_checked": sum(BATCHES),
        "largest_difference": difference,
        "tolerance": form.tolerance,
    }


def describe(gan: GAN) -> dict[str, str]:
    """What a file says of itself, as JSON texts: `inputs`, `output`, and the `config` that rebuilds the model."""
    inputs = []
    for name, value in zip(("z", "y"), draw(gan, 2, seed=0), strict=False):
        meaning = "latents, as the model draws them" if name == "z" else "class indices"
        if name == "y" and value.dtype != torch.int64:
            meaning = "one-hot class, then " * bool(gan.data.classes) + ", ".join(
                f"{a.name} in [{a.low:g}, {a.high:g}]" for a in gan.data.attributes
            )
        shape = ["N", *value.shape[1:]]
        inputs.append({"name": name, "shape": shape, "dtype": str(value.dtype)[6:], "meaning": meaning})
    output = {"name": "images", "shape": ["N", *gan.data.shape], "dtype": "float32", "meaning": "pixels in [-1, 1]"}
    config = {"model": gan.name, "options": gan.options.model_dump(mode="json"), "data": gan.data.to_json()}
    return {"inputs": json.dumps(inputs), "output": json.dumps(output), "config": json.dumps(config)}


def draw(gan: GAN, n: int, seed: int) -> Inputs:
    """Random inputs as the model draws them: (z,), or (z, y) for a model that takes a condition."""
    with torch.no_grad(), own_draws(gan, seed):
        z, y = gan.sample_latent(n), gan.sample_labels(n)
    return (z,) if y is None else (z, y)


def compare(gan: GAN, loaded: Loaded) -> float:
    """The largest difference of a pixel between the original's images and the loaded one's, both in [-1, 1].

    Infinite where a shape differs or a value is not finite.
    """
    largest = 0.0
    for n in BATCHES:
        inputs = draw(gan, n, seed=n)
        with torch.no_grad():
            expected, found = Images(gan)(*inputs).float(), loaded(inputs)
        if found.shape != expected.shape or not found.isfinite().all():
            return float("inf")
        largest = max(largest, float((found - expected).abs().max()))
    return largest


# safetensors: the weights, and in the header what rebuilds the model around them


def _safetensors(gan: GAN, facts: dict[str, str]) -> bytes:
    from safetensors.torch import save

    # One key: safetensors writes several in any order, and equal weights should make equal files.
    return save(apart(gan.generator.state_dict()), metadata={KEY: json.dumps(facts, sort_keys=True)})


def _load_safetensors(content: bytes, plugins: Registry) -> Loaded:
    from safetensors.torch import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    config: Mapping[str, Any] = json.loads(told(header["__metadata__"])["config"])
    model = plugins.get("models", config["model"])
    gan = build(model, DataSpec.from_json(config["data"]), validated(model.Options, config["options"]))
    gan.generator.load_state_dict(load(content))
    images = Images(gan.eval().requires_grad_(False))
    return lambda inputs: images(*inputs)


# pt2: torch.export's program


def _program(gan: GAN) -> torch.export.ExportedProgram:
    inputs = draw(gan, 3, seed=0)
    n = torch.export.Dim("n", min=1, max=65536)
    names = ("z", "y")[: len(inputs)]
    with torch.no_grad():
        return torch.export.export(Images(gan).eval(), inputs, dynamic_shapes={name: {0: n} for name in names})


def _pt2(gan: GAN, facts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(gan), buffer, extra_files={"ganzoo.json": json.dumps(facts, indent=2)})
    return buffer.getvalue()


def _load_pt2(content: bytes, plugins: Registry) -> Loaded:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: module(*inputs)


# onnx


def _onnx(gan: GAN, facts: dict[str, str]) -> bytes:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--format onnx needs {', '.join(missing)}: pip install 'ganzoo[onnx]'")
    inputs = draw(gan, 3, seed=0)
    n = torch.export.Dim("n", min=1, max=65536)
    names = ["z", "y"][: len(inputs)]
    program = torch.onnx.export(
        Images(gan).eval(), inputs, dynamo=True, verbose=False, input_names=names, output_names=["images"],
        dynamic_shapes={name: {0: n} for name in names},
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
