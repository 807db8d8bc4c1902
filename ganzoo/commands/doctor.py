"""`ganzoo doctor`."""

import platform
from importlib import metadata
from typing import Any

import click

from ganzoo import __version__
from ganzoo.commands.options import Explained, echo_json, json_option

PACKAGES = ("torch", "torchvision", "torchmetrics", "pluggy", "click", "pydantic", "numpy", "tensorboard")


@click.command(name="doctor", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@json_option
def command(as_json: bool) -> None:
    """Show versions, devices, the cache folder, and every plugin with what is wrong with it."""
    from ganzoo.plugins import registry

    plugins = registry()
    facts: dict[str, Any] = {
        "ganzoo": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _device(),
        "cache": _cache(),
        "plugins": len(plugins.plugins),
        "broken": {p.name: p.broken for p in plugins.plugins if p.broken},
        "conflicts": plugins.conflicts,
    }
    if as_json:
        echo_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            click.echo(f"{key}{'' if value else ': none'}")
            for name, text in value.items():
                click.echo(f"  {name:14} {text}")
        elif isinstance(value, list):
            click.echo(f"{key}{'' if value else ': none'}")
            for text in value:
                click.echo(f"  {text}")
        else:
            click.echo(f"{key}: {value}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _device() -> dict[str, Any]:
    try:
        import torch

        from ganzoo.training.engine import choose_device, device_name
    except Exception as error:
        return {"torch": f"cannot be imported: {error}"}
    chosen = choose_device("auto")
    return {"auto": str(chosen), "name": device_name(chosen), "threads": torch.get_num_threads()} | {
        f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    }


def _cache() -> str:
    from ganzoo.files import cache_dir, whole

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole(folder / "doctor") as file:
            file.write(b"")
        (folder / "doctor").unlink()
    except OSError as error:
        return f"{folder}: not writable ({error.strerror or error}); data will be decoded again for each run"
    return str(folder)
