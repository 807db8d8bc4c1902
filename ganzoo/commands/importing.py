"""`ganzoo import SNAPSHOT`."""

from pathlib import Path

import click

from ganzoo.commands.options import Explained, echo_json, json_option


@click.command(name="import", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("snapshots", metavar="SNAPSHOT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The run directory to make.")
@json_option
def command(snapshots: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make a run directory of another program's networks.

    Those are official snapshots of StyleGAN2 and StyleGAN3 (.pkl of NVIDIA's PyTorch programs), and BigGAN's state
    dicts (.pth of ajbrock/BigGAN-PyTorch: G_ema, with G and D of the same training). `sample`, `demo`, `eval`, `export`
    and `compare` take the run, and `run MODEL --init-from` trains on from it: it holds the averaged generator, and
    generator and discriminator as trained. Nothing in a file is executed: its numbers are read, its classes are names,
    and a file that names anything else is refused.

    \b
    ganzoo import ffhq.pkl -o runs/ffhq
    ganzoo sample runs/ffhq -n 16 --truncation 0.7
    ganzoo import G_ema.pth G.pth D.pth -o runs/biggan
    """
    from ganzoo.plugins import registry
    from ganzoo.runs.imports import import_snapshot

    gan, info = import_snapshot(snapshots, out, registry().check())
    channels, height, width = gan.data.shape
    facts = {
        "run": str(out),
        "model": gan.name,
        "shape": [channels, height, width],
        "classes": len(gan.data.classes),
        "parameters": info["parameters"]["generator"],
        "averaged": info["imported"]["averaged"],
        "trained": info["imported"]["trained"],
    }
    if as_json:
        echo_json(facts)
        return
    classes = f", {facts['classes']} classes" if facts["classes"] else ""
    click.echo(f"{out}: {gan.name}, {width} x {height}{classes}, {facts['parameters']:,} parameters in the generator")
    if missing := {"generator", "discriminator"} - set(facts["trained"]):
        names = " and ".join(sorted(missing))
        click.echo(f"without the {names} as trained: the snapshot has none that fits", err=True)
