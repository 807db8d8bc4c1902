"""`ganzoo list runs`: what stands in run directories, and which of them is being written."""

import json
import shutil
import subprocess
import sys
import threading

import pytest

from conftest import TINY, run_here, start
from ganzoo.runs.listed import listed, runs_in
from ganzoo.runs.lock import being_written
from ganzoo.runs.run import Run
from test_run import wait_for

SMALL = (*TINY, "--quiet", "--engine", "eager")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "deep" / "mine"
    run_here("run", *SMALL, "--steps", 60, "--out", folder, cwd=folder.parents[1])
    return folder


def rows(ganzoo, folder) -> dict[str, dict]:
    return {row["path"]: row for row in json.loads(ganzoo("list", "runs", folder, "--json").out)}


def test_a_finished_run_is_listed_with_what_it_is(ganzoo, run):
    (row,) = rows(ganzoo, run.parents[1]).values()
    assert (row["model"], row["data"], row["status"]) == ("tiny", "small-digits", "finished")
    assert (row["step"], row["steps"], row["left"], row["best_fid"]) == (60, 60, None, None)
    table = ganzoo("list", "runs", run.parents[1]).out.splitlines()
    assert table[0].split() == ["run", "model", "data", "status", "step", "best", "FID", "last", "FID"]
    assert table[1].split() == [str(run), "tiny", "small-digits", "finished", "60", "-", "-"]


def test_the_best_and_the_last_fid_are_those_of_the_log(run, tmp_path):
    copy = tmp_path / "scored"
    shutil.copytree(run, copy)
    with (copy / "metrics.jsonl").open("a") as file:
        for step, fid in ((70, 3.5), (80, 2.25), (90, 4.0)):
            file.write(json.dumps({"step": step, "fid": fid}) + "\n")
    found = listed(copy)
    assert (found.best_fid, found.last_fid, found.step) == (2.25, 4.0, 90)


@pytest.mark.parametrize(("step", "last"), [(90, 1.5), (80, 4.0)])
def test_what_eval_found_is_the_last_fid_where_it_is_of_the_last_step(run, tmp_path, step, last):
    copy = tmp_path / "scored"
    shutil.copytree(run, copy)
    with (copy / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 90, "fid": 4.0}) + "\n")
    (copy / "eval.json").write_text(json.dumps({"step": step, "metrics": {"fid": 1.5}}))
    assert (listed(copy).best_fid, listed(copy).last_fid) == (min(4.0, last), last)
    (copy / "eval.json").write_text("[]")
    assert listed(copy).last_fid == 4.0


@pytest.mark.parametrize(
    ("changed", "shown"), [({}, (1.5, 1.5)), ({"n": 500}, (4.0, 4.0)), ({"split": "train"}, (4.0, 4.0))]
)
def test_what_eval_found_otherwise_than_training_is_no_best_fid(run, tmp_path, changed, shown):
    copy = tmp_path / "scored"
    shutil.copytree(run, copy)
    protocol = {"dataset": "digits", "split": "test", "n": 1000, "shape": [1, 28, 28], "labels": None}
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"evaluation": protocol}))
    with (copy / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 90, "fid": 4.0}) + "\n")
    result = {"step": 90, "protocol": protocol | changed, "metrics": {"fid": 1.5}, "settings": {}}
    (copy / "eval.json").write_text(json.dumps(result))
    assert (listed(copy).best_fid, listed(copy).last_fid) == shown


def test_a_run_that_was_only_evaluated_has_its_fid(run, tmp_path):
    copy = tmp_path / "scored"
    shutil.copytree(run, copy)
    (copy / "eval.json").write_text(json.dumps({"step": 60, "metrics": {"fid": 7.5}}))
    assert (listed(copy).best_fid, listed(copy).last_fid) == (7.5, 7.5)


def test_info_of_a_model_does_not_mind_a_folder_of_its_name(ganzoo, tmp_path):
    (tmp_path / "cgan").mkdir()
    (tmp_path / "mine").mkdir()
    assert ganzoo("info", "cgan").code == 0
    for name, why in (("mine", "it has no run.json"), ("mine/none", "there is no such folder")):
        assert ganzoo("info", name).err == f"error: {name} is no model, and no run directory: {why}\n"


def test_info_tells_a_run_as_people_write(ganzoo, run):
    told = ganzoo("info", run).out
    assert not any(word in told for word in ("None", "True", "False", "{}", "()"))


