"""A run that begins with another run's weights, and the discriminator's layers that stay as they were there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganzoo.errors import GanzooError, UsageError, warn
from ganzoo.files import contained, read_json
from ganzoo.gan import GAN
from ganzoo.runs import weights
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.imports import NETWORKS
from ganzoo.training.ema import EMA

NAMED = 3
"""Tensors that a note names."""


class Beginning(NamedTuple):
    """The weights of a run, by the names that its model's `state_dict` has."""

    trained: dict[str, Tensor]
    """As they were in training; empty where the run holds averages alone."""
    averaged: dict[str, Tensor]
    about: dict[str, Any]
    """The run, its model, its step and a hash of all these weights."""


def weights_of(folder: Path, saved: Sequence[str]) -> Beginning:
    """The newest weights of a run: of its last good checkpoint, or as they were imported; of averages, those `saved`.

    Raises:
        UsageError: it is no run directory, or holds no weights yet.
        GanzooError: what it holds is damaged.
    """
    if not folder.is_dir() or not (folder / "config.json").is_file():
        reason = "it has no config.json" if folder.is_dir() else "there is no such folder"
        raise UsageError(f"--init-from {folder} is not a run directory: {reason}")
    contained(folder)
    config = read_json(folder / "config.json")
    trained, averaged, step = _of_checkpoint(folder)
    if not trained and (folder / NETWORKS).is_file():
        trained = weights.read(folder / NETWORKS)
    for name in () if averaged else saved:
        if (folder / f"{name}.safetensors").is_file():
            averaged |= {f"{name}.{key}": t for key, t in weights.read(folder / f"{name}.safetensors").items()}
    if not averaged:
        raise UsageError(f"--init-from {folder} holds no weights yet: they are written with the first checkpoint")
    told = {f"{kind} {key}": t for kind, held in (("t", trained), ("a", averaged)) for key, t in held.items()}
    about = {
        "run": str(folder),
        "model": config.get("model") if isinstance(config, dict) else None,
        "step": step,
        "sha256": weights.checksum(told, {}),
    }
    return Beginning(trained, averaged, about)


def _of_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], int | None]:
    """What the newest good checkpoint holds: weights in training, averages, and its step. Nothing, where there is none.

    Raises:
        GanzooError: there are some, and none is good.
    """
    checkpoints = Checkpoints(folder / "checkpoints")
    fault: GanzooError | None = None
    for step in reversed(checkpoints.steps()):
        try:
            state = checkpoints.load(step, torch.device("cpu"))
            groups = {"generator": state["ema"], **state.get("averages", {})}
            averaged = {f"{name}.{key}": t for name, held in groups.items() for key, t in held.items()}
            trained = dict(state["gan"])
            if not all(isinstance(t, Tensor) for t in (*trained.values(), *averaged.values())):
                raise TypeError
            return trained, averaged, step
        except GanzooError as error:
            fault = fault or error
        except (AttributeError, KeyError, TypeError, ValueError):
            fault = fault or GanzooError(f"the checkpoint of step {step} in {folder} is damaged: it holds no weights")
    if fault is not None:
        raise fault
    return {}, {}, None


def networks_of(gan: GAN) -> dict[str, Tensor]:
    """Parameters and buffers of all that plays or is saved, by the names that the model's `state_dict` has.

    What else a model counts, and what the run adds to it, belongs to one training.
    """
    modules = [*gan.players().values(), *(getattr(gan, name) for name in gan.saved)]
    own = {id(t) for module in modules for t in (*module.parameters(), *module.buffers())}
    return {name: t for name, t in gan.state_dict(keep_vars=True).items() if id(t) in own}


@torch.no_grad()
def begin_with(gan: GAN, ema: EMA, found: Beginning) -> dict[str, Any]:
    """Give a model the weights that fit by name and shape, its averages theirs; the others stay as they were drawn.

    Returns:
        What `run.json` keeps: where from, how many were taken, and which begin anew.

    Raises:
        UsageError: no parameter fits, or nothing but biases does.
    """
    own, run = networks_of(gan), found.about["run"]
    trained, averaged = {**found.averaged, **found.trained}, {**found.trained, **found.averaged}
    fit = [name for name, t in own.items() if _fits(trained.get(name), t)]
    # A bias alone fits by chance: what a network has learnt is in what it multiplies with.
    if not any(isinstance(own[name], nn.Parameter) and own[name].dim() > 1 for name in fit):
        other = found.about["model"]
        why = "its options or its images are others" if other == gan.name else f"it is a run of model '{other}'"
        raise UsageError(f"--init-from {run}: none of its weights fits model '{gan.name}' by name and shape: {why}")
    for name in fit:
        own[name].copy_(trained[name])
    for name, module in ema.modules.items():
        for key, t in module.state_dict(keep_vars=True).items():
            full = f"{name}.{key}"
            if full in trained and _fits(trained[full], t):
                t.copy_(averaged[full] if _fits(averaged[full], t) else trained[full])
    anew = [name for name in own if name not in set(fit)]
    return {**found.about, "taken": len(fit), "anew": anew}


def _fits(theirs: Tensor | None, ours: Tensor) -> bool:
    return theirs is not None and theirs.shape == ours.shape and theirs.is_floating_point() == ours.is_floating_point()


def tell(report: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Say in a note each which weights of another run were not taken, and which `options` are its own."""
    anew, taken = report["anew"], report["taken"]
    if options:
        told = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
        warn(f"as {report['run']} has it, unless told otherwise: {told}")
    if anew:
        more = f" and {len(anew) - NAMED} more" if len(anew) > NAMED else ""
        warn(
            f"{taken} of {taken + len(anew)} tensors are those of {report['run']}; it has none for "
            f"{', '.join(anew[:NAMED])}{more}, which begin anew"
        )


def frozen_layers(gan: GAN, count: int) -> list[nn.Module]:
    """The modules of the discriminator's first `count` layers, counted from the image on: FreezeD, Mo et al. 2020.

    Raises:
        UsageError: it has no more than so many; the last is never frozen.
    """
    layers = [(layer,) if isinstance(layer, nn.Module) else tuple(layer) for layer in gan.discriminator_layers()]
    if count >= len(layers):
        most = max(len(layers) - 1, 0)
        raise UsageError(
            f"--freeze-discriminator {count}: the discriminator of model '{gan.name}' has {len(layers)} layers, and "
            f"the last learns in any case: at most {most}"
        )
    return [module for layer in layers[:count] for module in layer]


def freeze(modules: Sequence[nn.Module]) -> None:
    """Let no step move a tensor of these: parameters get no gradient, and statistics are used as they are."""
    for module in modules:
        module.requires_grad_(False)
        for part in module.modules():
            if part._parameters or part._buffers:
                part.eval()


def refuse_unknown(gan: GAN, modules: Sequence[nn.Module], report: Mapping[str, Any]) -> None:
    """Refuse to freeze what begins anew.

    Raises:
        UsageError: a parameter of these modules does not come from the other run; it is named.
    """
    held = {id(p) for module in modules for p in module.parameters()}
    names = {name for name, p in gan.named_parameters() if id(p) in held}
    for name in report["anew"]:
        if name in names:
            raise UsageError(
                f"--freeze-discriminator: {name} does not come from {report['run']}, and would stay as it was drawn: "
                "freeze fewer layers"
            )
