"""Data: what a model is told of it, what a data set plugin supplies, and the loader that feeds the step."""

from ganzoo.data.examples import examples_of, normalised
from ganzoo.data.loader import Loader, death_of_reader
from ganzoo.data.making import Made, Maker
from ganzoo.data.memory import IN_MEMORY_BYTES
from ganzoo.data.opening import choose_options, limited, open_dataset
from ganzoo.data.pixels import normalise, resize, to_channels, to_uint8
from ganzoo.data.sets import DataRequest, Dataset, DatasetOptions, ImageSet, Modes, Words
from ganzoo.data.spec import LARGEST_SIDE, Attribute, Batch, DataSpec
from ganzoo.data.views import Views

__all__ = [
    "IN_MEMORY_BYTES",
    "LARGEST_SIDE",
    "Attribute",
    "Batch",
    "DataRequest",
    "DataSpec",
    "Dataset",
    "DatasetOptions",
    "ImageSet",
    "Loader",
    "Made",
    "Maker",
    "Modes",
    "Views",
    "Words",
    "choose_options",
    "death_of_reader",
    "examples_of",
    "limited",
    "normalise",
    "normalised",
    "open_dataset",
    "resize",
    "to_channels",
    "to_uint8",
]
