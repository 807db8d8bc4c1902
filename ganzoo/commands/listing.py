"""`ganzoo list`."""

from typing import Any

import click

from ganzoo.commands.options import echo_json, json_option

KINDS = ("models", "datasets", "metrics", "features", "augmentations", "regularisers", "loggers", "plugins")


@click.command(name="list", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", type=click.Choice(KINDS), required=False)
@json_option
def command(kind: str | None, as_json: bool) -> None:
    """List what is installed: models, data sets, metrics and the like, or the plugins that bring them.

    \b
    ganzoo list models
    ganzoo list plugins --json
    """
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
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        status = f"{row['status']:7}" if "status" in row else ""
        click.echo(f"  {row['name']:{width}}  {status}{row['about']}  [{row['package']} {row['version']}]")
