"""bf16 is for networks: logits, losses and penalties are float32, and a float32 run knows nothing of it."""

import pytest
import torch
from torch import nn

from ganzoo import losses
from ganzoo.data import DataRequest, Loader
from ganzoo.plugins import registry
from ganzoo.precision import exactly, give_single, single
from ganzoo.preparing import mix
from ganzoo.settings import Settings
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


@pytest.mark.parametrize("augment", [(), ("ada",)], ids=["plain", "ada"])
@pytest.mark.parametrize("name", [*ZOO, "stylegan2", "stylegan3", "fastgan"])
def test_every_model_of_the_zoo_steps_in_bf16_on_float32_losses(name: str, augment, monkeypatch):
    side = 32 if name in ("stylegan2", "stylegan3", "fastgan") else 16
    small = {"width": 4} if name == "fastgan" else {}
    if name == "stylegan2":
        small = {"channel_base": 64, "channel_max": 4, "depth": 1, "path_every": 1, "r1_every": 1}
    if name == "stylegan3":
        small = {"channel_base": 64, "channel_max": 4, "layers": 4, "margin": 2, "equivariance": "rotation"}
    data = images((3, side, side))
    gan = build(name, data, **small)
    mix(gan, data.spec("made-up"), Settings(augment=augment), registry(), 4)
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


# Precision by layer, as StyleGAN2 has it


def style(highest: int | None = 2, side: int = 32, **options):
    seed_everything(0)
    small = {"channel_base": 128, "channel_max": 8, "latent_dim": 6, "depth": 2, "batch_size": 4}
    return build("stylegan2", images((3, side, side)), half_resolutions=highest, **small, **options)


def blocks(network: nn.Module, *given, engine: Engine) -> dict[int, tuple[torch.Tensor, ...]]:
    """What each resolution of a network gives, and under 0 the network itself."""
    found, hooks = {}, []

    def keep(side: int):
        return lambda module, inputs, output: found.update({side: output if isinstance(output, tuple) else (output,)})

    for name, module in network.named_children():
        if name.startswith("b"):
            hooks.append(module.register_forward_hook(keep(int(name[1:]))))
    with torch.no_grad(), engine.autocast():
        found[0] = (network(*given),)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(("highest", "lowest"), [(1, 32), (2, 16), (3, 8), (8, 8)])
def test_the_highest_resolutions_alone_compute_in_bf16(highest: int, lowest: int):
    gan = style(highest)
    z, y = gan.sample_latent(4), torch.arange(4) % 3
    ws = gan.generator.mapping(z, y)
    made = blocks(gan.generator.synthesis, ws, "const", engine=HALF)
    seen = blocks(gan.discriminator, torch.randn(4, 3, 32, 32), y, engine=HALF)
    for side in (4, 8, 16, 32):
        expected = torch.bfloat16 if side >= lowest else torch.float32
        assert made[side][0].dtype == seen[side][0].dtype == expected
        assert made[side][1].dtype == torch.float32  # The image, to which all add.
    assert seen[0][0].dtype == torch.float32


def test_lower_resolutions_are_those_of_float32_bit_for_bit():
    gan = style()
    for parameter in gan.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    z, y = gan.sample_latent(4), torch.arange(4) % 3
    generator, critic = gan.generator, gan.discriminator
    with HALF.autocast():
        ws = generator.mapping(z, y)
    assert torch.equal(ws, generator.mapping(z, y))
    half, exact = (blocks(generator.synthesis, ws, "const", engine=engine) for engine in (HALF, CPU))
    for side in (4, 8):
        assert all(map(torch.equal, half[side], exact[side]))
    assert not torch.equal(half[0][0], exact[0][0])
    torch.testing.assert_close(half[0][0], exact[0][0], atol=0.1, rtol=0.1)
    x = exact[0][0]
    half, exact = (blocks(critic, x, y, engine=engine) for engine in (HALF, CPU))
    assert not torch.equal(half[16][0].float(), exact[16][0])
    with torch.no_grad(), HALF.autocast():
        assert torch.equal(critic.b8(exact[16][0]), exact[8][0])
        assert torch.equal(critic.b4(exact[8][0]), exact[4][0])


@pytest.mark.parametrize("engine", [CPU, HALF], ids=["fp32", "bf16"])
def test_activations_are_held_within_256_where_precision_goes_by_layer(engine: Engine):
    """In float32 too: a run that trained in bf16 is sampled and measured in that."""
    for highest in (2, None):
        gan = style(highest)
        for network in (gan.generator.synthesis, gan.discriminator):
            for name, parameter in network.named_parameters():
                if name.endswith(("conv0.bias", "conv1.bias", "conv.bias")):
                    nn.init.constant_(parameter, -1e5)
        for side in (4, 8, 16, 32):
            nn.init.constant_(gan.generator.synthesis.get_submodule(f"b{side}").torgb.bias, 1e5)
        ws = gan.generator.mapping(gan.sample_latent(4), torch.arange(4) % 3)
        made = blocks(gan.generator.synthesis, ws, "const", engine=engine)
        layer = gan.discriminator.b32.conv0
        with torch.no_grad(), engine.autocast():
            seen = [layer(torch.randn(4, layer.weight.shape[1], 32, 32), gain) for gain in (1.0, 0.5)]
        outputs = [*(made[side][0] for side in (4, 8, 16, 32)), *seen]
        if highest is None:
            assert all(values.abs().max() > 10_000 for values in outputs)
            continue
        for values, bound in zip(outputs, (*[256.0] * 5, 128.0), strict=True):
            assert torch.equal(values.float(), torch.full(values.shape, -bound))
        assert torch.equal(made[4][1], torch.full((4, 3, 4, 4), 256.0))


def test_in_float32_precision_by_layer_changes_nothing():
    plain, by_layer = style(None), style(2)
    z, y = plain.sample_latent(4), torch.arange(4) % 3
    with torch.no_grad():
        x = plain.generator(z, y, noise="const")
        assert torch.equal(x, by_layer.generator(z, y, noise="const"))
        assert torch.equal(plain.discriminator(x, y), by_layer.discriminator(x, y))


def test_training_with_precision_by_layer_moves_float32_weights_by_float32_losses(monkeypatch):
    gan, kinds = style(path_every=1, r1_every=1), set()
    backward = Trainer.backward

    def watched(self, player, terms, turn, parts=1):
        kinds.update(term.dtype for term in terms.values())
        return backward(self, player, terms, turn, parts)

    monkeypatch.setattr(Trainer, "backward", watched)
    trainer = Trainer(gan, Loader(images((3, 32, 32)), 4, 0, CPU.device), HALF, steps=10)
    before = [p.detach().clone() for p in gan.parameters()]
    values = [trainer.advance() for _ in range(2)]
    assert kinds == {torch.float32}
    assert all(value.isfinite() for step in values for value in step.values())
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in gan.parameters())
    assert sum(not torch.equal(old, new) for old, new in zip(before, gan.parameters(), strict=True)) > 60
