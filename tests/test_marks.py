"""What a user calls a run: `--name` and `--tag`."""

import json

import pytest

import ganzoo as door
from conftest import TINY
from ganzoo.errors import UsageError
from ganzoo.marks import LONGEST, Marks, marks_of
from ganzoo.report.build import build

SMALL = (*TINY, "--steps", 2, "--quiet", "--engine", "eager")


def test_a_name_and_tags_are_kept_and_shown(ganzoo, tmp_path):
    given = ("--name", "Grüße, first try", "--tag", "thesis", "--tag", "v=2", "--tag", "thesis")
    assert ganzoo("run", *SMALL, *given, "--out", "runs/a").code == 0
    ganzoo("run", *SMALL, "--tag", "thesis", "--out", "runs/b")
    ganzoo("run", *SMALL, "--out", "runs/c")
    info = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    assert (info["name"], info["tags"]) == ("Grüße, first try", ["thesis", "v=2"])
    assert not {"name", "tags"} & json.loads((tmp_path / "runs" / "c" / "run.json").read_text()).keys()

    head, *rows = ganzoo("list", "runs").out.splitlines()
    assert head.split()[-2:] == ["name", "tags"]
    assert [row.split()[0] for row in rows] == ["runs/a", "runs/b", "runs/c"]
    assert rows[0].endswith("Grüße, first try  thesis,v=2")
    assert rows[1].split()[-2:] == ["-", "thesis"]
    listed = json.loads(ganzoo("list", "runs", "--tag", "thesis", "--json").out)
    assert [(row["path"], row["name"], row["tags"]) for row in listed] == [
        ("runs/a", "Grüße, first try", ["thesis", "v=2"]),
        ("runs/b", None, ["thesis"]),
    ]
    assert len(json.loads(ganzoo("list", "runs", "--tag", "thesis", "--tag", "v=2", "--json").out)) == 1
    none = ganzoo("list", "runs", "--tag", "other").out
    assert none == "no runs in runs with --tag other: `ganzoo run MODEL --tag other` makes one\n"
    assert "Grüße, first try" in ganzoo("info", "runs/a").out
    assert json.loads(ganzoo("info", "runs/a", "--json").out)["tags"] == ["thesis", "v=2"]

    ganzoo("resume", "runs/a", "--steps", 3, "--quiet")
    assert json.loads((tmp_path / "runs" / "a" / "run.json").read_text())["name"] == "Grüße, first try"
    ganzoo("run", "--config", "runs/a/run.json", "--quiet", "--out", "runs/again")
    assert "name" not in json.loads((tmp_path / "runs" / "again" / "run.json").read_text())


def test_a_report_calls_a_line_as_its_user_does(ganzoo, tmp_path):
    for folder, seed, name in (("a", 0, "mine"), ("b", 1, "mine"), ("c", 2, None)):
        ganzoo("run", *SMALL, "--seed", seed, *(("--name", name) if name else ()), "--out", folder)
    assert [line.name for line in build([tmp_path / "a", tmp_path / "b"]).lines] == ["mine (tiny)"]
    assert [line.name for line in build([tmp_path / "a", tmp_path / "c"]).lines] == ["tiny"]
    ganzoo("run", *SMALL, "--lr", 0.01, "--name", "mine", "--out", "d")
    assert [line.name for line in build([tmp_path / "a", tmp_path / "d"]).lines] == [
        "mine (tiny) (a)",
        "mine (tiny) (d)",
    ]


def test_from_python_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"dataset": "small-digits", "steps": 2, "loggers": (), "engine": "eager", "progress": False}
    run = door.train("tiny", out="r", name="from python", tags=["a", "b"], **options)
    info = json.loads((run.folder / "run.json").read_text())
    assert marks_of(info) == Marks("from python", ("a", "b"))
    with pytest.raises(UsageError, match="--name"):
        door.train("tiny", out="q", name="", **options)
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", ""), "--name ''"),
        (("--name", "x" * (LONGEST + 1)), f"give 1 to {LONGEST} printable characters"),
        (("--name", "a\x1b[31m"), "printable"),
        (("--name", "two\nlines"), "printable"),
        (("--name=-x",), "the first no '-'"),
        (("--tag", "two words"), "a tag is one word"),
        (("--tag", "a,b"), "a tag is one word"),
        (tuple(word for i in range(21) for word in ("--tag", f"t{i}")), "20 tags at most, not 21"),
    ],
)
def test_a_name_that_no_list_could_show_is_refused_in_one_line(ganzoo, tmp_path, arguments, said):
    result = ganzoo("run", *SMALL, *arguments, "--out", "r")
    assert result.code == 2
    assert said in result.err
    assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_tags_are_for_runs(ganzoo):
    result = ganzoo("list", "models", "--tag", "x")
    assert (result.code, result.err) == (2, "error: --tag is for `ganzoo list runs`: leave it out\n")


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ({}, Marks()),
        ({"name": None, "tags": None}, Marks()),
        ({"name": 3, "tags": [1, "a", ""]}, Marks(None, ("a",))),
        ({"name": "x\x1b[31m", "tags": "ab"}, Marks("x\ufffd[31m")),
        ({"name": "", "tags": []}, Marks()),
        ({"name": "y" * 1000}, Marks("y" * LONGEST)),
    ],
)
def test_runs_that_are_older_or_a_strangers_are_read(info, found):
    assert marks_of(info) == found
    assert marks_of(found.to_json()) == found
