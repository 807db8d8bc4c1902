"""Runs on the hub: pushed to and fetched from a stand-in of it, by the hub's own client."""

import errno
import json
import os
import re
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

import ganzoo as zoo
from ganzoo.data import DataSpec
from ganzoo.files import read_json
from ganzoo.runs import hub as client
from hub import Hub, served

pytest.importorskip("huggingface_hub", reason="needs ganzoo[hub]")

RUN = ("run", "tiny", "--dataset", "small-digits", "--batch-size", 32, "--engine", "eager", "--quiet")
RUN += ("--steps", 2, "--loggers", "none", "--name", "first | light")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with an evaluation, made once."""
    folder = tmp_path_factory.mktemp("hub") / "r"
    options = {"dataset": "small-digits", "batch_size": 32, "engine": "eager", "steps": 2, "loggers": ()}
    run = zoo.train("tiny", out=folder, progress=False, name="first | light", **options)
    zoo.evaluate(run, n=50, metrics=["fid"])
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is empty, and a cache that is, too."""
    with served(Hub()) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        for name, value in (
            ("ENDPOINT", ""),
            ("HUGGINGFACE_CO_URL_TEMPLATE", "/{repo_id}/resolve/{revision}/{filename}"),
        ):
            # Which 1.0 reads when it is imported.
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", found.address + value)
        monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
        monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
        # Where the client keeps what a hub said once, for all hubs.
        harnesses = str(tmp_path / "harnesses.json")
        monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", harnesses, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setattr("ganzoo.errors._told", set())
        yield found


@pytest.fixture
def there(hub, trained):
    """The run on it, as me/digits."""
    from ganzoo.runs.push import push

    push(trained, "me/digits")
    return hub


def only_line(result, code: int) -> str:
    """What a command that fails so says."""
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1), result
    return result.err


# There and back


def test_a_report_repeats_a_fetched_run_here_and_not_in_the_cache(ganzoo, there):
    from ganzoo.report.read import read_run

    command = read_run(client.local("hf://me/digits")).command
    assert command.endswith("--out digits-again"), command
    assert client.sibling(client.local("hf://me/digits"), "seed1") == Path("digits-seed1")
    assert client.sibling(Path("runs/mine"), "seed1") == Path("runs/mine-seed1")


def test_runs_on_the_hub_are_not_listed(ganzoo):
    line = only_line(ganzoo("list", "runs", "hf://me/digits"), 2)
    assert line == "error: a run on the hub is not listed: `ganzoo info hf://owner/name` tells how it stands\n"


def test_a_hub_that_is_silent_is_told_before_the_client_gives_up(there, monkeypatch, capsys):
    import huggingface_hub

    real = huggingface_hub.hf_hub_download
    monkeypatch.setattr(client, "QUIET", 0.05)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: time.sleep(0.3) or real(*a, **k))
    client.fetch(client.parse("hf://me/digits"))
    told = capsys.readouterr().err
    assert (
        told
        == "note: hf://me/digits: the hub is slow, or silent: it is asked again for some minutes (Ctrl-C ends it)\n"
    )


def test_a_run_that_is_pushed_draws_the_same_images_from_the_hub(ganzoo, hub, trained, tmp_path):
    result = ganzoo("push", trained, "me/digits", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["address"], told["url"]) == ("hf://me/digits", f"{hub.address}/me/digits")
    pushed = {"README.md", "run.json", "config.json", "status.json", "eval.json", "metrics.jsonl"}
    pushed |= {"generator.safetensors", "samples/00000002.png"}
    assert set(told["files"]) == set(hub.files["me/digits"]) == pushed
    assert not hub.private["me/digits"]
    drawn = zoo.load("hf://me/digits", device="cpu").sample(4, seed=3)
    assert torch.equal(drawn, zoo.load(trained, device="cpu").sample(4, seed=3))


