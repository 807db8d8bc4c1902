"""Images made from images: by `translate` from tensors, by `sample --from` from files and the test split."""

import pytest
import torch
from torch import nn

from ganzoo.data import DataSpec, normalise
from ganzoo.errors import UsageError
from ganzoo.runs.sampler import Sampler
from ganzoo_test_plugins import Tiny


class Scaled(nn.Module):
    """The source, times a number for each class, in as many channels as asked for; of any size."""

    def __init__(self, channels, classes):
        super().__init__()
        self.channels = channels
        self.scale = nn.Embedding(max(classes, 1), 1)
        nn.init.ones_(self.scale.weight)
        with torch.no_grad():
            self.scale.weight.copy_(torch.arange(1, max(classes, 1) + 1).view(-1, 1) / 10)

    def forward(self, source, y):
        x = source.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        return x if y is None else x * self.scale(y).view(-1, 1, 1, 1)


class Translate(Tiny):
    """Makes images from images."""

    name = "translate"
    conditional = False
    translates = True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Scaled(self.data.shape[0], len(self.data.classes))


class Classed(Translate):
    """The same with classes."""

    conditional = True


class Noisy(Translate):
    """Draws within the generator."""

    def generate(self, z, y, source=None):
        return source + torch.randn_like(source)


def sampler(model=Translate, source=(1, 8, 8), channels=1):
    spec = DataSpec("pairs", (channels, 8, 8), 10, tuple("abc"), source_shape=source)
    return Sampler(model(spec, Tiny.Options()))


GREY = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)


def test_whole_numbers_and_floats_of_the_same_pixels_give_the_same_images():
    made = sampler(channels=3).translate(GREY)
    assert made.dtype == torch.float32
    assert torch.equal(made, normalise(GREY).expand(-1, 3, -1, -1))
    assert torch.equal(sampler(channels=3).translate(normalise(GREY)), made)


def test_a_generator_that_takes_any_size_gets_larger_images_as_they_are():
    large = torch.zeros(1, 1, 12, 20, dtype=torch.uint8)
    assert sampler().translate(large).shape == (1, 1, 12, 20)


def test_what_another_size_breaks_is_told_in_one_line():
    class Flat(Translate):
        def generate(self, z, y, source=None):
            return (source.flatten(1) @ torch.eye(64)).view(-1, 1, 8, 8)

    assert sampler(Flat).translate(GREY).shape == (2, 1, 8, 8)
    with pytest.raises(UsageError, match="trained on images of 8 x 8 pixels and takes none of 20 x 12: resize them"):
        sampler(Flat).translate(torch.zeros(1, 1, 12, 20, dtype=torch.uint8))


def test_grey_becomes_colour_and_colour_grey_with_a_note(capsys):
    assert torch.allclose(sampler(source=(3, 8, 8)).translate(GREY), normalise(GREY), atol=1e-6)
    assert "note: grey images are taken as colour" in capsys.readouterr().err
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    made = sampler().translate(red)
    assert "note: colour images are taken as grey" in capsys.readouterr().err
    assert torch.allclose(made, normalise(torch.full((1, 1, 8, 8), 76, dtype=torch.uint8)))
    assert torch.allclose(sampler().translate(normalise(red)), torch.full((1, 1, 8, 8), 2 * 0.299 - 1), atol=1e-6)


def test_labels_are_one_for_all_or_one_for_each_and_in_turn_by_default():
    ones, s = torch.ones(4, 1, 8, 8), sampler(Classed)
    assert s.translate(ones, ["b"])[:, 0, 0, 0].tolist() == pytest.approx([0.2] * 4)
    assert s.translate(ones, [0, 2, 2, 1])[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.3, 0.3, 0.2])
    assert s.translate(ones)[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.1])
    with pytest.raises(UsageError, match="4 images, but 3 labels"):
        s.translate(ones, [0, 1, 2])
    with pytest.raises(UsageError, match="takes no label"):
        sampler().translate(ones, [0])


def test_a_seed_gives_the_same_images_and_parts_do_not_repeat_each_other():
    images = torch.zeros(1001, 1, 8, 8, dtype=torch.uint8)
    made = sampler(Noisy).translate(images, seed=3)
    assert torch.equal(made, sampler(Noisy).translate(images, seed=3))
    assert not torch.equal(made, sampler(Noisy).translate(images, seed=4))
    assert len(made.flatten(1)[:, 0].unique()) > 990


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY[:0], r"\(N, C, H, W\) with 1 or 3 channels, not \(0, 1, 8, 8\)"),
        (GREY[0], r"not \(1, 8, 8\)"),
        (GREY.expand(-1, 2, -1, -1), r"not \(2, 2, 8, 8\)"),
        (GREY.numpy(), "not ndarray"),
        (GREY.long(), "uint8, or float in .* not int64"),
        (GREY.float(), r"must lie in \[-1, 1\]"),
        (torch.full((1, 1, 8, 8), float("nan")), r"must lie in \[-1, 1\]"),
        (GREY[:, :, :7], "images of 8 x 7 pixels are too small: model 'translate' was trained on 8 x 8"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(images, message):
    with pytest.raises(UsageError, match=message):
        sampler().translate(images)


def test_each_way_of_drawing_names_the_other():
    with pytest.raises(UsageError, match="makes images from images: translate some"):
        sampler().sample(2)
    plain = Sampler(Tiny(DataSpec("digits", (1, 8, 8), 10, tuple("abc")), Tiny.Options()))
    with pytest.raises(UsageError, match="does not make images from images: draw from it with sample"):
        plain.translate(GREY)
