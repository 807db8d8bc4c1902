"""Building blocks that several models share. Networks take `(z, y)` or `(x, y)`; `y` is None when unconditional."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.data import DataSpec


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether a sample's output depends on the rest of its batch: BatchNorm, or a module marked `batch_statistics`."""
    return any(isinstance(m, _BatchNorm) or getattr(m, "batch_statistics", False) for m in module.modules())


class Condition(nn.Module):
    """A condition as features: class indices (N,) through an embedding, vectors (N, K) through a linear map.

    Without a condition it gives zero features, so that no network branches on it. Output: (N, `size`), where `size`
    is `dim`, or 0 for data without a condition.
    """

    def __init__(self, data: DataSpec, dim: int):
        super().__init__()
        self.size = dim if data.conditional else 0
        self.embed: nn.Module | None = None
        if data.attributes:
            self.embed = nn.Linear(data.condition_size, dim)
        elif data.classes:
            self.embed = nn.Embedding(data.condition_size, dim)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The features of `y`; `x` says how many and where when there is none."""
        if self.embed is None or y is None:
            return x.new_zeros(len(x), 0)
        return self.embed(y)


def vector(y: Tensor, size: int) -> Tensor:
    """A condition as float vectors (N, `size`): classes one-hot, vectors as they are."""
    return y if y.is_floating_point() else F.one_hot(y, size).float()


class Dropout(nn.Module):
    """Dropout whose mask is cut from random bytes: several times cheaper than a Bernoulli draw on a CPU.

    Each element is kept with probability round(256 (1 - p)) / 256, and scaled by its inverse, so that the
    expectation is exact (Srivastava et al. 2014, inverted as everywhere).
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.keep = round(256 * (1 - p))
        if not 0 < self.keep <= 256:
            raise ValueError(f"dropout probability {p} leaves nothing")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep == 256:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        bits = words.random_(-(2**63), None).view(torch.uint8)[: x.numel()].view(x.shape)
        return x * (bits < self.keep).to(x.dtype).mul_(256 / self.keep)

    def extra_repr(self) -> str:
        return f"p={1 - self.keep / 256:.4g}"


class Maxout(nn.Module):
    """Goodfellow et al. 2013, equation 1: the largest of `pieces` linear maps, per unit. (N, in) to (N, out)."""

    def __init__(self, inputs: int, outputs: int, pieces: int):
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


def mlp(sizes: Sequence[int], activation: nn.Module) -> nn.Sequential:
    """Linear layers of the given sizes with `activation` after each but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation]
    return nn.Sequential(*layers[:-1])


def init_uniform(module: nn.Module, bound: float) -> None:
    """Draw every weight from U(-`bound`, `bound`) and set biases to zero, as Goodfellow et al. 2014 start networks."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.uniform_(parameter, -bound, bound)
        else:
            nn.init.zeros_(parameter)
