"""Charts that stand in the page: what is drawn where, and whether eyes of all kinds can tell it apart."""

import itertools
import math
import re
from importlib.resources import files

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ganzoo.plugins import registry
from ganzoo.report.build import build
from ganzoo.report.charts import chart, curve, fid_charts, loss_charts
from ganzoo.report.html import dots, page
from ganzoo.report.svg import COLOURS, DASHES, FIRST, MARKS, Axis, draw, drawings, marks, style, swatch, tick_text
from test_report import run, small, trained  # noqa: F401
from vision import SEEN, contrast, difference

CSS = files("ganzoo.report").joinpath("templates/page.css").read_text()


def palettes() -> dict[str, dict[str, str]]:
    """The page's colours by name, on light, on dark and on paper."""
    blocks = [block for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL) if "--c0" in block]
    found = [dict(re.findall(r"--(\w+):(#[0-9a-f]+)", block)) for block in blocks]
    assert len(found) == 3
    return dict(zip(("light", "dark", "paper"), found, strict=True))


def whole(colour: str) -> str:
    """`#fff` as `#ffffff`."""
    return colour if len(colour) == 7 else "#" + "".join(c * 2 for c in colour[1:])


# Colours


@pytest.mark.parametrize("scheme", ["light", "dark", "paper"])
@pytest.mark.parametrize("eyes", SEEN)
def test_any_two_colours_of_curves_are_told_apart_by_eyes_of_every_kind(scheme, eyes):
    colours = [palettes()[scheme][f"c{i}"] for i in range(COLOURS)]
    nearest = min(difference(a, b, eyes) for a, b in itertools.combinations(colours, 2))
    assert nearest >= 10


@pytest.mark.parametrize("scheme", ["light", "dark", "paper"])
def test_curves_stand_out_from_the_page_and_text_more_so(scheme):
    colours = {name: whole(colour) for name, colour in palettes()[scheme].items()}
    assert min(contrast(colours[f"c{i}"], colours["back"]) for i in range(COLOURS)) >= 3
    for text, behind in [("ink", "back"), ("soft", "back"), ("soft", "card"), ("ink", "card"), ("accent", "back"),
                         ("good", "back"), ("good", "goodback"), ("warn", "warnback"), ("warn", "back")]:  # fmt: skip
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)


def test_the_difference_of_colours_is_that_of_its_authors():
    # Pairs of Sharma, Wu and Dalal (2005) cannot be given as sRGB: black, white and a grey can, by L* alone.
    assert difference("#000000", "#ffffff", "all cones") == pytest.approx(100, abs=0.01)
    assert difference("#777777", "#777777", "protanopia") == 0
    # Red and green of one lightness are far apart, and nearly one without the cones for long waves.
    assert difference("#b05a00", "#6d7a00", "all cones") > 3 * difference("#b05a00", "#6d7a00", "protanopia")


def test_curves_are_told_apart_by_colour_dash_and_mark_together():
    count = COLOURS * len(DASHES) * len(MARKS)
    assert len({style(number) for number in range(count)}) == count
    assert len({style(number)[0] for number in range(COLOURS)}) == COLOURS
    first = [style(number) for number in range(11)]
    assert len({(dash, mark) for _, dash, mark in first}) == 11  # Without any colour, too.


# Axes


@settings(derandomize=True, deadline=None, database=None)
@example([1.000000000000001, 1.0], True, 6)
@given(
    st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=5),
    st.booleans(),
    st.integers(3, 9),
)
def test_an_axis_holds_all_its_values_and_has_ticks_within(values, log, most):
    axis = Axis(values, 10.0, 110.0, log)
    assert all(9.99 <= axis(value) <= 110.01 for value in values)
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 2
    assert all(9.9 <= axis(tick) <= 110.1 for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_a_logarithmic_axis_has_labels_at_round_numbers():
    assert Axis([0.6, 90.0], 0, 1, True).ticks(7) == [1, 2, 5, 10, 20, 50]
    assert Axis([3.0, 4.0], 0, 1, True).ticks(7) == pytest.approx([3, 3.2, 3.4, 3.6, 3.8, 4])
    assert Axis([1.0, 1e9], 0, 1, True).ticks(7) == [1, 1e2, 1e4, 1e6, 1e8]


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (2000, "2000"), (15_000, "15k"), (2e6, "2M"), (3e9, "3G"), (0, "0")]
)
def test_ticks_are_written_short(value, text):
    assert tick_text(value) == text