def test_an_address_stands_wherever_a_run_does(ganzoo, there, tmp_path):
    assert ganzoo("sample", "hf://me/digits", "-n", 4).out == "digits-sample.png\n"
    assert (tmp_path / "digits-sample.png").is_file()
    result = ganzoo("eval", "hf://me/digits", "--metrics", "fid", "-n", 50)
    assert result.code == 0, result.err
    assert read_json(tmp_path / "digits-eval.json")["metrics"]["fid"] > 0
    assert ganzoo("export", "hf://me/digits", "--format", "safetensors").code == 0
    assert (tmp_path / "digits-tiny.safetensors").is_file()
    assert "first | light" in ganzoo("info", "hf://me/digits").out
    result = ganzoo("compare", "hf://me/digits", "-o", "report.json")
    assert result.code == 0, result.err
    assert zoo.evaluate("hf://me/digits", n=50, metrics=["fid"], out=tmp_path / "e.json")["metrics"]["fid"] > 0
    kept = next((tmp_path / "cache" / "hub" / "me--digits").glob("?" * 40))
    assert {path.name for path in kept.iterdir()} == {
        "run.json", "config.json", "status.json", "eval.json", "metrics.jsonl", "generator.safetensors", "samples",
    }  # fmt: skip


def test_a_run_begins_with_the_weights_of_one_on_the_hub(ganzoo, there, tmp_path):
    result = ganzoo(*RUN, "--init-from", "hf://me/digits", "-o", "begun")
    assert result.code == 0, result.err
    kept = next((tmp_path / "cache" / "hub" / "me--digits").glob("?" * 40))
    assert read_json(tmp_path / "begun" / "run.json")["settings"]["init_from"] == str(kept)
    options = {"dataset": "small-digits", "batch_size": 32, "engine": "eager", "steps": 2, "loggers": ()}
    run = zoo.train("tiny", init_from="hf://me/digits", out=tmp_path / "python", progress=False, **options)
    assert torch.equal(run.sample(2), zoo.load(tmp_path / "begun", device="cpu").sample(2))


def test_a_run_on_the_hub_is_pushed_elsewhere_and_not_resumed(ganzoo, there):
    assert ganzoo("push", "hf://me/digits", "me/copy").code == 0
    assert there.files["me/copy"]["generator.safetensors"] == there.files["me/digits"]["generator.safetensors"]
    line = only_line(ganzoo("resume", "hf://me/digits"), 2)
    assert "hf://me/digits is on the hub, where no checkpoint is to go on from" in line
    assert "--init-from hf://me/digits" in line


def test_an_address_stands_for_a_run_in_python_too(there):
    assert zoo.push("hf://me/digits", "me/copy") == "hf://me/copy"
    assert zoo.TrainedRun("hf://me/digits").folder == client.local("hf://me/digits")
    for run in ("hf://me/digits", zoo.TrainedRun("hf://me/digits"), client.local("hf://me/digits")):
        with pytest.raises(zoo.UsageError, match="is on the hub, where no checkpoint is to go on from"):
            zoo.resume(run)


def test_a_fetched_run_is_compared_by_what_was_measured_here_and_stays_as_it_came(ganzoo, there, tmp_path):
    del there.files["me/digits"]["eval.json"]
    came = client.local("hf://me/digits")
    files = sorted(path.name for path in came.iterdir())
    lacking = ganzoo("compare", "hf://me/digits", "-o", tmp_path / "before.html")
    assert f"`ganzoo compare hf://me/digits@{came.name} --eval` measures them" in lacking.out
    assert ganzoo("eval", "hf://me/digits", "--n", 50, "--metrics", "fid").code == 0
    assert (tmp_path / "digits-eval.json").is_file()
    report = ganzoo("compare", "hf://me/digits", "-o", tmp_path / "after.html", "--json")
    measured = read_json(tmp_path / "digits-eval.json")["metrics"]["fid"]
    aside = ("eval", "hf://me/digits", "--n", 60, "--metrics", "fid", "-o", tmp_path / "aside.json")
    assert ganzoo(*aside).code == 0
    assert f'"fid": {measured}' in report.out
    assert sorted(path.name for path in came.iterdir()) == files


def test_a_run_of_a_later_ganzoo_is_refused(ganzoo, there):
    for name in ("run.json", "config.json"):
        written = there.files["me/digits"][name]
        there.files["me/digits"][name] = json.dumps(json.loads(written) | {"format": 2}).encode()
        line = only_line(ganzoo("sample", "hf://me/digits"), 1)
        assert f"{name} is of format 2, and this ganzoo knows 1: a later version reads it" in line
        there.files["me/digits"][name] = written


