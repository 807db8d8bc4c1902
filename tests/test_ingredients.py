"""Augmentations and regularisers: they work with any model, recorded and resumed, and none knows of the other."""

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from ganzoo_plugins.consistency import Consistency
from ganzoo_plugins.lecam import LeCam
from ganzoo_plugins.topk import TopK
from torch import nn

import ganzoo
from ganzoo import losses
from ganzoo.blame import blamed
from ganzoo.data import Batch, DataRequest, DataSpec, Loader
from ganzoo.errors import GanzooError, UsageError
from ganzoo.ingredients import parse
from ganzoo.kit.cases import Case
from ganzoo.plugins import registry
from ganzoo.preparing import mix
from ganzoo.settings import Settings
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.modes import settle
from ganzoo.training.trainer import Trainer
from ganzoo_test_plugins import SmallDigits, Tiny

CPU = Engine(torch.device("cpu"), "fp32")
REGULARISERS = ["r1", "r2:every=3", "r1:every=1", "lecam:after=2", "consistency:fake=10", "topk:until=0.1"]


@pytest.fixture(scope="module")
def digits():
    return SmallDigits().load(DataRequest())


def make(digits, model=Tiny, augment=(), regularise=(), steps=200, **options):
    seed_everything(0)
    spec = digits.spec("small-digits")
    gan = model(spec, model.Options(batch_size=32, **options))
    mix(gan, spec, Settings(augment=augment, regularise=regularise), registry(), 32)
    return Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, steps)


def go(trainer, until):
    while trainer.step < until:
        values = trainer.advance()
    return values


def assert_same(one, two):
    for mine, theirs in zip(one.gan.state_dict().items(), two.gan.state_dict().items(), strict=True):
        assert torch.equal(mine[1], theirs[1]), mine[0]


def assert_resumes(trainer, again, until):
    """A new trainer with this one's state ends where this one does."""
    state = copy.deepcopy(trainer.state_dict())
    go(trainer, until)
    again.load_state_dict(state)
    go(again, until)
    assert_same(trainer, again)


class Straight(nn.Module):
    """D(x) = w x."""

    def __init__(self, data):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, data.pixels))

    def forward(self, x, y):
        return x.flatten(1) @ self.weight[:, None]


class Linear(Tiny):
    """Tiny with a linear discriminator, whose penalties are known."""

    name = "linear"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.discriminator = Straight(self.data)


class Bright(ganzoo.Augmentation):
    """Adds a number that it counts up: real and fakes alike."""

    name = "bright"
    summary = "brighter"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("level", torch.zeros(()))
        self.seen = []

    def forward(self, x):
        return x + self.level + 0.01 * torch.randn(len(x), 1, 1, 1)

    def after_discriminator_step(self, real_logits):
        self.level.add_(real_logits.mean().sign() * 0.01)

    def watched(self):
        return {"level": self.level}


def brightened(digits, **options):
    trainer = make(digits, **options)
    trainer.gan.augmentations.append(Bright(trainer.gan.data, None))
    return trainer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ada", ("ada", {})),
        ("r1:gamma=1,every=16", ("r1", {"gamma": "1", "every": "16"})),
        (" r1 : gamma = 1 ", ("r1", {"gamma": "1"})),
        ("x:a-b=c=d", ("x", {"a_b": "c=d"})),
    ],
)
def test_an_ingredient_is_written_as_a_name_and_options(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["r1:", "r1:gamma", "r1:gamma=", "r1:=1", "r1:gamma=1,gamma=2", "r1:gamma=1,,every=2"])
def test_an_ingredient_written_otherwise_is_refused_with_how_to_write_it(text):
    with pytest.raises(UsageError, match="write NAME, or NAME:OPTION=VALUE,OPTION=VALUE"):
        parse(text)


@pytest.mark.parametrize(
    ("regularise", "message"),
    [
        (("r3",), "--regularise r3: no regulariser is named 'r3': did you mean 'r"),
        (("r1:gama=1",), "--regularise r1:gama=1: 'r1' has no option 'gama': did you mean 'gamma'"),
        (("r1:gamma=-1",), "--regularise r1:gamma=-1: gamma: input should be greater than or equal to 0"),
        (("r1:every=soon",), "--regularise r1:every=soon: every: input should be a valid integer"),
        (("r1", "r1:gamma=2"), "--regularise names 'r1' twice: give it once, with all its options"),
    ],
)
def test_a_wrong_ingredient_is_one_line_with_the_way_out(digits, regularise, message):
    with pytest.raises(UsageError) as error:
        make(digits, regularise=regularise)
    assert message in str(error.value)


