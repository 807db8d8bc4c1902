"""Shell completion: right, from a cache that is made anew when it must be, and without torch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ganzoo.cli import COMMANDS
from ganzoo.commands import completing

ASK = """
import os, sys
sys.argv = ["ganzoo"]
from ganzoo.__main__ import main
try:
    main()
finally:
    print(*sorted({"torch", "numpy", "pydantic", "ganzoo_plugins.cgan"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def tree():
    return completing.build(COMMANDS)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def warm(cache, tree) -> Path:
    completing.write(tree)
    (path,) = cache.iterdir()
    return path


@pytest.fixture
def ask(monkeypatch, capfd):
    """What bash is told when TAB comes after a line."""

    def ask(line: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - (not line.endswith(" "))))
        capfd.readouterr()
        assert completing.complete(COMMANDS, "bash_complete") == 0
        told = capfd.readouterr()
        assert told.err == ""
        return [line.removeprefix("plain,") for line in told.out.splitlines() if line]

    return ask


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ganzoo run --conf", ["--config"]),
        ("ganzoo run --config ", ["file,"]),
        ("ganzoo comp", ["compare"]),
        ("ganzoo run cga", ["cgan"]),
        ("ganzoo run cgan --preset ", ["paper", "tutorial"]),
        ("ganzoo run cgan --network t", ["tutorial"]),
        ("ganzoo run cgan --netw", ["--network"]),
        ("ganzoo run cgan --dataset fash", ["fashion-mnist"]),
        ("ganzoo run cgan --dataset folder --skip", ["--skip-unlabelled", "--skip-broken"]),
        ("ganzoo run cgan --dataset=folder --skip-b", ["--skip-broken"]),
        ("ganzoo run cgan --skip", []),
        ("ganzoo run cgan --regularise lec", ["lecam"]),
        ("ganzoo eval runs/a --metrics fid,ki", ["fid,kid"]),
        ("ganzoo eval runs/a --split ", ["test", "train"]),
        ("ganzoo info ad", ["file,ad", "ada"]),
        ("ganzoo compare cga", ["file,cga", "cgan"]),
        ("ganzoo data insp", ["inspect"]),
        ("ganzoo resume r", ["file,r"]),
    ],
)
def test_a_tab_tells_what_may_follow(warm, ask, line, told):
    assert ask(line) == told


def test_options_of_drawing_are_those_of_the_runs_model(warm, ask, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": "stylegan2"}))
    assert "--truncation" in ask(f"ganzoo sample {tmp_path} --tr")
    (tmp_path / "config.json").write_text("[")
    assert ask(f"ganzoo sample {tmp_path} --tr") == []
    assert ask(f"ganzoo sample {'a' * 300} --tr") == []  # No name of a file may be so long.


def test_everything_that_a_command_has_is_known(tree):
    from ganzoo.commands.run import train_command
    from ganzoo.plugins import registry

    model = registry().get("models", "cgan")
    flags = {flag for param in train_command(model).params for flag in param.opts}
    numbers = tree["commands"]["run"]["commands"]["cgan"]["params"]
    assert {flag for number in numbers for flag in tree["params"][number]["opts"]} >= flags
    assert set(tree["commands"]) == set(COMMANDS)
    assert set(tree["commands"]["run"]["commands"]) == set(registry().names("models"))


def process(line: str, **environment: str) -> subprocess.CompletedProcess:
    """A shell's question in a process of its own, which tells on stderr what it imported."""
    asked = {"_GANZOO_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    return subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | asked | environment, capture_output=True, text=True, check=True
    )


def test_fish_is_given_commas_as_they_are():
    """Click's own script for fish ends words at their first comma: `--metrics fid,k` became `fid`."""
    script = process("", _GANZOO_COMPLETE="fish_source")
    assert script.stdout.count('string split --max 1 ","') == 1
    assert "torch" not in script.stderr.split()
    if fish := shutil.which("fish"):
        ask = [fish, "--no-config", "-c", f"{script.stdout}\ncomplete -C 'ganzoo eval RUN --metrics fid,k'"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        told = subprocess.run(ask, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True).stdout
        assert told.startswith("fid,kid\tkernel distance of features, unbiased: ")


def test_the_cache_is_made_in_silence_and_then_nothing_heavy_is_imported(cache, tmp_path):
    site = tmp_path / "site"
    info = site / "loud-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nloud = loud\n")
    (site / "loud.py").write_text("import os, sys\nprint('loud')\nos.write(2, b'louder')\nimport not_there\n")
    path = f"{site}{os.pathsep}{os.environ['PYTHONPATH']}"
    first = process("ganzoo run cga", PYTHONPATH=path)
    assert (first.stdout, "torch" in first.stderr.split()) == ("plain,cgan\n", True)
    assert "loud" not in first.stderr
    second = process("ganzoo run cga", PYTHONPATH=path)
    assert (second.stdout, second.stderr) == ("plain,cgan\n", "\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nlouder = loud\n")
    assert "torch" in process("ganzoo run cga", PYTHONPATH=path).stderr.split()


def test_what_was_written_is_read_until_something_changes(warm, tree, tmp_path, monkeypatch):
    assert completing.read() == json.loads(json.dumps(tree))
    monkeypatch.setenv("GANZOO_PLUGINS", "tiny")
    assert completing.read() is None
    monkeypatch.delenv("GANZOO_PLUGINS")
    info = tmp_path / "site" / "another-1.0.dist-info"
    info.mkdir(parents=True)
    monkeypatch.syspath_prepend(info.parent)
    assert completing.read() is None


def test_a_plugin_that_is_being_worked_on_is_asked_again(warm, monkeypatch):
    import ganzoo_test_plugins

    files = json.loads(warm.read_bytes().partition(b"\n")[0])["files"]
    assert ganzoo_test_plugins.__file__ in files
    before = completing._state

    def changed(path: str) -> list[int] | None:
        return [1, 1] if path == ganzoo_test_plugins.__file__ else before(path)

    monkeypatch.setattr(completing, "_state", changed)
    assert completing.read() is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]\n{}", b'{"sha256": 3}\n', b"\xff\xfe"])
def test_a_damaged_cache_is_made_anew(warm, tree, ask, monkeypatch, damage):
    monkeypatch.setattr(completing, "build", lambda commands: tree)
    warm.write_bytes(damage)
    assert ask("ganzoo run cga") == ["cgan"]
    assert completing.read() == json.loads(json.dumps(tree))


def test_one_changed_byte_is_damage(warm):
    whole = warm.read_bytes()
    warm.write_bytes(whole[:-10] + b"X" + whole[-9:])
    assert completing.read() is None


def test_a_cache_that_cannot_be_written_stops_nobody(tree, ask, cache, monkeypatch):
    monkeypatch.setattr(completing, "build", lambda commands: tree)
    cache.write_text("a file, where a folder should be")
    assert ask("ganzoo run cga") == ["cgan"]


def test_where_plugins_cannot_be_asked_the_commands_are_still_known(ask, monkeypatch):
    def fails(commands):
        raise RuntimeError("nothing works")

    monkeypatch.setattr(completing, "build", fails)
    assert ask("ganzoo comp") == ["compare"]
    assert ask("ganzoo run cga") == []
