"""Who moves in which step, against which fakes, and what is logged of it."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import ganzoo
from ganzoo import losses
from ganzoo.data import DataRequest, Loader
from ganzoo.errors import GanzooError
from ganzoo.optim import SGD, Adam, RMSprop
from ganzoo.plugins import registry
from ganzoo.preparing import mix
from ganzoo.settings import Settings
from ganzoo.training.building import build
from ganzoo.training.capture import Recorded, Snapshot
from ganzoo.training.ema import EMA
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.gradients import clip, treatments, zero_nonfinite
from ganzoo.training.meter import Meter
from ganzoo.training.modes import settle
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer
from ganzoo.training.turns import Schedule
from ganzoo_test_plugins import Discriminator, SmallDigits, Tiny

CPU = Engine(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def digits():
    return SmallDigits().load(DataRequest())


def make(digits, model=Tiny, steps=200, treated=(), **options):
    seed_everything(0)
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32, **options))
    return Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, steps, treatments=treated)


def go(trainer, until, most=10):
    """Train to a step; what each call told."""
    told = []
    while trainer.step < until:
        told.append(trainer.advance(min(most, until - trainer.step)))
    return told


def assert_same(one, two):
    for mine, theirs in zip(one.gan.state_dict().items(), two.gan.state_dict().items(), strict=True):
        assert torch.equal(mine[1], theirs[1]), mine[0]
    for name, module in one.ema.modules.items():
        for mine, theirs in zip(module.state_dict().items(), two.ema.modules[name].state_dict().items(), strict=True):
            assert torch.equal(mine[1], theirs[1]), mine[0]


class Lazy(Tiny):
    """R1 every fourth step, the path of the generator's pixels every second, both as turns."""

    def turns(self):
        return [
            ganzoo.Turn("discriminator", self.discriminator_loss),
            ganzoo.Turn("discriminator", self.r1, every=4),
            ganzoo.Turn("generator", self.generator_loss, fresh=True),
            ganzoo.Turn("generator", self.smoothness, every=2, fresh=True),
        ]

    def r1(self, real, fake):
        x = real.x.detach().requires_grad_()
        logits = self.judge(real._replace(x=x))
        return {"penalty": 4 * losses.zero_centred_penalties((x, logits))[0]}

    def smoothness(self, real, fake):
        return {"length": 2 * fake.x.square().mean(), "progress": self.clock.fraction * fake.x.mean()}


class Watching(Tiny):
    """Three turns that note what they get."""

    order = (("discriminator", 1, False), ("generator", 1, False), ("discriminator", 1, False))

    def __init__(self, data, options):
        super().__init__(data, options)
        self.seen = []

    def turns(self):
        methods = [self.first, self.second, self.third, self.fourth]
        return [
            ganzoo.Turn(player, method, repeat=repeat, fresh=fresh)
            for (player, repeat, fresh), method in zip(self.order, methods, strict=False)
        ]

    def note(self, name, real, fake):
        frozen = {n for n, module in self.players().items() if not any(p.requires_grad for p in module.parameters())}
        self.seen.append((name, real.x, fake.x, fake.x.requires_grad, frozen))
        return {"loss": self.discriminate(fake).mean()}

    def first(self, real, fake):
        return self.note("first", real, fake)

    def second(self, real, fake):
        return self.note("second", real, fake)

    def third(self, real, fake):
        return self.note("third", real, fake)

    def fourth(self, real, fake):
        return self.note("fourth", real, fake)


def seen(digits, *order):
    class Some(Watching):
        pass

    Some.order = order
    trainer = make(digits, Some)
    trainer.advance()
    return trainer.gan.seen


def test_a_turn_sees_the_batch_and_the_fakes_of_the_turn_before(digits):
    (_, real1, fake1, graph1, _), (_, real2, fake2, graph2, _), (_, real3, fake3, graph3, _) = seen(
        digits, ("discriminator", 1, False), ("generator", 1, False), ("discriminator", 1, False)
    )
    assert torch.equal(real1, real2)
    assert torch.equal(real1, real3)
    assert torch.equal(fake1, fake2)
    assert torch.equal(fake1, fake3)
    assert (graph1, graph2, graph3) == (False, True, False)


