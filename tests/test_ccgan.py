"""CC-GAN: holes filled in the whole image, and classes learnt from few labels that losses alone see."""

import json
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.ccgan import CCGAN, Known
from torch import nn

from ganzoo.data import Attribute, Batch, DataSpec, ImageSet, Loader
from ganzoo.data.loader import few
from ganzoo.errors import UsageError
from ganzoo.gan import GAN
from ganzoo.testing import check_gan
from ganzoo.training.turns import Schedule

CLASSES = ("a", "b", "c")
HOLED = DataSpec("holed", (3, 32, 32), 100, CLASSES, source_shape=(3, 32, 32))
INSIDE = (slice(None), slice(None), slice(8, 24), slice(8, 24))
"""The hole: half of each side."""
CPU = torch.device("cpu")


def made(data: DataSpec = HOLED, **options) -> CCGAN:
    torch.manual_seed(0)
    return CCGAN(data, CCGAN.Options(width=4, batch_size=4, **options))


def batches(gan) -> tuple[Batch, Batch]:
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    source = x.clone()
    source[INSIDE] = 0
    real = Batch(x, torch.tensor([-1, 2, -1, 0]), source=source)
    return real, gan.fake(real)


def test_a_sample_is_the_picture_outside_of_the_hole_and_follows_from_nothing_inside():
    gan = made()
    real, fake = batches(gan)
    assert torch.equal(gan.generate(torch.empty(4, 0), None, real.x), fake.x), "whatever fills the hole is not seen"
    outside = torch.ones_like(fake.x, dtype=torch.bool)
    outside[INSIDE] = False
    assert torch.equal(fake.x[outside], real.x[outside])
    assert torch.equal(fake.x[INSIDE], gan.generator(real.source)[INSIDE])
    assert not torch.equal(fake.x[INSIDE], real.x[INSIDE])


def test_the_discriminator_sees_the_whole_image():
    gan = made().eval()
    real, _ = batches(gan)
    other = real.x.clone()
    other[:, :, :4] = 1
    assert not torch.equal(gan.judge(real)[0], gan.judge(Batch(other))[0])


def test_terms_are_those_of_the_paper():
    gan = made(auxiliary=0.5)
    real, fake = batches(gan)
    ours, theirs = gan.discriminator(real.x)[0], gan.discriminator(fake.x)[0]
    judged, terms = gan.discriminator_loss(real, fake.detach()), gan.generator_loss(real, fake)
    one, none = torch.ones(4, 1), torch.zeros(4, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(judged["adversarial"], cross_entropy(ours, one) + cross_entropy(theirs, none))
    assert terms.keys() == {"adversarial"}
    torch.testing.assert_close(terms["adversarial"], cross_entropy(theirs, one))
    # Where one image has a label, all that is drawn is it.
    alone = made(auxiliary=0.5)
    found = alone.discriminator_loss(real._replace(y=torch.tensor([-1, 2, -1, -1])), fake.detach())
    seen = ((real.x[1:2] + 1) * 127.5).round() / 127.5 - 1
    expected = 0.5 * nn.CrossEntropyLoss()(alone.discriminator(seen)[1], torch.tensor([2]))
    torch.testing.assert_close(found["class"], expected)


def test_before_any_label_has_come_by_nothing_is_learnt_of_classes():
    gan = made()
    real, fake = batches(gan)
    judged = gan.discriminator_loss(real._replace(y=torch.full((4,), -1)), fake.detach())
    assert judged["class"] == 0
    judged["class"].backward()
    assert all(p.grad is None or not p.grad.any() for p in gan.discriminator.parameters())
    assert not gan.seen.count
    assert not gan.seen.images.any()


def test_labelled_images_are_kept_the_latest_so_many_of_them():
    seen = Known((1, 1, 1), 3)
    x = torch.arange(8.0).view(8, 1, 1, 1) / 127.5 - 1
    seen.keep(x[:3], torch.tensor([-1, 5, -1]))
    seen.keep(x[3:6], torch.tensor([6, 7, 8]))
    assert seen.count == 4
    assert seen.images.flatten().tolist() == [5, 3, 4, 0]
    assert seen.classes.tolist() == [8, 6, 7, 0]
    images, classes, some = seen.draw(200)
    pairs = set(zip(((images.flatten() + 1) * 127.5).round().int().tolist(), classes.tolist(), strict=True))
    assert pairs == {(5, 8), (3, 6), (4, 7)}
    assert some == 1


def test_few_labels_are_as_many_of_each_class_and_the_same_ones_in_every_run():
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)[torch.randperm(73, generator=torch.Generator().manual_seed(3))]
    known = few(labels, 14)
    shown = known >= 0
    assert torch.equal(known[shown], labels[shown])
    assert torch.bincount(known[shown]).tolist() == [6, 3, 5]
    assert torch.equal(few(labels, 14), known)
    assert torch.equal(few(labels, 1000), labels)
    fewer = few(labels, 5) >= 0
    assert (shown | ~fewer).all(), "what is known with few labels is known with more"


