"""`ganzoo sweep MODEL`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import OfData, data_given, echo_json, json_option
from ganzoo.terminal import argument


@click.command(name="sweep", cls=OfData, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="MODEL[:PRESET]")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUES",
    help="Values of an option to try, lr=1e-4,3e-4,1e-3, or a range, latent-dim=16:256; one value is given to every "
    "trial; may be given again.",
)
@click.option(
    "--budget", required=True, help="Of a trial that goes to the end: 10m of training, 20epochs or 5000steps."
)
@click.option(
    "--trials",
    type=click.IntRange(2, 10_000),
    help="How many to begin.  [default: every combination; of ranges, 9]",
)
@click.option(
    "--eta",
    type=click.IntRange(2, 100),
    default=3,
    show_default=True,
    help="Of so many trials one goes on, with so many times the budget.",
)
@click.option("--by", default="fid", show_default=True, help="What trials are chosen by, as `ganzoo eval` measures it.")
@click.option("--dataset", help="The data set.  [default: mnist]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where its files are.")
@click.option("--source", help="Make a source of each image, as `ganzoo run` does: smaller:4, grey, edges or hole.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all trials.")
@click.option("--device", help="Where to train: auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="The folder of all runs.  [default: one in runs/sweep]"
)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    model: str, sets: tuple[str, ...], budget: str, trials: int | None, eta: int, by: str, seed: int,
    out: Path | None, quiet: bool, as_json: bool, **training: Any,
) -> None:  # fmt: skip
    """Find good options of MODEL: try many with a little of the budget, and go on with the best.

    \b
    ganzoo sweep cgan --set lr=1e-4,3e-4,1e-3 --budget 10m
    ganzoo sweep cgan --set lr=1e-5:1e-2 --set latent-dim=16:256 --budget 20epochs
    ganzoo sweep cgan:tutorial --set augment=none,ada,diffaugment --budget 9m

    Lists alone are tried in every combination. Optuna (pip install 'ganzoo[sweep]') draws trials from ranges, or from
    lists with more combinations than --trials, the later ones near those that did well; ranges that span a factor of
    ten or more are sampled logarithmically.

    Successive halving: with 9 trials and --eta 3, each gets a ninth of the budget and is measured, the best 3 go on
    to a third of it, and the best of these to its end: three budgets in all, in place of nine. Each is a run with the
    whole budget that is ended early, and goes on from its checkpoint, so that nothing is trained twice. One that begins
    slowly may be given up; --eta 2, which keeps half at every rung, is more patient.

    The same command goes on where it was stopped. A trial that fails is named, and the others go on. At the end stand
    a report of all trials, and the command that trains the best one anew.
    """
    from ganzoo.errors import harmless
    from ganzoo.plugins import registry
    from ganzoo.report.build import build
    from ganzoo.report.files import check_targets, write
    from ganzoo.report.read import read_run
    from ganzoo.sweep import Asked, Sweep
    from ganzoo.training.progress import Progress
    from ganzoo.training.signals import Stopped, number_of

    def say(line: str) -> None:
        if not quiet:
            click.echo(harmless(line), err=True)  # The names of folders are anybody's.

    own, plugins = data_given(training), registry().check()
    given = {key: value for key, value in training.items() if value is not None} | (
        {"data_options": own} if own else {}
    )
    sweep = Sweep(Asked(model, sets, budget, trials, eta, by, seed, given), plugins, out)
    (target,) = check_targets((), sweep.home / "report.html", instead="move it away, or choose another --out")
    kept = f"{sweep.home} is kept: the same command goes on with the sweep"
    try:
        sweep.run(lambda: [] if quiet else [Progress()], say)
        write(build(sweep.folders, failed=sweep.failed, notes=sweep.notes), target, plugins)
    except Stopped as stopped:
        # Not how the trial would go on: by itself it would train to the whole budget.
        raise Stopped(stopped.exit_code - 128, kept) from None
    except KeyboardInterrupt as error:  # While a trial was measured, say.
        raise Stopped(number_of(error), kept) from None
    best = sweep.best
    assert best is not None  # Otherwise `run` has told why.
    again = read_run(best.folder).command
    if as_json:
        found = {"folder": str(best.folder), "options": best.options, by: best.scores[-1], "command": again}
        echo_json({**sweep.to_json(), "home": str(sweep.home), "best": found, "report": str(target)})
        return
    for line in sweep.failed:
        click.echo(f"failed: {line}", err=True)
    at = "" if len(best.scores) == len(sweep.rungs) else f" after rung {len(best.scores)} of {len(sweep.rungs)}"
    click.echo(f"best:   {sweep.in_words(best)}: {by} {best.scores[-1]:.4g}{at} ({best.folder})")
    click.echo(f"report: {target}")
    click.echo(f"next:   {again}")
    click.echo(f"        ganzoo compare {argument(best.folder)} --seeds {seed}-{seed + 2}")
