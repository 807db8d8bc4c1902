"""The hooks a plugin may implement. Each is called once, with a `register` function that takes one class.

It raises GanzooError for a class of another kind, one whose `name` is not lower-case words joined by '-', and one
without what listings show of it: the `paper` of a model, the `summary` of all else, options that can be typed.
"""

from collections.abc import Callable
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("ganzoo")
hookimpl = pluggy.HookimplMarker("ganzoo")


@hookspec
def register_models(register: Callable[[type[Any]], None]) -> None:
    """Add models: call `register(cls)` with each subclass of `ganzoo.GAN`; `cls.name` is what users type."""


@hookspec
def register_datasets(register: Callable[[type[Any]], None]) -> None:
    """Add data sets: call `register(cls)` with each subclass of `ganzoo.Dataset`; `cls.name` is what users type."""


@hookspec
def register_metrics(register: Callable[[type[Any]], None]) -> None:
    """Add metrics and the feature extractors they look through: call `register(cls)` with each subclass of
    `ganzoo.Metric` or `ganzoo.FeatureExtractor`; `cls.name` is what users type after --metrics or --features."""


@hookspec
def register_augmentations(register: Callable[[type[Any]], None]) -> None:
    """Add augmentations of what the discriminator sees: call `register(cls)` with each subclass of
    `ganzoo.Augmentation`; `cls.name` is what users type after --augment."""


@hookspec
def register_regularisers(register: Callable[[type[Any]], None]) -> None:
    """Add regularisers: call `register(cls)` with each subclass of `ganzoo.Regulariser`; `cls.name` is what users type
    after --regularise."""


@hookspec
def register_loggers(register: Callable[[type[Any]], None]) -> None:
    """Add loggers: call `register(cls)` with each subclass of `ganzoo.Logger`; `cls.name` is what users type."""
