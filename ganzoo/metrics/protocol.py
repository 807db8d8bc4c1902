"""What a number depends on: the record of it, how it is told, and which results may stand side by side."""

from collections.abc import Mapping
from typing import Any, Literal

from ganzoo.errors import GanzooError, UsageError
from ganzoo.fields import value_in_words
from ganzoo.metrics.base import NO_LABELS

FORMAT = 1
Labels = Literal["reference", "uniform"]
"""How samples are asked for classes: each as often as among the reference images, or all in turn."""
LABELS = {"reference": "labels as the reference has them", "uniform": "classes in turn"}
LABELLED = {"accuracy", "intra-fid", "cas"}
"""Metrics that only images with labels have."""
UNSEEN = "FID and whatever else needs an extractor was not measured"
"""Begins the caution of a result where no extractor was known."""
DRAWN = {"labels", "sampling", "sampling_defaults"}
"""What a protocol says of how samples were drawn."""
SIZED = {"shape", "resize", "reference_sha256"}
"""What differs in a protocol where the same images are taken at another size."""
SIZELESS = {"reference_glance", "source"}
"""What tells there whether they are the same. At one size the hash does, of sources too; older results lack these."""
NEAR = 4
"""Levels of brightness, of 255, by which another size may move an image in `reference_glance`."""
BY_PIXELS = {"psnr", "ssim", "ms-ssim", "l1", "lpips", "cycle"}
"""Metrics of pairs, which look at pixels as they are, and hold no hash of training images."""


def comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse to set two results side by side unless they were measured alike.

    A model that takes no labels may stand beside any: it, too, is to show what the reference shows. So may a model that
    lacks an option of drawing beside one that draws by that option's default. So may one that was trained at another
    size, where the extractor brings both, with the reference, to one and the same; but for `at_their_sizes`.

    Raises:
        UsageError: they differ in data, size, split, extractor, number of images, labels, options of drawing, resizing,
            or a metric's settings; the field and both values are named.
        GanzooError: one of them is not a result.
    """
    for result in (a, b):
        if not all(isinstance(result.get(key), dict) for key in ("protocol", "metrics", "settings")):
            raise GanzooError("not a result of `ganzoo eval`: it has no protocol, metrics and settings")
    made = [result["protocol"].get("made_from") for result in (a, b)]
    if made[0] != made[1]:
        raise UsageError(
            "these results cannot be compared: one is of images that are made from sources, the other of images that "
            "are drawn from noise"
        )
    sizes = seen_at_one_size(a["protocol"], b["protocol"])
    aside = DRAWN | SIZELESS | (SIZED if sizes else set())
    _same("", *({k: v for k, v in result["protocol"].items() if k not in aside} for result in (a, b)))
    if sizes:
        _same_but_for_size(a["protocol"], b["protocol"])
    _same_labels(a, b)
    _same_sampling(a["protocol"], b["protocol"])
    for metric in (a["settings"].keys() & b["settings"].keys()) - at_their_sizes(a, b):
        _same(f"{metric}: ", a["settings"][metric], b["settings"][metric])


def at_their_sizes(a: Mapping[str, Any], b: Mapping[str, Any]) -> set[str]:
    """Metrics that look at images as large as they are, of two results of which the extractor sees both at one size.

    They are of pairs, or their settings hold the hash of the training images. Numbers by them may not stand side by
    side.
    """
    if not seen_at_one_size(a["protocol"], b["protocol"]):
        return set()
    every = [(metric, settings) for result in (a, b) for metric, settings in result["settings"].items()]
    return {metric for metric, settings in every if metric in BY_PIXELS or "train" in settings}


def seen_at_one_size(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two protocols of other shapes, with as many channels, have the extractor look at one size."""
    one, other = (protocol.get("shape") for protocol in (a, b))
    if one == other or not (isinstance(one, list) and isinstance(other, list)) or one[:1] != other[:1]:
        return False
    return seen_at(a) is not None and seen_at(a) == seen_at(b)


def seen_at(protocol: Mapping[str, Any]) -> str | None:
    """The size at which the extractor looks at the images, `28x28`, where the protocol tells it."""
    resize, shape = protocol.get("resize"), protocol.get("shape")
    if not (isinstance(resize, str) and isinstance(shape, list) and len(shape) == 3):
        return None
    if resize == "none":
        return f"{shape[1]}x{shape[2]}"
    return resize.partition(" to ")[2].partition(",")[0] or None


