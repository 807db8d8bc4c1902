"""What StyleGAN2 and StyleGAN3 are as models: R1 by turns of its own, and what snapshots of the authors' programs say.

The networks that they share are in `ganzoo.styles`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo import losses
from ganzoo.data import Batch, DataSpec
from ganzoo.errors import Foreign, UsageError, plain, warn
from ganzoo.fields import validated
from ganzoo.gan import GAN, Imported, Network, Turn
from ganzoo.styles import CLAMP, WHOLE_BATCH, Discriminator, State, low_pass

# Snapshots of the authors' programs


def told_by(network: Network) -> dict[str, Any]:
    """The arguments by name that a published network was made with, those of its synthesis network among them, and
    those of its mapping network, and of a discriminator's parts, under `mapping NAME`, `block NAME`, `epilogue NAME`.

    What its layers say of themselves stands in place of what was not given by name, for defaults differ between
    programs: `bound`, what outputs of convolutions are held within, and `half`, how many resolutions are in half
    precision.

    Of one that is neither a number nor a text the kind alone: a container in a stranger's file has no end when shown.
    """
    given = _given(network)
    # A program of 2020 has these apart.
    every = {**given, **_plain(given.get("synthesis_kwargs"))}
    for part in ("mapping", "block", "epilogue"):
        every |= {f"{part} {name}": value for name, value in _plain(given.get(f"{part}_kwargs")).items()}
    told = {k: v if isinstance(v, int | float | str | None) else type(v).__name__ for k, v in every.items()}
    bounds = {
        kept["conv_clamp"] for name, kept in network.layers.items() if "conv_clamp" in kept and _own(name) != "skip"
    }
    blocks = [kept["use_fp16"] for name, kept in network.layers.items() if "use_fp16" in kept]
    told["bound"] = bounds.pop() if len(bounds) == 1 else told.get("conv_clamp") if not bounds else "several bounds"
    told["half"] = sum(half is True for half in blocks) if blocks else told.get("num_fp16_res", 0)
    return told


def _own(name: str) -> str:
    """A module's name in the one around it."""
    return name.rpartition(".")[2]


def _given(network: Network) -> dict[str, Any]:
    """What a published network was made with, by name. Raises UsageError for what was given by position."""
    if network.attributes.get("_init_args"):
        raise UsageError("its networks were made with arguments by position: which they were, it does not say")
    return _plain(network.attributes.get("_init_kwargs"))


def _oddly_active(network: Network) -> Iterator[str]:
    """Layers whose activation is another than the published one."""
    for name, kept in network.layers.items():
        usual = "linear" if _own(name) in ("affine", "embed", "skip", "out") else "lrelu"
        if (theirs := kept.get("activation", usual)) != usual:
            yield f"activation {theirs} in {name}"


USUAL: Mapping[str, Any] = {"activation": "lrelu", "mapping activation": "lrelu", "mapping lr_multiplier": 0.01}
"""Arguments of published generators that have one value here, and show in no tensor's shape."""
OF_CRITICS: Mapping[str, Any] = {
    "block activation": "lrelu", "epilogue activation": "lrelu", "mapping activation": "lrelu",
    "mapping lr_multiplier": 0.01,
}  # fmt: skip
"""The same of published discriminators."""


def unusual(told: Mapping[str, Any], usual: Mapping[str, Any] = USUAL) -> Iterator[str]:
    """The arguments, `told_by` a network, of which there is another value here; what it does not tell is as usual."""
    for name, ours in usual.items():
        theirs = told.get(name)
        numbers = isinstance(theirs, int | float) and isinstance(ours, int | float)
        if theirs is not None and not (math.isclose(theirs, ours, rel_tol=1e-9) if numbers else theirs == ours):
            yield f"{name} {theirs}"


def spec_of(generator: Network) -> tuple[DataSpec, int, int]:
    """What data a published generator was trained on, and the sizes of its z and of its w.

    Raises:
        UsageError: it does not say, or its images are neither grey nor RGB.
    """
    names = ("img_resolution", "img_channels", "c_dim", "z_dim", "w_dim")
    facts: list[Any] = [generator.attributes.get(name) for name in names]
    side, colours, classes, z, w = facts
    if not (all(type(n) is int for n in facts) and 0 <= classes <= 100_000):
        raise UsageError("G_ema does not say how large its images, its latents and its labels are")
    if colours not in (1, 3):
        raise UsageError(f"its images have {colours} channels: grey and RGB ones can be imported")
    return DataSpec("imported", (colours, side, side), 0, tuple(map(str, range(classes)))), z, w


def group_of(critic: Network | None) -> int:
    """The group of a published discriminator's minibatch deviation: 4 unless it says otherwise; None: the batch."""
    given = _plain(critic.attributes.get("_init_kwargs")) if critic is not None else {}
    group = _plain(given.get("epilogue_kwargs")).get("mbstd_group_size", 4)
    if group is None:
        return WHOLE_BATCH
    return group if type(group) is int and group > 0 else 4


def _plain(value: Any) -> dict[str, Any]:
    """A dictionary, or what is in one of the programs' own class; of anything else nothing."""
    items = value if isinstance(value, dict) else getattr(value, "items", None)
    return items if isinstance(items, dict) else {}


