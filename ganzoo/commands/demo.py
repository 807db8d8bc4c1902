"""`ganzoo demo RUN`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import OfRun, checkpoint_option


@click.command(name="demo", cls=OfRun, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Its port; 0: any free one."
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@checkpoint_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
def command(run: Path, port: int, no_browser: bool, checkpoint: str | None, device: str, **sampling: Any) -> None:
    """Play with RUN's generator in a browser: classes, latents, and the way from one to another.

    The model's options of drawing, which `ganzoo demo RUN --help` lists, can be turned on the page too.

    The page is served to this machine alone, on 127.0.0.1, and fetches nothing from elsewhere. Ctrl-C ends it.

    \b
    ganzoo demo runs/mine
    ganzoo demo runs/mine --port 0 --no-browser
    """
    import webbrowser

    from ganzoo.demo.server import Player, serve
    from ganzoo.plugins import registry
    from ganzoo.runs.sampler import load

    chosen = {name: value for name, value in sampling.items() if value is not None}
    server = serve(Player(load(run, device, registry().check(), checkpoint=checkpoint), chosen), port)
    address = f"http://127.0.0.1:{server.server_port}/"
    click.echo(f"{address} (Ctrl-C ends it)")
    if not no_browser:
        webbrowser.open(address)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended")
