"""The loader, the descriptions of data, and the conversions between pictures and tensors."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import islice

import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.data import (
    Attribute,
    Batch,
    DataRequest,
    DataSpec,
    ImageSet,
    Loader,
    limited,
    normalise,
    open_dataset,
    resize,
    to_channels,
    to_uint8,
)
from ganzoo.errors import GanzooError, UsageError

CPU = torch.device("cpu")


class Items(torch.utils.data.Dataset):
    """A map-style view of a tensor; `broken` indices raise."""

    def __init__(self, images, broken=(), error=None):
        self.images, self.broken, self.error = images, broken, error

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index in self.broken:
            raise self.error
        return self.images[index]


class Deadly(Items):
    """Ends the process that reads it, except for the first image, which describes the set."""

    def __getitem__(self, index):
        if index and multiprocessing.parent_process():
            os._exit(7)
        return self.images[index]


def numbered(count=23, size=4):
    """Images that say their index in every pixel, and labels to match."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size).contiguous()
    return ImageSet(images, torch.arange(count) % 5, tuple("abcde"))


def indices(batches):
    return [to_uint8(b.x)[:, 0, 0, 0].tolist() for b in batches]


def same(left: Batch, right: Batch):
    return torch.equal(left.x, right.x) and torch.equal(left.y, right.y)


# The loader


def test_same_seed_gives_the_same_batches():
    a, b = (Loader(numbered(), 4, 7, CPU) for _ in range(2))
    assert indices(islice(a.batches(), 12)) == indices(islice(b.batches(), 12))


def test_another_seed_gives_other_batches():
    a, b = (Loader(numbered(), 4, seed, CPU) for seed in (0, 1))
    assert indices(islice(a.batches(), 5)) != indices(islice(b.batches(), 5))


@pytest.mark.parametrize("position", [0, 1, 4, 5, 6, 13])
def test_resuming_at_a_position_gives_the_tail(position):
    loader = Loader(numbered(), 4, 3, CPU)
    whole = indices(islice(loader.batches(), 20))
    assert indices(islice(loader.batches(position), 20 - position)) == whole[position:]


def test_an_epoch_covers_each_image_at_most_once_and_drops_the_rest():
    loader = Loader(numbered(23), 4, 0, CPU)
    assert loader.batches_per_epoch == 5
    for epoch in range(3):
        seen = [i for batch in indices(islice(loader.batches(epoch * 5), 5)) for i in batch]
        assert len(seen) == len(set(seen)) == 20


def test_epochs_differ():
    batches = indices(islice(Loader(numbered(20), 4, 0, CPU).batches(), 10))
    assert batches[:5] != batches[5:]


def test_a_batch_is_normalised_and_keeps_its_labels():
    batch = next(Loader(numbered(), 4, 0, CPU).batches())
    assert batch.x.dtype == torch.float32
    assert batch.y.dtype == torch.int64
    assert batch.y.tolist() == [i % 5 for i in indices([batch])[0]]
    assert batch.z is None


def test_a_set_without_labels_has_no_condition():
    assert next(Loader(ImageSet(numbered().images), 4, 0, CPU).batches()).y is None


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_equal_resident_ones(workers):
    resident = numbered()
    streamed = ImageSet(Items(resident.images), resident.labels, resident.classes)
    pairs = zip(
        Loader(resident, 4, 3, CPU).batches(2), Loader(streamed, 4, 3, CPU, workers=workers).batches(2), strict=False
    )
    assert all(same(a, b) for a, b in islice(pairs, 12))


def test_a_tensor_too_large_for_the_device_streams_the_same_batches(monkeypatch):
    resident = list(islice(Loader(numbered(), 4, 3, CPU).batches(), 8))
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 100)
    loader = Loader(numbered(), 4, 3, CPU, workers=0)
    assert not loader.resident
    assert all(same(a, b) for a, b in zip(resident, loader.batches(), strict=False))


@pytest.mark.parametrize("workers", [0, 1])
def test_streaming_leaves_the_models_random_numbers_alone(workers):
    before = torch.get_rng_state()
    next(Loader(ImageSet(Items(numbered().images)), 4, 0, CPU, workers=workers).batches())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [UsageError("image a.png is broken"), OSError("a.png:\n  broken")])
def test_a_broken_image_mid_stream_is_one_line(workers, error):
    loader = Loader(ImageSet(Items(numbered().images, {5}, error)), 4, 0, CPU, workers=workers)
    with pytest.raises(GanzooError, match=r"a\.png") as caught:
        list(islice(loader.batches(), 5))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError) == isinstance(error, UsageError)


