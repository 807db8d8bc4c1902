"""LeCam regularisation: Tseng et al., Regularizing Generative Adversarial Networks under Limited Data, 2021.

Each side's logits are held near the running mean of the other's (equation 4), which bounds how far the discriminator
can part them when it has seen every picture many times:

    E[(D(x) - a_F)^2] + E[(D(G(z)) - a_R)^2],    a_R, a_F: moving averages of D(x) and D(G(z))
"""

import torch
from pydantic import Field
from torch import Tensor

import ganzoo


class LeCam(ganzoo.Regulariser):
    """Logits of real images and of fakes stay near each other's running means."""

    name = "lecam"
    summary = "logits stay near the running mean of the other side's: few images (Tseng et al. 2021)"

    class Options(ganzoo.IngredientOptions):
        """Section 4 of the paper, and the code of its authors."""

        weight: float = Field(0.3, ge=0, le=1e4, description="Weight of the term, lambda.")
        decay: float = Field(0.99, ge=0, lt=1, description="Of the moving averages.")
        after: int = Field(1000, ge=0, le=10**9, description="Steps before it counts: the averages need some.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        real_logits, fake_logits = (_first(output) for output in gan.discriminate(real, fake))
        with torch.no_grad():
            self.real.lerp_(real_logits.float().mean(), 1 - self.options.decay)
            self.fake.lerp_(fake_logits.float().mean(), 1 - self.options.decay)
        term = (real_logits - self.fake).square().mean() + (fake_logits - self.real).square().mean()
        due = (gan.clock.step >= self.options.after).to(term.dtype)
        return {self.name: self.options.weight * due * term}


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@ganzoo.hookimpl
def register_regularisers(register):
    register(LeCam)