def test_for_a_turn_that_looks_at_no_fakes_none_are_made(digits):
    class Some(Watching):
        made = 0

        def turns(self):
            return [
                ganzoo.Turn("generator", self.first),
                ganzoo.Turn("generator", self.alone, fakes=False),
                ganzoo.Turn("discriminator", self.third),
            ]

        def fake(self, real):
            self.made += 1
            return super().fake(real)

        def alone(self, real, fake):
            self.seen.append(("alone", real.x, fake.x, fake.x.requires_grad, set()))
            return {"weight": sum(p.square().sum() for p in self.generator.parameters())}

    trainer = make(digits, Some)
    trainer.advance()
    assert trainer.gan.made == 1
    (_, _, fake, graph, _), (_, _, same, detached, _), (_, _, third, _, _) = trainer.gan.seen
    assert torch.equal(fake, same)
    assert torch.equal(fake, third)
    assert (graph, detached) == (True, False)


def test_a_regulariser_of_every_step_joins_no_lazy_turn(digits):
    class LazyFirst(Tiny):
        def turns(self):
            discriminator, generator = super().turns()
            return [ganzoo.Turn("discriminator", self.rarely, every=8), discriminator, generator]

        def rarely(self, real, fake):
            return {"logits": self.discriminate(real).square().mean()}

    class OnlyLazy(LazyFirst):
        def turns(self):
            rarely, _, generator = super().turns()
            return [rarely, generator]

    for model, expected in (
        (LazyFirst, [("rarely", 8), ("discriminator", 1), ("generator", 1)]),
        (OnlyLazy, [("rarely", 8), ("lecam", 1), ("generator", 1)]),
    ):
        gan = model(digits.spec("small-digits"), model.Options(batch_size=32))
        mix(gan, gan.data, Settings(regularise=("lecam",)), registry(), 32)
        schedule = Schedule(gan)
        assert [(turn.name, turn.every) for turn in schedule.turns] == expected
        trainer = Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, 20)
        for _ in range(2):  # In the second the lazy turn is not due.
            assert any("lecam" in name for name in trainer.advance())


def test_only_the_player_whose_turn_it_is_has_parameters_that_move(digits):
    turns = seen(digits, ("discriminator", 1, False), ("generator", 1, False))
    assert [frozen for *_, frozen in turns] == [{"generator"}, {"discriminator"}]


def test_a_fresh_turn_gets_a_batch_of_its_own(digits):
    (_, real1, fake1, *_), (_, real2, fake2, graph, _) = seen(
        digits, ("discriminator", 1, False), ("generator", 1, True)
    )
    assert not torch.equal(real1, real2)
    assert not torch.equal(fake1, fake2)
    assert graph


def test_a_graph_serves_one_turn_and_the_next_gets_fakes_made_anew_for_the_same_reals(digits):
    (_, real1, fake1, graph1, _), (_, real2, fake2, graph2, _) = seen(
        digits, ("generator", 1, False), ("generator", 1, False), ("discriminator", 1, False)
    )[:2]
    assert torch.equal(real1, real2)
    assert not torch.equal(fake1, fake2)
    assert graph1
    assert graph2


def test_repeated_turns_take_a_batch_each_and_the_next_turn_goes_on_with_the_last(digits):
    turns = seen(digits, ("discriminator", 3, False), ("generator", 1, False))
    assert [name for name, *_ in turns] == ["first"] * 3 + ["second"]
    reals = [real for _, real, *_ in turns]
    assert not any(torch.equal(a, b) for a, b in [(reals[0], reals[1]), (reals[1], reals[2])])
    assert torch.equal(reals[2], reals[3])


def test_fakes_get_no_graph_where_the_generators_turn_makes_its_own(digits):
    schedule = make(digits, Lazy).schedule
    moves = schedule.moves[schedule.pattern(1)]
    assert [(m.turn.name, m.draws, m.graph) for m in moves] == [
        ("discriminator", True, False),
        ("generator", True, True),
    ]


