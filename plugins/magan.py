"""MAGAN: Wang et al., MAGAN: Margin Adaptation for Generative Adversarial Networks, 2017.

The game of EBGAN, whose margin m is that of the data: D is an autoencoder, D(x) its error (algorithm 1),

    D minimises  E[D(x)] + E[max(0, m - D(G(z)))],    G minimises  E[D(G(z))]

and m is set anew to the mean energy of real samples in the epoch that ends, where that is less than m, fakes' mean
energy is above it, and this has not fallen since the epoch before: when G has come to a standstill. So m only falls.

It begins as the mean energy that real samples have in the first epoch, in which D is held to real samples alone, as
the paper trains D beforehand. Networks are those of EBGAN.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import LearningRate, Width
from ganzoo.nets import ConvAutoencoder, ConvGenerator


class MAGAN(ganzoo.GAN):
    """EBGAN with a margin that follows the data."""

    name = "magan"
    paper = "Wang et al., MAGAN: Margin Adaptation for Generative Adversarial Networks, 2017, https://arxiv.org/abs/1704.03817"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at a rate for short runs."""

        lr: LearningRate = 1e-3
        width: Width = 32
        code: int = Field(32, ge=1, le=65536, description="Numbers in the autoencoder's code.")
        period: float = Field(0.25, gt=0, le=100, description="Epochs after which the margin is looked at, each time.")

    margin: Tensor
    energies: Tensor
    """Sums over the period of mean energies, of real samples and of fakes, and the number of steps in it: (3,)."""
    seen: Tensor
    """The same sums over the parts of the step's batch, and the number of these: (3,)."""
    before: Tensor
    """The fakes' mean energy in the period before."""

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width)
        self.discriminator = ConvAutoencoder(self.data, options.code, options.width)
        self.steps = max(round(options.period * data.count / options.batch_size), 1)
        self.register_buffer("margin", torch.full((), 4.0))
        self.register_buffer("energies", torch.zeros(3))
        self.register_buffer("before", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(3), persistent=False)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        (on_real, _), (on_fake, _) = self.discriminate(real, fake)
        real_energy, fake_energy = -on_real.mean(), -on_fake.mean()
        self.seen.add_(torch.stack([real_energy, fake_energy, torch.ones_like(real_energy)]).detach())
        self.watch("margin", self.margin)
        begun = (self.margin < 4).float()
        return {"real": real_energy, "fake": begun * F.relu(self.margin + on_fake).mean()}

    def after_discriminator_step(self) -> None:
        """Take the step's energies in; at the end of a period, look at the margin. A step that saw none, a penalty's,
        is not counted."""
        self.energies.add_(self.seen / self.seen[2].clamp(min=1))
        self.seen.zero_()
        steps = self.energies[2]
        real, fake, _ = (self.energies / steps.clamp(min=1)).unbind()
        over = steps >= self.steps
        first = self.margin == 4
        falls = (real < self.margin) & (real < fake) & (self.before <= fake)
        self.margin.copy_(torch.where(over & (first | falls), real, self.margin))
        self.before.copy_(torch.where(over, fake, self.before))
        self.energies.mul_((~over).float())

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_fake, _ = self.discriminate(fake)
        return {"energy": -on_fake.mean()}


@ganzoo.hookimpl
def register_models(register):
    register(MAGAN)
