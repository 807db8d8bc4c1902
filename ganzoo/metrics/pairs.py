"""What models that make images from images are measured by, image by image: PSNR, SSIM, distances of pixels.

All pixels lie in [0, 1], rounded to 8 bits. torchmetrics takes seconds to import: it is, where it is used.
"""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganzoo.data import to_channels
from ganzoo.errors import GanzooError, one_line
from ganzoo.metrics.base import Measured, Metric, Setting

AT_ONCE = 32
"""Pairs that a network looks at together."""
FAULTS = (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError, pickle.UnpicklingError)
"""What a download that fails, and a file of something else, raise in torchvision and torch.load."""
WINDOW, SCALES = 11, 5
"""Of SSIM's Gaussian window (Wang et al. 2004), in pixels, and how many sizes of an image multi-scale SSIM looks at."""


class OfPairs(Metric):
    """A measurement of what came out against what it was to be."""

    features = False
    least: ClassVar[int] = 1
    """Pixels of the shorter side, at least."""

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        if not setting.paired:
            return "the images have no counterparts to be held against: that is for models that translate pairs"
        h, w = setting.reference.spec.shape[1:]
        if min(h, w) < cls.least:
            return f"images of {w} x {h} pixels are smaller than the {cls.least} x {cls.least} that it needs"
        return None

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        return cls.missing(setting) is None


class ByTorchmetrics(OfPairs):
    """A metric of torchmetrics that takes images (N, C, H, W) and what they were to be."""

    def __init__(self, setting: Setting):
        super().__init__(setting)
        self.metric = self.make()

    def make(self) -> Any:
        """The metric."""
        raise NotImplementedError

    def update(self, batch: Measured) -> None:
        assert batch.targets is not None
        self.metric.update(unit(batch.images), unit(batch.targets))

    def compute(self) -> dict[str, float]:
        return {self.name: float(self.metric.compute())}


class PSNR(ByTorchmetrics):
    """Peak signal-to-noise ratio in decibels, 10 log10(1 / MSE), of the mean square error over all pixels of all
    images."""

    name = "psnr"
    summary = "peak signal-to-noise ratio in dB of translations against their targets: the higher, the better"

    def make(self) -> Any:
        from torchmetrics.image import PeakSignalNoiseRatio

        return PeakSignalNoiseRatio(data_range=1.0, sync_on_compute=False)


class SSIM(OfPairs):
    """Structural similarity (Wang et al. 2004): a Gaussian window of 11 x 11, sigma 1.5; mean over images.

    `ssim` counts every pixel, images going on beyond their borders as in a mirror, as torchmetrics has it; `ssim_inner`
    only those around which the window lies within the image, as its authors' program and scikit-image have it.
    """

    name = "ssim"
    summary = "structural similarity of translations to their targets: 1 is equal"
    least = WINDOW

    def __init__(self, setting: Setting):
        super().__init__(setting)
        self.totals, self.count = [0.0, 0.0], 0

    def update(self, batch: Measured) -> None:
        from torchmetrics.functional.image import structural_similarity_index_measure

        assert batch.targets is not None
        found: Any = structural_similarity_index_measure(
            unit(batch.images), unit(batch.targets), data_range=1.0, kernel_size=WINDOW, reduction="none",
            return_full_image=True,
        )  # fmt: skip
        border = WINDOW // 2
        inner = found[1][..., border:-border, border:-border].flatten(1).mean(1)
        for i, values in enumerate((found[0], inner)):
            self.totals[i] += float(values.double().sum())
        self.count += len(batch.images)

    def compute(self) -> dict[str, float]:
        return {name: total / self.count for name, total in zip(("ssim", "ssim_inner"), self.totals, strict=True)}


class MultiScaleSSIM(ByTorchmetrics):
    """Multi-scale structural similarity (Wang et al. 2003), at five sizes."""

    name = "ms-ssim"
    summary = "structural similarity at five sizes, for images of 176 x 176 or more: 1 is equal"
    least = WINDOW * 2 ** (SCALES - 1)

    def make(self) -> Any:
        from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

        return MultiScaleStructuralSimilarityIndexMeasure(
            data_range=1.0, kernel_size=WINDOW, normalize="relu", sync_on_compute=False
        )


class LPIPS(OfPairs):
    """Learned perceptual image patch similarity (Zhang et al. 2018): how far features of AlexNet are apart, weighed as
    people judge; mean over images. Grey images are taken as colour.

    torchmetrics brings the weights of the features; AlexNet's own are torchvision's, which downloads them.
    """

    name = "lpips"
    summary = "distance of AlexNet's features of translations and targets, for images of 31 x 31 or more; a download"
    least = 31
    default = False

    def __init__(self, setting: Setting):
        super().__init__(setting)
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        from torchvision.models import AlexNet_Weights

        try:
            metric = LearnedPerceptualImagePatchSimilarity("alex", normalize=True, sync_on_compute=False)
        except FAULTS as error:
            url = str(AlexNet_Weights.DEFAULT.url)
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise GanzooError(
                f"metric 'lpips' cannot be measured: AlexNet's weights cannot be had ({one_line(error)[:200]}): with a "
                f"network they are downloaded from {url}; a copy is taken from {folder / url.rpartition('/')[2]}"
            ) from error
        self.metric = metric.to(setting.device)

    def update(self, batch: Measured) -> None:
        assert batch.targets is not None
        pairs = zip(batch.images.split(AT_ONCE), batch.targets.split(AT_ONCE), strict=True)
        for images, targets in pairs:
            self.metric.update(*(unit(to_channels(x, 3)).to(self.setting.device) for x in (images, targets)))

    def compute(self) -> dict[str, float]:
        return {self.name: float(self.metric.compute())}

    def settings(self) -> dict[str, float | str]:
        return {"network": "alex"}


class L1(OfPairs):
    """Mean absolute difference of pixels in [0, 1]."""

    name = "l1"
    summary = "mean absolute difference of translations from their targets, pixels in [0, 1]: the lower, the better"

    def __init__(self, setting: Setting):
        super().__init__(setting)
        self.total, self.count = 0.0, 0

    def update(self, batch: Measured) -> None:
        assert batch.targets is not None
        self.total += float((batch.images.double() - batch.targets.double()).abs().sum())
        self.count += batch.images.numel()

    def compute(self) -> dict[str, float]:
        return {self.name: self.total / self.count / 255}


class Cycle(Metric):
    """Mean absolute difference between sources and what comes back of them, pixels in [0, 1]."""

    name = "cycle"
    summary = "distance of what is made there and back from the source, for models that go both ways"
    features = False

    def __init__(self, setting: Setting):
        super().__init__(setting)
        self.total, self.count = 0.0, 0

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        return None if setting.cycled else "that is for models that go both ways, such as cyclegan"

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        return setting.cycled

    def update(self, batch: Measured) -> None:
        assert batch.cycle is not None
        self.total += float(batch.cycle.double().sum())
        self.count += len(batch.cycle)

    def compute(self) -> dict[str, float]:
        return {self.name: self.total / self.count}


def unit(images: Tensor) -> Tensor:
    """uint8 to float in [0, 1]."""
    return images.to(torch.float32) / 255
