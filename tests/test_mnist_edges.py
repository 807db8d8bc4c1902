"""Outlines of hand-made pictures, and the pairs of the embedded digits."""

import torch
from ganzoo_plugins.mnist_edges import MNISTEdges

from ganzoo.data import DataRequest, open_dataset
from ganzoo.data.making import edges as outlines
from ganzoo.plugins import registry


def test_the_outline_of_a_bar_is_its_edge_on_either_side():
    one = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    one[..., 2:7, 3:6] = 200  # A one, five pixels high and three wide.
    expected = torch.zeros_like(one)
    expected[..., 1:8, 2:7] = 200
    expected[..., 3:6, 4] = 0  # Of its inside, what touches no outside.
    assert torch.equal(outlines(one), expected)


def test_the_outline_is_the_difference_of_the_extremes_around_each_pixel():
    image = torch.randint(256, (3, 1, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = outlines(image)
    for n in range(3):
        for i in range(6):
            for j in range(7):
                around = image[n, 0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                assert found[n, 0, i, j] == around.max() - around.min()


def test_an_even_picture_has_no_outline_not_at_its_border_either():
    assert outlines(torch.full((2, 3, 5, 5), 77, dtype=torch.uint8)).unique().tolist() == [0]


def test_chunks_change_nothing(monkeypatch):
    images = torch.randint(256, (7, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = outlines(images)
    monkeypatch.setattr("ganzoo.data.making.CHUNK", 2 * 25)
    assert torch.equal(outlines(images), whole)


def test_the_pairs_are_the_digits_and_their_outlines():
    for split, count in (("train", 60_000), ("test", 10_000)):
        pairs = open_dataset(MNISTEdges(), DataRequest(split))
        digits = registry().get("datasets", "mnist")().load(DataRequest(split))
        spec = pairs.spec("mnist-edges")
        assert (spec.count, spec.shape, spec.source_shape, spec.paired) == (count, (1, 28, 28), (1, 28, 28), True)
        assert spec.classes == tuple("0123456789")
        assert torch.equal(pairs.images, digits.images)
        assert torch.equal(pairs.labels, digits.labels)
        assert torch.equal(pairs.sources[-3:], outlines(digits.images[-3:]))


def test_both_sides_of_a_pair_are_resized():
    spec = open_dataset(MNISTEdges(), DataRequest("test", image_size=16)).spec("mnist-edges")
    assert (spec.shape, spec.source_shape) == ((1, 16, 16), (1, 16, 16))