def test_images_of_different_shapes_are_told_by_number():
    images = [torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(1, 5, 4, dtype=torch.uint8)]
    with pytest.raises(GanzooError, match=r"image \d of the data is torch.uint8 \(1, \d, 4\)"):
        next(Loader(ImageSet(Items(images)), 2, 0, CPU, workers=0).batches())


def test_the_death_of_a_worker_is_one_line():
    loader = Loader(ImageSet(Deadly(numbered().images)), 4, 0, CPU, workers=1)
    with pytest.raises(GanzooError, match=r"a process that reads images died.*--workers 0"):
        list(islice(loader.batches(), 5))


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="needs POSIX signals")
def test_workers_outlive_the_signals_that_stop_a_run():
    batches = Loader(ImageSet(Items(numbered().images)), 4, 0, CPU, workers=1).batches()
    list(islice(batches, 8))  # By now the worker is past its start, in which it is still mortal.
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
    assert len(list(islice(batches, 20))) == 20


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UsageError, match=r"a batch of 24 is larger than the data \(23 images\)"):
        Loader(numbered(23), 24, 0, CPU)


def test_examples_show_a_class_in_each_column():
    shown = Loader(numbered(), 4, 0, CPU).examples(3, 2, [0, 4, 2])[:, 0, 0, 0]
    assert (shown % 5).tolist() == [0, 4, 2] * 2
    assert len(set(shown.tolist())) == 6  # Of five each, none twice.


def test_examples_are_drawn_at_random_and_always_the_same_ones():
    data = numbered(200)
    one, other = (Loader(data, 4, seed, CPU).examples(4, 4)[:, 0, 0, 0].tolist() for seed in (0, 1))
    assert one == other
    assert len(set(one)) == 16
    assert max(one) > 100
    of_class = [Loader(data, 4, seed, CPU).examples(2, 20, [1, 3])[:, 0, 0, 0] for seed in (0, 1)]
    assert torch.equal(*of_class)
    assert of_class[0].max() > 100


def test_a_class_without_images_stays_black_among_the_examples():
    data = ImageSet(numbered(10).images + 1, torch.zeros(10, dtype=torch.int64), ("a", "b"))
    shown = Loader(data, 4, 0, CPU).examples(2, 3, [0, 1])
    assert (shown[1::2] == 0).all()
    assert (shown[::2] > 0).all()


def test_examples_of_a_small_set_are_all_of_it():
    streamed = ImageSet(Items(numbered(7).images))
    assert len(Loader(streamed, 4, 0, CPU).examples(8, 8)) == 7


# Pixels


def test_all_pixel_values_survive_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    x = normalise(values)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_uint8(x), values)


def test_values_out_of_range_are_clipped():
    assert to_uint8(torch.tensor([-3.0, -1.001, 1.001, 9.0])).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("have", "want"), [(28, 32), (28, 64), (32, 28), (64, 17)])
def test_resize_agrees_with_torchvisions_on_pictures(channels, have, want):
    from torchvision.transforms.functional import pil_to_tensor
    from torchvision.transforms.functional import resize as resize_picture

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, channels, have, have), dtype=torch.uint8, generator=generator)
    ours = resize(images, want)
    assert ours.dtype == torch.uint8
    for image, got in zip(images, ours, strict=True):
        picture = Image.fromarray(image[0].numpy() if channels == 1 else image.permute(1, 2, 0).numpy())
        expected = pil_to_tensor(resize_picture(picture, [want, want]))
        assert (got.int() - expected.int()).abs().max() <= 1


def test_resize_takes_the_middle_square():
    image = torch.zeros(1, 1, 4, 8, dtype=torch.uint8)
    image[..., 2:6] = 200
    assert resize(image, 4).unique().tolist() == [200]


