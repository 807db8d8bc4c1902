"""The documentation as a site: built strictly, every page on it, nothing fetched from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_on_the_site_and_in_its_contents(site):
    contents = (site / "index.html").read_text()
    for page in [*(ROOT / "docs").glob("*.md"), Path("contributing.md"), Path("changes.md")]:
        assert (site / f"{page.stem}.html").is_file()
        assert f'href="{page.stem}.html"' in contents


def test_reports_of_the_gallery_have_a_way_back(site):
    reports = list((site / "gallery").glob("*.html"))
    assert len(reports) == len(list((ROOT / "docs" / "gallery").glob("*.html"))) > 0
    for page in reports:
        assert '<a href="../gallery.html">Gallery</a>' in page.read_text(encoding="utf-8"), page.name


def test_commands_can_be_copied_without_the_prompt(site):
    assert any(block.strip().startswith("ganzoo run cgan --max-time 2m") for block in commands(site / "index.html"))
    assert not [block for page in site.glob("*.html") for block in commands(page) if "$ ganzoo" in block]


def commands(page: Path) -> list[str]:
    """The code blocks of a page, as one copies them."""
    blocks = re.findall(r"<pre><span></span><code>(.*?)</code></pre>", page.read_text(), re.DOTALL)
    return [re.sub("<[^>]+>", "", block) for block in blocks]


def test_questions_are_answered_in_words_that_people_search_for(site):
    text = re.sub("<[^>]+>", " ", (site / "faq.html").read_text()).lower()
    for word in ("out of memory", "nan", "fine-tune", "colourisation", "inpainting", "super-resolution", "windows",
                 "macos", "docker", "colab", "mode collapse", "gpu", "good fid"):  # fmt: skip
        assert word in text, word


def test_pages_fetch_nothing_from_elsewhere(site):
    for page in site.glob("*.html"):
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"(https?:[^\"]+)", page.read_text())
        fetched += re.findall(
            r"<link[^>]*rel=\"(?:stylesheet|preload|icon)\"[^>]*href=\"(https?:[^\"]+)", page.read_text()
        )
        assert not fetched, f"{page.name} fetches {fetched}"


def test_the_reference_has_what_docstrings_say(site):
    text = (site / "api.html").read_text()
    assert "ganzoo.gan.GAN" in text
    assert "The update rule of a player" in text
