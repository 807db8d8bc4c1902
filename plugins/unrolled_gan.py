"""Unrolled GAN: Metz et al., Unrolled Generative Adversarial Networks, 2017.

G does not play against D as it is, but against what D will be after k more steps (equations 7 to 11):

    theta_0 = D's parameters,  theta_(i+1) = theta_i + eta grad f(theta_G, theta_i),    G descends f(theta_G, theta_k)

and the gradient goes through those steps: it says how D would answer. A G that puts all it has on one mode would be
found out within k steps, so it has no reason to. D itself is updated as ever, by one step.

Networks are fully connected and take points in the plane as well as images: G maps z (N, latent_dim) to samples in
[-1, 1], D maps samples to logits (N, 1).
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

import ganzoo
from ganzoo import losses
from ganzoo.fields import Beta1, Beta2, Hold, LatentDim, LearningRateD, LearningRateG
from ganzoo.nets import networks


class UnrolledGAN(ganzoo.GAN):
    """The GAN that foresees its discriminator.

    Steps of the unrolled D are plain gradient ascent, as the equations have it, on the batch at hand; D's own steps
    are Adam's. G descends the value of the game itself, as in the code of the authors: the real samples' part of it
    changes with what G makes D learn. With `--unroll 0` it is `gan --loss minimax`.
    """

    name = "unrolled-gan"
    paper = "Metz et al., Unrolled Generative Adversarial Networks, 2017, https://arxiv.org/abs/1611.02163"
    real_entropy = 1.0

    batch_statistics = True
    """The steps that G foresees are taken on the whole batch."""

    class Options(ganzoo.Options):
        """G's rate is ten times D's, as in the code of the authors."""

        lr: LearningRateD = 1e-4
        lr_generator: LearningRateG = 1e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        latent_dim: LatentDim = 64
        unroll: int = Field(5, ge=0, le=100, description="Steps of D that G foresees, k.")
        unrolled_lr: float = Field(0.1, gt=0, le=100, description="Learning rate of these steps, eta.")

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        self.generator, self.discriminator = networks("mlp", self.data, options.latent_dim)
        self._ahead: dict[str, Tensor] | None = None

    def judge(self, batch: ganzoo.Batch) -> Tensor:
        if self._ahead is None:
            return super().judge(batch)
        logits: Tensor = functional_call(self.discriminator, self._ahead, (batch.x, batch.y))
        return logits

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        self._ahead = self._unrolled(real, fake)
        try:
            return {"adversarial": -losses.minimax_discriminator(*self.discriminate(real, fake))}
        finally:
            self._ahead = None

    def _unrolled(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        """D's parameters after `unroll` steps, as functions of the fakes."""
        ahead = {name: p.detach().requires_grad_() for name, p in self.discriminator.named_parameters()}
        real, fake = self.augmented(real), self.augmented(fake)
        for _ in range(self.options.unroll):
            logits = functional_call(self.discriminator, ahead, (torch.cat([real.x, fake.x]), None))
            loss = losses.minimax_discriminator(*logits.split([len(real.x), len(fake.x)]))
            gradients = torch.autograd.grad(loss, list(ahead.values()), create_graph=True)
            steps = zip(ahead.items(), gradients, strict=True)
            ahead = {name: p - self.options.unrolled_lr * gradient for (name, p), gradient in steps}
        return ahead


@ganzoo.hookimpl
def register_models(register):
    register(UnrolledGAN)
