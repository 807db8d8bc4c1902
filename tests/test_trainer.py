"""The loop: who moves, what is logged, what the averaged generator is."""

import copy
import math

import pytest
import torch

from conftest import TINY
from ganzoo.data import DataRequest, Loader
from ganzoo.errors import GanzooError
from ganzoo.training import ema as averaging
from ganzoo.training.ema import EMA, approach, averaged
from ganzoo.training.engine import Engine, own_randomness, seed_everything
from ganzoo.training.trainer import Trainer
from ganzoo.training.turns import Schedule
from ganzoo_test_plugins import Plain, SmallDigits, Tiny
from together import Even

CPU = Engine(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def digits():
    return SmallDigits().load(DataRequest())


def make(digits, model=Tiny, steps=None, seconds=None, **options):
    seed_everything(0)
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32, **options))
    return Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, steps, seconds)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_descend_moves_one_player_and_leaves_no_gradient_on_the_other(digits):
    trainer = make(digits)
    gan = trainer.gan
    real = next(trainer.loader.batches())
    before = weights(gan.generator), weights(gan.discriminator)
    trainer.descend("generator", gan.generator_loss(real, gan.fake(real)))
    assert moved(before[1], weights(gan.discriminator)) == set()
    assert moved(before[0], weights(gan.generator)) >= {n for n, _ in gan.generator.named_parameters()}
    assert all(p.grad is None for p in gan.discriminator.parameters())


def test_in_the_generators_turn_nothing_is_recorded_for_the_discriminator(digits, monkeypatch):
    trainer = make(digits)
    gan, loss = trainer.gan, trainer.gan.generator_loss
    seen = []

    def watched(*batches):
        seen.extend((p.requires_grad for p in module.parameters()) for module in (gan.discriminator, gan.generator))
        assert [any(flags) for flags in seen] == [False, True]
        return loss(*batches)

    monkeypatch.setattr(gan, "generator_loss", watched)
    trainer.schedule = Schedule(gan)
    trainer.advance()
    assert len(seen) == 2
    assert all(p.requires_grad for p in gan.parameters())


def test_a_step_equals_the_plain_loop_written_out(digits):
    trainer = make(digits)
    seed_everything(1)
    values = trainer.advance()

    plain = make(digits).gan
    d = torch.optim.Adam(plain.discriminator.parameters(), 2e-4, (0.5, 0.999))
    g = torch.optim.Adam(plain.generator.parameters(), 2e-4, (0.5, 0.999))
    real = next(Loader(digits, 32, 0, CPU.device).batches())
    seed_everything(1)
    fake = plain.fake(real)
    d_loss = plain.discriminator_loss(real, fake.detach())["adversarial"]
    d.zero_grad()
    d_loss.backward()
    d.step()
    g_loss = sum(plain.generator_loss(real, fake).values())
    g.zero_grad()
    g_loss.backward()
    g.step()

    assert values["discriminator_loss"].item() == pytest.approx(d_loss.item(), rel=1e-6)
    assert values["generator_loss"].item() == pytest.approx(g_loss.item(), rel=1e-6)
    for mine, theirs in zip(trainer.gan.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_scores_are_logged_as_the_tutorials_log_them(digits):
    values = make(digits).advance()
    assert {"D(x)", "D(G(z))", "D(G(z)) after"} <= set(values)
    assert {"discriminator_loss", "generator_loss", "generator/adversarial", "generator/extra"} <= set(values)


LOGS_OWN = {name: f"the log's own '{name}'" for name in ("step", "epoch", "seconds")}
LOSSES = dict.fromkeys(("generator_loss", "generator/adversarial"), "the loss of that name")


@pytest.mark.parametrize(("name", "hidden"), (LOGS_OWN | LOSSES).items())
def test_no_watched_value_hides_a_loss_or_what_the_log_says_of_its_lines(digits, name, hidden):
    class Hiding(Tiny):
        def generator_loss(self, real, fake):
            self.watch(name, fake.x)
            return super().generator_loss(real, fake)

    with pytest.raises(GanzooError, match=rf"watch\('{name}', ...\) would hide {hidden}: rename it"):
        make(digits, Hiding).advance()


def test_every_critic_step_sees_a_batch_of_its_own(digits):
    trainer = make(digits, n_critic=3)
    seen = []
    original = trainer.gan.discriminator_loss
    trainer.gan.discriminator_loss = lambda real, fake: seen.append(real.x) or original(real, fake)
    trainer.schedule = Schedule(trainer.gan)
    trainer.advance()
    trainer.advance()
    expected = trainer.loader.batches()
    assert all(torch.equal(x, next(expected).x) for x in seen)
    assert len(seen) == 6
    assert trainer.epoch == pytest.approx(6 / trainer.loader.batches_per_epoch)


def test_an_unconditional_model_is_not_given_labels(digits):
    trainer = make(digits, Plain)
    seen = []
    original = trainer.gan.discriminator_loss
    trainer.gan.discriminator_loss = lambda real, fake: seen.append((real.y, fake.y)) or original(real, fake)
    trainer.schedule = Schedule(trainer.gan)
    trainer.advance()
    assert seen == [(None, None)]


def test_the_averaged_generator_follows_the_closed_form():
    live = torch.nn.Linear(1, 1, bias=False)
    live.weight.data.fill_(1.0)
    ema = EMA({"generator": live}, decay=0.9)
    expected = 1.0
    for step in range(1, 200):
        live.weight.data.fill_(float(step))
        ema.update(ema.weight(step))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_synchronised_batch_normalisation_is_averaged_with_the_processes_it_has():
    class Group:
        """As torch's: there is no copy of it."""

        def __deepcopy__(self, _memo):
            raise TypeError("cannot pickle a process group")

    live = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.SyncBatchNorm(3, process_group=Group()))
    mine = EMA({"generator": live}, 0.9).module
    assert mine[1].process_group is live[1].process_group
    assert mine[1].weight is not live[1].weight


