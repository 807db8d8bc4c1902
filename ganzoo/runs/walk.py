"""Ways through a model's latents and classes: from here to there, and round by several and back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.data import to_uint8
from ganzoo.errors import UsageError
from ganzoo.gan import GAN
from ganzoo.runs.parts import in_parts, part_of
from ganzoo.runs.sampler import Sampler
from ganzoo.sampling import drawing
from ganzoo.training.draws import own_draws


def walk(
    sampler: Sampler, n: int, classes: Sequence[Tensor | None], seeds: Sequence[int], frames: int,
    values: Mapping[str, float] | None = None, sampling: Mapping[str, Any] | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Images along a closed way: uint8 (n, C, H, W) for each of `frames` moments; after the last comes the first.

    The way leads by as many places as there are seeds, or classes, whichever are more. Each has the latents of its
    seed and the classes of its turn; between two, latents turn on a sphere (see `GAN.between`) and conditions are mixed
    (see `on_the_way`). What else a model draws of, such as noise, stays the same.

    Args:
        sampler: the generator.
        n: images of each moment.
        classes: class indices, int64 (n,), or None, of each place in turn.
        seeds: of the latents of each place in turn.
        frames: how many moments.
        values: attributes of the condition by name.
        sampling: the model's options of drawing.

    Raises:
        UsageError: the model makes images from images, or no images; or as `Sampler.draw`.
    """
    gan = drawing(sampler.gan, sampling or {})
    if gan.translates or not gan.data.is_images:
        does = "makes images from images" if gan.translates else "makes vectors"
        raise UsageError(f"model '{gan.name}' {does}: a walk shows images that are made of latents")
    places = max(len(classes), len(seeds))
    latents, conditions = [], []
    with torch.no_grad():
        for place in range(places):
            with own_draws(gan, seeds[place % len(seeds)]):
                latents.append(gan.sample_latent(n))
                conditions.append(sampler.conditions(n, classes[place % len(classes)], values))
    return along(gan, latents, conditions, frames, seeds[0])


@torch.no_grad()
def along(
    gan: GAN, latents: Sequence[Tensor], conditions: Sequence[Tensor | None], frames: int, seed: int,
    shift: Tensor | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """The same way by places that are latents (n, ...) already, and as many conditions for each, or None.

    `seed` is of what else is drawn, the same at each moment; `shift` is added to the latents everywhere on the way.
    """
    for frame in range(frames):
        place, t = divmod(frame * len(latents) / frames, 1)
        here, there = int(place), (int(place) + 1) % len(latents)
        z, first, last = gan.between(latents[here], latents[there], t), conditions[here], conditions[there]
        z = z if shift is None else z + shift
        with own_draws(gan, seed):
            alike = first is None or last is None or torch.equal(first, last)
            images = in_parts(gan, z, first) if alike else on_the_way(gan, z, first, last, t)
        yield to_uint8(images.float())


def on_the_way(gan: GAN, z: Tensor, first: Tensor | None, last: Tensor | None, t: float) -> Tensor:
    """Images for a condition between two: vectors are mixed, classes where the generator embeds them.

    A generator that neither takes vectors nor embeds its classes changes from one class to the other half-way.
    """
    assert first is not None
    assert last is not None
    if len(z) > (step := part_of(gan)):
        parts = zip(z.split(step), first.split(step), last.split(step), strict=True)
        return torch.cat([on_the_way(gan, *part, t) for part in parts])
    if first.is_floating_point():
        return gan.generate(z, torch.lerp(first, last, t))
    with mixed_embeddings(gan, last, t) as embeds:
        if embeds:
            return gan.generate(z, first)
    classes = len(gan.data.classes)
    one, other = (nn.functional.one_hot(y, classes).float() for y in (first, last))
    try:
        return gan.generate(z, torch.lerp(one, other, t))
    except (RuntimeError, IndexError, TypeError):
        return gan.generate(z, first if t < 0.5 else last)


def style_layers(gan: GAN) -> int:
    """How many layers have a style of their own; 0: the generator has no `mapping` of latents to (N, layers, w)."""
    mapping = getattr(gan.generator, "mapping", None)
    layers = getattr(mapping, "layers", None)
    return layers if isinstance(mapping, nn.Module) and isinstance(layers, int) else 0


@contextmanager
def mixed_styles(gan: GAN, other: Tensor, layer: int) -> Iterator[None]:
    """Inside, layers from this one on, counted from 0, have the styles of other latents (Karras et al. 2019, 3.1)."""

    def mix(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        theirs = module.forward(other, *inputs[1:])  # The same condition and truncation; not the hook again.
        return torch.cat([output[:, :layer], theirs[:, layer:]], dim=1)

    hook = gan.generator.get_submodule("mapping").register_forward_hook(mix)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def mixed_embeddings(gan: GAN, last: Tensor, t: float) -> Iterator[bool]:
    """Inside, what embeds a class gives a mixture with the embedding of `last`; whether anything does."""

    def mix(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, nn.Embedding)
        return torch.lerp(output, nn.functional.embedding(last, module.weight), t)

    modules = [m for m in gan.generator.modules() if isinstance(m, nn.Embedding)]
    hooks = [m.register_forward_hook(mix) for m in modules if m.num_embeddings == len(gan.data.classes)]
    try:
        yield bool(hooks)
    finally:
        for hook in hooks:
            hook.remove()
