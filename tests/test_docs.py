"""The documentation is executed: its Python, its commands; its links lead somewhere; its generated pages are fresh."""

import ast
import importlib.util
import inspect
import itertools
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
import ganzoo.plugins
from conftest import TINY
from ganzoo import hookspecs, losses, nets
from ganzoo.cli import COMMANDS, cli
from ganzoo.kit.rules import RULES
from ganzoo.testing import check_gan
from hub import Hub, served
from test_import import SNAPSHOT

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXECUTED = {"list", "info", "doctor", "check", "new", "sample", "resume", "export", "import", "push"}
"""Commands that are executed as they stand.

`run` plans without training; of the rest, which take their time, only the arguments are looked at.
"""


class Block(NamedTuple):
    """A fenced block: its language, text, and where it begins."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 2) for m in found]


def commands(page: Path) -> list[str]:
    """Every `$ ganzoo ...` line of the console blocks."""
    lines = [line for block in blocks(page) if block.language == "console" for line in block.text.splitlines()]
    return [line.removeprefix("$ ganzoo ").split(" #")[0].strip() for line in lines if line.startswith("$ ganzoo ")]


def each(pages: list[Path]) -> pytest.MarkDecorator:
    """The test for each of the pages."""
    return pytest.mark.parametrize("page", pages, ids=lambda p: p.name)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run directory, made once."""
    from ganzoo.launch import start
    from ganzoo.plugins import registry
    from ganzoo.settings import resolve

    folder = tmp_path_factory.mktemp("docs") / "run"
    options = dict(zip([o.removeprefix("--").replace("-", "_") for o in TINY[1::2]], TINY[2::2], strict=True))
    plan = resolve(registry().get("models", TINY[0]), options | {"batch_size": 32, "loggers": (), "steps": 2})
    start(plan, registry(), folder)
    return folder


