"""The conformance kit for augmentations and regularisers, with one for each rule that breaks it and no other."""

import json
import random

import pytest
import torch
from ganzoo_plugins.consistency import Consistency
from ganzoo_plugins.diffaugment import DiffAugment
from ganzoo_plugins.gradient_penalties import R1
from ganzoo_plugins.lecam import LeCam
from ganzoo_plugins.topk import TopK
from pydantic import Field

import ganzoo
from ganzoo.data import DataSpec
from ganzoo.errors import UsageError
from ganzoo.kit.ingredient_rules import AUGMENTATION, REGULARISER
from ganzoo.testing import Broken, check_ingredient, examine_ingredient

SMALL = DataSpec("small", (1, 8, 8), 24, ("a", "b", "c"))
COLOUR = DataSpec("colour", (3, 8, 8), 24)


def broken(cls, data=SMALL, **options):
    """The reasons, by rule."""
    return {v.rule: v.reason for v in examine_ingredient(cls, data, options) if v.status == "broken"}


class Shift(ganzoo.Augmentation):
    """Lighter or darker, by a level that follows D."""

    name = "shift"
    summary = "lighter or darker"

    class Options(ganzoo.IngredientOptions):
        most: float = Field(0.5, ge=0, le=2, description="Most that is added.")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("level", torch.ones(()))

    def forward(self, x):
        return x + self.options.most * self.level * torch.rand(len(x), 1, 1, 1, device=x.device)

    def after_discriminator_step(self, real_logits):
        self.level.add_(real_logits.mean().sign() * 0.01)

    def watched(self):
        return {"level": self.level}


class Small(ganzoo.Regulariser):
    """Small logits."""

    name = "small"
    summary = "squared logits"

    class Options(ganzoo.IngredientOptions):
        weight: float = Field(1.0, ge=0, le=10, description="Weight.")
        every: int = Field(2, ge=1, le=4, description="Pace.")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("mean", torch.zeros(()))

    def terms(self, gan, real, fake):
        logits = gan.discriminate(real)
        self.mean.lerp_(logits.detach().mean(), 0.1)
        return {"small": self.every * self.options.weight * logits.square().mean()}


@pytest.mark.parametrize("cls", [Shift, DiffAugment])
def test_a_good_augmentation_passes_all_rules(cls):
    verdicts = check_ingredient(cls, COLOUR)
    assert [(v.rule, v.status) for v in verdicts] == [(rule.name, "passed") for rule in AUGMENTATION]


@pytest.mark.parametrize(
    ("cls", "skipped"), [(Small, set()), (R1, set()), (LeCam, {"lazy"}), (Consistency, {"lazy"}), (TopK, {"lazy"})]
)
def test_a_good_regulariser_passes_all_rules(cls, skipped):
    verdicts = {v.rule: v.status for v in check_ingredient(cls, SMALL)}
    assert list(verdicts) == [rule.name for rule in REGULARISER]
    assert {rule for rule, status in verdicts.items() if status != "passed"} == skipped


def test_options_reach_what_is_checked_and_the_usual_data_are_grey_and_in_colour():
    seen = []

    class Looks(Shift):
        """Looks at what it is made with."""

        def __init__(self, data, options):
            seen.append((data.shape, options.most))
            super().__init__(data, options)

    check_ingredient(Looks, options={"most": 0.25})
    assert {shape for shape, _ in seen} == {(1, 28, 28), (3, 32, 32)}
    assert {most for _, most in seen} == {0.25, 0, 2}


# Augmentations that break one


class Wordless(Shift):
    pass


class Unexplained(Shift):
    """An option without a word."""

    class Options(ganzoo.IngredientOptions):
        most: float = 0.5


