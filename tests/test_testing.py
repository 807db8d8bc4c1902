"""The conformance kit, tested with a plugin for each rule that breaks it and keeps all others."""

import copy
import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.cgan import CGAN
from ganzoo_plugins.gan import GAN
from pydantic import Field
from torch import nn

import ganzoo
from ganzoo import Turn, losses
from ganzoo.data import Attribute, DataSpec
from ganzoo.errors import UsageError
from ganzoo.kit.rules import RULES
from ganzoo.nets import Condition, MLPDiscriminator, MLPGenerator
from ganzoo.optim import Adam, RMSprop
from ganzoo.testing import Broken, check_gan, examine
from ganzoo_test_plugins import Plain, Tiny

SMALL = DataSpec("small", (1, 8, 8), 24, ("a", "b", "c"))
TAGS = DataSpec("tags", (3, 6, 10), 24, ("a", "b"), (Attribute("tilt", -1, 1),))


def broken(cls: type[ganzoo.GAN], data: DataSpec | None = SMALL) -> dict[str, str]:
    """The reasons, by rule."""
    return {v.rule: v.reason for v in examine(cls, data) if v.status == "broken"}


# Models that keep every rule


@pytest.mark.parametrize(("cls", "data"), [(GAN, SMALL), (CGAN, SMALL), (Tiny, None), (Plain, None)])
def test_a_good_model_passes(cls: type[ganzoo.GAN], data: DataSpec | None):
    verdicts = {v.rule: v.status for v in check_gan(cls, data)}
    assert set(verdicts) == {rule.name for rule in RULES}
    assert {rule for rule, status in verdicts.items() if status == "skipped"} <= {"condition", "pictures", "source"}
    assert (verdicts["condition"] == "passed") == cls.conditional


def test_condition_vectors_and_images_of_any_shape_are_checked_too():
    check_gan(Tiny, TAGS)


@pytest.mark.parametrize("cls", [Plain, CGAN], ids=lambda cls: cls.__name__)
def test_batches_of_any_size_are_halved(cls: type[ganzoo.GAN]):
    for size, status in ((7, "passed"), (2, "passed")):
        found = {v.rule: v.status for v in examine(cls, SMALL, {"batch_size": size})}
        assert found["halves"] == status


def test_options_reach_the_model():
    check_gan(CGAN, SMALL, {"network": "paper", "optimizer": "sgd", "lr": 0.1})


def test_the_callers_random_numbers_go_on_where_data_is_chosen_for_a_model():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    examine(OfPointsAlone)
    assert torch.equal(torch.rand(3), expected)


def test_the_callers_random_numbers_go_on_as_if_nothing_had_been_drawn():
    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]
    examine(Tiny, SMALL)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == [random.getstate(), np.random.get_state()[1].tolist()]


def test_one_thread_is_used_and_the_callers_are_put_back():
    seen = []

    class Looks(Tiny):
        def __init__(self, data, options):
            seen.append(torch.get_num_threads())
            super().__init__(data, options)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        examine(Looks, SMALL)
        assert (set(seen), torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_what_is_looked_at_next_is_told_rule_by_rule():
    told = []
    examine(Tiny, [SMALL, TAGS], told=lambda what, share: told.append((what, share)))
    assert [what for what, _ in told] == [f"{rule.name} [{data.name}]" for data in (SMALL, TAGS) for rule in RULES]
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[len(RULES)]) == (0, 0.5)


class PowersOfTwo(Tiny):
    """Takes images of sides that are powers of two alone, and bounds them where they are drawn."""

    def __init__(self, data, options):
        sides = data.shape[1:]
        if any(side & (side - 1) for side in sides):
            raise UsageError(f"sides must be powers of two, not {sides}")
        super().__init__(data, options)

    def generate(self, z, y):
        x = 3 * super().generate(z, y)
        return x if self.training else x.clamp(-1, 1)


class NoSize(Tiny):
    """Takes no image."""

    def __init__(self, data, options):
        raise UsageError("no such images")


def test_a_model_that_takes_powers_of_two_alone_is_checked_on_these_and_may_be_unbounded_in_training():
    verdicts = {v.rule: v.status for v in check_gan(PowersOfTwo)}
    assert (verdicts["builds"], verdicts["samples"], verdicts["recorded"]) == ("passed", "passed", "passed")
    with pytest.raises(Broken, match="powers of two"):  # Asked for by name.
        check_gan(PowersOfTwo, DataSpec("odd", (1, 28, 28), 24, ("a", "b")))


def test_a_model_that_takes_no_size_is_broken():
    assert "no such images" in broken(NoSize, None)["builds"]


# Models that break one


class Unexplained(Tiny):
    """An option without a word."""

    class Options(Tiny.Options):
        width: int = 3


class UnexplainedSampling(Tiny):
    """An option of drawing without a word."""

    class Sampling(ganzoo.Sampling):
        truncation: float = 1.0


class OutOfBounds(Tiny):
    """A default of an option of drawing that the option does not take."""

    class Sampling(ganzoo.Sampling):
        truncation: float = Field(2.0, ge=0, le=1, description="psi")


class UnknownPreset(Tiny):
    """A preset with an option that is not there."""

    presets = {"wide": {"width": 9}}


class Undocumented(Tiny):
    pass


class OwnSteps(Tiny):
    """An option that every run has."""

    class Options(Tiny.Options):
        steps: int = Field(3, description="Steps of something else.")


class OwnFolder(Tiny):
    """An option that the command has."""

    class Options(Tiny.Options):
        out: int = Field(3, description="What goes out.")


class OwnSeed(Tiny):
    """An option of drawing that every command which draws has."""

    class Sampling(ganzoo.Sampling):
        seed: int = Field(3, description="A seed of something else.")


