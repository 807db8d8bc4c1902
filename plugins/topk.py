"""Top-k training: Sinha et al., Top-k Training of GANs, 2020.

The generator learns from the k fakes of a batch that the discriminator takes for the most real ones (algorithm 1); k
falls from the whole batch to a share of it while training goes on.
"""

from pydantic import Field
from torch import Tensor

import ganzoo


class TopK(ganzoo.Regulariser):
    """The generator learns from its best fakes."""

    name = "topk"
    summary = "the generator learns from the fakes that the discriminator likes best (Sinha et al. 2020)"
    player = "generator"
    whole_batches = True

    class Options(ganzoo.IngredientOptions):
        """k falls in a line, where the paper has it fall by a factor at each epoch."""

        share: float = Field(0.5, gt=0, le=1, description="Share of the batch that is left at the end, nu.")
        until: float = Field(0.5, gt=0, le=1, description="Share of the run after which k no longer falls.")

    def unfit(self, gan: ganzoo.GAN) -> str | None:
        if gan.judged == "latents":
            return "has no fakes that the discriminator likes: it judges latents"
        return None if gan.by_logits else "has a generator that does not go by what D says of its samples, as it is set"

    def heed(self, gan: ganzoo.GAN, logits: Tensor, batch: ganzoo.Batch) -> Tensor:
        """The logits of fakes, whose gradients are those of the mean over the best k: (N, 1)."""
        if batch.z is None:
            return logits
        n = logits.shape[0]
        done = (gan.clock.fraction / self.options.until).clamp(max=1)
        k = (n * (1 - done * (1 - self.options.share)) - 1e-3).ceil()  # 0.1 of 100 is 10.000002 in float32.
        scores = logits.detach().float().flatten(1).mean(1)
        rank = scores.argsort(descending=True).argsort()
        weight = ((rank < k) * (n / k)).to(logits.dtype).view(-1, *[1] * (logits.dim() - 1))
        return logits.detach() + weight * (logits - logits.detach())


@ganzoo.hookimpl
def register_regularisers(register):
    register(TopK)
