"""Nothing is gained by changing the mathematics: the preset `tutorial` against the loop that tutorials write."""

from dataclasses import replace

import pytest
import torch
from ganzoo_plugins.cgan import CGAN
from ganzoo_plugins.mnist import MNIST
from torch import nn

from ganzoo.data import DataRequest, ImageSet, Loader, normalise, open_dataset
from ganzoo.nets import Dropout
from ganzoo.settings import resolve
from ganzoo.training.engine import Engine, seed_everything
from ganzoo.training.modes import settle
from ganzoo.training.trainer import Trainer

STEPS, BATCH, LATENT = 50, 64, 100


class Generator(nn.Module):
    """The tutorials' generator, written out."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        layers = [nn.Linear(LATENT + 10, 128), nn.LeakyReLU(0.2, inplace=True)]
        for inputs, outputs in ((128, 256), (256, 512), (512, 1024)):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, 0.8), nn.LeakyReLU(0.2, inplace=True)]
        self.model = nn.Sequential(*layers, nn.Linear(1024, 32 * 32), nn.Tanh())

    def forward(self, noise, labels):
        return self.model(torch.cat((self.embedding(labels), noise), -1)).view(-1, 1, 32, 32)


class Discriminator(nn.Module):
    """The tutorials' discriminator, written out; its dropout multiplies by the masks that it is given."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        self.first, self.second, self.third = nn.Linear(1024 + 10, 512), nn.Linear(512, 512), nn.Linear(512, 512)
        self.last = nn.Linear(512, 1)

    def forward(self, images, labels, masks):
        h = nn.functional.leaky_relu(self.first(torch.cat((images.flatten(1), self.embedding(labels)), -1)), 0.2)
        h = nn.functional.leaky_relu(self.second(h) * masks[0], 0.2)
        h = nn.functional.leaky_relu(self.third(h) * masks[1], 0.2)
        return self.last(h)


@pytest.fixture(scope="module")
def digits():
    data = open_dataset(MNIST(), DataRequest(image_size=32))
    return ImageSet(data.images[:1000], data.labels[:1000], data.classes)  # 15 batches: 50 steps see four epochs.


def weights(network):
    """A network's parameters, in order; a layer that holds its weights in two parts gives them joined."""
    parts = dict(network.named_parameters())
    found = []
    for name, parameter in parts.items():
        if name.endswith(".condition_weight"):
            found[-1] = torch.cat([found[-1], parameter], dim=1)
        else:
            found.append(parameter)
    return found


def start(plain, gan):
    """Give a plain network the weights of the model's, which come in the same order."""
    with torch.no_grad():
        for mine, theirs in zip(plain.parameters(), weights(gan), strict=True):
            assert mine.shape == theirs.shape
            mine.copy_(theirs)


def masks(n):
    """What the model's two dropout layers multiply by, drawn as they draw it."""
    dropout = Dropout(0.4)
    return [dropout(torch.ones(n, 512)) for _ in range(2)]


def plain_losses(gan, data, steps):
    """The loop: a pass for the real, a pass for the fake, Adam unfused; yields both losses of each step."""
    mse = nn.MSELoss()
    generator, discriminator = Generator(), Discriminator()
    start(generator, gan.generator)
    start(discriminator, gan.discriminator)
    seed_everything(1)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999), foreach=False)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999), foreach=False)
    order = Loader(data, BATCH, 0, torch.device("cpu"))
    valid, fake = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    for step in range(steps):
        epoch, batch = divmod(step, order.batches_per_epoch)
        index = order.order(epoch)[batch * BATCH : (batch + 1) * BATCH]
        real_images, labels = normalise(data.images[index]).to(torch.get_default_dtype()), data.labels[index]
        z = torch.randn(BATCH, LATENT)
        gen_labels = torch.randint(0, 10, (BATCH,))
        gen_images = generator(z, gen_labels)

        optimizer_d.zero_grad()
        both = masks(2 * BATCH)
        d_real_loss = mse(discriminator(real_images, labels, [m[:BATCH] for m in both]), valid)
        d_fake_loss = mse(discriminator(gen_images.detach(), gen_labels, [m[BATCH:] for m in both]), fake)
        d_loss = (d_real_loss + d_fake_loss) / 2
        d_loss.backward()
        optimizer_d.step()

        optimizer_g.zero_grad()
        g_loss = mse(discriminator(gen_images, gen_labels, masks(BATCH)), valid)
        g_loss.backward()
        optimizer_g.step()
        yield d_loss.item(), g_loss.item()


def both_losses(data, steps, mode):
    """The losses of the model's steps and of the plain loop's, from the same weights, data order and noise."""
    options = resolve(CGAN, {}, "tutorial").options
    seed_everything(0)
    gan = CGAN(replace(data.spec("mnist"), counts=()), options)  # As the preset's --labels uniform has it.
    engine = Engine(torch.device("cpu"), "fp32")
    key = torch.get_default_dtype(), steps
    if key not in PLAIN:
        PLAIN[key] = list(plain_losses(gan, data, steps))
    trainer = Trainer(gan, InDefaultType(data, options.batch_size, 0, engine.device), engine)
    assert settle(trainer, mode).used == mode
    seed_everything(1)
    taken = [trainer.advance() for _ in range(steps)]
    ours = [(values["discriminator_loss"].item(), values["generator_loss"].item()) for values in taken]
    return torch.tensor(ours), torch.tensor(PLAIN[key])


PLAIN: dict[tuple[torch.dtype, int], list[tuple[float, float]]] = {}
"""The loop's losses, which are those of every mode: the weights are drawn from one seed."""


class InDefaultType(Loader):
    """Images in torch's default type, which a test may have set."""

    def batch(self, *parts):
        batch = super().batch(*parts)
        return batch._replace(x=batch.x.to(torch.get_default_dtype()))


# What recorded steps report is float32, whatever they compute in.
@pytest.mark.parametrize(("mode", "tolerance"), [("eager", 1e-9), ("graph", 1e-6)])
def test_the_losses_of_fifty_steps_equal_the_plain_loops(digits, mode, tolerance):
    """In float64: in float32, a unit that rounding puts on the other side of a ReLU's kink soon changes everything."""
    torch.set_default_dtype(torch.float64)
    try:
        ours, plain = both_losses(digits, STEPS, mode)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(ours.double(), plain, rtol=tolerance, atol=tolerance)
    assert ours[-5:, 0].max() < ours[0, 0]  # They learned: it is not two still pictures that agree.


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_in_the_type_of_training_they_are_equal_until_rounding_crosses_a_kink(digits, mode):
    ours, plain = both_losses(digits, 10, mode)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