class Raises(Tiny):
    """Cannot be made."""

    def __init__(self, data, options):
        super().__init__(data, options)
        raise ValueError("no such\nnetwork")


class Leaves(Tiny):
    """Takes the whole program with it."""

    def __init__(self, data, options):
        raise SystemExit("bye")


class OneNetwork(ganzoo.GAN):
    """Forgets the discriminator."""

    name, paper = "one-network", "none"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = nn.Linear(1, 1)


class Homeless(Tiny):
    """A head that no player moves."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.head = nn.Linear(3, 3)


class Shared(Tiny):
    """A layer that both players move."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.condition = self.discriminator.condition


class Frozen(Tiny):
    """A parameter that must not move."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.layers[0].bias.requires_grad_(False)


class TooBright(Tiny):
    """Samples beyond 1."""

    def generate(self, z, y):
        return 3 * super().generate(z, y)


class Unbounded(Tiny):
    """Samples near 0 while the weights are as they begin, and of any range later."""

    def generate(self, z, y):
        return 0.05 * self.generator.layers[0].weight.norm() * super().generate(z, y)


class DrawnTogether(Tiny):
    """Samples that are told apart from those beside them, where they are drawn too."""

    batch_statistics = True

    def generate(self, z, y):
        x = super().generate(z, y)
        return (x - x.mean(0)) / 2


class ChangesLatents(Tiny):
    """Draws from latents that it has changed in place."""

    def generate(self, z, y):
        return super().generate(z.mul_(0.7), y)


class Flat(Tiny):
    """Samples of another shape."""

    def generate(self, z, y):
        return super().generate(z, y).flatten(1)


class Cut(Tiny):
    """Fakes without a graph."""

    def generate(self, z, y):
        return super().generate(z, y).detach()


class Unlabelled(Tiny):
    """Fakes without the condition that the model has."""

    def fake_labels(self, real):
        return None

    def generate(self, z, y):
        return super().generate(z, torch.zeros(len(z), dtype=torch.int64, device=z.device))


class NotADict(Tiny):
    """A bare loss."""

    def generator_loss(self, real, fake):
        return super().generator_loss(real, fake)["adversarial"]


class PerSample(Tiny):
    """A loss for each sample."""

    def generator_loss(self, real, fake):
        return {"adversarial": -self.discriminate(fake)}


class Infinite(Tiny):
    """log(0)."""

    def generator_loss(self, real, fake):
        return {"adversarial": self.discriminate(fake).mean().mul(0).log()}


class LossRaises(Tiny):
    """A loss with a mistake in it."""

    def generator_loss(self, real, fake):
        return {"adversarial": losses.no_such_loss(fake)}  # LossRaises


class Meddles(Tiny):
    """Changes the generator in the discriminator's turn."""

    def discriminator_loss(self, real, fake):
        if self.training:
            self.generator.layers[0].weight.data.mul_(0.9)
        return super().discriminator_loss(real, fake)


class Resting(Tiny):
    """A discriminator that never moves."""

    def optimizer(self, player):
        return Adam(0.0) if player == "discriminator" else super().optimizer(player)


class Backward(Tiny):
    """Does the trainer's work."""

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        if self.training and terms["adversarial"].device.type == "cpu":
            terms["adversarial"].backward(retain_graph=True)
        return terms


class Unused(Tiny):
    """A layer that nothing uses."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.spare = nn.Linear(3, 3)


class Unseeded(Tiny):
    """Starts from the machine's entropy."""

    def __init__(self, data, options):
        super().__init__(data, options)
        chance = torch.Generator()
        chance.manual_seed(int.from_bytes(os.urandom(7), "big"))
        nn.init.normal_(self.generator.layers[0].weight, generator=chance)


class Reseeded(Tiny):
    """Starts from one seed, whatever the run's is."""

    def __init__(self, data, options):
        torch.manual_seed(0)
        super().__init__(data, options)


class Forgetful(Tiny):
    """What it drew at the start is not in its state."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.scale = 1 + torch.rand(()).item()

    def generator_loss(self, real, fake):
        return {name: self.scale * term for name, term in super().generator_loss(real, fake).items()}


class Counts(Tiny):
    """A count that no checkpoint holds."""

    count = 0

    def generator_loss(self, real, fake):
        self.count += self.training
        return {name: term * (1 + self.count) for name, term in super().generator_loss(real, fake).items()}


class CountsInItsState(Tiny):
    """The same, kept in checkpoints: only a recording has it stand still."""

    count = 0

    def get_extra_state(self):
        return self.count

    def set_extra_state(self, state):
        self.count = state

    def generator_loss(self, real, fake):
        self.count += self.training
        return {name: term * (1 + self.count) for name, term in super().generator_loss(real, fake).items()}


class SavesNoMapping(Tiny):
    """Its latents go through a network that nothing keeps."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.mapping = nn.Linear(options.latent_dim, options.latent_dim)

    def players(self):
        return super().players() | {"generator": nn.ModuleList([self.generator, self.mapping])}

    def generate(self, z, y, source=None):
        return super().generate(self.mapping(z), y)


class Scaled(Tiny):
    """A number that nothing learns is no fault, wherever it stands."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("scale", torch.tensor(2.0))

    def generate(self, z, y, source=None):
        return super().generate(z * self.scale, y)


class ChangesReals(Tiny):
    """Its loss cuts off the real images that the next turn sees."""

    def discriminator_loss(self, real, fake):
        return super().discriminator_loss(real._replace(x=real.x.clamp_(-0.5, 0.5)), fake)


class Holds(Tiny):
    """A second way to the generator."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.drawers = [self.generator]

    def generate(self, z, y):
        return self.drawers[0](z, y)


class Deaf(Tiny):
    """A generator that does not hear the condition."""

    def generate(self, z, y):
        return super().generate(z, y * 0)


