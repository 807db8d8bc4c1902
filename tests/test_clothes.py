"""The extractor for Fashion-MNIST, on the first 200 images of the test split, which lie beside the tests."""

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.clothes import Clothes
from PIL import Image
from torchvision.datasets import FashionMNIST

from ganzoo import ImageSet
from ganzoo.errors import GanzooError
from ganzoo.metrics.classifier import accuracy
from ganzoo.metrics.evaluation import choose_extractor
from ganzoo.plugins import registry

HERE = Path(__file__).parent / "data" / "fashion-mnist"


@pytest.fixture(scope="module")
def clothes() -> ImageSet:
    sheet = torch.from_numpy(np.array(Image.open(HERE / "first-200-of-the-test-split.png")))
    images = sheet.view(10, 28, 20, 28).permute(0, 2, 1, 3).reshape(200, 1, 28, 28)
    labels = torch.tensor([int(digit) for digit in (HERE / "labels.txt").read_text().strip()])
    return ImageSet(images, labels, tuple(FashionMNIST.classes))


def test_the_extractor_of_clothes_knows_most_of_those_that_it_has_not_seen(clothes):
    extractor = Clothes().eval()
    assert extractor.classes == clothes.classes
    assert accuracy(extractor.net, clothes, torch.device("cpu")) >= 0.9
    assert extractor.resizing(28, 28) == "none"


def test_its_weights_are_small_and_named_by_their_hash():
    packed = resources.files("ganzoo_plugins.clothes").joinpath("clothes.safetensors").read_bytes()
    assert len(packed) < 2_000_000
    assert hashlib.sha256(packed).hexdigest() == Clothes().sha256


def test_it_is_what_fashion_mnist_is_measured_by(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    assert choose_extractor(registry(), "fashion-mnist").name == "clothes"
    with pytest.raises(GanzooError, match="--features FILE"):
        Clothes(tmp_path)
