"""ganzoo: a zoo of generative adversarial networks in which every model is a plugin.

The names below are loaded when first used, so that importing ganzoo does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganzoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from ganzoo.api import Comparison, TrainedRun, compare, evaluate, picture, push, resume, train
    from ganzoo.data import Attribute, Batch, DataRequest, Dataset, DataSpec, ImageSet, Modes, Words
    from ganzoo.errors import GanzooError, UsageError
    from ganzoo.gan import GAN, Clock, Options, Sampling, Turn
    from ganzoo.ingredients import Augmentation, IngredientOptions, Regulariser
    from ganzoo.loggers import Logger
    from ganzoo.metrics.base import FeatureExtractor, Metric
    from ganzoo.runs.sampler import Sampler, load
    from ganzoo.training.signals import Stopped

__version__ = "0.2.0"

_WHERE = {
    "GAN": "ganzoo.gan",
    "Clock": "ganzoo.gan",
    "Options": "ganzoo.gan",
    "Sampling": "ganzoo.gan",
    "Turn": "ganzoo.gan",
    "Attribute": "ganzoo.data",
    "Batch": "ganzoo.data",
    "DataRequest": "ganzoo.data",
    "DataSpec": "ganzoo.data",
    "Dataset": "ganzoo.data",
    "ImageSet": "ganzoo.data",
    "Modes": "ganzoo.data",
    "Words": "ganzoo.data",
    "FeatureExtractor": "ganzoo.metrics.base",
    "Augmentation": "ganzoo.ingredients",
    "IngredientOptions": "ganzoo.ingredients",
    "Regulariser": "ganzoo.ingredients",
    "Logger": "ganzoo.loggers",
    "Metric": "ganzoo.metrics.base",
    "load": "ganzoo.runs.sampler",
    "Sampler": "ganzoo.runs.sampler",
    "GanzooError": "ganzoo.errors",
    "UsageError": "ganzoo.errors",
    "Stopped": "ganzoo.training.signals",
    **dict.fromkeys(
        ("Comparison", "TrainedRun", "compare", "evaluate", "picture", "push", "resume", "train"), "ganzoo.api"
    ),
}

__all__ = [
    "GAN",
    "Attribute",
    "Augmentation",
    "Batch",
    "Clock",
    "Comparison",
    "DataRequest",
    "DataSpec",
    "Dataset",
    "FeatureExtractor",
    "GanzooError",
    "ImageSet",
    "IngredientOptions",
    "Logger",
    "Metric",
    "Modes",
    "Options",
    "Regulariser",
    "Sampler",
    "Sampling",
    "Stopped",
    "TrainedRun",
    "Turn",
    "UsageError",
    "Words",
    "__version__",
    "compare",
    "evaluate",
    "hookimpl",
    "load",
    "picture",
    "push",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
