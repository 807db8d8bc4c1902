"""`ganzoo run MODEL`: one subcommand per installed model, its options made from the model's own."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganzoo.commands.options import (
    FILM,
    FPS,
    HOLD,
    OfData,
    Section,
    check_spread,
    data_given,
    echo_json,
    from_model,
    given,
    nproc_option,
    spread,
)  # fmt: skip
from ganzoo.errors import GanzooError, UsageError
from ganzoo.settings import Settings, read_config, resolve
from ganzoo.terminal import argument
from ganzoo.training.signals import Stopped

if TYPE_CHECKING:
    from ganzoo.gan import GAN
    from ganzoo.runs.run import Run

RUN, MODEL = "Options of the run", "Options of the model"
FRAME_EVERY = 50
"""Steps between the frames of --video, unless they are given."""


class Models(click.Group):
    """The installed models as subcommands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from ganzoo.plugins import registry

        return registry().check().names("models")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from ganzoo.plugins import registry

        plugins = registry().check()
        return train_command(plugins.get("models", name)) if name in plugins.names("models") else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from ganzoo.plugins import registry

        registry().check().get("models", args[0])  # Raises with the nearest name.
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let `ganzoo run --config FILE` take the model from the file, and options stand before the model."""
        if args and args[0].startswith("-") and not {"-h", "--help"} & set(args):
            return super().parse_args(ctx, [_model_of(args, ctx), *args])
        return super().parse_args(ctx, args)


@click.group(cls=Models, name="run", subcommand_metavar="MODEL [OPTIONS]")
def command() -> None:
    """Train a model. `ganzoo run MODEL --help` explains its options.

    \b
    ganzoo run cgan                          the default recipe on MNIST
    ganzoo run cgan --preset tutorial        the recipe of the tutorials
    ganzoo run dcgan --preset pictures --dataset folder --data-root pictures --max-time 30m
    ganzoo run cgan --max-time 2m --seed 1 --out runs/mine
    ganzoo run gan --dataset ring --video    and a film of how samples grew
    ganzoo run cgan --nproc 2                two processes, half of each batch in either
    ganzoo run --config runs/mine/run.json   the same run again
    """


def _model_of(args: list[str], ctx: click.Context) -> str:
    for option, value in zip(args, [*args[1:], ""], strict=True):
        path = option.removeprefix("--config=") if option.startswith("--config=") else value
        if option == "--config" or option.startswith("--config="):
            name = read_config(Path(path)).get("model")
            if isinstance(name, str):
                return name
            raise UsageError(f"{path} names no model: write `ganzoo run MODEL --config {path}`")
    raise click.UsageError(f"name a model before its options: ganzoo run MODEL {args[0]} ...", ctx)


class Trains(OfData):
    """The command of a model: its data set is that of the command line, or of the file of options."""

    def data_set(self, values: dict[str, Any]) -> str | None:
        if values.get("dataset") is None and values.get("config"):
            with suppress(GanzooError):
                name = read_config(Path(values["config"])).get("dataset")
                return name if isinstance(name, str) else super().data_set(values)
        return super().data_set(values)


def train_command(model: "type[GAN]") -> click.Command:
    """The command that trains `model`."""
    fixed = [
        Section(
            ["--preset"],
            metavar="|".join(sorted(model.presets)) or "NAME",
            shell_complete=lambda ctx, param, start: [n for n in sorted(model.presets) if n.startswith(start)],
            section=RUN,
            help="A named bundle of options; the command line still overrides it.",
        ),
        Section(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            section=RUN,
            help="Options from a TOML file, or from the run.json of a run to repeat.",
        ),
        Section(["--name"], section=RUN, help="What reports and `ganzoo list runs` call the run."),
        Section(
            ["--tag", "tags"],
            multiple=True,
            section=RUN,
            help="A word to find the run by; may be given again.",
        ),
        Section(
            ["-o", "--out"],
            type=click.Path(path_type=Path),
            section=RUN,
            help="The run directory to make.  [default: runs/MODEL-DATASET-DATE-TIME]",
        ),
    ]
    last = [
        nproc_option(),
        Section(
            ["--video"],
            is_flag=True,
            help=f"Film how samples grew, to {FILM} in the run directory, of a grid every {FRAME_EVERY} steps or as "
            "--sample-interval says.",
        ),
        Section(["--dry-run"], is_flag=True, help="Print the resolved plan and stop."),
        Section(["--quiet"], is_flag=True, help="No progress."),
        Section(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
    ]

    def train(**values: Any) -> None:
        _train(model, **values)

    return Trains(
        model.name,
        callback=train,
        params=[*fixed, *from_model(Settings, RUN), *from_model(model.Options, MODEL), *last],
        help=_help(model),
        short_help=model.paper,
        epilog="Presets: " + ", ".join(sorted(model.presets)) if model.presets else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _help(model: "type[GAN]") -> str:
    import inspect

    return f"{inspect.getdoc(model) or model.name}\n\n{model.paper}"


def _train(
    model: "type[GAN]",
    preset: str | None,
    config: Path | None,
    out: Path | None,
    name: str | None,
    tags: tuple[str, ...],
    nproc: int | None,
    video: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    from ganzoo.launch import start
    from ganzoo.marks import marks
    from ganzoo.plugins import registry
    from ganzoo.preparing import few_steps, prepare, refuse_idle_root
    from ganzoo.training.progress import Progress

    called = marks(name, tags)
    file = read_config(config) if config else None
    if file and file.get("model", model.name) != model.name:
        raise UsageError(f"{config} is for model '{file['model']}', not '{model.name}'")
    own = data_given(values)
    chosen = {**given(values, Settings), **given(values, model.Options)}
    if video and "sample_interval" not in (file or {}):
        chosen.setdefault("sample_interval", FRAME_EVERY)
    plan = resolve(model, chosen | ({"data_options": own} if own else {}), preset, file)
    refuse_idle_root(plan, chosen, registry())
    check_spread(nproc, plan.settings.device, plan.options.batch_size)
    if dry_run:
        prepared = prepare(plan, registry())
        _show_plan(prepared.describe(registry()), as_json)
        if told := few_steps(prepared):
            click.echo(f"note: {told}", err=True)
        return
    spread(nproc)
    run = start(plan, registry(), out, [] if quiet else [Progress()], called)
    try:
        show_result(run, as_json, _film(run) if video and not run.world.rank else None)
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT, f"{run.folder} is finished, and saved") from None


def _film(run: "Run") -> Path | None:
    """The grids of a run as a film beside them; where there can be none, a line says why."""
    from ganzoo.runs.film import check_film, kept, training, write_film

    try:
        grids = kept(run.folder)
        check_film(run.folder / FILM, len(grids.steps), FPS)
        write_film(run.folder / FILM, training([grids]), FPS, HOLD)
    except GanzooError as error:
        click.echo(f"note: no film was made: {error}", err=True)
        return None
    return run.folder / FILM


def _show_plan(plan: dict[str, Any], as_json: bool) -> None:
    plan.pop("command")
    if as_json:
        echo_json(plan)
        return
    from ganzoo.fields import value_in_words

    for key in ("model", "paper", "preset", "steps", "batches_per_epoch"):
        click.echo(f"{key:20} {value_in_words(plan[key])}")
    for part in ("data", "parameters", "settings", "options", "machine", "versions"):
        click.echo(f"{part}")
        for key, value in plan[part].items():
            click.echo(f"  {key:18} {value_in_words(value)}")


def show_result(run: "Run", as_json: bool, film: Path | None = None) -> None:
    """Say where everything is, also a film that was made, the last FID if there is one, and what can be done next."""
    if run.world.rank:
        return
    from ganzoo.files import read_json
    from ganzoo.runs.folder import read_metrics

    status = read_json(run.folder / "status.json")
    grid = max((run.folder / "samples").glob("*.png"), default=None)
    lines = read_metrics(run.folder)
    speeds = sorted(v for line in lines if isinstance(v := line.get("images_per_second"), int | float))
    speed = speeds[len(speeds) // 2] if speeds else None
    result = {"run": str(run.folder), **status, "images_per_second": speed, "samples": str(grid) if grid else None}
    if film is not None:
        result["video"] = str(film)
    if as_json:
        echo_json(result)
        return
    seconds = f"{status['seconds']:.0f} s" + (f", {speed:,.0f} images/s" if speed else "")
    click.echo(f"run:     {run.folder} ({status['step']:,} steps, {status['epoch']:.2f} epochs, {seconds})")
    scored = [line for line in lines if isinstance(line.get("fid"), int | float)]
    if scored:
        last, best = scored[-1], min(scored, key=lambda line: line["fid"])
        lowest = f"; the lowest was {best['fid']:.2f}, at step {best['step']:,}" if best is not last else ""
        click.echo(f"FID:     {last['fid']:.2f} ({last.get('evaluation', 'measured while it trained')}){lowest}")
    click.echo(f"samples: {grid or 'none'}")
    if film is not None:
        click.echo(f"film:    {film}")
    for number, words in enumerate(_next(run.folder)):
        click.echo(("" if number else "next:").ljust(9) + words)


def _next(folder: Path) -> list[str]:
    """Commands that go on from a run, as a shell takes them."""
    from ganzoo.plugins import registry
    from ganzoo.runs.folder import model_of, open_run

    info, run = open_run(folder), argument(folder)
    translates = model_of(folder, info, registry()).translates
    pictures = len(info["data"]["shape"]) == 3  # Which alone a page can show.
    sample = f"ganzoo sample {run}{' --from test' if translates else ''}"
    return [sample, f"ganzoo eval {run}", *([f"ganzoo demo {run}"] if pictures else [])]
