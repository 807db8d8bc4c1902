"""What is measured: samples of a model, which is asked for what its reference holds, or images that anybody made."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.data import normalise, normalised, to_uint8
from ganzoo.data.pixels import fit
from ganzoo.data.reading import fetch, whole
from ganzoo.errors import GanzooError, UsageError
from ganzoo.gan import GAN
from ganzoo.metrics.base import Drawer, Images, Recogniser
from ganzoo.metrics.classifier import at_once, class_index
from ganzoo.metrics.protocol import Labels
from ganzoo.metrics.reference import Reference
from ganzoo.metrics.together import Together
from ganzoo.sampling import defaults, used
from ganzoo.training.distributed import ALONE, World
from ganzoo.training.draws import own_draws

LABELS_SEED = 20140611
"""Of the order in which the labels of the reference images are taken: one for all evaluations."""


def drawn_as(gan: GAN, labels: Labels = "reference") -> dict[str, Any]:
    """What a protocol says of how `generated` draws the samples of a model.

    `labels`: as asked for; None of a model that takes none. `made_from`: sources, of a model that translates, and not
    there where samples are drawn from noise. `sampling` and `sampling_defaults`, of a model that has
    options of drawing: their values, and what they are by default.
    """
    told: dict[str, Any] = {"labels": labels if gan.conditional else None}
    if gan.translates:
        told["made_from"] = "sources"
    options = used(gan)
    return told | ({"sampling": options, "sampling_defaults": defaults(type(gan))} if options else {})


def generated(
    gan: GAN, n: int, seed: int, reference: Reference, labels: Labels = "reference", world: World = ALONE
) -> Iterator[Images]:
    """`n` samples of a model whose generator is in evaluation mode, images rounded to uint8, batch by batch.

    Of several processes each makes its share of the batches: every `world.size`-th, from its rank on. A batch is drawn
    from a seed of its own, so that the samples are the same however many make them.

    Conditions are those of the reference images: classes in a random order, always the same, and from the start again
    where `n` is larger; with attributes, in the order of the images. Where `labels` is "uniform", classes in turn.

    Raises:
        UsageError: the reference has no such conditions, or a model with attributes is to be asked uniformly.
        GanzooError: a sample is not finite.
    """
    asked = conditions(gan, reference, labels)
    classes = len(gan.data.classes) if gan.conditional else 0
    meant = counterpart_labels(gan, reference) if asked is None else None
    step = at_once(*gan.data.shape[1:])

    def drawn(here: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        z = gan.sample_latent(len(here))
        y = gan.sample_labels(len(here)) if asked is None else asked[here % len(asked)].to(gan.device)
        return z, y, _sources(gan, reference, here) if gan.translates else None

    made = _maker(gan, world.size)
    for number in range(world.rank, -(-n // step), world.size):
        here = torch.arange(number * step, min((number + 1) * step, n))
        if made.most is None and len(here) > 2:
            with torch.no_grad(), own_draws(gan, seed):
                made.look(*drawn(here[:3]))
        with torch.no_grad(), own_draws(gan, (seed * 1_000_003 + number) % 2**31):
            z, y, source = drawn(here)
            x, returned = made(z, y, source)
            assert x is not None
        measured = _finished(gan, x)
        known = class_index(y, classes) if y is not None and classes else None
        if meant is not None:
            known = meant[here % len(meant)]
        cycle = None if source is None or returned is None else (returned - source).abs().flatten(1).mean(1).cpu() / 2
        yield Images(measured, known, _targets(gan, reference, here), cycle)


def count_of(gan: GAN, reference: Reference, most: int) -> int:
    """How many samples are measured unless told otherwise: `most`, and of a translator one of each source at most."""
    sources = gan.sourced(reference.data).sources if gan.translates else None
    return most if sources is None else min(most, len(sources))  # type: ignore[arg-type]


def comes_with(gan: GAN, reference: Reference) -> dict[str, Any]:
    """What `generated` gives beside images, as `Evaluator.measure` takes it: `labelled`, `paired`, `cycled`."""
    labelled = bool(gan.conditional and gan.data.classes) or counterpart_labels(gan, reference) is not None
    return {"labelled": labelled, "paired": _has_targets(gan, reference), "cycled": goes_both_ways(gan)}


def recogniser(gan: GAN, reference: Reference) -> Recogniser | None:
    """What a model itself sees in images; None where that is neither classes of the reference nor clusters."""
    theirs = gan.clusters or gan.data.classes == reference.data.classes
    if type(gan).recognise == GAN.recognise or not theirs:
        return None

    names: list[str] = []

    def see(images: Tensor) -> list[Tensor]:
        seen = gan.recognise(images)
        names[:] = seen
        return list(seen.values())

    together = Together(see, gan.device)

    def recognise(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            seen = together(normalise(fit(images, gan.data.shape)).to(gan.device))
        return {name: logits.argmax(1).cpu() for name, logits in zip(names, seen, strict=True) if logits is not None}

    return recognise


def drawer(gan: GAN) -> Drawer | None:
    """Draws samples of a model under given conditions, as `generated` would; None where it takes no condition alone.

    Raises:
        GanzooError: when it draws, a sample is not finite.
    """
    if gan.translates or not gan.conditional:
        return None

    def draw(conditions: Tensor, seed: int) -> Tensor:
        made, samples = _maker(gan), []
        with torch.no_grad(), own_draws(gan, seed):
            made.look(gan.sample_latent(len(conditions[:3])), conditions[:3].to(gan.device), None)
        for number, y in enumerate(conditions.split(at_once(*gan.data.shape[1:]))):
            with torch.no_grad(), own_draws(gan, (seed * 1_000_003 + number) % 2**31):
                x, _ = made(gan.sample_latent(len(y)), y.to(gan.device), None)
                assert x is not None
                samples.append(_finished(gan, x))
        return torch.cat(samples)

    return draw


def _maker(gan: GAN, processes: int = 1) -> Together:
    """Makes samples of latents, conditions and sources: with them what comes back, where they are made of sources."""

    def make(z: Tensor, y: Tensor | None, source: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = gan.generated(z, y, source)
        return x, None if source is None else gan.returned(x, y)

    return Together(make, gan.device, processes)


def _finished(gan: GAN, x: Tensor) -> Tensor:
    """Samples as they are measured, on the CPU: images rounded to uint8, vectors float.

    Raises:
        GanzooError: one is not finite.
    """
    if not x.isfinite().all():
        raise GanzooError(f"model '{gan.name}' generates values that are not finite")
    return (to_uint8(x) if gan.data.is_images else x.float()).cpu()


def goes_both_ways(gan: GAN) -> bool:
    """Whether what a model makes of sources can be made back."""
    return gan.translates and (isinstance(getattr(gan, "back", None), nn.Module) or type(gan).returned != GAN.returned)


def counterpart_labels(gan: GAN, reference: Reference) -> Tensor | None:
    """The classes of what a model without labels makes of the reference's sources, in the order in which they come.

    None where nobody knows them, or it draws from noise.
    """
    if not gan.translates or gan.conditional:
        return None
    known = reference.labels if _has_targets(gan, reference) else gan.sourced(reference.data).source_labels
    return None if known is None else known[_order(len(known))]


def _has_targets(gan: GAN, reference: Reference) -> bool:
    data = gan.sourced(reference.data)
    return gan.translates and data.paired and data.sources is not None


def _targets(gan: GAN, reference: Reference, index: Tensor) -> Tensor | None:
    """The counterparts of the sources that `_sources` gives, uint8 (N, C, H, W), where there are some."""
    if not _has_targets(gan, reference):
        return None
    order = _order(len(reference.data))
    chosen = order[index % len(order)].tolist()
    return fit(whole(fetch(reference.data.images, chosen)), gan.data.shape).cpu()


def conditions(gan: GAN, reference: Reference, labels: Labels) -> Tensor | None:
    """The conditions that samples are asked for, from the first on and then again; None of an unconditional model.

    Raises:
        UsageError: as `generated`.
    """
    if not gan.conditional:
        return None
    classes, known = len(gan.data.classes), reference.data.labels
    if gan.data.attributes:
        if labels == "uniform":
            raise UsageError(f"model '{gan.name}' takes attributes, which are known from the reference images alone")
        if known is None or known.shape[1:] != (gan.data.condition_size,):
            raise UsageError(f"model '{gan.name}' needs attributes that '{reference.name}' does not have")
        return known[_order(len(known))] if gan.translates else known  # A source's are its own.
    if labels == "uniform":
        return torch.arange(classes)
    theirs = gan.sourced(reference.data).source_labels
    if gan.translates and theirs is not None and reference.data.classes == gan.data.classes:
        return theirs[_order(len(theirs))]  # What is made of a source is of its class.
    if reference.labels is None or reference.data.classes != gan.data.classes:
        raise UsageError(f"model '{gan.name}' needs the labels of its classes, which '{reference.name}' does not have")
    return reference.labels[_order(len(reference.labels))]


@lru_cache(8)
def _order(count: int) -> Tensor:
    """The order in which a reference's labels and sources are asked for: int64 (count,), always the same.

    A folder has its classes one after the other, and not all may be asked for. It is kept, being wanted for each batch:
    change nothing in it.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(LABELS_SEED))


