"""`ganzoo new NAME`."""

from pathlib import Path

import click

from ganzoo.commands.options import echo_json, json_option
from ganzoo.errors import UsageError
from ganzoo.kit.scaffold import TEMPLATES


@click.command(name="new", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    help=f"What it begins as.  [default: {next(iter(TEMPLATES))}]",
)
@click.option("--conditional", is_flag=True, help="The same as --template class-conditional.")
@json_option
def command(name: str, template: str | None, conditional: bool, as_json: bool) -> None:
    """Write a new plugin package into the folder NAME: a model, its test, pyproject.toml, README, a CI workflow.

    It works as written: install it, and ganzoo lists, trains and checks it.

    \b
    unconditional       two networks and two losses
    class-conditional   the same, told the class: draws what it is asked for
    translating         makes images from images, for data with sources: a small pix2pix
    three-player        an encoder as third player, and a penalty in every 16th step: a small BiGAN

    \b
    ganzoo new my-gan
    ganzoo new my-gan --template class-conditional
    """
    from ganzoo.kit.scaffold import write_package
    from ganzoo.plugins import registry

    if conditional and template not in (None, "class-conditional"):
        raise UsageError(f"--conditional is --template class-conditional, not {template}: leave out one of them")
    template = template or ("class-conditional" if conditional else next(iter(TEMPLATES)))
    plugins = registry()
    if name in plugins.names("models"):
        raise UsageError(f"'{name}' is taken: {plugins.provider('models', name).source} has a model of that name")
    files = write_package(name, Path(), template)
    if as_json:
        echo_json({"name": name, "template": template, "files": [str(f) for f in files]})
        return
    for file in files:
        click.echo(file)
    run = f"ganzoo run {name}{TEMPLATES[template].data}"
    click.echo(f"next: pip install --editable {name}, then {run} and ganzoo check {name}")
