"""Imports point downwards only: what each layer may know of the others."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ganzoo

CORE = Path(ganzoo.__file__).parent
MODULES = {".".join(p.relative_to(CORE.parent).with_suffix("").parts): p for p in sorted(CORE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Every module that the file imports, inside functions too; a name from `ganzoo` counts as its module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not used"
            found.add(node.module)
            found |= {f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in MODULES}
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_no_plugin(module: str):
    assert not [name for name in imports(MODULES[module]) if within(name, "ganzoo_plugins")]


def test_the_trainer_knows_no_plugins():
    assert not imports(MODULES["ganzoo.trainer"]) & {"ganzoo.plugins", "pluggy"}


def test_the_contract_stands_on_torch_and_pydantic_alone():
    allowed = {"torch", "pydantic", "ganzoo.data", "ganzoo.errors", "ganzoo.nets", "ganzoo.optim"}
    for name in imports(MODULES["ganzoo.gan"]) - {"ganzoo"}:
        assert name.split(".")[0] in sys.stdlib_module_names or any(within(name, a) for a in allowed), name


@pytest.mark.parametrize("module", ["ganzoo.losses", "ganzoo.optim"])
def test_the_mathematics_stands_on_torch_alone(module: str):
    outside = {name for name in imports(MODULES[module]) if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in outside} == {"torch"}


@pytest.mark.parametrize("module", ["ganzoo", "ganzoo.cli", "ganzoo.plugins"])
def test_importing_the_door_does_not_import_torch(module: str):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_shipped_plugin_imports_the_core_alone():
    import ganzoo_plugins

    for path in Path(ganzoo_plugins.__file__).parent.rglob("*.py"):
        for name in imports(path):
            assert not within(name, "ganzoo_plugins"), f"{path.name} imports {name}"
