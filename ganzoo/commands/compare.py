"""`ganzoo compare RUN...` and `ganzoo compare MODEL...`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.options import Duration, echo_json, json_option
from ganzoo.errors import GanzooError, UsageError

if TYPE_CHECKING:
    from ganzoo.plugins import Registry
    from ganzoo.report.build import Report

KINDS = (".html", ".md", ".json")


@click.command(name="compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", metavar="RUN|MODEL...", nargs=-1)
@click.option("--benchmarks", multiple=True, help="A file of pytest-benchmark; more of them may follow.")
@click.option(
    "-o",
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The file to write: .html, .md or .json; may be given again.  [default: report.html, beside trained runs]",
)
@click.option("--dataset", help="Train models on this data set.  [default: mnist]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where its files are.")
@click.option("--max-time", type=Duration(), help="Train each for this long: 90s, 2m, 1h30m.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Train each for so many epochs.")
@click.option("--steps", type=click.IntRange(min=1), help="Train each for so many generator steps.")
@click.option("--seeds", help="Train each with these seeds: 0,1,2 or 0-4.  [default: 0]")
@click.option(
    "--eval-every", type=click.FloatRange(min=0, min_open=True), help="Epochs between evaluations.  [default: 1]"
)
@click.option("--device", help="Where to train: auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option("--out", type=click.Path(path_type=Path), help="The folder of trained runs.  [default: runs/compare]")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    what: tuple[str, ...], benchmarks: tuple[str, ...], reports: tuple[Path, ...], seeds: str | None, out: Path | None,
    quiet: bool, as_json: bool, **training: Any,
) -> None:  # fmt: skip
    """Set runs side by side in one report: who is best, by how much, how sure, and how to repeat it.

    \b
    ganzoo compare runs/a runs/b -o report.html
    ganzoo compare runs/a runs/b -o report.html -o report.md
    ganzoo compare runs/a --benchmarks results/*.json
    ganzoo compare cgan acgan sngan --dataset mnist --max-time 2m --seeds 0,1,2

    A folder is a run; anything else is a model, which is trained first with every seed, one after the other, and
    measured. What is done already is used as it is, and what was interrupted goes on: the same command twice trains
    once. Runs that differ in the seed alone are one line, with mean and spread; runs that were measured otherwise are
    shown apart, with the reason. The .html is one file that fetches nothing.
    """
    from ganzoo.plugins import registry
    from ganzoo.report.build import build

    for target in reports:
        if target.suffix not in KINDS:
            raise UsageError(f"{target}: end the name in {', '.join(KINDS)}")
    plugins = registry().check()
    files = [*benchmarks, *(name for name in what if Path(name).suffix == ".json")]
    named = [name for name in what if Path(name).suffix != ".json"]
    models = [name for name in named if not Path(name).is_dir()]
    given = {key: value for key, value in training.items() if value is not None}
    if not models and (given or seeds or out):
        raise UsageError(f"{flag(given, seeds)} is for models that are to be trained, and none is named")
    for name in models:
        if "/" in name or Path(name).exists():
            reason = "it is a file" if Path(name).exists() else "there is no such folder"
            raise UsageError(f"{name} is not a run directory: {reason}")
    home = out or Path("runs/compare")
    trained = train(models, seeds or "0", given, home, plugins, quiet)
    folders = [Path(name) for name in named if name not in models]
    report = build([*folders, *trained], [Path(file) for file in files])
    targets = reports or ((home if models else Path()) / "report.html",)
    for target in targets:
        write(report, target, plugins)
    if as_json:
        echo_json(report.to_json())
        return
    for sentence in (*report.verdict, *(f"note: {caution}" for caution in report.cautions)):
        click.echo(sentence)
    for target in targets:
        click.echo(target)


def flag(given: dict[str, Any], seeds: str | None) -> str:
    """The first of the options that are for training, as it was typed."""
    return "--" + next(iter(given), "seeds" if seeds else "out").replace("_", "-")


def train(
    models: Sequence[str], seeds: str, given: dict[str, Any], home: Path, plugins: "Registry", quiet: bool
) -> list[Path]:
    """Finished, measured runs of the models with the seeds, those that were there already among them."""
    from ganzoo.commands.missing import plans, provide, seeds_of
    from ganzoo.progress import Progress

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    options = {"eval_every": 1.0, "loggers": (), **given}
    made = plans(models, seeds_of(seeds), options, plugins)
    return [provide(plan, home, plugins, lambda: [] if quiet else [Progress()], say) for plan in made]


def write(report: "Report", path: Path, plugins: "Registry") -> None:
    """Write the report in the form that the file's name asks for.

    Raises:
        GanzooError: the place cannot be written.
    """
    from ganzoo.files import write_json, write_text
    from ganzoo.report.html import page
    from ganzoo.report.markdown import markdown

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_json(path, report.to_json())
        else:
            write_text(path, page(report, plugins) if path.suffix == ".html" else markdown(report))
    except OSError as error:
        raise GanzooError(f"cannot write {path}: {error.strerror or error}") from error
