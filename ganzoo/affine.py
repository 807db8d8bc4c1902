"""Products of linear layers on a CPU: by the faster of the two libraries that torch brings, near the cores' caches."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 2**17
"""Weights below which the call costs what the product saves. How many rows there are does not count, so that a sample
is rounded alike whatever it comes with."""

FEW = 128
"""Rows up to which what the optimizer saves is worth a slower product: see `_through`."""

ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
"""oneDNN's product, which torch has for its compiler, without a gradient. None: not in this build of torch."""

TWICE = hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("avx512_vp2intersect"))
"""Whether oneDNN is twice as fast as MKL for every product. MKL uses vectors of 256 bits on CPUs that are not Intel's;
AMD's compute on 512 bits at once from Zen 5 on, which is told here by an instruction that came with it."""


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of x (N, inputs), weight (outputs, inputs) and bias (outputs,): (N, outputs).

    Large float32 products on a CPU are oneDNN's. torch itself asks MKL, which takes up to twice as long on other CPUs
    than Intel's. Only rounding differs.
    """
    return _Affine.apply(x, weight, bias) if _large(x, weight) else F.linear(x, weight, bias)


def _large(x: Tensor, weight: Tensor) -> bool:
    return (
        ONEDNN is not None
        and weight.numel() >= SMALLEST
        and x.dim() == 2
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        product: Tensor = ONEDNN(x, weight, bias, "none", [], "")
        return product

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x, weight), (grad,) = ctx.saved_tensors, grads
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _through(grad, weight) if for_x else None,
            _against(grad, x) if for_weight else None,
            grad.sum(0) if for_bias else None,
        )


def _through(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x: `grad` (N, outputs) times `weight` (outputs, inputs).

    With two threads, and MKL not much slower, each sums over half of the outputs. So it reads the rows of the weight
    that are its own in the forward product, in the weight's gradient and in the optimizer, and no others. oneDNN would
    give each half of the columns; then the optimizer finds half of every thread's weights in the other's cache, and
    where the two cores have no cache in common (they may be moved apart at any time) it takes three times as long.
    """
    if TWICE or torch.get_num_threads() != 2 or len(grad) > FEW or weight.shape[0] % 2:
        return affine(grad, weight.t())
    halves = torch.bmm(grad.unflatten(1, (2, -1)).transpose(0, 1), weight.unflatten(0, (2, -1)))
    return halves[0].add_(halves[1])


def _against(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of the weight, (outputs, inputs): `grad` (N, outputs) transposed times `x` (N, inputs)."""
    return _Affine.apply(grad.t(), x.t(), None) if TWICE else grad.t() @ x