def trained(
    networks: Mapping[str, Network], bound: float | None, state: Callable[[Mapping[str, Tensor]], State]
) -> dict[str, State]:
    """What a snapshot's G and D, where they are there, were when training ended, by the names of the players here.

    `bound` is what the averaged generator holds outputs of convolutions within. One that is of a configuration which
    there is not here is left out, and a line says why.
    """
    found: dict[str, State] = {}
    for theirs, ours in (("G", "generator"), ("D", "discriminator")):
        if theirs in networks:
            try:
                if theirs == "D":
                    _refuse_unlike(networks[theirs], bound)
                found[ours] = state(networks[theirs].tensors)
            except UsageError as error:
                warn(f"the {ours} as it was in training is left out: {error}")
    return found


def _refuse_unlike(critic: Network, bound: float | None) -> None:
    """Raises UsageError where a published discriminator computes otherwise than the one here."""
    told = told_by(critic)
    unlike = [*unusual(told, OF_CRITICS), *_oddly_active(critic)]
    if told["bound"] != bound:
        unlike.append(f"it holds activations within {told['bound']}, and G_ema within {bound}")
    if unlike:
        raise UsageError(f"it is of a configuration that there is not here: {plain(', '.join(unlike))[:200]}")
    refuse_other_filters(critic.tensors)


def refuse_other_filters(state: Mapping[str, Tensor]) -> None:
    """Raises UsageError where a published network has another low-pass filter than the one here; it is named."""
    ours = low_pass()
    for name in sorted(name for name in state if name.endswith("resample_filter")):
        if state[name].shape != ours.shape or not torch.allclose(state[name].float(), ours, atol=1e-6):
            raise UsageError(f"{plain(name)} is not the low-pass filter 1, 3, 3, 1, which there is here alone")


# The models


class StyleBased(GAN):
    """A model with a `Discriminator`, and R1 by turns of its own; conditional where the data is.

    Its options have `n_critic`, `r1_every`, and what `from_snapshot` gives.
    """

    channels_last = ("cuda", "cpu")
    conditional = "auto"
    real_entropy = 1.0
    discriminator: Discriminator
    gamma: float
    """R1 has half of it for its weight; 0: there is none."""

    def turns(self) -> list[Turn]:
        """The phases, in the order of the authors' programs. All see the same real images; R1 is of them alone."""
        o = self.options
        r1 = [Turn("discriminator", self.r1_loss, every=o.r1_every)] if self.gamma else []
        return [
            Turn("generator", self.generator_loss),
            Turn("discriminator", self.discriminator_loss, repeat=o.n_critic),
            *r1,
        ]

    def discriminator_layers(self) -> list[nn.Module]:
        return self.discriminator.blocks()

    def drawn(self, real: Batch) -> Batch:
        """As many fakes as `real` has samples, for the discriminator alone, without a graph."""
        return self.fake(real)

    def discriminator_loss(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.drawn(real)  # Not those that the generator has just been judged on.
        return {"adversarial": losses.minimax_discriminator(*self.discriminate(real, fake))}

    def r1_loss(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """gamma / 2 E[|grad D(x)|^2], as strong as if it were in every step."""
        penalty = losses.zero_centred_penalty(self.discriminate, real)
        return {"penalty": self.options.r1_every * 0.5 * self.gamma * penalty}

    @classmethod
    def from_snapshot(cls, networks: Mapping[str, Network]) -> Imported:
        """Those of an official snapshot: G, D and the averaged G_ema.

        Raises:
            UsageError: there is no averaged generator, or it is none that this model can be.
        """
        if "G_ema" not in networks:
            kind = UsageError if any(network.kind for network in networks.values()) else Foreign
            raise kind("there is no averaged generator G_ema in it")
        theirs, critic = networks["G_ema"], networks.get("D")
        state = cls.from_published(theirs.tensors)
        told = told_by(theirs)
        own = cls.options_of(state, told, critic)
        if told["bound"] not in (None, CLAMP):
            at = plain(str(told["bound"]))[:40]
            raise UsageError(f"G_ema holds activations within {at}: there is {CLAMP} here, or none")
        if odd := next(_oddly_active(theirs), None):
            raise UsageError(f"G_ema is of a configuration that there is not here: {plain(odd)[:200]}")
        spec, z, w = spec_of(theirs)
        depth = sum(n.startswith("mapping.fc") and n.endswith(".weight") for n in state)
        options = {"latent_dim": z, "style_dim": w, "depth": depth, "group": group_of(critic), **own}
        players = trained(networks, told["bound"], cls.from_published)
        return Imported(spec, validated(cls.Options, options), {"generator": state}, players)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> State:
        """A state of the authors' program in PyTorch, as the networks here take it: as it is, unless overridden."""
        return dict(state)

    @classmethod
    def options_of(cls, state: State, told: Mapping[str, Any], critic: Network | None) -> dict[str, Any]:
        """What a published generator says of the model's own options: by its tensors, named as here, and `told_by` it.

        Raises:
            UsageError: it is none that this model can be.
        """
        raise UsageError(f"model '{cls.name}' takes no networks of other programs")