class DeafJudge(Tiny):
    """A discriminator that does not."""

    def discriminate(self, *batches):
        return super().discriminate(*(b._replace(y=b.y * 0) for b in batches))


class Sums(Tiny):
    """A sum over the batch."""

    def generator_loss(self, real, fake):
        return {"adversarial": -self.discriminate(fake).sum()}


class Spread(nn.Module):
    """Adds the batch's deviation: statistics that it does not declare."""

    def forward(self, x):
        return x + x.std(0)


class Hidden(Tiny):
    """Batch statistics that are not declared."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.discriminator.layers.insert(1, Spread())


class ByHand(nn.Module):
    """Batch normalisation written by hand, in training only."""

    def forward(self, x):
        return (x - x.mean(0)) / x.std(0).clamp(min=0.1) if self.training else x


class HiddenInTraining(Tiny):
    """Batch statistics that are not declared, and not there in evaluation."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.discriminator.layers.insert(1, ByHand())


class HiddenInTheGenerator(Tiny):
    """The same in the other player."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.layers.insert(1, ByHand())


class SumsInTraining(Tiny):
    """A sum over the batch, in training only."""

    def generator_loss(self, real, fake):
        logits = self.discriminate(fake)
        return {"adversarial": -(logits.sum() if self.training else logits.mean())}


class SumsWithNoise(Tiny):
    """A sum over the batch, behind a random number."""

    def generator_loss(self, real, fake):
        return {"adversarial": -(self.discriminate(fake) * torch.rand(1, device=self.device)).sum()}


class SumsPenalty(Tiny):
    """A gradient penalty that is a sum over the batch."""

    def discriminator_loss(self, real, fake):
        mix = torch.rand(len(real.x), 1, 1, 1, device=self.device)
        x = (mix * real.x + (1 - mix) * fake.x).requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(x, real.y).sum(), x, create_graph=True)
        return super().discriminator_loss(real, fake) | {"penalty": (slope.flatten(1).norm(2, 1) - 1).square().sum()}


class DrawsAgain(Tiny):
    """Runs the generator in the discriminator's turn too."""

    def discriminator_loss(self, real, fake):
        again = fake._replace(x=self.generate(fake.z, fake.y).detach())
        return super().discriminator_loss(real, again)


class FromList(Tiny):
    """A constant from Python's numbers at every step."""

    def discriminator_loss(self, real, fake):
        weight = torch.tensor([0.5], device=self.device)  # FromList
        return {name: term * weight.sum() for name, term in super().discriminator_loss(real, fake).items()}


class FromNumpy(Tiny):
    """And from numpy's."""

    def discriminator_loss(self, real, fake):
        weight = torch.from_numpy(np.ones(1, dtype=np.float32)).to(self.device)  # FromNumpy
        return {name: term * weight.sum() for name, term in super().discriminator_loss(real, fake).items()}


class NewTensor(Tiny):
    """And after another tensor."""

    def generator_loss(self, real, fake):
        weight = real.x.new_tensor([0.5])  # NewTensor
        return {name: term * weight.sum() for name, term in super().generator_loss(real, fake).items()}


class Item(Tiny):
    """Reads a value."""

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        self.last = terms["adversarial"].item()  # Item
        return terms


class Branches(Tiny):
    """Branches on a value."""

    def generator_loss(self, real, fake):
        terms = super().generator_loss(real, fake)
        return terms if terms["adversarial"] > -1e9 else {}  # Branches


class Cpu(Tiny):
    """Brings a tensor to the host."""

    def discriminator_loss(self, real, fake):
        self.last = real.x.mean().cpu()  # Cpu
        return super().discriminator_loss(real, fake)


class ToCpu(Tiny):
    """The same by another name."""

    def discriminator_loss(self, real, fake):
        self.last = real.x.mean().to(device="cpu")  # ToCpu
        return super().discriminator_loss(real, fake)


class Numpy(Tiny):
    """And by another."""

    def discriminator_loss(self, real, fake):
        self.last = real.x.mean().numpy()  # Numpy
        return super().discriminator_loss(real, fake)


class Picks(Tiny):
    """A shape that follows from values."""

    def discriminator_loss(self, real, fake):
        bright = real.x[real.x > -2].mean()  # Picks
        return {name: term + 0 * bright for name, term in super().discriminator_loss(real, fake).items()}


class Elsewhere(Tiny):
    """Noise on the CPU, wherever the model is."""

    def discriminator_loss(self, real, fake):
        noisy = real._replace(x=real.x + 0 * torch.zeros(real.x.shape))  # Elsewhere
        return super().discriminator_loss(noisy, fake)


class NumpyNoise(Tiny):
    """Draws from numpy."""

    def generator_loss(self, real, fake):
        return {name: term * np.random.rand() for name, term in super().generator_loss(real, fake).items()}


