"""Sources and vectors, from a data set plugin to the batch: pairs stay pairs, and what is not paired is drawn apart."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

import ganzoo
from ganzoo.data import DataRequest, DataSpec, ImageSet, Loader, examples_of, open_dataset, resize, to_uint8
from ganzoo.errors import GanzooError, UsageError
from ganzoo_test_plugins import Pairs, Points, Streamed, Unpaired

CPU = torch.device("cpu")


class Given(ganzoo.Dataset):
    name = "given"
    summary = "what the test gives it"

    def __init__(self, data):
        self.data = data

    def load(self, request):
        return self.data


def numbered(count, size=4, channels=1, first=0):
    """Images that say their number in every pixel."""
    numbers = torch.arange(first, first + count, dtype=torch.uint8)
    return numbers.view(-1, 1, 1, 1).expand(-1, channels, size, size).contiguous()


def pairs(count=23):
    """Each image's source is its negative, in colour and half as large."""
    return ImageSet(numbered(count), torch.arange(count) % 5, tuple("abcde"), sources=255 - numbered(count, 2, 3))


def unpaired(count=23, others=14):
    return ImageSet(numbered(count), sources=numbered(others, 2, 3, first=100), paired=False)


def loader(data, batch_size=4, seed=3, **options):
    return Loader(data, batch_size, seed, CPU, sources=True, **{"workers": 0} | options)


def numbers(images):
    return to_uint8(images)[:, 0, 0, 0].tolist()


def seen(batches):
    """What each batch holds: numbers of its images, and of its sources."""
    return [(numbers(batch.x), numbers(batch.source)) for batch in batches]


def streamed(data, images=True, sources=True):
    return replace(
        data,
        images=Streamed(data.images) if images else data.images,
        sources=Streamed(data.sources) if sources else data.sources,
    )


# Batches


def test_a_batch_holds_each_image_with_its_own_source():
    for batch in islice(loader(pairs()).batches(), 12):
        assert batch.source.shape == (4, 3, 2, 2)
        assert numbers(batch.source) == [255 - n for n in numbers(batch.x)]
        assert batch.y.tolist() == [n % 5 for n in numbers(batch.x)]


def test_sources_come_only_where_they_are_asked_for():
    assert next(Loader(pairs(), 4, 3, CPU).batches()).source is None
    assert next(loader(ImageSet(numbered(8))).batches()).source is None


def test_sources_change_nothing_about_the_images():
    plain = [numbers(batch.x) for batch in islice(Loader(pairs(), 4, 3, CPU).batches(), 12)]
    for data in (pairs(), unpaired()):
        assert [x for x, _ in seen(islice(loader(data).batches(), 12))] == plain


def test_unpaired_sources_follow_an_order_of_their_own():
    batches = seen(islice(loader(unpaired(12, 12), batch_size=12).batches(), 4))
    assert all(sorted(s) == list(range(100, 112)) for _, s in batches)
    assert all([n - 100 for n in s] != x for x, s in batches)
    assert len({tuple(s) for _, s in batches}) == 4


def test_each_pass_over_unpaired_sources_covers_each_at_most_once():
    found = [s for _, s in seen(islice(loader(unpaired(23, 14)).batches(), 9))]
    for begin in (0, 3, 6):  # Three batches of four fit into fourteen.
        assert len({n for batch in found[begin : begin + 3] for n in batch}) == 12


@pytest.mark.parametrize("position", [0, 1, 3, 5, 7, 13])
@pytest.mark.parametrize("make", [pairs, unpaired])
def test_resuming_at_a_position_gives_the_tail(make, position):
    whole = seen(islice(loader(make()).batches(), 20))
    assert seen(islice(loader(make()).batches(position), 20 - position)) == whole[position:]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("images", "sources"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("make", [pairs, unpaired])
def test_streamed_batches_equal_resident_ones(make, images, sources, workers):
    one, other = loader(make()), loader(streamed(make(), images, sources), workers=workers)
    assert one.resident
    assert not other.resident
    for a, b in islice(zip(one.batches(2), other.batches(2), strict=False), 9):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.source, b.source)