def test_r1_of_a_linear_discriminator_is_known(digits):
    trainer = make(digits, Linear, regularise=("r1:gamma=3,every=4",))
    squared = trainer.gan.discriminator.weight.detach().square().sum()
    before, values = squared.item(), trainer.advance()
    # D's own turn moves the weight first; a linear hinge at the start moves it a little.
    assert values["r1_loss"].item() == pytest.approx(4 * 3 / 2 * before, rel=0.05)
    real = next(trainer.loader.batches())
    (r1,) = trainer.gan.regularisers
    expected = 4 * 3 / 2 * trainer.gan.discriminator.weight.square().sum().item()
    assert r1.terms(trainer.gan, real, trainer.gan.fake(real))["r1"].item() == pytest.approx(expected, rel=1e-5)


def test_a_lazy_regulariser_is_a_turn_of_its_own_and_another_joins_its_players_first(digits):
    lazy = make(digits, regularise=("r1:every=4",)).schedule
    assert [(t.name, t.player, t.every) for t in lazy.turns] == [
        ("discriminator", "discriminator", 1), ("r1", "discriminator", 4), ("generator", "generator", 1)
    ]  # fmt: skip
    joined = make(digits, regularise=("r1:every=1",))
    assert [t.name for t in joined.schedule.turns] == ["discriminator", "generator"]
    assert "discriminator/r1" in joined.advance()


@pytest.mark.parametrize("every", [2, 4])
@pytest.mark.parametrize("repeat", [1, 5])
def test_a_lazy_regulariser_weighs_what_it_does_within_every_turn(digits, every, repeat):
    class Critic(Linear):
        def turns(self):
            discriminator, *others = super().turns()
            return [discriminator._replace(repeat=repeat), *others]

    def weighs(every):
        trainer = make(digits, Critic, regularise=(f"r1:gamma=3,every={every}",))
        # Where nobody moves, each turn's term is the same.
        own = next(turn for turn in trainer.schedule.turns if turn.player == "discriminator")
        turn = next((turn for turn in trainer.schedule.turns if turn.name == "r1"), own)
        real = next(trainer.loader.batches())
        return turn.loss(real, trainer.gan.fake(real))["r1"].item() * turn.repeat / turn.every

    assert weighs(every) == pytest.approx(weighs(1), rel=1e-5)


class InPlace(Bright):
    def forward(self, x):
        return x.add_(0.1)


class Detached(Bright):
    def forward(self, x):
        return x.detach() + 0.1


class HearsNothing(Bright):
    def after_discriminator_step(self):
        pass


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (InPlace, "augmentation 'bright' changes its images in place: it must make others, as others need these"),
        (Detached, "augmentation 'bright' gives images without a gradient: generators learn through it"),
        (HearsNothing, "augmentation 'bright' failed in after_discriminator_step: TypeError: "),
    ],
)
def test_what_an_augmentation_does_wrong_is_told_as_its_own(digits, kind, told):
    trainer = make(digits)
    trainer.gan.augmentations.append(kind(trainer.gan.data, Bright.Options()))
    with pytest.raises(GanzooError) as error, blamed():
        trainer.advance()
    assert str(error.value).startswith(told)


def test_what_regularisers_ask_of_the_discriminator_is_not_logged_as_its_score(digits):
    values = make(digits, regularise=("r1:every=1", "lecam")).advance()
    assert [name for name in values if name.startswith("D(x)")] == ["D(x)"]


def test_lecam_holds_each_side_near_the_others_running_mean(digits):
    trainer = make(digits)
    gan = trainer.gan.eval()
    lecam = LeCam(gan.data, LeCam.Options(weight=2.0, decay=0.5, after=0))
    real = next(trainer.loader.batches())
    fake = gan.fake(real).detach()
    ours, theirs = gan.discriminate(real, fake)
    mean_real, mean_fake = 0.5 * ours.mean(), 0.5 * theirs.mean()
    expected = 2 * ((ours - mean_fake).square().mean() + (theirs - mean_real).square().mean())
    torch.testing.assert_close(lecam.terms(gan, real, fake)["lecam"], expected)
    assert lecam.real.item() == pytest.approx(mean_real.item(), rel=1e-5)