def test_real_batches_are_counted_through_lazy_and_fresh_turns(digits):
    schedule = make(digits, Lazy).schedule
    taken = 0
    for step in range(23):
        assert schedule.batches_before(step) == taken
        taken += sum(move.draws for move in schedule.moves[schedule.pattern(step)])
    assert schedule.batches_per_step == pytest.approx(2.5)
    assert [schedule.steps_for(batches) for batches in (0, 1, 3, 4, 10, 10.5)] == [0, 1, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (lambda gan: ganzoo.Turn("critic", gan.generator_loss), "player 'critic', whom players.. does not name"),
        (lambda gan: ganzoo.Turn("generator", gan.other, every=0), "every=0: it must be a whole number, 1 or more"),
        (lambda gan: ganzoo.Turn("generator", gan.other, repeat=-1), "repeat=-1: it must be a whole number"),
        (lambda gan: ganzoo.Turn("generator", gan.other, every=2.5), "every=2.5"),
        (lambda gan: ganzoo.Turn("generator", gan.other, fakes="none"), "has fakes='none': it must be True or False"),
        (lambda gan: ganzoo.Turn("generator", gan.generator_loss), "two turns are named 'generator'"),
        (lambda gan: ganzoo.Turn("generator", None), "the loss of a Turn of the generator is None"),
        (lambda gan: ("generator", gan.other), "which is no ganzoo.Turn"),
        (lambda gan: ganzoo.Turn("generator", gan.other, every=99_999), None),
        (lambda gan: ganzoo.Turn("generator", gan.other, every=100_001), "come together only every 100,001 steps"),
    ],
)
def test_a_turn_that_makes_no_sense_is_refused_in_one_line(digits, turn, message):
    class Odd(Tiny):
        def turns(self):
            return [*super().turns(), turn(self)]

        def other(self, real, fake):
            return {"x": fake.x.mean()}

    if message is None:
        make(digits, Odd)
        return
    with pytest.raises(GanzooError, match=message):
        make(digits, Odd)


def test_a_player_without_a_turn_is_refused_by_name(digits):
    class Third(Tiny):
        def __init__(self, data, options):
            super().__init__(data, options)
            self.classifier = nn.Linear(64, 10)

        def players(self):
            return {**super().players(), "classifier": self.classifier}

    with pytest.raises(GanzooError, match=r"the classifier never moves.*add Turn\('classifier', ...\) to turns\(\)"):
        make(digits, Third)


def test_a_step_in_which_nobody_moves_is_refused(digits):
    class Rare(Tiny):
        def turns(self):
            return [turn._replace(every=2) for turn in super().turns()]

    with pytest.raises(GanzooError, match="nobody moves in step 1: let one Turn have every=1"):
        make(digits, Rare)


def test_an_attribute_with_a_name_of_the_contract_is_refused_with_what_to_do(digits):
    from ganzoo.training.building import build

    class Old(Tiny):
        def __init__(self, data, options):
            super().__init__(data, options)
            self.turns = 3

    with pytest.raises(GanzooError, match=r"sets self.turns, which is a method of ganzoo.GAN: give the attribute"):
        build(Old, digits.spec("small-digits"), Old.Options())


def test_lazy_turns_are_due_in_the_first_step_and_every_so_many_after(digits):
    trainer = make(digits, Lazy)
    told = go(trainer, 9, most=1)
    assert [step for step, values in enumerate(told) if "r1_loss" in values] == [0, 4, 8]
    assert [step for step, values in enumerate(told) if "smoothness_loss" in values] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("sizes", [(1,), (10, 1), (4, 2)])
def test_recorded_lazy_turns_equal_plain_ones_and_tell_the_same(digits, sizes):
    plain = make(digits, Lazy, n_critic=1)
    seed_everything(4)
    expected = go(plain, 30, most=1)
    fast = make(digits, Lazy)
    before = Snapshot(fast)
    fast.recorded = Recorded(fast, on_tape, sizes)
    before.restore()
    fast.feed(None)
    seed_everything(4)
    found = [
        dict(zip(values, row, strict=True)) for values in go(fast, 30) for row in zip(*values.values(), strict=True)
    ]
    assert_same(plain, fast)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name].detach()) for name in mine)


def test_lazy_turns_are_recorded_by_the_probe_bit_for_bit(digits):
    trainer = make(digits, Lazy)
    mode = settle(trainer, "graph")
    assert mode.used == "graph"
    assert len(trainer.recorded.names) == 3
    untouched = make(digits, Lazy)
    for one in (trainer, untouched):
        seed_everything(8)
        go(one, 17)
    assert_same(trainer, untouched)