def test_sources_too_large_for_the_device_stream_the_same_batches(monkeypatch):
    resident = seen(islice(loader(pairs()).batches(), 8))
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", pairs().images.nbytes)  # Room for the images alone.
    assert Loader(pairs(), 4, 3, CPU).resident
    small = loader(pairs())
    assert not small.resident
    assert seen(islice(small.batches(), 8)) == resident


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("make", [pairs, unpaired])
def test_two_shares_joined_are_the_whole(make, stream):
    data = streamed(make()) if stream else make()
    whole = seen(islice(loader(make()).batches(), 9))
    halves = [seen(islice(loader(data, share=(rank, 2)).batches(), 9)) for rank in (0, 1)]
    joined = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*halves, strict=True)]
    assert joined == whole


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("make", [pairs, unpaired])
def test_parts_are_tensors_of_one_shape_each_of_which_the_batch_follows(make, stream):
    given = loader(streamed(make()) if stream else make())
    parts = list(islice(given.parts(), 9))
    assert len({tuple((p.shape, p.dtype) for p in part) for part in parts}) == 1
    assert seen(given.batch(*part) for part in parts) == seen(islice(loader(make()).batches(), 9))


def test_a_broken_source_mid_stream_is_one_line():
    class Broken(Streamed):
        def __getitem__(self, index):
            if index == 5:
                raise UsageError("source 5.png is broken")
            return super().__getitem__(index)

    data = pairs()
    with pytest.raises(UsageError, match=r"source 5\.png is broken"):
        list(islice(loader(replace(data, sources=Broken(data.sources))).batches(), 6))


def test_fewer_sources_than_a_batch_are_refused():
    with pytest.raises(UsageError, match=r"a batch of 15 is larger than the data's 14 sources"):
        loader(unpaired(), batch_size=15)


def test_the_checksum_covers_the_sources_that_are_asked_for():
    data = pairs()
    other = replace(data, sources=data.sources.flip(0))
    assert loader(data).checksum() != loader(other).checksum()
    bare = Loader(replace(data, sources=None), 4, 3, CPU).checksum()
    assert Loader(data, 4, 3, CPU).checksum() == Loader(other, 4, 3, CPU).checksum() == bare == "84676b33"  # As ever.


# Sizes


def picture(height, width):
    """Random pixels, every 2 x 2 of them alike: what is half as large shows the same."""
    draw = torch.Generator().manual_seed(0)
    small = torch.randint(256, (3, 1, height // 2, width // 2), dtype=torch.uint8, generator=draw)
    return small, small.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_pair_of_one_size_is_cropped_and_resized_alike(stream):
    _, large = picture(12, 20)
    data = ImageSet(large, sources=255 - large)
    opened = open_dataset(Given(streamed(data) if stream else data), DataRequest(image_size=8))
    x, source = (torch.stack([images[i] for i in range(3)]) for images in (opened.images, opened.sources))
    assert torch.equal(x, resize(large, 8))
    assert torch.equal(source, resize(255 - large, 8))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 20), (16, 22)])  # The last is cropped at an odd corner.
