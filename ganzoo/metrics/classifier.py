"""A small convnet classifier, whose penultimate layer is a feature space: how it is built, trained, kept and read."""

import hashlib
import json
import math
import re
import shlex
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.data import ImageSet, Loader, normalise, reading, resize, to_channels
from ganzoo.data.pixels import luma
from ganzoo.data.views import Views
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import cache_dir, read_bytes, whole
from ganzoo.metrics.extractor import FeatureExtractor, Features
from ganzoo.training.engine import own_randomness

BATCH = 128
LOOKED_AT = 500
"""Images of up to 64 x 64 pixels that are looked at at once."""
LARGEST = 2**28
"""Bytes beyond which a file is not taken for a classifier."""


class Shape(NamedTuple):
    """What determines the network."""

    channels: int
    side: int
    classes: int
    width: int = 24
    features: int = 128


class Classifier(nn.Module):
    """3 x 3 convolutions, halving until the side is at most 8, one max-pooling, `features` units, logits.

    Nothing is normalised: with batch normalisation, or trained on distorted images, it is as right about real images,
    and reads poor samples as several points worse than other classifiers do.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        width, side, layers = shape.width, shape.side, [_block(shape.channels, shape.width)]
        while side > 8:
            wider = min(2 * width, 4 * shape.width)
            layers.append(_block(width, wider, 2))
            width, side = wider, -(-side // 2)
        last = 4 * shape.width
        self.body = nn.Sequential(*layers, _block(width, last), nn.MaxPool2d(2), nn.Flatten())
        self.drop = nn.Dropout(0.5)
        self.neck = nn.Linear(last * (side // 2) ** 2, shape.features)
        self.head = nn.Linear(shape.features, shape.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015: the scale of the signal stays through the ReLUs.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Features:
        """Vectors (N, features), after the ReLU, and logits (N, classes), for x (N, C, side, side) in [-1, 1]."""
        vectors = F.relu(self.neck(self.drop(self.body(x))))
        return Features(vectors, self.head(vectors))

    def maps(self, x: Tensor) -> Tensor:
        """What its last convolution sees: (N, 4 width, h, w), after the ReLU, for x (N, C, H, W) of any size."""
        maps: Tensor = self.body[:-2](x)
        return maps


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(inplace=True))


def class_index(labels: Tensor, classes: int) -> Tensor:
    """Class indices, int64 (N,), of labels that are such indices or condition vectors with a one-hot class."""
    return labels if labels.dim() == 1 else labels[:, :classes].argmax(1)


def fit(
    data: ImageSet,
    shape: Shape,
    epochs: int,
    seed: int,
    device: torch.device,
    after_epoch: Callable[[int, Classifier], None] = lambda epoch, net: None,
    views: Views | None = None,
) -> Classifier:
    """Train a classifier; the same seed, data, device and number of threads give the same weights.

    AdamW with a warm-up and a cosine decay, on the images as they are, or on `views` of them.

    Raises:
        UsageError: the data has no classes, or an image set that is not `shape.side` square.
    """
    if (index := data.class_of()) is None:
        raise UsageError("the data has no classes: a classifier cannot be trained on it")
    labelled = ImageSet(data.images, index, data.classes)
    loader = Loader(labelled, min(BATCH, len(data)), seed, device, views=views)
    total = epochs * loader.batches_per_epoch
    with own_randomness(seed, device):
        net = Classifier(shape).to(device).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / total))
        batches = loader.batches()
        for step in range(1, total + 1):
            batch = next(batches)
            assert batch.y is not None
            loss = F.cross_entropy(net(batch.x).logits, batch.y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % loader.batches_per_epoch == 0:
                after_epoch(step // loader.batches_per_epoch, net.eval())
                net.train()
    return net.eval().requires_grad_(False)


def _rate(done: float, warm: float = 0.2) -> float:
    """Share of the full learning rate when `done` of the training is done: a linear rise, then half a cosine."""
    return (done + 1e-3) / warm if done < warm else 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


@torch.no_grad()
def set_scale(net: Classifier, data: ImageSet, device: torch.device) -> None:
    """Bring the root mean square of the features, over the images of `data`, to 1; the logits stay as they are.

    FID grows with the square of the features' scale, and KID's kernel supposes a scale of about 1.
    """
    squares, step = 0.0, at_once(*data.images[0].shape[1:])
    for start in range(0, len(data), step):
        x = normalise(read(data, range(start, min(start + step, len(data)))).to(device))
        squares += net(x).vectors.double().square().mean(1).sum().item()
    scale = math.sqrt(len(data) / max(squares, 1e-12))
    for tensor in (net.neck.weight, net.neck.bias):  # The ReLU between them lets a positive factor through.
        tensor.mul_(scale)
    net.head.weight.div_(scale)


@torch.no_grad()
def accuracy(net: Classifier, data: ImageSet, device: torch.device) -> float:
    """The share of `data` that `net` classifies rightly, 0 to 1."""
    labels, right, step = data.class_of(), 0, at_once(*data.images[0].shape[1:])
    assert labels is not None
    for start in range(0, len(data), step):
        x = normalise(read(data, range(start, min(start + step, len(data)))).to(device))
        right += int((net(x).logits.argmax(1).cpu() == labels[start : start + step]).sum())
    return right / len(data)


def at_once(height: int = 1, width: int = 1) -> int:
    """Images of this size, or vectors, that are looked at at once, so that memory does not grow with it."""
    return max(1, LOOKED_AT * min(64 * 64, height * width) // (height * width))


def read(data: ImageSet, index: "range | list[int]") -> Tensor:
    """The images at `index`: uint8 (N, C, H, W).

    Raises:
        GanzooError: one of them cannot be read; it is named.
    """
    if isinstance(data.images, Tensor) and isinstance(index, range):
        return data.images[index.start : index.stop]  # No copy.
    return reading.whole(reading.fetch(data.images, list(index)))


# Files


def pack(net: Classifier, shape: Shape, facts: dict[str, Any]) -> bytes:
    """A safetensors file. The same weights and facts give the same bytes."""
    from safetensors.torch import save

    # One entry: the order of several is random, and the file's hash would be too.
    about = json.dumps({"format": 1, "shape": list(shape), **facts}, sort_keys=True)
    return save({k: v.cpu().contiguous() for k, v in net.state_dict().items()}, {"ganzoo-classifier": about})


def unpack(data: bytes, source: str) -> tuple[Classifier, Shape, dict[str, Any]]:
    """The network, its shape and the facts that were packed with it.

    Raises:
        UsageError: `source`, where the bytes are from, holds no classifier, or a damaged one.
    """
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + min(length, 2**20)])["__metadata__"]["ganzoo-classifier"])
        shape = Shape(*(int(value) for value in about["shape"]))
        sizes = zip(shape, (3, 1024, 10_000, 1024, 8192), strict=True)
        if about["format"] != 1 or not all(0 < size <= most for size, most in sizes) or shape.side < 8:
            raise ValueError(f"format {about['format']}, {shape}")
        if not (isinstance(about["classes"], list) and len(about["classes"]) == shape.classes):
            raise ValueError("its classes do not fit its shape")
        with torch.device("meta"):
            if sum(p.nbytes for p in Classifier(shape).parameters()) > len(data):
                raise ValueError(f"{shape} needs more than the file holds")
        net = Classifier(shape)
        net.load_state_dict(load(data))
    except Exception as error:  # Whatever is wrong with a file, the user needs one line.
        raise UsageError(f"{source} is damaged, or not a classifier of ganzoo's: {one_line(error)[:200]}") from error
    return net.eval().requires_grad_(False), shape, about


def trained_file(dataset: str, shape: tuple[int, ...], root: Path | None = None) -> Path:
    """Where `ganzoo features train` leaves the classifier of a data set at `shape`, (C, H, W).

    One for each `root`, the folder of the data set's files where one was given: two may hold other images.
    """
    c, h, w = shape
    return _features() / f"{dataset}-{h}x{w}x{c}{_place(root)}.safetensors"


def trained_files(dataset: str, shape: tuple[int, ...] | None = None, root: Path | None = None) -> list[Path]:
    """Those files that are there, the most fitting first: of `root`, of the same channels, of the nearest size.

    `dataset` may be the whole name of one, without its ending. Version 0.1.0 had no sizes in names.
    """
    folder, found = _features(), []
    for place in dict.fromkeys((_place(root), "")):
        name = re.compile(rf"{re.escape(dataset)}-(\d+)x(\d+)x(\d+){place}\.safetensors")
        sized = [(m, path) for path in sorted(folder.glob("*.safetensors")) if (m := name.fullmatch(path.name))]
        c, h = (shape[0], shape[1]) if shape else (3, 1024)
        sized.sort(key=lambda pair: (int(pair[0][3]) != c, abs(int(pair[0][1]) - h)))
        found += [path for _, path in sized]
        found += [path for path in [folder / f"{dataset}{place}.safetensors"] if path.is_file()]
    return found


def training_command(
    dataset: str, shape: tuple[int, ...] | None = None, root: Path | None = None, data_options: Any = None
) -> str:
    """The command that trains a classifier of such images."""
    words = ["ganzoo", "features", "train", "--dataset", dataset]
    words += ["--data-root", str(root)] if root else []
    if shape is not None and shape[1] == shape[2]:
        words += ["--image-size", str(shape[1]), "--channels", str(shape[0])]
    for key, value in (data_options or {}).items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def _features() -> Path:
    return cache_dir() / "features"


def _place(root: Path | None) -> str:
    """A part of a name for the folder of a data set's files."""
    return f"-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}" if root else ""


