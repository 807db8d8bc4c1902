"""Fast modes do what plain steps do. Graphs are played on a tape here, which fixes on the CPU what a graph fixes."""

import itertools
import json
from dataclasses import dataclass

import pytest
import torch

from ganzoo.data import DataRequest, Loader
from ganzoo.errors import GanzooError, NotRecorded, UsageError
from ganzoo.optim import SGD, Adam, exponential, ramp
from ganzoo.runs.folder import read_metrics
from ganzoo.runs.run import Run
from ganzoo.training import modes
from ganzoo.training.capture import Recorded, Snapshot
from ganzoo.training.distributed import World
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.modes import settle
from ganzoo.training.tape import on_tape
from ganzoo.training.trainer import Trainer
from ganzoo_test_plugins import SmallDigits, Tiny
from test_zoo import ZOO, build, images, train

CPU = Engine(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def digits():
    return SmallDigits().load(DataRequest())


class Scheduled(Tiny):
    """Rates that fall at every step."""

    def optimizer(self, player):
        return Adam(exponential(2e-3, 1.05), self.options.b1, self.options.b2)


class Counting(Tiny):
    """Counts in Python, which a recording does not run."""

    def generator_loss(self, real, fake):
        self.calls = getattr(self, "calls", 0) + 1
        return {"adversarial": self.calls * self.discriminate(fake).mean()}


def make(digits, model=Tiny, steps=200, **options):
    seed_everything(0)
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32, **options))
    return Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, steps)


def recorded(trainer, sizes):
    """The trainer with its steps on the tape, standing where it stood."""
    before = Snapshot(trainer)
    trainer.recorded = Recorded(trainer, on_tape, sizes)
    before.restore()
    trainer.feed(None)
    return trainer


def go(trainer, until, most=10):
    """Step by step, or group by group, to a step; the values of all steps, 0 of terms that a step does not have."""
    told = []
    while trainer.step < until:
        values = trainer.advance(min(most, until - trainer.step))
        told.append({name: value.detach().float().reshape(-1) for name, value in values.items()})
    names = dict.fromkeys(name for values in told for name in values)
    rows = [[v.get(name, torch.zeros(len(next(iter(v.values()))))) for name in names] for v in told]
    return torch.cat([torch.stack(row, 1) for row in rows])


