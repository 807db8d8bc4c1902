"""`ganzoo features train`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import OfData, data_given, echo_json, json_option
from ganzoo.errors import UsageError

TOLD = {"": "the test split", "held-out": "the held-out images", "train": "the training images: there is no test split"}


@click.group(name="features", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Feature extractors: the networks through which `ganzoo eval` looks at images."""


@command.command(name="train", cls=OfData)
@click.option("--dataset", required=True, help="A data set with classes, by name (`ganzoo list datasets`).")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data set's files are.")
@click.option("--image-size", type=click.IntRange(8, 1024), help="Side of the images; default: the data's own.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="Grey (1) or colour (3); default: the data's own.")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the data.")
@click.option("--mirror", is_flag=True, help="Show each image flipped left-right half of the time.")
@click.option("--jitter", type=click.IntRange(0, 1024), default=0, help="Enlarge images by N pixels, and crop them.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of everything.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="The file to write.  [default: where `ganzoo eval` looks]"
)
@json_option
def train(
    dataset: str, data_root: Path | None, image_size: int | None, channels: str | None, epochs: int,
    mirror: bool, jitter: int, seed: int, device: str, out: Path | None, as_json: bool, **values: Any,
) -> None:  # fmt: skip
    """Train a small classifier whose features `ganzoo eval` then measures with.

    The file holds weights and description; the same seed gives the same file on the same machine.

    \b
    ganzoo features train --dataset kmnist
    ganzoo features train --dataset folder --data-root birds --image-size 64 -o birds.safetensors
    """
    import hashlib

    from ganzoo.data import DataRequest, open_dataset
    from ganzoo.data.opening import refuse_root
    from ganzoo.data.views import Views
    from ganzoo.files import check_place, output
    from ganzoo.metrics.classifier import Classifier, Shape, accuracy, fit, keep, pack, set_scale, trained_file
    from ganzoo.metrics.reference import glimpse_of
    from ganzoo.plugins import registry
    from ganzoo.training.engine import choose_device

    if out is not None and out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: name a .safetensors file, or `ganzoo eval --features` will not take it")
    chosen = choose_device(device)
    source = registry().check().get("datasets", dataset)
    depth = int(channels) if channels else None
    own = data_given(values)
    refuse_root(source, data_root)
    data = open_dataset(source(), DataRequest("train", data_root, image_size, depth, own))
    if not data.is_images:
        raise UsageError(f"--dataset {dataset}: it holds vectors, and features are of images")
    c, h, w = data.spec(dataset).shape
    side = min(h, w)
    path = output(out or trained_file(dataset, (c, side, side), data_root))
    check_place(path)
    if h != w:
        data = open_dataset(source(), DataRequest("train", data_root, side, depth, own))
    test = open_dataset(source(), DataRequest("test", data_root, side, depth, own))
    part = TOLD[test.split]
    shape = Shape(c, side, len(data.classes))
    reached = 0.0

    def report(epoch: int, net: Classifier) -> None:
        nonlocal reached
        reached = accuracy(net, test, chosen)
        if not as_json:
            click.echo(f"epoch {epoch} of {epochs}: {reached:.2%} of {part}", err=True)

    net = fit(data, shape, epochs, seed, chosen, after_epoch=report, views=Views(mirror, jitter))
    set_scale(net, data, chosen)
    facts = {"dataset": dataset, "classes": list(data.classes), "seed": seed, "epochs": epochs}
    if mirror or jitter:
        facts |= {"mirror": mirror, "jitter": jitter}
    facts["trained_on"] = glimpse_of(data)
    facts["tested_on"] = test.split or "test"
    packed = pack(net, shape, {**facts, "test_accuracy": round(reached, 6)})
    keep(path, packed)
    sha256 = hashlib.sha256(packed).hexdigest()
    if as_json:
        echo_json({"file": str(path), "sha256": sha256, "test_accuracy": reached, **facts})
    else:
        click.echo(f"{path} (SHA-256 {sha256[:16]}, {reached:.2%} of {part})")