def keep(path: Path, data: bytes) -> None:
    """Write a packed classifier, whole or not at all.

    Raises:
        GanzooError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(data)
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error


class Trained(FeatureExtractor):
    """The features of a classifier in a file, named after the file."""

    classifies = True

    def __init__(self, weights: Path | None = None):
        super().__init__()
        if weights is None:
            raise UsageError("a trained extractor needs its file")
        try:
            self.fill(read_bytes(weights, LARGEST), str(weights))
        except OSError as error:
            raise UsageError(f"cannot read {weights}: {error.strerror or error}") from error
        except GanzooError as error:
            raise UsageError(str(error)) from error
        self.name = weights.stem

    def fill(self, data: bytes, source: str) -> None:
        """Take the network and its description out of a packed classifier."""
        self.net, self.shape, about = unpack(data, source)
        self.num_features = self.shape.features
        self.classes = tuple(map(str, about["classes"]))
        self.sha256 = hashlib.sha256(data).hexdigest()
        reached = about.get("test_accuracy")
        self.accuracy = float(reached) if isinstance(reached, int | float) and 0 <= reached <= 1 else None
        self.tested_on = str(about.get("tested_on", "test"))
        self.trained_on = str(about.get("trained_on", ""))

    def resizing(self, height: int, width: int) -> str:
        side = self.shape.side
        if (height, width) == (side, side):
            return "none"
        return f"{height}x{width} to {side}x{side}, bilinear, antialiased"

    @torch.no_grad()
    def extract(self, images: Tensor) -> Features:
        fitted = resize(to_channels(images, self.shape.channels), self.shape.side)
        features: Features = self.net(normalise(fitted.to(self.net.head.weight.device)))
        return features

    def maps(self, x: Tensor) -> Tensor:
        fitting = x if x.shape[1] == self.shape.channels else luma(x) if x.shape[1] == 3 else x.expand(-1, 3, -1, -1)
        return self.net.maps(fitting)


class Embedded(Trained):
    """One that ships in the package of its class, as NAME.safetensors beside it."""

    def __init__(self, weights: Path | None = None):
        FeatureExtractor.__init__(self)
        if weights is not None:
            raise UsageError(f"the extractor '{self.name}' brings its own weights; for a file, use --features FILE")
        name = f"{self.name}.safetensors"
        try:
            packed = resources.files(type(self).__module__).joinpath(name).read_bytes()
        except OSError as error:
            raise GanzooError(f"the embedded file {name} is missing: reinstall ganzoo") from error
        self.fill(packed, f"the embedded file {name}")
