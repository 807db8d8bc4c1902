"""What combines with any model: augmentations of what the discriminator sees, and regularisers of its losses.

Neither knows of the other, nor of the model. Both are chosen by name, with typed options of their own:
`ganzoo run sngan --augment ada:target=0.6 --regularise r1:gamma=1,every=16`.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import GanzooError
from ganzoo.gan import GAN


class IngredientOptions(BaseModel):
    """Options of an augmentation or a regulariser: a subclass's fields, each with a default and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Augmentation(nn.Module):
    """A differentiable change of images, drawn anew for each: real and fakes alike, in the turns of all players.

    Subclass it, register the class through `register_augmentations`. It enters in `GAN.discriminate`. It draws from
    torch's default generator, on the device of what it gets; what it keeps is in buffers, changed in place. So it is
    recorded, resumed and averaged over processes as a model is.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings."""
    Options: ClassVar[type[IngredientOptions]] = IngredientOptions

    batch_size: int = 0
    """Real images in a batch, over all processes. Set before training."""

    def __init__(self, data: DataSpec, options: Any):
        """Make it for images of `data.shape`.

        Raises:
            UsageError: it cannot change such data.
        """
        super().__init__()
        self.data, self.options = data, options

    def forward(self, x: Tensor) -> Tensor:
        """Images, float (N, C, H, W) in [-1, 1], to images of the same shape, each changed by itself."""
        raise GanzooError(f"augmentation '{self.name}' does not state forward")

    def after_discriminator_step(self, real_logits: Tensor) -> None:
        """Called after each step of the discriminator, without gradients, with its logits of real images (N, ...)."""

    def watched(self) -> dict[str, Tensor]:
        """Scalars to log beside the losses, by name."""
        return {}


class Regulariser:
    """Terms that one player goes down besides its own. Subclass it, register it through `register_regularisers`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings."""
    Options: ClassVar[type[IngredientOptions]] = IngredientOptions

    player: str = "discriminator"
    """Whose losses it adds to."""
    every: int = 1
    """In every so many steps: 1 joins the player's first turn; more is a turn of its own, whose terms it scales."""

    def __init__(self, data: DataSpec, options: Any):
        self.data, self.options = data, options

    def terms(self, gan: GAN, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """Named scalar terms; `fake` carries a graph in the turns of players that make fakes."""
        raise GanzooError(f"regulariser '{self.name}' does not state terms")
