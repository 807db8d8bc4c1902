"""Products by oneDNN against torch's own linear layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ganzoo.affine import ONEDNN, SMALLEST, affine
from ganzoo.nets import JoinedLinear, Linear
from ganzoo.yardsticks import Roofline

WIDE = 640
"""Units of a layer that is large enough."""

needs_onednn = pytest.mark.skipif(ONEDNN is None, reason="this build of torch has no oneDNN")


def operands(n: int = 5, inputs: int = WIDE, outputs: int = WIDE):
    torch.manual_seed(0)
    shapes = (n, inputs), (outputs, inputs), (outputs,)
    return [torch.randn(shape).mul_(inputs**-0.5).requires_grad_() for shape in shapes]


def taken(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the product was oneDNN's."""
    return type(affine(x, weight).grad_fn).__name__ == "_AffineBackward"


@needs_onednn
def test_a_large_product_is_onednns_and_equals_torchs_with_its_gradients():
    values = operands()
    assert WIDE**2 >= SMALLEST
    assert taken(*values[:2])
    ours, theirs = affine(*values), F.linear(*values)
    torch.testing.assert_close(ours, theirs)
    along = torch.randn(5, WIDE)
    for mine, plain in zip(
        torch.autograd.grad(ours, values, along), torch.autograd.grad(theirs, values, along), strict=True
    ):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("shape", [(5, WIDE), (1, 1)])
def test_a_gradient_in_any_layout_is_taken(shape: tuple[int, int]):
    values = operands()
    for along in (torch.randn(shape).expand(5, WIDE), torch.randn(WIDE, 5).t()):
        for mine, plain in zip(
            torch.autograd.grad(affine(*values), values, along),
            torch.autograd.grad(F.linear(*values), values, along),
            strict=True,
        ):
            torch.testing.assert_close(mine, plain)


def test_the_gradient_of_a_gradient_equals_torchs():
    def penalty(product):
        values = operands()
        (slope,) = torch.autograd.grad(product(*values).tanh().sum(), values[0], create_graph=True)
        return torch.autograd.grad(slope.square().sum(), values[:2])

    for mine, plain in zip(penalty(affine), penalty(F.linear), strict=True):
        torch.testing.assert_close(mine, plain)


@needs_onednn
def test_only_what_asks_for_a_gradient_is_computed():
    x, weight, bias = operands()
    node = affine(x.detach(), weight, bias).grad_fn
    assert [None if g is None else g.shape for g in node.apply(torch.ones(5, WIDE))] == [None, (WIDE, WIDE), (WIDE,)]
    node = affine(x, weight.detach(), bias.detach()).grad_fn
    assert [None if g is None else g.shape for g in node.apply(torch.ones(5, WIDE))] == [(5, WIDE), None, None]


@needs_onednn
def test_what_onednn_is_not_for_stays_torchs():
    x, weight, _ = operands()
    assert not taken(*operands(inputs=10)[:2])
    assert not taken(x.double(), weight.double())
    assert not taken(x[None], weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not taken(x, weight)


def test_the_roofline_counts_its_operations_as_torchs():
    def operations(product):
        values = operands()
        return Roofline(lambda: product(*values).sum().backward()).operations

    assert operations(affine) == operations(F.linear) == 3 * 2 * 5 * WIDE**2


def test_the_layers_hold_torchs_weights_and_give_what_it_gives():
    torch.manual_seed(0)
    x, condition = torch.randn(4, WIDE), torch.randn(4, 3)
    layer, plain = Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain(x))
    joined = JoinedLinear(WIDE, 3, WIDE)
    whole = torch.cat([joined.weight, joined.condition_weight], 1)
    torch.testing.assert_close(joined(x, condition), F.linear(torch.cat([x, condition], 1), whole, joined.bias))
