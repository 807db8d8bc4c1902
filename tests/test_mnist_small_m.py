"""Small digits, coloured digits, and labels of unpaired sources from the data set to the batch."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from ganzoo_plugins import mnist_m
from ganzoo_plugins.mnist_m import MNISTM, Unpaired, blended, pictures
from ganzoo_plugins.mnist_small import MNISTSmall

import ganzoo as zoo
from ganzoo.data import DataRequest, DataSpec, ImageSet, Loader, examples_of, normalise, open_dataset
from ganzoo.data.making import smaller
from ganzoo.errors import GanzooError
from ganzoo.kit.cases import made_up
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import generated
from ganzoo.plugins import registry
from ganzoo_test_plugins import LabelledTranslator, SmallDigits, Streamed, Tiny

CPU = torch.device("cpu")


def test_small_digits_are_the_digits_at_a_quarter():
    data = open_dataset(MNISTSmall(), DataRequest("test"))
    spec = data.spec("mnist-small")
    assert (spec.count, spec.shape, spec.source_shape, spec.paired) == (10_000, (1, 28, 28), (1, 7, 7), True)
    assert torch.equal(data.sources[:50], smaller(data.images[:50], 4))
    larger = open_dataset(MNISTSmall(), DataRequest("test", image_size=32)).spec("mnist-small")
    assert (larger.shape, larger.source_shape) == ((1, 32, 32), (1, 8, 8))


def test_coloured_digits_are_patches_less_the_digit():
    flat = torch.zeros(6, 1, 28, 28, dtype=torch.uint8)
    patches = blended(flat, 3)
    assert torch.equal(blended(255 - flat, 3), 255 - patches)  # |patch - 255|
    digits = registry().get("datasets", "mnist")().load(DataRequest("test")).images[:6]
    expected = (patches.int() - digits.int()).abs()
    assert torch.equal(blended(digits, 3).int(), expected)


def test_patches_are_parts_of_pictures_in_colour(monkeypatch):
    made = pictures(torch.Generator().manual_seed(0))
    assert made.shape == (48, 3, 160, 160)
    assert made.float().std() > 40
    assert (made[:, 0].float() - made[:, 1].float()).abs().mean() > 10
    flat = torch.zeros(7, 1, 28, 28, dtype=torch.uint8)
    whole = blended(flat, 0)
    monkeypatch.setattr(mnist_m, "CHUNK", 2)
    assert torch.equal(blended(flat, 0), whole)
    assert len({x.numpy().tobytes() for x in whole}) == 7


def test_every_machine_makes_the_same_pixels():
    data = open_dataset(MNISTM(), DataRequest("test"))
    assert data.spec("mnist-m").shape == (3, 28, 28)
    assert data.classes == tuple("0123456789")
    assert data.images[:100].long().sum() == SUM
    assert data.images[9_999].long().sum() == LAST


SUM, LAST = 28_580_874, 269_619


def test_coloured_digits_have_plain_ones_with_their_classes_as_unpaired_sources():
    data = open_dataset(Unpaired(), DataRequest("test"))
    spec = data.spec("mnist-m-unpaired")
    assert (spec.shape, spec.source_shape, spec.paired, spec.source_labels) == ((3, 28, 28), (1, 28, 28), False, True)
    assert DataSpec.from_json(spec.to_json()) == spec
    assert not spec.without_labels().source_labels
    assert not spec.without_sources().source_labels
    examples = examples_of(data, spec, 5)
    assert examples.source_y.tolist() == data.source_labels[[0, 2499, 4999, 7499, 9999]].tolist()


# Labels of sources


def labelled(count=23, others=14):
    """Sources whose pixels say their number, of which the class is the remainder by five."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    sources = torch.arange(others, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    labels, theirs = torch.arange(count) % 5, torch.arange(others) % 5
    return ImageSet(images, labels, tuple("abcde"), sources=sources, paired=False, source_labels=theirs)


@pytest.mark.parametrize("stream", [False, True])
def test_a_batch_has_the_class_of_each_source(stream):
    data = labelled()
    if stream:
        data = replace(data, images=Streamed(data.images), sources=Streamed(data.sources))
    loader = Loader(data, 4, 0, CPU, workers=0, sources=True)
    assert loader.resident is not stream
    for batch in islice(loader.batches(1), 9):
        numbers = ((batch.source[:, 0, 0, 0] + 1) * 127.5).round().long()
        assert batch.source_y.tolist() == (numbers % 5).tolist()
        assert [part.source_y.tolist() for part in batch.parts(2)] == [p.tolist() for p in batch.source_y.split(2)]
    assert next(Loader(data, 4, 0, CPU, workers=0).batches()).source_y is None


def test_what_is_made_from_a_source_is_of_its_class():
    data = labelled()
    gan = LabelledTranslator(data.spec("labelled"), Tiny.Options())
    real = next(Loader(data, 4, 0, CPU, sources=True).batches())
    fake = gan.fake(real)
    assert torch.equal(fake.y, real.source_y)
    assert torch.equal(fake.source_y, real.source_y)


class Adapting(zoo.Dataset):
    name = "adapting"
    summary = "digits, and those of another split with their classes"

    def load(self, request):
        digits = SmallDigits().load(request)
        labels = digits.labels.flip(0)
        return ImageSet(
            digits.images, digits.labels, digits.classes, sources=digits.images.flip(0), paired=False,
            source_labels=labels,
        )  # fmt: skip


def test_evaluations_ask_for_the_classes_of_the_sources():
    class Copy(Tiny):
        name = "copy"
        translates = True

        def generate(self, z, y, source=None):
            return source

    reference = Reference(Adapting())
    gan = Copy(reference.spec, Tiny.Options()).eval()
    data = reference.data
    label_of = {image.numpy().tobytes(): int(k) for image, k in zip(data.sources, data.source_labels, strict=True)}
    for batch in generated(gan, 100, 0, reference):
        assert [label_of[image.numpy().tobytes()] for image in batch.images] == batch.labels.tolist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"paired": True, "sources": None}, "there are labels of sources, and it is paired"),
        ({"source_labels": torch.zeros(3, dtype=torch.int64)}, "labels of sources are int64 (3,), not int64 (14,)"),
        ({"source_labels": torch.full((14,), 5)}, "labels of sources run from 5 to 5, of 5 classes"),
    ],
)
def test_labels_that_are_none_of_the_sources_are_refused(change, told):
    class Faulty(zoo.Dataset):
        name = "faulty"
        summary = "at fault"

        def load(self, request):
            return replace(labelled(), **change)

    with pytest.raises(GanzooError) as error:
        open_dataset(Faulty(), DataRequest())
    assert told in str(error.value)


def test_the_kit_makes_up_classes_of_sources_where_a_description_has_them():
    spec = DataSpec("kit", (3, 8, 8), 8, tuple("abc"), source_shape=(1, 8, 8), paired=False, source_labels=True)
    data = made_up(spec)
    assert data.spec("kit").source_labels
    assert normalise(data.sources).shape[0] == len(data.source_labels)
