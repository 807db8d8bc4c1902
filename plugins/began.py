"""BEGAN: Berthelot et al., BEGAN: Boundary Equilibrium Generative Adversarial Networks, 2017.

D is an autoencoder, and L(x) the error with which it restores x (equation 1, with eta = 2). A control variable k keeps
the players in balance, at the diversity ratio gamma = E[L(G(z))] / E[L(x)] (section 3.4):

    D minimises  L(x) - k L(G(z)),    G minimises  L(G(z)),    k <- k + lambda_k (gamma L(x) - L(G(z))), within [0, 1]

M = L(x) + |gamma L(x) - L(G(z))| tells how far training has come (section 3.4.1), and is logged with k.

Networks are those of EBGAN, G with a fully connected layer after its latent; the paper's are convolutions of 3 x 3 of
equal width. G maps z (N, latent_dim) to (N, C, H, W) in [-1, 1]; D maps (N, C, H, W) to minus the errors (N, 1), and
to codes (N, code).
"""

import torch
from pydantic import Field
from torch import Tensor

import ganzoo
from ganzoo import losses
from ganzoo.fields import Hold, LearningRate, Width
from ganzoo.nets import ConvAutoencoder, ConvGenerator


class BEGAN(ganzoo.GAN):
    """GAN by autoencoder, in balance. The preset `paper` has the numbers of section 4.1, with the networks of here."""

    name = "began"
    paper = "Berthelot et al., BEGAN: Boundary Equilibrium GANs, 2017, https://arxiv.org/abs/1703.10717"
    channels_last = ("cuda", "cpu")
    score = staticmethod(losses.raw)
    presets = {
        "paper": {
            "batch_size": 16, "lr": 1e-4, "lr_hold": 1.0, "latent_dim": 64, "code": 64, "width": 128, "hidden": 0,
            "diversity": 0.5, "proportion": 0.001, "ema": 0.0,
        }
    }  # fmt: skip

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999) as in the paper. With its gamma of 0.5 and its slow k, minutes of training collapse."""

        lr: LearningRate = 1e-3
        lr_hold: Hold = 0.5
        width: Width = 32
        hidden: int = Field(
            256, ge=0, le=65536, description="Units of a fully connected layer after G's latent; 0: none."
        )
        code: int = Field(32, ge=1, le=65536, description="Numbers in the autoencoder's code.")
        diversity: float = Field(
            1.0,
            ge=0,
            le=1,
            description="Fakes' error as a share of real images', gamma: less is purer, and more alike.",
        )
        proportion: float = Field(0.2, gt=0, le=100, description="How fast k follows, lambda_k.")

    k: Tensor
    seen: Tensor
    """Sums over the parts of the step's batch: mean errors of real samples and of fakes, and their number: (3,)."""

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width, options.hidden)
        self.discriminator = ConvAutoencoder(self.data, options.code, options.width)
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(3), persistent=False)

    def sample_latent(self, n: int) -> Tensor:
        """Uniform in [-1, 1), as in section 3.5."""
        return super().sample_latent(n).uniform_(-1, 1)

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """Along a line, which stays where latents are uniform."""
        return a.lerp(b, t)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_real, on_fake = (-minus.mean() for minus, _ in self.discriminate(real, fake))
        self.seen.add_(torch.stack([on_real, on_fake, torch.ones_like(on_real)]).detach())
        self.watch("convergence", on_real + (self.options.diversity * on_real - on_fake).abs())
        self.watch("k", self.k)
        return {"real": on_real, "fake": -self.k.clone() * on_fake}

    def after_discriminator_step(self) -> None:
        """Equation 5's k, by the errors that D saw in its step; in one that saw none, a penalty's, k stays."""
        real, fake = (self.seen[:2] / self.seen[2].clamp(min=1)).unbind()
        self.seen.zero_()
        self.k.add_(self.options.proportion * (self.options.diversity * real - fake)).clamp_(0, 1)

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_fake, _ = self.discriminate(fake)
        return {"error": -on_fake.mean()}


@ganzoo.hookimpl
def register_models(register):
    register(BEGAN)