def test_consistency_moves_each_image_by_whole_pixels_and_flips_it():
    data = SmallDigits().load(DataRequest()).spec("small-digits")
    move = Consistency(data, Consistency.Options(shift=0.25)).moved
    torch.manual_seed(0)
    x = torch.rand(200, 1, 8, 8)
    moved = move(x)
    padded = nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    flipped = nn.functional.pad(x.flip(3), (2, 2, 2, 2), mode="reflect")
    kinds = set()
    for i in range(200):
        fits = [
            (name, top, left)
            for name, images in (("plain", padded), ("flipped", flipped))
            for top in range(5)
            for left in range(5)
            if torch.equal(images[i, :, top : top + 8, left : left + 8], moved[i])
        ]
        assert fits
        kinds.add(fits[0])
    assert len(kinds) > 40


def test_topk_gives_the_gradient_of_the_mean_over_the_best_fakes(digits):
    gan = make(digits).gan
    topk = TopK(gan.data, TopK.Options(share=0.25, until=0.5))
    logits = torch.randn(8, 1, requires_grad=True)
    fake = Batch(torch.zeros(8, 1), None, torch.zeros(8, 1))
    for fraction, k in ((0.0, 8), (0.25, 5), (0.5, 2), (1.0, 2)):
        gan.clock.fraction.fill_(fraction)
        heeded = topk.heed(gan, logits, fake)
        assert torch.equal(heeded, logits)
        (gradient,) = torch.autograd.grad(heeded.mean(), logits)
        best = logits.detach().flatten().topk(k).indices
        expected = torch.zeros(8, 1)
        expected[best] = 1 / k
        torch.testing.assert_close(gradient, expected)
    real = fake._replace(z=None)
    assert topk.heed(gan, logits, real) is logits
    many = torch.randn(100, 1, requires_grad=True)
    tenth = TopK(gan.data, TopK.Options(share=0.1, until=0.5)).heed(gan, many, fake)
    (gradient,) = torch.autograd.grad(tenth.mean(), many)
    assert gradient.count_nonzero() == 10


@pytest.mark.parametrize("model", [("sgan",), ("improved-gan", "--generator", "matching")])
def test_topk_is_refused_where_the_generator_does_not_go_by_logits(ganzoo, model):
    refused = ganzoo("run", *model, "--regularise", "topk", "--dry-run")
    assert refused.code == 2
    assert "has a generator that does not go by what D says of its samples" in refused.err
    assert ganzoo("run", model[0], "--generator", "adversarial", "--regularise", "topk", "--dry-run").code == 0


def test_what_a_discriminator_says_by_name_is_so_with_regularisers_too(digits):
    class Verdict(NamedTuple):
        logits: torch.Tensor
        x: torch.Tensor

    class Named(Tiny):
        def judge(self, batch):
            return Verdict(super().judge(batch), batch.x)

        def discriminator_loss(self, real, fake):
            seen, fooled = self.discriminate(real, fake)
            return {"loss": fooled.logits.mean() - seen.logits.mean() + 0 * seen.x.mean()}

        def generator_loss(self, real, fake):
            return {"loss": -self.discriminate(fake).logits.mean()}

    trainer = make(digits, Named, regularise=("topk", "lecam"))
    trainer.advance()


def test_both_sides_are_augmented_in_both_turns_and_its_state_is_logged(digits):
    class Looking(Tiny):
        def judge(self, batch):
            self.judged.append(batch.x.detach().mean().item())
            return super().judge(batch)

        judged = []

    seen = {}
    for level in (0.0, 5.0):
        Looking.judged = []
        trainer = brightened(digits, model=Looking)
        trainer.gan.augmentations[0].level.fill_(level)
        values = trainer.advance()
        seen[level] = list(Looking.judged)
        assert values["bright/level"].item() == pytest.approx(level, abs=0.011)
    assert len(seen[0.0]) == 2
    for dark, light in zip(seen[0.0], seen[5.0], strict=True):
        assert light - dark == pytest.approx(5, abs=0.1)


def test_an_augmentation_is_recorded_and_resumed_bit_for_bit(digits):
    plain, fast = brightened(digits), brightened(digits)
    assert settle(fast, "graph").used == "graph"
    for trainer in (plain, fast):
        seed_everything(3)
        go(trainer, 12)
    assert_same(plain, fast)
    assert plain.gan.augmentations[0].level.item() != 0
    assert_resumes(plain, brightened(digits), 15)