class PythonNoise(Tiny):
    """Starts from Python's numbers."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.layers[0].weight.data.mul_(random.random())


class Helped(Tiny):
    """A third player, saved, with turns of its own, and a lazy term: keeps every rule."""

    saved = ("generator", "helper")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.helper = nn.Linear(self.data.pixels, options.latent_dim)

    def players(self):
        return super().players() | {"helper": self.helper}

    def turns(self):
        return [
            *super().turns(),
            Turn("helper", self.helper_loss, repeat=2),
            Turn("discriminator", self.r1_loss, every=3, fresh=True),
        ]

    def helper_loss(self, real, fake):
        return {"latent": (self.helper(fake.x.flatten(1)) - fake.z).square().mean()}

    def r1_loss(self, real, fake):
        x = real.x.detach().requires_grad_()
        return {"penalty": losses.zero_centred_penalties((x, self.discriminator(x, real.y)))[0]}

    def pictures(self, examples):
        code = self.helper(examples.x.flatten(1))
        return {"original": examples.x, "again": self.generate(code, examples.y)}


class Idle(Helped):
    """Nobody moves the helper."""

    def turns(self):
        return Tiny.turns(self)


class Stranger(Tiny):
    """A turn of nobody."""

    def turns(self):
        return [*super().turns(), Turn("critic", self.discriminator_loss)]


class Never(Tiny):
    """A turn that is never due."""

    def turns(self):
        return [super().turns()[0], Turn("generator", self.generator_loss, every=0)]


class Twice(Tiny):
    """Two turns that the log could not tell apart."""

    def turns(self):
        return [*super().turns(), Turn("generator", self.generator_loss)]


class SavesNothing(Tiny):
    """Something to save that is not there."""

    saved = ("generator", "encoder")


class SavesNoGenerator(Tiny):
    """Nothing to sample with."""

    saved = ("discriminator",)


class Resets(Tiny):
    """A clock of its own."""

    def __init__(self, data, options):
        super().__init__(data, options)
        del self.clock
        self.clock = 0


class MeddlesWithAThird(Helped):
    """Changes the helper in the generator's turn."""

    def generator_loss(self, real, fake):
        if self.training:
            self.helper.weight.data.mul_(0.9)
        return super().generator_loss(real, fake)


class RestingThird(Helped):
    """A helper that stays as it is."""

    def optimizer(self, player):
        return Adam(0.0) if player == "helper" else super().optimizer(player)


class UnusedThird(Helped):
    """A layer of the helper that nothing uses."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.helper.spare = nn.Linear(3, 3, bias=False)


class SumsInALazyTurn(Helped):
    """A sum over the batch, in a turn that is rarely due."""

    def r1_loss(self, real, fake):
        return {"penalty": len(real.x) * super().r1_loss(real, fake)["penalty"]}


class ReadsInALazyTurn(Helped):
    """Reads a value, in a turn that is rarely due."""

    def r1_loss(self, real, fake):
        self.last = real.x.mean().item()  # ReadsInALazyTurn
        return super().r1_loss(real, fake)


class HoldsItsEncoder(Helped):
    """A second way to the helper."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.helpers = [self.helper]

    def pictures(self, examples):
        return {"again": self.generate(self.helpers[0](examples.x.flatten(1)), examples.y)}


class TooBrightAPicture(Tiny):
    """Pictures beyond 1."""

    def pictures(self, examples):
        return {"copy": 3 * examples.x}


class TooFewPictures(Tiny):
    """One picture of all examples."""

    def pictures(self, examples):
        return {"first": examples.x[:1]}


class NoPictures(Tiny):
    """Forgets to return them."""

    def pictures(self, examples):
        self.generate(self.sample_latent(len(examples.x)), examples.y)


BREAKERS = {
    Unexplained: ("explained", "option 'width' has no description"),
    UnexplainedSampling: ("explained", "option 'truncation' of Sampling has no description"),
    OutOfBounds: ("explained", "a default of Sampling is none that its option takes: --truncation"),
    UnknownPreset: ("explained", "no option 'width'"),
    Undocumented: ("explained", "class Undocumented has no docstring"),
    OwnSteps: ("names", "OwnSteps.Options.steps has the name of an option of every run"),
    OwnFolder: ("names", "OwnFolder.Options.out has the name of an option of every run"),
    OwnSeed: ("names", "OwnSeed.Sampling.seed has the name of an option of `ganzoo sample`, `eval` or `demo`"),
    Raises: ("builds", "ValueError: no such network"),
    Leaves: ("builds", "SystemExit: bye"),
    OneNetwork: ("builds", "does not set self.discriminator"),
    Homeless: ("builds", "head.weight belongs to no player"),
    Shared: ("builds", "belongs to the discriminator and to the generator"),
    Frozen: ("builds", "layers.0.bias of the generator has requires_grad False"),
    TooBright: ("samples", "beyond -1 to 1"),
    Unbounded: ("samples", "with weights as training may make them, samples run from"),
    DrawnTogether: ("samples", "in evaluation mode a sample depends on those that are drawn beside it"),
    Flat: ("samples", "float32 (8, 64), not float (8, 1, 8, 8)"),
    Cut: ("samples", "carry no gradient"),
    Unlabelled: ("samples", "fakes have no conditions, and real samples have some"),
    NotADict: ("terms", "generator_loss returns Tensor, not a dict"),
    PerSample: ("terms", "term 'adversarial' of generator_loss is float32 (8, 1), not a 0-dimensional float tensor"),
    Infinite: ("terms", "term 'adversarial' of generator_loss is -inf"),
    LossRaises: ("terms", "has no attribute 'no_such_loss', at test_testing.py:"),
    Meddles: ("turns", "layers.0.weight of the generator changes in the discriminator's turn"),
    DrawsAgain: ("turns", "layers.1.running_mean of the generator, a buffer, changes in the discriminator's turn"),
    Resting: ("turns", "the discriminator does not move"),
    Backward: ("turns", "discriminator_loss computes gradients itself"),
    Unused: ("gradients", "spare.weight and 1 more of the generator gets no gradient"),
    Unseeded: ("seed", "two models built from one seed differ in generator.layers.0.weight"),
    Reseeded: ("seed", "__init__ sets the seed of torch's random numbers, so that --seed decides nothing"),
    Forgetful: ("state", "the next steps differ in generator."),
    Counts: ("resume", "some steps after a resume, "),
    CountsInItsState: ("recorded", "self.count changes from step to step in Python"),
    Idle: ("players", "the helper never moves, for no turn is its own"),
    Stranger: ("players", "a Turn is for player 'critic', whom players() does not name"),
    Never: ("players", "Turn 'generator' has every=0"),
    Twice: ("players", "two turns are named 'generator'"),
    SavesNothing: ("players", "saved names 'encoder', and __init__ sets no module self.encoder"),
    SavesNoGenerator: ("players", "saved is ('discriminator',): 'generator' comes first"),
    Resets: ("builds", "self.clock is 0: it is where the trainer says how far training is"),
    MeddlesWithAThird: ("turns", "weight of the helper changes in the generator's turn"),
    RestingThird: ("turns", "the helper does not move in its turn"),
    UnusedThird: ("gradients", "spare.weight of the helper gets no gradient from helper_loss"),
    SumsInALazyTurn: ("halves", "the discriminator's gradient in turn 'r1' differs by"),
    ReadsInALazyTurn: ("host", "x.mean().item()  # ReadsInALazyTurn"),
    HoldsItsEncoder: ("average", "pictures() draws the same when self.helper is another network"),
    TooBrightAPicture: ("pictures", "'copy' of pictures() runs from"),
    TooFewPictures: ("pictures", "'first' of pictures() is float32 (1, 1, 8, 8), not float (5, C, H, W)"),
    NoPictures: ("pictures", "pictures() returns NoneType, not a dict of images by name"),
    SavesNoMapping: ("average", "generate() uses self.mapping.weight, and `saved` names nothing that holds it"),
    ChangesReals: ("turns", "discriminator_loss changes real.x in place"),
    Holds: ("average", "the same when self.generator is another network"),
    Deaf: ("condition", "the generator draws the same"),
    DeafJudge: ("condition", "the discriminator's loss is the same"),
    Sums: ("halves", "the generator's gradient differs by 50.0%"),
    Hidden: ("halves", "gradient differs by"),
    HiddenInTraining: ("halves", "gradient differs by"),
    HiddenInTheGenerator: ("halves", "gradient differs by"),
    SumsInTraining: ("halves", "the generator's gradient differs by 50.0%"),
    SumsWithNoise: ("halves", "the generator's gradient differs by 50.0%"),
    SumsPenalty: ("halves", "the discriminator's gradient differs by"),
    Item: ("host", 'terms["adversarial"].item()  # Item'),
    Branches: ("host", 'return terms if terms["adversarial"] > -1e9 else {}  # Branches'),
    Cpu: ("host", ".cpu() at test_testing.py:"),
    ToCpu: ("host", ".to() at test_testing.py:"),
    Numpy: ("host", ".numpy() at test_testing.py:"),
    FromList: ("host", "torch.tensor() copies from the host at test_testing.py:"),
    FromNumpy: ("host", ".to() copies from the host at test_testing.py:"),
    NewTensor: ("host", ".new_tensor() copies from the host at test_testing.py:"),
    Picks: ("shapes", "bright = real.x[real.x > -2].mean()  # Picks"),
    Elsewhere: ("device", "# Elsewhere"),
    NumpyNoise: ("random", "steps draw random numbers that are not torch's"),
    PythonNoise: ("random", "generator.layers.0.weight starts from random numbers that are not torch's"),
}


