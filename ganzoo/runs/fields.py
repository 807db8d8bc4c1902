"""What two players say of the plane: the discriminator of each place, and the generator's loss of each sample."""

import torch
from torch import Tensor

from ganzoo.data import Batch
from ganzoo.gan import GAN
from ganzoo.runs.pictures import Field, Frame
from ganzoo.training.engine import at_rest

ARROWS = 64
"""Samples with an arrow."""
SEED = 20140611


def field_of(gan: GAN, examples: Batch, frame: Frame) -> Field:
    """The field of a model of points in the plane, as its networks are now. Training does not notice.

    A place is scored by the discriminator; with classes, for the class that scores it highest. A sample is pulled down
    the gradient of `generator_loss`, where the model states one, against as many of the held-out `examples`.
    """
    view = gan.aside()
    with at_rest(view, SEED, gan.device):
        surface = _surface(view, frame.mesh().to(gan.device))
        real = Batch(examples.x[:ARROWS], None if examples.y is None else examples.y[:ARROWS])
        if type(gan).generator_loss is GAN.generator_loss:
            return Field(surface, real.x[:0], None)
        with torch.enable_grad():
            fake = view.fake(real)
            x = fake.x.detach().requires_grad_()  # The averaged generator records no gradient.
            loss = torch.stack(list(view.generator_loss(real, fake._replace(x=x)).values())).sum()
            (gradient,) = torch.autograd.grad(loss, x)
    return Field(surface, x.detach(), -gradient)


def _surface(gan: GAN, mesh: Tensor) -> Tensor:
    """Scores at places (N, 2), float (N,)."""
    if not gan.conditional:
        return gan.surface(mesh, None)
    if gan.data.attributes:
        y = gan.sample_labels(1)
        assert y is not None
        return gan.surface(mesh, y.expand(len(mesh), -1))
    by_class = [
        gan.surface(mesh, torch.full((len(mesh),), k, device=mesh.device)) for k in range(len(gan.data.classes))
    ]
    return torch.stack(by_class).amax(0)