@pytest.mark.parametrize("name", REGULARISERS)
def test_every_regulariser_is_recorded_and_resumed_bit_for_bit(digits, name):
    plain, fast = make(digits, regularise=(name,)), make(digits, regularise=(name,))
    assert settle(fast, "graph").used == "graph"
    for trainer in (plain, fast):
        seed_everything(3)
        go(trainer, 9)
    assert_same(plain, fast)
    assert_resumes(plain, make(digits, regularise=(name,)), 12)


def test_a_model_that_does_not_ask_discriminate_is_told_that_augmentations_enter_there(digits):
    class Direct(Tiny):
        def discriminator_loss(self, real, fake):
            return {"x": self.discriminator(fake.x, fake.y).mean() - self.discriminator(real.x, real.y).mean()}

    make(digits, Direct).advance()
    with pytest.raises(GanzooError, match="discriminate with real samples in a turn of the disc"):
        brightened(digits, model=Direct).advance()


def test_a_regulariser_of_a_player_that_is_not_there_is_refused_by_name(digits):
    class Odd(Tiny):
        def players(self):
            return {"critic": self.discriminator, "generator": self.generator}

        def turns(self):
            first, second = super().turns()
            return [first._replace(player="critic"), second]

    with pytest.raises(GanzooError, match="regulariser 'r1' is for the discriminator, whom model 'tiny' does not have"):
        make(digits, Odd, regularise=("r1",))


def mixed(model, spec, begins=True, augment=(), regularise=(), **options):
    """A shipped model with ingredients."""
    cls = registry().get("models", model)
    seed_everything(0)
    gan = cls(spec, cls.Options(batch_size=4, width=4, **options))
    mix(gan, spec, Settings(augment=augment, regularise=regularise), registry(), 4, begins)
    return gan


GREY = DataSpec("grey", (1, 28, 28), 8)
PAIRS = DataSpec("pairs", (3, 32, 32), 8, source_shape=(1, 32, 32))


@pytest.mark.parametrize(
    ("model", "ingredients", "told"),
    [
        ("lapgan", {"augment": ("ada",)}, "--augment ada: model 'lapgan' judges fakes by the parts that they are made"),
        ("msggan", {"augment": ("diffaugment",)}, "--augment diffaugment: model 'msggan' judges fakes by the parts"),
        ("lapgan", {"regularise": ("r2",)}, "--regularise r2: model 'lapgan' judges fakes by the parts"),
        ("lapgan", {"regularise": ("consistency:fake=10",)}, "model 'lapgan' judges fakes by the parts"),
        ("aae", {"augment": ("ada",)}, "--augment ada: model 'aae' judges latents, not what is made of them"),
        ("aae", {"regularise": ("r2",)}, "--regularise r2: model 'aae' judges latents"),
        ("aae", {"regularise": ("consistency:fake=10",)}, "model 'aae' judges latents"),
        ("aae", {"regularise": ("topk",)}, "model 'aae' has no fakes that the discriminator likes"),
        (
            "aae",
            {"regularise": ("label-smoothing",)},
            "model 'aae' does not say that its loss is a cross-entropy",
        ),
    ],
)
def test_what_could_not_reach_what_a_model_judges_is_refused_where_a_run_begins(model, ingredients, told):
    with pytest.raises(UsageError) as error:
        mixed(model, GREY, **ingredients)
    assert told in str(error.value)
    gan = mixed(model, GREY, begins=False, **ingredients)  # A run that has gone so far goes on.
    assert len(gan.augmentations) + len(gan.regularisers) == 1


@pytest.mark.parametrize("regularise", ["r1", "lecam", "consistency"])
@pytest.mark.parametrize("model", ["lapgan", "aae"])
def test_what_looks_at_real_images_alone_or_at_logits_goes_with_them(model, regularise):
    assert len(mixed(model, GREY, regularise=(regularise,)).regularisers) == 1


