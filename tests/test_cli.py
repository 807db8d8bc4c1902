"""The command line: help that teaches, one clear line for every mistake."""

import json
import re
import subprocess
import sys

import pytest

from conftest import TINY


def test_help_does_not_import_torch():
    code = "import sys, ganzoo.cli; sys.argv=['ganzoo','--help'];\ntry: ganzoo.cli.main()\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_teaches(ganzoo):
    from ganzoo.cli import COMMANDS

    for name in COMMANDS:
        result = ganzoo(name, "--help")
        assert result.code == 0
        assert len(result.out.splitlines()) > 5, name


def test_a_models_help_shows_its_options_typed_bounded_and_explained(ganzoo):
    out = ganzoo("run", "cgan", "--help").out
    text = " ".join(out.split())
    for piece in (
        "--latent-dim INTEGER Size of",
        "latent vector z. [>= 1, <= 65536; default: 64]",
        "[mlp | tutorial | paper; default: mlp]",
        "--preset",
        "tutorial",
        "--max-time DURATION",
    ):
        assert piece in text, piece
    assert "arxiv.org/abs/1411.1784" in text


def test_listings_are_json_too(ganzoo):
    models = {row["name"]: row for row in json.loads(ganzoo("list", "models", "--json").out)}
    assert {"gan", "cgan", "tiny"} <= set(models)
    assert models["cgan"]["conditional"]
    assert models["tiny"]["package"] == "ganzoo-test-plugins"
    assert {row["name"] for row in json.loads(ganzoo("list", "datasets", "--json").out)} >= {
        "mnist",
        "folder",
        "cifar10",
    }
    everything = json.loads(ganzoo("list", "--json").out)
    assert set(everything) == {
        "models",
        "datasets",
        "metrics",
        "features",
        "augmentations",
        "regularisers",
        "loggers",
        "plugins",
    }
    assert json.loads(ganzoo("doctor", "--json").out)["packages"]["torch"]
    assert json.loads(ganzoo("info", "cgan", "--json").out)["presets"]["tutorial"]["image_size"] == 32


def test_a_dry_run_prints_the_resolved_plan_and_writes_nothing(ganzoo, tmp_path):
    result = ganzoo("run", "cgan", "--preset", "tutorial", "--dry-run", "--json")
    plan = json.loads(result.out)
    assert plan["data"]["shape"] == [1, 32, 32]
    assert plan["options"]["batch_size"] == 64
    assert plan["parameters"]["generator"] > 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_plan_shows_no_python(ganzoo):
    result = ganzoo("run", "cgan", "--dry-run")
    assert result.code == 0, result.err
    assert not re.search(r"\b(None|True|False)\b|'\]", result.out)
    assert "  max_time           none" in result.out


def test_a_run_of_few_steps_whose_budget_nobody_chose_is_told_what_trains_longer(ganzoo):
    few = ("run", "cgan", "--dataset", "emoji", "--limit", 100, "--dry-run")
    told = "note: 20 steps are few: --max-time 30m or --epochs N trains longer"
    assert told in ganzoo(*few).err
    assert "few" not in ganzoo(*few, "--epochs", 20).err
    assert "few" not in ganzoo("run", "cgan", "--dry-run").err


MISTAKES = [
    (("rnu",), "did you mean 'run'?"),
    (("run", "cgna"), "did you mean 'cgan'?"),
    (("run", "--epochs", "3"), "name a model before its options"),
    (("run", "cgan", "--dataset", "minst"), "did you mean 'mnist'?"),
    (("run", "cgan", "--preset", "tutrial"), "did you mean 'tutorial'?"),
    (("run", "cgan", "--latnet-dim", "3"), "--latent-dim"),
    (("run", "cgan", "--lr", "-1"), "--lr"),
    (("run", "cgan", "--lr", "nan"), "--lr"),
    (("run", "cgan", "--batch-size", "many"), "--batch-size"),
    (("run", "cgan", "--batch-size", "0"), "--batch-size"),
    (("run", "cgan", "--max-time", "soon"), "write a duration as 90s, 2m or 1h30m"),
    (("run", "cgan", "--epochs", "0"), "--epochs"),
    (("run", "cgan", "--channels", "2"), "--channels"),
    (("run", "cgan", "--device", "cuda:99"), "CUDA device"),
    (("run", "cgan", "--device", "gpu"), "choose auto, cpu, cuda"),
    (("run", "cgan", "--precision", "tf32"), "tf32 needs a CUDA device"),
    (("run", "cgan", "--loggers", "tensorbord"), "did you mean 'tensorboard'?"),
    (("run", "cgan", "--config", "absent.toml"), "absent.toml"),
    (("run", "cgan", "--config", "absent.json"), "absent.json"),
    (("run", "cgan", "--steps", "5", "--epochs", "3"), "--steps and --epochs say the same thing twice"),
    (("run", "cgan", "--batch-size", "1"), "--batch-size must be at least 2"),
    (("run", "cgan", "--batch-size", "9", "--nproc", "2", "--device", "cpu", "--dry-run"), "among 2 processes"),
    (("run", "--config", "absent.toml"), "absent.toml"),
    (("run", "tiny", "--dataset", "small-digits", "--batch-size", "501"), "larger than the data (500 images)"),
    (("run", "tiny", "--dataset", "unlabelled"), "needs labels"),
    (("run", "cgan", "--dataset", "folder"), "--data-root"),
    (("run", "cgan", "--dataset", "folder", "--data-root", "nowhere"), "nowhere"),
    (("resume", "nowhere"), "nowhere is not a run directory"),
    (("resume", "."), "is not a run directory"),
    (("sample", "."), "is not a run directory"),
    (("sample", ".", "-n", "0"), "-n"),
    (("list", "modles"), "models"),
    (("info", "cgna"), "did you mean 'cgan'?"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "hint"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_gets_one_line_and_exit_code_2(ganzoo, tmp_path, arguments, hint):
    if "--precision" in arguments:
        import torch

        if torch.cuda.is_available():
            pytest.skip("tf32 is right where there is a GPU")
    result = ganzoo(*arguments)
    assert result.code == 2, result.err
    assert hint in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("run",), ("features",)])
