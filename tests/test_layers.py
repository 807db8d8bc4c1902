"""Imports point downwards only: what each layer may know of the others."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ganzoo

CORE = Path(ganzoo.__file__).parent
MODULES = {
    ".".join(p.relative_to(CORE.parent).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(CORE.rglob("*.py"))
}


def imports(path: Path) -> set[str]:
    """Every module that the file imports, inside functions too; of `from ganzoo.data import memory`, that module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not used"
            modules = {f"{node.module}.{a.name}" for a in node.names} & MODULES.keys()
            found |= modules if len(modules) == len(node.names) else modules | {node.module}
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


TABLE = re.findall(r"^\| (`.*?) \|", (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(), re.MULTILINE)
ROWS = [
    [name.removesuffix(".py").removesuffix("/") for name in re.findall(r"`(.*?)`", row) if (CORE / name).exists()]
    for row in reversed(TABLE)
]
"""What CONTRIBUTING.md says of rooms and of modules in none, lowest first: each row imports those before it, and no
other."""
GRAPH = {
    name: {other for other in imports(path) if other in MODULES and other not in (name, "ganzoo")}
    for name, path in MODULES.items()
    if name != "ganzoo"  # The door, which names what lies behind it for types.
}
"""What each module imports of ganzoo, for types alone too; a name that a room's `__init__` gives counts as the room."""


def room(module: str) -> str:
    return module.split(".")[1]


def row(module: str) -> int:
    return next(i for i, names in enumerate(ROWS) if room(module) in names)


@pytest.mark.parametrize("module", GRAPH)
def test_imports_point_downwards_only(module: str):
    for other in GRAPH[module]:
        assert row(other) <= row(module), f"{module} imports {other}"


@pytest.mark.parametrize("module", [name for name in GRAPH if room(name) != "commands"])
def test_only_the_command_line_stands_on_commands(module: str):
    assert not [other for other in GRAPH[module] if room(other) == "commands"]


def test_every_folder_and_every_module_in_none_has_its_row():
    assert sorted(name for names in ROWS for name in names) == sorted({room(module) for module in GRAPH})


def test_no_two_modules_import_each_other_not_even_by_way_of_others():
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(GRAPH[module]):
                walk(other, (*way, module))
            done.add(module)

    for module in sorted(GRAPH):
        walk(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_no_plugin(module: str):
    assert not [name for name in imports(MODULES[module]) if within(name, "ganzoo_plugins")]


def test_the_trainer_knows_no_plugins():
    assert not imports(MODULES["ganzoo.training.trainer"]) & {"ganzoo.plugins", "pluggy"}


def test_the_contract_stands_on_torch_and_pydantic_alone():
    ours = {f"ganzoo.{name}" for name in ("data", "errors", "fields", "nets", "optim", "precision")}
    allowed = {"torch", "pydantic", *ours}
    for name in imports(MODULES["ganzoo.gan"]) - {"ganzoo"}:
        assert name.split(".")[0] in sys.stdlib_module_names or any(within(name, a) for a in allowed), name


@pytest.mark.parametrize("module", ["ganzoo.losses", "ganzoo.optim", "ganzoo.precision"])
def test_the_mathematics_stands_on_torch_alone(module: str):
    found = imports(MODULES[module]) - {"ganzoo.precision"}
    outside = {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in outside} == {"torch"}


@pytest.mark.parametrize("module", ["ganzoo", "ganzoo.cli", "ganzoo.plugins"])
def test_importing_the_door_does_not_import_torch(module: str):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_shipped_plugin_imports_the_core_and_itself_alone():
    import ganzoo_plugins

    home = Path(ganzoo_plugins.__file__).parent
    for path in home.rglob("*.py"):
        own = ".".join(["ganzoo_plugins", *path.relative_to(home).parts[:-1]])
        for name in imports(path):
            mine = own != "ganzoo_plugins" and within(name, own)
            assert mine or not within(name, "ganzoo_plugins"), f"{path.name} imports {name}"
