"""Networks that say how alike two images look, for content terms: VGG-19, or one of ganzoo's extractors."""

import pickle
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.errors import UsageError, one_line
from ganzoo.metrics.evaluation import choose_extractor
from ganzoo.plugins import registry
from ganzoo.training.engine import own_randomness

DEPTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
"""Channels of VGG-19's convolutions up to the one before its last pooling; 0 is a pooling (Simonyan & Zisserman 2015,
table 1, column E)."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, as torchvision's networks take them."""


class VGG(nn.Module):
    """Features of VGG-19, conv5_4, by weights that torchvision offers.

    Images (N, C, H, W) in [-1, 1], C 1 or 3, to (N, 512, H/16, W/16). The weights are constant, and no part of what a
    run saves.
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
        h = ((x.expand(-1, 3, -1, -1) + 1) / 2 - mean) / deviation
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


class Maps:
    """Feature maps of one of ganzoo's extractors: images (N, C, H, W) in [-1, 1] to (N, K, h, w).

    No module of torch's: its weights are not the model's, to be trained, averaged or saved.
    """

    def __init__(self, name: str, dataset: str, shape: tuple[int, ...], device: torch.device):
        """`name`: of an extractor, or its file, as `choose_extractor` takes it for a data set with images of `shape`.

        Raises:
            UsageError: there is none of that name (the nearest is given), or it has no maps.
        """
        with own_randomness(0, device):  # A network draws weights before it loads any.
            try:
                self.extractor = choose_extractor(registry(), dataset, name, shape=shape).to(device)
                self.extractor.maps(torch.zeros(1, *shape, device=device))
            except UsageError as error:
                raise UsageError(f"--content {name}: {error}") from error

    def __call__(self, x: Tensor) -> Tensor:
        return self.extractor.maps(x)
