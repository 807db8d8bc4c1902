"""`ganzoo compare RUN...` and `ganzoo compare MODEL...`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.choices import parse_seeds
from ganzoo.commands.options import Duration, Number, OfData, checkpoint_option, data_given, echo_json, json_option
from ganzoo.errors import GanzooError, UsageError, harmless

if TYPE_CHECKING:
    from ganzoo.plugins import Registry

MOST_TRAINED = 1_000
"""Seeds with which each model is trained, at most."""


@click.command(name="compare", cls=OfData, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", metavar="RUN|MODEL[:PRESET]...", nargs=-1)
@click.option(
    "--benchmarks", multiple=True, help="A file of pytest-benchmark or `ganzoo bench --json`; more of them may follow."
)
@click.option(
    "-o",
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The file to write: .html, .md, .csv or .json; may be given again.  "
    "[default: report.html, beside trained runs]",
)
@click.option("--dataset", help="Train models on this data set.  [default: mnist]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where its files are.")
@click.option(
    "--source",
    help="Make a source of each image, as `ganzoo run` does: smaller:4, grey, edges or hole."
    "  [default: the data's own]",
)
@click.option("--max-time", type=Duration(), help="Train each for this long: 90s, 2m, 1h30m.")
@click.option("--epochs", type=Number(min=0, min_open=True), help="Train each for so many epochs.")
@click.option("--steps", type=click.IntRange(min=1), help="Train each for so many generator steps.")
@click.option(
    "--seeds",
    help="Train each with these seeds: 0,1,2 or 0-4; where runs alone are named, those that a run lacks.  [default: 0]",
)
@click.option("--eval-every", type=Number(min=0, min_open=True), help="Epochs between evaluations.  [default: 1]")
@click.option(
    "--sampling",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of drawing with which models that have it are measured; may be given again.",
)
@click.option(
    "--eval", "evaluate", is_flag=True, help="Measure the runs that are not measured yet, as most of the others were."
)
@checkpoint_option
@click.option("--device", help="Where to train: auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option("--out", type=click.Path(path_type=Path), help="The folder of trained runs.  [default: runs/compare]")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    what: tuple[str, ...], benchmarks: tuple[str, ...], reports: tuple[Path, ...], seeds: str | None,
    sampling: tuple[str, ...], evaluate: bool, checkpoint: str | None, out: Path | None, quiet: bool, as_json: bool,
    **training: Any,
) -> None:  # fmt: skip
    """Set runs side by side in one report: who is best, by how much, how sure, and how to repeat it.

    \b
    ganzoo compare runs/a runs/b -o report.html
    ganzoo compare runs/a runs/b -o report.html -o report.md
    ganzoo compare runs/a runs/b --eval
    ganzoo compare runs/a runs/b --eval --checkpoint best
    ganzoo compare runs/a runs/b --seeds 0-2
    ganzoo compare runs/a --benchmarks results/*.json
    ganzoo compare cgan acgan sngan --dataset mnist --max-time 2m --seeds 0,1,2
    ganzoo compare cgan cgan:tutorial gan:paper --max-time 3m
    ganzoo compare pix2pix bicyclegan --dataset emoji --source edges --max-time 5m

    A folder is a run, or holds runs; anything else is a model, perhaps with a preset, which is trained first with every
    seed, one after the other, each in a process of its own, and measured. What is done already is used as it is, and
    what was interrupted goes on: the same command twice trains once. What fails is named in the report, which has the
    others; the exit code is 1.
    Runs that differ in the seed alone are one line, with mean and spread; runs that were measured otherwise are shown
    apart, with the reason. The .html is one file that fetches nothing.
    """
    from ganzoo.plugins import registry
    from ganzoo.provide import measure_all
    from ganzoo.report.build import build
    from ganzoo.report.files import check_targets, write
    from ganzoo.report.named import sort_out
    from ganzoo.sampling import parse_sampling

    def say(line: str) -> None:
        if not quiet:
            click.echo(harmless(line), err=True)  # The names of folders are anybody's.

    if checkpoint is not None and not (checkpoint in ("best", "last") or checkpoint.isdecimal()):
        raise UsageError(f"--checkpoint {checkpoint}: say best, last or the number of a step")
    plugins = registry().check()
    named = sort_out(what, plugins.names("models"))
    own = data_given(training)
    given = {key: value for key, value in training.items() if value is not None}
    again = bool(seeds and not named.models and (named.runs or named.within))
    if not named.models and (given or own or sampling or out or (seeds and not again)):
        raise UsageError(
            f"{flag(given | own, None if again else seeds, sampling)} is for models that are to be trained, and none "
            "is named"
        )
    given |= {"data_options": own} if own else {}
    home = out or Path("runs/compare")
    files = [*map(Path, benchmarks), *named.benchmarks]
    targets = check_targets(reports, (home if named.models else Path()) / "report.html", files)
    for note in named.notes:
        say(f"note: {note}")
    drawn = parse_sampling(sampling)
    trained, failed = train(named.models, seeds or "0", given, home, plugins, quiet, say, drawn)
    if again:
        trained, failed = train_further(named.folders(()), parse_seeds(seeds or "", MOST_TRAINED), plugins, quiet, say)
    folders = named.folders(trained)
    if evaluate:
        failed |= measure_all([folder for folder in folders if folder not in failed], plugins, say, checkpoint)
    if failed and failed.keys() >= set(folders) and not files:  # There is nothing to report.
        raise next(iter(failed.values()))
    report = build(folders, files, failed=[str(error) for error in failed.values()], checkpoint=checkpoint)
    for target in targets:
        write(report, target, plugins)
    if as_json:
        echo_json(report.to_json())
    else:
        for sentence in (*report.verdict, *(f"note: {caution}" for caution in report.cautions)):
            click.echo(harmless(sentence))
        for group in report.groups[1:]:
            if group.apart:
                names = ", ".join(line.name for line in group.lines)
                click.echo(harmless(f"note: set apart: {names}: {group.apart}"))
        for target in targets:
            click.echo(target)
    if report.failed:
        more = f" (and {len(report.failed) - 1} more)" if len(report.failed) > 1 else ""
        raise GanzooError(f"the report is written, but not whole: {report.failed[0]}{more}")


def flag(given: dict[str, Any], seeds: str | None, sampling: Sequence[str]) -> str:
    """The first of the options that are for training, as it was typed."""
    return "--" + next(iter(given), "seeds" if seeds else "sampling" if sampling else "out").replace("_", "-")


def train(
    models: Sequence[str], seeds: str, given: dict[str, Any], home: Path, plugins: "Registry", quiet: bool,
    say: Callable[[str], None], sampling: Mapping[str, str],
) -> tuple[list[Path], dict[Path, GanzooError]]:  # fmt: skip
    """Measured runs of the models with the seeds, those that were there already among them; and why some failed."""
    from ganzoo.provide import check_sampling, plans, provide_all
    from ganzoo.training.progress import Progress

    options = {"eval_every": 1.0, "loggers": (), **given}
    made = plans(models, parse_seeds(seeds, MOST_TRAINED), options, plugins)
    check_sampling(made, sampling)
    return provide_all(made, home, plugins, lambda: [] if quiet else [Progress()], say, sampling, apart=True)


def train_further(
    folders: Sequence[Path], seeds: Sequence[int], plugins: "Registry", quiet: bool, say: Callable[[str], None]
) -> tuple[list[Path], dict[Path, GanzooError]]:
    """Measured runs that repeat those in the folders with the seeds that they lack; and why some failed."""
    from ganzoo.provide import further, provide_wanted
    from ganzoo.training.progress import Progress

    wanted = further(folders, seeds, plugins)
    return provide_wanted(wanted, plugins, lambda: [] if quiet else [Progress()], say, apart=True)