def test_a_run_that_was_killed_and_one_that_is_damaged_say_so(ganzoo, run, tmp_path):
    killed, damaged = tmp_path / "killed", tmp_path / "damaged"
    for folder in (killed, damaged):
        shutil.copytree(run, folder)
    (killed / "status.json").unlink()
    (damaged / "run.json").write_text("{")
    found = rows(ganzoo, tmp_path)
    assert {path.rsplit("/")[-1]: row["status"] for path, row in found.items()} == {
        "damaged": "damaged",
        "killed": "killed",
    }


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400, "-1e999", "true"])
def test_a_damaged_run_hides_no_other(ganzoo, run, tmp_path, number):
    for name in ("damaged", "whole"):
        shutil.copytree(run, tmp_path / name)
    (tmp_path / "damaged" / "status.json").write_text(
        f'{{"status": "finished", "step": {number}, "seconds": {number}}}'
    )
    info = json.loads((run / "run.json").read_text()) | {"steps": "HERE"}
    (tmp_path / "damaged" / "run.json").write_text(json.dumps(info).replace('"HERE"', number))
    with (tmp_path / "damaged" / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": {number}, "seconds": {number}, "fid": {number}}}\n')
    lines = ganzoo("list", "runs", tmp_path).out.splitlines()
    assert [line.split()[5:] for line in lines[1:]] == [["-", "-"], ["-", "-"]]
    damaged, whole = rows(ganzoo, tmp_path).values()
    assert (damaged["steps"], damaged["best_fid"], whole["step"]) == (None, None, 60)


def test_what_a_stranger_named_a_run_is_shown_as_one_line_without_what_a_terminal_obeys(ganzoo, run, tmp_path):
    for name in ("two\nlines", "title\x1b]0;t\x07", "turned\u202e"):
        shutil.copytree(run, tmp_path / name)
    info = json.loads((run / "run.json").read_text()) | {"model": "m" * 5000}
    (tmp_path / "two\nlines" / "run.json").write_text(json.dumps(info))
    lines = ganzoo("list", "runs", tmp_path).out.splitlines()
    assert [line.split()[0].rsplit("/")[-1] for line in lines[1:]] == [
        "title\ufffd]0;t\ufffd", "turned\ufffd", "two\ufffdlines",
    ]  # fmt: skip
    assert max(map(len, lines)) < len(str(tmp_path)) + 150


def test_a_run_within_a_run_is_none_and_links_are_not_followed(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    copy = tmp_path / "outer"
    shutil.copytree(run, copy)
    shutil.copytree(run, copy / "samples" / "inner")
    assert list(runs_in(tmp_path)) == [copy]


def test_a_run_in_work_is_running_with_what_is_left_and_goes_on_undisturbed(ganzoo, tmp_path):
    process = start("run", *SMALL, "--max-time", "1h", "--out", tmp_path / "busy", cwd=tmp_path)
    try:
        wait_for(tmp_path / "busy" / "metrics.jsonl", process)
        row = rows(ganzoo, tmp_path)[str(tmp_path / "busy")]
        assert row["status"] == "running"
        assert 3000 < row["left"] <= 3600
        assert "running, " in ganzoo("list", "runs", tmp_path).out
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate()
    row = rows(ganzoo, tmp_path)[str(tmp_path / "busy")]
    assert row["status"] == "stopped"
    assert row["step"] == json.loads((tmp_path / "busy" / "status.json").read_text())["step"]


def test_looking_at_a_folder_that_this_process_writes_keeps_its_lock(run):
    def another() -> None:
        seen.append(being_written(run))

    seen: list[bool] = []
    with Run(run, 100, 100).lock():
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
        assert seen == [True]
        code = "import sys, pathlib, ganzoo.runs.lock as r; print(r.being_written(pathlib.Path(sys.argv[1])))"
        assert subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True).stdout == "True\n"
    assert not being_written(run)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "runs", "nowhere"), "there is no folder nowhere"),
        (("list", "runs", ""), "an argument is empty: name a folder"),
        (("video", ""), "an argument is empty: name a folder"),
        (("list", "models", "here"), "a folder is for `ganzoo list runs`: leave out here"),
    ],
)
def test_a_wrong_folder_is_one_line(ganzoo, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = ganzoo(*arguments)
    assert (result.code, result.err.strip()) == (2, f"error: {said}")


def test_no_runs_is_said_with_how_to_make_one(ganzoo, tmp_path):
    assert ganzoo("list", "runs", tmp_path).out == f"no runs in {tmp_path}: `ganzoo run MODEL` makes one\n"
