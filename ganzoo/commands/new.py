"""`ganzoo new NAME`."""

from pathlib import Path

import click

from ganzoo.commands.options import echo_json, json_option
from ganzoo.errors import UsageError


@click.command(name="new", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option("--conditional", is_flag=True, help="A model that draws what it is asked for.")
@json_option
def command(name: str, conditional: bool, as_json: bool) -> None:
    """Write a new plugin package into the folder NAME: a model, its test, pyproject.toml, README, a CI workflow.

    It works as written: install it, and ganzoo lists, trains and checks it.

    \b
    ganzoo new my-gan
    ganzoo new my-gan --conditional
    """
    from ganzoo.kit.scaffold import write_package
    from ganzoo.plugins import registry

    plugins = registry()
    if name in plugins.names("models"):
        raise UsageError(f"'{name}' is taken: {plugins.provider('models', name).source} has a model of that name")
    files = write_package(name, Path(), conditional)
    if as_json:
        echo_json({"name": name, "files": [str(f) for f in files]})
        return
    for file in files:
        click.echo(file)
    click.echo(f"next: pip install --editable {name}, then ganzoo run {name} and ganzoo check {name}")
