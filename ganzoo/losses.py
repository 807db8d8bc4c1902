"""Losses and penalties as pure functions: each returns the mean over its input, a scalar.

Adversarial losses named `*_discriminator` or `*_critic` take (real_logits, fake_logits); those named `*_generator`
take fake_logits.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.precision import exactly


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], D = sigmoid(logits). Goodfellow et al. 2014, equation 1."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]: the value of the game itself. Goodfellow et al. 2014, equation 1."""
    return -F.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E[log D(G(z))]: the same fixed point, stronger gradients early. Goodfellow et al. 2014, section 3."""
    return F.softplus(-fake).mean()


def cross_entropy_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Half of `minimax_discriminator`: the cross-entropy of classifying both halves, as most code has it."""
    return minimax_discriminator(real, fake) / 2


def least_squares_discriminator(real: Tensor, fake: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """(E[(D(x) - b)^2] + E[(D(G(z)) - a)^2]) / 2. Mao et al. 2017, equation 2."""
    return (_squared_distance(real, b) + _squared_distance(fake, a)) / 2


def least_squares_generator(fake: Tensor, c: float = 1.0) -> Tensor:
    """E[(D(G(z)) - c)^2] / 2. Mao et al. 2017, equation 2."""
    return _squared_distance(fake, c) / 2


def mean_squared_generator(fake: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2]: the same without the half, as tutorials have it."""
    return _squared_distance(fake, 1.0)


def _squared_distance(logits: Tensor, target: float) -> Tensor:
    """E[(D(x) - target)^2] by torch's own loss: three operators with its gradient; the formula has eight."""
    return F.mse_loss(logits, torch.full_like(logits, target))


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]. Miyato et al. 2018, equation 16."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E[D(G(z))]. Miyato et al. 2018, equation 17."""
    return -fake.mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """E[f(G(z))] - E[f(x)]: minus what the critic maximises. Arjovsky et al. 2017, equation 3."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """-E[f(G(z))]. Arjovsky et al. 2017, theorem 3."""
    return -fake.mean()


def relativistic(ours: Tensor, theirs: Tensor) -> Tensor:
    """E[softplus(-(D(ours) - D(theirs)))]: ours, one by one, should be judged more real than theirs.

    The discriminator's ours are real, the generator's fake. Jolicoeur-Martineau 2019, RpGAN with the logistic
    function; Huang et al. 2024, equation 2.
    """
    return F.softplus(theirs - ours).mean()


def relativistic_average(ours: Tensor, theirs: Tensor) -> Tensor:
    """-E[log s(D(ours) - E[D(theirs)])] - E[log(1 - s(D(theirs) - E[D(ours)]))], s the logistic function.

    The discriminator's ours are real, the generator's fake. Jolicoeur-Martineau 2019, RaSGAN, equations 16 and 17.
    """
    return F.softplus(theirs.mean() - ours).mean() + F.softplus(theirs - ours.mean()).mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """|E[f(x)] - E[f(G(z))]|^2 / F of features (N, F): fakes should have real samples' mean features.

    Salimans et al. 2016, section 3.1, by the mean over features instead of their sum. Gradients reach fakes alone.
    """
    return (real.detach().mean(0) - fake.mean(0)).square().mean()


def raw(logits: Tensor) -> Tensor:
    """The logits themselves, for losses that do not read them as odds."""
    return logits


class Adversarial(NamedTuple):
    """The two sides of one adversarial loss, and how to read a logit."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    """What to show of the discriminator's output: a probability where the loss gives it that meaning."""
    entropy: float = 0.0
    """What -E[log D(x)] is multiplied by in the discriminator's; 0: it is no cross-entropy."""


Name = Literal["minimax", "non-saturating", "cross-entropy", "least-squares", "mean-squared", "hinge"]
"""The losses that a model may offer by name, as the type of an option."""

ADVERSARIAL: dict[Name, Adversarial] = {
    "minimax": Adversarial(minimax_discriminator, minimax_generator, torch.sigmoid, 1.0),
    "non-saturating": Adversarial(minimax_discriminator, non_saturating_generator, torch.sigmoid, 1.0),
    "cross-entropy": Adversarial(cross_entropy_discriminator, non_saturating_generator, torch.sigmoid, 0.5),
    "least-squares": Adversarial(least_squares_discriminator, least_squares_generator, raw),
    "mean-squared": Adversarial(least_squares_discriminator, mean_squared_generator, raw),
    "hinge": Adversarial(hinge_discriminator, hinge_generator, raw),
}
"""Each by its name."""


