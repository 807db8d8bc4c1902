"""Context encoders: what is seen, what is put where, and the terms."""

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.context_encoder import ContextEncoder, Place
from torch import nn

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError

HOLED = DataSpec("holed", (3, 32, 32), 100, source_shape=(3, 32, 32))
INSIDE = (slice(None), slice(None), slice(8, 24), slice(8, 24))
"""The hole: half of each side."""


def made(data: DataSpec = HOLED, **options) -> ContextEncoder:
    torch.manual_seed(0)
    return ContextEncoder(data, ContextEncoder.Options(width=4, bottleneck=8, batch_size=4, **options))


def batches(gan) -> tuple[Batch, Batch]:
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    source = x.clone()
    source[INSIDE] = 0
    real = Batch(x, source=source)
    return real, gan.fake(real)


def test_a_sample_is_the_picture_outside_of_the_hole_and_follows_from_nothing_inside():
    gan = made().eval()
    real, _ = batches(gan)
    whole, holed = (gan.generate(torch.empty(4, 0), None, s) for s in (real.x, real.source))
    assert torch.equal(whole, holed), "whatever fills the hole is not seen"
    outside = torch.ones_like(whole, dtype=torch.bool)
    outside[INSIDE] = False
    assert torch.equal(whole[outside], real.x[outside])
    patch = gan.generator(real.x)
    assert patch.shape == (4, 3, 20, 20), "with a margin of two pixels"
    assert torch.equal(whole[INSIDE], patch[:, :, 2:-2, 2:-2])
    assert not torch.equal(whole[INSIDE], real.x[INSIDE])


def test_the_margin_is_made_in_training_and_counts_ten_times():
    gan = made()
    real, fake = batches(gan)
    patch = Place(6, 6, 20, 20)
    apart = (patch.of(fake.x) - patch.of(real.x)).square()
    assert (apart[:, :, 0] > 0).all()
    weight = torch.full_like(apart, 10)
    weight[:, :, 2:-2, 2:-2] = 1
    terms = gan.generator_loss(real, fake)
    torch.testing.assert_close(terms["pixels"], 0.999 * (weight * apart).mean())
    logits = gan.discriminator(patch.of(fake.x), None)
    torch.testing.assert_close(
        terms["adversarial"], 0.001 * F.binary_cross_entropy_with_logits(logits, torch.ones(4, 1))
    )


def test_without_a_margin_pixels_are_those_of_the_hole():
    gan = made(overlap=0)
    real, fake = batches(gan)
    expected = 0.999 * nn.MSELoss()(fake.x[INSIDE], real.x[INSIDE])
    torch.testing.assert_close(gan.generator_loss(real, fake)["pixels"], expected)


def test_the_discriminator_sees_the_hole_and_its_margin_alone():
    gan = made().eval()
    real, _ = batches(gan)
    other = real.x.clone()
    other[:, :, :6] = 1
    assert torch.equal(gan.judge(real), gan.judge(Batch(other)))
    other[:, :, 6:8] = 1
    assert not torch.equal(gan.judge(real), gan.judge(Batch(other)))


@pytest.mark.parametrize(
    "data",
    [
        DataSpec("grey", (3, 32, 32), 100, source_shape=(1, 32, 32)),
        DataSpec("apart", (3, 32, 32), 100, source_shape=(3, 32, 32), paired=False),
    ],
)
def test_sources_that_are_no_pictures_with_a_hole_are_refused(data):
    with pytest.raises(UsageError, match=f"sources of '{data.name}' are not its images with a hole in them"):
        made(data)