def test_conversion_by_chunks_changes_nothing(monkeypatch):
    images = torch.randint(256, (7, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = resize(to_channels(images, 1), 5)
    monkeypatch.setattr("ganzoo.data.pixels.CHUNK", 400)
    assert torch.equal(resize(to_channels(images, 1), 5), whole)


def test_to_channels_makes_colour_and_grey():
    grey = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8)
    colour = to_channels(grey, 3)
    assert colour.shape == (3, 3, 4, 4)
    assert torch.equal(to_channels(colour, 1), grey)
    assert to_channels(grey, None) is grey
    primaries = torch.eye(3, dtype=torch.uint8).mul(255).view(3, 3, 1, 1)
    assert to_channels(primaries, 1).flatten().tolist() == [76, 150, 29]


# Data sets as plugins hand them over


class Given(ganzoo.Dataset):
    name = "given"
    summary = "what the test gives it"

    def __init__(self, images):
        self.images = images

    def load(self, request):
        return self.images


def test_open_dataset_applies_size_and_channels():
    opened = open_dataset(Given(numbered()), DataRequest(image_size=8, channels=1))
    assert opened.spec("given").shape == (1, 8, 8)
    assert isinstance(opened.images, torch.Tensor)


def test_a_streamed_set_gets_size_and_channels_as_it_is_read():
    resident = open_dataset(Given(numbered()), DataRequest(image_size=8, channels=1))
    streamed = ImageSet(Items(numbered().images), numbered().labels, numbered().classes)
    streamed = open_dataset(Given(streamed), DataRequest(image_size=8, channels=1))
    assert not isinstance(streamed.images, torch.Tensor)
    loaders = [Loader(s, 4, 0, CPU, workers=0) for s in (resident, streamed)]
    assert all(same(a, b) for a, b in islice(zip(*[x.batches() for x in loaders], strict=False), 5))


def test_a_set_that_would_outgrow_memory_is_resized_as_it_is_read(monkeypatch):
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 23 * 3 * 16)
    opened = open_dataset(Given(numbered()), DataRequest(image_size=8))
    assert not isinstance(opened.images, torch.Tensor)
    assert opened.images[0].shape == (3, 8, 8)


BYTES = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (ImageSet(BYTES[:0]), "no images"),
        (ImageSet(BYTES.float()), "float32 .*not uint8"),
        (ImageSet(BYTES[:, 0]), "not uint8"),
        (ImageSet(BYTES.expand(-1, 4, -1, -1)), "1 or 3 channels"),
        (ImageSet(Items(BYTES.float())), "float32"),
        (ImageSet(BYTES, classes=("a",)), "no labels"),
        (ImageSet(BYTES, torch.zeros(5).long(), ("a",)), "6 images, but 5 labels"),
        (ImageSet(BYTES, torch.zeros(6), ("a",)), "int64"),
        (ImageSet(BYTES, torch.arange(6), ("a", "b")), "0 to 5, but there are 2 classes"),
        (ImageSet(BYTES, torch.zeros(6).long()), "0 classes"),
        (ImageSet(BYTES, torch.zeros(6, 2), ("a",), (Attribute("x"), Attribute("y"))), r"float \(N, 3\)"),
        (ImageSet(Items(BYTES.numpy())), r"ndarray, not a tensor, uint8 \(C, H, W\)"),
        (ImageSet(Items([None] * 6)), "NoneType, not a tensor"),
        (ImageSet(iter(BYTES)), "its images are .*iterator, which has no length"),
        (ImageSet(BYTES, torch.zeros(6).long(), (1, 2)), "the name of a class is int, not text: 1"),
        (ImageSet(BYTES, torch.zeros(6).long(), ("a", "a")), "two classes are named 'a'"),
        (
            ImageSet(BYTES, torch.zeros(6, 1), (), (Attribute("q", 1, 0),)),
            "attribute 'q' goes from 1 to 0: it must not fall",
        ),
        (ImageSet(BYTES, torch.full((6, 1), torch.nan), (), (Attribute("q"),)), "the label of sample 0 is not finite"),
    ],
)
def test_what_a_plugin_should_not_hand_over_is_told(given, fault):
    with pytest.raises(GanzooError, match=f"'given'|image 0.*{fault}") as caught:
        open_dataset(Given(given), DataRequest())
    assert "\n" not in str(caught.value)


# Descriptions

TAGGED = DataSpec("faces", (3, 8, 8), 10, ("cat", "dog"), (Attribute("age", 0, 90), Attribute("smile")))


def test_a_condition_of_classes_is_their_indices():
    spec = DataSpec("digits", (1, 8, 8), 10, ("0", "1"))
    index = torch.tensor([1, 0])
    assert spec.condition(index) is index
    assert (spec.conditional, spec.condition_size, spec.pixels) == (True, 2, 64)


def test_a_condition_with_attributes_is_a_vector():
    y = TAGGED.condition(torch.tensor([1, 0]), {"age": 30})
    assert y.tolist() == [[0, 1, 30, 0.5], [1, 0, 30, 0.5]]
    assert TAGGED.condition_size == y.shape[1]


