"""`ganzoo info NAME`."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.options import Explained, echo_json, here, json_option
from ganzoo.errors import UsageError, plain
from ganzoo.terminal import beside, prose, width

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

SHOWN = 10
"""Values of a list that are shown."""
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


INGREDIENTS = {"augmentations": "--augment", "regularisers": "--regularise"}


@click.command(name="info", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@json_option
def command(name: str, as_json: bool) -> None:
    """Explain a model: its paper, what it minimises, its options and presets. Or a data set, an ingredient, a run.

    \b
    ganzoo info cgan
    ganzoo info folder
    ganzoo info ada
    ganzoo info runs/mine
    """
    from ganzoo.plugins import NOUNS, registry

    plugins, name = registry().check(), str(here(name))
    kind = next((k for k in ("models", *INGREDIENTS, "datasets") if name in plugins.names(k)), "models")
    known = any(name in plugins.names(k) for k in NOUNS)
    if (Path(name) / "run.json").is_file() and not known:
        _run(Path(name), as_json)
    elif not known and (Path(name).is_dir() or "/" in name):
        why = "it has no run.json" if Path(name).is_dir() else "there is no such folder"
        raise UsageError(f"{name} is no model, and no run directory: {why}")
    elif kind == "models":
        _model(plugins, name, as_json)
    else:
        _part(plugins, kind, name, as_json)


def _model(plugins: Any, model: str, as_json: bool) -> None:
    from ganzoo.fields import value_in_words
    from ganzoo.sampling import sampling_fields

    cls, plugin = plugins.get("models", model), plugins.provider("models", model)
    facts: dict[str, Any] = {
        "name": cls.name,
        "paper": cls.paper,
        "conditional": bool(cls.conditional),
        "about": inspect.getdoc(cls) or "",
        "package": plugin.package,
        "version": plugin.version,
        "module": plugin.module,
        "options": _fields(cls.Options.model_fields),
        "sampling": _fields(sampling_fields(cls)),
        "presets": {name: dict(values) for name, values in cls.presets.items()},
    }
    if as_json:
        echo_json(facts)
        return
    click.secho(beside(f"{cls.name}: ", cls.paper, width()), bold=True)
    click.echo(f"\n{prose(facts['about'], width())}\n")
    click.echo(f"{'conditional' if facts['conditional'] else 'unconditional'}; from {plugin.source}\n")
    _show("options", cls.Options.model_fields)
    if drawing := sampling_fields(cls):
        _show("\noptions of drawing: of sample, eval, demo; `compare --sampling NAME=VALUE`", drawing)
    for name, values in facts["presets"].items():
        click.secho(f"\npreset {name}", bold=True)
        for key, value in values.items():
            click.echo(f"  {key.replace('_', '-'):20} {value_in_words(value):>16}")


def _run(folder: Path, as_json: bool) -> None:
    from ganzoo.files import read_json
    from ganzoo.runs.folder import open_run
    from ganzoo.runs.listed import listed
    from ganzoo.runs.lock import being_written

    info = open_run(folder)
    status = read_json(folder / "status.json") if (folder / "status.json").is_file() else {}
    if being_written(folder) or not status:  # Then the run has said nothing itself, or has said it earlier.
        now = listed(folder)
        status = {"status": now.status, "step": now.step, "seconds": round(now.seconds, 1)}
        status |= {} if now.left is None else {"seconds_left": round(now.left)}
    keys = (
        "name",
        "tags",
        "model",
        "paper",
        "preset",
        "imported",
        "initial",
        "data",
        "parameters",
        "settings",
        "options",
        "created",
    )
    facts = {"run": str(folder), "status": status, **{key: info[key] for key in keys if info.get(key) is not None}}
    if as_json:
        echo_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            click.secho(key, bold=True)
            for name, inner in value.items():
                click.echo(beside(f"  {plain(str(name)):20} ", plain(_short(inner)), width()))
        else:
            click.echo(beside(f"{key:22} ", plain(_short(value)), width()))


def _short(value: Any) -> str:
    """A value of a run on a line; of a long list its beginning."""
    from ganzoo.fields import value_in_words

    if isinstance(value, list) and len(value) > SHOWN:
        return f"{', '.join(map(str, value[:SHOWN]))} ... ({len(value)})"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_short(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list) and value:
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else value_in_words(value)


def _part(plugins: Any, kind: str, name: str, as_json: bool) -> None:
    """A data set or an ingredient: what runs are made with beside a model."""
    cls, plugin = plugins.get(kind, name), plugins.provider(kind, name)
    example = next(iter(cls.Options.model_fields.items()), None) if kind in INGREDIENTS else None
    use = name + (f":{example[0]}={example[1].get_default()}" if example else "")
    facts: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "summary": cls.summary,
        "about": inspect.getdoc(cls) or "",
        "package": plugin.package,
        "version": plugin.version,
        "module": plugin.module,
        "options": _fields(cls.Options.model_fields),
        "use": f"ganzoo run MODEL {INGREDIENTS.get(kind, '--dataset')} {use}",
    }
    if as_json:
        echo_json(facts)
        return
    click.secho(beside(f"{name}: ", cls.summary, width()), bold=True)
    click.echo(f"\n{prose(facts['about'], width())}\n\n{facts['use']}\n\nfrom {plugin.source}\n")
    if facts["options"]:
        title = "options" if kind in INGREDIENTS else "options, of each command that takes --dataset"
        _show(title, cls.Options.model_fields)


def _fields(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What there is to say of each option."""
    return {
        name: {
            "type": _type(info.annotation),
            "default": info.get_default(),
            "bounds": _bounds(info.metadata),
            "help": info.description,
        }
        for name, info in fields.items()
    }


def _show(title: str, fields: "Mapping[str, FieldInfo]") -> None:
    from ganzoo.fields import in_words, value_in_words

    click.secho(title, bold=True)
    for name, info in fields.items():
        head = f"  {name.replace('_', '-'):20} {value_in_words(info.get_default()):>16}  "
        click.echo(beside(head, f"{info.description or ''} ({in_words(info)})", width()))


def _type(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


def _bounds(metadata: list[Any]) -> list[str]:
    return [f"{sign} {getattr(m, key)}" for m in metadata for key, sign in SIGNS.items() if hasattr(m, key)]
