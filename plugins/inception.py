"""Inception v3, the network of the published FIDs: through torchmetrics and torch-fidelity."""

import hashlib
import pickle
from pathlib import Path

import torch
from torch import Tensor

import ganzoo
from ganzoo.data import to_channels
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.metrics.base import Features

SIDE = 299
FAULTS = (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError, pickle.UnpicklingError)
"""What a download that fails, and a file of something else, raise in torch-fidelity and torch.load."""


class Inception(ganzoo.FeatureExtractor):
    """The 2048 pooled features of the TensorFlow Inception of 2015, and its logits without bias."""

    name = "inception"
    summary = "2048 features of Inception v3, as in published FIDs; needs ganzoo[inception] and a download"
    num_features = 2048
    classifies = True

    def __init__(self, weights: Path | None = None):
        super().__init__()
        try:
            import torch_fidelity.feature_extractor_inceptionv3 as source
            from torchmetrics.image.fid import NoTrainInceptionV3
        except ImportError as error:
            raise UsageError(
                "the extractor 'inception' needs the package torch-fidelity: pip install 'ganzoo[inception]'"
            ) from error
        if weights is not None and not weights.is_file():
            raise UsageError(f"--inception-weights {weights}: there is no such file")
        try:
            # Two names would give two outputs, of which torchmetrics hands over one.
            path = str(weights) if weights else None
            # Without antialias, images are resized as TensorFlow 1 did, where weights and published FIDs are from.
            self.net = NoTrainInceptionV3("inception-v3-compat", ["2048"], path, antialias=False)
        except FAULTS as error:
            if weights is not None:
                raise UsageError(f"{weights} holds no Inception weights: {one_line(error)[:200]}") from error
            raise GanzooError(
                f"the Inception weights cannot be had ({one_line(error)[:200]}): with a network they are downloaded "
                f"from {source.URL_INCEPTION_V3}; a copy is given by --inception-weights FILE"
            ) from error
        self.net.requires_grad_(False)
        self.sha256 = hash_of(self.net)

    def resizing(self, height: int, width: int) -> str:
        return f"{height}x{width} to {SIDE}x{SIDE}, bilinear as TensorFlow 1 has it"

    @torch.no_grad()
    def extract(self, images: Tensor) -> Features:
        device = self.net.fc.weight.device
        vectors = torch.cat([self.net(part.to(device)) for part in to_channels(images, 3).split(50)])
        return Features(vectors, vectors @ self.net.fc.weight.T)


def hash_of(net: torch.nn.Module) -> str:
    """SHA-256 of every tensor by name: the same for the same weights, from whatever file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


@ganzoo.hookimpl
def register_metrics(register):
    register(Inception)