class Learned(Shift):
    """A weight that nobody trains."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.weight = torch.nn.Parameter(torch.ones(()))


class Cropped(Shift):
    """A row less."""

    def forward(self, x):
        return super().forward(x)[:, :, 1:]


class InPlace(Shift):
    """The very images that it got."""

    def forward(self, x):
        with torch.no_grad():
            x.mul_(0.5)
        return super().forward(x)


class Rounded(Shift):
    """Whole numbers."""

    def forward(self, x):
        return super().forward(x).round()


class Detached(Shift):
    """No way back."""

    def forward(self, x):
        return super().forward(x).detach()


class Mixing(Shift):
    """An image over the next."""

    def forward(self, x):
        return super().forward((x + x.roll(1, 0)) / 2)


class OneForAll(Shift):
    """One number for a batch."""

    def forward(self, x):
        return x + 0.5 * self.level * torch.rand((), device=x.device)


class MovesInForward(Shift):
    """Real images see another level than fakes."""

    def forward(self, x):
        made = super().forward(x)
        self.level.mul_(0.9)
        return made


class FromLists(Shift):
    """A list that a device does not have."""

    def forward(self, x):
        return super().forward(x) + torch.tensor([0.1], device=x.device)


class Picks(Shift):
    """As many numbers as are bright."""

    def forward(self, x):
        return super().forward(x) + 0.0 * x[x > 0].mean()


class OnTheCpu(Shift):
    """Numbers from elsewhere."""

    def forward(self, x):
        return x + 0.5 * self.level * torch.rand(len(x), 1, 1, 1)


class PythonDraws(Shift):
    """Not torch's numbers."""

    def forward(self, x):
        return super().forward(x) * (1 + 0.01 * random.random())


class PythonCount(Shift):
    """A count that a recording would hold still."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.steps = 0

    def after_discriminator_step(self, real_logits):
        self.steps += 1
        self.level.fill_(1.0 + 0.01 * self.steps)


class Forgets(Shift):
    """A level that a checkpoint does not hold."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("level", torch.ones(()), persistent=False)


class Drawn(Shift):
    """A picture that is drawn anew each time it is made."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("stain", 0.1 * torch.randn(data.shape), persistent=False)

    def forward(self, x):
        return super().forward(x) + self.stain


class Divides(Shift):
    """By zero at one end."""

    def forward(self, x):
        return super().forward(x) / self.options.most


class Permutes(Shift):
    """The images, by chance: each comes out with another's label."""

    def forward(self, x):
        return super().forward(x)[torch.randperm(len(x), device=x.device)]


AUGMENTATIONS = {
    Wordless: ("explained", "class Wordless has no docstring"),
    Unexplained: ("explained", "Unexplained.Options.most has no description"),
    Learned: ("builds", "weight is a parameter, and no player trains it"),
    Cropped: ("images", "images (8, 1, 8, 8) come back as float32 (8, 1, 7, 8)"),
    InPlace: ("images", "forward changes the images that it is given"),
    Rounded: ("differentiable", "its gradient is zero wherever one looks"),
    Detached: ("differentiable", "no gradient goes back through it"),
    Mixing: ("each", "an image comes out otherwise when other images are beside it"),
    Permutes: ("each", "an image comes out otherwise when other images are beside it"),
    OneForAll: ("each", "all images of a batch are changed alike"),
    MovesInForward: ("sides", "level changes in forward"),
    FromLists: ("host", "torch.tensor() copies from the host at test_ingredient_rules.py:"),
    Picks: ("shapes", "a shape that depends on values at test_ingredient_rules.py:"),
    OnTheCpu: ("device", "a tensor on the CPU meets the model's at test_ingredient_rules.py:"),
    PythonDraws: ("random", "steps draw random numbers that are not torch's"),
    PythonCount: ("recorded", "steps changes from step to step in Python"),
    Forgets: ("resume", "some steps after a resume, "),
    Drawn: ("state", "after load_state_dict(state_dict()), the next steps differ"),
    Divides: ("ends", "with most=0 images or their gradients are not finite"),
}


# Regularisers that break one


class Nothing(ganzoo.Regulariser):
    """Adds nothing."""

    name = "nothing"
    summary = "nothing"


class OfNobody(Small):
    """For a player that is not there."""

    player = "critic"


class NotADict(Small):
    """A bare term."""

    def terms(self, gan, real, fake):
        return super().terms(gan, real, fake)["small"]


class PerSample(Small):
    """A term for each sample."""

    def terms(self, gan, real, fake):
        return {"small": self.every * gan.discriminate(real).square()}


class Detaching(Small):
    """Reaches no parameter."""

    def terms(self, gan, real, fake):
        return {"small": super().terms(gan, real, fake)["small"].detach()}


class Moves(Small):
    """Changes weights."""

    def terms(self, gan, real, fake):
        with torch.no_grad():
            next(gan.discriminator.parameters()).mul_(0.5)
        return super().terms(gan, real, fake)


