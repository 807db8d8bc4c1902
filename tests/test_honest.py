"""Whatever changes a model's steps, `auto` ends with the tensors of `eager`: recorded, or plainly and told why."""

import itertools
import random
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ganzoo import losses
from ganzoo.data import DataRequest, Loader
from ganzoo.errors import GanzooError
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.modes import settle
from ganzoo.training.state import PythonState
from ganzoo.training.trainer import Trainer
from ganzoo_test_plugins import SmallDigits, Tiny

CPU = Engine(torch.device("cpu"), "fp32")
STEPS = 70
CALLS = 0
COUNTED = itertools.count()


@pytest.fixture(scope="module")
def digits():
    return SmallDigits().load(DataRequest())


class Base(Tiny):
    """A discriminator's loss with something more in it, now and then."""

    def discriminator_loss(self, real, fake):
        return {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake)) + self.more(real, fake)}

    def more(self, real, fake):
        return self.r1(real) if self.now() else 0.0

    def r1(self, real):
        x = real.x.detach().requires_grad_()
        return losses.zero_centred_penalties((x, self.discriminator(x, real.y)))[0]


class Every64(Base):
    calls = 0

    def now(self):
        self.calls += 1
        return self.calls % 64 == 0


class Every16(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.calls = 0

    def now(self):
        self.calls += 1
        return self.calls % 16 == 0


class From41(Every16):
    def now(self):
        self.calls += 1
        return self.calls > 41


class Pool(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.pool = []

    def more(self, real, fake):
        self.pool = [*self.pool, fake.x.detach().clone()][-20:]
        return self.discriminator(self.pool[0], fake.y).relu().mean() if len(self.pool) == 20 else 0.0


class PoolInPlace(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.pool = deque(maxlen=8)

    def more(self, real, fake):
        self.pool.append(fake.x.detach().clone())
        return self.discriminator(self.pool[0], fake.y).relu().mean()


class Coin(Base):
    def now(self):
        return random.random() < 0.02


class NumpyCoin(Base):
    def now(self):
        return np.random.rand() < 0.02


class OwnCoin(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.coin = random.Random(3)

    def now(self):
        return self.coin.random() < 0.1


class OwnNumpyCoin(OwnCoin):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.coin = np.random.default_rng(3)


class CountsInItsClass(Base):
    calls = 0

    def now(self):
        type(self).calls += 1
        return type(self).calls % 16 == 0


class CountsInItsFile(Base):
    def now(self):
        global CALLS
        CALLS += 1
        return CALLS % 16 == 0


class CountsInAClosure(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        calls = 0

        def now():
            nonlocal calls
            calls += 1
            return calls % 16 == 0

        self.now = now


class CountsInAnObject(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.note = SimpleNamespace(calls=0)

    def now(self):
        self.note.calls += 1
        return self.note.calls % 16 == 0


class CountsInAnArray(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.calls = np.zeros(1, int)

    def now(self):
        self.calls += 1
        return self.calls[0] % 16 == 0


class CountsInALayer(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.discriminator.calls = {"all": 0}

    def now(self):
        self.discriminator.calls["all"] += 1
        return self.discriminator.calls["all"] % 16 == 0


class CountsByAnIterator(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.calls = itertools.count(1)

    def now(self):
        return next(self.calls) % 16 == 0


class OfOneClass(Base):
    def more(self, real, fake):
        return self.discriminator(real.x, real.y)[real.y == 0].mean()


class MoreTermsLater(Every16):
    def discriminator_loss(self, real, fake):
        told = {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake))}
        self.calls += 1
        return {**told, "late": 0.1 * told["adversarial"]} if self.calls > 20 else told


class OtherNames(Every16):
    def generator_loss(self, real, fake):
        self.calls += 1
        told = super().generator_loss(real, fake)
        return {f"{name} {self.calls % 2}": value for name, value in told.items()}


class BufferReplaced(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.register_buffer("w_avg", torch.zeros(()))

    def more(self, real, fake):
        self.generator.w_avg = self.generator.w_avg.lerp(fake.x.mean(), 0.1)
        return self.generator.w_avg * self.discriminator(real.x, real.y).mean()


class ParameterReplaced(Base):
    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator.scale = nn.Parameter(torch.ones(()))
        self.generator.register_forward_hook(lambda module, _, images: (images * module.scale).tanh())

    def more(self, real, fake):
        with torch.no_grad():
            self.generator.scale.data = self.generator.scale.data * 0.99 + 0.02
        return 0.0


class TensorInPlace(Base):
    """Recorded rightly, though no buffer: no rule, but no fault either."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.level = torch.zeros(())

    def more(self, real, fake):
        self.level.lerp_(fake.x.detach().mean(), 0.1)
        return self.level * self.discriminator(real.x, real.y).mean()


class LooksBack(torch.optim.SGD):
    """Every 40 steps all weights shrink: by a count of its own, or by one in its groups."""

    def __init__(self, parameters, in_group):
        super().__init__(parameters, lr=0.01)
        self.t, self.in_group = 0, in_group
        for group in self.param_groups:
            group["t"] = 0

    @torch.no_grad()
    def step(self):
        super().step()
        for group in self.param_groups:
            if self.in_group:
                group["t"] += 1
            else:
                self.t += 1
            if max(group["t"], self.t) % 40 == 0:
                torch._foreach_mul_(group["params"], 0.9)


class CountsInItsOptimizer(Tiny):
    in_group = False

    def optimizer(self, player):
        return SimpleNamespace(build=lambda p: LooksBack(p, self.in_group), settings=lambda progress: {"lr": 0.01})


class CountsInAGroup(CountsInItsOptimizer):
    in_group = True


FOUND = {
    CountsInItsOptimizer: "'t' of the discriminator's optimizer changes",
    CountsInAGroup: "'t' of the discriminator's optimizer changes",
    Every64: "self.calls changes from step to step in Python",
    Every16: "self.calls changes",
    From41: "self.calls changes",
    Pool: "self.pool",
    PoolInPlace: "self.pool",
    Coin: "Python's random changes",
    NumpyCoin: "numpy's random changes",
    OwnCoin: "self.coin changes",
    OwnNumpyCoin: "self.coin changes",
    CountsInItsClass: "CountsInItsClass.calls changes",
    CountsInItsFile: "CALLS of test_honest changes",
    CountsInAClosure: "self.now.calls changes",
    CountsInAnObject: "self.note.calls changes",
    CountsInAnArray: "self.calls changes",
    CountsInALayer: "self.discriminator.calls['all'] changes",
    CountsByAnIterator: "self.calls is a count, which moves when used",
    OfOneClass: "follows from values",
    MoreTermsLater: "self.calls changes",
    OtherNames: "self.calls changes",
    BufferReplaced: "self.generator.w_avg changes",
    ParameterReplaced: "self.generator.scale changes",
    TensorInPlace: None,
}


def trained(digits, model, engine):
    global CALLS
    CALLS = 0
    if model is CountsInItsClass:
        model.calls = 0
    seed_everything(0)
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32))
    trainer = Trainer(gan, Loader(digits, 32, 0, CPU.device), CPU, 200)
    seed_everything(5)
    mode = settle(trainer, engine)
    told = []
    while trainer.step < STEPS:
        told.append(trainer.advance(1))
    return trainer, mode, told


@pytest.mark.parametrize("model", FOUND, ids=lambda model: model.__name__)
def test_auto_ends_as_eager_does_and_names_what_moves(digits, model, monkeypatch):
    monkeypatch.setitem(globals(), "COUNTED", itertools.repeat(0))
    monkeypatch.delitem(globals(), "COUNTED")  # An iterator of this file would stop every probe: see below.
    fast, mode, told = trained(digits, model, "auto")
    plain, _, expected = trained(digits, model, "eager")
    for (name, mine), theirs in zip(fast.gan.state_dict().items(), plain.gan.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    for (name, mine), theirs in zip(
        fast.ema.module.state_dict().items(), plain.ema.module.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    for mine, theirs in zip(told, expected, strict=True):
        assert mine.keys() == theirs.keys()
    if FOUND[model] is None:
        assert not mode.failed
    else:
        assert mode.used == "eager"
        assert FOUND[model] in mode.why
        assert mode.failed


def test_an_iterator_in_the_models_file_is_not_even_probed(digits):
    before = repr(COUNTED)
    _, mode, _ = trained(digits, Tiny, "auto")  # Its own file holds none.
    assert not mode.failed
    _, mode, _ = trained(digits, Every16, "auto")
    assert mode.why.startswith("graph: COUNTED of test_honest is a count, which moves when used")
    assert repr(COUNTED) == before


def test_a_mode_asked_for_by_name_fails_where_something_moves_in_python(digits, monkeypatch):
    monkeypatch.delitem(globals(), "COUNTED")
    with pytest.raises(GanzooError, match=r"--engine graph: self.calls changes.*--engine eager always works"):
        trained(digits, Every16, "graph")


def test_state_in_python_is_put_back_whatever_it_is():
    holder = SimpleNamespace(
        n=1, items=[1, [2]], names={"a": {1}}, array=np.arange(3), coin=random.Random(1), tensor=torch.zeros(2)
    )
    before = PythonState({"self": holder})
    expected = holder.coin.getstate()
    inner = holder.items[1]
    holder.n, holder.new = 2, True
    holder.items[1].append(3)
    holder.items.append(4)
    holder.names["a"].add(2)
    holder.names["b"] = set()
    holder.array += 1
    holder.coin.random()
    holder.tensor += 1
    assert before.moved(PythonState({"self": holder})) == "self.n"
    before.restore()
    assert before.moved(PythonState({"self": holder})) is None
    assert (holder.n, holder.items, holder.names, holder.array.tolist()) == (1, [1, [2]], {"a": {1}}, [0, 1, 2])
    assert holder.items[1] is inner
    assert not hasattr(holder, "new")
    assert holder.coin.getstate() == expected
    assert holder.tensor.tolist() == [0, 0]


def test_what_is_made_at_the_first_use_is_no_change(digits, monkeypatch):
    monkeypatch.delitem(globals(), "COUNTED")

    class Caching(Base):
        def more(self, real, fake):
            if not hasattr(self, "cache"):
                self.cache = {"ones": torch.ones(len(real.x), 1), "size": len(real.x)}
            return (self.discriminator(real.x, real.y) * self.cache["ones"]).mean()

    _, mode, _ = trained(digits, Caching, "graph")
    assert mode.used == "graph"
