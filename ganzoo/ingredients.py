"""What combines with any model: augmentations of what the discriminator sees, and regularisers of its losses.

Neither knows of the other, nor of the model. Both are chosen by name, with typed options of their own:
`ganzoo run sngan --augment ada:target=0.6 --regularise r1:gamma=1,every=16`.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ganzoo.data import Batch, DataSpec
from ganzoo.errors import GanzooError, UsageError
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
            UsageError: the data has vectors, or it cannot change such images.
        """
        super().__init__()
        if not data.is_images:
            raise UsageError(
                f"augmentation '{self.name}' changes images, and data set '{data.name}' has vectors: "
                f"leave out --augment {self.name}"
            )
        self.data, self.options = data, options

    def unfit(self, gan: GAN) -> str | None:
        """Why it cannot be mixed with a model, in words that follow its name; None: it can. Asked as a run begins."""
        return unreached(gan)

    def forward(self, x: Tensor) -> Tensor:
        """Images, float (N, C, H, W) in [-1, 1], to images of the same shape, each changed by itself."""
        raise GanzooError(f"augmentation '{self.name}' does not state forward")

    def after_discriminator_step(self, real_logits: Tensor) -> None:
        """Called after each step of the discriminator, without gradients, with its logits of real images (N, ...)."""

    def watched(self) -> dict[str, Tensor]:
        """Scalars to log beside the losses, by name: `p` is logged as `NAME/p`."""
        return {}


class Regulariser(nn.Module):
    """Terms that one player goes down besides its own. Subclass it, register it through `register_regularisers`.

    What it keeps is in buffers, changed in place. It calls `gan.judge` or `gan.discriminate`, never the trainer.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for listings."""
    Options: ClassVar[type[IngredientOptions]] = IngredientOptions

    player: str = "discriminator"
    """Whose losses it adds to."""
    every: int = 1
    """In every so many steps: 1 joins the player's first turn; more is a turn of its own."""
    whole_batches: ClassVar[bool] = False
    """Whether parts of a batch, as `--accumulate` has them, are another thing to it than the batch."""

    def __init__(self, data: DataSpec, options: Any):
        """Make it; an option named `every` decides `self.every`.

        Raises:
            UsageError: it makes no sense for such data.
        """
        super().__init__()
        self.data, self.options = data, options
        self.every = getattr(options, "every", self.every)

    def unfit(self, gan: GAN) -> str | None:
        """Why it cannot be mixed with a model, in words that follow its name; None: it can. Asked as a run begins."""
        return None

    def attach(self, gan: GAN) -> None:
        """Called once, with the model it is added to, before anything is trained or loaded: for buffers of its size."""

    def terms(self, gan: GAN, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """Named scalar terms, none unless overridden; `fake` carries a graph in the turns of players that make fakes.

        A lazy one scales its terms by `self.every`, so that their mean over all steps stays what it was. The trainer
        makes up for first turns that are taken several times in a step (`n_critic`).
        """
        return {}

    def heed(self, gan: GAN, logits: Tensor, batch: Batch) -> Tensor:
        """The logits (N, 1) as `gan.discriminate` gives them in the player's turns: unchanged unless overridden."""
        return logits


def unreached(gan: GAN) -> str | None:
    """Why what changes the `x` of fakes, or goes by its gradient, cannot be mixed with a model; None: it can."""
    return {
        "samples": None,
        "parts": "judges fakes by the parts that they are made of, which nothing that is done to the whole reaches",
        "latents": "judges latents, not what is made of them",
    }[gan.judged]


Ingredient = TypeVar("Ingredient", Augmentation, Regulariser)


def added(modules: nn.ModuleList, kind: type[Ingredient]) -> Iterator[Ingredient]:
    """Those of a model's `augmentations`, or `regularisers`, as what they are."""
    return (module for module in modules if isinstance(module, kind))


def parse(text: str) -> tuple[str, dict[str, str]]:
    """`r1:gamma=1,every=16` as its name and its options by name.

    Raises:
        UsageError: it is not of that form.
    """
    name, colon, rest = text.strip().partition(":")
    options: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if not (equals and key and value.strip()) or key in options:
            raise UsageError(f"'{text}': write NAME, or NAME:OPTION=VALUE,OPTION=VALUE")
        options[key] = value.strip()
    return name.strip(), options
