"""DiscoGAN, DualGAN and UNIT: CycleGAN's kin, by what is their own."""

import pytest
import torch
import torch.nn.functional as F
from ganzoo_plugins import discogan
from ganzoo_plugins.discogan import DiscoGAN
from ganzoo_plugins.dualgan import DualGAN
from ganzoo_plugins.unit import UNIT
from torch import Tensor, nn

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import UsageError
from published import check_numbers, waves

UNPAIRED = DataSpec("unpaired", (3, 32, 32), 100, source_shape=(1, 32, 32), paired=False)
MODELS = (DiscoGAN, DualGAN, UNIT)


def made(model, data=UNPAIRED, **options):
    torch.manual_seed(0)
    return model(data, model.Options(width=4, batch_size=4, **options))


def batches(gan) -> tuple[Batch, Batch]:
    real = Batch(torch.rand(4, 3, 32, 32) * 2 - 1, source=torch.rand(4, 1, 32, 32) * 2 - 1)
    return real, gan.fake(real)


def cross_entropy(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


@pytest.mark.parametrize("model", MODELS)
def test_both_ways_lead_to_images_of_the_other_side(model):
    gan = made(model).eval()
    z, sources, images = torch.empty(2, 0), torch.rand(2, 1, 28, 36), torch.rand(2, 3, 28, 36)
    assert torch.equal(gan.generate(z, None, sources), gan.to_image(sources))
    assert gan.to_image(sources).shape == (2, 3, 28, 36)
    assert torch.equal(gan.returned(images), gan.to_source(images))
    gan.sampling = gan.Sampling(output="source")
    assert torch.equal(gan.returned(sources), gan.to_image(sources))
    assert torch.equal(gan.generate(z, None, images), gan.to_source(images))
    assert gan.to_source(images).shape == (2, 1, 28, 36)


@pytest.mark.parametrize("model", MODELS)
def test_sources_of_another_size_are_refused(model):
    with pytest.raises(UsageError, match="sources of 8 x 8 pixels and images of 32 x 32: choose srgan"):
        made(model, DataSpec("small", (3, 32, 32), 100, source_shape=(3, 8, 8)))


# DiscoGAN. Numbers are of SKTBrain/DiscoGAN, model.py, as `PUBLISHED` of test_translation.py: its generator with a
# hyperbolic tangent at the end, since its pixels lie in [0, 1], and its discriminator without the logistic function.


def test_discogans_generator_is_that_of_the_authors_program():
    spread, first = (-0.0042509027, 0.0506434627), (0.0384555459, -0.0210123211, 0.0155160176, -0.0085131535)
    check_numbers(discogan.Translator(3, 3, 64), [waves(3, 32)], spread, first, 137.679306)


def test_discogans_discriminator_is_that_of_the_authors_program():
    spread, first = (0.0241880193, 0.0513696186), (0.0051376522, -0.0073951944, -0.0138635403, -0.0307164881)
    check_numbers(discogan.Discriminator(3, 64, 4), [waves(3, 64)], spread, first, 365.580688)


def test_discogan_terms_are_those_of_the_authors_program():
    gan = made(DiscoGAN, discover=0.2)
    real, fake = batches(gan)
    gan.clock.fraction.fill_(0.5)
    terms = gan.generator_loss(real, fake)
    (_, *known), (logits, *seen) = gan.discriminator(real.x), gan.discriminator(fake.x)
    (_, *known_s), (logits_s, *seen_s) = gan.source_discriminator(real.source), gan.source_discriminator(fake.source)
    adversarial = cross_entropy(logits, True) + cross_entropy(logits_s, True)
    features = sum(F.mse_loss(b.mean(0), a.mean(0)) for a, b in zip([*known, *known_s], [*seen, *seen_s], strict=True))
    back = F.mse_loss(gan.back(fake.x), real.source) + F.mse_loss(gan.generator(fake.source), real.x)
    torch.testing.assert_close(terms["adversarial"], 0.5 * 0.1 * adversarial)
    torch.testing.assert_close(terms["features"], 0.5 * 0.9 * features)
    torch.testing.assert_close(terms["reconstruction"], 0.5 * back)
    gan.clock.fraction.fill_(0.1)
    early = gan.generator_loss(real, fake)
    torch.testing.assert_close(early["reconstruction"], 0.01 * back)
    torch.testing.assert_close(early["adversarial"], 0.99 * 0.1 * adversarial)
    judged = gan.discriminator_loss(real, fake.detach())
    halves = (cross_entropy(gan.discriminator(real.x)[0], True) + cross_entropy(logits, False)) / 2
    torch.testing.assert_close(judged["adversarial"], halves)


def test_discogans_generators_move_twice_for_each_move_of_the_discriminators():
    assert [(turn.player, turn.repeat) for turn in made(DiscoGAN).turns()] == [("discriminator", 1), ("generator", 2)]


# DualGAN


def test_dualgan_terms_are_those_of_the_paper():
    gan = made(DualGAN, dropout=0.0)
    real, fake = batches(gan)
    ours, theirs = gan.discriminator(real.x), gan.discriminator(fake.x)
    ours_s, theirs_s = gan.source_discriminator(real.source), gan.source_discriminator(fake.source)
    judged, terms = gan.discriminator_loss(real, fake.detach()), gan.generator_loss(real, fake)
    torch.testing.assert_close(judged["wasserstein"], theirs.mean() - ours.mean())
    torch.testing.assert_close(judged["source"], theirs_s.mean() - ours_s.mean())
    torch.testing.assert_close(terms["wasserstein"], -theirs.mean() - theirs_s.mean())
    back = nn.L1Loss()(gan.back(fake.x), real.source) + nn.L1Loss()(gan.generator(fake.source), real.x)
    torch.testing.assert_close(terms["reconstruction"], 100 * back)


def test_dualgan_clips_both_critics_from_the_first_step_on():
    gan = made(DualGAN, clip=0.02)
    critics = [*gan.discriminator.parameters(), *gan.source_discriminator.parameters()]
    assert max(p.abs().max().item() for p in critics) <= 0.02
    with torch.no_grad():
        for p in critics:
            p.add_(1)
    gan.after_discriminator_step()
    assert all((p == torch.tensor(0.02)).all() for p in critics)
    assert [(turn.player, turn.repeat) for turn in gan.turns()] == [("discriminator", 3), ("generator", 1)]


def test_dualgans_noise_is_dropout_in_training():
    gan, source = made(DualGAN), torch.rand(2, 1, 32, 32)
    assert not torch.equal(gan.generator(source), gan.generator(source))
    gan.eval()
    assert torch.equal(gan.generator(source), gan.generator(source))


# UNIT


def test_unit_terms_are_those_of_the_paper():
    gan = made(UNIT, blocks=1)
    real, _ = batches(gan)
    gan.eval()  # The code is its mean.
    fake = gan.fake(real)
    terms, judged, l1 = gan.generator_loss(real, fake), gan.discriminator_loss(real, fake.detach()), nn.L1Loss()
    there, back, s, x = gan.generator, gan.back, real.source, real.x

    def code(half, image):
        return gan.shared.encoder(half.encoder(image))

    def image(half, mean):
        return half.decoder(gan.shared.decoder(mean))

    codes = code(there, s), code(back, x), code(back, image(there, code(there, s))), code(there, fake.source)
    torch.testing.assert_close(
        terms["reconstruction"], 100 * (l1(image(back, codes[0]), s) + l1(image(there, codes[1]), x))
    )
    torch.testing.assert_close(terms["cycle"], 100 * (l1(image(back, codes[2]), s) + l1(image(there, codes[3]), x)))
    torch.testing.assert_close(terms["prior"], 0.1 * sum(c.square().mean() for c in codes))
    theirs, theirs_s = gan.discriminator(fake.x), gan.source_discriminator(fake.source)
    torch.testing.assert_close(terms["adversarial"], 10 * (cross_entropy(theirs, True) + cross_entropy(theirs_s, True)))
    ours = gan.discriminator(x)
    torch.testing.assert_close(judged["adversarial"], 10 * (cross_entropy(ours, True) + cross_entropy(theirs, False)))


def test_unit_shares_the_layers_about_the_code_and_no_others():
    gan = made(UNIT)
    source, image = torch.rand(2, 1, 32, 32), torch.rand(2, 3, 32, 32)
    (gan.eval().to_image(source).sum() + gan.to_source(image).sum()).backward()
    assert all(p.grad is not None for p in gan.players()["generator"].parameters())
    gan.zero_grad()
    gan.to_image(source).sum().backward()
    moved = {name for name, p in gan.named_parameters() if p.grad is not None}
    assert {name.split(".decoder")[0].split(".encoder")[0] for name in moved} == {"generator", "shared"}


def test_units_code_is_drawn_in_training_and_is_its_mean_later():
    gan, source = made(UNIT), torch.rand(2, 1, 32, 32)
    mean = gan.generator.encode(source, gan.shared)
    drawn, seen = [], gan.shared.decoder.register_forward_pre_hook(lambda _, given: drawn.append(given[0]))
    gan.generator.decode(mean, gan.shared, source)
    noise = drawn[0] - mean
    assert noise.mean().item() == pytest.approx(0, abs=0.1)
    assert noise.std().item() == pytest.approx(1, abs=0.1)
    gan.eval()
    gan.generator.decode(mean, gan.shared, source)
    assert torch.equal(drawn[1], mean)
    seen.remove()


@pytest.mark.parametrize("model", MODELS)
def test_in_half_precision_losses_are_computed_in_float32(model):
    gan = made(model)
    real, _ = batches(gan)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert gan.source_discriminator(real.source)[0].dtype == torch.bfloat16
        logits = gan.judge_source(real.source)
        assert (logits[0] if isinstance(logits, tuple) else logits).dtype == torch.float32
    if model is UNIT:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert gan.to_image(real.source).dtype == torch.float32
