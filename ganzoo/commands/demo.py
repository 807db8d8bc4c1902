"""`ganzoo demo RUN`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import OfRun, RunPath, checkpoint_option


@click.command(name="demo", cls=OfRun, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=RunPath())
@click.argument("other", required=False, type=RunPath())
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Its port; 0: any free one."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Its address; 0.0.0.0: all that this machine has, as a container needs it.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@checkpoint_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
def command(
    run: Path, other: Path | None, port: int, host: str, no_browser: bool, checkpoint: str | None, device: str,
    **sampling: Any,
) -> None:  # fmt: skip
    """Play with RUN's generator in a browser: classes, latents, two pictures mixed, and the way from one to another.

    The checkpoints that a run keeps are under a slider. With OTHER, two runs are shown beside each other, drawn from
    latents of the same seed, or made from the same pictures; OTHER may be RUN again, to see two of its checkpoints.

    For image-to-image models, choose a held-out picture or drop one of your own, and see before and
    after under a slider. The model's options of drawing, which `ganzoo demo RUN --help` lists, can be turned on the
    page too. What is chosen stands in the page's address.

    The page is served to this machine alone, on 127.0.0.1, and fetches nothing from elsewhere; pictures that are
    dropped on it are kept nowhere. Ctrl-C ends it.

    On another machine, serve with --no-browser, and bring the page here by ssh -L 9000:127.0.0.1:8765 MACHINE. With
    --host, others reach it who have the address that is printed, with the token in it; it is not encrypted on its way.

    \b
    ganzoo demo runs/mine
    ganzoo demo runs/mine runs/yours
    ganzoo demo runs/mine --port 0 --no-browser
    ganzoo demo runs/mine --host 0.0.0.0 --no-browser
    """
    import webbrowser

    from ganzoo.demo.server import bind
    from ganzoo.demo.showing import exhibits_of
    from ganzoo.plugins import registry

    chosen = {name: value for name, value in sampling.items() if value is not None}
    with bind(port, host) as server:  # A port that is taken is told before anybody waits for the model.
        runs = [run] if other is None else [run, other]
        server.show(*exhibits_of(runs, device, registry().check(), chosen, checkpoint))
        click.echo(f"{server.address} (Ctrl-C ends it)")
        if server.token:
            click.echo("whoever has this address sees the page; elsewhere, put this machine's name in it", err=True)
        if not no_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended")
