"""The matrix products and convolutions of whatever is computed, and how many operations they take."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ganzoo.affine import ONEDNN


class Products(TorchDispatchMode):
    """Inside, the floating-point operations of the operators that torch's counter knows are counted.

    The counter's formulas are used without the counter itself, which cannot follow `autograd.grad` inside a step
    (gradient penalties): it keeps track of modules, which are of no interest here.
    """

    def __init__(self, note: Callable[[Any, Any, Any], None] | None = None) -> None:
        """`note` is told of each operator, with its arguments."""
        super().__init__()
        self.formulas: dict[Any, Callable[..., int]] = dict(FlopCounterMode(display=False).flop_registry)
        if ONEDNN is not None:
            self.formulas[ONEDNN] = lambda x, weight, *_, out_val: 2 * x.shape[0] * weight.numel()
        self.note = note
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=out)
            if self.note is not None:
                self.note(func, args, kwargs)
        return out
