"""Super-resolution: what the models that enlarge images have in common.

A sample is two or four times as large as its source, in pairs. Training has two phases (Ledig et al. 2017, section
3.2): first by pixels alone, then against a discriminator, which rests until then.
"""

import pickle
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo import gan
from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError, one_line
from ganzoo.precision import single

TIMES = (2, 4)
"""How many times a model enlarges an image."""
DEPTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
"""Channels of VGG-19's convolutions up to the one before its last pooling; 0 is a pooling (Simonyan & Zisserman 2015,
table 1, column E)."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, as torchvision's networks take them."""


def times(name: str, data: DataSpec) -> int:
    """How many times as large as their sources the images are.

    Raises:
        UsageError: another number than those of `TIMES`, or the data is not paired.
    """
    assert data.source_shape is not None
    (h, w), (height, width) = data.source_shape[1:], data.shape[1:]
    if not data.paired:
        raise UsageError(f"model '{name}' learns from pairs, and sources of '{data.name}' are another set of images")
    found = height // h
    if found not in TIMES or (height, width) != (found * h, found * w):
        raise UsageError(
            f"model '{name}' makes images 2 or 4 times as large as their sources, and data set '{data.name}' has "
            f"sources of {w} x {h} pixels and images of {width} x {height}: make some with --source smaller:4"
        )
    return found


class VGG(nn.Module):
    """Features of VGG-19, conv5_4, by weights that torchvision offers: images (N, C, H, W) to (N, 512, H/16, W/16).

    They are constant, and no part of what a run saves.
    """

    def __init__(self, path: Path, activated: bool):
        """`activated`: after its rectifier, or before.

        Raises:
            UsageError: the file is missing, damaged or holds other weights.
        """
        super().__init__()
        self.activated = activated
        held = _read(path)
        before, place = 3, 0
        self.names: list[str] = []
        for width in DEPTHS:
            if not width:
                place += 1
                continue
            for name, shape in (("weight", (width, before, 3, 3)), ("bias", (width,))):
                value = held.get(f"features.{place}.{name}")
                if not (isinstance(value, Tensor) and value.is_floating_point() and tuple(value.shape) == shape):
                    raise UsageError(f"--vgg-weights {path}: these are not torchvision's weights of vgg19")
                self.register_buffer(f"{name}{place}", value.float(), persistent=False)
            self.names.append(str(place))
            before, place = width, place + 2
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = cast(Tensor, self.mean), cast(Tensor, self.deviation)
        h = ((x + 1) / 2 - mean) / deviation
        places = iter(self.names)
        for width in DEPTHS:
            if not width:
                h = F.max_pool2d(h, 2)
                continue
            place = next(places)
            h = F.conv2d(h, getattr(self, f"weight{place}"), getattr(self, f"bias{place}"), padding=1)
            if self.activated or place != self.names[-1]:
                h = F.relu(h)
        return h


def _read(path: Path) -> dict[str, Any]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"--vgg-weights {path}: {error.strerror or one_line(error)}") from error
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise UsageError(f"--vgg-weights {path}: the file is damaged, or holds more than weights") from error
    return held if isinstance(held, dict) else {}


class Discriminator(nn.Module):
    """Ledig et al. 2017, figure 4: convolutions, of which every other halves the image, and two dense layers.

    (N, C, H, W) to logits (N, 1). Four halvings, as in the paper, from 32 pixels on; fewer below.
    """

    def __init__(self, data: DataSpec, width: int):
        super().__init__()
        channels, h, w = data.shape
        halvings = max(1, min(min(h, w).bit_length() - 2, 4))
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        before = width
        for level in range(halvings):
            after = width * 2**level
            for stride in (1, 2) if level else (2,):
                layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
                before = after
            h, w = -(-h // 2), -(-w // 2)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(before * h * w, 16 * width), nn.LeakyReLU(0.2), nn.Linear(16 * width, 1)
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(x)


class Options(gan.Options):
    """Of all models that enlarge images. Adam 1e-4 (0.9, 0.999), as the papers have it."""

    batch_size: int = Field(16, ge=1, le=65536, description="Images in a batch, over all processes.")
    lr: float = Field(1e-4, gt=0, le=10, description="Learning rate.")
    b1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment.")
    width: int = Field(32, ge=1, le=1024, description="Channels of both networks next to the image; the papers: 64.")
    pretrain: float = Field(
        0.5, ge=0, le=1, description="Share of the budget that is trained by pixels alone, before the discriminator."
    )
    vgg_weights: str | None = Field(
        None,
        description="torchvision's file of VGG-19's weights (vgg19-dcbb9e9d.pth), for the papers' content term; "
        "default: pixels.",
    )


class SuperResolution(gan.GAN):
    """A model whose samples are 2 or 4 times as large as their sources."""

    channels_last = ("cuda",)
    translates = True
    activated: ClassVar[bool] = True
    """Whether features of VGG are taken after their rectifier."""

    def __init__(self, data: DataSpec, options: Options):
        super().__init__(data, options)
        self.times = times(self.name, self.data)
        self.vgg: VGG | None = None
        if options.vgg_weights is not None and min(self.data.shape[1:]) < 16:
            raise UsageError("--vgg-weights: VGG halves an image four times, and needs 16 pixels or more")

    def turns(self) -> Any:
        """As usual. They are asked for before training: drawing samples takes no weights of VGG."""
        if self.options.vgg_weights is not None and self.vgg is None:
            self.vgg = VGG(Path(self.options.vgg_weights), self.activated).to(self.device)
        return super().turns()

    def begun(self) -> Tensor:
        """1 once the first phase is over, 0 before: a scalar on the device."""
        return (self.clock.fraction >= self.options.pretrain).to(self.clock.fraction.dtype)

    def features(self, x: Tensor) -> Tensor | None:
        """What VGG sees in images (N, C, H, W) in [-1, 1], in float32; None without its weights."""
        if self.vgg is None:
            return None
        return single(self.vgg(x.expand(-1, 3, -1, -1)))

    def pictures(self, examples: Batch) -> dict[str, Tensor]:
        """Source and output; between them, what bicubic interpolation makes of the source."""
        source = examples.source
        assert source is not None
        shown = super().pictures(examples)
        plain = F.interpolate(source, scale_factor=self.times, mode="bicubic", align_corners=False).clamp(-1, 1)
        return {"source": shown.pop("source"), "bicubic": plain} | shown
