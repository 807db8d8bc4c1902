"""The report and the demo in a real browser: no error, no request to anywhere, everything decoded and usable."""

import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import torch

from ganzoo import DataSpec
from ganzoo.demo.player import Player
from ganzoo.demo.server import serve
from ganzoo.plugins import registry
from ganzoo.report.build import build
from ganzoo.report.html import page as render
from ganzoo.runs.sampler import Sampler
from ganzoo.training.building import build as build_model
from ganzoo_test_plugins import Truncated
from test_report import EVIL, benchmark_file, run, trained  # noqa: F401

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"phone": 390, "desktop": 1280}


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; where there is none the tests are skipped, or fail under GANZOO_BROWSER=required."""
    absent = pytest.fail if os.environ.get("GANZOO_BROWSER") == "required" else pytest.skip
    try:
        from playwright import sync_api
    except ImportError:
        absent("needs the package playwright: pip install playwright")
    path = os.environ.get("GANZOO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        absent("needs a browser: apt-get install chromium, or name one by GANZOO_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open an address at a width; in the end nothing may have gone wrong, and nothing been asked of anybody else."""
    contexts, faults = [], []

    def visit(url: str, width: int, scheme: str = "light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        here = url.split("/")[2]
        page.on("request", lambda r: faults.append(r.url) if foreign(r.url, here) else None)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def foreign(url: str, here: str) -> bool:
    """Whether a request leaves the page."""
    return not url.startswith(("data:", "blob:", "file:", f"http://{here}/" if here else "file:"))


@pytest.fixture
def report(run, tmp_path) -> str:  # noqa: F811
    """The address of a report with three lines, one of them set apart, and benchmarks."""
    curve = [(10, 90), (20, 18), (30, 8)]
    folders = [run(f"a{s}", 4.0 + s / 10, seed=s, curve=curve) for s in range(2)]
    folders.append(run("b", 9.0, options={"lr": 0.1}, curve=[(12, 95), (24, 30)]))
    folders.append(run("c", options={"lr": 0.2}))
    folders.append(run("apart", 1.0, protocol={"n": 7}, preset=EVIL, settings={"seed": EVIL}))
    files = [benchmark_file(tmp_path / "bench.json", EVIL, ratio_to_tutorial_loop=2.1)]
    path = tmp_path / "report.html"
    path.write_text(render(build(folders, files), registry()), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("device", WIDTHS)
def test_the_report_opens_with_every_picture_and_nothing_beside_the_page(open_page, report, device):
    page = open_page(report, WIDTHS[device])
    for place in page.locator(".plot").all():
        place.scroll_into_view_if_needed()
        place.locator("canvas").wait_for()
    assert page.locator("img").count() == 4
    assert (
        page.evaluate("Promise.all([...document.images].map((i) => i.decode().then(() => i.naturalWidth > 0)))")
        == [True] * 4
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    assert page.locator("h1").inner_text().startswith("No line is surely best: tiny, lr 0.0002 has")
    assert page.evaluate("[...document.images].every((i) => i.alt)")


def test_a_table_sorts_by_keyboard_and_keeps_what_is_missing_last(open_page, report):
    page = open_page(report, 1280)
    table = page.locator("#table table").first
    head = table.locator("th", has_text="FID").first
    rows = table.locator("tbody th")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows.all_inner_texts() == ["tiny, lr 0.0002", "tiny, lr 0.1", "tiny, lr 0.2"]
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert rows.all_inner_texts() == ["tiny, lr 0.1", "tiny, lr 0.0002", "tiny, lr 0.2"]
    assert page.locator(".sorted").inner_text() == "Sorted by FID, descending."


def test_charts_tell_values_under_the_pointer_and_by_arrow_keys(open_page, report):
    page = open_page(report, 1280, "dark")
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    values = plot.locator(".u-value")
    plot.locator(".u-over").hover(position={"x": 5, "y": 60})
    assert "10" in values.all_inner_texts()
    assert "90" in values.all_inner_texts()
    page.mouse.move(0, 0)
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert values.first.inner_text() == "12"
    told = plot.locator("xpath=../p[@role='status']")
    assert told.inner_text() == (
        "seconds of training 12: tiny, lr 0.0002, seed 0 90; tiny, lr 0.0002, seed 1 90; tiny, lr 0.1 95"
    )
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("device", WIDTHS)
def test_the_demo_draws_what_its_controls_say(open_page, tmp_path, device):
    from playwright.sync_api import expect

    torch.manual_seed(0)
    spec = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
    server = serve(Player(Sampler(build_model(Truncated, spec, Truncated.Options()))), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        page = open_page(f"http://127.0.0.1:{server.server_port}/", WIDTHS[device])
        first = re.compile("^blob:")

        def changed(name: str, act) -> None:
            image = page.locator(f"#{name}")
            old = image.get_attribute("src")
            act()
            expect(image).not_to_have_attribute("src", old)
            expect(image).to_have_attribute("src", first)

        for name in ("grid", "walk"):
            expect(page.locator(f"#{name}")).to_have_attribute("src", first)
        page.evaluate("Promise.all([...document.images].map((i) => i.decode()))")
        changed("grid", lambda: page.get_by_text("7", exact=True).first.click())
        changed("grid", lambda: page.locator("#d0").fill("2"))
        changed("walk", lambda: page.locator("#t").fill("0.5"))
        changed("grid", lambda: page.get_by_label("truncation").fill("0.5"))
        changed("grid", lambda: page.get_by_label("order").select_option("reversed"))
        changed("grid", lambda: page.get_by_label("invert").check())
        changed("grid", lambda: page.get_by_label("gain").fill("0.5"))
        expect(page.locator(".fault")).to_be_empty()
        changed("grid", lambda: page.locator("#new").click())
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "saved.png")
        assert (tmp_path / "saved.png").read_bytes().startswith(b"\x89PNG")
        assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_scripts_of_the_page_are_the_ones_that_were_put_in(report):
    html = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    assert "script-src &#39;sha256-" in html
    assert json.loads(html.partition('id="data">')[2].partition("</script>")[0])["fid"]
