"""`ganzoo new`: the package that it writes works as written."""

import json
import os
import runpy
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import ganzoo as package
import ganzoo.plugins
from conftest import PATIENCE
from ganzoo.errors import GanzooError
from ganzoo.kit.scaffold import INGREDIENTS, TEMPLATES, class_name, write_package


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package into a folder of its own, and let this process see it until the test ends."""

    def into_site(folder):
        pytest.importorskip("setuptools")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
        environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        target = tmp_path / "site"
        subprocess.run([*command, "--target", str(target), str(folder)], check=True, env=environment, timeout=PATIENCE)
        monkeypatch.syspath_prepend(str(target))
        monkeypatch.setattr(package.plugins, "_registry", None)

    yield into_site
    sys.modules.pop("my_gan", None)


DATA = {"translating": "small-pairs"}
"""What a template is trained on here, where it is not the usual."""


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_new_writes_is_installed_listed_trained_and_passes_its_own_test(ganzoo, install, tmp_path, template):
    conditional = template == "class-conditional"
    written = ganzoo("new", "my-gan", "--template", template)
    assert written.code == 0, written.err
    folder = tmp_path / "my-gan"
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {
        ".github/workflows/test.yml",
        ".gitignore",
        "README.md",
        "my_gan.py",
        "pyproject.toml",
        "tests/test_my_gan.py",
    }
    install(folder)

    listed = {row["name"]: row for row in json.loads(ganzoo("list", "models", "--json").out)}
    assert (listed["my-gan"]["package"], listed["my-gan"]["conditional"]) == ("my-gan", conditional)
    options = ("--loggers", "none", "--quiet", "--width", 16, "--steps", 5, "--out", "run")
    trained = ganzoo("run", "my-gan", "--dataset", DATA.get(template, "small-digits"), *options)
    assert trained.code == 0, trained.err
    tests = runpy.run_path(str(folder / "tests" / "test_my_gan.py"))
    tests["test_my_gan_keeps_the_rules_of_the_contract"]()


@pytest.mark.parametrize(("kind", "flag"), [("augmentation", "--augment"), ("regulariser", "--regularise")])
def test_an_ingredient_that_new_writes_is_listed_trained_with_and_passes_its_own_test(
    ganzoo, install, tmp_path, kind, flag
):
    written = ganzoo("new", f"--{kind}", "my-gan")
    assert written.code == 0, written.err
    assert written.out.endswith(f"then ganzoo run cgan {flag} my-gan and ganzoo check my-gan\n")
    folder = tmp_path / "my-gan"
    assert f"$ ganzoo run cgan {flag} my-gan --max-time 2m" in (folder / "README.md").read_text()
    install(folder)
    assert "my-gan" in {row["name"] for row in json.loads(ganzoo("list", f"{kind}s", "--json").out)}
    options = ("--loggers", "none", "--quiet", "--steps", 3, "--batch-size", 32, "--out", "run")
    trained = ganzoo("run", "tiny", "--dataset", "small-digits", flag, "my-gan", *options)
    assert trained.code == 0, trained.err
    tests = runpy.run_path(str(folder / "tests" / "test_my_gan.py"))
    tests["test_my_gan_keeps_the_rules_of_the_contract"]()


def test_an_ingredient_is_no_template_of_a_model_and_its_name_may_be_taken(ganzoo, tmp_path):
    for more in (("--template", "translating"), ("--conditional",), ("--regulariser",)):
        result = ganzoo("new", "--augmentation", "mine", *more)
        assert (result.code, "--augmentation and --" in result.err) == (2, True)
    assert "has an augmentation of that name" in ganzoo("new", "--augmentation", "ada").err
    assert (
        "'class' cannot name a regulariser: 'class' is a word of Python; try class-regulariser"
        in ganzoo("new", "--regulariser", "class").err
    )
    assert list(tmp_path.iterdir()) == []


def test_in_an_environment_of_its_own_it_is_listed_and_passes(ganzoo, tmp_path):
    """As its README says, with ganzoo and pytest from the environment of this test."""
    pytest.importorskip("setuptools")
    assert ganzoo("new", "my-gan").code == 0
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=True)
    python = tmp_path / "venv" / "bin" / "python"
    # The environment of the test may be one itself, which --system-site-packages passes over.
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    lines = [str(Path(__file__).parent.parent)]
    lines += [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
    (packages / "here.pth").write_text("\n".join(lines))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command):
        done = subprocess.run(
            [str(python), "-m", *command], cwd=tmp_path / "my-gan", env=environment, capture_output=True, text=True,
            timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ".")
    assert "my-gan" in {row["name"] for row in json.loads(run("ganzoo", "list", "models", "--json"))}
    assert "1 passed" in run("pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.parametrize("template", [*TEMPLATES, *INGREDIENTS])
def test_no_placeholder_is_left(tmp_path, template):
    for file in write_package("my-gan", tmp_path, template):
        text = file.read_text()
        assert "$" not in text.replace("${{", "").replace("$ ", ""), file
        assert all(len(line) <= 88 for line in text.splitlines() if file.suffix == ".py"), file


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My-GAN", "lower-case words joined by '-'"),
        ("my_gan", "lower-case words joined by '-'"),
        ("../my-gan", "lower-case words joined by '-'"),
        ("my--gan", "lower-case words joined by '-'"),
        ("3gan", "lower-case words joined by '-'"),
        ("", "lower-case words joined by '-'"),
        ("class", "'class' is a word of Python; try class-gan"),
        ("torch", "a module named torch is installed; try my-torch"),
        ("cgan", "has a model of that name"),
        ("taken", "taken exists already"),
        ("link", "link exists already"),
    ],
)
def test_a_name_that_cannot_be_gets_one_line_and_writes_nothing(ganzoo, tmp_path, name, hint):
    (tmp_path / "taken").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    result = ganzoo("new", name)
    assert result.code == 2
    assert hint in result.err
    assert len(result.err.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"taken", "link"}


def test_a_failure_half_way_leaves_nothing_behind(tmp_path, monkeypatch):

    write_text = Path.write_text

    def full(path, text, **options):
        if path.name == "README.md":
            raise OSError(28, "No space left on device")
        return write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(GanzooError, match=r"cannot write .*my-gan: No space left on device"):
        write_package("my-gan", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GanzooError, match="cannot write"):
        write_package("my-gan", tmp_path / "file")


def test_conditional_is_a_template_and_not_two(ganzoo, tmp_path):
    assert ganzoo("new", "one", "--conditional").code == 0
    assert ganzoo("new", "two", "--template", "class-conditional").code == 0
    one, two = ((tmp_path / name / f"{name}.py").read_text() for name in ("one", "two"))
    assert one.replace("One", "Two").replace("one", "two") == two
    result = ganzoo("new", "three", "--conditional", "--template", "translating")
    assert result.code == 2
    assert "--conditional is --template class-conditional, not translating" in result.err
    assert not (tmp_path / "three").exists()


def test_the_help_has_a_line_for_each_template(ganzoo):
    text = ganzoo("new", "--help").out
    for name, start in TEMPLATES.items():
        assert f"{name:20}{start.summary}" in text


def test_the_readme_says_what_to_train_a_translator_on(tmp_path):
    write_package("my-gan", tmp_path, "translating")
    assert "$ ganzoo run my-gan --dataset mnist-edges --max-time 2m" in (tmp_path / "my-gan" / "README.md").read_text()


def test_new_prints_json_too(ganzoo):
    value = json.loads(ganzoo("new", "my-gan", "--json").out)
    assert value["name"] == "my-gan"
    assert "my-gan/pyproject.toml" in value["files"]


@pytest.mark.parametrize(
    ("name", "cls"), [("my-gan", "MyGAN"), ("wgan-gp", "WGANGp"), ("gan", "GAN"), ("r3", "R3"), ("big-wgan", "BigWGAN")]
)
def test_classes_are_named_after_models(name, cls):
    assert class_name(name) == cls


@pytest.mark.parametrize(
    ("name", "options", "cls"),
    [
        ("none", (), "None"),
        ("turn", ("--template", "three-player"), "Turn"),
        ("generator", ("--template", "translating"), "Generator"),
        ("field", ("--augmentation",), "Field"),
    ],
)
def test_a_name_whose_class_would_hide_another_is_refused_with_one_that_would_not(ganzoo, tmp_path, name, options, cls):
    result = ganzoo("new", name, *options)
    assert result.code == 2
    assert f"its class would be {cls}, which is taken; try my-{name}" in result.err
    assert not any(tmp_path.iterdir())
    assert ganzoo("new", f"my-{name}", *options).code == 0


def test_the_name_of_a_plugin_of_any_kind_is_taken(ganzoo, tmp_path):
    result = ganzoo("new", "ada")
    assert (result.code, any(tmp_path.iterdir())) == (2, False)
    assert "'ada' is taken" in result.err
