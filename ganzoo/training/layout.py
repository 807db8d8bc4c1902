"""How the maps and weights of convolutions lie in memory: channel by channel, or pixel by pixel (channels last)."""

import torch
from torch import Tensor

from ganzoo.data import Batch
from ganzoo.gan import GAN


def lies_channels_last(gan: GAN, device: torch.device) -> bool:
    """Whether a model asks for channels last on such a device, of which `GAN.channels_last` names the kinds."""
    return device.type in gan.channels_last


def arranged(gan: GAN, device: torch.device) -> GAN:
    """The model itself, moved to the device, with its weights as they lie there in training."""
    if lies_channels_last(gan, device):
        return gan.to(device).to(memory_format=torch.channels_last)
    return gan.to(device)


def arranged_batch(batch: Batch) -> Batch:
    """Images and sources with their channels last; vectors as they are."""
    x, source = batch.x, batch.source
    return batch._replace(x=_channels_last(x), source=None if source is None else _channels_last(source))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Have an optimizer's state lie in memory as its parameters do: kernels go through both side by side.

    A checkpoint keeps the layout of the device that it was made on.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