def test_a_pair_of_two_sizes_keeps_its_proportion_and_shows_the_same_part(height, width):
    small, large = picture(height, width)
    up = open_dataset(Given(ImageSet(large, sources=small)), DataRequest(image_size=32))
    down = open_dataset(Given(ImageSet(small, sources=large)), DataRequest(image_size=16))
    assert up.spec("given").source_shape == (1, 16, 16)
    assert down.spec("given").source_shape == (1, 32, 32)
    left = (width // 2 - height // 2) // 2
    assert torch.equal(up.sources, resize(small[..., left : left + height // 2], 16))
    assert torch.equal(up.images, resize(large[..., 2 * left : 2 * left + height], 32))
    assert torch.equal(down.images, up.sources)
    assert torch.equal(down.sources, up.images)


def test_a_pair_of_the_size_that_is_asked_for_is_left_alone():
    data = ImageSet(numbered(3, 8), sources=numbered(3, 5))
    opened = open_dataset(Given(data), DataRequest(image_size=8))
    assert (opened.spec("given").shape, opened.spec("given").source_shape) == ((1, 8, 8), (1, 5, 5))


@pytest.mark.parametrize(
    ("sizes", "size", "fault"),
    [
        ((28, 20), 32, "28 x 28 and their sources 20 x 20 pixels, neither a whole multiple"),
        ((28, 7), 30, "4 times as large as their sources: --image-size must be a multiple of 4"),
    ],
)
def test_a_pair_that_cannot_be_resized_alike_is_refused(sizes, size, fault):
    data = ImageSet(numbered(3, sizes[0]), sources=numbered(3, sizes[1]))
    with pytest.raises(UsageError, match=fault) as caught:
        open_dataset(Given(data), DataRequest(image_size=size))
    assert "\n" not in str(caught.value)


def test_unpaired_sources_are_brought_to_the_size_that_is_asked_for():
    opened = open_dataset(Given(unpaired()), DataRequest(image_size=16))
    assert (opened.spec("given").shape, opened.spec("given").source_shape) == ((1, 16, 16), (3, 16, 16))


def test_channels_are_the_images_alone():
    opened = open_dataset(Given(pairs()), DataRequest(channels=3))
    assert (opened.spec("given").shape, opened.spec("given").source_shape) == ((3, 4, 4), (3, 2, 2))
    opened = open_dataset(Given(pairs()), DataRequest(channels=1))
    assert opened.spec("given").source_shape == (3, 2, 2)


# What a plugin should not hand over

SIX = numbered(6)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (ImageSet(SIX, sources=SIX[:5]), "there are 6 images, but 5 sources, and it is paired"),
        (ImageSet(SIX, sources=SIX[:0], paired=False), "there are no sources"),
        (ImageSet(SIX, paired=False), "not paired, but there are no sources"),
        (ImageSet(SIX, sources=SIX.float()), r"sources are float32 \(6, 1, 4, 4\), not uint8"),
        (ImageSet(SIX, sources=SIX[:, 0]), r"sources are uint8 \(6, 4, 4\)"),
        (ImageSet(SIX, sources=SIX.expand(-1, 2, -1, -1)), "1 or 3 channels"),
        (ImageSet(SIX, sources=Streamed(SIX.int())), "int32"),
        (ImageSet(torch.zeros(6, 2, dtype=torch.float64)), r"vectors are float64 \(6, 2\), not float32 \(N, D\)"),
        (ImageSet(torch.zeros(6, 2, dtype=torch.uint8)), "vectors are uint8"),
        (ImageSet(torch.zeros(6, 0)), r"vectors are float32 \(6, 0\)"),
        (ImageSet(torch.tensor([[0.0], [float("nan")]])), "vector 1 is not finite"),
        (ImageSet(torch.zeros(6, 2), sources=SIX), "vectors have no sources"),
    ],
)
def test_what_a_plugin_should_not_hand_over_is_told(given, fault):
    with pytest.raises(GanzooError, match=f"'given'|image 0.*{fault}") as caught:
        open_dataset(Given(given), DataRequest())
    assert fault.split(" ")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


# Vectors


def test_vectors_come_as_they_are():
    points = Points().load(DataRequest())
    assert points.spec("small-points").shape == (2,)
    assert not points.spec("small-points").is_images
    given = Loader(points, 100, 0, CPU)
    batch = next(given.batches())
    assert torch.equal(batch.x, points.images[given.order(0)[:100]])
    assert given.checksum() != Loader(ImageSet(points.images + 1), 100, 0, CPU).checksum()


def test_vectors_stream_as_they_lie_on_the_device(monkeypatch):
    points = Points().load(DataRequest())
    resident = [batch.x for batch in islice(Loader(points, 100, 0, CPU).batches(3), 6)]
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 100)
    given = Loader(points, 100, 0, CPU, workers=0)
    assert not given.resident
    assert all(torch.equal(a, b.x) for a, b in zip(resident, given.batches(3), strict=False))


@pytest.mark.parametrize("request_", [DataRequest(image_size=16), DataRequest(channels=1)])
def test_vectors_have_no_size(request_):
    with pytest.raises(UsageError, match="'small-points' holds vectors of 2 numbers: --image-size and --channels"):
        open_dataset(Points(), request_)


# Descriptions

SPEC = DataSpec("maps", (3, 8, 8), 10, source_shape=(1, 4, 4), paired=False)


@pytest.mark.parametrize("spec", [SPEC, DataSpec("points", (2,), 10), replace(SPEC, paired=True)])
def test_a_description_survives_json(spec):
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_description_that_knows_no_sources_has_none():
    old = DataSpec("noise", (1, 8, 8), 10).to_json()
    del old["source_shape"], old["paired"]
    assert DataSpec.from_json(old) == DataSpec("noise", (1, 8, 8), 10)


@pytest.mark.parametrize(
    "damage",
    [
        {"source_shape": [1, 4]},
        {"source_shape": [2, 4, 4]},
        {"source_shape": [1, 0, 4]},
        {"source_shape": [1, 4, 10**9]},
        {"source_shape": "abc"},
        {"source_shape": 3},
        {"paired": "yes"},
        {"paired": None},
        {"shape": [0]},
        {"shape": [10**9]},
        {"shape": []},
    ],
)
def test_a_damaged_description_is_refused(damage):
    with pytest.raises(UsageError, match="the description of the data set is damaged"):
        DataSpec.from_json(SPEC.to_json() | damage)


# Examples


def test_examples_are_spread_over_the_set_with_their_sources():
    data = pairs(22)
    found = examples_of(data, data.spec("pairs"), 8)
    assert numbers(found.x) == [0, 3, 6, 9, 12, 15, 18, 21]
    assert numbers(found.source) == [255 - n for n in numbers(found.x)]
    assert found.y.tolist() == [n % 5 for n in numbers(found.x)]
    bare = examples_of(data, data.spec("pairs").without_labels().without_sources(), 8)
    assert (bare.y, bare.source) == (None, None)


def test_examples_of_an_unpaired_set_are_spread_over_both_sides():
    data = unpaired(22, 5)
    found = examples_of(data, data.spec("unpaired"), 8)
    assert (numbers(found.x), numbers(found.source)) == ([0, 5, 10, 15, 21], [100, 101, 102, 103, 104])


def test_examples_have_the_shape_that_the_model_takes():
    data = pairs()
    spec = replace(data.spec("pairs"), shape=(3, 8, 8), source_shape=(1, 6, 6))
    found = examples_of(data, spec, 3)
    assert (found.x.shape, found.source.shape) == ((3, 3, 8, 8), (3, 1, 6, 6))
    with pytest.raises(UsageError, match="4 x 4 pixels cannot be brought to 6 x 8"):
        examples_of(data, replace(spec, shape=(1, 8, 6)), 3)


def test_the_sets_of_the_tests_are_what_they_say():
    pair, other = Pairs().load(DataRequest()), Unpaired().load(DataRequest())
    assert torch.equal(pair.sources, 255 - pair.images)
    assert (len(other), len(other.sources), other.paired) == (500, 300, False)


# What cannot be done with them


def test_vectors_are_drawn_as_an_npz_or_a_plot(ganzoo, tmp_path):
    run = ("run", "plain", "--dataset", "small-points", "--steps", 2, "--batch-size", 16, "--loggers", "none")
    assert ganzoo(*run, "--quiet", "--out", "r").code == 0
    assert ganzoo("sample", "r", "-n", 5, "-o", "x.npz").code == 0
    with np.load(tmp_path / "x.npz") as file:
        assert (file["vectors"].shape, file["vectors"].dtype) == ((5, 2), np.float32)
    assert ganzoo("sample", "r").code == 0
    assert (tmp_path / "r" / "sample.png").stat().st_size > 1000
    refused = ganzoo("sample", "r", "-o", "folder")
    assert (refused.code, "makes vectors, not pictures" in refused.err) == (2, True)
    for given in (("--grid",), ("--scale", 4, "-o", "t.png")):
        refused = ganzoo("sample", "r", "-n", 5, *given)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert f"model 'plain' makes vectors, and {given[0]} is for pictures: leave it out" in refused.err
