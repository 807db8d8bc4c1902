"""What a terminal shows: lines that fit it, types as people write them, colour where wanted, commands that run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, create_model

from conftest import TINY
from ganzoo import terminal
from ganzoo.fields import in_words, value_in_words

FIELDS = create_model(
    "FIELDS",
    network=(Literal["mlp", "tutorial", "paper"], Field("mlp")),
    share=(float, Field(0.5, ge=0, le=1)),
    half_life=(float | None, Field(None, gt=0, le=1e6)),
    side=(int | None, Field(None, ge=8, lt=1024)),
    column=(str | None, Field(None)),
    strict=(bool, Field(False)),
    root=(Path | None, Field(None)),
    names=(tuple[str, ...], Field(())),
).model_fields


@pytest.fixture
def eighty(monkeypatch):
    """A terminal of 80 columns, as far as the commands can see; what they print is still read by the test."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    for module in ("listing", "info"):  # First: they take the function as it is when they are imported.
        monkeypatch.setattr(f"ganzoo.commands.{module}.width", lambda: 80)
    monkeypatch.setattr(terminal, "width", lambda: 80)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("network", "mlp | tutorial | paper"),
        ("share", "number >= 0, <= 1"),
        ("half_life", "number > 0, <= 1000000, or none"),
        ("side", "whole number >= 8, < 1024, or none"),
        ("column", "text, or none"),
        ("strict", "yes or no"),
        ("root", "path, or none"),
        ("names", "names"),
    ],
)
def test_types_are_told_as_people_write_them(name, words):
    assert in_words(FIELDS[name]) == words


def test_defaults_are_told_as_people_write_them():
    assert [value_in_words(v) for v in (None, True, False, (), ("a", "b"), 0.5)] == [
        "none", "yes", "no", "none", "a,b", "0.5",
    ]  # fmt: skip


def test_info_shows_no_python_and_its_json_stays(ganzoo):
    out = ganzoo("info", "cgan").out
    assert "(mlp | tutorial | paper)" in out
    assert "Literal" not in out
    assert "None" not in out
    network = json.loads(ganzoo("info", "cgan", "--json").out)["options"]["network"]
    assert network["type"] == "Literal['mlp', 'tutorial', 'paper']"


def test_a_text_beside_its_head_keeps_words_and_links_whole():
    link = "https://example.org/" + "a-very-long-way" * 6
    text = f"Some Longer-Title of a paper, 2016, {link}  [ganzoo 0.2.0]"
    lines = terminal.beside("  name  ", text, 60).splitlines()
    assert " ".join(" ".join(lines).split()) == " ".join(f"name {text}".split())
    assert all(len(line) <= 60 for line in lines if link not in line)
    assert [line.strip() for line in lines if link in line] == [link]
    assert all(line.startswith(" " * 8) for line in lines[1:])


def test_a_text_goes_beneath_a_head_that_leaves_no_room_and_stays_as_it_is_outside_terminals():
    assert terminal.beside("a head of 20 columns ", "and ten more", 30) == "a head of 20 columns\n      and ten more"
    assert terminal.beside("head ", "text " * 40, None) == "head " + "text " * 40


def test_a_table_that_does_not_fit_goes_beneath_the_first_cell():
    head, rows = ("run", "status", "step"), [("runs/a-long-name", "running, 1:02 left", "10 of 20")]
    assert terminal.table(head, rows, None) == [
        "run               status              step",
        "runs/a-long-name  running, 1:02 left  10 of 20",
    ]
    assert terminal.table(head, rows, 50) == terminal.table(head, rows, None)
    assert terminal.table(head, rows, 30) == ["runs/a-long-name\n  status running, 1:02 left,\n  step 10 of 20"]


