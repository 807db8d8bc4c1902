"""SAGAN: equal in numbers to the published networks, and its recipe."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.biggan import from_published
from ganzoo_plugins.sagan import SAGAN
from torch import Tensor, nn

from ganzoo.data import Attribute, Batch, DataSpec
from ganzoo.optim import Adam
from ganzoo.residual import SelfAttention, SpectralConv2d, SpectralEmbedding, SpectralLinear
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.engine import seed_everything

CLASSES = tuple("abc")
TINY = {"batch_size": 8, "latent_dim": 6, "width": 2}


def build(shape=(3, 8, 8), classes=CLASSES, **options) -> SAGAN:
    seed_everything(0)
    return SAGAN(DataSpec("made-up", shape, 24, classes), SAGAN.Options(**TINY | options)).train()


@cache
def published() -> dict[str, Tensor]:
    """Of the program of Brock et al., whose networks are SAGAN's where each normalisation has a table of its own."""
    with np.load(Path(__file__).parent / "data" / "biggan_64px.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def state(prefix: str) -> dict[str, Tensor]:
    return from_published({n.removeprefix(prefix): v for n, v in published().items() if n.startswith(prefix)})


def test_images_are_those_of_the_published_networks():
    generator, theirs = build((3, 64, 64), width=1, attention=(16,)).generator, state("G/")
    # Their layers stand in two levels of lists, and gains and biases in tables of their own.
    places = sorted({tuple(map(int, n.split(".")[1:3])) for n in theirs if n.startswith("blocks.")})
    for at, (i, j) in enumerate(places):
        for name in [n for n in theirs if n.startswith(f"blocks.{i}.{j}.")]:
            theirs[f"new.{at}.{name.split('.', 3)[3]}"] = theirs.pop(name)
    theirs = {n.replace("new.", "blocks.").replace("output_layer.", "output."): v for n, v in theirs.items()}
    ours = generator.state_dict()
    for name in ours:
        if name.endswith("condition.embed.weight"):
            norm = name.removesuffix("condition.embed.weight")
            ours[name] = torch.cat([theirs[f"{norm}gain.weight"], theirs[f"{norm}bias.weight"]], dim=1)
        elif not name.endswith(("norm.weight", "norm.bias")):  # Which are 1 and 0.
            ours[name] = theirs[name]
    generator.load_state_dict(ours)
    arrays = published()
    for training, expected in ((False, "img"), (True, "img_train")):
        found = generator.train(training)(arrays["z"], arrays["y"]).detach()
        torch.testing.assert_close(found, arrays[expected], atol=1e-4, rtol=0)


def test_logits_are_those_of_the_published_networks():
    critic = build((3, 64, 64), width=1, attention=(4,)).discriminator.eval()
    critic.load_state_dict(state("D/"))
    found = critic(published()["img"], published()["y"]).detach()
    torch.testing.assert_close(found, published()["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (DataSpec("colour", (3, 8, 8), 24, CLASSES, counts=(12, 8, 4)), {"attention": (8,)}),
        (DataSpec("tags", (1, 9, 12), 24, ("a", "b"), (Attribute("tilt"),)), {}),
        (DataSpec("unlabelled", (3, 8, 8), 24), {"attention": ()}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_keeps_the_rules_of_the_contract(data: DataSpec, options: dict):
    verdicts = check_gan(SAGAN, data, TINY | options)
    skipped = {v.rule: v.reason for v in verdicts if v.status == "skipped"}
    assert skipped.keys() == {"pictures", "source"} | ({"condition"} if not data.conditional else set()), skipped


def test_every_weight_of_both_networks_is_spectrally_normalised():
    gan = build((3, 16, 16), attention=(8, 16))
    for network in (gan.generator, gan.discriminator):
        plain = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
        tables = [m for name, m in network.named_modules() if name.endswith("condition.embed")]
        spectral = (SpectralConv2d, SpectralLinear, SpectralEmbedding)
        assert all(isinstance(m, spectral) or any(m is t for t in tables) for m in plain)
        assert sum(isinstance(m, SelfAttention) for m in network.modules()) == (2 if network is gan.generator else 4)


def test_classes_make_no_difference_before_training():
    gan = build().eval()
    z = gan.sample_latent(2)
    assert torch.equal(gan.generator(z, torch.tensor([0, 1])), gan.generator(z, torch.tensor([2, 0])))


def test_losses_are_the_hinge():
    gan = build().eval()
    real = Batch(torch.rand(8, 3, 8, 8) * 2 - 1, gan.sample_labels(8))
    with torch.no_grad():
        fake = gan.fake(real)
        on_real, on_fake = gan.discriminator(real.x, real.y), gan.discriminator(fake.x, fake.y)
        terms = gan.discriminator_loss(real, fake), gan.generator_loss(real, fake)
    torch.testing.assert_close(terms[0]["adversarial"], (1 - on_real).relu().mean() + (1 + on_fake).relu().mean())
    torch.testing.assert_close(terms[1]["adversarial"], -on_fake.mean())


def test_the_papers_recipe_has_two_rates_and_attention_at_32_pixels():
    plan = resolve(SAGAN, {}, "paper")
    assert (plan.settings.image_size, plan.settings.steps, plan.options.batch_size) == (128, 1_000_000, 256)
    with torch.device("meta"):
        gan = SAGAN(DataSpec("pictures", (3, 128, 128), 24, tuple(map(str, range(1000)))), plan.options)
    assert gan.optimizer("discriminator") == Adam(4e-4, 0.0, 0.9)
    assert gan.optimizer("generator") == Adam(1e-4, 0.0, 0.9)
    assert [turn.repeat for turn in gan.turns()] == [1, 1]
    assert isinstance(gan.generator.blocks[3], SelfAttention)  # After the third block: 8, 16, 32.
    assert gan.generator.blocks[3].theta.weight.shape == (32, 256, 1, 1)
    assert [i for i, block in enumerate(gan.discriminator.blocks) if len(block) > 1] == [1]
    assert gan.discriminator.blocks[1][1].theta.weight.shape == (16, 128, 1, 1)