# Drawings


def places(svg: str, mark: str = "circle") -> list[tuple[float, float]]:
    """Where marks of a kind stand."""
    found = re.findall(rf'<use href="#m-{mark}" x="([\d.-]+)" y="([\d.-]+)"/>', svg)
    return [(float(x), float(y)) for x, y in found]


def test_a_curve_ends_where_its_last_point_was_measured():
    long = curve("long", ([1.0, 2.0, 3.0], [9.0, 3.0, 1.0]), 0)
    short = curve("short", ([1.0, 2.0], [8.0, 4.0]), 1)
    svg = draw(chart("FID", "seconds", "FID", [long, short], y_log=True), log=True)
    lines = re.findall(r'<path class="line" d="M([^"]+)"', svg)
    xs = [[float(point.split()[0]) for point in line.split("L")] for line in lines]
    assert [len(line) for line in xs] == [3, 2]
    assert xs[1][-1] == xs[0][1] < xs[0][2]
    assert len(places(svg, "circle")) == 3 + 1  # And one beside the name.
    assert len(places(svg, "square")) == 2 + 1
    assert "long</text>" in svg
    assert "short</text>" in svg


def test_a_long_curve_is_marked_at_some_of_its_points_and_at_the_last():
    xs = [float(i) for i in range(150)]
    svg = draw(chart("loss", "step", "loss", [curve("D", (xs, xs), 0)]), log=False)
    (line,) = re.findall(r'<path class="line" d="M([^"]+)"', svg)
    points = {tuple(map(float, point.split())) for point in line.split("L")}
    *along, _beside_the_name = places(svg)
    assert 5 <= len(along) <= 10
    assert set(along) <= points
    assert along[-1] == max(points)


def test_names_at_the_ends_do_not_lie_on_one_another():
    series = [curve(f"line {i}", ([1.0, 2.0], [5.0, 1 + i / 1000]), i) for i in range(60)]
    svg = draw(chart("FID", "seconds", "FID", series), log=False)
    shown = re.findall(
        r'<g class="curve c\d( extra)?"[^>]*><path [^>]*/><use [^>]*/><text class="name" x="[\d.]+" y="([\d.]+)"', svg
    )
    heights = sorted(float(y) for extra, y in shown if not extra)
    assert (len(heights), len(shown)) == (FIRST, 60)  # The others show while they are picked in the legend.
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 12


def test_a_name_has_the_line_and_the_mark_of_its_curve_and_keeps_its_end():
    names = [f"stylegan2, augment ada, lr {i}e-4" for i in range(10)]
    series = [curve(name, ([1.0, 2.0], [5.0, 1 + i]), i) for i, name in enumerate(names)]
    svg = draw(chart("FID", "seconds", "FID", series), log=False)
    shown = re.findall(
        r'<g class="curve (c\d)[^>]*><path class="line sign" d="[^"]*"([^/]*)/><use href="([^"]+)"[^>]*/>'
        r'<text class="name"[^>]*>([^<]*)<', svg
    )  # fmt: skip
    assert [name for *_, name in sorted(shown, key=lambda one: one[3][-4:])] == [
        f"stylegan2…lr {i}e-4" for i in range(10)
    ]
    assert len({tuple(sign) for *sign, _ in shown}) == 10
    assert {"", ' stroke-dasharray="7 4"'} <= {dashes for _, dashes, *_ in shown}