def test_a_command_that_needs_arguments_shows_its_help_without_them(ganzoo, arguments):
    result = ganzoo(*arguments)
    assert result.code == 2
    assert result.err.startswith("Usage: ganzoo")
    assert result.err.strip() == ganzoo(*arguments, "--help").out.strip()


def test_the_shell_completes_presets():
    from ganzoo.commands.run import train_command
    from ganzoo_test_plugins import Tiny

    option = next(p for p in train_command(Tiny).params if p.name == "preset")
    assert [item.value for item in option.shell_complete(None, "sh")] == ["short"]


def test_an_interrupt_while_the_command_is_loaded_prints_no_traceback():
    code = (
        "import sys\nclass Slow:\n  def find_spec(self, name, *_):\n    if name == 'click': raise KeyboardInterrupt\n"
    )
    code += "sys.meta_path.insert(0, Slow())\nfrom ganzoo.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: stopped by SIGINT\n")


def test_a_result_without_a_grid_says_so(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 2, "--out", "r")
    for picture in (tmp_path / "r" / "samples").iterdir():
        picture.unlink()
    result = ganzoo("resume", "r", "--sample-interval", 1, "--json")
    assert json.loads(result.out)["samples"] is None


def test_mistakes_about_a_run_get_one_line_too(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 2, "--out", "r")
    for arguments, code, hint in [
        (("run", *TINY, "--steps", 2, "--out", "r"), 2, "ganzoo resume r"),
        (("sample", "r", "--label", "10"), 2, "classes are 0 to 9"),
        (("sample", "r", "--label", "0-12"), 2, "classes are 0 to 9"),
        (("sample", "r", "--label", "cat"), 2, "classes are 0 to 9"),
        (("sample", "r", "--set", "slant"), 2, "NAME=NUMBER"),
        (("sample", "r", "--set", "slant=1"), 2, "no attribute 'slant'"),
        (("sample", "r", "-o", "x.jpg"), 2, ".png or .npz"),
        (("sample", "r", "-o", "r"), 2, "not an empty folder"),
        (("sample", "r", "-o", "r/run.json/x.png"), 1, "cannot write"),
        (("run", *TINY, "--steps", 2, "--out", "r/run.json/deeper"), 2, "r/run.json/deeper"),
        (("run", "cgan", "--config", "r/run.json"), 2, "is for model 'tiny'"),
    ]:
        result = ganzoo(*arguments)
        assert result.code == code, (arguments, result)
        assert hint in result.err, (arguments, result)
        assert len(result.err.strip().splitlines()) == 1, result.err


def test_damaged_run_files_get_one_line(ganzoo, tmp_path):
    ganzoo("run", *TINY, "--steps", 2, "--out", "r")
    folder = tmp_path / "r"
    for name, text, command in [
        ("run.json", "{", "resume"),
        ("run.json", "[]", "resume"),
        ("run.json", '{"model": "tiny", "settings": 3, "options": {}}', "resume"),
        ("run.json", '{"model": "tiny", "settings": {"steps": "x"}, "options": {}}', "resume"),
        ("run.json", '{"model": "os", "settings": {}, "options": {}}', "resume"),
        ("config.json", "{", "sample"),
        ("config.json", '{"model": "tiny", "data": {"shape": [1, 1e9, 1e9]}}', "sample"),
        ("config.json", '{"model": "tiny", "data": {}}', "sample"),
        ("generator.safetensors", "not tensors", "sample"),
    ]:
        good = (folder / name).read_bytes()
        (folder / name).write_text(text)
        result = ganzoo(command, "r")
        assert result.code in (1, 2), (name, text, result)
        assert len(result.err.strip().splitlines()) == 1, result.err
        (folder / name).write_bytes(good)


def test_a_fault_in_a_plugin_is_one_line(ganzoo):
    result = ganzoo("run", "unfinished", "--dataset", "small-digits", "--loggers", "none", "--out", "r", "--steps", 2)
    assert result.code == 1
    assert "Unfinished does not state discriminator_loss" in result.err


def test_a_broken_plugin_is_listed_not_raised(ganzoo, tmp_path, monkeypatch):
    info = tmp_path / "site" / "shaky-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shaky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nshaky = shaky\n")
    (tmp_path / "site" / "shaky.py").write_text("import not_there\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    for arguments in (("list", "plugins"), ("doctor",)):
        monkeypatch.setattr("ganzoo.plugins._registry", None)
        result = ganzoo(*arguments)
        assert result.code == 0, result.err
        assert "shaky" in result.out
        assert "not_there" in result.out
        assert "cgan" in result.out or arguments == ("doctor",)


def test_output_that_nobody_reads_is_not_an_error(tmp_path):
    command = f"{sys.executable} -m ganzoo list | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