@pytest.fixture
def place(ganzoo, trained, tmp_path, monkeypatch):
    """A folder with what the pages take for granted: a run, a snapshot, pictures, a hub. Few images are measured."""
    monkeypatch.setattr("ganzoo.runs.measuring.MEASURED", 500)
    monkeypatch.setattr("ganzoo.metrics.training.N", 500)
    for name in ("mine", "digits"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    shutil.copy(SNAPSHOT, tmp_path / "ffhq.pkl")
    shutil.copy(SNAPSHOT.with_name("stylegan3_16px_t.pkl"), tmp_path / "afhqv2.pkl")
    with np.load(SNAPSHOT.with_name("biggan_32px.npz")) as file:
        for name, prefix in (("G_ema", "G/"), ("G", "G/"), ("D", "D/")):
            state = {key.removeprefix(prefix): torch.from_numpy(file[key]) for key in file if key.startswith(prefix)}
            torch.save(state, tmp_path / f"{name}.pth")
    for folder in ("pictures", "pets"):
        for kind in ("cat", "dog"):
            (tmp_path / folder / kind).mkdir(parents=True)
            for i in range(64):
                pixels = np.full((32, 32, 3), i, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / kind / f"{i}.png")
    monkeypatch.setattr("ganzoo.runs.hub._home", lambda: tmp_path / "fetched")
    with served(Hub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
        yield ganzoo


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install the plugin that a page writes: its TOML's entry points, each with the next module that has a hook."""
    installed = []

    def from_page(page: Path) -> None:
        tables = [tomllib.loads(block.text) for block in blocks(page) if block.language == "toml"]
        points = {
            k: v for t in tables for k, v in t.get("project", {}).get("entry-points", {}).get("ganzoo", {}).items()
        }
        sources = [b.text for b in blocks(page) if b.language == "python" and "@ganzoo.hookimpl\n" in b.text]
        if not points:
            return
        info = tmp_path / "site" / f"{page.stem}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {page.stem}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[ganzoo]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
        for module, source in zip(points.values(), sources, strict=True):
            (tmp_path / "site" / f"{module}.py").write_text(source)
            installed.append(module)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        monkeypatch.setattr(ganzoo.plugins, "_registry", None)

    yield from_page
    for module in installed:
        sys.modules.pop(module, None)


@each([page for page in PAGES if any(block.language == "python" for block in blocks(page))])
def test_the_python_of_a_page_runs_in_order(page: Path, place, install):
    install(page)
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "python":
            # Padded, so that a traceback shows the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
    for name, test in names.items():
        if name.startswith("test_"):
            test()


@each([page for page in PAGES if commands(page)])
def test_the_commands_of_a_page_work(page: Path, place, install):
    install(page)
    for line in commands(page):
        arguments = shlex.split(line.replace("RUN", "runs/mine"))
        if arguments[0] == "run":
            arguments.append("--dry-run")
        if arguments[0] in EXECUTED | {"run"}:
            result = place(*arguments)
            assert result.code == 0, f"ganzoo {line}: {result.err}"
        else:
            parse(arguments)


def parse(arguments: list[str]) -> None:
    """Look at a command's arguments as click would, and go no further."""
    command, context, name = cli, None, "ganzoo"
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not isinstance(command, click.Group):
            return
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


EXAMPLES = [
    line.split("   ")[0]
    for block in blocks(ROOT / "docs" / "cli.md") if block.language == "text"
    for line in block.text.splitlines() if line.startswith("ganzoo ") and not re.search("hf://|runs/ffhq", line)
]  # fmt: skip
"""What the help of commands shows, but of runs that are not here and have options of their own."""


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_examples_of_help_can_be_typed(line: str, place, tmp_path):
    arguments = shlex.split(line)[1:]
    parse(arguments)
    if arguments[0] == "sweep":
        sweep_of(arguments[1], tmp_path, *(part for flag, part in itertools.pairwise(arguments) if flag == "--set"))


def sweep_of(model: str, home: Path, *sets: str) -> None:
    """Look at a sweep's values as it does before anything is trained."""
    from ganzoo.plugins import registry
    from ganzoo.sweep import Asked, Sweep

    Sweep(Asked(model, sets, "9epochs", 9, 3, "fid", 0, {}), registry(), home)


@each(PAGES)
def test_data_on_a_page_is_well_formed(page: Path):
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)


@each(PAGES)
def test_links_lead_somewhere(page: Path):
    for target, _, anchor in links(page):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name} links to {target}#{anchor}"


def links(page: Path) -> list[tuple[str, str, str]]:
    """Targets within the repository, each split at '#'."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [t.partition("#") for t in targets if not t.startswith(("http://", "https://", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


# Generated pages


@pytest.fixture(scope="module")
def generate():
    """The script that makes them."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_preset_can_be_typed_as_the_reference_writes_it(generate):
    from ganzoo.plugins import registry

    for name in registry().names("models"):
        for values in registry().get("models", name).presets.values():
            parse(["run", name, *shlex.split(" ".join(generate.flags(values)))])


def test_the_models_to_take_are_models_that_ship(generate):
    from ganzoo.plugins import registry

    named = [words.split() for _, take in generate.CHOICE for words in re.findall("`([^`]+)`", take)]
    models = [words for words in named if words[0] in registry().names("models")]
    assert len(models) > 10
    assert [words for words in named if words not in models] == [["emoji-tags"]]
    for words in models:
        parse(["run", *words])


def test_options_say_what_they_take_and_show_no_python(generate):
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert not re.findall(r"\| `(?:None|True|False|\(.*?,\))` \|", text)
    assert "| `--loss` | `standard`, `least-squares`, `hinge` | `standard` |" in text
    assert "| `--hierarchical`, `--no-hierarchical` |  | `yes` |" in text


def test_the_reference_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: (\S+)$", page, re.M)
    for name in ganzoo._WHERE:
        module = getattr(ganzoo, name).__module__
        assert {module, f"{module}.{name}"} & {*shown}, name


def test_every_page_leads_on():
    for path in sorted((ROOT / "docs").glob("*.md")):
        last = path.read_text(encoding="utf-8").rstrip().rpartition("\n\n")[2]
        assert re.search(r"\]\([^)]+\)", last), path.name


