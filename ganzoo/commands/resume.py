"""`ganzoo resume RUN`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import (
    Duration,
    Explained,
    Names,
    Number,
    OwnRun,
    check_spread,
    json_option,
    nproc_option,
    spread,
)


@click.command(name="resume", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=OwnRun())
@click.option("--epochs", type=Number(min=0, min_open=True), help="A new budget: total epochs.")
@click.option("--steps", type=click.IntRange(min=1), help="A new budget: total generator steps.")
@click.option("--max-time", type=Duration(), help="A new budget: total training time, as 90s, 2m, 1h30m.")
@click.option("--device", help="Another device than the run began on.")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "tf32", "bf16"]), help="Another arithmetic, as a device asks."
)
@click.option("--deterministic/--no-deterministic", default=None, help="On a GPU, the same order of sums, or not.")
@click.option(
    "--engine", type=click.Choice(["auto", "eager", "graph", "compile"]), help="Another way in which steps are run."
)
@click.option("--workers", type=click.IntRange(0, 64), help="Processes that decode images, for sets beyond memory.")
@click.option("--sync-batchnorm/--no-sync-batchnorm", default=None, help="BatchNorm over the global batch, or not.")
@click.option("--sample-interval", type=click.IntRange(min=1), help="Steps between sample grids.")
@click.option("--checkpoint-interval", type=click.IntRange(min=1), help="Steps between checkpoints.")
@click.option("--loggers", type=Names(), help="Other loggers, where their packages or servers are not here; or none.")
@nproc_option(click.option)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(run: Path, nproc: int | None, quiet: bool, as_json: bool, **changes: Any) -> None:
    """Continue RUN from its last good checkpoint, as if it had never stopped.

    On the same machine's CPU the weights become those of a run that was not interrupted, bit for bit; on a GPU those
    of a run that began with --deterministic do. A finished run goes on when a larger budget is given.

    \b
    ganzoo resume runs/mine
    ganzoo resume runs/mine --epochs 40
    """
    from ganzoo.commands.run import show_result
    from ganzoo.errors import warn
    from ganzoo.launch import resume
    from ganzoo.plugins import registry
    from ganzoo.runs.folder import open_run
    from ganzoo.training.progress import Progress

    check_spread(nproc, changes["device"] or "auto")
    open_run(run)  # Before processes are started for nothing.
    spread(nproc)
    given = {name: value for name, value in changes.items() if value is not None}
    done = resume(run, registry().check(), given, [] if quiet else [Progress()], warn)
    show_result(done, as_json)