def test_lazy_training_resumes_exactly_between_lazy_steps(digits):
    straight, first = make(digits, Lazy), make(digits, Lazy)
    seed_everything(2)
    go(straight, 11)
    seed_everything(2)
    go(first, 6)
    state = first.state_dict()
    second = make(digits, Lazy)
    second.load_state_dict(state)
    go(second, 11)
    assert_same(straight, second)


def test_a_lazy_term_is_logged_as_the_mean_over_its_own_turns(digits):
    trainer, meter = make(digits, Lazy), Meter()
    seen = []
    for _ in range(9):
        values = trainer.advance()
        meter.add(trainer.step, values, 32)
        seen.append(values.get("r1_loss"))
    expected = torch.stack([value.detach() for value in seen if value is not None]).double().mean().item()
    state = meter.state_dict()
    resumed = Meter()
    resumed.load_state_dict(state)
    for one in (meter, resumed):
        assert one.read()["r1_loss"] == pytest.approx(expected, rel=1e-6)


def test_a_lazy_term_that_is_not_finite_stops_the_run_by_name_and_step():
    meter = Meter()
    meter.add(1, {"a": torch.tensor(1.0)}, 1)
    meter.add(2, {"a": torch.tensor(1.0), "rare": torch.tensor(math.nan)}, 1)
    with pytest.raises(GanzooError, match="step 2: rare is nan"):
        meter.read()


def test_the_clock_tells_step_images_and_share_in_plain_recorded_and_resumed_steps(digits):
    class Telling(Tiny):
        def generator_loss(self, real, fake):
            for name in ("step", "images", "fraction"):
                self.watch(f"at {name}", getattr(self.clock, name))
            return super().generator_loss(real, fake)

    def rows(trainer, until, most=1):
        told = go(trainer, until, most)
        return [torch.cat([v[n].reshape(-1) for v in told]).tolist() for n in ("at step", "at images", "at fraction")]

    trainer = make(digits, Telling, n_critic=2)
    expected = [list(range(12)), [64 * s for s in range(12)], pytest.approx([s / 200 for s in range(12)])]
    assert rows(trainer, 12) == expected
    fast = make(digits, Telling, n_critic=2)
    assert settle(fast, "graph").used == "graph"
    assert rows(fast, 12, most=10) == expected
    again = make(digits, Telling, n_critic=2)
    again.load_state_dict(trainer.state_dict())
    assert rows(again, 13)[0] == [12]


class Inverting(Tiny):
    """A third network that the run keeps: an encoder, which moves with the generator."""

    saved = ("generator", "encoder")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(data.pixels, 8), nn.BatchNorm1d(8))

    def players(self):
        return {
            "discriminator": self.discriminator,
            "generator": nn.ModuleList([self.generator, self.encoder]),
        }

    def generator_loss(self, real, fake):
        told = super().generator_loss(real, fake)
        return {**told, "inverted": (self.encoder(fake.x) - fake.z).square().mean()}


def test_every_saved_module_is_averaged_and_comes_back_from_a_checkpoint(digits):
    trainer = make(digits, Inverting)
    go(trainer, 5)
    assert set(trainer.ema.modules) == {"generator", "encoder"}
    assert not torch.equal(trainer.ema.modules["encoder"][1].weight, trainer.gan.encoder[1].weight)
    again = make(digits, Inverting)
    again.load_state_dict(trainer.state_dict())
    assert_same(trainer, again)


def test_saved_that_names_nothing_is_refused(digits):
    class Forgetful(Tiny):
        saved = ("generator", "encoder")

    with pytest.raises(GanzooError, match="saved names 'encoder', and __init__ sets no self"):
        make(digits, Forgetful)


def test_makers_that_name_nothing_and_layers_without_a_size_are_refused(digits):
    class Nobody(Tiny):
        makers = ("nobody",)

    class Late(Tiny):
        def __init__(self, data, options):
            super().__init__(data, options)
            self.generator.late = nn.LazyLinear(3)

    with pytest.raises(GanzooError, match="makers names 'nobody', and __init__ sets no self"):
        make(digits, Nobody)
    with pytest.raises(GanzooError, match=r"model 'tiny': generator\.late\.weight has no shape yet"):
        build(Late, digits.spec("digits"), Late.Options())


