"""A run directory made of another program's networks."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ganzoo import __version__
from ganzoo.errors import Foreign, GanzooError, UsageError, one_line, plain, warn
from ganzoo.files import digest, whole, write_json
from ganzoo.gan import GAN, Imported, Network
from ganzoo.plugins import Registry
from ganzoo.runs import weights
from ganzoo.runs.folder import FORMAT
from ganzoo.runs.snapshots import networks_in
from ganzoo.training.building import build, refuse_giants

NETWORKS = "networks.safetensors"
"""The file of an imported run that holds the networks as they were in training: what `--init-from` begins with."""


def import_snapshot(paths: Sequence[Path], out: Path, plugins: Registry) -> tuple[GAN, dict[str, Any]]:
    """Write a run directory to draw from and to train on from: by the first model that knows the networks.

    It holds the averaged networks, as a run does; those that were in training in `networks.safetensors`;
    `config.json`; `status.json`; and `run.json`, which names the files.

    Args:
        paths: a snapshot, or the files that belong together.
        out: the folder to make.
        plugins: the models that are asked.

    Returns:
        The model, its averaged generator in place; and `run.json`.

    Raises:
        UsageError: the folder exists, there is no such file, or no model knows the networks.
        GanzooError: the snapshot cannot be read, or does not fit the model.
    """
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path} is no file")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already: choose another --out")
    what = ", ".join(map(str, paths))
    model, told = _recognised(what, networks_in(paths), plugins)
    try:
        outline = refuse_giants(model, told.data, told.options)
        gan = outline if outline is not None else build(model, told.data, told.options)
    except UsageError as error:  # Whose size is not to be chosen.
        raise UsageError(f"{what}: {str(error).partition(': choose a size')[0]}") from error
    for name, tensors in told.averaged.items():
        if fault := _misfit(gan, name, tensors):
            raise GanzooError(f"{what} does not fit model '{model.name}': {fault}")
        _tell_broken(name, what, tensors)
    trained: dict[str, Tensor] = {}
    for name, tensors in told.networks.items():
        if fault := _misfit(gan, name, tensors):
            warn(f"the {name} as it was in training is left out, as it does not fit model '{model.name}': {fault}")
        else:
            _tell_broken(f"{name} as it was in training", what, tensors)
            trained |= {f"{name}.{key}": value for key, value in tensors.items()}
    gan = build(model, told.data, told.options) if gan is outline else gan
    for name, tensors in told.averaged.items():
        gan.get_submodule(name).load_state_dict(dict(tensors))
    config = {
        "format": FORMAT,
        "model": model.name,
        "options": told.options.model_dump(mode="json"),
        "data": told.data.to_json(),
        "ganzoo": __version__,
    }
    channels, side = told.data.shape[0], told.data.shape[1]
    plugin = plugins.provider("models", model.name)
    info = config | {
        "paper": model.paper,
        "plugin": {"package": plugin.package, "version": plugin.version, "module": plugin.module},
        "settings": {"dataset": told.data.name, "image_size": side, "channels": channels},
        "parameters": {name: sum(p.numel() for p in player.parameters()) for name, player in gan.players().items()},
        "imported": {
            **_told([{"file": path.name, "sha256": digest(path)} for path in paths]),
            "averaged": sorted(told.averaged),
            "trained": sorted({name.partition(".")[0] for name in trained}),
        },
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    about = {"model": model.name}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in told.averaged:
            with whole(out / f"{name}.safetensors") as file:
                file.write(weights.pack(gan.get_submodule(name).state_dict(), about))
        if trained:
            with whole(out / NETWORKS) as file:
                file.write(weights.pack(trained, about))
        write_json(out / "config.json", config)
        write_json(out / "status.json", {"status": "imported", "step": 0, "epoch": 0.0, "seconds": 0.0})
        write_json(out / "run.json", info)
    except BaseException as error:  # Ctrl-C too.
        with suppress(OSError):  # It was empty: what was begun would stand in the way of the next attempt.
            for begun in out.iterdir():
                begun.unlink()
            out.rmdir()
        if isinstance(error, OSError):
            raise GanzooError(f"cannot write in {out}: {one_line(error)}") from error
        raise
    return gan, info


def _tell_broken(name: str, what: str, tensors: Mapping[str, Tensor]) -> None:
    """Say so where a network's weights are not finite: its training failed, or the file was damaged."""
    if broken := next((key for key, value in tensors.items() if not value.isfinite().all()), None):
        warn(f"the {name} of {what} is damaged, or its training failed: {broken} is not finite")


def _told(files: list[dict[str, str]]) -> dict[str, Any]:
    """How `run.json` names the files: one as such, several as a list."""
    return files[0] if len(files) == 1 else {"files": files}


def _recognised(what: str, found: Mapping[str, Network], plugins: Registry) -> tuple[type[GAN], Imported]:
    """The model that knows the networks, and what it makes of them.

    Raises:
        UsageError: none does; each that takes networks of other programs says why.
    """
    reasons: dict[str, str] = {}
    foreign: dict[str, str] = {}
    for name in plugins.names("models"):
        model: type[GAN] = plugins.get("models", name)
        if "from_snapshot" not in {key for cls in model.__mro__ if cls is not GAN for key in vars(cls)}:
            continue
        try:
            return model, model.from_snapshot(found)
        except Foreign as error:
            foreign[name] = str(error)
        except GanzooError as error:
            reasons[name] = str(error)
        except Exception as error:  # The file may hold anything.
            reasons[name] = one_line(error)[:200]
    if not any(plugins.provider("models", name).built_in for name in reasons):
        reasons |= foreign  # Models of other packages do not tell the two apart.
    if len(set(reasons.values())) == 1:
        raise UsageError(f"{what}: {next(iter(reasons.values()))}")
    told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "none takes networks of other programs"
    raise UsageError(f"{what} is of no model that is installed: {told}")


def _misfit(gan: GAN, name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The first tensor by which a network is not that of the model; None where all are the same."""
    theirs = {key: tuple(value.shape) for key, value in tensors.items()}
    ours = {key: tuple(value.shape) for key, value in gan.get_submodule(name).state_dict().items()}
    wrong = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    if not wrong:
        return None
    return f"{plain(wrong[0])[:80]} is {theirs.get(wrong[0], 'missing')} there and {ours.get(wrong[0], 'not')} here"
