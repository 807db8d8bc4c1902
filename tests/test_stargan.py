"""StarGAN: its networks against the authors' program, its terms, and images that are their own sources."""

import numpy as np
import pytest
import torch
from ganzoo_plugins.stargan import Discriminator, Generator, StarGAN
from PIL import Image

import ganzoo as zoo
from ganzoo.data import Attribute, Batch, DataSpec, ImageSet, Loader, examples_of
from ganzoo.errors import UsageError
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.samples import generated
from ganzoo.preparing import refuse_parts
from ganzoo.runs.pictures import headed, headed_table, tile
from published import check_numbers, waves

CLASSES = ("a", "b", "c")
DATA = DataSpec("faces", (3, 32, 32), 24, CLASSES, counts=(8, 8, 8))
SMALL = {"width": 4, "blocks": 1, "batch_size": 6}


def stargan(data: DataSpec = DATA) -> StarGAN:
    torch.manual_seed(0)
    return StarGAN(data, StarGAN.Options(**SMALL))


# Of yunjey/stargan, model.py, as `PUBLISHED` of test_translation.py.


def test_the_generator_is_that_of_the_authors_program():
    spread, first = (0.0080175651, 0.0213554241), (0.0058570425, 0.0130061787, 0.0254468936, 0.014486704)
    check_numbers(Generator(DATA, 8, 2), [waves(3, 32), torch.tensor([1])], spread, first, 48.435261)


def test_the_discriminator_is_that_of_the_authors_program():
    spread, first = (-0.0053751916, 0.0145243844), (0.0128831025, 0.0093090385, -0.0033154783, -0.0138730295)
    check_numbers(Discriminator(DATA, 8), [waves(3, 32), None], spread, first, 0.068017)


def test_parts_of_one_image_are_refused_for_they_have_no_other_class_to_give():
    gan = stargan()
    refuse_parts(gan, 6, accumulate=3, processes=1)
    for batch, accumulate, processes in ((1, 1, 1), (6, 6, 1), (6, 3, 2)):
        with pytest.raises(UsageError, match=f"of one has none: --batch-size must be at least {2 * batch}"):
            refuse_parts(gan, batch, accumulate, processes)


def test_the_papers_networks_have_the_published_number_of_parameters():
    data = DataSpec("rafd", (3, 128, 128), 4824, tuple("abcdefgh"))
    with torch.device("meta"):
        gan = StarGAN(data, StarGAN.Options(width=64, blocks=6))
    count = sum(p.numel() for p in gan.parameters())
    assert f"{count / 1e6:.1f}M" == "53.2M", "table 2 of the paper"
    assert count == 8_439_936 + 44_786_624, "and the authors' program"


@pytest.mark.parametrize("size", [(28, 28), (33, 50)])
def test_a_translator_of_classes_takes_any_size_and_keeps_it(size):
    out = stargan().generator(torch.rand(2, 3, *size), torch.tensor([0, 2]))
    assert out.shape == (2, 3, *size)
    assert out.abs().max() <= 1


