"""CycleGAN: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017.

Two sets of images, no pairs: G makes images x of the one from images s of the other, F the other way, and what is made
there and back should be what it was (section 3):

    D_X minimises  (E[(D_X(x) - 1)^2] + E[D_X(G(s))^2]) / 2,    D_S likewise of s and F(x)
    G and F minimise  E[(D_X(G(s)) - 1)^2] + E[(D_S(F(x)) - 1)^2]
                      + lambda (E[|F(G(s)) - s|_1] + E[|G(F(x)) - x|_1])
                      + lambda identity (E[|G(x) - x|_1] + E[|F(s) - s|_1]),    lambda = 10, identity = 0.5

The last term keeps colours (section 5.2). The discriminators see fakes of before, out of pools of 50 (section 4). As in
the authors' program the generators move first, and the rate falls to 0 in the second half.

G maps s (N, C', H, W) to (N, C, H, W) in [-1, 1], F back; the discriminators judge patches.
"""

from pydantic import Field
from torch import Tensor, nn

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import BatchSize, Hold, Width
from ganzoo.translation import PatchDiscriminator, Pool, ResidualTranslator, patch_halvings, same_size
from ganzoo.two_way import TwoWay, distance


class CycleGAN(TwoWay):
    """Images from images, learnt without pairs, both ways.

    `--output source`, an option of drawing, makes sources from images. The preset `paper` is that of section 7: 9
    residual blocks, one image at a time, no averaging.
    """

    name = "cyclegan"
    paper = (
        "Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017, "
        "https://arxiv.org/abs/1703.10593"
    )
    score = staticmethod(losses.raw)
    presets = {
        "paper": {"image_size": 256, "batch_size": 1, "width": 64, "blocks": 9, "ema": 0.0, "epochs": 200},
    }

    class Options(ganzoo.Options):
        """Adam 2e-4 (0.5, 0.999), as in the paper."""

        batch_size: BatchSize = 8
        width: Width = Field(
            16, description="Channels next to the image; they double at each halving. Discriminators have at least 32."
        )
        blocks: int = Field(3, ge=0, le=64, description="Residual blocks; the paper has 6 for 128 pixels, 9 for 256.")
        cycle: float = Field(10.0, ge=0, le=1e6, description="Weight of coming back to the same image (lambda).")
        identity: float = Field(
            0.5, ge=0, le=1e6, description="Weight of leaving the other side's images alone, as a multiple of --cycle."
        )
        pool: int = Field(50, ge=0, le=10_000, description="Past fakes that the discriminators are shown; 0: none.")
        lr_hold: Hold = 0.5

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        sources, images = same_size(self.name, self.data, least=6)
        if options.identity and sources != images:
            raise UsageError(
                f"data set '{data.name}' has sources of {sources} channels and images of {images}, which are never the "
                "same: say --identity 0, or --channels"
            )
        self.generator = ResidualTranslator(sources, images, options.blocks, options.width)
        self.back = ResidualTranslator(images, sources, options.blocks, options.width)
        halvings = patch_halvings(self.data)
        self.discriminator = PatchDiscriminator(images, halvings, max(options.width, 32))
        self.source_discriminator = PatchDiscriminator(sources, halvings, max(options.width, 32))
        self.pools = nn.ModuleList()
        if options.pool:
            for channels in (images, sources):
                self.pools.append(Pool((channels, *self.data.shape[1:]), options.pool, options.batch_size))

    def turns(self) -> list[ganzoo.Turn]:
        return [
            ganzoo.Turn("generator", self.generator_loss),
            ganzoo.Turn("discriminator", self.discriminator_loss, repeat=self.options.n_critic),
        ]

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o, s, x = self.options, real.source, real.x
        assert s is not None
        assert fake.source is not None
        terms = {
            "adversarial": losses.mean_squared_generator(self.discriminate(fake))
            + losses.mean_squared_generator(self.judge_source(fake.source)),
        }
        if o.cycle:
            terms["cycle"] = o.cycle * (distance(self.back(fake.x), s) + distance(self.generator(fake.source), x))
            if o.identity:
                terms["identity"] = o.cycle * o.identity * (distance(self.generator(x), x) + distance(self.back(s), s))
        return terms

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        assert real.source is not None
        assert fake.source is not None
        made, made_sources = fake.x, fake.source
        if self.options.pool:
            made, made_sources = self.pools[0](made), self.pools[1](made_sources)
        seen = self.discriminate(real, fake._replace(x=made))
        ours, theirs = (self.judge_source(s) for s in (real.source, made_sources))
        return {
            "adversarial": losses.least_squares_discriminator(*seen),
            "source": losses.least_squares_discriminator(ours, theirs),
        }


@ganzoo.hookimpl
def register_models(register):
    register(CycleGAN)