def test_a_network_that_two_players_hold_is_refused(digits):
    class Sharing(Tiny):
        def __init__(self, data, options):
            super().__init__(data, options)
            self.both = nn.Linear(2, 2)

        def players(self):
            players = super().players()
            return {name: nn.ModuleDict({"own": module, "both": self.both}) for name, module in players.items()}

    with pytest.raises(GanzooError, match=r"both\.weight is in two players, the "):
        make(digits, Sharing)


@pytest.mark.parametrize("rule", [Adam, RMSprop, SGD])
@pytest.mark.parametrize("rate", [-1.0, "fast", math.nan, None])
def test_rates_that_cannot_be_are_refused(rule, rate):
    with pytest.raises(ValueError, match=f"{rule.__name__}'s lr must be a number of at least 0, or a schedule, not "):
        rule(rate)


def test_the_average_follows_tensors_that_are_replaced_by_assignment():
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))
            self.register_buffer("w_avg", torch.zeros(2))

    live = Replacing()
    ema = EMA({"generator": live}, decay=0.0)
    live.weight.data = torch.ones(2)
    live.w_avg = torch.full((2,), 5.0)
    ema.update(1.0)
    assert ema.module.weight.tolist() == [1, 1]
    assert ema.module.w_avg.tolist() == [5, 5]


def test_running_statistics_are_averaged_and_all_other_buffers_copied():
    live = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 3)), nn.BatchNorm1d(3))
    ema = EMA({"generator": live}, decay=0.5)
    before = live[1].running_mean.clone()
    live[0].weight_u.copy_(torch.tensor([1.0, 0, 0]))
    live[1].running_mean.fill_(2.0)
    ema.update(0.25)
    assert torch.equal(ema.module[0].weight_u, live[0].weight_u)
    torch.testing.assert_close(ema.module[1].running_mean, torch.lerp(before, live[1].running_mean, 0.25))


def test_a_half_life_in_images_is_as_the_closed_form_says(digits):
    ema = make(digits, ema_kimg=1.0, ema_rampup=0.1).ema
    # StyleGAN2-ADA's training loop: 0.5 ** (batch / max(min(kimg * 1000, seen * rampup), 1e-8)).
    assert ema.weight(1, images=0, batch=32) == 1.0
    assert ema.weight(9, images=320, batch=32) == pytest.approx(1 - 0.5 ** (32 / 32))
    assert ema.weight(10_000, images=320_000, batch=32) == pytest.approx(1 - 0.5 ** (32 / 1000))


@pytest.mark.parametrize("where", ["generator", "discriminator"])
def test_activations_may_be_recomputed_in_either_network(digits, where):
    class Recomputing(Tiny):
        def __init__(self, data, options):
            super().__init__(data, options)
            layers = getattr(self, where).layers
            inner = layers.forward
            layers.forward = lambda x: checkpoint(inner, x, use_reentrant=False)

    plain, lean = make(digits, Tiny), make(digits, Recomputing)
    for trainer in (plain, lean):
        seed_everything(3)
        go(trainer, 3)
    for (name, mine), theirs in zip(lean.gan.named_parameters(), plain.gan.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def test_clipping_scales_a_players_gradients_to_the_norm_and_no_further():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    clip(1.0)([weight])
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]), rtol=1e-5, atol=1e-6)
    clip(10.0)([weight])
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]), rtol=1e-5, atol=1e-6)


def test_gradients_that_are_not_finite_count_as_zero_when_asked():
    weight = nn.Parameter(torch.zeros(4))
    weight.grad = torch.tensor([1.0, math.nan, math.inf, -math.inf])
    zero_nonfinite([weight])
    assert weight.grad.tolist() == [1, 0, 0, 0]
    assert treatments("stop", None) == ()
    assert len(treatments("zero", 1.0)) == 2


def test_treated_gradients_are_recorded_as_they_are_taken_plainly(digits):
    treated = treatments("zero", 0.1)
    fast, plain = make(digits, treated=treated), make(digits, treated=treated)
    assert settle(fast, "graph").used == "graph"
    for trainer in (fast, plain):
        seed_everything(8)
        go(trainer, 12)
    assert_same(fast, plain)
    assert not torch.equal(next(plain.gan.parameters()), next(make(digits).gan.parameters()))


