"""`ganzoo video RUN`."""

from pathlib import Path

import click

from ganzoo.commands.options import FILM, FPS, HOLD, Explained, Number, RunPath, echo_json, json_option


@click.command(name="video", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RunPath())
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="The film: .mp4 (pip install 'ganzoo[video]'), .gif or .webp.  [default: RUN/" + FILM + "]",
)
@click.option("--fps", type=Number(0.1, 60), default=FPS, show_default=True, help="Frames in a second.")
@click.option(
    "--hold", type=Number(0, 60), default=HOLD, show_default=True, help="Seconds for which the last one stays."
)
@click.option("--scale", type=click.IntRange(1, 16), help="Enlarge grids, pixel by pixel.  [default: so that one sees]")
@json_option
def command(
    runs: tuple[Path, ...], out: Path | None, fps: float, hold: float, scale: int | None, as_json: bool
) -> None:
    """Show how RUN's samples grew while it trained; of several runs, side by side at the same steps.

    Frames are the grids in RUN/samples, all of the same latents. `--sample-interval 50` of `ganzoo run` keeps more of
    them. `ganzoo sample RUN --walk` films a trained model instead.

    \b
    ganzoo video runs/mine                                 runs/mine/training.webp
    ganzoo video runs/mine -o growing.mp4 --fps 12
    ganzoo video runs/cgan runs/acgan -o both.gif
    """
    from tqdm import tqdm

    from ganzoo.files import output
    from ganzoo.runs.film import check_film, kept, training, write_film
    from ganzoo.runs.hub import beside

    target = output(out or beside(runs[0], FILM))
    grids = [kept(run) for run in runs]
    count = len({step for found in grids for step in found.steps})
    check_film(target, count, fps)
    frames = tqdm(training(grids, scale), total=count, unit=" frames", leave=False, disable=None, delay=2)
    written = write_film(target, frames, fps, hold)
    if as_json:
        echo_json({"file": str(target), "frames": written, "seconds": round(written / fps + hold, 3)})
    else:
        click.echo(f"{target}: {written:,} frame{'s' * (written != 1)}, {written / fps + hold:.1f} s")
