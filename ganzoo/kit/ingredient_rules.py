"""What augmentations and regularisers must keep: `AUGMENTATION` and `REGULARISER`, as `ganzoo.kit.rules` for models."""

from collections.abc import Callable
from typing import Any, cast

from ganzoo.ingredients import Augmentation
from ganzoo.kit import checks
from ganzoo.kit import ingredient_checks as own
from ganzoo.kit.cases import Case
from ganzoo.kit.mixed import Mixed
from ganzoo.kit.rules import RULES, Rule


def _rule(name: str, says: str, fix: str, check: Callable[[Mixed], str | None], gate: bool = False) -> Rule:
    return Rule(name, says, fix, cast(Callable[[Case], str | None], check), gate)


def _as_of_models(*names: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.name in names)


FIRST = (
    _rule(
        "explained",
        "name, summary, docstring and options with types, defaults and texts are there",
        "state name and summary, give the class a docstring and every option a type, a default and a description",
        own.explained,
    ),
    _rule(
        "builds",
        "it can be made, and holds nothing that has to be trained",
        "call super().__init__(data, options); keep what it holds in buffers (register_buffer); "
        "of a regulariser, override terms or heed, and name a player",
        own.builds,
        gate=True,
    ),
)
STATE = Rule(
    "resume",
    "a resumed training continues exactly",
    "keep counters and running values in buffers (register_buffer), changed in place, not in attributes",
    checks.resumes,
)
LAST = (
    *_as_of_models("state"),
    STATE,
    *_as_of_models("host", "shapes", "device", "random"),
    Rule(
        "recorded",
        "recorded steps and plain steps agree",
        "keep what changes in buffers (register_buffer), changed in place; use gan.clock for what follows the step; "
        "return the same terms every time, and masks instead of boolean indices",
        checks.recorded,
    ),
    _rule(
        "ends",
        "with every option at either end of its range, what comes out is finite",
        "bound the option by Field(ge=..., le=...), or refuse the value in __init__ by a UsageError",
        own.ends,
    ),
)
AUGMENTATION = (
    *FIRST,
    _rule(
        "images",
        "images come back in the same shape, finite, whatever their number",
        "return a new float tensor (N, C, H, W)",
        own.keeps_shape,
        gate=True,
    ),
    _rule(
        "differentiable",
        "gradients go back to the images, and gradients of these",
        "use operators of torch that have derivatives; no detach, no round, no no_grad on the way of the images",
        own.lets_gradients_through,
        gate=True,
    ),
    _rule(
        "each",
        "each image is changed by itself, by what it draws",
        "draw torch.rand(len(x), 1, 1, 1, device=x.device); take no means over the batch",
        own.each_by_itself,
    ),
    _rule(
        "sides",
        "real images and fakes are changed alike",
        "move buffers in after_discriminator_step, not in forward; count nothing there",
        own.same_for_both_sides,
    ),
    *LAST,
)
"""In the order in which they are checked."""
REGULARISER = (
    *FIRST,
    _rule(
        "terms",
        "terms are finite scalars by name that reach the player, and heed keeps the logits' shape",
        "return a dict of 0-dimensional tensors, such as {'penalty': penalty.mean()}; leave weights and .grad alone",
        own.terms,
        gate=True,
    ),
    _rule(
        "mean",
        "terms are means over the batch",
        "take means, not sums, over the batch",
        own.means,
    ),
    _rule(
        "lazy",
        "what is due in every k-th step is k times as heavy",
        "multiply the terms by self.every",
        own.lazy,
    ),
    *LAST,
)
"""In the order in which they are checked."""


def rules_of(cls: type[Any]) -> tuple[Rule, ...]:
    """Those of an augmentation, or of a regulariser."""
    return AUGMENTATION if issubclass(cls, Augmentation) else REGULARISER
