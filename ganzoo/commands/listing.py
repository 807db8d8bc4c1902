"""`ganzoo list`."""

from pathlib import Path
from typing import Any

import click

from ganzoo.commands.options import Explained, Place, echo_json, json_option
from ganzoo.errors import UsageError, harmless, plain
from ganzoo.marks import LONGEST
from ganzoo.terminal import argument, beside, table, width

KINDS = ("models", "datasets", "metrics", "features", "augmentations", "regularisers", "loggers", "plugins")
RUNS = "runs"
COLUMNS = ("run", "model", "data", "status", "step", "best FID", "last FID")


@click.command(name="list", cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", type=click.Choice((*KINDS, RUNS)), required=False, metavar="[KIND]")
@click.argument("folder", type=Place(), required=False)
@click.option("--tag", "tags", multiple=True, help="Those of the runs that have this tag; may be given again.")
@json_option
def command(kind: str | None, folder: Path | None, tags: tuple[str, ...], as_json: bool) -> None:
    """List what is installed: models, data sets, metrics and the like, or the plugins that bring them. Or your runs.

    Runs are those in FOLDER and below, runs/ unless you name another: how each stands, the best FID that was found,
    while it trained (--eval-every) or after (`ganzoo eval`), and the last.

    KIND is one of models, datasets, metrics, features, augmentations, regularisers, loggers, plugins and runs.

    \b
    ganzoo list models
    ganzoo list plugins --json
    ganzoo list runs
    ganzoo list runs experiments/ --tag thesis
    """
    if kind == RUNS:
        if folder is not None and folder.parts[:1] == ("hf:",):
            raise UsageError("a run on the hub is not listed: `ganzoo info hf://owner/name` tells how it stands")
        _runs(folder or Path(RUNS), set(tags), as_json)
        return
    if tags:
        raise UsageError("--tag is for `ganzoo list runs`: leave it out")
    if folder is not None:
        raise UsageError(f"a folder is for `ganzoo list runs`: leave out {folder}")
    from ganzoo.plugins import registry

    plugins = registry()
    if kind != "plugins":
        plugins.check()
    kinds = [kind] if kind else list(KINDS)
    tables = {k: _plugins(plugins) if k == "plugins" else _items(plugins, k) for k in kinds}
    if as_json:
        echo_json(tables[kind] if kind else tables)
        return
    for name, rows in tables.items():
        if len(tables) > 1:
            click.secho(f"{name}", bold=True)
        _print(rows)
    for conflict in plugins.conflicts:
        click.echo(f"conflict: {conflict}", err=True)


def _items(plugins: Any, kind: str) -> list[dict[str, Any]]:
    rows = []
    for name in plugins.names(kind):
        cls, plugin = plugins.get(kind, name), plugins.provider(kind, name)
        row = {"name": name, "about": cls.paper if kind == "models" else cls.summary}
        if kind == "models":
            row |= {"conditional": bool(cls.conditional), "presets": sorted(cls.presets)}
        if kind == "metrics":
            row |= {"default": cls.default}
        rows.append({**row, "package": plugin.package, "version": plugin.version})
    return rows


def _plugins(plugins: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": p.name,
            "status": "broken" if p.broken else "ok",
            "about": p.broken or ", ".join(f"{kind}: {', '.join(names)}" for kind, names in p.registered.items()),
            "package": p.package,
            "version": p.version,
            "module": p.module,
        }
        for p in plugins.plugins
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo("  (none)")
        return
    longest, room = max(len(row["name"]) for row in rows), width()
    for row in rows:
        status = f"{row['status']:7}" if "status" in row else ""
        source = f"[{row['package']}\N{NO-BREAK SPACE}{row['version']}]"
        text = beside(f"  {row['name']:{longest}}  {status}", f"{row['about']}  {source}", room)
        text = text.replace("\N{NO-BREAK SPACE}", " ")
        click.echo(text.replace(row["name"], click.style(row["name"], fg="cyan"), 1))


def _runs(folder: Path, tags: set[str], as_json: bool) -> None:
    from ganzoo.runs.listed import listed, runs_in

    found = [run for run in map(listed, runs_in(folder)) if tags <= set(run.tags)]
    if as_json:
        echo_json([run._asdict() | {"path": str(run.path)} for run in found])
        return
    if not found:
        which = "".join(f" --tag {argument(tag)}" for tag in sorted(tags))
        click.echo(
            f"no runs in {harmless(str(folder))}{which and ' with' + which}: `ganzoo run MODEL{which}` makes one"
        )
        return
    rows: list[tuple[str, ...]] = []
    for run in found:
        left = f", {_clock(run.left)} left" if run.left is not None else ""
        scores = ("-" if score is None else f"{score:.2f}" for score in (run.best_fid, run.last_fid))
        of = f" of {run.steps:,}" if run.steps and run.step < run.steps else ""
        told = (_cell(run.model), _cell(run.data), _cell(run.status) + left, f"{run.step:,}{of}", *scores)
        rows.append((harmless(str(run.path)), *told))
    marked = {
        "name": [run.name or "-" for run in found],
        "tags": [",".join(run.tags) or "-" for run in found],
    }
    more = {title: cells for title, cells in marked.items() if set(cells) != {"-"}}  # Where no run has one, no column.
    rows = [(*row, *cells) for row, *cells in zip(rows, *more.values(), strict=True)]
    lines = table((*COLUMNS, *more), rows, width())
    for number, line in enumerate(lines):
        click.secho(line, bold=not number and len(lines) > len(rows))


def _cell(text: str) -> str:
    """What a run says of itself, of which a stranger's may be as long as it likes, as a table shows it."""
    text = plain(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
