"""Every model as it ships: the rules of the contract at full size, and 300 steps on 64 x 64 colour images.

    pytest benchmarks/soak_models.py

Minutes on a GPU, an hour on a few cores; not part of CI, where tests/test_zoo.py looks at small widths.
"""

import math
import time

import pytest
import torch

from ganzoo.data import ImageSet, Loader
from ganzoo.plugins import registry
from ganzoo.settings import resolve
from ganzoo.testing import check_gan
from ganzoo.training.building import build
from ganzoo.training.engine import choose, seed_everything
from ganzoo.training.trainer import Trainer

MODELS = [
    name for name in registry().names("models") if registry().get("models", name).__module__.startswith("ganzoo_")
]
STEPS, IMAGES = 300, 640


def colour() -> ImageSet:
    """Synthetic photographs, 64 x 64: smooth fields of colour, a disc before them whose place tells the class."""
    draw = torch.Generator().manual_seed(0)
    fields = torch.rand(IMAGES, 3, 4, 4, generator=draw)
    images = torch.nn.functional.interpolate(fields, (64, 64), mode="bilinear")
    labels = torch.arange(IMAGES) % 4
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for i, label in enumerate(labels.tolist()):
        inside = (rows - 20 - 24 * (label // 2)) ** 2 + (columns - 20 - 24 * (label % 2)) ** 2 < 100
        images[i, :, inside] = torch.rand(3, 1, generator=draw)
    return ImageSet((255 * images).byte(), labels, tuple("abcd"))


@pytest.mark.parametrize("name", MODELS)
def test_the_defaults_keep_the_rules_of_the_contract(name):
    check_gan(registry().get("models", name))


@pytest.mark.parametrize("name", MODELS)
def test_the_defaults_train_on_colour_without_a_loss_that_is_not_finite(name, capsys):
    plan, data, engine = resolve(registry().get("models", name), {}), colour(), choose("auto")
    seed_everything(0)
    gan = build(plan.model, data.spec("colour"), plan.options)
    trainer = Trainer(gan, Loader(data, plan.options.batch_size, 0, engine.device), engine, steps=STEPS)
    begun, last = time.perf_counter(), {}
    for step in range(1, STEPS + 1):
        last = {term: value.item() for term, value in trainer.advance().items()}
        wrong = [term for term, value in last.items() if not math.isfinite(value)]
        assert not wrong, f"{', '.join(wrong)} at step {step}"
    with torch.no_grad():
        gan.eval()
        sample = gan.generate(gan.sample_latent(16), gan.sample_labels(16))
    assert sample.isfinite().all()
    with capsys.disabled():
        terms = ", ".join(f"{term} {value:.3g}" for term, value in last.items())
        print(f"\n{name}: {STEPS} steps in {time.perf_counter() - begun:.0f} s; {terms}")