def test_without_averaging_samples_come_from_the_live_weights(digits):
    trainer = make(digits, ema=0.0)
    for _ in range(3):
        trainer.advance()
    assert moved(weights(trainer.gan.generator), weights(trainer.ema.module)) == set()


def test_sampling_from_the_averaged_generator_changes_nothing(digits):
    trainer = make(digits)
    trainer.advance()
    before, random = weights(trainer.gan), torch.get_rng_state()
    with own_randomness(5, CPU.device), torch.no_grad():
        view = averaged(trainer.gan, trainer.ema)
        view.generate(view.sample_latent(4), view.sample_labels(4))
    assert moved(before, weights(trainer.gan)) == set()
    assert torch.equal(random, torch.get_rng_state())
    assert trainer.gan.generator is not trainer.ema.module


def test_state_round_trips_and_the_next_steps_are_equal(digits):
    first = make(digits)
    for _ in range(5):
        first.advance()
    state = copy.deepcopy(first.state_dict())
    after = [first.advance()["generator_loss"].item() for _ in range(4)]
    second = make(digits)
    second.load_state_dict(state)
    assert [second.advance()["generator_loss"].item() for _ in range(4)] == after
    assert moved(weights(first.gan), weights(second.gan)) == set()


def test_weights_that_are_not_finite_are_refused_by_player(digits):
    trainer = make(digits)
    trainer.gan.generator.layers[0].weight.data[0, 0] = math.inf
    with pytest.raises(GanzooError, match="generator's weights are no longer finite"):
        trainer.check_weights()


def test_budget_is_the_nearer_of_steps_and_time(digits):
    trainer = make(digits, steps=10, seconds=100.0)
    trainer.step, trainer.elapsed = 5, 90.0
    assert trainer.fraction == pytest.approx(0.9)
    trainer.step = 10
    assert trainer.fraction == 1.0


# Batches in parts


def in_parts(digits, count, model=Even):
    seed_everything(0)
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32, lr=1e-3))
    return Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, steps=100, accumulate=count)


def gradients_of_a_step(trainer, monkeypatch):
    """By player, as they are followed."""
    found, follow = {}, trainer.follow

    def keep(player, settings):
        found[player] = [p.grad.clone() for p in trainer.parameters[player]]
        follow(player, settings)

    monkeypatch.setattr(trainer, "follow", keep)
    return trainer.advance(), found


@pytest.mark.parametrize("count", [2, 8])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(digits, monkeypatch, count):
    told, whole = gradients_of_a_step(in_parts(digits, 1), monkeypatch)
    said, parts = gradients_of_a_step(in_parts(digits, count), monkeypatch)
    for ours, theirs in zip(whole["discriminator"], parts["discriminator"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(whole["generator"], parts["generator"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)  # D has moved by then.
    assert {k: v.item() for k, v in said.items()} == pytest.approx({k: v.item() for k, v in told.items()}, abs=1e-4)


def test_in_parts_no_graph_of_the_generator_outlives_its_part(digits, monkeypatch):
    trainer = in_parts(digits, 4, Tiny)
    gan, fake, graphs = trainer.gan, trainer.gan.fake, []

    def made(real):
        found = fake(real)
        graphs.append((len(found.x), found.x.requires_grad))
        return found

    monkeypatch.setattr(gan, "fake", made)
    trainer.advance()
    assert graphs == [(8, False)] * 4 + [(8, True)] * 4


def test_steps_in_parts_are_resumed_exactly(digits):
    first = in_parts(digits, 4, Tiny)
    for _ in range(2):
        first.advance()
    state = copy.deepcopy(first.state_dict())
    expected = first.advance()
    second = in_parts(digits, 4, Tiny)
    second.load_state_dict(state)
    assert {k: v.item() for k, v in second.advance().items()} == {k: v.item() for k, v in expected.items()}


def test_an_average_by_groups_is_that_of_all_at_once(monkeypatch):
    live = [torch.randn(3, 5), torch.randn(64), torch.randn(()), torch.randn(7, 2)]
    mine = [torch.randn_like(t) for t in live]
    expected = [m.lerp(t, 0.3) for m, t in zip(mine, live, strict=True)]
    monkeypatch.setattr(averaging, "GROUP_BYTES", 100)
    groups = averaging._groups([t.nbytes for t in live])
    assert groups == [slice(0, 1), slice(1, 2), slice(2, 4)]
    for group in groups:
        approach(mine[group], live[group], torch.tensor(0.3))
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert averaging._groups([]) == [slice(0, 0)]


def test_a_regulariser_that_ranks_a_batch_takes_no_parts_of_one(ganzoo, tmp_path):
    refused = ganzoo("run", *TINY, "--steps", 2, "--regularise", "topk", "--accumulate", 2, "--out", "r")
    assert refused.code == 2
    assert "regulariser 'topk' takes whole batches" in refused.err
    assert not (tmp_path / "r").exists()
