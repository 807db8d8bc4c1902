"""`ganzoo new NAME`."""

from pathlib import Path

import click

from ganzoo.commands.options import Explained, echo_json, json_option
from ganzoo.errors import UsageError
from ganzoo.kit.scaffold import INGREDIENTS, TEMPLATES, a


@click.command(name="new", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    help=f"What it begins as.  [default: {next(iter(TEMPLATES))}]",
)
@click.option("--conditional", is_flag=True, help="The same as --template class-conditional.")
@click.option("--augmentation", is_flag=True, help="An augmentation of what the discriminator sees, not a model.")
@click.option("--regulariser", is_flag=True, help="A regulariser, a term of a player's loss, not a model.")
@json_option
def command(
    name: str, template: str | None, conditional: bool, augmentation: bool, regulariser: bool, as_json: bool
) -> None:
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
    ganzoo new --augmentation my-colours
    ganzoo new --regulariser my-penalty
    """
    from ganzoo.kit.scaffold import write_package
    from ganzoo.plugins import registry

    if conditional and template not in (None, "class-conditional"):
        raise UsageError(f"--conditional is --template class-conditional, not {template}: leave out one of them")
    asked = [kind for kind, wanted in (("augmentation", augmentation), ("regulariser", regulariser)) if wanted]
    if asked and (template or conditional or len(asked) > 1):
        other = "--template" if template else "--conditional" if conditional else "--regulariser"
        raise UsageError(f"--{asked[0]} and {other} are packages of their own: give one of the two")
    template = asked[0] if asked else template or ("class-conditional" if conditional else next(iter(TEMPLATES)))
    begins = (TEMPLATES | INGREDIENTS)[template]
    plugins = registry()
    if name in plugins.names(begins.kinds):
        source = plugins.provider(begins.kinds, name).source
        raise UsageError(f"'{name}' is taken: {source} has {a(begins.noun)} of that name")
    for plugin in plugins.plugins:  # Whatever it brings: no two are loaded by one name.
        if plugin.name == name:
            raise UsageError(f"'{name}' is taken: {plugin.source} has a plugin of that name; try my-{name}")
    files = write_package(name, Path(), template)
    if as_json:
        echo_json({"name": name, "template": template, "files": [str(f) for f in files]})
        return
    for file in files:
        click.echo(file)
    click.echo(f"next: pip install --editable {name}, then ganzoo run {begins.run(name)} and ganzoo check {name}")
