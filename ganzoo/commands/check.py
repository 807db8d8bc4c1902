"""`ganzoo check MODEL`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from ganzoo.commands.options import Explained, echo_json, json_option
from ganzoo.errors import GanzooError, UsageError
from ganzoo.plugins import NOUNS

MARKS = {"passed": "ok", "broken": "BROKEN", "skipped": "-"}


@click.command(name="check", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--preset", help="Check the model as this preset makes it, instead of its defaults.")
@json_option
def command(model: str, preset: str | None, as_json: bool) -> None:
    """Check that MODEL keeps the rules of the contract, on made-up images; exit code 1 when it breaks one.

    Each rule is named, with the reason and the fix where it is broken. Plugins do the same in their own tests with
    `ganzoo.testing.check_gan`. An augmentation or a regulariser is checked too, within a small model; in tests, by
    `ganzoo.testing.check_ingredient`.

    \b
    ganzoo check cgan
    ganzoo check cgan --preset paper --json
    ganzoo check diffaugment
    """
    from ganzoo.plugins import registry
    from ganzoo.settings import resolve
    from ganzoo.testing import examine, examine_ingredient

    plugins = registry().check()
    kinds = [kind for kind in ("augmentations", "regularisers") if model in plugins.names(kind)]
    kind = kinds[0] if kinds and model not in plugins.names("models") else "models"
    cls = plugins.get(kind, model)
    if kind != "models" and preset is not None:
        raise UsageError(f"--preset {preset}: {NOUNS[kind]} '{model}' has no presets")
    with _shown(model, silent=as_json) as told:
        if kind == "models":
            options = resolve(cls, {}, preset).options.model_dump(exclude_defaults=True, exclude={"batch_size"})
            verdicts = examine(cls, options=options, told=told)
        else:
            verdicts = examine_ingredient(cls, told=told)
    broken = [v.rule for v in verdicts if v.status == "broken"]
    if as_json:
        echo_json({"model": model, "preset": preset, "passed": not broken, "rules": [v._asdict() for v in verdicts]})
    else:
        click.secho(f"{model}{f' --preset {preset}' if preset else ''}", bold=True)
        width = max(len(v.rule) for v in verdicts)
        for v in verdicts:
            click.echo(f"  {MARKS[v.status]:6}  {v.rule:{width}}  {v.says}")
            if v.reason:
                click.echo(f"{'':{width + 12}}{'why: ' if v.status == 'broken' else ''}{v.reason}")
            if v.fix:
                click.echo(f"{'':{width + 12}}fix: {v.fix}")
    if broken:
        raise GanzooError(f"{NOUNS[kind]} '{model}' breaks {len(broken)} of {len(verdicts)} rules: {', '.join(broken)}")


@contextmanager
def _shown(model: str, silent: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar that says which rule is looked at, gone at the end; on a terminal alone."""
    from tqdm import tqdm

    seen = sys.stdout.isatty() and sys.stderr.isatty() and not silent
    shape = "{desc}: {percentage:3.0f}%|{bar}| {postfix}"
    with tqdm(total=1.0, desc=model, bar_format=shape, leave=False, disable=not seen, dynamic_ncols=True) as bar:

        def told(what: str, share: float) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(share - bar.n)
            bar.refresh()

        yield told