def refuse_without_sources(gan: GAN, reference: Reference) -> None:
    """Say before anything is measured that a model that translates has nothing to start from.

    Raises:
        UsageError: the reference has no sources.
    """
    if gan.translates and gan.sourced(reference.data).sources is None:
        raise UsageError(
            f"model '{gan.name}' makes images from images, and the {reference.split} split of '{reference.name}' has "
            "no sources"
        )


def _sources(gan: GAN, reference: Reference, index: Tensor) -> Tensor:
    """What a model that translates starts from: the reference's sources, each with its label, as the model takes them.

    An image that is its own source gets the label of another.

    Raises:
        UsageError: the reference has none.
    """
    refuse_without_sources(gan, reference)
    data, shape = gan.sourced(reference.data), gan.data.source_shape
    sources = data.sources
    assert sources is not None
    assert shape is not None
    order = _order(len(sources))  # type: ignore[arg-type]
    chosen = order[(index + (len(order) // 2 if data.own else 0)) % len(order)].tolist()
    return normalised(sources, chosen, shape).to(gan.device)


def given(images: Tensor, labels: Tensor | None, n: int, seed: int, world: World = ALONE) -> Iterator[Images]:
    """`n` of the images, uint8 (N, C, H, W), and labels, drawn at random without repetition, batch by batch.

    Of several processes each takes its share of the batches, as in `generated`.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]
    for index in order.split(at_once(*images.shape[2:]))[world.rank :: world.size]:
        yield Images(images[index], None if labels is None else labels[index])