class Halves(Small):
    """Changes the images that the losses after it are given, too."""

    def terms(self, gan, real, fake):
        real.x.mul_(0.5)
        return super().terms(gan, real, fake)


class Narrows(ganzoo.Regulariser):
    """Gives one number for all logits."""

    name = "narrows"
    summary = "the mean"

    def heed(self, gan, logits, batch):
        return logits.mean()


class Sums(Small):
    """Twice as heavy for twice as many."""

    def terms(self, gan, real, fake):
        return {"small": self.every * gan.discriminate(real).square().sum()}


class Light(Small):
    """As light as if it were due in every step."""

    def terms(self, gan, real, fake):
        return {"small": gan.discriminate(real).square().mean()}


class Reads(Small):
    """Looks at a number."""

    def terms(self, gan, real, fake):
        found = super().terms(gan, real, fake)
        return found if found["small"].item() > -1 else {}


REGULARISERS = {
    Nothing: ("builds", "it overrides neither terms nor heed"),
    OfNobody: ("builds", "player is 'critic'"),
    NotADict: ("terms", "terms returns Tensor, not a dict"),
    PerSample: ("terms", "term 'small' is (8, 1), not a 0-dimensional float tensor"),
    Detaching: ("terms", "no term depends on a parameter of the discriminator"),
    Halves: ("terms", "terms changes real.x in place"),
    Moves: ("terms", "of the discriminator changes in terms"),
    Narrows: ("terms", "heed makes () of logits (8, 1)"),
    Sums: ("mean", "where every sample is there twice"),
    Light: ("lazy", "with every=4: multiply them by it"),
    Reads: ("host", "the value of a tensor is needed in Python"),
}


@pytest.mark.parametrize("cls", [*AUGMENTATIONS, *REGULARISERS], ids=lambda cls: cls.__name__)
def test_an_ingredient_that_breaks_one_rule_is_told_which_and_no_other(cls):
    rule, reason = (AUGMENTATIONS | REGULARISERS)[cls]
    found = broken(cls)
    # What Python counts or draws, or a checkpoint does not hold, shows in more than one way.
    besides = {"recorded", "resume", "state"} - {rule}
    assert [name for name in found if name not in besides] == [rule], found
    assert reason in found[rule]
    assert "\n" not in found[rule]


def test_every_rule_of_augmentations_has_one_that_breaks_it_and_so_has_every_other_of_regularisers():
    assert {rule for rule, _ in AUGMENTATIONS.values()} == {rule.name for rule in AUGMENTATION}
    shared = {rule.name for rule in AUGMENTATION} & {rule.name for rule in REGULARISER}
    assert {rule for rule, _ in REGULARISERS.values()} >= {rule.name for rule in REGULARISER} - shared


def test_an_ingredient_may_refuse_some_data_and_not_all():
    class GreyOnly(Shift):
        """Grey images alone."""

        def __init__(self, data, options):
            if data.shape[0] != 1:
                raise UsageError("grey images alone")
            super().__init__(data, options)

    assert check_ingredient(GreyOnly, [SMALL, COLOUR])
    assert "grey images alone" in broken(GreyOnly, COLOUR)["builds"]


def test_what_is_broken_is_named_with_reason_and_fix_and_other_classes_are_a_type_error():
    with pytest.raises(
        Broken, match=r"Sums breaks 1 of \d+ rules:\n  mean: .*\n    why: term 'small'.*\n    fix: take"
    ):
        check_ingredient(Sums, SMALL)
    with pytest.raises(TypeError, match=r"needs a subclass of ganzoo\.Augmentation or ganzoo\.Regulariser, not"):
        check_ingredient(torch.nn.Linear)


def test_the_command_checks_ingredients_by_name(ganzoo):
    shown = ganzoo("check", "topk", "--json")
    value = json.loads(shown.out)
    assert (shown.code, value["model"], value["passed"]) == (0, "topk", True)
    assert {v["rule"] for v in value["rules"]} == {rule.name for rule in REGULARISER}
    refused = ganzoo("check", "topk", "--preset", "paper")
    assert (refused.code, refused.err) == (2, "error: --preset paper: regulariser 'topk' has no presets\n")
