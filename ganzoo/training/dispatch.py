"""What a mode of torch's dispatcher needs so that threads may enter it side by side and nothing else notices."""

from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class ThreadMode(TorchDispatchMode):
    """A dispatch mode of one thread alone; `__torch_dispatch__` sees each of its operators.

    Torch's own way in sets flags of the process, which threads that leave in another order than they came would leave
    behind; and it imports torch's compiler, which takes a second or more, to keep that out of `__torch_dispatch__`.
    """

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __enter__(self) -> Self:
        torch._C._push_on_torch_dispatch_stack(self)
        return self

    def __exit__(self, *raised: Any) -> None:
        torch._C._pop_torch_dispatch_stack(None)