def test_a_loader_hides_the_other_labels():
    images = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    data = ImageSet(images, torch.arange(40) % 4, tuple("abcd"))
    known = few(data.labels, 8)
    seen = torch.cat([batch.y for batch in islice(Loader(data, 8, 0, CPU, labelled=8).batches(), 5)])
    assert seen.sort().values.tolist() == known.sort().values.tolist()
    plain = torch.cat([batch.y for batch in islice(Loader(data, 8, 0, CPU).batches(), 5)])
    assert torch.equal(seen[seen >= 0], plain[seen >= 0])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (DataSpec("bare", (3, 32, 32), 9, source_shape=(3, 32, 32)), "'bare' has none"),
        (
            DataSpec("slanted", (3, 32, 32), 9, CLASSES, (Attribute("slant"),), source_shape=(3, 32, 32)),
            "'slanted' has tags or numbers",
        ),
        (DataSpec("grey", (3, 32, 32), 9, CLASSES, source_shape=(1, 32, 32)), "'grey' are not its images with a hole"),
        (
            DataSpec("apart", (3, 32, 32), 9, CLASSES, source_shape=(3, 32, 32), paired=False),
            "'apart' are not its images with a hole",
        ),
    ],
)
def test_data_from_which_it_cannot_learn_is_refused(data, told):
    with pytest.raises(UsageError, match=told):
        made(data)


def test_players_that_make_no_fakes_see_them_without_a_graph():
    assert Schedule(made()).owners == {"generator"}


def test_it_keeps_the_rules():
    verdicts = {v.rule: v.status for v in check_gan(CCGAN, HOLED, {"width": 4})}
    assert verdicts["resume"] == verdicts["recorded"] == verdicts["host"] == "passed"


def test_what_it_recognises_is_measured(ganzoo, tmp_path):
    run = ("ccgan", "--dataset", "small-digits", "--image-size", 16, "--source", "hole", "--width", 4, "--known", 50)
    assert ganzoo("run", *run, "--batch-size", 16, "--steps", 3, "--loggers", "none", "--out", "r").code == 0
    told = ganzoo("eval", "r", "--metrics", "recognition,l1", "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)["metrics"]["recognition"]
    assert 0 <= found <= 1
    assert found * 500 == pytest.approx(round(found * 500))
    unasked = json.loads(ganzoo("eval", "r", "--features", "look", "--json").out)["metrics"]
    assert unasked["recognition"] == found


def test_models_that_name_no_classes_are_not_asked_for_any(ganzoo):
    assert ganzoo("run", "tiny", "--dataset", "small-digits", "--steps", 1, "--loggers", "none", "--out", "r").code == 0
    told = ganzoo("eval", "r", "--metrics", "recognition")
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert "that is for models that name the classes of 'small-digits', such as ccgan" in told.err
    assert "recognition" not in ganzoo("eval", "r", "--features", "look", "--json").out


def test_recognition_is_the_share_of_reference_images_that_are_named_rightly():
    from ganzoo.metrics.base import Setting
    from ganzoo.metrics.labels import Recognition
    from ganzoo.metrics.reference import Reference
    from ganzoo.metrics.samples import recogniser
    from ganzoo_test_plugins import SmallDigits, Tiny

    class Namer(Tiny):
        name = "namer"

        def recognise(self, x):
            zero = F.one_hot(torch.zeros(len(x), dtype=torch.int64), 10).float()
            return {"zero": zero, "three": zero.roll(3, 1)}

    reference = Reference(SmallDigits())
    gan = Namer(reference.spec, Namer.Options())
    counts = torch.bincount(reference.labels)
    setting = Setting(reference, 500, True, 0, CPU, recognise=recogniser(gan, reference))
    assert Recognition(setting).compute() == {"recognition": counts[0] / 500, "recognition_three": counts[3] / 500}
    assert GAN.recognise(gan, torch.zeros(1)) == {}
