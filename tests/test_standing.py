"""Who stands where in a report, how sure that is, and in which words it says so."""

import csv
import json
import os
import re
import shlex
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganzoo.plugins import registry
from ganzoo.report.build import build
from ganzoo.report.html import page
from ganzoo.report.lines import MEASURES, MORE
from ganzoo.report.markdown import markdown
from ganzoo.report.pictures import FRAMES, growth
from ganzoo.report.show import behind, how_sure, show
from ganzoo.report.table import table
from ganzoo.runs.lock import Lock
from test_report import run, small, trained  # noqa: F401


@pytest.fixture
def one(run):  # noqa: F811
    """A run of one seed with a FID and what other images of it would show."""

    def make(name, fid, low, high, seed=0, **options) -> Path:
        folder = run(name, fid, seed=seed, options=options)
        small(folder / "eval.json", intervals={"fid": [low, high]})
        return folder

    return make


def rows(html: str) -> list[list[str]]:
    """The cells of the first sortable table, as text."""
    body = html.partition('<table class="sortable">')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in body.split("</tr>")]
    return [[unescape(re.sub("<[^>]+>", " ", cell)).strip() for cell in row] for row in cells if row]


# Order


def test_lines_stand_in_the_order_of_their_fid_with_how_far_behind_each_is(run):  # noqa: F811
    runs = [run("far", 39.5, options={"lr": 0.3}), run("none", options={"lr": 0.4})]
    runs += [run(f"b{s}", 8.0 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    runs += [run(f"a{s}", 4.0 + s / 10, seed=s) for s in range(3)]
    report = build(runs)
    assert [(line.rank, line.options["lr"]) for line in report.lines] == [
        (1, 0.0002), (2, 0.1), (3, 0.3), (None, 0.4),
    ]  # fmt: skip
    assert [behind(line) for line in report.lines] == ["–", "+4.00 (2.0 times)", "+35.40 (9.6 times)", "–"]
    assert [how_sure(line) for line in report.lines] == ["", "3.77 to 4.23, sure", "too few seeds to tell", ""]
    shown = [(row[0], row[1], row[4]) for row in rows(page(report, registry()))]
    assert [shown[0][0], shown[0][2]] == ["1", "first"]
    assert shown[1] == ("2", "tiny, lr 0.1", "+4.00 (2.0 times) 3.77 to 4.23, sure")
    assert shown[3][0] == shown[3][2] == "–"
    head, _, *lines = markdown(report).partition("|  |")[2].splitlines()
    assert head.startswith(" model | seeds | behind the first | FID ↓ |")
    assert lines[1].startswith("| 2 | tiny, lr 0.1 | 3 | +4.00 (2.0 times) | 8.10 ± 0.10 |")
    told = report.to_json()["groups"][0]["lines"][1]
    assert (told["rank"], told["behind"]["sure"], told["behind_by_images"]) == (2, True, None)


# One seed


def test_with_one_seed_a_wide_lead_is_told_with_the_command_that_makes_it_certain(one):
    report = build([one("b", 60.8, 59.0, 62.5, lr=0.1), one("a", 0.65, 0.6, 0.7)])
    command = shlex.join(["ganzoo", "compare", *(str(line.runs[0].folder) for line in report.lines), "--seeds", "0-2"])
    assert report.verdict[0] == (
        "tiny, lr 0.0002 is far ahead: FID 0.65 (0.60 to 0.70), against 60.80 (59.00 to 62.50) for tiny, lr 0.1, the "
        f"next best of 2 (one seed; for certainty: `{command}`)."
    )
    assert "How far another seed would move these numbers is not known, so nothing is marked best." in report.verdict[1]
    assert report.best is None
    assert how_sure(report.lines[1]) == "far behind (one seed)"
    html = page(report, registry())
    assert "<h1>tiny, lr 0.0002 is far ahead: " in html
    assert f'<code class="said">{command}</code>' in html
    assert "0.60 to 0.70" in rows(html)[0][3]


@pytest.mark.parametrize(
    ("ends", "word"), [((4.1, 6.0), "is ahead"), ((8.2, 9.0), "is far ahead"), ((3.9, 6.0), "None is ahead")]
)
def test_a_lead_by_the_images_is_far_at_twice_and_none_where_the_intervals_meet(one, ends, word):
    report = build([one("a", 3.8, 3.5, 4.0), one("b", sum(ends) / 2, *ends, lr=0.1)])
    assert word in report.verdict[0]
    assert ("The intervals meet" in report.verdict[1]) == (word == "None is ahead")


def test_commands_take_a_folder_whose_name_begins_with_a_dash_for_no_option(one, run, ganzoo):  # noqa: F811
    one("-a", 3.8, 3.5, 4.0)
    one("b", 9.0, 8.5, 9.5, lr=0.1)
    small(Path("-a/eval.json"), seed=0)
    report = build([Path("-a"), Path("b")])
    assert "`ganzoo compare ./-a b --seeds 0-2`" in report.verdict[0]
    assert report.lines[0].runs[0].measuring.startswith("ganzoo eval ./-a-again --split test ")
    run("-c")
    assert build([Path("-c")]).verdict[1] == "`ganzoo compare ./-c --eval` measures them."
    small(Path("-c/run.json"), imported={"file": "-x.pkl"})
    assert build([Path("-c")]).lines[0].runs[0].command == "ganzoo import ./-x.pkl --out -c-again"


def test_what_cannot_be_repeated_has_no_command_for_certainty(one):
    folders = [one("a", 3.8, 3.5, 4.0), one("b", 9.0, 8.5, 9.5, lr=0.1)]
    small(folders[1] / "run.json", imported={"file": "x.pkl"})
    assert "(one seed)." in build(folders).verdict[0]


def test_intervals_that_are_none_are_not_believed(one):
    for ends in ([9, 1], [1], [1, "x"], [1, 1e200], 5, {"a": 1}):
        folder = one(f"x{ends}".replace("/", ""), 4.0, 1.0, 2.0)
        small(folder / "eval.json", intervals={"fid": ends})
        assert build([folder]).lines[0].values["fid"].low is None


# Few seeds, and several models


def test_a_second_seed_of_each_does_not_turn_a_lead_into_a_tie(one):
    runs = [one("a0", 5.0, 4.8, 5.2), one("a1", 5.5, 5.3, 5.7, seed=1)]
    runs += [one("b0", 60.0, 58.0, 62.0, lr=0.1), one("b1", 90.0, 88.0, 92.0, seed=1, lr=0.1)]
    report = build(runs)
    assert report.verdict[0].startswith(
        "tiny, lr 0.0002 is far ahead: FID 5.25 ± 0.35 (2 seeds; 4.80 to 5.70), against 75.00 ± 21.21 (2 seeds; 58.00 "
        "to 92.00) for tiny, lr 0.1, the next best of 2 (too few seeds; for certainty: `ganzoo compare "
    )
    assert report.verdict[1].endswith(
        "By its seeds alone the lead of 69.75 (95 % interval -120.62 to 260.12) is not sure, so nothing is marked best."
    )
    assert (report.best, how_sure(report.lines[1])) == (None, "far behind (too few seeds)")


def test_one_that_the_images_tell_from_those_who_share_first_place_is_behind(one):
    runs = [one(f"a{s}", 4.0 + s, 3.9 + s, 4.1 + s, seed=s) for s in range(3)]
    runs += [one(f"b{s}", 4.5 + s, 4.4 + s, 4.6 + s, seed=s, lr=0.1) for s in range(3)]
    first, _, last = build([*runs, one("c", 9.0, 8.5, 9.5, lr=0.2)]).verdict
    assert first.startswith("tiny, lr 0.0002 and tiny, lr 0.1 share first place")
    assert last == "tiny, lr 0.2 is behind by the images that were drawn, with too few seeds to be sure."


def test_none_is_surely_ahead_where_a_third_is_level_or_nothing_is_known_of_its_images(one, run):  # noqa: F811
    two = [one("a", 5.0, 4.8, 5.2), one("b", 6.0, 5.8, 6.2, lr=0.1)]
    level = [one(f"c{s}", fid, fid - 0.2, fid + 0.2, seed=s, lr=0.2) for s, fid in enumerate((4.0, 7.0, 8.0))]
    for third in (level, [run("d", 6.1, options={"lr": 0.2})]):
        first, why = build([*two, *third]).verdict
        assert first.startswith(
            "None is surely ahead: tiny, lr 0.0002 has the lowest FID, 5.00 (4.80 to 5.20), against "
        )
        assert f"{shlex.join(map(str, [*two, third[0]]))} --seeds 0-2`" in first
        assert ", but whether there is one over tiny, lr 0.2 cannot be told." in why


def test_a_model_is_far_ahead_where_it_is_so_of_all(one):
    runs = [one("a", 5.0, 4.8, 5.2), one("b", 60.0, 58.0, 62.0, lr=0.1)]
    assert build(runs).verdict[0].startswith("tiny, lr 0.0002 is far ahead: ")
    assert build([*runs, one("c", 70.0, 9.0, 130.0, lr=0.2)]).verdict[0].startswith("tiny, lr 0.0002 is ahead: ")


def test_a_sure_lead_over_one_and_a_lead_by_the_images_over_another_are_told_as_what_they_are(one, run):  # noqa: F811
    runs = [one(f"a{s}", 5.0 + s / 10, 4.9, 5.3, seed=s) for s in range(3)]
    runs += [run(f"b{s}", 7.0 + s / 10, seed=s, options={"lr": 0.1}) for s in range(3)]
    report = build([*runs, one("c", 50.0, 49.0, 51.0, lr=0.2)])
    assert report.verdict[0].startswith("tiny, lr 0.0002 is ahead: FID 5.10 ± 0.10 (3 seeds), against 7.10 ± 0.10")
    assert "explains. tiny, lr 0.2 is behind by the images that were drawn, with too few seeds" in report.verdict[1]
    assert report.best is None


def test_a_model_of_which_seeds_failed_is_not_ahead_by_the_one_that_did_not(one, run):  # noqa: F811
    runs = [one("a", 5.0, 4.8, 5.2), *(run(f"a{s}", seed=s) for s in (1, 2))]
    report = build([*runs, one("b", 20.0, 19.0, 21.0, lr=0.1)])
    assert report.verdict[0].startswith(
        "None is surely best: tiny, lr 0.0002 has the lowest FID, 5.00 (1 of 3 seeds), "
    )
    assert (
        "tiny, lr 0.0002 has a FID on 1 of 3 seeds only, and what the others would show is unknown"
        in (report.verdict[1])
    )
    turned = build([one("c", 2.0, 1.9, 2.1, lr=0.3), *runs])
    assert "against 5.00 (1 of 3 seeds; 4.80 to 5.20) for tiny, lr 0.0002" in turned.verdict[0]


def test_equal_fids_are_no_lead_whatever_is_known_of_them(one):
    runs = [one("a", 5.0, 4.8, 5.2), one("b", 5.0, 4.8, 5.2, lr=0.1)]
    same = "None is best: tiny, lr 0.0002 and tiny, lr 0.1 have the same FID, "
    assert build(runs).verdict == [f"{same}5.00 (1 seed)."]
    runs += [one("a1", 4.0, 3.8, 4.2, seed=1), one("a2", 6.0, 5.8, 6.2, seed=2)]
    assert build(runs).verdict == [f"{same}5.00."]


def test_what_lies_close_together_is_told_with_as_many_digits_as_show_it(one):
    near = build([one("a", 5.001, 4.5, 5.002), one("b", 5.003, 5.0021, 5.6, lr=0.1)])
    assert "FID 5.0010 (4.5000 to 5.0020), against 5.0030 (5.0021 to 5.6000)" in near.verdict[0]
    small = build([one("c", 0.001, 0.0009, 0.0011), one("d", 0.003, 0.0029, 0.0031, lr=0.1)])
    assert "FID 0.001 (0.0009 to 0.0011), against 0.003 (0.0029 to 0.0031)" in small.verdict[0]
    assert behind(small.lines[1]) == "+0.002 (3.0 times)"


def test_fids_below_nought_are_far_ahead_of_nothing(one):
    report = build([one("a", -0.5, -1.0, -0.2), one("b", -0.1, -0.1, 0.0, lr=0.1)])
    assert report.verdict[0].startswith("tiny, lr 0.0002 is ahead: FID -0.50 ")


def test_a_line_of_three_seeds_is_not_said_to_have_one(one):
    runs = [one("a", 3.0, 2.9, 3.1), *(one(f"b{s}", 15.0 + s, 14.0, 18.0, seed=s, lr=0.1) for s in range(3))]
    assert how_sure(build(runs).lines[1]) == "far behind (too few seeds)"


@pytest.mark.parametrize(("seed", "seeds"), [(5, "5-7"), (2**31 - 1, "2147483645-2147483647")])
def test_the_seeds_for_certainty_are_seeds_that_a_run_may_have(one, seed, seeds):
    runs = [one("a", 5.0, 4.8, 5.2, seed=seed), one("b", 6.0, 5.8, 6.2, seed=seed, lr=0.1)]
    assert f" --seeds {seeds}`)." in build(runs).verdict[0]


def test_where_three_seeds_are_too_few_six_are_for_certainty(one):
    runs = [one(f"a{s}", 5.0 + s / 10, 4.9, 5.3, seed=s) for s in range(3)]
    runs += [one(f"b{s}", fid, fid - 1, fid + 1, seed=s, lr=0.1) for s, fid in enumerate((9, 60, 900))]
    assert " --seeds 0-5`)." in build(runs).verdict[0]


# Times


def test_a_time_is_at_most_where_the_first_evaluation_found_it_already(run):  # noqa: F811
    folders = [run("a", 4.0, curve=[(86, 0.4), (172, 0.3)]), run("b", 9.0, options={"lr": 0.1}, curve=[(86, 60.0)])]
    report = build(folders)
    group = report.groups[0]
    assert group.thresholds == [0.5, 1, 2]
    measure = next(m for m in group.measures if m.key == "seconds_to_fid_0.5")
    value = group.lines[0].values["seconds_to_fid_0.5"]
    assert (show(measure, value), value.at_most) == ("at most 86 s", True)
    assert "at most 86 s" in page(report, registry())
    assert "| at most 86 s |" in markdown(report)
    assert report.to_json()["groups"][0]["lines"][0]["values"]["seconds_to_fid_0.5"]["at_most"] is True


def test_what_may_be_less_keeps_another_from_being_best(run):  # noqa: F811
    folders = [run(f"a{s}", 4.0, seed=s, curve=[(20 + s, 90), (40 + s, 8)]) for s in range(3)]
    folders += [
        run(f"b{s}", 4.0, seed=s, options={"lr": 0.1}, curve=[(90 + s, 8), (95, 7)]) for s in range(3)
    ]  # fmt: skip
    first, second = build(folders).groups[0].lines
    assert (first.values["seconds_to_fid_10"].mean, second.values["seconds_to_fid_10"].mean) == (41, 91)
    assert not any(line.values["seconds_to_fid_10"].best for line in (first, second))


# Together and apart


def sized(side: int, resize: str) -> dict[str, object]:
    """A protocol of images of a size that the extractor sees at 28 x 28."""
    return {"shape": [1, side, side], "resize": resize, "reference_sha256": f"{side:02d}" * 32}


def data(side: int) -> dict[str, object]:
    return {"name": "small-digits", "shape": [1, side, side], "count": 500, "classes": [], "attributes": []}


def test_sizes_that_the_extractor_brings_to_one_stand_together_with_a_caution(run):  # noqa: F811
    resized = "32x32 to 28x28, bilinear, antialias"
    runs = [
        run("a", 4.0, protocol=sized(28, "none"), data=data(28)),
        run("b", 6.0, protocol=sized(32, resized), data=data(32), preset="tutorial"),
    ]
    report = build(runs)
    assert len(report.groups) == 1
    (caution,) = [c for c in report.cautions if "size" in c]
    assert caution.startswith("Not all were trained at one size (tiny at 28 x 28; tiny:tutorial at 32 x 32). The extr")
    for folder in runs:
        fingerprint = {"train": folder.name, "space": "pixels in [0, 1]"}
        small(folder / "eval.json", metrics={"fid": 4.0, "nearest": 3.0, "nearest_least": 1.0, "kid": 0.1},
              settings={"fid": {}, "kid": {}, "nearest": fingerprint})  # fmt: skip
    first, second = build(runs).groups[0].lines
    assert {"fid", "kid", "nearest", "nearest_least"} <= first.values.keys()
    assert {"nearest", "nearest_least", "fid", "kid"} & second.values.keys() == {"fid", "kid"}  # Pixels of other sizes.
    other = run("c", 1.0, protocol=sized(32, "32x32 to 64x64, bilinear, antialias"), data=data(32))
    assert [len(group.runs) for group in build([*runs, other]).groups] == [2, 1]


def test_runs_on_sources_that_were_made_otherwise_stand_apart_at_any_size_also_where_older_results_do_not_tell(run):  # noqa: F811
    resized = "32x32 to 28x28, bilinear, antialias"
    runs = [
        run("a", 4.0, protocol=sized(28, "none"), data=data(28), settings={"source": "hole"}),
        run("b", 6.0, protocol=sized(32, resized), data=data(32), settings={"source": "edges"}),
    ]
    _, apart = build(runs).groups
    assert apart.apart == (
        "trained on small-digits (500 images of 1 x 32 x 32, sources: edges), not on small-digits (500 images of 1 x "
        "28 x 28, sources: hole)"
    )


def test_models_of_one_name_from_two_packages_are_two_lines_named_with_them(run):  # noqa: F811
    folders = [run("a", 4.0, plugin={"package": "acme"}), run("b", 6.0, seed=1, plugin={"package": "bolt <b>"})]
    report = build(folders)
    assert [line.name for line in report.lines] == ["tiny of acme", "tiny of bolt <b>"]
    html = page(report, registry())
    # Neither package is here: the model of that name that is here draws no pictures in their place.
    assert html.count("No picture: its model is of package") == 2
    assert "bolt <b>" not in html
    assert ">bolt &lt;b&gt;<" in html


def test_a_run_that_is_being_written_is_in_the_report_with_what_it_has_so_far(run):  # noqa: F811
    folder = run("a", curve=[(1, 90.0), (2, 40.0)])
    (folder / "status.json").unlink()
    with Lock(folder).hold():
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 20, "epo')
        report = build([folder, run("b", 60.0, options={"lr": 0.1})])
    assert report.lines[0].values["fid"].mean == 40.0
    assert f"{folder}: is being trained at this moment: these are its numbers up to step 10" in report.cautions
    assert "40.00" in page(report, registry())


# Words and tables


def test_every_number_stands_once_in_page_and_markdown_also_of_what_is_set_apart(run):  # noqa: F811
    keys = [measure.key for measure in (*MEASURES, *MORE)]
    assert len(set(keys)) == len(keys)
    runs = [run("a", 4.0), run("b", 5.0, protocol={"n": 500}), run("c", 5.0, protocol={"n": 400})]
    for folder in runs:
        small(folder / "eval.json", metrics={"fid": 4.0, "psnr": 21.5, "own_number": 0.5})
    report = build(runs)
    assert len(report.groups) == 3
    html = page(report, registry())
    regions = re.findall('role="region" aria-label="([^"]+)"', html)
    assert len(set(regions)) == len(regions)
    for text in (html, markdown(report)):
        assert [text.count(number) for number in ("PSNR", "21.50", "own number")] == [3, 3, 3]


def test_numbers_are_called_what_people_call_them(run):  # noqa: F811
    folder = run("a", 4.0)
    names = [m.key for m in (*MEASURES, *MORE)]
    small(folder / "eval.json", metrics=dict.fromkeys([*names, "own_number"], 0.5))
    report = build([folder, run("b", options={"lr": 0.1})])
    html = page(report, registry())
    shown = re.sub(r"<(style|script|dl).*?</\1>", "", html, flags=re.DOTALL)
    shown = " ".join(re.findall(r">([^<]+)<", shown))
    for key in (
        "is_std",
        "kid_std",
        "nearest_least",
        "parzen_sigma",
        "reverse_kl",
        "own_number",
        "images_per_second",
        "`",
    ):
        assert key not in shown
    for title in (
        "Inception Score, deviation",
        "KID, deviation",
        "smallest distance to a training image",
        "own number",
    ):
        assert title in shown
    assert '<code class="said">--eval</code>' in html


def test_options_that_differ_come_first_and_equal_ones_are_folded(run):  # noqa: F811
    html = page(build([run("a", 4.0), run("b", 5.0, options={"lr": 0.1})]), registry())
    section = html.partition('<section id="options">')[2].partition("</section>")[0]
    first, _, folded = section.partition("<details>")
    assert "lr" in re.findall('<th scope="col">([^<]+)</th>', first)
    assert "batch-size" not in first
    assert "<dt>batch-size</dt><dd>32</dd>" in folded
    assert re.search(r"<summary>\d+ options that are the same in every model</summary>", folded)
    assert html.index('id="table"') < html.index('id="options"') < html.index('id="samples"')


def test_the_contents_lead_to_every_part_of_the_page(run):  # noqa: F811
    html = page(build([run("a", 4.0)]), registry())
    nav = html.partition('<nav class="contents"')[2].partition("</nav>")[0]
    places = re.findall('href="#([a-z]+)"', nav)
    assert places == re.findall('<section id="([a-z]+)">', html)
    assert places == ["table", "options", "samples", "curves", "confusion", "made"]


def test_csv_has_a_row_for_each_run_with_numbers_in_full(run, one, ganzoo):  # noqa: F811
    folder = one("a", 4.123456789, 4.0, 4.5)
    other = run("b", 6.0, seed=1, options={"lr": 0.1}, preset="=1+1", protocol={"n": 7})
    result = ganzoo("compare", folder, other, "-o", "r.csv")
    assert result.code == 0, result.err
    with Path("r.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["rank"], first["seed"], first["fid"], first["option lr"]) == ("1", "0", "4.123456789", "0.0002")
    assert (first["fid_low"], first["fid_high"]) == ("4.0", "4.5")
    assert (second["group"], second["fid_low"], second["option lr"]) == ("2", "", "0.1")
    assert second["set_apart_because"].startswith("measured otherwise: n is 7 and 1000")
    assert second["preset"] == "'=1+1"  # A spreadsheet would have reckoned.


def test_csv_of_nothing_measured_is_a_table_still(run):  # noqa: F811
    (line,) = csv.DictReader(table(build([run("a")])).splitlines())
    assert (line["line"], line["rank"]) == ("tiny", "")
    assert "fid" not in line


# Grids while training


def grids(folder: Path, steps: list[int], grey: int = 9) -> None:
    (folder / "samples").mkdir()
    for step in steps:
        Image.fromarray(np.full((6, 6), grey, np.uint8)).save(folder / "samples" / f"{step:08d}.png")


def test_all_models_are_shown_at_the_steps_at_which_all_drew(run):  # noqa: F811
    a, b, c = run("a", 4.0), run("b", 5.0, options={"lr": 0.1}), run("c", 6.0, options={"lr": 0.2})
    grids(a, [0, 10, 20, 30])
    grids(b, [10, 30, 50], grey=200)
    report = build([a, b, c])
    told = growth(report.lines)
    assert told["steps"] == [10, 30]
    assert [line["name"] for line in told["lines"]] == ["tiny, lr 0.0002", "tiny, lr 0.1"]
    (first, again), (second, _) = (line["sources"] for line in told["lines"])
    assert first == again != second
    html = page(report, registry())
    assert 'type="range" id="step" min="0" max="1"' in html
    assert json.loads(html.partition('id="data">')[2].partition("</script>")[0])["growth"] == told


def test_where_no_two_steps_are_common_to_all_models_those_of_half_of_them_are_shown(run):  # noqa: F811
    folders = [run(name, fid, options={"lr": fid}) for name, fid in (("a", 4.0), ("b", 5.0), ("c", 6.0))]
    for folder, steps in zip(folders, ([10, 20, 30, 77], [10, 20, 55], [33]), strict=True):
        grids(folder, steps)
    assert growth(build(folders).lines)["steps"] == [10, 20]


def test_a_line_is_broken_behind_the_colon_of_its_preset_and_not_within_a_word(run):  # noqa: F811
    html = page(build([run("a", 4.0, preset="short"), run("b", 5.0)]), registry())
    assert "tiny:<wbr>short" in html


def test_of_many_steps_some_are_shown_the_first_and_last_among_them(run):  # noqa: F811
    folder = run("a", 4.0)
    grids(folder, list(range(0, 300, 10)))
    steps = growth(build([folder]).lines)["steps"]
    assert (len(steps), steps[0], steps[-1]) == (FRAMES, 0, 290)


def test_a_grid_that_is_none_is_left_out(run):  # noqa: F811
    folder = run("a", 4.0)
    grids(folder, [1, 2, 3])
    (folder / "samples" / "00000002.png").write_bytes(b"no picture")
    (folder / "samples" / "00000003.png").unlink()
    os.mkfifo(folder / "samples" / "00000003.png")
    told = growth(build([folder]).lines)
    assert [source is not None for source in told["lines"][0]["sources"]] == [True, False, False]
    assert growth(build([run("b", 5.0)]).lines) is None
