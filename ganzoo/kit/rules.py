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
    """What a complaint that brings no advice of its own is told with."""
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
        "names",
        "no option has the name of one that a command has already",
        "name the option otherwise: `ganzoo run MODEL --help` lists those of every run, "
        "`ganzoo sample --help` and `ganzoo eval --help` those of drawing",
        checks.own_names,
    ),
    Rule(
        "builds",
        "the model builds for any image shape, and each parameter belongs to one player",
        "set self.generator and self.discriminator in __init__, sized from self.data; "
        "put extra modules into one of them, or name them in players() and give them a Turn in turns()",
        checks.builds,
        gate=True,
    ),
    Rule(
        "players",
        "every player has a turn, every turn is a player's, and what is saved is there",
        "add a Turn for each player of players() to turns(), or let another player hold its module; "
        "let saved name modules that __init__ sets, 'generator' first",
        checks.playable,
        gate=True,
    ),
    Rule(
        "samples",
        "samples have the data's shape and, drawn in evaluation mode, lie in [-1, 1]",
        "end the generator in Tanh and Unflatten(1, self.data.shape), or in what does the same in evaluation mode; "
        "samples of vectors are float (N, D), in any range",
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
        "each player moves in its own turns, and no other does",
        "leave weights alone in losses; what must change them belongs in after_discriminator_step(), for that player; "
        "in the discriminator's losses use fake.x instead of running the generator again",
        checks.one_moves,
    ),
    Rule(
        "gradients",
        "every parameter of a player gets a finite gradient in one of its turns",
        "use the parameter in a loss of that player, or remove it",
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
        "samples and pictures come from the modules of saved, so that the averaged ones can stand in for them",
        "call self.generator in generate(), and keep no other reference to what saved names, or to its parts",
        checks.averaged,
    ),
    Rule(
        "pictures",
        "pictures of held-out examples lie in [-1, 1], one for each example",
        "return a dict from names to float (N, C, H, W) with N = len(examples.x); of vectors, to float (N, D)",
        checks.pictures,
    ),
    Rule(
        "condition",
        "the condition matters to both players",
        "pass y on in the generator and in the discriminator or its loss: see ganzoo.nets.Condition",
        checks.conditioned,
    ),
    Rule(
        "source",
        "what a model that translates makes follows from the source",
        "let the generator take (source, y), or use source in generate(z, y, source)",
        checks.sourced,
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
        "use Turn(..., every=k) for what comes in every k-th step, self.clock for what follows the step or the budget; "
        "keep counts, running values and past fakes in buffers (register_buffer), changed in place; draw with torch; "
        "return the same terms every time, and masks instead of boolean indices",
        checks.recorded,
    ),
)
"""All rules, in the order in which they are checked."""