def test_what_cannot_stand_on_a_logarithmic_scale_is_left_out_and_linear_shows_it():
    one = curve("perfect", ([1.0, 2.0, 3.0], [4.0, 2.0, 0.0]), 0)
    (log, first), (linear, second) = drawings(chart("FID", "seconds", "FID", [one], y_log=True))
    assert (log, linear) == ("log", "linear")
    assert (len(places(first)), len(places(second))) == (2 + 1, 3 + 1)


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-300, 1e100, -3.0])
def test_a_single_point_of_any_size_is_drawn(value):
    item = chart("x", "step", "loss", [curve("a", ([0.0], [value]), 0)], y_log=True)
    for _, svg in drawings(item):
        assert "nan" not in svg
        assert "inf" not in svg


def test_names_in_drawings_are_text():
    svg = draw(chart("x", "<i>", "<b>", [curve("</text><script>", ([0.0], [1.0]), 0)]), log=False)
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "<i>" not in svg
    assert "<script" not in swatch(3) + marks()


# Of runs


def test_several_seeds_have_a_band_and_a_mean_at_the_steps_that_all_were_measured_at(run):  # noqa: F811
    folders = [run("a", 4.0, curve=[(10, 90), (20, 30), (30, 10)]), run("b", 4.0, seed=1, curve=[(12, 70), (24, 40)])]
    seconds, _images = fid_charts(build(folders).groups[0])
    *seeds, mean = seconds["series"]
    assert [s["points"] for s in seeds] == [[[10, 20, 30], [90, 30, 10]], [[12, 24], [70, 40]]]
    assert not any(s["named"] or s["marked"] for s in seeds)
    assert mean["points"] == [[11, 22], [80, 35]]
    assert mean["band"] == [[11, 22], [70, 30], [90, 40]]
    assert (mean["name"], mean["label"]) == ("tiny, mean of 2 seeds", "tiny")
    assert {s["line"] for s in seconds["series"]} == {0}
    assert 'class="band"' in draw(seconds, log=True)


def test_every_line_has_a_panel_of_losses_in_its_own_scale(run):  # noqa: F811
    folders = [run("a", 4.0, curve=[(1, 9), (2, 8)]), run("b", 5.0, options={"lr": 0.5}, curve=[(1, 9), (2, 8)])]
    report = build(folders)
    panels = loss_charts(report)
    assert [p["title"] for p in panels] == ["tiny, lr 0.0002, seed 0", "tiny, lr 0.5, seed 0"]
    html = page(report, registry())
    folded = html.partition('<details class="losses">')[2]
    assert folded.startswith("<summary>Losses, 2 panels</summary>")
    assert html.count('data-chart="loss"') == folded.count('data-chart="loss"') == 2


def test_the_page_draws_its_charts_without_a_script(run):  # noqa: F811
    html = page(build([run("a", 4.0, curve=[(1, 9), (2, 8)])]), registry())
    body = re.sub("<script.*?</script>", "", html, flags=re.DOTALL)
    assert body.count('<svg class="drawing"') == 2 * 2 + 1  # FID twice on two scales, losses once.
    assert 'aria-label="FID against seconds of training: FID of tiny, seed 0' not in body
    assert "FID of tiny, from 9.0 to 8.0. Arrow keys read what was measured." in body


def test_every_seed_is_a_dot_and_the_interval_a_bar(run):  # noqa: F811
    folders = [run(f"a{s}", 4.0 + s, seed=s) for s in range(3)] + [run("b", 50.0, options={"lr": 0.5})]
    small(folders[-1] / "eval.json", intervals={"fid": [45.0, 56.0]})
    strip = dots(build(folders).groups[0])
    first, second = strip["rows"]
    assert (len(first["dots"]), len(second["dots"])) == (3, 1)
    assert strip["log"]
    assert first["told"] == "tiny, lr 0.0002: FID 4.00, 5.00, 6.00; interval 2.52 to 7.48"
    assert second["told"] == "tiny, lr 0.5: FID 50.00; interval 45.00 to 56.00"
    start, width = second["bar"]
    assert start < second["dots"][0] < start + width
    # On one scale: a factor is a distance.
    across = (second["dots"][0] - first["dots"][0]) / math.log(50 / 4)
    assert first["dots"][1] - first["dots"][0] == pytest.approx(across * math.log(5 / 4), abs=0.02)
    assert dots(build([run("c")]).groups[0]) is None
