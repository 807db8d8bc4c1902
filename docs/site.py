"""What mkdocs is told beyond `mkdocs.yml`: what stands beside `docs/` is on the site too, and links fit."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGELOG.md"}
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./|(?!https?:|#|[\w-]+\.(?:md|html)|images/|gallery/|mailto:))[^)]+\)")
"""A link to a file of the project that is no page: its text stands, since the site does not hold the file."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What stands beside `docs/`, as pages of the site."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = text.replace("](docs/", "](").replace("](CONTRIBUTING.md", "](contributing.md")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page without links that lead out of the site's files, whose commands can be copied as they stand."""
    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(without_prompt(part) if part.startswith("```") else OUTSIDE.sub(r"\1", part) for part in blocks)


def without_prompt(block: str) -> str:
    """A block of commands without the prompt before each, which a shell would take for a command."""
    if not block.startswith("```console\n"):
        return block
    return re.sub(r"^\$ ", "", block.replace("```console", "```bash", 1), flags=re.MULTILINE)


def on_post_page(output: str, **_: Any) -> str:
    """A page that says what it is to those who do not see it, where the theme and Markdown leave that out."""
    output = output.replace('="search" role="dialog"', '="search" role="dialog" aria-label="Search"')
    # Parts of one list of pages are no places of their own.
    output = re.sub(r'<nav class="md-nav"( data-md-level="\d")?[^>]*>', r'<nav class="md-nav"\1 role="none">', output)
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", output)  # Markdown has no table without a row of headers.


def on_post_template(output_content: str, **_: Any) -> str:
    """The page of a wrong address, likewise."""
    return on_post_page(output_content)


def on_post_build(config: MkDocsConfig) -> None:
    """Reports of the gallery have a way back; they stand as `ganzoo compare` wrote them, which knows of no site."""
    for page in Path(config.site_dir, "gallery").glob("*.html"):
        html = page.read_text(encoding="utf-8")
        page.write_text(html.replace("<h1>", '<p><a href="../gallery.html">Gallery</a></p><h1>', 1), "utf-8")
