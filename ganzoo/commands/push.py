"""`ganzoo push RUN owner/name`."""

from pathlib import Path

import click

from ganzoo.commands.options import Explained, RunPath, echo_json, json_option


@click.command(name="push", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=RunPath())
@click.argument("to", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a repository that its owner alone sees, where there is none yet.")
@click.option("--message", help="Of the commit.  [default: ganzoo push: MODEL]")
@json_option
def command(run: Path, to: str, private: bool, message: str | None, as_json: bool) -> None:
    """Put RUN on the Hugging Face hub, where others take it as hf://OWNER/NAME.

    Pushed are the averaged generator, what load needs beside it, the numbers, the last grid, and a card that shows
    them, names the commands and whose the data are. Checkpoints and pictures of the data stay here, but grids of models
    that make images from images show a few; folders of this machine are left out.

    The hub's client logs in (`hf auth login`, or HF_TOKEN): `pip install 'ganzoo[hub]'`.

    \b
    ganzoo push runs/mine me/digits
    ganzoo push runs/mine me/digits --private
    ganzoo sample hf://me/digits -n 16
    """
    from ganzoo.runs.push import push

    made = push(run, to, private, message)
    if as_json:
        echo_json(made._asdict())
    else:
        click.echo(f"{made.url}\n{made.address}: {', '.join(made.files)}")
