"""A page of held-out emoji with the tags that a trained model gives them, beside those of the nearest picture:
`python -m ganzoo_plugins.emoji.page RUN -o tags.html`."""

import base64
import html
import io
import json
from pathlib import Path
from typing import NamedTuple

import click
import ganzoo_plugins.emoji as emoji
import torch
from PIL import Image
from torch import Tensor

import ganzoo
from ganzoo.data import DataRequest, open_dataset
from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import write_text
from ganzoo.metrics.tags import SAMPLES, Pictures, pictures_of, retrieved, tags_of

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .4rem .8rem; text-align: left; border-bottom: 1px solid #8884 }
img { width: 64px; height: 64px; image-rendering: pixelated } mark { background: #9d96; color: inherit }
@media (max-width: 600px) {
  table, tbody, tr, td { display: block } tr:first-child { display: none }
  tr { border-bottom: 1px solid #8884; padding: .6rem 0 } td { border: 0; padding: .15rem 0 }
  td:not(:first-child)::before { font-size: .85em; opacity: .75 }
  td:nth-child(2)::before { content: "the model's: " } td:nth-child(3)::before { content: "the nearest pictures': " }
  td:nth-child(4)::before { content: "its own: " }
}
"""


class Row(NamedTuple):
    """A picture on the page."""

    picture: emoji.Tagged
    own: list[str]
    """Its keywords that have a vector."""
    given: list[str]
    """The model's tags, the surest first."""
    retrieved: list[str]
    """Those of the nearest training pictures."""


def rows(sampler: ganzoo.Sampler, count: int, seed: int = 0) -> list[Row]:
    """`count` held-out emoji of Noto, evenly spread over the classes' order, and their tags.

    Raises:
        UsageError: the model was not trained on `emoji-tags`, or without the condition.
    """
    if sampler.data.name != emoji.EmojiTags.name or not sampler.gan.conditional:
        raise UsageError("this page is of models that were trained on emoji-tags, with the pictures as their condition")
    words, vectors, features = emoji.tags()
    known: Pictures = pictures_of(open_dataset(emoji.EmojiTags(), DataRequest("train")))
    pictures = emoji.tagged(("noto",), "test")
    chosen = [pictures[i * (len(pictures) - 1) // max(count - 1, 1)] for i in range(min(count, len(pictures)))]

    def named(places: Tensor) -> list[str]:
        return [words[i] for i in places.tolist()]

    conditions = torch.stack([features[picture.style][picture.emoji.place] for picture in chosen])
    found = []
    for picture, condition, nearest in zip(chosen, conditions, retrieved(conditions, known), strict=True):
        samples = sampler.sample(SAMPLES, conditions=condition[None], seed=seed)
        own = [word for word in picture.keywords if word in words]
        found.append(Row(picture, own, named(tags_of(samples, vectors)), named(nearest)))
    return found


def about(run: Path, model: str) -> str:
    """Which model gave the tags, and how good they are, where `ganzoo eval --metrics tags` has measured it."""
    told = f"{model}, run {run}"
    try:
        numbers = json.loads((run / "eval.json").read_text())["metrics"]
        mine, theirs = numbers["tags_at_1"], numbers["tags_retrieved_at_1"]
        return (
            f"{told}: the first tag is right for {mine:.0%} of the held-out emoji (a search for the nearest picture: "
            f"{theirs:.0%})."
        ).replace("%", " %")
    except (OSError, ValueError, KeyError, TypeError):
        return f"{told}."


def page(found: list[Row], subtitle: str = "") -> str:
    """The page, complete in itself: right tags are marked."""
    lines = []
    for row in found:
        image = emoji.pictures(row.picture.style, [row.picture.emoji])[0].permute(1, 2, 0).numpy()
        data = io.BytesIO()
        Image.fromarray(image).save(data, format="PNG")
        source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        name = html.escape(row.picture.emoji.name.replace("_", " "))
        cells = [", ".join(_marked(word, row.own) for word in words) for words in (row.given, row.retrieved)]
        cells.append(html.escape(", ".join(row.own)))
        columns = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr><td><img src="{source}" alt="{name}"></td>{columns}</tr>')
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Held-out emoji and their tags</title>\n<style>{STYLE}</style>\n"
        "<h1>Held-out emoji and their tags</h1>\n"
        f"<p>{html.escape(subtitle)}</p>\n"
        + "<p>The surest tag comes first; tags that are the emoji's own keywords are marked.</p>\n<table>\n"
        "<tr><th>emoji</th><th>the model's tags</th><th>tags of the nearest training pictures</th>"
        "<th>its own keywords</th></tr>\n" + "\n".join(lines) + "\n</table>\n</html>\n"
    )


def _marked(word: str, own: list[str]) -> str:
    return f"<mark>{html.escape(word)}</mark>" if word in own else html.escape(word)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-n", "count", type=click.IntRange(1, 184), default=40, show_default=True, help="How many emoji.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the samples.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("tags.html"), show_default=True,
    help="The page to write.",
)  # fmt: skip
def main(run: Path, count: int, seed: int, out: Path) -> None:
    """Write a page of held-out emoji with the tags that the model of RUN gives them."""
    try:
        with torch.no_grad():
            sampler = ganzoo.load(run)
            text = page(rows(sampler, count, seed), about(run, sampler.gan.name))
        write_text(out, text)
    except GanzooError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror or error}") from None
    click.echo(out)


if __name__ == "__main__":
    main()
