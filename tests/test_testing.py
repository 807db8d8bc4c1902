"""The conformance kit, tested with a plugin for each rule that breaks it and keeps all others."""

import copy
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_plugins.cgan import CGAN
from ganzoo_plugins.gan import GAN
from pydantic import Field
from torch import nn

import ganzoo
from ganzoo import losses
from ganzoo.data import Attribute, DataSpec
from ganzoo.kit.rules import RULES
from ganzoo.nets import Condition
from ganzoo.optim import Adam
from ganzoo.testing import Broken, check_gan, examine
from ganzoo_test_plugins import Plain, Tiny

SMALL = DataSpec("small", (1, 8, 8), 24, ("a", "b", "c"))
TAGS = DataSpec("tags", (3, 6, 10), 24, ("a", "b"), (Attribute("tilt", -1, 1),))


def broken(cls: type[ganzoo.GAN], data: DataSpec = SMALL) -> dict[str, str]:
    """The reasons, by rule."""
    return {v.rule: v.reason for v in examine(cls, data) if v.status == "broken"}


# Models that keep every rule


@pytest.mark.parametrize(("cls", "data"), [(GAN, SMALL), (CGAN, SMALL), (Tiny, None), (Plain, None)])
def test_a_good_model_passes(cls: type[ganzoo.GAN], data: DataSpec | None):
    verdicts = {v.rule: v.status for v in check_gan(cls, data)}
    assert set(verdicts) == {rule.name for rule in RULES}
    assert {rule for rule, status in verdicts.items() if status == "skipped"} <= {"condition"}
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


def test_the_callers_random_numbers_go_on_as_if_nothing_had_been_drawn():
    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]
    examine(Tiny, SMALL)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == [random.getstate(), np.random.get_state()[1].tolist()]


# Models that break one


class Unexplained(Tiny):
    """An option without a word."""

    class Options(Tiny.Options):
        width: int = 3


class UnknownPreset(Tiny):
    """A preset with an option that is not there."""

    presets = {"wide": {"width": 9}}


class Undocumented(Tiny):
    pass


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


BREAKERS = {
    Unexplained: ("explained", "option 'width' has no description"),
    UnknownPreset: ("explained", "no option 'width'"),
    Undocumented: ("explained", "class Undocumented has no docstring"),
    Raises: ("builds", "ValueError: no such network"),
    Leaves: ("builds", "SystemExit: bye"),
    OneNetwork: ("builds", "does not set self.discriminator"),
    Homeless: ("builds", "head.weight belongs to no player"),
    Shared: ("builds", "belongs to the discriminator and to the generator"),
    Frozen: ("builds", "layers.0.bias of the generator has requires_grad False"),
    TooBright: ("samples", "beyond -1 to 1"),
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
    Forgetful: ("state", "the next steps differ in generator."),
    Counts: ("resume", "two steps after a resume, "),
    CountsInItsState: ("recorded", "a step is not as the one before: "),
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


def test_every_rule_has_a_model_that_breaks_it():
    assert {rule for rule, _ in BREAKERS.values()} == {rule.name for rule in RULES}


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


def test_what_cannot_be_judged_is_skipped_with_the_reason():
    skipped = {
        cls: {v.rule: v.reason for v in examine(cls, SMALL) if v.status == "skipped"}
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


def test_something_that_is_no_model_is_a_type_error():
    with pytest.raises(TypeError, match=r"a subclass of ganzoo\.GAN"):
        check_gan(nn.Linear)


# The command


def test_check_says_what_was_found(ganzoo):
    result = ganzoo("check", "tiny")
    assert result.code == 0
    lines = result.out.splitlines()
    assert [line.split()[1] for line in lines[1 : len(RULES) + 1]] == [rule.name for rule in RULES]


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
