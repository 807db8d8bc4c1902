"""LeCam regularisation: Tseng et al., Regularizing Generative Adversarial Networks under Limited Data, 2021.

Each side's logits are held near the running mean of the other's (equation 4), which bounds how far the discriminator
can part them when it has seen every picture many times:

    E[(D(x) - a_F)^2] + E[(D(G(z)) - a_R)^2],    a_R, a_F: moving averages of D(x) and D(G(z))
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

import ganzoo


class LeCam(ganzoo.Regulariser):
    """Logits of real images and of fakes stay near each other's running means."""

    name = "lecam"
    summary = "logits stay near the running mean of the other side's: few images (Tseng et al. 2021)"

    class Options(ganzoo.IngredientOptions):
        """The paper's, section 4. (Its authors' code counts D(x) above a_F, and D(G(z)) below a_R, alone.)"""

        weight: float = Field(0.3, ge=0, le=1e4, description="Weight of the term, lambda.")
        decay: float = Field(0.99, ge=0, lt=1, description="Of the moving averages.")
        after: int = Field(1000, ge=0, le=10**9, description="Steps before it counts: the averages need some.")

    real: Tensor
    """Running mean of D(x), of each of the model's discriminators: float (judges,)."""
    fake: Tensor
    """The same of D(G(z))."""

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.register_buffer("real", torch.zeros(1))
        self.register_buffer("fake", torch.zeros(1))

    def attach(self, gan: ganzoo.GAN) -> None:
        self.real, self.fake = torch.zeros(gan.judges), torch.zeros(gan.judges)

    def terms(self, gan: ganzoo.GAN, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        on_real, on_fake = (gan.verdicts(output) for output in gan.discriminate(real, fake))
        with torch.no_grad():
            for mean, said in ((self.real, on_real), (self.fake, on_fake)):
                mean.lerp_(torch.stack([logits.float().mean() for logits in said]), 1 - self.options.decay)
        apart = [(logits - mean).square().mean() for logits, mean in zip(on_real, self.fake, strict=True)]
        apart += [(logits - mean).square().mean() for logits, mean in zip(on_fake, self.real, strict=True)]
        term = torch.stack(apart).sum()
        due = (gan.clock.step >= self.options.after).to(term.dtype)
        return {self.name: self.options.weight * due * term}

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *more: Any) -> None:
        """As torch does it; a mean that was of one discriminator alone is where those of all begin."""
        for name in ("real", "fake"):
            if (before := state_dict.get(prefix + name)) is not None and before.numel() == 1:
                state_dict[prefix + name] = before.expand_as(getattr(self, name)).clone()
        super()._load_from_state_dict(state_dict, prefix, *more)


@ganzoo.hookimpl
def register_regularisers(register):
    register(LeCam)