def test_what_the_user_forbids_to_ask_is_no_hub_that_is_down(ganzoo, there, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = only_line(ganzoo("sample", "hf://me/digits"), 1)
    assert line == "error: hf://me/digits was not fetched before, and HF_HUB_OFFLINE has none asked now\n"


def test_a_demo_plays_a_run_from_the_hub(there):
    from ganzoo.demo.showing import player_of
    from ganzoo.plugins import registry

    assert player_of(client.local("hf://me/digits"), "cpu", registry(), {}, None)


def test_what_is_fetched_is_fetched_once(there):
    zoo.load("hf://me/digits", device="cpu")
    before = len(there.requests)
    zoo.load("hf://me/digits", device="cpu")
    assert there.requests[before:] == ["GET /api/models/me/digits"]
    commit = there.commit("me/digits")
    zoo.load(f"hf://me/digits@{commit}", device="cpu")
    assert len(there.requests) == before + 1  # A commit never changes.


def test_a_download_that_was_killed_is_cleared_away_a_day_later(there, tmp_path):
    home = tmp_path / "cache" / "hub" / "me--digits"
    for name, hours in ((".part-old", 25), (".part-young", 1)):
        (home / name).mkdir(parents=True)
        (home / name / "run.json").write_text("{")
        os.utime(home / name, (time.time() - 3600 * hours,) * 2)
    zoo.load("hf://me/digits", device="cpu")
    assert [path.name for path in home.glob(".part-*")] == [".part-young"]


def test_what_was_fetched_before_is_taken_while_the_hub_is_down(there, capfd):
    first = zoo.load("hf://me/digits", device="cpu").sample(2)
    there.refuses = 503
    assert torch.equal(zoo.load("hf://me/digits", device="cpu").sample(2), first)
    assert "it answers 503" in capfd.readouterr().err


def test_a_damaged_note_of_what_was_fetched_is_as_none(ganzoo, there, tmp_path):
    zoo.load("hf://me/digits", device="cpu")
    (tmp_path / "cache" / "hub" / "me--digits" / "main.ref").write_bytes(b"\xff\xfe")
    there.refuses = 503
    assert "it answers 503" in only_line(ganzoo("info", "hf://me/digits"), 1)


def test_a_second_push_replaces_the_first(there, trained, tmp_path):
    from ganzoo.runs.push import push

    shutil.copytree(trained, tmp_path / "r")
    (tmp_path / "r" / "samples" / "00000002.png").rename(tmp_path / "r" / "samples" / "00000009.png")
    (tmp_path / "r" / "eval.json").unlink()
    there.files["me/digits"]["notes.txt"] = b"mine"
    old = there.commit("me/digits")
    push(tmp_path / "r", "hf://me/digits")
    assert {"samples/00000009.png", "notes.txt"} <= there.files["me/digits"].keys()
    assert not {"samples/00000002.png", "eval.json"} & there.files["me/digits"].keys()
    assert there.commit("me/digits") != old


def test_a_push_removes_nothing_that_no_push_left(there, trained, capfd):
    from ganzoo.runs.push import push

    there.files["me/digits"] |= {"vae.safetensors": b"mine", "samples/00000001.png": b"mine"}
    record = json.loads(there.files["me/digits"]["run.json"])
    record["pushed"]["files"] += ["notes.txt", 5]
    there.files["me/digits"] |= {"notes.txt": b"mine", "run.json": json.dumps(record).encode()}
    push(trained, "me/digits")
    assert [n for n, data in there.files["me/digits"].items() if data == b"mine"] == [
        "vae.safetensors", "samples/00000001.png", "notes.txt"
    ]  # fmt: skip
    assert capfd.readouterr().err == ""


def test_a_repository_of_another_program_is_not_written_over(ganzoo, hub, trained):
    hub.files["me/other"] = {"config.json": b"{}", "model.safetensors": b"theirs", "run.json": b"[" * 100_000}
    before = dict(hub.files["me/other"])
    line = only_line(ganzoo("push", trained, "me/other"), 2)
    assert "hf://me/other is no run of ganzoo's, and its config.json would be replaced: choose another name" in line
    assert hub.files["me/other"] == before


def test_a_card_that_was_filled_in_stays_and_that_is_said(there, ganzoo, trained):
    card = there.files["me/digits"]["README.md"]
    filled = card.replace(b"library_name", b"license: cc0-1.0\nlibrary_name")
    there.files["me/digits"]["README.md"] = filled
    for _ in range(2):
        result = ganzoo("push", trained, "me/digits")
        assert (result.code, there.files["me/digits"]["README.md"]) == (0, filled)
        assert "note: the README.md of hf://me/digits is not as ganzoo wrote it, and stays as it is" in result.err
        assert "README.md" not in result.out
    del there.files["me/digits"]["README.md"]
    assert ganzoo("push", trained, "me/digits").err == ""
    assert there.files["me/digits"]["README.md"] == card


def test_a_card_that_nobody_touched_is_written_anew(there, trained, tmp_path):
    from ganzoo.runs.push import push

    shutil.copytree(trained, tmp_path / "r")
    (tmp_path / "r" / "eval.json").unlink()
    push(tmp_path / "r", "me/digits")
    assert b"How good it is" not in there.files["me/digits"]["README.md"]


def test_a_private_push_makes_a_private_repository(ganzoo, hub, trained):
    assert ganzoo("push", trained, "me/secret", "--private").code == 0
    assert hub.private["me/secret"]


# What is pushed


def test_nothing_of_this_machine_is_pushed(hub, trained, tmp_path):
    from ganzoo.runs.push import push

    shutil.copytree(trained, tmp_path / "r")
    info = read_json(tmp_path / "r" / "run.json")
    info["settings"] |= {"data_root": "/home/somebody/pictures", "init_from": "C:\\Users\\somebody\\run"}
    info["command"] = ["/home/somebody/ganzoo", "run"]
    (tmp_path / "r" / "run.json").write_text(json.dumps(info))
    push(tmp_path / "r", "me/digits")
    everything = b"".join(hub.files["me/digits"].values())
    assert b"somebody" not in everything
    assert str(tmp_path).encode() not in everything
    told = json.loads(hub.files["me/digits"]["run.json"])
    assert (told["settings"]["data_root"], told["settings"]["init_from"]) == ("pictures", "run")
    assert not any(name.endswith((".pt", ".pkl", ".bin")) for name in hub.files["me/digits"])


def test_the_card_shows_grid_numbers_commands_and_whose_the_data_are(there, trained):
    card = there.files["me/digits"]["README.md"].decode()
    _, head, text = card.split("---\n", 2)
    assert "library_name: ganzoo\npipeline_tag: unconditional-image-generation\n" in head
    assert '- ganzoo\n- "gan"\n- "tiny"' in head
    assert "# first \\| light\n" in text
    assert "![Samples](samples/00000002.png)" in text
    fid = read_json(trained / "eval.json")["metrics"]["fid"]
    assert f"| fid | {fid:.4g} |" in text
    assert "extractor" in text
    assert "$ ganzoo sample hf://me/digits -n 64\n" in text
    assert 'ganzoo.load("hf://me/digits").sample(64)' in text
    assert "The model comes with another package: ganzoo-test-plugins" in text
    assert "`small-digits`: whose they are, and under which licence, is to be said here." in text


def test_the_card_says_what_the_run_saw_and_no_command_that_cannot_run(trained):
    from ganzoo.runs.card import card

    info = read_json(trained / "run.json")
    info["settings"] |= {"limit": 400, "jitter": 2, "init_from": "/home/me/runs/before"}
    gan = zoo.load(trained).gan
    written = card("me/digits", gan, {"run.json": json.dumps(info).encode()})
    for row in ("| `seed` | 0 |", "| `limit` | 400 |", "| `jitter` | 2 |", "| `init_from` | before |"):
        assert row in written
    for idle in ("`mirror`", "`balance`", "/home/me"):
        assert idle not in written
    assert "ganzoo demo hf://me/digits" in written
    gan.data = DataSpec("ring", (2,), 100)
    assert "ganzoo demo" not in card("me/digits", gan, {"run.json": json.dumps(info).encode()})


def test_the_card_has_no_numbers_of_other_weights_and_says_how_far_they_were_trained(there, trained, capsys):
    from ganzoo.runs.card import card
    from ganzoo.runs.sampler import load

    files = {name: (trained / name).read_bytes() for name in ("run.json", "eval.json")}
    gan = load(trained, "cpu").gan
    told = json.loads(files["eval.json"])
    assert "How good it is" in card("me/x", gan, files, told["step"])
    assert "How good it is" not in card("me/x", gan, files, told["step"] + 1)
    info = json.loads(files["run.json"]) | {"steps": 900}
    assert "steps 40 of 900" in card("me/x", gan, files | {"run.json": json.dumps(info).encode()}, 40)
    assert "steps 900, " in card("me/x", gan, files | {"run.json": json.dumps(info).encode()}, 900)


def test_a_full_disk_is_not_a_hub_that_cannot_be_reached():
    from ganzoo.runs.hub import parse, told

    with pytest.raises(OSError, match="No space left"), told(parse("me/x")):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_data_sets_that_are_embedded_or_downloaded_know_whose_they_are():
    from ganzoo.plugins import registry

    plugins = registry()
    shipped = [n for n in plugins.names("datasets") if plugins.provider("datasets", n).built_in and n != "folder"]
    unknown = [name for name in shipped if not plugins.get("datasets", name).attribution.endswith(".")]
    assert unknown == []
    assert "CC BY-SA 3.0" in plugins.get("datasets", "mnist").attribution


# What is refused


def test_an_address_that_is_none_is_one_line(ganzoo, hub):
    for text in ("hf://digits", "hf://../etc", "hf://me/..", "hf://me/digits/more", "hf://me/digits@", "hf://-x/y"):
        assert "is no run on the hub: write hf://owner/name" in only_line(ganzoo("sample", text), 2)
    assert hub.requests == []


def test_a_run_that_is_not_there_is_one_line(ganzoo, there):
    line = only_line(ganzoo("sample", "hf://me/absent"), 2)
    assert line.startswith("error: hf://me/absent: there is no such run on the hub, or it is private: log in with")
    assert "no such revision" in only_line(ganzoo("sample", "hf://me/digits@v9"), 2)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 2, "the hub does not know who asks, or there is no such run: log in with `hf auth login`"),
        (403, 2, "the hub refuses: the account or its token may not do this"),
        (500, 1, "the hub cannot be reached (it answers 500)"),
        (400, 1, "the hub refuses: it answers 400, refused"),
        (412, 1, "somebody else pushed meanwhile: push again"),
        (413, 1, "the hub does not take files as large as these"),
    ],
)
def test_a_hub_that_refuses_is_one_line(ganzoo, there, trained, status, code, words):
    there.refuses = status
    assert words in only_line(ganzoo("sample", "hf://me/digits"), code)
    assert words in only_line(ganzoo("push", trained, "me/other"), code)