@pytest.mark.parametrize(
    ("model", "spec"),
    [("munit", replace(PAIRS, paired=False)), ("bicyclegan", PAIRS), ("lapgan", replace(GREY, shape=(1, 32, 32)))],
)
@pytest.mark.parametrize("regularise", ["r1:every=1", "lecam:after=0", "consistency"])
def test_each_of_the_discriminators_that_answer_together_is_regularised(model, spec, regularise):
    gan = mixed(model, spec, regularise=(regularise,))
    real = Batch(torch.rand(4, *spec.shape), source=None if model == "lapgan" else torch.rand(4, *spec.source_shape))
    (term,) = gan.regularisers[0].terms(gan, real, gan.fake(real).detach()).values()
    layers = list(gan.discriminator.children() if model == "lapgan" else gan.discriminator.scales)
    assert len(layers) == gan.judges > 1
    for discriminator in layers:
        weights = [p for p in discriminator.parameters() if p.dim() > 1]
        assert all(g is not None and g.abs().sum() > 0 for g in torch.autograd.grad(
            term, weights, retain_graph=True, allow_unused=True))  # fmt: skip


def test_penalties_of_discriminators_that_answer_together_are_summed():
    def judge(batch):
        return tuple(k * batch.x.sum(1, keepdim=True) for k in (1.0, 2.0, 5.0))  # |grad|^2 = 3 k^2

    batch = Batch(torch.rand(4, 3))
    assert losses.zero_centred_penalty(judge, batch).item() == pytest.approx(3)
    assert losses.zero_centred_penalty(judge, batch, judges=2).item() == pytest.approx(3 + 12)


def test_topk_chooses_fakes_for_each_of_the_discriminators_that_answer_together():
    gan = mixed("bicyclegan", PAIRS, regularise=("topk:share=0.25,until=0.1",))
    gan.clock.fraction.fill_(1.0)
    real = Batch(torch.rand(4, 3, 32, 32), source=torch.rand(4, 1, 32, 32))
    fake, gan.moving = gan.fake(real), "generator"
    for said in gan.discriminate(fake):
        (gradient,) = torch.autograd.grad(said.sum(), fake.x, retain_graph=True)
        assert (gradient.flatten(1).abs().sum(1) > 0).sum() == 1


def test_lecams_mean_of_one_discriminator_is_where_those_of_all_begin():
    lecam = mixed("bicyclegan", PAIRS, regularise=("lecam",)).regularisers[0]
    lecam.load_state_dict({"real": torch.tensor(0.5), "fake": torch.tensor(-0.5)})
    assert (lecam.real.tolist(), lecam.fake.tolist()) == ([0.5, 0.5], [-0.5, -0.5])


def test_consistency_moves_a_source_with_the_image_that_it_is_judged_with():
    consistency = Consistency(PAIRS, Consistency.Options())
    x = torch.rand(8, 3, 32, 32)
    moved = consistency.along(Batch(x, source=x[:, :1]))
    assert not torch.equal(moved.x, x)
    assert torch.equal(moved.source, moved.x[:, :1])
    small = consistency.along(Batch(x, source=x[:, :, ::4, ::4]))
    assert torch.equal(small.source, x[:, :, ::4, ::4])


def test_consistency_refuses_vectors_in_one_line():
    with pytest.raises(UsageError, match="'consistency' flips and shifts images, and data set 'points' has vectors"):
        Consistency(DataSpec("points", (2,), 8), Consistency.Options())


@pytest.mark.parametrize(
    ("model", "spec", "options"),
    [
        ("dcgan", GREY, {}),
        ("acgan", replace(GREY, classes=("a", "b")), {"loss": "cross-entropy"}),
        ("pix2pix", PAIRS, {}),
        ("discogan", replace(PAIRS, paired=False), {}),
        ("unit", replace(PAIRS, paired=False), {"adversarial": 3.0}),
    ],
)
def test_with_smoothed_labels_the_best_answer_is_the_target_whatever_a_model_weighs_its_loss_with(model, spec, options):
    gan = mixed(model, spec, regularise=("label-smoothing:target=0.9",), **options)
    logits = torch.full((4, 1), math.log(9), requires_grad=True)  # D(x) = 0.9

    def said(*batches):
        answers = [logits if batch.z is None else logits.detach() for batch in batches]
        if model in ("acgan", "discogan"):  # They say more than that.
            answers = [(answer, torch.zeros(4, 4)) for answer in answers]
        return answers[0] if len(answers) == 1 else tuple(answers)

    gan.discriminate = said
    y = torch.zeros(4, dtype=torch.int64) if spec.classes else None
    source = None if spec.source_shape is None else torch.rand(4, *spec.source_shape)
    real = Batch(torch.rand(4, *spec.shape), y, source=source)
    fake = gan.fake(real).detach()
    (term,) = gan.regularisers[0].terms(gan, real, fake).values()
    (pull,) = torch.autograd.grad(gan.discriminator_loss(real, fake)["adversarial"], logits)
    (push,) = torch.autograd.grad(term, logits)
    torch.testing.assert_close(push, -pull)