def assert_same(one, two):
    """Both networks and their averages bit for bit."""
    for mine, theirs in zip(one.gan.state_dict().items(), two.gan.state_dict().items(), strict=True):
        assert torch.equal(mine[1], theirs[1]), mine[0]
    for mine, theirs in zip(one.ema.module.parameters(), two.ema.module.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def assert_go_on_alike(one, two, until):
    """Both trained to this step with the same random numbers."""
    for trainer in (one, two):
        seed_everything(8)
        go(trainer, until)
    assert_same(one, two)


def test_recorded_steps_equal_plain_ones_through_schedules_averages_and_a_partial_group(digits):
    plain = make(digits, Scheduled, n_critic=2)
    values = go(plain, 25)
    after = torch.rand(1)
    fast = recorded(make(digits, Scheduled, n_critic=2), (10, 1))
    torch.testing.assert_close(go(fast, 25), values, rtol=0, atol=0)
    assert torch.equal(torch.rand(1), after)
    assert_same(fast, plain)


@pytest.mark.parametrize("name", ZOO)
def test_every_model_can_be_recorded_penalties_included(name):
    assert_go_on_alike(recorded(train(name), (2, 1)), train(name), 3)


def test_settling_leaves_training_where_it_stood(digits):
    trainer, untouched = make(digits), make(digits)
    seed_everything(7)
    mode = settle(trainer, "graph", on_tape)
    drawn = torch.rand(1)
    seed_everything(7)
    assert torch.equal(drawn, torch.rand(1))
    assert (mode.used, trainer.step, trainer.recorded is not None) == ("graph", 0, True)
    assert mode.setup_seconds > 0
    assert_same(trainer, untouched)
    assert_go_on_alike(trainer, untouched, 12)


def test_a_model_that_counts_in_python_is_found_out_and_runs_plainly(digits):
    trainer = make(digits, Counting)
    mode = settle(trainer, "auto", on_tape)
    assert (mode.asked, mode.used, trainer.recorded) == ("auto", "eager", None)
    assert "graph: " in mode.why
    with pytest.raises(GanzooError, match=r"--engine graph: .*; --engine eager always works"):
        settle(make(digits, Counting), "graph", on_tape)


def test_what_a_model_counts_and_saves_stands_where_it_stood(digits):
    class Saving(Counting):
        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

        calls = 0

    trainer = make(digits, Saving)
    assert settle(trainer).failed
    assert trainer.gan.calls == 0


def test_training_that_fails_is_left_to_fail_in_its_place(digits):
    class Broken(Tiny):
        def generator_loss(self, real, fake):
            raise ZeroDivisionError("boom")

    mode = settle(make(digits, Broken))
    assert (mode.used, mode.why, mode.failed) == ("eager", "plain steps fail: ZeroDivisionError: boom", False)
    mode = settle(make(digits, explode_at=2))
    assert (mode.why, mode.failed) == ("plain steps report what is not finite", False)


def test_a_graph_that_trains_nothing_is_found_out(digits):
    def nothing(take):
        take()
        return lambda: None

    mode = settle(make(digits), "auto", nothing)
    assert (mode.used, mode.why) == ("eager", "graph: the discriminator does not move")


def test_a_capture_that_fails_falls_back_and_says_why(digits):
    def fails(take):
        raise RuntimeError("operation not permitted when stream is capturing")

    trainer, untouched = make(digits), make(digits)
    mode = settle(trainer, "auto", fails)
    assert mode.used == "eager"
    assert "not permitted when stream is capturing" in mode.why
    assert_same(trainer, untouched)


def test_a_capture_that_fails_in_another_process_is_given_up_before_any_step_of_it(digits, monkeypatch):
    trainer = make(digits)
    taken, asked = [], itertools.count()
    monkeypatch.setattr(type(trainer.world), "mean", lambda self, rows: rows + 0.5 * (next(asked) > 0))
    take = modes._Probe._take
    monkeypatch.setattr(modes._Probe, "_take", lambda probe: taken.append(trainer.recorded) or take(probe))
    mode = settle(trainer, "auto", on_tape)
    assert (mode.used, mode.why) == ("eager", "graph: it failed in another process")
    assert taken == [None]  # The plain steps.
    assert trainer.recorded is None


def test_slower_graphs_are_not_taken(digits, monkeypatch):
    monkeypatch.setattr(modes._Probe, "verdict", lambda *args, **kwargs: (None, False, 0.9))
    mode = settle(make(digits), "auto", on_tape)
    assert (mode.used, mode.why, mode.speedup) == ("eager", "recorded steps are no faster here", 0.9)


class Momentum(Tiny):
    """The papers' rule of 2014."""

    def optimizer(self, player):
        return SGD(exponential(0.01, 1.01), momentum=ramp(0.5, 0.7, epochs=3))


def test_rising_momentum_is_recorded(digits):
    plain = make(digits, Momentum)
    values = go(plain, 10)
    fast = recorded(make(digits, Momentum), (4, 1))
    torch.testing.assert_close(go(fast, 10), values, rtol=0, atol=0)
    assert_same(fast, plain)


def test_a_number_that_changes_and_that_kernels_take_from_python_is_not_recorded(digits):
    @dataclass(frozen=True)
    class Decaying(SGD):
        def settings(self, progress):
            return super().settings(progress) | {"weight_decay": 0.1 / (1 + progress.step)}

    class Decayed(Tiny):
        def optimizer(self, player):
            return Decaying(0.01)

    with pytest.raises(
        NotRecorded, match=r"^the discriminator's weight_decay, the generator's weight_decay follows a schedule"
    ):
        recorded(make(digits, Decayed), (1,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ZOO)
def test_on_a_gpu_every_model_is_recorded_as_cuda_graphs_that_equal_plain_steps(name):
    engine, data = Engine(torch.device("cuda", 0), "fp32"), images()
    gan = build(name, data)
    trainer = Trainer(gan, Loader(data, gan.options.batch_size, 0, engine.device), engine, steps=100)
    assert settle(trainer, "graph").used == "graph"
    go(trainer, 25)
    trainer.check_weights()


def compiled_by(monkeypatch, backend):
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **kwargs: compile(function, **kwargs, backend=backend))


# Torch's tracer looks at the gradients of what it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python")
def test_compiled_networks_train_as_plain_ones(digits, monkeypatch):
    compiled_by(monkeypatch, "aot_eager")
    trainer, plain = make(digits), make(digits)
    seed_everything(7)
    mode = settle(trainer, "compile")
    assert mode.used == "compile"
    go(trainer, 5)
    seed_everything(7)
    go(plain, 5)
    for mine, theirs in zip(trainer.gan.parameters(), plain.gan.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_penalty_in_a_compiled_critic_is_refused_not_skipped(monkeypatch):
    compiled_by(monkeypatch, "aot_eager")
    trainer = train("wgan-gp")
    with pytest.raises(GanzooError, match="--engine compile: "):
        settle(trainer, "compile")
    assert "forward" not in vars(trainer.gan.discriminator)
    trainer.advance()


def test_a_run_of_recorded_steps_logs_and_saves_when_a_plain_one_does(digits, tmp_path):
    def run(name, prepare):
        trainer = prepare(make(digits, steps=120))
        run = Run(tmp_path / name, sample_interval=45, checkpoint_interval=70)
        run.create({}, {})
        seed_everything(1)
        trainer.fit(run)
        run.close("finished", trainer)
        return trainer, run.folder

    one, plain = run("plain", lambda trainer: trainer)
    two, fast = run("fast", lambda trainer: recorded(trainer, (10, 1)))
    assert_same(one, two)
    assert two.recorded is None  # Both are let go at once.
    files = [sorted(p.name for p in folder.rglob("*.png")) for folder in (plain, fast)]
    assert files[0] == files[1] == ["00000045.png", "00000090.png", "00000120.png", "losses.png"]
    names = [sorted(p.name for p in (folder / "checkpoints").iterdir()) for folder in (plain, fast)]
    assert names[0] == names[1]
    timed = {"seconds", "images_per_second", "wait"}
    lines = [[{k: v for k, v in line.items() if k not in timed} for line in read_metrics(f)] for f in (plain, fast)]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == [50, 100, 120]


def test_graph_by_name_is_refused_where_steps_are_not_recorded():
    with pytest.raises(UsageError, match="--engine graph needs a CUDA device or the CPU, not mps; use auto"):
        modes.refuse("graph", torch.device("mps"))


def test_the_run_says_how_its_steps_were_run_and_why(ganzoo, tmp_path):
    options = ("--dataset", "small-digits", "--batch-size", 32, "--steps", 3, "--loggers", "none", "--device", "cpu")
    assert ganzoo("run", "tiny", *options, "--out", "r").code == 0
    info = json.loads((tmp_path / "r" / "run.json").read_text())
    engine = info["engine"]
    assert (engine["asked"], engine["used"]) == ("auto", info["machine"]["engine"])
    # Which is faster is the machine's business here.
    why = {"graph": "equal to plain steps bit for bit, and faster", "eager": "recorded steps are no faster here"}
    assert engine["why"] == why[engine["used"]]
    assert engine["speedup"] > 0


def test_what_is_not_equal_bit_for_bit_is_not_taken_on_a_cpu(digits):
    def nearly(take):
        play = on_tape(take)

        def other():
            play()
            with torch.no_grad():
                next(trainer.gan.generator.parameters()).mul_(1 + 1e-6)

        return other

    trainer = make(digits)
    mode = settle(trainer, "auto", nearly)
    assert mode.used == "eager"
    assert mode.why.startswith("graph: generator.")
    assert mode.why.endswith("is not bit for bit what plain steps make it")


def test_a_long_step_is_not_probed_unless_asked_for(digits, monkeypatch):
    monkeypatch.setattr(modes, "LONG", 0.0)
    mode = settle(make(digits))
    assert (mode.used, mode.speedup) == ("eager", None)
    assert mode.why.endswith("hardly any of it outside of kernels")
    assert settle(make(digits), "graph").used == "graph"


class Assigning(Tiny):
    """Puts another tensor in a buffer's place, as it may; a replay would not."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.register_buffer("level", torch.full((2,), 0.5))

    def generator_loss(self, real, fake):
        self.level = self.level * 0.9 + 0.1 * fake.x.detach().mean()
        return super().generator_loss(real, fake)


class Unread(Assigning):
    """The same, and no step reads it."""

    def generator_loss(self, real, fake):
        self.level = fake.x.detach().mean().expand(2)
        return Tiny.generator_loss(self, real, fake)


@pytest.mark.parametrize(
    ("model", "why"),
    [(Assigning, "self.level changes from step to step"), (Unread, "self.level changes from step to step")],
)
def test_a_buffer_that_is_assigned_is_found_out_and_put_back(digits, model, why):
    trainer, untouched = make(digits, model), make(digits, model)
    mode = settle(trainer)
    assert mode.used == "eager"
    assert why in mode.why
    assert_same(trainer, untouched)
    assert_go_on_alike(trainer, untouched, 5)


class Counted(torch.optim.SGD):
    """Counts its steps in Python, from what its state says."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["taken"] = self.state[p].get("taken", 0) + 1
                p.data.add_(p.grad, alpha=-group["lr"] / self.state[p]["taken"])


class CountedRule(SGD):
    def build(self, parameters):
        return Counted(parameters, lr=0.1)

    def settings(self, progress):
        return {"lr": self.lr}


@pytest.mark.parametrize("resumed", [False, True])
def test_what_an_optimizer_counts_stands_where_it_stood(digits, resumed):
    class Model(Tiny):
        def optimizer(self, player):
            return CountedRule(0.1)

    trainer = make(digits, Model)
    if resumed:
        go(trainer, 3)
    settle(trainer)
    counts = {state["taken"] for o in trainer.optimizers.values() for state in o.state.values()}
    assert counts == ({3} if resumed else set())


@pytest.mark.parametrize("resumed", [False, True])
def test_an_optimizers_state_is_where_it_was_before_the_probe(digits, resumed):
    plain, trainer = make(digits), make(digits)
    for one in (plain, trainer):
        seed_everything(2)
        if resumed:
            go(one, 4)
    assert settle(trainer, "graph").used == "graph"
    assert_go_on_alike(trainer, plain, 9)
    for name, optimizer in plain.optimizers.items():
        other = trainer.optimizers[name].state_dict()["state"]
        torch.testing.assert_close(other, optimizer.state_dict()["state"], rtol=0, atol=0)


def test_a_checkpoint_has_the_next_steps_rates_however_steps_were_run(digits):
    plain, fast = make(digits, Scheduled), recorded(make(digits, Scheduled), (10, 1))
    for trainer in (plain, fast):
        seed_everything(2)
        go(trainer, 25)
    assert fast.recorded is not None
    for name in plain.optimizers:
        groups = [trainer.state_dict()["optimizers"][name]["param_groups"] for trainer in (plain, fast)]
        assert groups[0] == groups[1]
        assert groups[0][0].items() >= plain.settings()[name].items()


def test_a_rule_of_a_plugin_that_changes_late_goes_on_in_plain_steps(digits, capsys):
    @dataclass(frozen=True)
    class Late(Adam):
        def settings(self, progress):
            return {"lr": 0.001, "weight_decay": 0.0 if progress.step < 2000 else 0.1}

    class Model(Tiny):
        def optimizer(self, player):
            return Late(0.001) if player == "generator" else super().optimizer(player)

    trainer = recorded(make(digits, Model), (1,))
    trainer.step = 1995
    go(trainer, 2003)
    assert trainer.recorded is None
    assert capsys.readouterr().err == (
        "note: from step 2001 on, steps run operator by operator: the generator's weight_decay has changed, "
        "and is fixed in the recording\n"
    )


def test_graph_by_name_is_refused_for_several_processes_on_a_cpu():
    with pytest.raises(UsageError, match="steps of several processes are not recorded on a CPU; use auto"):
        modes.refuse("graph", torch.device("cpu"), processes=2)


def test_steps_of_several_processes_are_not_recorded_on_a_cpu(digits):
    trainer = make(digits)
    trainer.world = World(size=2)
    mode = settle(trainer)
    assert (mode.used, mode.why) == ("eager", "steps of several processes are not recorded on a CPU")


def test_a_probe_takes_no_images_from_training(digits):
    """What it looked at comes first afterwards, and the loader is not asked again."""
    trainer, plain = make(digits), make(digits)
    asked = []
    parts = trainer.loader.parts
    trainer.loader.parts = lambda position: asked.append(position) or parts(position)
    settle(trainer, "graph")
    for _ in range(12):
        assert torch.equal(trainer.next_parts()[0], plain.next_parts()[0])
    assert asked == [0]
