"""The report and the demo in a real browser: no error, no request to anywhere, everything decoded and usable."""

import base64
import io
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PATIENCE
from ganzoo import Attribute, Batch, DataSpec
from ganzoo.data import Maker
from ganzoo.demo.about import About
from ganzoo.demo.player import Player
from ganzoo.demo.server import bind, serve
from ganzoo.demo.showing import Exhibit, exhibits_of, set_beside
from ganzoo.demo.translating import Translating
from ganzoo.plugins import registry
from ganzoo.report.build import build
from ganzoo.report.html import page as render
from ganzoo.runs.sampler import Sampler
from ganzoo.training.building import build as build_model
from ganzoo_test_plugins import Truncated
from test_demo_showing import made as two_runs  # noqa: F401
from test_report import EVIL, benchmark_file, run, trained  # noqa: F401
from test_site import site  # noqa: F401
from test_standing import grids
from test_translate import Classed, Translate

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
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}


def absent(reason: str) -> None:
    """Skip a test for want of something, or fail under GANZOO_BROWSER=required."""
    (pytest.fail if os.environ.get("GANZOO_BROWSER") == "required" else pytest.skip)(reason)


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; where there is none the tests are skipped, or fail under GANZOO_BROWSER=required."""
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


@pytest.fixture(scope="module")
def axe(chromium):
    """Ask axe-core what is wrong with a page: rules and places."""
    try:
        import axe_playwright_python as package
    except ImportError:
        absent("needs axe-core: pip install axe-playwright-python")
    script = Path(package.__file__).with_name("axe.min.js").read_text(encoding="utf-8")

    def ask(page) -> list[str]:
        page.evaluate(script)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]

    return ask


@pytest.fixture
def open_page(chromium):
    """Open an address at a width; in the end nothing may have gone wrong, and nothing been asked of anybody else."""
    contexts, faults = [], []

    def visit(url: str, width: int, scheme: str = "light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(1000 * PATIENCE)
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
    """The address of a report with a dozen lines, one of them set apart, and benchmarks."""
    curve = [(10, 90), (20, 18), (30, 8)]
    folders = [run(f"a{s}", 4.0 + s / 10, seed=s, curve=curve) for s in range(2)]
    folders.append(run("b", 9.0, options={"lr": 0.1}, curve=[(12, 95), (24, 30)]))
    folders.append(run("c", options={"lr": 0.2}))
    folders += [run(f"d{i}", 20.0 + i, options={"lr": 0.3 + i / 10}, curve=curve) for i in range(8)]
    folders.append(run("apart", 1.0, protocol={"n": 7}, preset=EVIL, settings={"seed": EVIL}))
    for folder, grey in zip(folders[1:3], (40, 200), strict=True):
        grids(folder, [10, 20, 30], grey)
    grids(folders[0], [10, 20, 30])
    files = [benchmark_file(tmp_path / "bench.json", EVIL, ratio_to_tutorial_loop=2.1)]
    path = tmp_path / "report.html"
    path.write_text(render(build(folders, files), registry()), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("device", WIDTHS)
def test_the_report_opens_with_every_picture_and_nothing_beside_the_page(open_page, report, device):
    page = open_page(report, WIDTHS[device])
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    for place in page.locator(".plot").all():
        place.scroll_into_view_if_needed()
        assert place.locator("svg").locator("visible=true").count() == 1
    assert page.locator("img").count() == 12 + 2  # Samples of every line, and grids of two as they grew.
    decoded = "Promise.all([...document.images].map((i) => i.decode().then(() => i.naturalWidth > 0)))"
    assert page.evaluate(decoded) == [True] * 14
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    assert page.locator("h1").inner_text().startswith("None is surely best: tiny, lr 0.0002 has")
    assert page.evaluate("[...document.images].every((i) => i.alt)")


@pytest.mark.parametrize(
    ("device", "scheme"), [("phone", "light"), ("tablet", "dark"), ("desktop", "light"), ("desktop", "dark")]
)
def test_the_report_breaks_no_rule_of_axe(open_page, report, axe, device, scheme):
    page = open_page(report, WIDTHS[device], scheme)
    assert axe(page) == []
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    # Fades behind wide tables hide the contrast of what stands in them from axe.
    page.add_style_tag(content=".scroll { background: none !important; }")
    assert axe(page) == []
    page.emulate_media(media="print")
    assert axe(page) == []


def test_a_table_sorts_by_keyboard_and_keeps_what_is_missing_last(open_page, report):
    page = open_page(report, 1280)
    table = page.locator("#table table").first
    head = table.locator("th", has_text="FID").first
    rows = table.locator("tbody th")
    ranked = ["tiny, lr 0.0002", "tiny, lr 0.1", *(f"tiny, lr {0.3 + i / 10}" for i in range(8))]
    assert rows.all_inner_texts() == [*ranked, "tiny, lr 0.2"]
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows.all_inner_texts() == [*ranked, "tiny, lr 0.2"]
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert rows.all_inner_texts() == [*ranked[::-1], "tiny, lr 0.2"]
    assert page.locator(".sorted").inner_text() == "Sorted by FID, descending."


def spot(page, figure, line: int, index: int) -> tuple[float, float]:
    """Where on the screen a measured point of a curve that bears its mark at all of them is."""
    marks = figure.locator(f'.drawing:visible .curve[data-line="{line}"]:not(.thin)').first.locator("use")
    box = marks.nth(index).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_charts_tell_measured_values_alone_under_the_pointer(open_page, report):
    page = open_page(report, 1280)
    figure = page.locator("figure.chart").first
    figure.scroll_into_view_if_needed()
    reading = figure.locator(".reading")
    assert reading.get_attribute("role") == "status"
    page.mouse.move(*spot(page, figure, 1, 0))
    assert reading.inner_text() == "tiny, lr 0.1: FID 95 at 12 seconds of training"
    assert figure.locator(".ring").count() == 1
    (x0, y0), (x1, y1) = spot(page, figure, 1, 0), spot(page, figure, 1, 1)
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)  # Between the two, where nothing was measured.
    between = reading.inner_text()
    assert between == "" or re.search("at (10|20|30) seconds of training", between)
    page.mouse.move(x1 + 3, y1)  # Beyond the end, but near enough to mean it.
    assert reading.inner_text() == "tiny, lr 0.1: FID 30 at 24 seconds of training"
    page.mouse.move(x1 + 60, y1 - 60)
    assert reading.inner_text() == ""
    assert figure.locator(".ring").count() == 0


def test_charts_are_read_by_arrow_keys_and_end_where_a_curve_ends(open_page, report):
    page = open_page(report, 1280, "dark")
    figure = page.locator("figure.chart").first
    plot, reading = figure.locator(".plot"), figure.locator(".reading")
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert reading.inner_text() == "tiny, lr 0.0002, seed 0: FID 90 at 10 seconds of training"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert reading.inner_text() == (
        "tiny, lr 0.0002, mean of 2 seeds: FID 8 at 30 seconds of training, seeds from 8 to 8"
    )
    page.keyboard.press("ArrowDown")  # The next curve has no point there: its nearest is read.
    assert reading.inner_text() == "tiny, lr 0.1: FID 30 at 24 seconds of training"
    page.keyboard.press("ArrowRight")
    assert reading.inner_text() == "tiny, lr 0.1: FID 30 at 24 seconds of training"
    figure.get_by_label("linear").check()
    assert figure.locator(".log").is_hidden()
    assert figure.locator(".linear svg").is_visible()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_legend_hides_curves_by_keyboard(open_page, report):
    page = open_page(report, 1280)
    figure = page.locator("figure.chart").first
    button = figure.locator(".legend").get_by_role("button", name="tiny, lr 0.0002")
    curves = figure.locator('.drawing:visible .curve[data-line="0"]')
    shown = curves.count()
    assert shown == 4  # Two seeds, their mean, and the name at its end.
    assert button.get_attribute("aria-pressed") == "true"
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert figure.locator('.drawing .curve[data-line="0"]').locator("visible=true").count() == 0
    figure.locator(".plot").focus()
    page.keyboard.press("ArrowRight")
    assert figure.locator(".reading").inner_text().startswith("tiny, lr 0.1: ")
    button.focus()
    page.keyboard.press("Space")
    assert figure.locator('.drawing:visible .curve[data-line="0"]').locator("visible=true").count() == shown


def test_commands_are_copied(open_page, report):
    page = open_page(report, 1280)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block = page.locator(".command").first
    block.scroll_into_view_if_needed()
    block.get_by_role("button").click()
    block.get_by_role("button", name="Copied").or_(block.locator("text=Copied")).first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").inner_text()
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.locator(".command").count() == page.locator(".command .copy").count() > 12


def test_a_table_wider_than_the_screen_says_so(open_page, report):
    page = open_page(report, WIDTHS["tablet"])
    hint = page.locator("#table .hint").first
    assert hint.inner_text().startswith("More columns to the right")
    page.set_viewport_size({"width": 3000, "height": 900})
    page.locator("#table .hint").first.wait_for(state="detached")


def test_the_contents_stay_in_sight_and_say_where_one_is(open_page, report):
    page = open_page(report, 1280)
    page.locator(".contents a", has_text="While training").click()
    page.locator('.contents a[aria-current="true"]', has_text="While training").wait_for()
    assert page.evaluate("document.querySelector('.contents').getBoundingClientRect().top") == 0
    top = page.evaluate("document.querySelector('#curves h2').getBoundingClientRect().top")
    bottom = page.evaluate("document.querySelector('.contents').getBoundingClientRect().bottom")
    assert bottom <= top < 200


def test_all_models_are_shown_at_one_step(open_page, report):
    page = open_page(report, 1280)
    page.locator("#step").focus()
    images = page.locator(".growth img")
    last = [image.get_attribute("src") for image in images.all()]
    assert len(set(last)) == 2
    page.keyboard.press("ArrowLeft")
    assert page.locator(".growth output").inner_text() == "20"
    assert page.locator("#step").get_attribute("aria-valuetext") == "step 20"
    assert [image.get_attribute("alt") for image in images.all()] == [
        "samples of tiny, lr 0.0002 at step 20", "samples of tiny, lr 0.1 at step 20",
    ]  # fmt: skip


def test_of_many_curves_those_without_a_name_at_their_end_have_it_while_pointed_at(open_page, run, tmp_path):  # noqa: F811
    folders = [run(f"a{i}", 4.0 + i, options={"lr": 0.1 + i}, curve=[(10, 90), (20, 8)]) for i in range(13)]
    grids(folders[0], [2, 10, 20])
    grids(folders[1], [2])
    path = tmp_path / "report.html"
    path.write_text(render(build(folders), registry()), encoding="utf-8")
    page = open_page(path.as_uri(), 1280)
    chart = page.locator("figure.chart").first
    last = chart.locator('.log .extra[data-line="12"]')
    assert (chart.locator(".log .extra").count(), last.is_visible()) == (3, False)
    chart.locator(".legend button").last.hover()
    last.wait_for(state="visible")
    # The slider opens where both have a grid, and says which run was over.
    assert page.locator(".growth output").inner_text() == "2"
    page.locator("#step").focus()
    page.keyboard.press("End")
    assert page.locator(".growth .missing").nth(1).inner_text() == "tiny, lr 1.1 ended at step 2"


def test_without_javascript_everything_but_the_scrubber_is_there(chromium, report):
    context = chromium.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(report)
        assert page.locator(".noscript").is_visible()
        assert page.locator(".plot svg:visible").count() >= 3
        assert page.locator(".growth").is_hidden()
        figure = page.locator("figure.chart").first
        figure.get_by_label("linear").check()
        assert figure.locator(".linear svg").is_visible()
    finally:
        context.close()


def test_no_heading_is_orphaned_in_print(open_page, report):
    page = open_page(report, 794)
    page.emulate_media(media="print")
    for heading in page.locator("h2, h3").all():
        told = heading.evaluate("(h) => [getComputedStyle(h).breakAfter, getComputedStyle(h).breakInside]")
        assert told == ["avoid", "avoid"]
    assert page.locator(".contents").is_hidden()
    assert page.locator(".copy").first.is_hidden()
    assert page.pdf(format="A4").startswith(b"%PDF")


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

        for name in ("grid", "walk", "mix"):
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
        page.evaluate("fault('No picture: why.')")
        expect(page.locator(".fault")).to_be_in_viewport()
        changed("grid", lambda: page.locator("#new").click())
        expect(page.locator(".fault")).to_be_empty()
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "saved.png")
        assert (tmp_path / "saved.png").read_bytes().startswith(b"\x89PNG")
        page.wait_for_function("[...document.images].every((i) => i.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(player, host="127.0.0.1"):
    """The address of a demo, of one run or of a list of two."""
    server = bind(0, host)
    server.show(*(player if isinstance(player, list) else [player]))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("kind", ["player", "translating"])
def test_a_page_for_others_draws_by_the_token_in_its_address_and_after_a_reload_too(open_page, kind):
    from playwright.sync_api import expect

    torch.manual_seed(0)
    spec = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
    pairs = DataSpec("pairs", (1, 8, 8), 10, tuple("abc"), source_shape=(1, 8, 8))
    held = Batch(torch.zeros(3, 1, 8, 8), torch.tensor([2, 0, 1]), source=torch.zeros(3, 1, 8, 8))
    made = {
        "player": lambda: Player(Sampler(build_model(Truncated, spec, Truncated.Options()))),
        "translating": lambda: Translating(Sampler(Classed(pairs, Classed.Options())), held=held),
    }[kind]()
    with serving(made, "0.0.0.0") as url:
        assert "?token=" in url
        page = open_page(url, 1280)
        for _ in range(2):
            expect(page.locator("#grid" if kind == "player" else "#after")).to_have_attribute(
                "src", re.compile("^blob:")
            )
            settled(page)
            expect(page.locator(".fault")).to_be_empty()
            page.wait_for_function("[...document.images].every((i) => !i.getAttribute('src') || i.naturalWidth > 0)")
            page.reload()
        settled(page)
        assert page.url == url


def test_a_picture_among_several_is_enlarged_by_a_click_or_a_key_and_saved_at_four_times(open_page, axe, tmp_path):
    from playwright.sync_api import expect

    torch.manual_seed(0)
    spec = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
    player = Player(Sampler(build_model(Truncated, spec, Truncated.Options())))
    with serving(player) as url:
        page = open_page(url, 390)
        expect(page.locator("#tiles button")).to_have_count(16)
        page.get_by_label("pictures", exact=True).select_option("4")
        expect(page.locator("#tiles button")).to_have_count(4)
        settled(page)
        sheet = np.asarray(Image.open(io.BytesIO(player.draw(0, 4, 2))))

        def saved(button: str) -> np.ndarray:
            with page.expect_download() as download:
                page.locator(button).click()
            download.value.save_as(tmp_path / "saved.png")
            return np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"))

        assert np.array_equal(saved("#save4"), sheet.repeat(4, 0).repeat(4, 1))
        page.get_by_label("Enlarge picture 2").click()
        expect(page.locator("#which")).to_have_text("Picture 2 of seed 0")
        assert np.array_equal(saved("#saveone"), sheet[2:10, 12:20].repeat(4, 0).repeat(4, 1))
        assert axe(page) == []
        page.keyboard.press("Escape")
        expect(page.locator("#large")).not_to_be_visible()
        page.get_by_label("Enlarge picture 1").focus()
        for key in ("ArrowDown", "Enter"):
            page.keyboard.press(key)
        expect(page.locator("#which")).to_have_text("Picture 3 of seed 0")
        page.locator("#close").click()
        expect(page.locator("#large")).not_to_be_visible()
        page.reload()
        expect(page.locator("#tiles button")).to_have_count(4)
        page.evaluate("facts.largest = 22 * 22 * 16 - 1")  # Of the two saving buttons, that of what would be too large.
        page.locator("#new").click()
        expect(page.locator("#save4")).not_to_be_visible()
        expect(page.locator("#save")).to_be_visible()


def settled(page):
    """Wait until nothing is drawn any more."""
    page.locator("main[aria-busy=false]").wait_for()


def test_what_is_chosen_stands_in_the_address_so_that_reloading_and_sharing_keep_it(open_page):
    from playwright.sync_api import expect

    torch.manual_seed(0)
    spec = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"), (Attribute("slant", -1, 1),))
    player = Player(Sampler(build_model(Truncated, spec, Truncated.Options())), about=About("runs/mine", 2000, 4.25))
    with serving(player) as url:
        page = open_page(url, 1280)
        expect(page.locator("#grid")).to_have_attribute("src", re.compile("^blob:"))
        expect(page.locator("#run")).to_have_text("runs/mine")
        expect(page.locator("header")).to_contain_text("at step 2,000")
        expect(page.locator("#fid")).to_contain_text("FID 4.25")
        settled(page)
        assert page.url == url
        page.get_by_text("7", exact=True).first.click()
        page.get_by_label("seed").fill("5")
        page.get_by_label("slant").fill("0.5")
        page.locator("#d1").fill("2")
        page.get_by_label("order").select_option("reversed")
        page.get_by_label("invert").check()
        page.locator("#to").select_option("9")
        page.locator("#t").fill("0.25")
        chosen = {"label": "7", "seed": "5", "attribute.slant": "0.5", "d1": "2", "option.order": '"reversed"',
                  "option.invert": "1", "to": "9", "t": "0.25"}  # fmt: skip
        expect(page).to_have_url(re.compile("t=0.25"))
        assert dict(parse_qsl(urlsplit(page.url).fragment)) == chosen
        settled(page)

        def pictures(page) -> list[str]:
            read = """(id) => {
                const image = document.getElementById(id), canvas = document.createElement("canvas");
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                canvas.getContext("2d").drawImage(image, 0, 0);
                return canvas.toDataURL();
            }"""
            return [page.evaluate(read, name) for name in ("grid", "walk")]

        def asked_last(page) -> list[str]:
            return [page.locator(f"#{name}").input_value() for name in ("seed", "d1", "to", "t")]

        before = pictures(page)
        page.reload()
        other = open_page(page.url, 390)
        for again in (page, other):
            expect(again.locator("#walk")).to_have_attribute("src", re.compile("^blob:"))
            settled(again)
            assert asked_last(again) == ["5", "2", "9", "0.25"]
            assert pictures(again) == before
        page.evaluate("location.hash = '#seed=6&label=77&option.order=nonsense&d1=nothing&to=99'")
        expect(page.get_by_label("seed")).to_have_value("6")
        settled(page)
        expect(page.locator(".fault")).to_be_empty()
        assert page.get_by_label("order").input_value() == '"as-drawn"'
        assert page.locator("[name=label]:checked").input_value() == "0"
        assert pictures(page) != before


def seen(page, name: str) -> np.ndarray:
    """The pixels of a picture, or canvas, as the page holds it: (H, W, 3)."""
    read = """(id) => {
        const from = document.getElementById(id), canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [from.naturalWidth ?? from.width, from.naturalHeight ?? from.height];
        canvas.getContext("2d").drawImage(from, 0, 0);
        return canvas.toDataURL();
    }"""
    data = base64.b64decode(page.evaluate(read, name).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def drawn(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_two_pictures_are_chosen_and_mixed_and_the_walk_is_saved_as_a_gif(open_page, axe, tmp_path, device):
    from playwright.sync_api import expect

    torch.manual_seed(0)
    spec = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
    player = Player(Sampler(build_model(Truncated, spec, Truncated.Options())))
    with serving(player) as url:
        page = open_page(url, WIDTHS[device])
        expect(page.locator("#mix")).to_have_attribute("src", re.compile("^blob:"))
        settled(page)
        sheet = drawn(player.draw(0, 16, 4))
        assert np.array_equal(seen(page, "firstone"), sheet[2:10, 2:10])
        assert np.array_equal(seen(page, "secondone"), sheet[2:10, 12:20])
        assert np.array_equal(seen(page, "mix"), drawn(player.mix(0, 16, 0, 1, 0.5)))
        page.get_by_label("Enlarge picture 7").click()
        page.locator("#takesecond").click()
        expect(page.locator("#large")).not_to_be_visible()
        expect(page.get_by_label("Enlarge picture 7, B of the mix")).to_have_attribute("data-mixed", "B")
        page.get_by_label("from A to B").fill("0.25")
        expect(page).to_have_url(re.compile("second=7&m=0.25$"))
        settled(page)
        page.reload()  # What is chosen stands in the address.
        expect(page.locator("#mix")).to_have_attribute("src", re.compile("^blob:"))
        settled(page)
        assert page.locator("#second").input_value() == "7"
        assert np.array_equal(seen(page, "mix"), drawn(player.mix(0, 16, 0, 6, 0.25)))
        expect(page.get_by_role("img", name="Pictures 1 and 7 mixed, 25 per cent of the way")).to_be_visible()
        with page.expect_download() as download:
            page.locator("#savemix").click()
        assert download.value.suggested_filename == "seed-0-mix-1-7.png"
        page.locator("#first").fill("7")  # The same twice counts as a neighbour.
        settled(page)
        assert np.array_equal(seen(page, "mix"), drawn(player.mix(0, 16, 6, 5, 0.25)))
        expect(page.locator(".fault")).to_be_empty()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download GIF").click()
        download.value.save_as(tmp_path / "walk.gif")
        assert (tmp_path / "walk.gif").read_bytes() == player.film(0, 8, 60, label=3, to=8, shifts=[0.0] * 6, scale=4)
        expect(page.get_by_role("button", name="Download GIF")).to_be_enabled()
        settled(page)
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
        page.get_by_label("pictures", exact=True).select_option("1")
        settled(page)
        expect(page.locator("#mixing")).not_to_be_visible()
        expect(page.locator(".fault")).to_be_empty()


def test_a_direction_keeps_its_name_in_the_browser_and_in_the_address(open_page):
    from playwright.sync_api import expect

    torch.manual_seed(0)
    spec = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"))
    player = Player(Sampler(build_model(Truncated, spec, Truncated.Options())), about=About("runs/mine", 2000))
    with serving(player) as url:
        page = open_page(url, 1280)
        page.get_by_label("name of direction 2").fill("how bold <b>")
        expect(page.get_by_role("slider", name="how bold <b>", exact=True)).to_have_attribute("id", "d1")
        expect(page).to_have_url(re.compile("#n1=how"))
        shared = page.url
        page.evaluate("history.replaceState(null, '', '/')")
        page.reload()  # Nothing in the address: this browser knows it.
        expect(page.get_by_label("name of direction 2")).to_have_value("how bold <b>")
        page.evaluate("location.hash = '#seed=5'")  # Another address says nothing of names.
        expect(page.get_by_label("name of direction 2")).to_have_value("how bold <b>")
        page.get_by_label("name of direction 2").fill("")
        expect(page.get_by_role("slider", name="direction 2", exact=True)).to_be_visible()
        other = open_page(shared, 390)  # Another browser has it from the address.
        expect(other.get_by_label("name of direction 2")).to_have_value("how bold <b>")
        settled(page)
        settled(other)


def test_a_checkpoint_is_chosen_with_a_slider_and_stands_in_the_address(open_page, axe, two_runs):  # noqa: F811
    from playwright.sync_api import expect

    exhibits = exhibits_of([two_runs / "mine"], "cpu", registry(), {})
    early = exhibits_of([two_runs / "mine"], "cpu", registry(), {}, "40")[0].playing()
    with serving(exhibits[0]) as url:
        page = open_page(url, 390)
        slider = page.get_by_label("weights of")
        expect(slider).to_have_attribute("aria-valuetext", "step 60, the last")
        settled(page)
        slider.focus()
        page.keyboard.press("ArrowLeft")
        expect(slider).to_have_attribute("aria-valuetext", "step 40, the best (FID 5.25)")
        expect(page).to_have_url(re.compile("#checkpoint=40$"))
        expect(page.locator("header")).to_contain_text("at step 40, the best (FID 5.25); trained on")
        expect(page.locator("#fid")).not_to_be_visible()
        settled(page)
        assert np.array_equal(seen(page, "grid"), drawn(early.draw(0, 16, 4)))
        page.reload()
        settled(page)
        expect(slider).to_have_value("0")
        expect(page.locator("#walk")).to_have_attribute("src", re.compile("^blob:"))
        settled(page)
        assert np.array_equal(seen(page, "grid"), drawn(early.draw(0, 16, 4)))
        assert axe(page) == []


@pytest.mark.parametrize(("device", "scheme"), [("phone", "dark"), ("desktop", "light")])
def test_two_runs_are_shown_beside_each_other_and_move_together(open_page, axe, two_runs, device, scheme):  # noqa: F811
    from playwright.sync_api import expect

    runs = [two_runs / "mine", two_runs / "plain"]
    alone = [exhibits_of([folder], "cpu", registry(), {})[0].playing() for folder in runs]
    with serving(exhibits_of(runs, "cpu", registry(), {})) as url:
        page = open_page(url, WIDTHS[device], scheme)
        page.locator("#seed").fill("5")
        page.get_by_text("7", exact=True).first.click()
        page.locator("#d0").fill("2")
        expect(page).to_have_url(re.compile("d0=2"))
        settled(page)
        shifts = [2.0, *[0.0] * 5]
        for suffix, player in zip(("", "1"), alone, strict=True):
            assert np.array_equal(seen(page, f"grid{suffix}"), drawn(player.draw(5, 16, 4, label=7, shifts=shifts)))
            mixed = drawn(player.mix(5, 16, 0, 1, 0.5, label=7, shifts=shifts))
            assert np.array_equal(seen(page, f"mix{suffix}"), mixed)
            walked = drawn(player.draw(5, 8, 8, label=3, to=8, t=0, shifts=shifts))
            assert np.array_equal(seen(page, f"walk{suffix}"), walked)
        expect(page.locator(".fault")).to_be_empty()
        assert axe(page) == []
        left, right = (page.locator(f"#grid{s}").bounding_box() for s in ("", "1"))
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] < right["x"]
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
        page.get_by_role("group", name="Enlarge a picture of plain").get_by_label("Enlarge picture 3").click()
        expect(page.locator("#which")).to_have_text("Picture 3 of seed 5, plain")
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download GIF").last.click()
        assert download.value.suggested_filename == "walk-plain.gif"  # Not that of the other one.


@pytest.mark.parametrize(("device", "scheme"), [("phone", "light"), ("desktop", "dark")])
def test_two_translators_are_shown_the_same_picture_under_one_slider(open_page, axe, device, scheme):
    from playwright.sync_api import expect

    spec = DataSpec("pairs", (1, 8, 8), 10, tuple("abc"), source_shape=(1, 8, 8))
    images = torch.linspace(-1, 1, 3 * 64).view(3, 1, 8, 8)
    held = Batch(images, torch.tensor([2, 0, 1]), source=-images)
    both = [Exhibit(Translating(Sampler(model(spec, model.Options())), held=held, about=About(f"runs/{model.name}")))
            for model in (Classed, Translate)]  # fmt: skip
    set_beside(*both)
    with serving(both) as url:
        page = open_page(url, WIDTHS[device], scheme)
        settled(page)
        page.get_by_role("radio", name="held-out picture 1").focus()
        page.keyboard.press("ArrowRight")
        expect(page).to_have_url(re.compile("of=1"))
        settled(page)
        assert np.array_equal(seen(page, "before"), seen(page, "before1"))
        for suffix, exhibit in zip(("", "1"), both, strict=True):
            made = exhibit.playing().picture("made", of=1, label=0)[0]
            assert np.array_equal(seen(page, f"after{suffix}"), drawn(made))
        page.locator("#wipe1").focus()
        page.keyboard.press("Home")
        for name in ("before", "before1"):
            clip = page.locator(f"#{name}").evaluate("(i) => getComputedStyle(i).clipPath")
            assert clip == "inset(0px 100% 0px 0px)"
        expect(page.locator(".fault")).to_be_empty()
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]


@pytest.mark.parametrize("device", WIDTHS)
def test_a_translator_shows_before_and_after_of_held_out_and_dropped_pictures(open_page, tmp_path, device):
    from playwright.sync_api import expect

    spec = DataSpec("pairs", (1, 8, 8), 10, tuple("abc"), source_shape=(1, 8, 8))
    images = torch.linspace(-1, 1, 3 * 64).view(3, 1, 8, 8)
    held = Batch(images, torch.tensor([2, 0, 1]), source=-images)
    with serving(Translating(Sampler(Classed(spec, Classed.Options())), held=held)) as url:
        page = open_page(url, WIDTHS[device])
        after, blob = page.locator("#after"), re.compile("^blob:")

        def changed(act, image="after") -> None:
            old = page.locator(f"#{image}").get_attribute("src")
            act()
            expect(page.locator(f"#{image}")).not_to_have_attribute("src", old)

        expect(page.locator("#target")).to_have_attribute("src", blob)
        assert page.locator("[name=label]:checked").input_value() == "2"  # That of the picture.
        # The slider, by keyboard and by touch or mouse.
        wipe = page.get_by_role("slider", name="how much of the picture shows before")
        wipe.focus()
        page.keyboard.press("ArrowRight")
        assert wipe.get_attribute("aria-valuetext") == "51 per cent before"
        page.keyboard.press("Home")
        assert page.locator("#before").evaluate("(i) => getComputedStyle(i).clipPath") == "inset(0px 100% 0px 0px)"
        box = page.locator("#compare").bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        assert 70 <= int(wipe.input_value()) <= 80
        # Held-out pictures are radio buttons, each with a name.
        page.get_by_role("radio", name="held-out picture 1, c").focus()
        changed(lambda: page.keyboard.press("ArrowRight"))
        assert page.locator("[name=label]:checked").input_value() == "0"
        changed(lambda: page.get_by_text("b", exact=True).first.click())
        expect(page).to_have_url(re.compile("of=1&label=1$"))
        page.reload()
        expect(after).to_have_attribute("src", blob)
        assert [page.locator(f"[name={n}]:checked").input_value() for n in ("of", "label")] == ["1", "1"]
        # One's own: chosen, then dropped.
        Image.new("RGB", (24, 16), "red").save(tmp_path / "red.png")
        settled(page)
        changed(lambda: page.get_by_label("picture file").set_input_files(tmp_path / "red.png"))
        expect(page.locator("#size")).to_have_text("24 × 16 to 24 × 16")
        expect(page.locator("#notes")).to_have_text(
            "Note: colour pictures are taken as grey, which the model was trained on."
        )
        expect(page.locator("#targetbox")).to_be_hidden()
        dropping = """(base64) => {
            const data = new DataTransfer(), bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
            data.items.add(new File([bytes], "grey.png"));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
        buffer = io.BytesIO()
        Image.new("L", (9, 10), 77).save(buffer, "PNG")
        changed(lambda: page.evaluate(dropping, base64.b64encode(buffer.getvalue()).decode()))
        expect(page.locator("#size")).to_have_text("9 × 10 to 9 × 10")
        expect(page.locator("#notes")).to_be_empty()
        with page.expect_download() as download:
            page.locator("#save").click()
        with Image.open(download.value.path()) as made:
            assert made.size == (9, 10)
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
        changed(lambda: page.get_by_role("radio", name="held-out picture 3, b").check(force=True))
        expect(page.locator("#targetbox")).to_be_visible()
        page.wait_for_function("[...document.images].every((i) => i.alt && i.naturalWidth > 0)")


@pytest.mark.parametrize(("device", "scheme"), [("phone", "light"), ("desktop", "light"), ("desktop", "dark")])
def test_the_demo_breaks_no_rule_of_axe(open_page, axe, device, scheme):
    attributes = (Attribute("slant", -1, 1),)
    digits = DataSpec("small-digits", (1, 8, 8), 500, tuple("0123456789"), attributes)
    pairs = DataSpec("pairs", (1, 8, 8), 10, tuple("abc"), source_shape=(1, 8, 8))
    held = Batch(torch.zeros(3, 1, 8, 8), torch.tensor([2, 0, 1]), source=torch.zeros(3, 1, 8, 8))
    known = About("runs/mine", 2000, 4.25, "while it trained")
    for player in (
        Player(Sampler(build_model(Truncated, digits, Truncated.Options())), about=known),
        Translating(Sampler(Classed(pairs, Classed.Options())), None, held, Maker.named("smaller:2"), known),
    ):
        with serving(player) as url:
            page = open_page(url, WIDTHS[device], scheme)
            settled(page)
            assert axe(page) == []


def test_a_bad_picture_is_told_on_the_page_and_another_is_taken_after_it(chromium, tmp_path, monkeypatch):
    from playwright.sync_api import expect

    spec = DataSpec("pairs", (1, 8, 8), 10, source_shape=(1, 8, 8))
    monkeypatch.setattr("ganzoo.demo.translating.MOST_BYTES", 5000)
    with serving(Translating(Sampler(Translate(spec, Translate.Options())))) as url:
        page = chromium.new_page()
        statuses = []
        page.on("response", lambda answer: statuses.append(answer.status) if "made" in answer.url else None)
        page.goto(url)
        fault = page.locator(".fault")
        expect(fault).to_have_text("Choose a picture, or drop one.")
        files = {"text.png": b"none", "large.png": bytes(5001)}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        Image.new("L", (4, 4)).save(tmp_path / "small.png")
        Image.new("L", (8, 8), 9).save(tmp_path / "good.png")
        for name, told in (
            ("text.png", "No picture: image text.png is broken, or not an image: its format cannot be told"),
            ("large.png", "No picture: large.png has 5,001 bytes, and may have 5,000."),
            ("small.png", re.compile("^No picture: small.png: pictures of 4 x 4 pixels are too small")),
        ):
            page.get_by_label("picture file").set_input_files(tmp_path / name)
            expect(fault).to_have_text(told)
        page.get_by_label("picture file").set_input_files(tmp_path / "good.png")
        expect(page.locator("#size")).to_have_text("8 × 8 to 8 × 8")
        expect(fault).to_be_empty()
        assert statuses == [200]
        page.close()


def test_the_scripts_of_the_page_are_the_ones_that_were_put_in(report):
    html = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    assert "script-src &#39;sha256-" in html
    assert json.loads(html.partition('id="data">')[2].partition("</script>")[0])["charts"]["fid"]


# The site


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(site):  # noqa: F811
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("index", 1280, "light"), ("few-images", 390, "dark"), ("models", 1280, "dark"), ("404", 390, "light")],
)
def test_the_site_breaks_no_rule_of_axe(open_page, address, axe, name, width, scheme):
    page = open_page(f"{address}/{name}.html", width, scheme)
    from playwright.sync_api import expect

    if name == "few-images":  # The button that copies a command is made when it comes into sight.
        expect(page.locator(".md-code__nav[role=none]").first).to_be_attached()
    assert axe(page) == []


def test_pages_of_the_site_open_from_disk_without_a_search_that_never_comes(open_page, site):  # noqa: F811
    page = open_page((site / "index.html").as_uri(), 1280)
    assert page.locator(".md-search").count() == 0
    assert page.locator(".md-tabs__link").count() > 0