# Gradient penalties. Each is a mean over samples; the paper's weight (lambda, gamma / 2) is the caller's. Those with a
# pass of their own through the critic take it in float32, whatever the run's precision is.

Critic = Callable[[Tensor], Tensor]
"""Samples (N, ...) to logits (N, 1), each sample judged by itself."""


def gradient_norm(critic: Critic, x: Tensor) -> Tensor:
    """Norm of the critic's gradient at each sample: (N,), differentiable in the critic's weights."""
    with exactly(x.device.type):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return gradient.flatten(1).norm(dim=1)


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A point on the line between each real sample and its fake, uniformly: (N, ...), without a graph."""
    share = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
    return torch.lerp(real.detach(), fake.detach(), share)


def interpolation_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """E[(|grad f(x^)| - 1)^2], x^ uniform on the line between a real and a fake. Gulrajani et al. 2017, equation 3."""
    return (gradient_norm(critic, between(real, fake)) - 1).square().mean()


def local_penalty(critic: Critic, real: Tensor, spread: float = 0.5, target: float = 1.0) -> Tensor:
    """E[(|grad D(x + delta)| - k)^2], k = `target`: a penalty around real data. Kodali et al. 2017, algorithm 1.

    As in the code of its authors, delta is uniform noise of up to `spread` standard deviations of the batch, scaled
    by a uniform number for each sample.
    """
    reach = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
    delta = reach * spread * real.detach().std() * torch.rand_like(real)
    return (gradient_norm(critic, real.detach() + delta) - target).square().mean()


def zero_centred_penalties(*pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """E[|grad D(x)|^2] for each pair (x, its logits): R1 where x is real, R2 where it is fake.

    Mescheder et al. 2018, equations 9 and 10. Every x must require gradients, and the logits be made from it; they are
    the ones that the loss uses too, so that the penalty costs no forward pass of its own. Of float32 x and logits the
    gradients are float32, what lies between may be of half precision.
    """
    total = torch.stack([logits.sum() for _, logits in pairs]).sum()
    gradients = torch.autograd.grad(total, [x for x, _ in pairs], create_graph=True)
    return tuple(g.flatten(1).square().sum(1).mean() for g in gradients)


def zero_centred_penalty(judge: Callable[[Any], Any], batch: Any, judges: int = 1) -> Tensor:
    """E[|grad D(x)|^2] at a batch by itself, for turns that see no loss: R1 of a real batch, R2 of fakes.

    Args:
        judge: `GAN.discriminate`, by which logits, or logits and more, are made of a batch. Nothing that it computes
            here is of half precision.
        batch: a `ganzoo.Batch`.
        judges: how many tensors of logits there are, each of a discriminator whose penalty is added: `GAN.judges`.
    """
    x = batch.x.detach().requires_grad_()
    with exactly(x.device.type):
        output = judge(batch._replace(x=x))
        logits = output[:judges] if isinstance(output, tuple) else (output,)
        return torch.stack([zero_centred_penalties((x, verdict))[0] for verdict in logits]).sum()


# Predicting a condition or a code


def prediction(output: Tensor, y: Tensor, classes: int) -> Tensor:
    """-E[log p(y | x)] up to a constant, from an auxiliary head's output, a scalar.

    `output` is logits (N, classes) for class indices y (N,). For condition vectors (N, K) its first `classes` columns
    are logits and the others means of Gaussians of variance 1/2: cross-entropy and squared error, each summed over
    columns. Odena et al. 2017, equation 3.
    """
    if not y.is_floating_point():
        return F.cross_entropy(output, y)
    error = (output[:, classes:] - y[:, classes:]).square().sum(1).mean()
    return error + F.cross_entropy(output[:, :classes], y[:, :classes]) if classes else error


def gaussian_nll(mean: Tensor, log_variance: Tensor, value: Tensor) -> Tensor:
    """-E[log N(value; mean, exp(log_variance))] summed over columns, without the constant log(2 pi) / 2.

    All (N, K). With q the Gaussian, minus this is the variational bound on the mutual information between code and
    sample, up to the entropy of the code, which is fixed: Chen et al. 2016, equation 5.
    """
    return (log_variance + (value - mean).square() * (-log_variance).exp()).sum(1).mean() / 2


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) | N(0, 1)) summed over columns, both (N, K). Kingma & Welling 2014, appendix B."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