SHIPPED = [n for n in registry().check().names("models") if registry().provider("models", n).package == "ganzoo"]


@pytest.mark.parametrize("model", SHIPPED)
def test_label_smoothing_goes_with_the_models_that_go_down_the_cross_entropy_of_real_images_alone(model):
    """With others it would be a weight on what D says that nothing bounds."""
    cls, side = registry().get("models", model), 8 if model in ("esrgan", "srgan") else 32
    spec = DataSpec("plain", (3, 32, 32), 300, ("a", "b", "c"))
    if cls.translates and not cls.own_sources:
        kinds = {"paired": False, "source_labels": True} if model == "pixelda" else {}
        spec = replace(spec, source_shape=(3, side, side), **kinds)
    case = Case(cls, spec, {})
    gan, given = case.gan(), []
    real = case.real(gan)
    fake, judge = gan.fake(real).detach(), gan.judge

    def said(batch):
        """Of real samples the first judge says anything between -3 and 3, whatever else comes with it."""
        found = judge(batch)
        if batch.z is not None:
            return found
        logits = found[0] if isinstance(found, tuple) else found
        given.append(torch.linspace(-3, 3, logits.numel()).view_as(logits).requires_grad_())
        chosen = given[-1] + 0 * logits
        if not isinstance(found, tuple):
            return chosen
        return type(found)(chosen, *found[1:]) if hasattr(found, "_fields") else (chosen, *found[1:])

    gan.discriminate = lambda *batches: said(*batches) if len(batches) == 1 else tuple(map(said, batches))
    turn = next(turn for turn in gan.turns() if turn.player == "discriminator")
    (pull,) = torch.autograd.grad(sum(turn.loss(real, fake).values()), given[:1])
    times = pull * pull.numel() / (torch.sigmoid(given[0]) - 1)
    assert gan.real_entropy == pytest.approx(times.mean().item() if times.std() < 1e-3 else 0, rel=1e-3)


@pytest.mark.parametrize(("loss", "weight"), [("cross-entropy", 0.5), ("minimax", 1.0), ("hinge", 0.0)])
@pytest.mark.parametrize("model", ["gan", "cgan"])
def test_a_model_says_how_heavy_the_cross_entropy_of_its_loss_is(model, loss, weight):
    cls = registry().get("models", model)
    gan = cls(replace(GREY, classes=("a", "b")), cls.Options(loss=loss))
    logits = torch.zeros(4, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(gan.loss.discriminator(logits, logits.detach()), logits)
    assert gan.real_entropy == weight
    if weight:
        assert gradient.sum().item() == pytest.approx(-weight * 0.5)


def test_ingredients_are_options_of_the_command_and_stand_in_its_record(ganzoo):
    import json
    from pathlib import Path

    run = ("run", "tiny", "--dataset", "small-digits", "--steps", 3, "--batch-size", 32, "--loggers", "none", "--quiet")
    done = ganzoo(*run, "--regularise", "r1:every=2", "--regularise", "lecam", "--out", "r")
    assert done.code == 0, done.err
    info = json.loads(Path("r/run.json").read_text())
    assert info["settings"]["regularise"] == ["r1:every=2", "lecam"]
    assert ganzoo("resume", "r", "--steps", 5, "--quiet").code == 0
    wrong = ganzoo(*run, "--regularise", "lecan", "--out", "s")
    assert (wrong.code, "did you mean 'lecam'" in wrong.err) == (2, True)
    assert not Path("s").exists()


class Seldom(Tiny):
    """A discriminator that moves in every second step."""

    def turns(self):
        return [
            ganzoo.Turn("generator", self.generator_loss),
            ganzoo.Turn("discriminator", self.discriminator_loss, every=2),
        ]


def test_an_augmentation_suits_a_discriminator_that_does_not_move_in_every_step(digits):
    trainer = make(digits, Seldom, augment=["diffaugment"])
    go(trainer, 5)
    assert trainer.step == 5


def test_augmentations_are_told_of_a_real_batch_once_whatever_looks_at_it(digits):
    ramp = "ada:p=0.5,ramp=0.1"
    plain, lazy = make(digits, augment=[ramp]), make(digits, augment=[ramp], regularise=["r1:every=2"])
    go(plain, 4)
    go(lazy, 4)
    assert torch.equal(*(trainer.gan.augmentations[0].p for trainer in (plain, lazy)))


class Own(Tiny):
    """A model with a lazy penalty of the name of a regulariser."""

    def turns(self):
        return [
            ganzoo.Turn("discriminator", self.r1_loss),
            ganzoo.Turn("generator", self.generator_loss),
        ]

    def r1_loss(self, real, fake):
        return self.discriminator_loss(real, fake)


def test_a_regulariser_with_the_name_of_a_turn_is_told_beside_it(digits):
    values = make(digits, Own, regularise=["r1:every=2"]).advance()
    assert {"r1_loss", "r1_loss after"} <= values.keys()
    assert values["r1_loss"] != values["r1_loss after"]


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (
            lambda x: x[:, :, 1:],
            r"augmentation 'bright' makes torch.float32 \(64, 1, 7, 8\) of images torch.float32",
        ),
        (lambda x: x[1:], "augmentation 'bright' makes"),
        (lambda x: x.double(), "augmentation 'bright' makes torch.float64 .* it must make floats no wider"),
        (lambda x: None, "augmentation 'bright' makes NoneType of images"),
    ],
)
def test_what_an_augmentation_should_not_have_made_is_told_as_its_own(digits, monkeypatch, returns, message):
    monkeypatch.setattr(Bright, "forward", lambda self, x: returns(x))
    with pytest.raises(GanzooError, match=message):
        brightened(digits).advance()


