"""An order of images in which each class comes equally often, however many images it has."""

import hashlib

import torch
from torch import Tensor

from ganzoo.errors import UsageError


class Balanced:
    """Images drawn class after class, shuffled within each epoch: a pure function of (seed, epoch).

    Of one class, each image comes once, in a random order, before any comes again: the images of a small class come
    more often in an epoch, and those of a large one are spread over several. Over any number of epochs the classes'
    shares differ by one image at most.
    """

    def __init__(self, classes: Tensor, names: tuple[str, ...], seed: int):
        """Take the class of each image, int64 (N,) on the CPU.

        Raises:
            UsageError: a class has no images.
        """
        self.seed = seed
        self.members = [(classes == c).nonzero().flatten() for c in range(len(names))]
        for name, images in zip(names, self.members, strict=True):
            if not len(images):
                raise UsageError(f"--balance: class '{name}' has no training images (--limit may have left none)")

    def order(self, epoch: int, size: int) -> Tensor:
        """The images of epoch `epoch` (from 0), of which each has `size`: int64 (size,)."""
        parts = []
        for c, images in enumerate(self.members):
            start, end = (self._drawn(c, n * size) for n in (epoch, epoch + 1))
            parts.append(images[self._of_class(c, start, end, size)])
        return torch.cat(parts)[torch.randperm(size, generator=self._generator("shuffle", epoch))]

    def times(self, size: int) -> list[float]:
        """How often an image of each class comes in an epoch of `size` images, on average."""
        return [size / len(self.members) / len(images) for images in self.members]

    def _drawn(self, c: int, total: int) -> int:
        """How many of the first `total` images are of class `c`: classes take turns."""
        return (total - c + len(self.members) - 1) // len(self.members)

    def _of_class(self, c: int, start: int, end: int, size: int) -> Tensor:
        """Which of a class's images come from its `start`-th to before its `end`-th: permutation after permutation.

        These are drawn in blocks that are about an epoch long, so that a tiny class takes no time.
        """
        count = len(self.members[c])
        passes = -(-size // (count * len(self.members)))
        length = passes * count
        first, last = start // length, max(end - 1, start) // length
        blocks = [
            torch.rand(passes, count, generator=self._generator("class", c, block)).argsort(1).flatten()
            for block in range(first, last + 1)
        ]
        return torch.cat(blocks)[start - first * length : end - first * length]

    def _generator(self, *what: object) -> torch.Generator:
        """Random numbers for one purpose. torch's generator takes 32 bits of a seed alone: they are mixed well."""
        text = " ".join(map(str, (self.seed, *what)))
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))
