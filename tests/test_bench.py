"""What `ganzoo bench` prints, and the yardsticks it measures with; never how fast anything is."""

import json
from collections import Counter
from contextlib import closing

import pytest
import torch
from ganzoo_plugins.cgan import CGAN
from ganzoo_plugins.mnist import MNIST
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError
from ganzoo.plugins import registry
from ganzoo.preparing import prepare
from ganzoo.settings import resolve
from ganzoo.speed.bench import Contest, ProductsOfAStep, same_network
from ganzoo.speed.yardsticks import Roofline, TutorialProcess, tutorial_loop
from ganzoo_test_plugins import Tiny

TINY = ("tiny", "--dataset", "small-digits", "--seconds", "0.01", "--device", "cpu")
CPU = torch.device("cpu")


def test_the_roofline_counts_the_products_of_forward_and_backward():
    layer, x = nn.Linear(30, 20), torch.ones(10, 30)
    line = Roofline(lambda: layer(x).sum().backward())
    # Two operations for each number of (10, 20, 30): the product itself, and the one for the weight's gradient.
    assert line.operations == 2 * (2 * 10 * 20 * 30)
    assert line(2, CPU) > 0


def test_the_roofline_follows_a_gradient_penalty():
    layer, x = nn.Conv2d(1, 2, 3), torch.ones(4, 1, 8, 8, requires_grad=True)

    def step():
        (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()

    forward = 2 * 4 * 2 * 6 * 6 * 9
    line = Roofline(step)
    assert line.operations > 3 * forward
    assert line(1, CPU) > 0


def test_the_roofline_runs_the_steps_products_and_nothing_else():
    layer, x = nn.Linear(30, 20), torch.ones(10, 30)
    line = Roofline(lambda: layer(x).sigmoid().sum().backward())
    line(1, CPU)
    again = Roofline(lambda: line(1, CPU))
    assert again.operations == line.operations
    with Counted() as counted:
        line(3, CPU)
    assert counted.names == {"addmm": 3, "mm": 3}


def test_tensors_share_memory_in_the_roofline_as_they_do_in_the_step():
    layer, x = nn.Linear(30, 20), torch.ones(10, 30, requires_grad=True)

    def step():
        layer(x).sigmoid().sum().backward()

    line = Roofline(step)
    line(1, CPU)
    with Operands() as ours:
        line(1, CPU)
    with Operands() as theirs:
        step()
    bias, features, weight, slope = range(4)
    assert ours.places == theirs.places == [(bias, features, weight), (slope, weight), (slope, features)]


class Operands(TorchDispatchMode):
    """The memory of each product's operands, counted as it is met."""

    def __init__(self):
        super().__init__()
        self.places, self._met = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket.__name__ in ("addmm", "mm"):
            memory = [a.untyped_storage().data_ptr() for a in args]
            self.places.append(tuple(self._met.setdefault(m, len(self._met)) for m in memory))
        return func(*args, **(kwargs or {}))


class Counted(TorchDispatchMode):
    """How often each operator ran, but for views."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names[func._overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


LAZY = {"dataset": "small-digits", "device": "cpu", "engine": "eager", "batch_size": 8, "regularise": ("r1:every=4",)}


def test_the_products_of_a_mean_step_are_those_of_all_steps_of_a_period():
    trainer = prepare(resolve(Tiny, LAZY), registry().check()).trainer
    lazy = ProductsOfAStep(trainer)
    period = Roofline(lambda: [trainer.advance() for _ in range(4)])
    assert lazy.operations == period.operations / 4
    assert lazy(2, CPU) > 0
    lines = [line.operations for _, line in lazy.lines]
    assert [share for share, _ in lazy.lines] == [1 / 4, 3 / 4]
    assert lines[0] > lines[1]  # With the penalty, and without.


def test_a_segment_has_every_lazy_turn_as_often_as_it_is_due():
    with closing(Contest(resolve(Tiny, LAZY), registry().check(), 0.01)) as contest:
        assert (contest.our_steps, contest.segments) == (4, 1)


def test_a_bench_that_fails_leaves_no_process_behind(monkeypatch):
    made = []

    class Loop(TutorialProcess):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("ganzoo.speed.bench.TutorialProcess", Loop)
    monkeypatch.setattr(ProductsOfAStep, "__call__", full)
    with pytest.raises(MemoryError):
        Contest(resolve(Tiny, LAZY), registry().check(), 0.01)
    assert made[0]._process.poll() is not None


def test_the_tutorial_loop_trains_in_a_process_of_its_own():
    loop = TutorialProcess(MNIST.unpack(), 16, "cpu")
    assert loop(2) > 0
    assert loop(1) > 0
    loop.close()


def test_a_tutorial_loop_that_cannot_start_says_why(tmp_path):
    loop = TutorialProcess(tmp_path / "nothing", 16, "cpu")
    with pytest.raises(GanzooError, match=r"the tutorials' loop stopped: .*Dataset not found"):
        loop(1)


def test_the_tutorial_loop_trains(tmp_path):
    with (tmp_path / "progress").open("w") as progress:
        steps = tutorial_loop(MNIST.unpack(), 16, progress=progress)
        seen, network = next(steps)
        before = [p.clone() for p in network.parameters()]
        assert (seen, next(steps)[0]) == (16, 32)
        steps.close()
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_bench_prints_a_line_for_each_batch_size(ganzoo):
    result = ganzoo("bench", *TINY, "--batch-size", "16,32")
    assert result.code == 0, result.err
    head, first, second = result.out.splitlines()
    assert head.split() == ["model", "batch", "images/s", "tutorial", "roofline", "set-up", "memory", "mode"]
    assert first.split()[:2] == ["tiny", "16"]
    assert second.split()[:2] == ["tiny", "32"]
    assert "x*" in first  # The loop trains another network.


def test_bench_takes_the_options_of_the_data_set_and_of_sources(ganzoo):
    styled = ("--dataset", "emoji", "--style", "noto", "--image-size", "8", "--seconds", "0.1")
    assert ganzoo("bench", "tiny", *styled).code == 0
    other = ganzoo("bench", "tiny", "--dataset", "mnist", "--style", "noto")
    assert (other.code, "the data set is 'mnist'" in other.err) == (2, True)
    made = ganzoo("bench", "pix2pix", "--source", "edges", "--width", "4", "--seconds", "0.1")
    assert made.code == 2  # An option of the model is none of bench's, and sources are.
    assert "--width" in made.err


def test_bench_as_json_has_what_reports_read(ganzoo):
    result = ganzoo("bench", *TINY, "--batch-size", "8", "--json")
    assert result.code == 0, result.err
    (line,) = json.loads(result.out)
    assert (line["model"], line["batch_size"], line["device"]) == ("tiny", 8, "cpu")
    assert line["mode"] in ("eager", "graph")
    for name in ("images_per_second", "ratio_to_tutorial_loop", "roofline_share", "setup_seconds", "peak_memory_bytes"):
        assert line[name] > 0, name


def test_bench_knows_the_tutorials_own_network():
    spec = DataSpec("mnist", (1, 32, 32), 60_000, tuple("0123456789"))
    tutorial = resolve(CGAN, {}, "tutorial").options
    assert same_network(CGAN(spec, tutorial))
    assert not same_network(CGAN(spec, CGAN.Options()))


@pytest.mark.parametrize("sizes", ["0", "64,many", ""])
def test_a_batch_size_that_is_none_is_a_usage_error(ganzoo, sizes):
    result = ganzoo("bench", *TINY, "--batch-size", sizes)
    assert result.code == 2
    assert "64,256,1024" in result.err


def test_a_mistake_in_the_last_model_is_told_before_the_first_is_measured(ganzoo):
    result = ganzoo("bench", "tiny", "tinny", *TINY[1:])
    assert result.code == 2
    assert "did you mean 'tiny'" in result.err
    assert not result.out


def test_a_size_that_the_model_cannot_have_is_one_line_and_no_table(ganzoo):
    result = ganzoo("bench", "stylegan2", "--dataset", "small-digits", "--image-size", 48, "--device", "cpu")
    assert (result.code, result.out) == (2, "")
    assert "sides that are powers of two" in result.err