def test_what_an_augmentation_watches_is_tensors_by_name(digits, monkeypatch):
    for watched in ({"p": 0.5}, [torch.zeros(())], None):
        monkeypatch.setattr(Bright, "watched", lambda self, watched=watched: watched)
        with pytest.raises(GanzooError, match="augmentation 'bright': watched returns no dict of tensors"):
            brightened(digits).advance()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("terms", lambda *_: None, "regulariser 'r1' returns NoneType, not a dict of named terms"),
        ("terms", lambda *_: {"a": torch.ones(2)}, r"regulariser 'r1' returns term 'a' as a tensor of \(2,\)"),
        ("heed", lambda *_: None, "regulariser 'r1': heed makes NoneType of logits"),
        ("heed", lambda self, gan, logits, batch: logits[1:], r"heed makes torch.float32 \(\d+, 1\) of logits"),
        ("every", 0, "regulariser 'r1' has every=0: it must be a whole number, 1 or more"),
        ("every", 2.5, r"regulariser 'r1' has every=2\.5"),
    ],
)
def test_what_a_regulariser_should_not_give_is_told_as_its_own(digits, monkeypatch, name, value, message):
    kind = registry().get("regularisers", "r1")
    if name == "every":
        monkeypatch.setattr(kind, "__init__", lambda self, data, options: _unlike(self, kind, data, options, value))
    else:
        monkeypatch.setattr(kind, name, value)
    with pytest.raises(GanzooError, match=message):
        make(digits, regularise=["r1"]).advance()


def _unlike(regulariser, kind, data, options, every):
    super(kind, regulariser).__init__(data, options)
    regulariser.every = every


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "regulariser 'r1' returns no term"),
        ({"a": torch.ones(())}, "regulariser 'r1': no term depends on a parameter of the discriminator"),
    ],
)
def test_a_lazy_regulariser_that_adds_nothing_is_told_as_its_own(digits, monkeypatch, terms, message):
    monkeypatch.setattr(registry().get("regularisers", "r1"), "terms", lambda *_: terms)
    with pytest.raises(GanzooError, match=message):
        make(digits, regularise=["r1:every=2"]).advance()


def test_a_models_wrong_loss_is_told_as_its_own_beside_a_regulariser(digits):
    class Wrong(Tiny):
        def discriminator_loss(self, real, fake):
            return None

    with pytest.raises(GanzooError, match="model 'tiny': the loss of turn 'discriminator' returns NoneType"):
        make(digits, Wrong, regularise=["lecam"]).advance()
