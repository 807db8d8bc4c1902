"""Reports of what has no FID or no latents: points by their modes, translators by their held-out images."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganzoo.plugins import registry
from ganzoo.report.build import build
from ganzoo.report.html import page
from ganzoo.report.markdown import markdown
from ganzoo.report.pictures import growth
from ganzoo.report.show import breaking
from test_report import PROTOCOL, run, trained  # noqa: F401
from test_standing import grids, rows


@pytest.fixture(scope="module")
def ring(tmp_path_factory) -> Path:
    """A finished run on points of eight classes, made once."""
    from ganzoo.launch import start
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("points") / "run"
    given = {"dataset": "ring", "batch_size": 32, "loggers": (), "steps": 2, "sample_interval": 1000}
    start(resolve(registry().get("models", "gan"), given), registry(), folder)
    return folder


@pytest.fixture
def points(ring, tmp_path):
    """Make a run on points with other numbers of modes."""

    def make(name: str, modes: float, reverse_kl: float, shape: tuple = (2,), **options: object) -> Path:
        shutil.copytree(ring, tmp_path / name)
        info = json.loads((tmp_path / name / "run.json").read_text())
        info["options"] |= options
        (tmp_path / name / "run.json").write_text(json.dumps(info))
        protocol = PROTOCOL | {"dataset": "ring", "shape": list(shape), "extractor": None}
        metrics = {"modes": modes, "good_samples": 0.5, "reverse_kl": reverse_kl}
        result = {"protocol": protocol, "metrics": metrics, "settings": {"modes": {"of": 8}}, "step": 2}
        (tmp_path / name / "eval.json").write_text(json.dumps(result))
        return tmp_path / name

    return make


def test_points_are_ranked_by_their_modes_and_the_verdict_says_who_reaches_how_many(points):
    folders = [points("a", 3, 0.9), points("b", 8, 0.04, lr=0.1), points("c", 8, 0.01, lr=0.2)]
    report = build(folders)
    assert [(line.rank, line.options["lr"]) for line in report.lines] == [(1, 0.2), (2, 0.1), (3, 0.001)]
    assert report.verdict == [
        "gan, lr 0.2 and gan, lr 0.1 reach all 8 modes; gan, lr 0.001 reaches 3 of 8.",
        "Each has one seed: another may end otherwise, so nothing is marked best.",
    ]
    assert report.to_json()["verdict"]["by"] == "modes"
    assert "FID" not in report.rule


def test_images_that_were_measured_by_modes_alone_are_told_by_them(points):
    report = build([points(f"r{n}", n, 0.9, shape=(3, 28, 28), lr=n / 100) for n in (1, 2, 3, 4, 5, 6, 7, 8)])
    assert report.verdict[0].startswith("gan, lr 0.08 reaches all 8 modes; gan, lr 0.07 reaches 7 of 8; ")
    assert report.verdict[0].endswith("; gan, lr 0.03 reaches 3 of 8; 2 other counts are in the table.")
    assert report.to_json()["verdict"]["by"] == "modes"


def test_the_table_has_what_was_measured_and_no_empty_column(points):
    report = build([points("a", 3, 0.9), points("b", 8, 0.04, lr=0.1)])
    html = page(report, registry())
    head = html.partition('<table class="sortable">')[2].partition("</thead>")[0]
    titles = [re.sub("<[^>]+>|&nbsp;|[↓↑]", "", cell) for cell in re.findall("<th[^>]*>(.*?)</th>", head)]
    assert titles[:6] == ["rank", "model", "seeds", "modes captured", "good samples", "reverse KL"]
    assert not {"FID", "KID", "label accuracy", "behind the first"} & set(titles)
    assert rows(html)[0][:4] == ["1", "gan, lr 0.1", "1", "8.0"]
    assert "|  | model | seeds | modes captured ↑ |" in markdown(report)


def test_points_are_drawn_in_one_frame_and_no_names_of_classes_stand_beside_them(points):
    html = page(build([points("a", 3, 0.9), points("b", 8, 0.04, lr=0.1)]), registry())
    section = html.partition('<section id="samples">')[2].partition("</section>")[0]
    assert "<h2>Samples</h2>" in section
    assert "all models in one frame" in section
    assert 'class="rows"' not in section
    first, second = re.findall('<img src="([^"]+)"', section)
    assert first == second  # The same weights, in the same frame.


def test_where_all_models_translate_the_page_shows_held_out_images_and_no_latents(ganzoo):
    given = ("--dataset", "small-digits", "--source", "edges", "--steps", 1, "--batch-size", 2, "--width", 2)
    assert ganzoo("run", "pix2pix", *given, "--loggers", "none", "--quiet", "--out", "r").code == 0
    html = page(build([Path("r")]), registry())
    section = html.partition('<section id="samples">')[2].partition("</section>")[0]
    assert "<h2>Held-out images, and what is made of them</h2>" in section
    assert 'alt="held-out images and what pix2pix, seed 0, makes of them at step 1"' in section
    assert "No picture" not in section
    shutil.rmtree("r/samples")
    assert "No picture: there is no grid of what it made of held-out images in its samples/" in page(
        build([Path("r")]), registry()
    )


def test_grids_begin_at_the_last_step_at_which_most_models_have_one(run):  # noqa: F811
    folders = [run(name, 4.0 + i, options={"lr": 0.1 * (i + 1)}) for i, name in enumerate("abc")]
    for folder, steps in zip(folders, ([10, 20, 30, 40], [10, 20], [20, 30, 40]), strict=True):
        grids(folder, steps)
        status = json.loads((folder / "status.json").read_text())
        (folder / "status.json").write_text(json.dumps(status | {"step": max(steps) + 5}))
    told = growth(build(folders).lines)
    assert told["steps"] == [20, 30, 40] or told["steps"] == [10, 20, 30, 40]
    assert told["steps"][told["begin"]] == 20  # There all three have one.
    assert [line["ended"] for line in told["lines"]] == [45, 25, 45]
    html = page(build(folders), registry())
    assert f'value="{told["begin"]}" step="1"' in html


def test_a_model_alone_has_no_rank_and_is_behind_nobody(run):  # noqa: F811
    html = page(build([run("a", 4.0), run("b", 5.0, protocol={"n": 500})]), registry())
    assert "Set apart" in html
    assert ">rank<" not in html
    assert "behind the first" not in html.partition("<tbody>")[0]


def test_names_break_behind_a_colon_or_a_hyphen_and_nowhere_else():
    assert breaking("stylegan2:small") == "stylegan2:<wbr>small"
    assert breaking("softmax-gan") == "softmax-<wbr>gan"
    assert breaking("<b>") == "&lt;b&gt;"
    assert breaking("reconstruction") == "reconstruction"


def test_a_grid_that_is_no_picture_is_passed_over(run):  # noqa: F811
    folder = run("a", 4.0)
    (folder / "samples").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "samples" / "00000010.png")
    (folder / "samples" / "00000020.png").write_bytes(b"no picture")
    assert growth(build([folder]).lines)["begin"] == 0
