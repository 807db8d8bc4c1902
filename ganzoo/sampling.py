"""Options of drawing, such as a truncation: which a model has, how they are chosen, and a model that draws by them."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.fields import validated

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from ganzoo.gan import GAN

TAKEN = {
    "as_json", "checkpoint", "conditions", "data_root", "dataset", "device", "features", "from", "grid", "help",
    "host", "inception_weights", "json", "label", "labels", "metrics", "n", "no_browser", "nproc", "other", "out",
    "port", "run", "scale", "seconds", "seed", "seeds", "self", "set", "sets", "source", "split", "start", "values",
    "walk", "what",
}  # fmt: skip
"""Names that the commands and methods which draw have options of already."""


ORIGIN = "_drawn_from"
"""Where a view keeps the model that it is one of; among its plain attributes, for it is no part of it."""


def sampling_fields(model: "type[GAN]") -> "dict[str, FieldInfo]":
    """The options of drawing of a model, by name.

    `Sampling` may be a subclass of `ganzoo.Options`, too: what every model's options hold is then none of them.
    """
    from ganzoo.gan import Options

    base = Options.model_fields if issubclass(model.Sampling, Options) else {}
    return {name: info for name, info in model.Sampling.model_fields.items() if name not in base}


def choose_sampling(model: "type[GAN]", values: Mapping[str, Any]) -> "BaseModel":
    """An instance of `model.Sampling`, defaults where nothing is chosen.

    Raises:
        UsageError: an unknown name (the nearest is given), or a value of the wrong type or out of its range.
    """
    known = list(sampling_fields(model))
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) if known else "it has none"
            raise UsageError(f"model '{model.name}' has no option of drawing named '{name}': {hint}")
    chosen: BaseModel = validated(model.Sampling, values)
    return chosen


def drawing(gan: "GAN", values: Mapping[str, Any]) -> "GAN":
    """The model as it draws with these options, and with its own where they say nothing; the model stays as it is.

    Networks and weights are shared, nothing is copied unless the model's `prepare_drawing` does: several may draw at
    once, each in its own way.

    Raises:
        UsageError: as `choose_sampling`.
    """
    if not values:
        return gan
    own = {name: getattr(gan.sampling, name) for name in sampling_fields(type(gan))}
    model = vars(gan).get(ORIGIN, gan)  # A view of a view is one of the model: nothing is prepared twice.
    view = copy.copy(model)
    view._modules = dict(model._modules)
    vars(view)[ORIGIN] = model
    view.sampling = choose_sampling(type(gan), {**own, **values})
    view.prepare_drawing()
    return view


def used(gan: "GAN") -> dict[str, Any]:
    """The options that a model draws with, as plain values by name; empty where it has none."""
    return dumped(type(gan), gan.sampling)


def defaults(model: "type[GAN]") -> dict[str, Any]:
    """The options that a model draws with unless told otherwise, as plain values by name."""
    return dumped(model, model.Sampling())


def dumped(model: "type[GAN]", sampling: "BaseModel") -> dict[str, Any]:
    """The options of drawing in an instance of `model.Sampling`, as plain values by name."""
    return sampling.model_dump(mode="json", include=set(sampling_fields(model)))


def parse_sampling(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` pairs; the values are looked at by the models that have the options.

    Raises:
        UsageError: not of that form.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise UsageError(f"--sampling {text}: write NAME=VALUE")
        values[name.strip().replace("-", "_")] = value.strip()
    return values
