"""What each process of tests/test_distributed.py does; it leaves what it found in a file."""

import json
import sys
from pathlib import Path

import torch

import ganzoo
from ganzoo import losses
from ganzoo.data import DataRequest, Loader
from ganzoo.training.distributed import joined
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.trainer import Trainer
from ganzoo_test_plugins import Discriminator, SmallDigits, Tiny


class Even(ganzoo.GAN):
    """Neither BatchNorm nor dropout, and latents that follow from the image: half a batch is half of the whole."""

    name = "even"
    paper = "none"
    conditional = True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Flat(self.data)
        self.discriminator = Discriminator(self.data)
        self.discriminator.layers[2] = torch.nn.Identity()

    def fake(self, real):
        z = real.x.flatten(1)[:, 20:28]
        return ganzoo.Batch(self.generate(z, real.y), real.y, z)

    def discriminator_loss(self, real, fake):
        return {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real, fake):
        return {"adversarial": losses.hinge_generator(self.discriminate(fake))}


class Flat(torch.nn.Module):
    def __init__(self, data):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, data.pixels), torch.nn.Unflatten(1, data.shape)
        )

    def forward(self, z, y):
        return self.layers(z).tanh()


def trainer(world, model, seed=3):
    digits = SmallDigits().load(DataRequest())
    engine = Engine(torch.device("cpu"), "fp32")
    seed_everything(seed + world.rank)  # Different weights, until the first process's are given to all.
    gan = model(digits.spec("small-digits"), model.Options(batch_size=32, lr=1e-3))
    loader = Loader(digits, 32, seed, engine.device, share=(world.rank, world.size))
    made = Trainer(gan, loader, engine, steps=200, world=world)
    seed_everything(world.own_seed(seed, 0))
    return made


def gradients(world):
    """Gradients and weights of the first two steps, and the labels that were seen."""
    found, made = [], trainer(world, Even)
    averaged = world.average_gradients

    def keep(parameters):
        parameters = list(parameters)
        averaged(parameters)
        found.extend(p.grad.clone() for p in parameters)

    world.average_gradients = keep
    labels = [next(made.loader.batches(i)).y for i in range(2)]
    made.advance()
    made.advance()
    world.average_gradients = averaged
    return {"gradients": found, "labels": torch.stack(labels)}


def two_hundred_steps(world):
    made = trainer(world, Tiny)
    for _ in range(200):
        made.advance()
    state = made.state_dict()
    return {"gan": state["gan"], "ema": state["ema"], "random": state["random"]["torch"], "others": state["others"]}


def agreement(world):
    """Clocks and signals, one process having heard one at the fifth step."""
    said = []
    for step in range(1, 400):
        said.append(world.agree(step, step + 1000.0 * world.rank, 15 if world.rank and step >= 5 else None, False))
        if said[-1][1]:
            break
    return {"said": said, "mean": world.mean(torch.tensor([float(world.rank), 4.0])), "size": world.size}


def in_turn(world, count):
    """What the first collects of `count` things that all share, each with the rank that gave it."""
    share = ((torch.tensor(number), world.rank) for number in range(world.rank, count, world.size))
    return [(number.item(), rank) for number, rank in world.in_turn(share)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as world:
        results = gradients(world) | two_hundred_steps(world) | agreement(world)
        results["first"] = world.on_first(lambda: json.dumps({"rank": world.rank}))
        results["in turn"] = [in_turn(world, count) for count in (7, 6, 1, 0)]
        torch.save(results, Path(sys.argv[1]) / f"{world.rank}.pt")
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (Path(sys.argv[1]) / f"{world.rank}.json").write_text(json.dumps(threads))
