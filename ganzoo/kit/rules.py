"""`RULES`: what a model must keep, how to mend what breaks it, and the check that finds out; `testing.py` runs them."""

from collections.abc import Callable
from dataclasses import dataclass

from ganzoo.kit import checks
from ganzoo.kit.cases import Case


@dataclass(frozen=True)
class Rule:
    """One rule: what it says, how to keep it, and the function that complains when it is broken."""

    name: str
    says: str
    fix: str
    check: Callable[[Case], str | None]
    gate: bool = False
    """Without this one, there is no sense in trying those after it."""


RULES = (
    Rule(
        "explained",
        "name, paper, docstring, option texts and presets are there",
        "state name and paper, give the class a docstring and every option a description; presets hold known options",
        checks.explained,
    ),
    Rule(
        "builds",
        "the model builds for any image shape, and each parameter belongs to one player",
        "set self.generator and self.discriminator in __init__, sized from self.data; "
        "put extra modules into one of them, or override players()",
        checks.builds,
        gate=True,
    ),
    Rule(
        "samples",
        "samples have the data's shape and lie in [-1, 1]",
        "end the generator in Tanh and Unflatten(1, self.data.shape), or in what does the same",
        checks.samples,
        gate=True,
    ),
    Rule(
        "terms",
        "losses return finite scalars by name",
        "return a dict of 0-dimensional tensors, such as {'adversarial': loss.mean()}",
        checks.terms,
        gate=True,
    ),
    Rule(
        "turns",
        "only the moving player changes in its turn, and both do move",
        "leave weights alone in losses; what must change them belongs in after_discriminator_step(), for that player; "
        "in discriminator_loss use fake.x instead of running the generator again",
        checks.one_moves,
    ),
    Rule(
        "gradients",
        "every parameter of the moving player gets a finite gradient",
        "use the parameter in that player's loss, or remove it",
        checks.gradients,
    ),
    Rule(
        "seed",
        "the same seed gives the same weights",
        "draw from torch's default generator only; no clock, no os.urandom, no order of a set",
        checks.seeded,
    ),
    Rule(
        "state",
        "state_dict holds all that the model is",
        "keep what __init__ draws in parameters or buffers (register_buffer), not in attributes",
        checks.round_trips,
    ),
    Rule(
        "resume",
        "a resumed training continues exactly",
        "keep counters and running values in buffers (register_buffer), not in attributes; no generator of your own",
        checks.resumes,
    ),
    Rule(
        "average",
        "samples come from self.generator, so that the averaged one can stand in for it",
        "call self.generator in generate(), and keep no other reference to it or to its parts",
        checks.averaged,
    ),
    Rule(
        "condition",
        "the condition matters to both players",
        "pass y on in the generator and in the discriminator or its loss: see ganzoo.nets.Condition",
        checks.conditioned,
    ),
    Rule(
        "halves",
        "two halves of a batch agree with the whole, as two processes must with one",
        "take means, not sums, over the batch; "
        "set batch_statistics = True on a module (the GAN is one) in which a sample depends on the rest of the batch",
        checks.halves,
    ),
    Rule(
        "host",
        "a step moves nothing between host and device",
        "use torch.where, masks and tensors instead of if, float(), item(), cpu() and numpy(); "
        "register constants as buffers, or make them by torch.full, instead of torch.tensor([...])",
        checks.stays_on_device,
    ),
    Rule(
        "shapes",
        "shapes do not depend on values",
        "use torch.where or multiply by a mask instead of boolean indices, nonzero and unique",
        checks.static_shapes,
    ),
    Rule(
        "device",
        "every tensor of a step is on the model's device",
        "pass device=self.device to what makes a tensor, or use zeros_like and the like; register constants as buffers",
        checks.own_device,
    ),
    Rule(
        "random",
        "random numbers come from torch's default generator alone",
        "use torch.rand and its kind instead of Python's random and numpy's",
        checks.torch_random,
    ),
    Rule(
        "recorded",
        "recorded steps and plain steps agree",
        "compute each step from tensors and options alone; what Python counts or draws is fixed in a recording: "
        "keep counters in buffers (register_buffer), and draw with torch",
        checks.recorded,
    ),
)
"""All rules, in the order in which they are checked."""