@pytest.mark.parametrize("cls", BREAKERS, ids=lambda cls: cls.__name__)
def test_a_model_that_breaks_one_rule_is_told_which_and_no_other(cls: type[ganzoo.GAN]):
    rule, reason = BREAKERS[cls]
    found = broken(cls)
    # What Python counts or draws breaks a rule of its own, and stands still in a recording besides.
    assert [name for name in found if name != "recorded" or rule == "recorded"] == [rule], found
    assert reason in found[rule]
    assert "\n" not in found[rule]


class OfLargeImages(Tiny):
    """Refuses all sizes that are tried, and vectors by mistake."""

    def __init__(self, data, options):
        _, height, _ = data.shape
        if height < 256:
            raise UsageError(f"images of 256 pixels and more, not {height}")
        super().__init__(data, options)


def test_a_model_that_takes_no_size_that_is_tried_is_told_its_own_reason():
    assert "images of 256 pixels and more, not 28" in broken(OfLargeImages, None)["builds"]


class ByADistribution(Tiny):
    """Draws from a distribution that has no such parameters as weights far from their start give."""

    def generate(self, z, y):
        x = super().generate(z, y)
        scale = torch.where(self.generator.layers[0].weight.abs().max() > 5, torch.nan, 1.0)
        return torch.distributions.Normal(x, scale).mean


def test_weights_far_from_their_start_break_no_other_rule_than_that_of_range():
    assert "samples" not in broken(ByADistribution)


def test_latents_that_are_changed_in_place_are_told_as_such():
    assert broken(ChangesLatents)["samples"].startswith("generate() changes z in place")


def test_every_rule_has_a_model_that_breaks_it():
    assert {rule for rule, _ in BREAKERS.values()} | {"source"} == {rule.name for rule in RULES}
    assert "source" in broken(BlindTranslator, PAIRS)


def fix_of(name: str) -> str:
    return next(rule.fix for rule in RULES if rule.name == name)


def test_the_fix_for_an_idle_player_is_a_turn_or_another_player_for_its_module():
    assert "add a Turn for each player of players() to turns(), or let another player hold its module" in fix_of(
        "players"
    )


# What a recording would miss: mostly what a few steps do not show


class EveryNow(Tiny):
    """A penalty every 64th step."""

    steps = 0

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        self.steps += 1
        return {name: term * (2 if self.steps % 64 == 0 else 1) for name, term in terms.items()}


class BeginsLate(Tiny):
    """A penalty from step 41 on."""

    steps = 0

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        self.steps += 1
        return {name: term * (2 if self.steps > 40 else 1) for name, term in terms.items()}


class LazyByCount(Tiny):
    """R1 every 16th step, by a counter."""

    steps = 0

    def discriminator_loss(self, real, fake):
        self.steps += 1
        terms = super().discriminator_loss(real, fake)
        if self.steps % 16 == 0:
            x = real.x.detach().requires_grad_()
            (penalty,) = losses.zero_centred_penalties((x, self.discriminator(x, real.y)))
            terms["adversarial"] = terms["adversarial"] + penalty
        return terms


