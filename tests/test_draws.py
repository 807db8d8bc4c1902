"""Random numbers of one's own: a seed gives its images in any thread, and nobody else's numbers move."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ganzoo_plugins.cgan import CGAN
from torch import nn

from conftest import PATIENCE
from ganzoo.data import DataRequest
from ganzoo.runs.sampler import Sampler
from ganzoo.training.draws import OwnGenerators, own_draws
from ganzoo.training.engine import own_randomness
from ganzoo_test_plugins import Plain, SmallDigits, Tiny

CPU = torch.device("cpu")
DIGITS = SmallDigits().load(DataRequest()).spec("small-digits")
NOTHING = torch.zeros(6, 5)

DRAWS = {
    "rand": lambda: torch.rand(3, 4),
    "rand, double": lambda: torch.rand(3, 4, dtype=torch.float64),
    "rand, out": lambda: torch.rand(30, out=torch.empty(30)),
    "randn": lambda: torch.randn(5),
    "randn, many": lambda: torch.randn(33, 7),
    "randn, out": lambda: torch.randn(20, out=torch.empty(20)),
    "randint": lambda: torch.randint(10, (9,)),
    "randint, low": lambda: torch.randint(3, 10, (9,)),
    "randperm": lambda: torch.randperm(11),
    "rand_like": lambda: torch.rand_like(NOTHING),
    "randn_like": lambda: torch.randn_like(NOTHING),
    "randint_like": lambda: torch.randint_like(NOTHING, 5),
    "normal": lambda: torch.normal(NOTHING, 2.0),
    "normal, size": lambda: torch.normal(1.0, 2.0, (4, 4)),
    "normal_": lambda: torch.empty(7).normal_(1, 2),
    "uniform_": lambda: torch.empty(7).uniform_(-1, 1),
    "exponential_": lambda: torch.empty(7).exponential_(),
    "random_": lambda: torch.empty(7).random_(),
    "bernoulli": lambda: torch.bernoulli(NOTHING + 0.5),
    "bernoulli_": lambda: torch.empty(9).bernoulli_(0.3),
    "multinomial": lambda: torch.multinomial(NOTHING + 1, 3),
    "poisson": lambda: torch.poisson(NOTHING + 4),
    "binomial": lambda: torch.binomial(NOTHING + 4, NOTHING + 0.5),
    "gamma": lambda: torch.distributions.Gamma(NOTHING + 2, NOTHING + 1).sample(),
    "dropout": lambda: nn.functional.dropout(NOTHING + 1, 0.5),
    "dropout2d": lambda: nn.functional.dropout2d(torch.ones(4, 6, 2, 2), 0.5),
    "alpha dropout": lambda: nn.functional.alpha_dropout(NOTHING + 1, 0.5, training=True),
    "native dropout": lambda: torch.native_dropout(NOTHING + 1, 0.5, True)[0],
    "rrelu": lambda: nn.functional.rrelu(NOTHING - 1, training=True),
    "attention": lambda: nn.functional.scaled_dot_product_attention(
        *(torch.arange(24.0).view(1, 2, 3, 4) / 24,) * 3, dropout_p=0.5
    ),
}


@pytest.mark.parametrize("no_graph", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", DRAWS)
def test_each_operator_draws_what_the_generator_of_the_process_would_give_and_leaves_that_alone(name, no_graph):
    draw = DRAWS[name]
    with own_randomness(11, CPU), no_graph():
        expected = [draw() for _ in range(3)] + [torch.rand(2)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with no_graph(), OwnGenerators(11):
        found = [draw() for _ in range(3)] + [torch.rand(2)]
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_that_is_named_is_the_one_drawn_from():
    mine = torch.Generator().manual_seed(3)
    with OwnGenerators(11):
        found = torch.rand(4, generator=mine), torch.poisson(NOTHING + 3, generator=mine)
        own = torch.rand(4)
    mine.manual_seed(3)
    assert torch.equal(found[0], torch.rand(4, generator=mine))
    assert torch.equal(found[1], torch.poisson(NOTHING + 3, generator=mine))
    assert torch.equal(own, torch.rand(4, generator=torch.Generator().manual_seed(11)))


def paper() -> Sampler:
    """Dropout masks are part of its latents, uniform numbers."""
    options = CGAN.Options(**{k: v for k, v in CGAN.presets["paper"].items() if k in CGAN.Options.model_fields})
    return Sampler(CGAN(DIGITS, options))


class Noisy(Tiny):
    """Noise is drawn within the generator too, by an operator that takes a generator and one that takes none."""

    def generate(self, z, y, source=None):
        x = super().generate(z + torch.randn_like(z), y)
        return torch.native_dropout(x, 0.5, True)[0]


@pytest.mark.parametrize(
    "sampler", [paper(), Sampler(Tiny(DIGITS, Tiny.Options())), Sampler(Noisy(DIGITS, Tiny.Options()))],
    ids=["uniform", "normal", "noise within"],
)  # fmt: skip
def test_every_seed_gives_its_images_in_any_thread_and_those_of_the_process_generator(sampler):
    def before() -> torch.Tensor:
        with torch.no_grad(), own_randomness(seed, CPU):
            z = sampler.gan.sample_latent(4)
            return sampler.gan.generate(z, torch.arange(4))

    wanted = {}
    for seed in range(4):
        wanted[seed] = before()
    with ThreadPoolExecutor(4) as pool:
        jobs = [(i % 4, pool.submit(sampler.sample, 4, None, i % 4)) for i in range(120)]
        assert all(torch.equal(job.result(), wanted[seed]) for seed, job in jobs)


def test_another_thread_draws_what_it_would_have_drawn_alone():
    """Each number of the bystander is drawn in the middle of a sample."""
    turn, drawn = threading.Barrier(2, timeout=PATIENCE), []

    class Slow(Tiny):
        def sample_latent(self, n):
            z = super().sample_latent(n)
            turn.wait()  # The bystander draws.
            turn.wait()
            return z + torch.randn_like(z)

    sampler = Sampler(Slow(DIGITS, Tiny.Options()))

    def bystander() -> None:
        for _ in range(7):
            turn.wait()
            drawn.append((torch.rand(3), np.random.rand(), random.random()))
            turn.wait()

    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    thread = threading.Thread(target=bystander)
    thread.start()
    images = [sampler.sample(2, seed=1) for _ in range(5)]  # Before the first, the model is looked at twice.
    thread.join()
    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    for numbers in drawn:
        assert torch.equal(numbers[0], torch.rand(3))
        assert numbers[1:] == (np.random.rand(), random.random())
    assert all(torch.equal(image, images[0]) for image in images)


def test_sampling_leaves_every_generator_of_the_process_as_it_was():
    sampler = Sampler(Tiny(DIGITS, Tiny.Options()))
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    sampler.sample(600, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def test_threads_that_leave_in_another_order_than_they_came_leave_no_mode_behind():
    from torch.utils._python_dispatch import is_in_torch_dispatch_mode

    came, left = threading.Event(), threading.Event()

    def longer() -> None:
        with OwnGenerators(1):
            came.set()
            left.wait(PATIENCE)

    thread = threading.Thread(target=longer)
    with OwnGenerators(0):
        thread.start()
        came.wait(PATIENCE)
    left.set()
    thread.join()
    assert not is_in_torch_dispatch_mode()
    torch.manual_seed(2)
    first = torch.rand(3)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3), first)


class Elsewhere(Plain):
    """Latents come from numpy and Python, as the contract does not have it."""

    def sample_latent(self, n):
        z = torch.from_numpy(np.random.standard_normal((n, 8))).float()
        return z + random.random() + torch.rand(n, 8)


def test_a_model_that_draws_from_numpy_and_python_gives_the_images_of_a_seed_all_the_same():
    sampler = Sampler(Elsewhere(DIGITS, Tiny.Options()))
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: sampler.sample(4, seed=i % 2), range(40)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    for seed in range(2):
        with torch.no_grad(), own_randomness(seed, CPU):
            expected = sampler.gan.generate(sampler.gan.sample_latent(4), None)
        assert all(torch.equal(images, expected) for images in found[seed::2])


def test_a_model_in_training_is_not_looked_at_and_draws_as_ever():
    gan = Tiny(DIGITS, Tiny.Options())
    statistics = {name: value.clone() for name, value in gan.named_buffers()}
    with torch.no_grad(), own_draws(gan, 4):
        z = gan.sample_latent(3)
    with own_randomness(4, CPU):
        assert torch.equal(z, gan.sample_latent(3))
    assert all(torch.equal(value, statistics[name]) for name, value in gan.named_buffers())
