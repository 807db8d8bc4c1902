"""SNGAN: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.

Every layer of D is divided by its largest singular value, kept up to date by one power iteration a step (algorithm 1):

    W_SN = W / sigma(W),    so that D is 1-Lipschitz but for its activations, at hardly any cost

The loss is the hinge (equations 16 and 17):

    D minimises  E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))],    G minimises  -E[D(G(z))]

Where the data has a condition y, D is the projection discriminator of Miyato & Koyama, cGANs with Projection
Discriminator, 2018 (equation 3), and G's batch normalisation follows y:

    D(x, y) = psi(h(x)) + <V y, h(x)>

G maps z (N, latent_dim) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) and y to logits (N, 1). y is class
indices (N,), condition vectors (N, K), or None.
"""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hold, LearningRateD, LearningRateG, Width
from ganzoo.nets import ConditionalBatchNorm2d, ConvFeatures, Projection, channels, pyramid, upsampling


class Generator(nn.Module):
    """DCGAN's generator with conditional batch normalisation: it is there that y enters."""

    def __init__(self, data: ganzoo.DataSpec, latent_dim: int, width: int):
        super().__init__()
        (first, *sizes), widths = pyramid(data), channels(data, width)
        self.project = nn.Sequential(
            nn.Linear(latent_dim, widths[0] * first[0] * first[1]), nn.Unflatten(1, (widths[0], *first))
        )
        self.norms = nn.ModuleList(ConditionalBatchNorm2d(data, n) for n in widths)
        self.upsample = nn.ModuleList(
            upsampling(inputs, outputs, size, bias=True)
            for inputs, outputs, size in zip(widths, [*widths[1:], data.shape[0]], sizes, strict=True)
        )

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        x = self.project(z)
        for norm, upsample in zip(self.norms, self.upsample, strict=True):
            x = upsample(norm(x, y).relu_())
        return x.tanh()


class Discriminator(nn.Module):
    """Spectrally normalised convolutions, and a projection head that is too."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        self.features = ConvFeatures(data, width, wrap=spectral_norm)
        self.head = Projection(data, self.features.size, wrap=spectral_norm)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.head(self.features(x), y)


class SNGAN(ganzoo.GAN):
    """Spectral normalisation; a projection discriminator where the data has classes or attributes."""

    name = "sngan"
    paper = "Miyato et al., Spectral Normalization for GANs, 2018, https://arxiv.org/abs/1802.05957"
    channels_last = ("cuda", "cpu")
    conditional = "auto"
    score = staticmethod(losses.raw)

    class Options(ganzoo.Options):
        """Rates far above the paper's: with small ones D wins for the first thousand steps."""

        lr: LearningRateD = 4e-3
        lr_generator: LearningRateG = 4e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        width: Width = 32

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator = Generator(self.data, options.latent_dim, options.width)
        self.discriminator = Discriminator(self.data, options.width)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.hinge_generator(self.discriminate(fake))}


@ganzoo.hookimpl
def register_models(register):
    register(SNGAN)
