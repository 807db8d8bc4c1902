"""PixelDA: a classifier that learns of images without classes by what is made to look like them."""

import json

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.pixelda import PixelDA, in_channels
from torch import nn

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.testing import check_gan
from ganzoo.training.turns import Schedule

CLASSES = ("a", "b", "c")
UNPAIRED = DataSpec(
    "coloured", (3, 28, 28), 100, CLASSES, source_shape=(1, 28, 28), paired=False, source_labels=True
)  # fmt: skip


def made(data: DataSpec = UNPAIRED, **options) -> PixelDA:
    torch.manual_seed(0)
    return PixelDA(data, PixelDA.Options(width=4, blocks=1, batch_size=4, **options))


def batches(gan) -> tuple[Batch, Batch]:
    source = torch.rand(4, 1, 28, 28) * 2 - 1
    real = Batch(torch.rand(4, 3, 28, 28) * 2 - 1, torch.full((4,), -1), None, source, torch.tensor([0, 2, 1, 2]))
    return real, gan.fake(real)


def test_terms_are_those_of_the_paper():
    gan = made(task=0.5)
    gan.discriminator.eval()  # Without dropout, noise and the statistics of a batch.
    real, fake = batches(gan)
    cross_entropy, named = F.binary_cross_entropy_with_logits, nn.CrossEntropyLoss()
    ours, theirs = gan.discriminator(real.x), gan.discriminator(fake.x)
    one, none = torch.ones(4, 1), torch.zeros(4, 1)
    judged = gan.discriminator_loss(real, fake.detach())
    assert judged.keys() == {"adversarial"}
    torch.testing.assert_close(judged["adversarial"], cross_entropy(ours, one) + cross_entropy(theirs, none))
    terms, taught = gan.generator_loss(real, fake), gan.classifier_loss(real, fake.detach())
    adapted = named(gan.classifier.rest(gan.classifier.first[1](fake.x)), real.source_y)
    torch.testing.assert_close(terms["adversarial"], cross_entropy(theirs, one))
    torch.testing.assert_close(terms["class"], 0.5 * adapted)
    torch.testing.assert_close(taught["adapted"], adapted)
    of_sources = gan.classifier.rest(gan.classifier.first[0](real.source))
    torch.testing.assert_close(taught["source"], named(of_sources, real.source_y))
    alone = gan.baseline_loss(real, fake.detach())
    assert alone.keys() == {"source"}
    grey = real.source.expand(-1, 3, -1, -1)
    torch.testing.assert_close(alone["source"], named(gan.baseline(grey), real.source_y))


def test_each_of_the_four_has_a_turn_and_the_generator_the_last():
    assert [turn.player for turn in made().turns()] == ["discriminator", "classifier", "baseline", "generator"]


def test_fakes_are_made_once_in_a_step():
    gan = made()
    (pattern,) = (schedule := Schedule(gan)).moves
    moves = schedule.moves[pattern]
    assert schedule.owners == {"generator"}
    assert [move.draws or move.remakes for move in moves] == [True, False, False, False]
    assert [move.attached for move in moves] == [False, False, False, True]


def test_what_is_made_follows_from_source_and_noise():
    gan = made().eval()
    z, source = gan.sample_latent(500), torch.rand(2, 1, 28, 28)
    assert z.shape == (500, 10)
    assert -1 <= z.min() < -0.95
    assert 0.95 < z.max() <= 1
    one = gan.generate(z[:2], None, source)
    assert one.shape == (2, 3, 28, 28)
    assert not torch.equal(one, gan.generate(z[2:4], None, source))
    assert not torch.equal(one, gan.generate(z[:2], None, source.flip(0)))


def test_the_discriminator_is_noisy_in_training_alone():
    discriminator, x = made().discriminator, torch.rand(2, 3, 28, 28)
    assert not torch.equal(discriminator(x), discriminator(x))
    discriminator.eval()
    assert torch.equal(discriminator(x), discriminator(x))


def test_grey_becomes_colour_and_colour_grey():
    x = torch.rand(2, 3, 4, 4)
    assert in_channels(x, 3) is x
    torch.testing.assert_close(in_channels(x, 1), (x[:, :1] + x[:, 1:2] + x[:, 2:]) / 3)
    assert torch.equal(in_channels(x[:, :1], 3), torch.cat([x[:, :1]] * 3, 1))


def test_steps_see_no_class_of_the_images():
    gan = made()
    assert gan.labelled() == 0
    real, fake = batches(gan)
    other = real._replace(y=torch.tensor([1, 1, 1, 1]))
    for loss in (gan.classifier_loss, gan.baseline_loss):
        assert [v.item() for v in loss(real, fake).values()] == [v.item() for v in loss(other, fake).values()]


@pytest.mark.parametrize(
    "changed", [{"paired": True, "source_labels": False}, {"paired": False, "source_labels": False}]
)  # fmt: skip
def test_sources_without_classes_of_their_own_are_refused(changed):
    data = DataSpec("other", (3, 28, 28), 100, CLASSES, source_shape=(1, 28, 28), **changed)
    with pytest.raises(UsageError, match="'other' has no such sources: choose mnist-m-unpaired"):
        made(data)


def test_it_keeps_the_rules():
    verdicts = {v.rule: v.status for v in check_gan(PixelDA, UNPAIRED, {"width": 4, "blocks": 1})}
    assert {verdicts[rule] for rule in ("resume", "recorded", "host", "halves", "gradients")} == {"passed"}


def test_both_classifiers_are_measured_on_the_images(ganzoo):
    run = ("pixelda", "--dataset", "small-adapting", "--width", 4, "--blocks", 0, "--batch-size", 16, "--steps", 2)
    assert ganzoo("run", *run, "--loggers", "none", "--out", "r").code == 0
    told = ganzoo("eval", "r", "--metrics", "recognition", "--json")
    assert told.code == 0, told.err
    metrics = json.loads(told.out)["metrics"]
    assert metrics.keys() == {"recognition", "recognition_source_only"}
    assert all(0 <= value <= 1 for value in metrics.values())