def test_what_is_no_hub_is_told_as_such(ganzoo, there, monkeypatch):
    monkeypatch.setattr(Hub, "commit", lambda self, repo: None)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *a, **k: {}["id"])
    line = only_line(ganzoo("sample", "hf://me/digits"), 1)
    assert line == f"error: hf://me/digits: what answers is no hub (HF_ENDPOINT is {there.address})\n"


def test_a_hub_that_is_down_is_one_line(ganzoo, hub, trained, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    for command in (("sample", "hf://me/digits"), ("demo", "hf://me/digits"), ("push", trained, "me/digits")):
        assert "hf://me/digits: the hub cannot be reached (" in only_line(ganzoo(*command), 1)
    assert not list((Path.cwd() / "cache").glob("hub/*/*"))


def test_no_network_is_one_line(ganzoo, hub, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setenv("HF_ENDPOINT", "http://hub.test")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    line = only_line(ganzoo("sample", "hf://me/digits"), 1)
    assert "hf://me/digits: the hub cannot be reached (" in line
    assert "name resolution" in line


def test_without_the_client_an_address_says_what_to_install(ganzoo, hub, monkeypatch, trained):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for command in (("sample", "hf://me/digits"), ("push", trained, "me/digits")):
        line = only_line(ganzoo(*command), 2)
        assert line == "error: runs on the hub need the package huggingface_hub: pip install 'ganzoo[hub]'\n"


def test_what_is_no_run_is_not_pushed(ganzoo, hub, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "is not a run directory" in only_line(ganzoo("push", "empty", "me/digits"), 2)
    assert "hf://owner/name" in only_line(ganzoo("push", "empty", "digits"), 2)
    assert hub.requests == []


# What a stranger may have put there


def refused(ganzoo, hub, code: int = 1) -> str:
    """The line with which the run is refused; nothing of it is kept as a run."""
    line = only_line(ganzoo("sample", "hf://me/digits"), code)
    assert not list((Path.cwd() / "cache").glob("hub/*/" + "?" * 40))
    assert not list((Path.cwd() / "cache").glob("hub/*/.part-*"))
    return line


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/passwd", "samples\\..\\..\\evil", "a\x1b[31m.json"])
def test_a_name_that_leads_elsewhere_is_refused(ganzoo, there, name):
    there.also_named = [name]
    line = refused(ganzoo, there)
    assert "hf://me/digits is refused: it holds a file whose name leads elsewhere" in line
    assert "\x1b" not in line
    assert not [request for request in there.requests if "resolve" in request]


@pytest.mark.parametrize("name", ["run.json", "generator.safetensors", "samples/00000002.png"])
def test_a_file_beyond_all_measure_is_not_fetched(ganzoo, there, name):
    there.told_sizes = {name: 2**50}
    assert re.search(rf"{name} has {2**50} bytes, and may have [\d,]+", refused(ganzoo, there))
    assert not [request for request in there.requests if "resolve" in request]


def test_a_file_of_another_length_than_was_told_is_refused(ganzoo, there):
    there.told_sizes = {"config.json": 17}
    assert "config.json did not arrive as the hub describes it" in refused(ganzoo, there)


def test_a_hub_that_sends_more_than_it_told_is_stopped_before_the_disk_is_full(ganzoo, there):
    import inspect

    import huggingface_hub

    if "tqdm_class" not in inspect.signature(huggingface_hub.hf_hub_download).parameters:
        pytest.skip("this version of huggingface_hub tells nothing of how far it is")
    there.endless = {"generator.safetensors"}
    assert "generator.safetensors did not arrive as the hub describes it" in refused(ganzoo, there)
    assert 0 < there.went_on < 100 * 2**20


def test_weights_that_are_cut_short_are_one_line(ganzoo, there):
    data = there.files["me/digits"]["generator.safetensors"]
    there.files["me/digits"]["generator.safetensors"] = data[: len(data) // 2]
    line = only_line(ganzoo("sample", "hf://me/digits"), 1)
    assert "generator.safetensors is damaged" in line


def test_files_that_no_run_has_are_not_fetched(ganzoo, there, tmp_path):
    for name in ("generator.pkl", "checkpoints/step-00000002.pt", "evil.py", "samples/evil.png", "deep/run.json"):
        there.files["me/digits"][name] = b"import os"
    assert ganzoo("sample", "hf://me/digits", "-n", 2).code == 0
    kept = [path for path in (tmp_path / "cache" / "hub").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"import os" in path.read_bytes()]


def test_a_run_without_weights_is_told(ganzoo, there):
    del there.files["me/digits"]["generator.safetensors"]
    assert "is not a run of ganzoo's: it has no generator.safetensors" in refused(ganzoo, there, 2)


def test_a_model_whose_package_is_missing_is_told(ganzoo, there):
    for name in ("run.json", "config.json"):
        info = json.loads(there.files["me/digits"][name]) | {"model": "wonder"}
        info |= {"plugin": {"package": "wonder-gan", "version": "1", "module": "wonder"}} if name == "run.json" else {}
        there.files["me/digits"][name] = json.dumps(info).encode()
    line = only_line(ganzoo("sample", "hf://me/digits"), 2)
    assert "was trained with model 'wonder' of the package 'wonder-gan', which is not installed here" in line
