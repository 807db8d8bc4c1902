"""bf16 is for networks: logits, losses and penalties are float32, and a float32 run knows nothing of it."""

import pytest
import torch
from torch import nn

from ganzoo import losses
from ganzoo.data import DataRequest, Loader
from ganzoo.precision import exactly, give_single, single
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.modes import settle
from ganzoo.training.trainer import Trainer
from ganzoo_test_plugins import SmallDigits, Tiny
from test_zoo import ZOO, build, images

CPU, HALF = Engine(torch.device("cpu"), "fp32"), Engine(torch.device("cpu"), "bf16")


@pytest.fixture(scope="module")
def digits():
    return SmallDigits().load(DataRequest())


def train(digits, model=Tiny, engine=HALF, steps=0):
    seed_everything(0)
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32))
    trainer = Trainer(gan, Loader(digits, 32, 0, engine.device), engine, steps=100)
    for _ in range(steps):
        trainer.advance()
    return trainer


class Hinge(Tiny):
    """Keeps what its loss was made of, and of which types."""

    def discriminator_loss(self, real, fake):
        inside = []
        first = next(m for m in self.discriminator.modules() if isinstance(m, nn.Linear))
        hook = first.register_forward_hook(lambda module, inputs, output: inside.append(output.dtype))
        logits = self.discriminate(real, fake)
        hook.remove()
        loss = losses.hinge_discriminator(*logits)
        object.__setattr__(self, "seen", (inside, [t.dtype for t in (*logits, fake.x, loss)], logits, loss.detach()))
        return {"adversarial": loss}


def test_networks_compute_in_bf16_and_the_hinge_in_float32(digits):
    trainer = train(digits, Hinge)
    trainer.advance()
    inside, outside, logits, loss = trainer.gan.seen
    assert set(inside) == {torch.bfloat16}
    assert set(outside) == {torch.float32}
    real, fake = (part.detach().double() for part in logits)
    assert loss.item() == pytest.approx(((1 - real).relu().mean() + (1 + fake).relu().mean()).item(), rel=1e-6)


class Direct(Tiny):
    """Asks its networks itself, as penalties do, and not by `discriminate`."""

    def generator_loss(self, real, fake):
        logits = self.discriminator(fake.x, fake.y)
        again = self.judge(fake)
        object.__setattr__(self, "seen", [logits.dtype, again.dtype, self.generator(fake.z, fake.y).dtype])
        return {"adversarial": losses.wasserstein_generator(logits)}


def test_whoever_asks_a_network_gets_float32(digits):
    trainer = train(digits, Direct)
    trainer.advance()
    assert trainer.gan.seen == [torch.float32] * 3


@pytest.mark.parametrize("name", ["wgan-gp", "dragan"])
def test_a_penalty_with_a_pass_of_its_own_is_that_of_float32(name: str):
    found = []
    for engine in (CPU, HALF):
        data = images((3, 16, 16))
        gan = build(name, data)
        trainer = Trainer(gan, Loader(data, 4, 0, CPU.device), engine, steps=10)
        real = next(trainer.loader.batches())
        fake = gan.fake(real).detach()
        seed_everything(3)
        with engine.autocast():
            found.append(gan.discriminator_loss(real, fake)["penalty"])
    assert found[1].dtype == torch.float32
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-6)


def test_shared_gradients_are_squared_in_float32():
    seed_everything(0)
    critic = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 1))
    give_single(critic)
    x = torch.randn(5, 8, requires_grad=True)
    with HALF.autocast():
        logits = critic(x)
        (penalty,) = losses.zero_centred_penalties((x, logits))
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    assert logits.dtype == penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(slope.double().square().sum(1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("name", [*ZOO, "stylegan2", "fastgan"])
def test_every_model_of_the_zoo_steps_in_bf16_on_float32_losses(name: str, monkeypatch):
    side = 32 if name in ("stylegan2", "fastgan") else 16
    small = {"width": 4} if name == "fastgan" else {}
    if name == "stylegan2":
        small = {"channel_base": 64, "channel_max": 4, "depth": 1, "path_every": 1, "r1_every": 1}
    data = images((3, side, side))
    gan = build(name, data, **small)
    kinds = set()
    backward = Trainer.backward

    def watched(self, player, terms, turn, parts=1):
        kinds.update(term.dtype for term in terms.values())
        return backward(self, player, terms, turn, parts)

    monkeypatch.setattr(Trainer, "backward", watched)
    trainer = Trainer(gan, Loader(data, 4, 0, CPU.device), HALF, steps=10)
    values = trainer.advance()
    assert kinds == {torch.float32}
    assert all(value.isfinite() for value in values.values())


def test_a_float32_run_has_no_hook_and_gets_the_very_objects(digits):
    trainer = train(digits, engine=CPU)
    assert not any(module._forward_hooks for module in trainer.gan.modules())
    logits, exact = torch.randn(3, 1), torch.randn(3, 1, dtype=torch.float64)
    assert single(logits) is logits
    assert single((logits, exact))[1] is exact
    assert single([logits.bfloat16(), 3])[0].dtype == torch.float32
    with exactly("cpu"), exactly("meta"):
        assert not torch.is_autocast_enabled("cpu")


def test_bf16_steps_are_recorded_and_resumed_as_any(digits):
    def finish(trainer):
        while trainer.step < 6:
            trainer.advance(6 - trainer.step)
        return trainer.state_dict()["gan"]

    straight = finish(train(digits))
    recorded = train(digits)
    assert settle(recorded, "graph").used == "graph"
    recorded = finish(recorded)
    kept = train(digits, steps=3).state_dict()
    again = train(digits)
    again.load_state_dict(kept)
    again = finish(again)
    for name, value in straight.items():
        assert torch.equal(value, recorded[name]), name
        assert torch.equal(value, again[name]), name