def test_a_set_without_conditions_is_unconditional():
    spec = DataSpec("noise", (1, 8, 8), 10)
    assert not spec.conditional
    assert spec.condition(None) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hat": 1}, "no attribute 'hat' .it has: age, smile"),
        ({"smile": 2}, "smile=2 is outside 0 to 1"),
        ({"smile": float("nan")}, "outside"),
    ],
)
def test_attributes_that_cannot_be_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        TAGGED.condition(torch.tensor([0]), values)


def test_attributes_without_a_number_of_samples_are_refused():
    with pytest.raises(UsageError, match="class indices"):
        TAGGED.condition(None)


@pytest.mark.parametrize("spec", [TAGGED, DataSpec("noise", (1, 8, 8), 10), replace(TAGGED, counts=(7, 3))])
def test_a_description_survives_json(spec):
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "damage",
    [
        {"shape": [3, 8]},
        {"shape": [3, 0, 8]},
        {"shape": [3, 8, 10**9]},
        {"shape": "abc"},
        {"shape": None},
        {"shape": [3, 8, float("inf")]},
        {"count": "many"},
        {"count": -1},
        {"classes": "abc"},
        {"classes": [1, 2]},
        {"classes": None},
        {"classes": ["x"] * 100_001},
        {"attributes": ["age"]},
        {"attributes": [{"name": "age", "low": "x"}]},
        {"attributes": [{"name": "age", "low": 2, "high": 1}]},
        {"attributes": [{"size": 3}]},
        {"counts": None},
        {"counts": "73"},
        {"counts": [7.0, 3.0]},
        {"counts": [10]},
        {"counts": [7, 2, 1]},
        {"counts": [11, -1]},
        {"counts": [7, 4]},
        {"counts": [0, 0]},
    ],
)
def test_a_damaged_description_is_refused(damage):
    with pytest.raises(UsageError, match="the description of the data set is damaged"):
        DataSpec.from_json(TAGGED.to_json() | damage)


@pytest.mark.parametrize("key", ["name", "shape", "count", "classes", "attributes"])
def test_a_description_with_a_part_missing_is_refused(key):
    value = TAGGED.to_json()
    del value[key]
    with pytest.raises(UsageError, match=key):
        DataSpec.from_json(value)


def test_a_description_of_version_0_1_has_no_counts():
    value = replace(TAGGED, counts=(7, 3)).to_json()
    del value["counts"]
    assert DataSpec.from_json(value) == TAGGED


def test_a_set_counts_its_classes_whether_indices_or_vectors():
    images, classes = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), ("a", "b", "c")
    assert ImageSet(images, torch.tensor([1, 1, 0, 1]), classes).spec("x").counts == (1, 3, 0)
    vectors = torch.tensor([[0.0, 1, 0, 9], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 1, 4]])
    assert ImageSet(images, vectors, classes, (Attribute("age", 0, 90),)).spec("x").counts == (1, 1, 2)
    assert ImageSet(images, vectors[:, 3:], (), (Attribute("age", 0, 90),)).spec("x").counts == ()
    assert ImageSet(images).spec("x").counts == ()


def test_a_limit_takes_some_samples_with_what_is_theirs_and_fewer_are_among_more():
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 8, 8).contiguous()
    data = ImageSet(images, torch.arange(40) % 2, ("even", "odd"), sources=255 - images)
    few, more = limited(data, 7), limited(data, 20)
    for some in (few, more):
        number = some.images[:, 0, 0, 0].long()
        assert torch.equal(number.sort().values, number), "in their order"
        assert torch.equal(some.labels, number % 2)
        assert torch.equal(some.sources, 255 - some.images)
        assert some.spec("some").counts == tuple(torch.bincount(number % 2, minlength=2).tolist())
    assert set(few.images[:, 0, 0, 0].tolist()) < set(more.images[:, 0, 0, 0].tolist())


def test_a_limit_takes_some_of_images_that_are_streamed_and_leaves_unpaired_sources():
    images = torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8)
    streamed = ImageSet(torch.utils.data.TensorDataset(images), None, sources=images[:4], paired=False)
    some = limited(streamed, 3)
    assert len(some.images) == 3
    assert len(some.sources) == 4
    with pytest.raises(UsageError, match="--limit 11: there are 10 training samples"):
        limited(streamed, 11)


def test_what_a_data_set_loads_that_is_no_image_set_is_told_with_its_name():
    class Wrong(ganzoo.Dataset):
        name = "wrong"
        summary = "None."

        def load(self, request):
            return 3

    with pytest.raises(GanzooError, match="data set 'wrong' is at fault: load gives int, not an ImageSet"):
        open_dataset(Wrong(), DataRequest())
