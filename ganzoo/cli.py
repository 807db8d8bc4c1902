"""The `ganzoo` command: names its subcommands, loads one when it is used, and turns every error into one line.

Nothing here imports torch, so that `ganzoo --help` answers at once.
"""

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

import click

from ganzoo import __version__
from ganzoo.blame import blame
from ganzoo.errors import GanzooError, did_you_mean, one_line, plain
from ganzoo.streams import finish, prepare, results_alone
from ganzoo.terminal import colours
from ganzoo.training.signals import Stopped, ending, number_of

COMMANDS = {
    "run": ("ganzoo.commands.run", "Train a model."),
    "resume": ("ganzoo.commands.resume", "Continue a run from its last checkpoint."),
    "sample": ("ganzoo.commands.sample", "Draw images from a trained run."),
    "eval": ("ganzoo.commands.evaluate", "Measure a run or images: FID and its company."),
    "compare": ("ganzoo.commands.compare", "Set runs or models side by side in one report."),
    "sweep": ("ganzoo.commands.sweep", "Find good options: try many a little, go on with the best."),
    "video": ("ganzoo.commands.video", "Film how a run's samples grew."),
    "demo": ("ganzoo.commands.demo", "Play with a run's generator in a browser."),
    "export": ("ganzoo.commands.export", "Write a run's generator for other programs."),
    "push": ("ganzoo.commands.push", "Put a run on the Hugging Face hub."),
    "import": ("ganzoo.commands.importing", "Make a run of another program's networks: StyleGAN2 and 3, BigGAN."),
    "features": ("ganzoo.commands.features", "Train the feature extractor that a data set is measured with."),
    "data": ("ganzoo.commands.data", "Inspect your own pictures, or convert them."),
    "bench": ("ganzoo.commands.bench", "Measure training speed beside the tutorials' loop and the roofline."),
    "list": ("ganzoo.commands.listing", "List models, data sets, metrics, loggers, plugins."),
    "info": ("ganzoo.commands.info", "Explain a model, a data set, an augmentation, a regulariser; or a run."),
    "check": ("ganzoo.commands.check", "Check that a model keeps the rules of the contract."),
    "new": ("ganzoo.commands.new", "Write a new plugin package."),
    "doctor": ("ganzoo.commands.doctor", "Show versions, devices and the state of plugins."),
}


TRAINING = ("run", "resume")
"""Commands that train in this process, and save at a signal."""
INTERRUPTED = "stopped by SIGINT; nothing was saved, for training had not begun"
"""What Ctrl-C is told while a run's command is loaded; later `ganzoo.launch` knows what is saved."""


class LazyGroup(click.Group):
    """Commands that are imported when they are used; their one-line helps are known beforehand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            raise click.UsageError(f"no command is named '{args[0]}': {did_you_mean(args[0], list(COMMANDS))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ganzoo")
def cli() -> None:
    """A zoo of generative adversarial networks in which every model is a plugin.

    \b
    ganzoo run cgan                      train the conditional GAN on MNIST
    ganzoo run cgan --preset tutorial    the same, as the tutorials teach it
    ganzoo sample RUN --label 7 -n 16    draw sevens from a trained run
    ganzoo run cgan --help               every option of a model, explained

    Exit codes: 0 done; 1 the work failed; 2 wrong usage; 129, 130 and 143 stopped by a signal: what trains has saved.
    """


def main() -> None:
    """The entry point: runs a command and exits; an error prints one line, never a traceback.

    `GANZOO_TRACEBACK=1` shows where an error came from.
    """
    prepare()
    asked = os.environ.get("_GANZOO_COMPLETE", "")
    if asked.endswith(("_complete", "_source")):
        sys.exit(import_module("ganzoo.commands.completing").complete(COMMANDS, asked))
    try:
        _refuse_nowhere()
        with _listening():
            with results_alone() if _wants_json(sys.argv[1:]) else nullcontext():
                code = cli.main(prog_name="ganzoo", standalone_mode=False, color=colours())
            finish()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:  # Its message is the whole help, to be read as it is.
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see `{getattr(error, 'command', context.command_path)} --help`)" if context else ""
        code = _fail(error, plain(error.format_message()) + hint, error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__ if isinstance(error, click.Abort) else error
        number = number_of(cause) if isinstance(cause, KeyboardInterrupt) else signal.SIGINT
        said = f"stopped by {signal.Signals(number).name}"
        code = 128 + number
        if os.environ.get("RANK", "0") == "0" or "WORLD_SIZE" not in os.environ:  # Of several processes the first.
            _fail(error, INTERRUPTED if sys.argv[1:2] == ["run"] else said, code)
    except Stopped as error:
        click.echo(plain(str(error)), err=True)
        code = error.exit_code
    except GanzooError as error:
        code = _fail(error, one_line(error), error.exit_code)
    except MemoryError as error:
        code = _fail(error, "this needs more memory than there is", 1)
    except Exception as error:
        whose = blame(error)
        line = f"{whose + ': ' if whose else ''}{one_line(error)} (GANZOO_TRACEBACK=1 shows where)"
        if not whose and isinstance(error, OSError) and isinstance(error.filename, str | bytes):
            line = plain(f"cannot use {os.fsdecode(error.filename)}: {error.strerror}")  # The system will not look.
        code = _fail(error, line, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _listening() -> AbstractContextManager[None]:
    """Has signals end a command that does not train itself; one of several processes is ended by its launcher."""
    return nullcontext() if {*sys.argv[1:2]} & {*TRAINING} or "WORLD_SIZE" in os.environ else ending()


def _wants_json(arguments: list[str]) -> bool:
    """Whether a command is to print its result as JSON; help is printed as it is."""
    return "--json" in arguments and not {"-h", "--help"} & {*arguments}


def _refuse_nowhere() -> None:
    """Raise GanzooError where the current folder was deleted: torch would not even load."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError as error:
        raise GanzooError("the folder that you are in was deleted: go to another one (cd)") from error


def _fail(error: BaseException, line: str, code: int) -> int:
    if os.environ.get("GANZOO_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    click.echo(click.style("error:", fg="red", bold=True) + f" {line}", err=True, color=colours())
    return code