def labels_of(result: Mapping[str, Any]) -> str | None:
    """How the labels of a result's samples were drawn, as in `LABELS`; None where there were none.

    Version 0.1.0 drew classes in turn and did not say so, nor whether the model takes any: what was measured tells it
    of most results. "uniform, if any" is what is known of the others.
    """
    protocol, left_out = result["protocol"], result.get("left_out")
    if "labels" in protocol:
        return None if protocol["labels"] is None else str(protocol["labels"])
    if isinstance(left_out, dict) and NO_LABELS in left_out.values():
        return None
    return "uniform" if LABELLED & result["metrics"].keys() else "uniform, if any"


def asked_of(result: Mapping[str, Any], own: Any) -> dict[str, Any]:
    """What `ganzoo eval` was asked for, to ask it again: of `dataset`, `data_root`, `data_options`, `split`, `features`
    and `weights` those that were chosen.

    Of a result that does not keep it, what came of it; `own` is the data set that need not be named.
    """
    protocol, kept = result["protocol"], result.get("asked")
    came = {"split": "test" if protocol["split"] == "held-out" else protocol["split"]}
    if len(protocol["shape"]) > 1 and protocol["extractor"]:  # Vectors need none.
        came["features"] = protocol["extractor"]
    if isinstance(kept, dict):
        return came | {k: v for k, v in kept.items() if isinstance(v, dict if k == "data_options" else str)}
    return came if protocol["dataset"] == own else {"dataset": protocol["dataset"], **came}


def _same_but_for_size(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse protocols of two sizes whose sources, or real images, are other ones, as far as both tell."""
    if "source" in a and "source" in b:
        _same("", {"source": a["source"]}, {"source": b["source"]})
    one, other = _glance(a), _glance(b)
    if one is None or other is None:
        return
    if len(one) != len(other) or any(abs(x - y) > NEAR for x, y in zip(one, other, strict=True)):
        raise UsageError(
            "these results cannot be compared: the real images are other ones, whatever their size (reference_glance "
            f"is {one} and {other})"
        )


def _glance(protocol: Mapping[str, Any]) -> list[int] | None:
    """How bright some of the real images are, if the protocol tells."""
    told = protocol.get("reference_glance")
    return told if isinstance(told, list) and all(isinstance(level, int) for level in told) else None


def _same_labels(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse results whose labels were drawn in different ways."""
    one, other = labels_of(a), labels_of(b)
    if None in (one, other) or one == other or {one, other} == {"uniform", "uniform, if any"}:
        return
    told = [LABELS.get(str(drawn), str(drawn)) for drawn in (one, other)]
    for i, result in enumerate((a, b)):
        if "labels" not in result["protocol"]:
            told[i] = f"{LABELS['uniform']} (as ganzoo 0.1.0 did it; `ganzoo eval` measures anew)"
    raise UsageError(f"these results cannot be compared: labels is {told[0]} and {told[1]}")


def _same_sampling(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse results of samples that were drawn by different values of an option, or by one that the other lacks."""
    for one, other in ((a, b), (b, a)):
        known, beside = one.get("sampling") or {}, other.get("sampling") or {}
        usual = one.get("sampling_defaults") or {}
        if any(value != (beside[key] if key in beside else usual.get(key)) for key, value in known.items()):
            told = [_told(protocol.get("sampling")) or "without options" for protocol in (a, b)]
            raise UsageError(f"these results cannot be compared: sampling is {told[0]} and {told[1]}")


def _told(sampling: Any) -> str:
    """`truncation 0.7, order 2`."""
    return ", ".join(f"{str(key).replace('_', '-')} {value_in_words(value)}" for key, value in (sampling or {}).items())


def _same(prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    for key in [*a, *(key for key in b if key not in a)]:
        if a.get(key) != b.get(key):
            raise UsageError(f"these results cannot be compared: {prefix}{key} is {a.get(key)} and {b.get(key)}")


def describe(protocol: Mapping[str, Any]) -> str:
    """`mnist test (10,000), 10,000 images of 28x28x1, labels as the reference has them, extractor digits 0123, ...`.

    What version 0.1.0 measured does not say whether there were labels, and that they came in turn is told of it.
    """
    channels, *sides = protocol["shape"]
    kind = f"images of {'x'.join(map(str, sides))}x{channels}" if sides else f"vectors of {channels}"
    parts = [
        f"{protocol['dataset']} {protocol['split']} ({protocol['reference_images']:,})",
        f"{protocol['n']:,} {kind}",
    ]
    labels = protocol.get("labels", "before")
    if labels is not None:
        parts.append("classes, if any, in turn" if labels == "before" else LABELS[labels])
    if protocol.get("sampling"):
        parts.append(_told(protocol["sampling"]))
    if protocol["extractor"]:
        parts += [
            f"extractor {protocol['extractor']} {protocol['extractor_sha256'][:8]}",
            f"resize {protocol['resize']}",
        ]
    return ", ".join(parts)
