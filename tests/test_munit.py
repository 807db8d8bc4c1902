"""MUNIT: contents that both sides share, styles of each side's own."""

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins.munit import MUNIT, adaptive
from torch import nn

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError
from ganzoo.testing import check_gan

UNPAIRED = DataSpec("unpaired", (3, 32, 32), 100, source_shape=(1, 32, 32), paired=False)


def made(data: DataSpec = UNPAIRED, **options) -> MUNIT:
    torch.manual_seed(0)
    return MUNIT(data, MUNIT.Options(width=4, hidden=8, blocks=1, style=3, batch_size=4, **options))


def batches(gan) -> tuple[Batch, Batch]:
    real = Batch(torch.rand(4, 3, 32, 32) * 2 - 1, source=torch.rand(4, 1, 32, 32) * 2 - 1)
    return real, gan.fake(real)


def squares(said, value: float):
    """The mean square distance from `value`, summed over sizes."""
    return sum(F.mse_loss(logits, torch.full_like(logits, value)) for logits in said)


def test_terms_are_those_of_the_paper():
    gan = made(cycle=2.0)
    real, fake = batches(gan)
    s, x, there, back, l1 = real.source, real.x, gan.generator, gan.back, nn.L1Loss()
    c_s, c_x = back.content_encoder(s), there.content_encoder(x)
    r_s, r_x = back.style_encoder(s), there.style_encoder(x)
    z_x, z_s = fake.z[:, :3], fake.z[:, 3:]
    torch.testing.assert_close(fake.x, there.decoder(c_s, z_x))
    torch.testing.assert_close(fake.source, back.decoder(c_x, z_s))
    terms, judged = gan.generator_loss(real, fake), gan.discriminator_loss(real, fake.detach())
    torch.testing.assert_close(
        terms["reconstruction"], 10 * (l1(back.decoder(c_s, r_s), s) + l1(there.decoder(c_x, r_x), x))
    )
    again_s, again_x = there.content_encoder(fake.x), back.content_encoder(fake.source)
    torch.testing.assert_close(terms["content"], l1(again_s, c_s) + l1(again_x, c_x))
    torch.testing.assert_close(
        terms["style"], l1(there.style_encoder(fake.x), z_x) + l1(back.style_encoder(fake.source), z_s)
    )
    torch.testing.assert_close(
        terms["cycle"], 2 * (l1(back.decoder(again_s, r_s), s) + l1(there.decoder(again_x, r_x), x))
    )
    d, d_s = gan.discriminator, gan.source_discriminator
    torch.testing.assert_close(terms["adversarial"], squares(d(fake.x), 1) + squares(d_s(fake.source), 1))
    torch.testing.assert_close(judged["adversarial"], squares(d(x), 1) + squares(d(fake.x), 0))
    torch.testing.assert_close(judged["source"], squares(d_s(s), 1) + squares(d_s(fake.source), 0))
    assert [len(said(x)) for said in (d, lambda x: d_s(x[:, :1]))] == [3, 3]


def test_without_a_weight_nothing_is_asked_to_come_back():
    gan = made()
    assert gan.generator_loss(*batches(gan)).keys() == {"adversarial", "reconstruction", "content", "style"}


def test_maps_have_the_means_and_deviations_of_the_style():
    x, mean, deviation = torch.rand(2, 5, 16, 16) * 7, torch.randn(2, 5), torch.rand(2, 5) + 0.5
    found = adaptive(x, mean, deviation)
    torch.testing.assert_close(found.mean((2, 3)), mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.std((2, 3), correction=0), deviation, rtol=1e-4, atol=1e-5)


def test_a_content_says_nothing_of_contrast_and_brightness():
    gan = made()
    first, x = gan.back.content_encoder.layers[:4], torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(first(x), first(3 * x + 0.5), rtol=1e-3, atol=1e-3)


def test_both_ways_lead_to_images_of_the_other_side_in_a_style_that_z_says():
    gan = made().eval()
    z, sources, images = gan.sample_latent(2), torch.rand(2, 1, 28, 36), torch.rand(2, 3, 28, 36)
    assert z.shape == (2, 6)
    assert torch.equal(gan.generate(z, None, sources), gan.to_image(sources, z[:, :3]))
    assert gan.to_image(sources).shape == (2, 3, 28, 36)
    assert not torch.equal(gan.to_image(sources, z[:, :3]), gan.to_image(sources, z[:, 3:]))
    assert torch.equal(gan.returned(images), gan.to_source(images, torch.zeros(2, 3)))
    gan.sampling = gan.Sampling(output="source")
    assert torch.equal(gan.generate(z, None, images), gan.to_source(images, z[:, 3:]))
    assert gan.to_source(images).shape == (2, 1, 28, 36)


def test_grids_show_several_answers_and_a_source_in_an_images_style():
    gan = made().eval()
    real, _ = batches(gan)
    with torch.no_grad():
        shown = gan.pictures(real)
    names = ["source", "by its own codes", "an image", "in that one's style"]
    assert list(shown) == [*names, *(f"answer {i}" for i in (1, 2, 3, 4))]
    assert torch.equal(shown["in that one's style"], gan.to_image(real.source, gan.generator.style(real.x)))
    assert not torch.equal(shown["answer 1"], shown["answer 2"])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (DataSpec("sizes", (3, 32, 32), 9, source_shape=(3, 8, 8)), "sources of 8 x 8 pixels and images of 32 x 32"),
        (DataSpec("tiny", (3, 8, 8), 9, source_shape=(1, 8, 8), paired=False), "those of 'tiny' have 8: --image-size"),
    ],
)
def test_data_from_which_it_cannot_learn_is_refused(data, told):
    with pytest.raises(UsageError, match=told):
        made(data)


def test_the_smallest_images_that_are_taken_are_large_enough():
    gan = made(DataSpec("small", (3, 13, 13), 9, source_shape=(1, 13, 13), paired=False))
    real = Batch(torch.rand(4, 3, 13, 13), source=torch.rand(4, 1, 13, 13))
    fake = gan.fake(real)
    assert fake.x.shape == (4, 3, 13, 13)
    assert all(term.isfinite() for term in gan.generator_loss(real, fake).values())


def test_it_keeps_the_rules():
    verdicts = {v.rule: v.status for v in check_gan(MUNIT, UNPAIRED, {"width": 4, "hidden": 8, "blocks": 1})}
    assert {verdicts[rule] for rule in ("resume", "recorded", "host", "halves", "gradients")} == {"passed"}


def test_in_half_precision_codes_and_images_are_in_float32():
    gan = made()
    real, _ = batches(gan)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert gan.generator.content_encoder(real.x).dtype == torch.bfloat16
        found = gan.generator.content(real.x), gan.generator.style(real.x), gan.to_image(real.source)
    assert {part.dtype for part in found} == {torch.float32}