class Pool(Tiny):
    """Past fakes in a list."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.past = []

    def discriminator_loss(self, real, fake):
        self.past.append(fake)
        return super().discriminator_loss(real, self.past[0] if len(self.past) > 50 else fake)


class RareByPython(Tiny):
    """A branch that is taken once in fifty steps."""

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        return {name: term * (2 if random.random() < 0.02 else 1) for name, term in terms.items()}


class RareByNumpy(Tiny):
    """The same with numpy's numbers."""

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        return {name: term * (2 if np.random.rand() < 0.02 else 1) for name, term in terms.items()}


class OfOneClass(Tiny):
    """A loss on the samples of one class."""

    def generator_loss(self, real, fake):
        return {"adversarial": -self.discriminate(fake)[fake.y == 0].mean()}


class AnotherTerm(Tiny):
    """A term more from step to step."""

    def generator_loss(self, real, fake):
        self.more = not getattr(self, "more", False)
        terms = super().generator_loss(real, fake)
        return terms | {"again": terms["adversarial"]} if self.more else terms


class AssignedBuffer(Tiny):
    """A running value that is replaced."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("w_avg", torch.zeros(options.latent_dim))

    def generate(self, z, y):
        if self.training:
            self.w_avg = self.w_avg.lerp(z.mean(0), 0.1)
        return super().generate(z + self.w_avg, y)


class AssignedData(Tiny):
    """Weights that are replaced."""

    def after_discriminator_step(self):
        for parameter in self.discriminator.parameters():
            parameter.data = parameter.data.clamp(-0.1, 0.1)


@pytest.mark.parametrize(
    ("cls", "reason", "way"),
    [
        (EveryNow, "self.steps changes from step to step in Python", "Turn(..., every=k)"),
        (BeginsLate, "self.steps changes from step to step in Python", "self.clock"),
        (LazyByCount, "self.steps changes from step to step in Python", "Turn(..., every=k)"),
        (Pool, "self.past", "past fakes in buffers (register_buffer), changed in place"),
        (RareByPython, "Python's random changes from step to step", "draw with torch"),
        (RareByNumpy, "numpy's random changes from step to step", "draw with torch"),
        (OfOneClass, "the shape of what aten.index.Tensor gives follows from values", "masks instead of boolean"),
        (AnotherTerm, "self.more changes from step to step in Python", "return the same terms every time"),
        (AssignedBuffer, "self.w_avg changes from step to step in Python", "changed in place"),
        (AssignedData, "changes from step to step in Python", "changed in place"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_a_recording_would_miss_is_found_and_the_fix_names_the_right_way(cls, reason, way):
    found = {v.rule: v for v in examine(cls, SMALL) if v.status == "broken"}
    assert found["recorded"].reason.startswith(reason) or reason in found["recorded"].reason
    assert way in found["recorded"].fix


# From images to images, and vectors

PAIRS = DataSpec("pairs", (1, 8, 8), 24, ("a", "b", "c"), source_shape=(3, 8, 8))
UNPAIRED = DataSpec("unpaired", (1, 8, 8), 24, source_shape=(3, 8, 8), paired=False)


class Redrawn(Tiny):
    """Each sample from its source; the discriminator sees both."""

    conditional, translates = False, True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = FromSource(self.data)
        self.discriminator.layers[0] = nn.Linear(self.data.pixels + 3 * 64, 32)

    def judge(self, batch):
        return self.discriminator(torch.cat([batch.x.flatten(1), batch.source.flatten(1)], dim=1), None)


class FromSource(nn.Module):
    """A linear map of the pixels."""

    def __init__(self, data):
        super().__init__()
        pixels = data.source_shape[0] * data.source_shape[1] * data.source_shape[2]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, data.pixels), nn.Tanh())
        self.shape = data.shape

    def forward(self, source, y):
        return self.layers(source).unflatten(1, self.shape)


class BlindTranslator(Redrawn):
    """Makes the same of every source."""

    def generate(self, z, y, source):
        return super().generate(z, y, source * 0)


class PairsOnly(Redrawn):
    """Needs pairs."""

    def __init__(self, data, options):
        if not data.paired:
            raise UsageError("model 'pairs-only' needs pairs")
        super().__init__(data, options)


class RefusesAll(Redrawn):
    """Takes nothing."""

    def __init__(self, data, options):
        raise UsageError("nothing is good enough")


class MakesDoWithoutSources(Redrawn):
    """Hides from the contract that the data has no sources."""

    def __init__(self, data, options):
        super().__init__(replace(data, source_shape=data.source_shape or (3, 8, 8)), options)


def test_a_model_that_translates_is_checked_on_pairs_on_unpaired_data_and_refuses_what_has_no_sources():
    verdicts = {v.rule: v for v in check_gan(Redrawn, [PAIRS, UNPAIRED, SMALL])}
    assert (verdicts["source"].status, verdicts["pictures"].status) == ("passed", "passed")
    refused = {v.rule: v.status for v in examine(Redrawn, SMALL)}
    assert refused["builds"] == "broken"  # It refused all there was.


def test_a_model_may_need_pairs():
    check_gan(PairsOnly, [PAIRS, UNPAIRED])


def test_a_model_that_translates_is_checked_on_data_with_sources_unless_told_otherwise():
    assert "nothing is good enough" in broken(RefusesAll, None)["builds"]
    reason = broken(MakesDoWithoutSources, SMALL)["builds"]
    assert reason.startswith("the model translates, and builds for data without sources")


def test_a_model_that_makes_the_same_of_every_source_is_told_so():
    data = "pairs: 1 x 8 x 8, 3 conditions, its own source 3 x 8 x 8"
    assert broken(BlindTranslator, PAIRS) == {"source": f"the generator makes the same whatever the source [{data}]"}


class OfPoints(ganzoo.GAN):
    """Points in the plane."""

    name, paper = "of-points", "none"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Joined(options.latent_dim, data.pixels)
        self.discriminator = Joined(data.pixels, 1)

    def discriminator_loss(self, real, fake):
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real, fake):
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}


class Joined(nn.Module):
    """Two layers that take no condition."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))

    def forward(self, x, y):
        return 9 * self.layers(x)