GENERATED = ["models.md", "hooks.md", "cli.md", "write-a-plugin.md"]


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_fresh(generate, name: str):
    made = generate.PAGES[name](generate.shipped())
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert committed == made, f"docs/{name} is out of date: run `make docs` (python docs/generate.py)"


def test_every_generated_page_is_tested(generate):
    assert list(generate.PAGES) == GENERATED


def test_every_hook_has_a_section_with_signature_and_example():
    text = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, "ganzoo_spec")]
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == hooks
    for section in text.split("\n## ")[1:]:
        name = section.split("\n")[0]
        assert f"{name}(register)" in section
        assert re.search(r"Shipped example, from \[(plugins/\S+\.py)\]", section)
        assert f"def {name}(register):" in section


def test_every_command_has_a_section():
    assert {f"ganzoo-{name}" for name in COMMANDS} <= anchors(ROOT / "docs" / "cli.md")


def test_every_rule_of_the_conformance_kit_is_explained():
    text = (ROOT / "docs" / "write-a-plugin.md").read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if f"| `{rule.name}` |" not in text] == []


def test_a_gan_is_forty_lines_from_nothing():
    module = next(block for block in blocks(ROOT / "docs" / "write-a-plugin.md") if block.language == "python")
    assert module.text.startswith('"""my-gan')
    assert "register_models" in module.text
    assert len(module.text.splitlines()) <= 40


@pytest.mark.parametrize("module", [nets, losses], ids=lambda m: m.__name__)
def test_every_building_block_is_listed(module):
    text = (ROOT / "docs" / "write-a-plugin.md").read_text(encoding="utf-8")
    source = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
    names = {n.name for n in source if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    for node in source:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets}
    table = text.split(f"| `{module.__name__}` |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)[(`]", table, re.MULTILINE)) == {
        name for name in names if not name.startswith("_")
    }


def test_building_blocks_stand_there_with_their_signatures():
    text = (ROOT / "docs" / "write-a-plugin.md").read_text(encoding="utf-8")
    for signature in (
        "`MLPGenerator(data, latent_dim, sizes=(256, 512), first_normalised=True, eps=1e-05)` | `(z, y)`",
        "`Projection(data, features, wrap=...)` | `(h, y)`",
        "`zero_centred_penalties(*pairs)`",
        "`generate(z, y, source=None)`",
        "`Adam(lr, b1=0.5, b2=0.999, eps=1e-08)`",
    ):
        assert f"| {signature} |" in text


@pytest.fixture(scope="module")
def written():
    """The models of the tutorial, by name."""
    names: dict[str, object] = {"__name__": "tutorial"}
    page = ROOT / "docs" / "write-a-plugin.md"
    for block in blocks(page):
        if block.language == "python" and "from my_gan import" not in block.text:
            # A file of their own, so that Python finds their source.
            exec(compile(block.text, inspect.getsourcefile(test_links_lead_somewhere), "exec"), names)
    models = {n: v for n, v in names.items() if isinstance(v, type) and issubclass(v, ganzoo.GAN)}
    for cls in models.values():
        cls.__module__ = __name__
    return models


SHOWN = [
    "MyGAN",
    "TwoToOne",
    "Lazy",
    "Decayed",
    "PathLength",
    "FadesOut",
    "FourPhases",
    "Inverted",
    "Paired",
    "Outlined",
    "Truncatable",
    "Readable",
]
"""The models of the tutorial, each of which keeps the rules that it teaches."""


@pytest.mark.parametrize("name", SHOWN)
def test_the_models_of_the_tutorial_keep_every_rule(written, name):
    data = ganzoo.DataSpec("small", (1, 8, 8), 24, ("a", "b"), source_shape=(1, 8, 8))
    verdicts = check_gan(written[name], data)
    assert {v.rule for v in verdicts if v.status == "skipped"} <= {"pictures", "source", "condition"}


def test_every_model_of_the_tutorial_is_checked(written):
    assert set(written) == set(SHOWN)
