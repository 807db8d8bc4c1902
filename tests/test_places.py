"""Where commands write: nothing that is no file, that belongs to a run, or that is read, is replaced."""

import os
import shutil
import stat

import pytest

from conftest import TINY, run_here
from ganzoo.commands.sample import check_target
from ganzoo.errors import GanzooError, UsageError
from ganzoo.files import output, refuse_within, whole


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    run_here("run", *TINY, "--steps", 2, "--out", "r", "--quiet", cwd=folder)
    return folder / "r"


@pytest.fixture
def run(made, ganzoo, tmp_path):
    shutil.copytree(made, tmp_path / "r")
    return tmp_path / "r"


def refused(result):
    assert result.code == 2, result.err
    assert len(result.err.splitlines()) == 1, result.err
    return result.err


@pytest.mark.parametrize(
    ("command", "name"),
    [("eval", "pipe"), ("sample", "pipe.png"), ("export", "pipe.pt2"), ("video", "pipe.webp"), ("compare", "p.html")],
)
def test_a_pipe_in_the_place_of_an_output_is_refused_and_stays(ganzoo, run, tmp_path, command, name):
    os.mkfifo(tmp_path / name)
    assert "is a device or a pipe" in refused(ganzoo(command, "r", "-o", name))
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices")
def test_a_device_in_the_place_of_an_output_is_refused_and_stays(ganzoo, run, tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("not even root may here")
    assert "is a device or a pipe" in refused(ganzoo("eval", "r", "-o", "null"))
    with pytest.raises(OSError, match="a device or a pipe"), whole(null) as file:
        file.write(b"x")
    assert stat.S_ISCHR(null.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_an_output_goes_through_a_link_which_stays(ganzoo, run, tmp_path):
    (tmp_path / "real.png").write_text("old")
    (tmp_path / "link.png").symlink_to("real.png")
    assert ganzoo("sample", "r", "-n", 2, "-o", "link.png").code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("eval",), "run.json"), (("eval",), "config.json"), (("export", "--format", "pt2"), "metrics.jsonl"),
        (("export", "--format", "safetensors"), "generator.safetensors"), (("sample",), "real.png"),
        (("sample",), "samples/00000001.png"), (("export", "--format", "pt2"), "checkpoints/step-00000002.pt"),
    ],
)  # fmt: skip
def test_what_a_run_is_made_of_is_replaced_by_no_output(ganzoo, run, command, name):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = refused(ganzoo(command[0], "r", *command[1:], "-o", run / name))
    assert "is a file of the run" in said or "is a folder of a run" in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_in_a_run_a_commands_own_file_and_a_strangers_are_replaced(run):
    for name, own in (("eval-best.json", ["eval*.json"]), ("tiny.safetensors", ["tiny.safetensors"]), ("mine.png", ())):
        (run / name).write_text("old")
        assert output(run / name, own) == run / name
    with pytest.raises(UsageError, match="is a file of the run"):
        output(run / "eval-best.json")


def test_no_output_replaces_what_is_read(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_text("mine")
    with pytest.raises(UsageError, match="is what is read"):
        output(pictures / "a.png", inputs=[pictures / "a.png"])
    for name in ("a.png", "sheet.png"):
        with pytest.raises(UsageError, match=r"pictures, and would be read with its pictures the next time"):
            output(pictures / name, inputs=[pictures])
    assert output(tmp_path / "sheet.png", inputs=[pictures]) == tmp_path / "sheet.png"


def test_no_folder_of_translations_is_made_among_the_pictures(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for target in ("made", "made.png", "made.npz"):
        with pytest.raises(UsageError, match="would be read with its pictures the next time"):
            check_target(pictures / target, False, [pictures])


def test_a_place_that_leads_in_a_circle_is_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(GanzooError, match=r"cannot write|lies in"):  # The latter from Python 3.13 on.
        refuse_within(tmp_path, tmp_path / "a" / "x")


def test_a_picture_to_translate_is_not_replaced_by_its_translation(ganzoo, run, tmp_path):
    (tmp_path / "p.png").write_text("mine")
    assert "p.png is what is read" in refused(ganzoo("sample", "r", "--from", "p.png", "-o", "p.png"))
    assert (tmp_path / "p.png").read_text() == "mine"


@pytest.mark.parametrize("place", ["", "folder"])
def test_an_export_to_a_folder_or_to_nothing_is_refused_before_the_work(ganzoo, run, tmp_path, place):
    (tmp_path / "folder").mkdir()
    assert "is a folder" in refused(ganzoo("export", "r", "--format", "pt2", "-o", place))


@pytest.mark.parametrize("command", [("sample", "r", "--from"), ("import", "x.pkl", "-o"), ("eval", "r", "-o")])
def test_a_path_that_the_system_will_not_look_at_is_told_in_one_line(ganzoo, run, tmp_path, command):
    (tmp_path / "x.pkl").write_bytes(b"x")
    result = ganzoo(*command, "a" * 300)
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert "File name too long" in result.err
    assert "GANZOO_TRACEBACK" not in result.err


@pytest.mark.parametrize(
    "arguments",
    [("video", "r", "--fps", "nan"), ("video", "r", "--hold", "nan"), ("sample", "r", "--walk", "--seconds", "nan"),
     ("bench", "tiny", "--seconds", "nan"), ("bench", "tiny", "--seconds", "inf")],
)  # fmt: skip
def test_no_number_is_nan_or_infinite(ganzoo, run, arguments):
    assert "is not a finite number" in refused(ganzoo(*arguments))


@pytest.mark.parametrize("label", ["", " ", ","])
def test_a_walk_through_no_labels_is_refused(ganzoo, run, label):
    assert "no label was given" in refused(ganzoo("sample", "r", "--walk", "--label", label))


def test_more_processes_than_the_cores_can_carry_are_refused_before_any_is_started(ganzoo, run, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr("ganzoo.training.distributed.launch", lambda *_: pytest.fail("a process was started"))
    for command in (("eval", "r"), ("resume", "r"), ("run", *TINY)):
        assert "8 processes are the most" in refused(ganzoo(*command, "--device", "cpu", "--nproc", 9))


def test_a_damaged_run_is_told_of_before_processes_are_started(ganzoo, run, monkeypatch):
    monkeypatch.setattr("ganzoo.training.distributed.launch", lambda *_: pytest.fail("a process was started"))
    (run / "run.json").write_text("{")
    for command in ("eval", "resume"):
        result = ganzoo(command, "r", "--nproc", 2)
        assert (result.code, "is not valid JSON" in result.err) == (1, True)


def test_messages_name_the_option_that_was_given(ganzoo):
    sweep = ("sweep", "tiny", "--dataset", "small-digits", "--set", "lr=1e-3,1e-4")
    for budget in ("0", "0steps", "0epochs"):
        assert f"--budget {budget}: it must be greater than 0" in refused(ganzoo(*sweep, "--budget", budget))
    assert "--seeds 99999999999: give 1,000 at most, in order" in refused(
        ganzoo("compare", "tiny", "--seeds", "99999999999")
    )
    said = refused(ganzoo("sweep", "tiny", "--dataset", "small-digits", "--set", "data-options=1", "--budget", "2s"))
    assert "has no such option" in said
    assert "data-options," not in said


def test_where_parts_of_a_batch_are_too_small_fewer_parts_are_the_advice(ganzoo):
    told = refused(ganzoo("run", "cgan", "--batch-size", 8, "--accumulate", 8, "--dry-run"))
    assert "--batch-size must be at least 16, or lower --accumulate" in told
