"""Stacked MNIST: three digits as the colour channels of one image, 1,000 modes.

What Metz et al. 2017 (section 3.3.1) made, and Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN, section
4.2) count modes on: 128,000 images of digits that are drawn at random to train on, and of 26,000 samples how many of
the 1,000 numbers a classifier of digits, asked channel by channel, finds, and how unequally they come. Images have no
labels: the numbers would give away what a model is to find.
"""

from pathlib import Path

import torch
from torch import Tensor

import ganzoo
from ganzoo.metrics.extractor import FeatureExtractor, Features
from ganzoo.plugins import registry

COUNT = {"train": 128_000, "test": 26_000}
SEEDS = {"train": 20161107, "test": 20161108}


class StackedMNIST(ganzoo.Dataset):
    """The embedded digits in threes, drawn by a fixed seed: training and test digits apart, as in `mnist`."""

    name = "stacked-mnist"
    attribution = "Made of the MNIST digits of Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."
    summary = "three digits of mnist as colour channels, 28 x 28, 1,000 modes, 128,000 + 26,000 images; embedded"
    takes_root = False

    def load(self, request: ganzoo.DataRequest) -> ganzoo.ImageSet:
        digits = registry().get("datasets", "mnist")().load(request)
        drawn = chosen(len(digits), request.split)
        # By these shares numbers are drawn: that of the hundreds' digit times those of the tens' and the ones'.
        one = torch.bincount(digits.labels, minlength=10).double() / len(digits)
        shares = torch.einsum("i,j,k->ijk", one, one, one).flatten()
        return ganzoo.ImageSet(digits.images[drawn].squeeze(2), modes=ganzoo.Modes(shares))


def chosen(count: int, split: str) -> Tensor:
    """Which of `count` digits are the channels of each image, int64 (N, 3)."""
    draw = torch.Generator().manual_seed(SEEDS[split])
    return torch.randint(count, (COUNT[split], 3), generator=draw)


class StackedDigits(FeatureExtractor):
    """`digits`, asked of each channel by itself: its features side by side, and the log-probabilities of numbers.

    Red is the hundreds, green the tens, blue the ones.
    """

    name = "stacked-digits"
    summary = "3 x 128 features of `digits`, channel by channel, which tells 1,000 numbers apart; 28 x 28 colour"
    datasets = ("stacked-mnist",)
    classes = tuple(f"{n:03}" for n in range(1000))
    classifies = True

    def __init__(self, weights: Path | None = None):
        super().__init__()
        self.digits = registry().get("features", "digits")(weights)
        self.num_features = 3 * self.digits.num_features
        self.sha256 = self.digits.sha256

    def resizing(self, height: int, width: int) -> str:
        return self.digits.resizing(height, width)

    def extract(self, images: Tensor) -> Features:
        n, channels = images.shape[:2]
        if channels == 1:
            images = images.expand(-1, 3, -1, -1)
        found = self.digits.extract(images.flatten(0, 1).unsqueeze(1))
        hundreds, tens, ones = found.logits.log_softmax(1).view(n, 3, 10).unbind(1)
        logits = hundreds[:, :, None, None] + tens[:, None, :, None] + ones[:, None, None, :]
        return Features(found.vectors.reshape(n, -1), logits.flatten(1))


@ganzoo.hookimpl
def register_datasets(register):
    register(StackedMNIST)


@ganzoo.hookimpl
def register_metrics(register):
    register(StackedDigits)
