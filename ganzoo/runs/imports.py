"""A run directory made of another program's snapshot."""

import hashlib
from pathlib import Path
from typing import Any

from ganzoo import __version__
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import whole, write_json
from ganzoo.gan import GAN
from ganzoo.runs import weights
from ganzoo.runs.pickled import networks
from ganzoo.training.building import build, refuse_giants


def import_snapshot(path: Path, out: Path, model: Any) -> GAN:
    """Write a run directory to draw from: the averaged generator, `config.json`, and `run.json`, which names the file.

    Args:
        path: a snapshot, `.pkl`.
        out: the folder to make.
        model: a class of a GAN with `from_snapshot`.

    Returns:
        The model, its averaged generator in place.

    Raises:
        UsageError: the folder exists, or there is no such file.
        GanzooError: the snapshot cannot be read, or does not fit the model.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already: choose another --out")
    try:
        spec, options, tensors = model.from_snapshot(networks(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    refuse_giants(model, spec, options)
    gan = build(model, spec, options)
    theirs, ours = ({k: tuple(v.shape) for k, v in held.items()} for held in (tensors, gan.generator.state_dict()))
    if wrong := sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)):
        name = wrong[0]
        raise GanzooError(
            f"{path} does not fit model '{model.name}': {name} is {theirs.get(name, 'missing')} there and "
            f"{ours.get(name, 'not')} here"
        )
    gan.generator.load_state_dict(tensors)
    config = {
        "format": 1,
        "model": model.name,
        "options": options.model_dump(mode="json"),
        "data": spec.to_json(),
        "ganzoo": __version__,
    }
    made = config | {
        "settings": {"dataset": spec.name, "image_size": spec.shape[1]},
        "imported": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with whole(out / "generator.safetensors") as file:
            file.write(weights.pack(gan.generator.state_dict(), {"model": model.name}))
        write_json(out / "config.json", config)
        write_json(out / "run.json", made)
    except OSError as error:
        raise GanzooError(f"cannot write in {out}: {one_line(error)}") from error
    return gan