def test_vectors_are_checked_too_and_may_have_any_range():
    verdicts = {v.rule: v.status for v in check_gan(OfPoints, DataSpec("points", (2,), 24))}
    assert {verdicts[rule] for rule in ("samples", "turns", "halves", "recorded")} == {"passed"}


class OfPointsAlone(OfPoints):
    """Refuses images."""

    name = "of-points-alone"

    def __init__(self, data, options):
        if data.is_images:
            raise UsageError("this model is for points in the plane")
        super().__init__(data, options)


def test_a_model_that_is_for_points_alone_is_checked_on_points():
    verdicts = {v.rule: v.status for v in check_gan(OfPointsAlone)}
    assert {verdicts[rule] for rule in ("builds", "samples", "turns")} == {"passed"}


# Turns


def test_a_third_player_with_lazy_repeated_and_fresh_turns_passes():
    verdicts = {v.rule: v.status for v in check_gan(Helped, SMALL)}
    assert set(verdicts.values()) == {"passed", "skipped"}
    assert {rule for rule, status in verdicts.items() if status == "skipped"} == {"source"}


class ByTheClock(Tiny):
    """Terms that follow the step and the budget, and a running value in a buffer."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("level", torch.zeros(()))

    def discriminator_loss(self, real, fake):
        terms = super().discriminator_loss(real, fake)
        self.level.lerp_(terms["adversarial"].detach(), 0.1)
        late = (self.clock.step >= 2) * (1 + self.clock.fraction) + self.clock.images * 1e-6
        return {"adversarial": terms["adversarial"] * (1 + late)}


def test_the_clock_and_running_values_in_buffers_are_right_in_recorded_steps():
    check_gan(ByTheClock, SMALL)


class Of010(ganzoo.GAN):
    """As the docs of version 0.1.0 had it: two losses, and whatever could be overridden."""

    name, paper, conditional = "of-010", "none", True

    class Options(ganzoo.Options):
        clip: float = Field(0.1, gt=0, description="Weights are clipped to this.")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = MLPGenerator(self.data, options.latent_dim, [16])
        self.discriminator = MLPDiscriminator(self.data, [16])

    def players(self):
        return {"discriminator": self.discriminator, "generator": nn.ModuleList([self.generator])}

    def sample_latent(self, n):
        return torch.rand(n, self.options.latent_dim, device=self.device)

    def sample_labels(self, n):
        return torch.randint(len(self.data.classes), (n,), device=self.device)

    def fake_labels(self, real):
        return real.y

    def generate(self, z, y):
        return self.generator(z, y)

    def optimizer(self, player):
        return RMSprop(5e-5)

    def discriminator_loss(self, real, fake):
        return {"critic": losses.wasserstein_critic(*self.discriminate(real, fake))}

    def generator_loss(self, real, fake):
        self.watch("spread", fake.x.std(0).mean())
        return {"adversarial": losses.wasserstein_generator(self.discriminate(fake))}

    def after_discriminator_step(self):
        for parameter in self.discriminator.parameters():
            parameter.clamp_(-self.options.clip, self.options.clip)

    def score(self, logits):
        return losses.raw(logits)


def test_a_plugin_written_for_version_0_1_0_passes():
    check_gan(Of010, SMALL, {"n_critic": 3})


def test_a_model_whose_samples_are_scaled_by_a_constant_passes():
    check_gan(Scaled, SMALL)


def test_the_line_that_reads_a_value_is_given():
    place = broken(Item)["host"].split(" at ")[1]
    line = int(place.split(":")[1])
    assert Path(__file__).read_text().splitlines()[line - 1].endswith("# Item")


# What is no fault


class Penalised(Tiny):
    """A gradient penalty: double backward, and random numbers in the loss."""

    def discriminator_loss(self, real, fake):
        mix = torch.rand(len(real.x), 1, 1, 1, device=self.device)
        x = (mix * real.x + (1 - mix) * fake.x).requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(x, real.y).sum(), x, create_graph=True)
        return super().discriminator_loss(real, fake) | {"penalty": (slope.flatten(1).norm(2, 1) - 1).square().mean()}


class Noisy(Tiny):
    """Draws of every kind, one for each sample or not, in both turns and in the generator."""

    def generate(self, z, y):
        return (super().generate(z, y) + 0.1 * torch.randn_like(z).mean(1)[:, None, None, None]).clamp(-1, 1)

    def generator_loss(self, real, fake):
        x = nn.functional.dropout(fake.x, 0.1, self.training) * torch.empty_like(fake.x).uniform_(0.9, 1)
        x = x[torch.randperm(len(x), device=x.device)] if fake.y is None else x
        flip = torch.randint(2, (len(x), 1), device=x.device)
        return {"adversarial": -(self.discriminate(fake._replace(x=x)) * (1 + flip)).mean()}


class Bernoulli(Tiny):
    """A draw whose odds are the sample's own."""

    def generator_loss(self, real, fake):
        logits = self.discriminate(fake)
        return {"adversarial": -(logits * (1 + torch.bernoulli(logits.detach().sigmoid()))).mean()}


class Clipped(Tiny):
    """Weights clipped where they may be."""

    def after_discriminator_step(self):
        for parameter in self.discriminator.parameters():
            parameter.clamp_(-0.1, 0.1)