def test_a_second_discriminator_moves_in_a_turn_of_its_own(digits):
    class Two(Tiny):
        def __init__(self, data, options):
            super().__init__(data, options)
            self.second = Discriminator(self.data)

        def players(self):
            return {**super().players(), "second": self.second}

        def turns(self):
            first, generator = super().turns()
            return [first, ganzoo.Turn("second", self.second_loss), generator]

        def second_loss(self, real, fake):
            scores = self.second(real.x, real.y), self.second(fake.x, fake.y)
            return {"hinge": losses.hinge_discriminator(*scores)}

    trainer = make(digits, Two)
    before = [p.detach().clone() for p in trainer.gan.second.parameters()]
    told = trainer.advance()
    assert {"discriminator_loss", "second_loss", "generator_loss"} <= told.keys()
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.gan.second.parameters(), strict=True))


def test_turns_of_the_default_are_those_of_the_papers(digits):
    schedule = Schedule(make(digits, n_critic=5).gan)
    assert [(t.player, t.name, t.every, t.repeat, t.fresh) for t in schedule.turns] == [
        ("discriminator", "discriminator", 1, 5, False),
        ("generator", "generator", 1, 1, False),
    ]
    assert schedule.owners == {"generator"}


@pytest.mark.parametrize(
    ("method", "returns", "message"),
    [
        ("turns", None, "turns.. returns NoneType, not a list of ganzoo.Turn"),
        ("players", ["x"], "players.. returns list, not a dict of modules by name"),
        ("optimizer", object(), "optimizer.'discriminator'. returns object, not a rule of ganzoo.optim"),
        ("discriminator_loss", torch.zeros(()), "the loss of turn 'discriminator' returns Tensor, not a dict"),
        ("discriminator_loss", {}, "the loss of turn 'discriminator' returns no term"),
        ("discriminator_loss", {"x": 1.0}, "turn 'discriminator' returns term 'x' as float, not as a scalar"),
        ("discriminator_loss", {"x": torch.ones(3)}, r"turn 'discriminator' returns term 'x' as a tensor of \(3,\)"),
        ("discriminator_loss", {"x": torch.ones(())}, "no term of turn 'discriminator' depends on a parameter"),
    ],
)
def test_what_a_method_should_not_have_returned_is_named_with_the_method(digits, method, returns, message):
    def wrong(self, *_):
        return returns

    wrong.__name__ = method
    model = type("Wrong", (Tiny,), {method: wrong})
    with pytest.raises(GanzooError, match=message):
        make(digits, model).advance()


class Misnamed(NamedTuple):
    """A rule that speaks of another optimizer's numbers."""

    def build(self, parameters):
        return torch.optim.SGD(parameters, lr=0.1)

    def settings(self, progress):
        return {"learning_rate": 0.2}


def test_a_rule_that_sets_what_its_optimizer_has_not_is_refused(digits):
    model = type("Wrong", (Tiny,), {"optimizer": lambda self, player: Misnamed()})
    with pytest.raises(GanzooError, match=r"optimizer\('.*'\) sets 'learning_rate', which its SGD does not have"):
        make(digits, model)


def test_saved_begins_with_the_generator(digits):
    model = type("Wrong", (Tiny,), {"saved": ("discriminator",)})
    with pytest.raises(GanzooError, match="it begins with 'generator'"):
        make(digits, model)


class Often(Tiny):
    """The generator first, then the discriminator twice; each turn numbers what it tells by one name."""

    def turns(self):
        return [
            ganzoo.Turn("generator", self.generator_loss),
            ganzoo.Turn("discriminator", self.discriminator_loss, repeat=2),
        ]

    def generator_loss(self, real, fake):
        self.told = 1
        self.watch("score", torch.tensor(1.0))
        return super().generator_loss(real, fake)

    def discriminator_loss(self, real, fake):
        self.told += 1
        self.watch("score", torch.tensor(float(self.told)))
        return super().discriminator_loss(real, fake)


def test_a_turn_that_repeats_itself_tells_of_the_last_time_and_of_no_other_turns_values(digits):
    values = make(digits, Often).advance()
    told = {name: value.item() for name, value in values.items() if "score" in name}
    assert told == {"score": 1.0, "score after": 3.0}