def test_paragraphs_are_filled_and_lists_are_not():
    text = (
        "one two three four five\nsix\n\n- a list whose lines stay as they are\n\n    code stays, too, whatever it is"
    )
    assert terminal.prose(text, 20) == "one two three four\nfive six\n\n" + text.partition("\n\n")[2]
    assert terminal.prose(text, None) == text


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",), ("list", "models"), ("info", "cgan"), ("info", "stylegan2"), ("info", "folder"), ("info", "ada"),
        ("list", "--help"), ("sweep", "--help"), ("eval", "--help"),
    ],
)  # fmt: skip
def test_listings_fit_a_terminal_of_80_columns(ganzoo, eighty, arguments):
    lines = ganzoo(*arguments).out.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if len(line) > 80] == []


def test_links_are_whole_in_a_terminal(ganzoo, eighty):
    out = ganzoo("list", "models").out
    assert "https://arxiv.org/abs/1411.1784" in out
    assert re.findall(r"\[\w+\n", out) == []


def coloured(ganzoo_arguments: tuple[str, ...], **environment: str) -> bytes:
    """What a command writes to a terminal, which is a real one."""
    pty = pytest.importorskip("pty")
    first, second = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    command = [sys.executable, "-m", "ganzoo", *ganzoo_arguments]
    process = subprocess.Popen(command, stdout=second, stderr=second, env=clean | {"TERM": "xterm"} | environment)
    os.close(second)
    out = b""
    try:
        while part := os.read(first, 2**16):
            out += part
    except OSError:  # The other end was closed.
        pass
    process.wait()
    os.close(first)
    return out


@pytest.mark.parametrize(
    ("environment", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_errors_are_coloured_on_a_terminal_unless_no_color_is_set(environment, colour):
    out = coloured(("rnu",), **environment)
    assert b"did you mean 'run'?" in out
    assert (b"\x1b[31m" in out) is colour


def test_nothing_is_coloured_where_no_terminal_is(ganzoo):
    result = ganzoo("list", "loggers")
    assert "\x1b" not in result.out
    assert "\x1b" not in ganzoo("rnu").err


@pytest.mark.parametrize(
    ("path", "word"),
    [("runs/a", "runs/a"), ("my runs/a", "'my runs/a'"), ("-x", "./-x"), ("-x y", "'./-x y'"), ("~a", "'~a'")],
)
def test_a_path_is_quoted_for_the_shell(path, word):
    assert terminal.argument(path) == word


@pytest.mark.parametrize("folder", ["a b", "-odd 'place'"])
def test_the_next_commands_run_as_they_are_told(ganzoo, tmp_path, folder):
    out = ganzoo("run", *TINY, "--steps", 3, "--quiet", f"--out={folder}").out
    _, _, told = out.partition("next:")
    commands = [shlex.split(line) for line in told.strip().splitlines()]
    assert [words[:2] for words in commands] == [["ganzoo", "sample"], ["ganzoo", "eval"], ["ganzoo", "demo"]]
    assert ganzoo(*commands[0][1:], "-n", 4).code == 0
    assert (tmp_path / folder / "sample.png").is_file()
    assert ganzoo(*commands[2][1:], "--help").code == 0
    again = ganzoo("run", *TINY, "--steps", 3, f"--out={folder}").err
    assert ganzoo(*shlex.split(again.split("`")[1])[1:]).code == 0


def test_a_summary_tells_the_last_fid_and_the_lowest(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 3, "--quiet", "--out", "r")
    with (tmp_path / "r" / "metrics.jsonl").open("a") as file:
        for step, fid in ((1, 2.5), (2, 4.0)):
            file.write(json.dumps({"step": step, "fid": fid, "evaluation": "small-digits test"}) + "\n")
    result = ganzoo("resume", "r", "--quiet").out
    assert "FID:     4.00 (small-digits test); the lowest was 2.50, at step 1\n" in result
    before = ganzoo("run", *TINY, "--steps", 3, "--quiet", "--out", "q").out
    assert "FID" not in before


def test_a_mapping_is_shown_by_its_names():
    assert value_in_words({}) == "none"
    assert value_in_words({"style": "both", "skip_broken": False}) == "style=both,skip_broken=no"