class SilentAtFirst(Tiny):
    """A condition that starts without weight, as zero-initialised layers do."""

    def __init__(self, data, options):
        super().__init__(data, options)
        for network in (self.generator, self.discriminator):
            nn.init.zeros_(network.condition.embed.weight)


class Declared(Tiny):
    """Batch statistics that are declared."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.discriminator.layers.insert(1, Spread())
        self.discriminator.layers[1].batch_statistics = True


class Normalised(Tiny):
    """Spectral norms, and statistics of the batch as torch has them."""

    def __init__(self, data, options):
        super().__init__(data, options)
        nn.utils.parametrizations.spectral_norm(self.discriminator.layers[0])
        self.discriminator.layers.insert(1, nn.BatchNorm1d(32))


class ByTheDiscriminatorsClasses(Tiny):
    """As the auxiliary classifier has it: the discriminator hears of the condition through its loss alone."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.discriminator = copy.deepcopy(self.discriminator)
        self.discriminator.condition = Condition(data.without_labels(), 4)
        self.discriminator.layers[0] = nn.Linear(data.pixels, 32)
        self.discriminator.layers[-1] = nn.Linear(32, 1 + len(data.classes))

    def discriminator_loss(self, real, fake):
        on_real, on_fake = self.discriminate(real, fake)
        return {
            "adversarial": losses.hinge_discriminator(on_real[:, 0], on_fake[:, 0]),
            "classes": nn.functional.cross_entropy(on_real[:, 1:], real.y),
        }

    def generator_loss(self, real, fake):
        logits = self.discriminate(fake)
        return {
            "adversarial": losses.hinge_generator(logits[:, 0]),
            "classes": nn.functional.cross_entropy(logits[:, 1:], fake.y),
        }


class ByOption(Tiny):
    """Conditional where it is asked to be."""

    conditional = False

    class Options(Tiny.Options):
        classes: bool = Field(False, description="Use the labels.")

    @classmethod
    def uses_labels(cls, data, options):
        return options.classes


@pytest.mark.parametrize(
    "cls",
    [Penalised, Noisy, Bernoulli, Clipped, SilentAtFirst, Declared, Normalised, ByTheDiscriminatorsClasses],
    ids=lambda cls: cls.__name__,
)
def test_what_papers_do_passes(cls: type[ganzoo.GAN]):
    check_gan(cls, SMALL)


NOT_SHOWN = {"pictures", "source"}
"""Rules that have nothing to say about models that make images from latents and show no others."""


def test_what_cannot_be_judged_is_skipped_with_the_reason():
    skipped = {
        cls: {v.rule: v.reason for v in examine(cls, SMALL) if v.status == "skipped" and v.rule not in NOT_SHOWN}
        for cls in (Bernoulli, Declared, Plain)
    }
    assert skipped == {
        Bernoulli: {"halves": "the step draws by bernoulli(), from a distribution of its own for each sample"},
        Declared: {"halves": "the model declares batch statistics"},
        Plain: {"condition": "the model is unconditional"},
    }


def test_a_model_that_is_conditional_by_option_is_checked_both_ways():
    unconditional = {v.rule: v.status for v in check_gan(ByOption)}
    conditional = {v.rule: v.status for v in check_gan(ByOption, options={"classes": True})}
    assert (unconditional["condition"], conditional["condition"]) == ("skipped", "passed")


def test_a_failure_names_rule_reason_and_fix():
    with pytest.raises(Broken) as error:
        check_gan(Sums, SMALL)
    text = str(error.value)
    assert "Sums breaks 1 of" in text
    assert "halves: " in text
    assert "why: the generator's gradient differs by 50.0%" in text
    assert "[small: 1 x 8 x 8, 3 conditions]" in text
    assert "fix: take means, not sums" in text


def test_the_fix_is_for_the_very_fault_where_a_rule_knows_several():
    class Begins(Sums):
        saved = ("discriminator",)

    found = {v.rule: v for v in examine(Begins, SMALL)}
    assert found["players"].fix == "begin saved with 'generator'"


def test_something_that_is_no_model_is_a_type_error():
    with pytest.raises(TypeError, match=r"a subclass of ganzoo\.GAN"):
        check_gan(nn.Linear)


# The command


def test_check_says_what_was_found(ganzoo):
    result = ganzoo("check", "tiny")
    assert result.code == 0
    lines = result.out.splitlines()
    rules = [line.split()[1] for line in lines[1:] if line.split()[0] in ("ok", "-", "BROKEN")]
    assert rules == [rule.name for rule in RULES]
    assert result.err == ""  # Progress is for terminals.


@pytest.mark.parametrize(("more", "shown"), [((), True), (("--json",), False)])
def test_progress_is_shown_on_a_terminal_and_not_in_json(ganzoo, monkeypatch, more, shown):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    result = ganzoo("check", "tiny", *more)
    assert result.code == 0
    assert ("explained [grey]" in result.err) == shown
    assert "[grey]" not in result.out


def test_check_exits_with_1_and_one_line_when_a_rule_is_broken(ganzoo):
    result = ganzoo("check", "unfinished")
    assert result.code == 1
    assert "Unfinished does not state discriminator_loss" in result.out
    assert result.err.strip() == f"error: model 'unfinished' breaks 1 of {len(RULES)} rules: terms"


def test_check_prints_json_too(ganzoo):
    result = ganzoo("check", "unfinished", "--json")
    assert result.code == 1
    verdicts = {v["rule"]: v for v in json.loads(result.out)["rules"]}
    assert verdicts["samples"]["status"] == "passed"
    assert verdicts["terms"]["status"] == "broken"
    assert verdicts["turns"]["status"] == "skipped"


def test_check_takes_a_preset(ganzoo):
    assert ganzoo("check", "tiny", "--preset", "short").code == 0
    result = ganzoo("check", "tiny", "--preset", "long")
    assert result.code == 2
    assert "did you mean" in result.err or "known: short" in result.err
