"""StarGAN: Choi et al., Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation, 2018.

One G for all classes: it gets an image x and the class c that it is to have, as further channels. D judges patches and
names the class. What is given back its own class c' should be what it was (section 3.1, equations 1 to 8):

    D minimises  E[D(G(x, c))] - E[D(x)] + lambda_gp E[(|grad D(x^)| - 1)^2] + lambda_cls E[-log D_cls(c' | x)]
    G minimises  -E[D(G(x, c))] + lambda_cls E[-log D_cls(c | G(x, c))] + lambda_rec E[|x - G(G(x, c), c')|_1]

with lambda_cls = 1, lambda_rec = lambda_gp = 10, and n_critic = 5. Targets c are the batch's own classes in another
order, as in the authors' program.

G maps x (N, C, H, W) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to scores (N, 1, h, w) and the condition's
logits or values (N, K). Each image is its own source: any data set with classes will do.
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.fields import BatchSize, Hold, NCritic, Penalty, Width
from ganzoo.nets import vector
from ganzoo.translation import cut, large_enough, padded

SHOWN = 10
"""Classes that grids show each example in, at most."""


def normalised(layer: nn.Module, width: int) -> list[nn.Module]:
    """A layer, and what follows it everywhere in the generator."""
    return [layer, nn.InstanceNorm2d(width, affine=True), nn.ReLU()]


class Residual(nn.Module):
    """Two 3 x 3 convolutions around which the map goes on as it is."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            *normalised(nn.Conv2d(width, width, 3, padding=1, bias=False), width),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.InstanceNorm2d(width, affine=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    """Choi et al. 2018, table 4: two halvings, residual blocks, two doublings.

    Borders are filled with zeros: of an even border, normalisation would let nothing of the class through.
    """

    def __init__(self, data: ganzoo.DataSpec, width: int, blocks: int):
        super().__init__()
        self.condition_size = data.condition_size
        channels, widths = data.shape[0], [width, 2 * width, 4 * width]
        layers = normalised(nn.Conv2d(channels + data.condition_size, width, 7, padding=3, bias=False), width)
        for before, after in pairwise(widths):
            layers += normalised(nn.Conv2d(before, after, 4, 2, 1, bias=False), after)
        layers += [Residual(widths[-1]) for _ in range(blocks)]
        for before, after in pairwise(reversed(widths)):
            layers += normalised(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), after)
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 7, padding=3, bias=False), nn.Tanh())

    def forward(self, source: Tensor, y: Tensor) -> Tensor:
        x = padded(source, 4)
        condition = vector(y, self.condition_size).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return cut(self.layers(torch.cat([x, condition], 1)), source)


class Discriminator(nn.Module):
    """Choi et al. 2018, table 5: a body of halvings, a head that judges patches, one that names the class."""

    def __init__(self, data: ganzoo.DataSpec, width: int):
        super().__init__()
        channels, h, w = data.shape
        halvings = max(1, min(min(h, w).bit_length() - 2, 6))
        widths = [width * 2**level for level in range(halvings)]
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *widths]):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.01)]
        self.features = nn.Sequential(*layers)
        self.adversarial = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        left = (h >> halvings, w >> halvings)
        self.auxiliary = nn.Conv2d(widths[-1], data.condition_size, left, bias=False)

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.adversarial(features), self.auxiliary(features).flatten(1)


class StarGAN(ganzoo.GAN):
    """Images changed from class to class, all classes by one generator.

    The preset `paper` is that of section 5.4: 128 x 128 pixels, six blocks, no averaging of G's weights.
    """

    name = "stargan"
    paper = (
        "Choi et al., StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation, "
        "2018, https://arxiv.org/abs/1711.09020"
    )
    conditional = True
    channels_last = ("cuda",)
    translates = True
    own_sources = True
    score = staticmethod(losses.raw)
    presets = {
        "paper": {"image_size": 128, "lr": 1e-4, "width": 64, "blocks": 6, "ema": 0.0, "epochs": 20},
    }

    class Options(ganzoo.Options):
        """Adam (0.5, 0.999), as in the paper, at twice its rate."""

        batch_size: BatchSize = 16
        n_critic: NCritic = 5
        width: Width = 32
        blocks: int = Field(3, ge=0, le=64, description="Residual blocks; the paper has 6.")
        auxiliary: float = Field(1.0, ge=0, le=1e4, description="Weight of the class loss, in both players.")
        reconstruction: float = Field(10.0, ge=0, le=1e4, description="Weight of coming back to the same image.")
        penalty: Penalty = 10.0
        lr_hold: Hold = 0.5

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        large_enough(self.name, self.data, least=5)
        self.generator = Generator(self.data, options.width, options.blocks)
        self.discriminator = Discriminator(self.data, options.width)

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        penalty = losses.interpolation_penalty(lambda x: self.discriminator(x, None)[0], real.x, fake.x)
        (real_scores, said), (fake_scores, _) = self.discriminate(real, fake)
        return {
            "wasserstein": losses.wasserstein_critic(real_scores, fake_scores),
            "class": self.auxiliary(said, real),
            "penalty": self.options.penalty * penalty,
        }

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        scores, said = self.discriminate(fake)
        back = self.generator(fake.x, real.y)
        return {
            "wasserstein": losses.wasserstein_generator(scores),
            "class": self.auxiliary(said, fake),
            "reconstruction": self.options.reconstruction * (back - real.x).abs().mean(),
        }

    def auxiliary(self, said: Tensor, batch: ganzoo.Batch) -> Tensor:
        """The weighted class loss: what D said (N, K) of a batch, against the batch's own conditions."""
        return self.options.auxiliary * losses.prediction(said, batch.y, len(self.data.classes))

    def pictures(self, examples: ganzoo.Batch) -> dict[str, Tensor]:
        """The source, and what it becomes in each class; its own condition, where there are no classes."""
        source, classes = examples.source, self.data.classes
        assert source is not None
        if not classes:
            return super().pictures(examples)
        shown = {"source": source}
        for c, name in enumerate(classes[:SHOWN]):
            index = torch.full((len(source),), c, device=source.device)
            shown[f"to {name}"] = self.generator(source, self.data.condition(index))
        return shown


@ganzoo.hookimpl
def register_models(register):
    register(StarGAN)