def test_terms_are_those_of_the_paper():
    gan = stargan()
    x, y, target = torch.rand(4, 3, 32, 32) * 2 - 1, torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2])
    made = gan.generator(x, target)
    real, fake = Batch(x, y, source=x), Batch(made, target, torch.empty(4, 0), x)
    scores, said = gan.discriminator(made, None)
    terms = gan.generator_loss(real, fake)
    torch.testing.assert_close(terms["wasserstein"], -scores.mean())
    torch.testing.assert_close(terms["class"], -said.log_softmax(1)[range(4), target].mean())
    torch.testing.assert_close(terms["reconstruction"], 10 * (gan.generator(made, y) - x).abs().mean())

    ours, named = gan.discriminator(x, None)
    torch.manual_seed(3)
    judged = gan.discriminator_loss(real, fake.detach())
    torch.testing.assert_close(judged["wasserstein"], scores.mean() - ours.mean())
    torch.testing.assert_close(judged["class"], -named.log_softmax(1)[range(4), y].mean())
    torch.manual_seed(3)
    between = torch.lerp(x, made.detach(), torch.rand(4, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(gan.discriminator(between, None)[0].sum(), between)
    torch.testing.assert_close(judged["penalty"], 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean())


def test_the_critic_moves_five_times_for_each_move_of_the_generator():
    assert [(turn.player, turn.repeat) for turn in stargan().turns()] == [("discriminator", 5), ("generator", 1)]


# Images that are their own sources


def images(n: int = 24) -> ImageSet:
    """Class c has pixels around 80 c, no two images the same."""
    labels = torch.arange(n) % 3
    x = (labels * 80 + torch.arange(n)).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    return ImageSet(x.to(torch.uint8).contiguous(), labels, CLASSES)


class Faces(zoo.Dataset):
    """These, as data set."""

    name = "faces"
    summary = "made up"

    def load(self, request):
        return images()


def test_each_image_is_its_own_source_and_holds_no_memory_of_its_own():
    data = StarGAN.sourced(images())
    loader = Loader(data, 6, 0, torch.device("cpu"), sources=True)
    real = next(loader.batches())
    assert real.source is real.x
    assert loader.sources is None


def test_fakes_are_asked_for_the_classes_of_their_batch_in_another_order():
    gan = stargan()
    real = next(Loader(gan.sourced(images()), 6, 0, torch.device("cpu"), sources=True).batches())
    torch.manual_seed(1)
    asked = [gan.fake(real) for _ in range(8)]
    assert all(torch.equal(fake.y.sort().values, real.y.sort().values) for fake in asked)
    assert len({tuple(fake.y.tolist()) for fake in asked}) > 1
    assert all(fake.source is real.x for fake in asked)
    torch.testing.assert_close(asked[0].x, gan.generator(real.x, asked[0].y))


def test_a_data_sets_own_sources_are_not_looked_at():
    data = images()
    data.sources = torch.zeros(24, 1, 8, 8, dtype=torch.uint8)
    assert StarGAN.sourced(data).sources is data.images
    assert stargan(data.spec("pairs")).data.source_shape == (3, 32, 32)


def test_a_model_that_takes_sources_gets_the_data_as_it_is():
    class Given(StarGAN):
        own_sources = False

    data = images()
    assert Given.sourced(data) is data


def test_vectors_are_refused_in_one_line():
    with pytest.raises(UsageError, match="makes images from images, and data set 'points' holds vectors"):
        stargan(DataSpec("points", (2,), 100, CLASSES))


def test_held_out_examples_are_shown_in_every_class():
    gan = stargan().eval()
    examples = examples_of(gan.sourced(images()), gan.data, 4)
    shown = gan.pictures(examples)
    assert list(shown) == ["source", "to a", "to b", "to c"]
    assert torch.equal(shown["source"], examples.x)
    assert torch.equal(shown["to c"], gan.generator(examples.x, torch.full((4,), 2)))


def test_with_attributes_alone_examples_keep_their_own():
    gan = stargan(DataSpec("slanted", (1, 28, 28), 24, attributes=(Attribute("slant", -1, 1),)))
    examples = Batch(torch.rand(2, 1, 28, 28), torch.rand(2, 1), source=torch.rand(2, 1, 28, 28))
    assert list(gan.pictures(examples)) == ["source", "output"]


def test_a_score_is_of_images_that_were_given_the_class_of_another():
    class Seen(StarGAN):
        def generate(self, z, y, source=None):
            return source

    data = images()
    gan = Seen(data.spec("faces"), Seen.Options(**SMALL)).eval()
    reference = Reference(Faces())
    made = torch.cat([part.images for part in generated(gan, 24, 0, reference)])
    asked = torch.cat([part.labels for part in generated(gan, 24, 0, reference)])
    assert sorted(made[:, 0, 0, 0].tolist()) == sorted(data.images[:, 0, 0, 0].tolist()), "each image once"
    assert asked.sort().values.tolist() == data.labels.sort().values.tolist()
    shown = {int(value): int(label) for value, label in zip(data.images[:, 0, 0, 0], data.labels, strict=True)}
    own = [shown[int(value)] == int(label) for value, label in zip(made[:, 0, 0, 0], asked, strict=True)]
    assert sum(own) < 16, "no more than chance has their own"


def test_a_run_trains_is_measured_and_changes_pictures_to_a_class(ganzoo, tmp_path):
    arguments = "run stargan --dataset small-digits --width 4 --blocks 0 --batch-size 32 --n-critic 1 --steps 2"
    done = ganzoo(*arguments.split(), "--engine", "eager", "--out", "stars", "--loggers", "none", "--quiet")
    assert done.code == 0, done.err
    assert (tmp_path / "stars" / "real.png").exists()
    (tmp_path / "in").mkdir()
    Image.new("L", (28, 28), 90).save(tmp_path / "in" / "grey.png")
    for arguments in ("--from in -o out --label 3", "--from test -n 4 -o held --label 3"):
        made = ganzoo("sample", "stars", *arguments.split())
        assert made.code == 0, made.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["grey.png"]
    assert len(list((tmp_path / "held").iterdir())) == 4


def test_its_grids_say_which_column_is_the_source_and_which_a_class(ganzoo):
    small = ("--width", 4, "--blocks", 1, "--batch-size", 4, "--steps", 1, "--loggers", "none", "--quiet")
    result = ganzoo("run", "stargan", "--dataset", "small-digits", "--image-size", 32, *small, "--out", "r")
    assert result.code == 0, result.err
    names = ["source", *(f"to {digit}" for digit in range(10))]
    grid, real = (np.asarray(Image.open(path)) for path in ("r/samples/00000001.png", "r/real.png"))
    for picture, columns in ((grid, names), (real, names[:1])):
        strip = len(picture) % 34 - 2  # Above rows of 32 pixels, a gap beneath each and one above all.
        blank = tile(torch.zeros(len(columns), 1, 32, 32, dtype=torch.uint8), len(columns))
        assert strip > 10
        assert (picture[:strip] == headed(blank, columns)[:strip]).all()


def test_names_of_columns_lose_accents_and_are_numbers_where_the_font_has_no_such_letters():
    image = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    shown = headed_table({"café": image, "猫": image})
    assert (shown == headed(tile(image.repeat(2, 1, 1, 1), 2), ["cafe", "#1"])).all()
