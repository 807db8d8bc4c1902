"""The plugin manager, on real packages: folders on the path with a dist-info and entry points."""

from importlib import metadata
from itertools import count
from pathlib import Path
from textwrap import dedent, indent

import pytest

from ganzoo.errors import GanzooError, UsageError
from ganzoo.plugins import Plugin, Registry, discover

MODEL = """
    import ganzoo

    class Model(ganzoo.GAN):
        name = "{name}"
        paper = "none"

    @ganzoo.hookimpl
    def register_models(register):
        register(Model)
"""


SITES = count()


class Site:
    """A folder of installed packages."""

    def __init__(self, folder: Path):
        self.folder = folder

    def install(self, package: str, **modules: str) -> None:
        """Put a package there, each keyword an entry point `name` to the module `PACKAGE_NAME` with this source."""
        info = self.folder / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        entries = "".join(f"{name} = {self.folder.name}_{package}_{name}\n" for name in modules)
        (info / "entry_points.txt").write_text(f"[ganzoo]\n{entries}")
        for name, source in modules.items():
            (self.folder / f"{self.folder.name}_{package}_{name}.py").write_text(dedent(source))

    def discover(self, **environ: str) -> Registry:
        """A registry of these packages and no others."""
        packages = metadata.distributions(path=[str(self.folder)])
        return discover([e for p in packages for e in p.entry_points if e.group == "ganzoo"], environ)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    # Modules are named after the folder, so that each test imports its own.
    folder = tmp_path / f"site{next(SITES)}"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return Site(folder)


def reasons(registry: Registry) -> dict[str, str | None]:
    """Why each plugin is broken, by name."""
    return {plugin.name: plugin.broken for plugin in registry.plugins}


# What works


def test_a_name_may_begin_with_a_digit(site):
    site.install("volumes", three=MODEL.format(name="3d-gan"))
    assert site.discover().names("models") == ["3d-gan"]


def test_what_ships_with_ganzoo_comes_by_the_same_door(site):
    site.install("strangers", mine=MODEL.format(name="mine"))
    registry = discover(environ={})
    assert {"gan", "cgan", "mine"} <= set(registry.names("models"))
    assert "tensorboard" in registry.names("loggers")
    assert registry.provider("models", "cgan").built_in


def test_a_strangers_model_is_found_with_its_source(site):
    site.install("strangers", mine=MODEL.format(name="my-gan"))
    registry = site.discover().check()
    assert registry.names("models") == ["my-gan"]
    assert registry.get("models", "my-gan").name == "my-gan"
    provider = registry.provider("models", "my-gan")
    assert (provider.package, provider.version, provider.built_in) == ("strangers", "1.2", False)
    assert provider.registered == {"models": ["my-gan"]}


def test_one_plugin_may_bring_several_kinds(site):
    source = """
        import ganzoo

        class Log(ganzoo.Logger):
            name = "log"
            summary = "nothing"

            def scalars(self, step, values): ...

            def image(self, step, name, picture): ...

        @ganzoo.hookimpl
        def register_loggers(register):
            register(Log)
    """
    site.install("strangers", both=dedent(MODEL.format(name="mine")) + dedent(source))
    assert site.discover().plugins[0].registered == {"models": ["mine"], "loggers": ["log"]}


def test_no_installed_plugin_is_no_error():
    registry = discover([], {})
    assert registry.plugins == registry.names("models") == []
    with pytest.raises(UsageError, match="no model is named 'cgan': none is installed"):
        registry.get("models", "cgan")


# What is broken


BROKEN = {
    "missing": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    "syntax": ("def (", "SyntaxError"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "empty": ("", "it implements no hook"),
    "unmarked": ("def register_models(register): pass", "mark one, such as register_models, with @ganzoo.hookimpl"),
    "misspelt": (
        "import ganzoo\n@ganzoo.hookimpl\ndef register_model(register): pass",
        "ganzoo has no hook named 'register_model': did you mean 'register_models'?",
    ),
    "arguments": (
        "import ganzoo\n@ganzoo.hookimpl\ndef register_models(register, more): pass",
        "PluginValidationError",
    ),
    "raises": (
        "import ganzoo\n@ganzoo.hookimpl\ndef register_models(register): raise ValueError('no\\n GPU')",
        "ValueError: no GPU",
    ),
    "exits": (
        "import ganzoo\n@ganzoo.hookimpl\ndef register_models(register): raise SystemExit('bye')",
        "SystemExit: bye",
    ),
    "instance": (
        "import ganzoo\n@ganzoo.hookimpl\ndef register_models(register): register(object())",
        "which is not a subclass of ganzoo.GAN",
    ),
    "kind": (
        "import ganzoo\n@ganzoo.hookimpl\ndef register_datasets(register): register(ganzoo.GAN)",
        "register_datasets was given <class 'ganzoo.gan.GAN'>, which is not a subclass of ganzoo.Dataset",
    ),
    "nameless": (
        "import ganzoo\nclass M(ganzoo.GAN): pass\n@ganzoo.hookimpl\ndef register_models(register): register(M)",
        "M.name must be lower-case words joined by '-', not None",
    ),
    "dashed": (MODEL.format(name="-mine"), "Model.name must be lower-case words joined by '-', not '-mine'"),
    "doubled": (MODEL.format(name="a--b"), "Model.name must be lower-case words joined by '-', not 'a--b'"),
    "paperless": (
        MODEL.format(name="mine").replace("paper =", "papers ="),
        "Model.paper must be one line of text, not None",
    ),
    "summaryless": (
        "import ganzoo\nclass D(ganzoo.Dataset): name = 'd'\n"
        "@ganzoo.hookimpl\ndef register_datasets(register): register(D)",
        "D.summary must be one line of text, not None",
    ),
    "halfway": (
        "import ganzoo\nclass L(ganzoo.Logger): name, summary = 'l', 'half'\n"
        "@ganzoo.hookimpl\ndef register_loggers(register): register(L)",
        "L does not state image, scalars",
    ),
    "optionless": (
        MODEL.format(name="mine").replace("paper =", "Options = dict; paper ="),
        "Model.Options must be a subclass of ganzoo.Options, not <class 'dict'>",
    ),
    "listed": (
        MODEL.format(name="mine").replace("paper =", "presets = ['a']; paper ="),
        "Model.presets must be a mapping",
    ),
    "unmapped": (
        MODEL.format(name="mine").replace("paper =", "presets = {'a': 3}; paper ="),
        "Model.presets['a'] must be a mapping of options, not 3",
    ),
    "stray": (
        MODEL.format(name="mine").replace("paper =", "presets = {'a': {'steps': 1, 'epoch': 3}}; paper ="),
        "Model.presets['a'] sets 'epoch', which is no option: did you mean 'epochs'?",
    ),
    "shouting": (MODEL.format(name="My GAN"), "not 'My GAN'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_while_others_work(site, case: str):
    source, reason = BROKEN[case]
    site.install("breaks", **{case: source})
    site.install("works", mine=MODEL.format(name="mine"))
    registry = site.discover().check()
    assert registry.names("models") == ["mine"]
    why = reasons(registry)
    assert why["mine"] is None
    assert reason in why[case]
    assert "\n" not in why[case]


def test_a_plugin_is_registered_whole_or_not_at_all(site):
    broken = dedent(MODEL.format(name="half")) + indent("register(object())\n", "    ")
    site.install("breaks", half=broken)
    registry = site.discover()
    assert registry.names("models") == []
    assert registry.plugins[0].registered == {}


def test_what_a_plugin_prints_as_it_loads_is_no_part_of_a_commands_output(site, capsys):
    site.install("talks", chatty="print('imported')\n" + dedent(MODEL.format(name="mine")))
    assert site.discover().names("models") == ["mine"]
    assert capsys.readouterr() == ("", "imported\n")


def test_an_interrupt_while_plugins_load_is_not_swallowed(site):
    site.install("breaks", now="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.discover()


def test_a_hook_of_a_later_ganzoo_may_be_marked_optional(site):
    later = "@ganzoo.hookimpl(optionalhook=True)\ndef register_dreams(register): pass\n"
    site.install("modern", mine=dedent(MODEL.format(name="mine")) + later)
    assert reasons(site.discover()) == {"mine": None}


# Names


def test_two_models_with_one_name_are_an_error_that_names_both_packages(site):
    site.install("one", first=MODEL.format(name="same"))
    site.install("two", second=MODEL.format(name="same"))
    registry = site.discover()
    with pytest.raises(GanzooError, match=r"model 'same' is registered twice: by one 1\.2 .+ and by two 1\.2"):
        registry.check()


def test_two_plugins_with_one_name_are_an_error_that_names_both_packages(site):
    site.install("one", same=MODEL.format(name="first"))
    site.install("two", same=MODEL.format(name="second"))
    with pytest.raises(GanzooError, match=r"two plugins are named 'same': one 1\.2 .+ and two 1\.2"):
        site.discover().check()


def test_a_conflict_is_settled_by_choosing(site):
    site.install("one", first=MODEL.format(name="same"))
    site.install("two", second=MODEL.format(name="same"))
    registry = site.discover(GANZOO_PLUGINS="second").check()
    assert registry.provider("models", "same").package == "two"


def test_an_unknown_name_gets_the_nearest_one(site):
    site.install("strangers", mine=MODEL.format(name="my-gan"))
    registry = site.discover()
    with pytest.raises(UsageError, match=r"^no model is named 'mygan': did you mean 'my-gan'\?$"):
        registry.get("models", "mygan")
    with pytest.raises(UsageError, match=r"^no data set is named 'mygan': none is installed$"):
        registry.get("datasets", "mygan")


def test_a_name_of_another_kind_is_told_as_that():
    from ganzoo.plugins import registry

    with pytest.raises(UsageError, match="'fid' is a metric, not a model: see `ganzoo list metrics`"):
        registry().get("models", "fid")


def test_an_unknown_name_points_at_broken_plugins(site):
    site.install("breaks", lost="import no_such_module_anywhere")
    registry = site.discover()
    with pytest.raises(UsageError, match=r"^plugin 'lost' is broken: ModuleNotFoundError"):
        registry.get("models", "lost")
    with pytest.raises(UsageError, match="broken plugins: lost"):
        registry.get("models", "other")


# GANZOO_PLUGINS


@pytest.mark.parametrize(
    ("chosen", "loaded"),
    [("a", {"a"}), ("a,b", {"a", "b"}), (" a , b ,", {"a", "b"}), ("second", {"c"}), ("", set()), (",", set())],
)
def test_the_environment_limits_plugins_by_name_or_package(site, chosen: str, loaded: set[str]):
    site.install("first", a=MODEL.format(name="model-a"), b=MODEL.format(name="model-b"))
    site.install("second", c=MODEL.format(name="model-c"))
    assert {p.name for p in site.discover(GANZOO_PLUGINS=chosen).plugins} == loaded


def test_what_ships_with_ganzoo_is_never_left_out(site):
    site.install("strangers", mine=MODEL.format(name="mine"))
    registry = discover(environ={"GANZOO_PLUGINS": ""})
    assert {p.package for p in registry.plugins} == {"ganzoo"}
    assert "cgan" in registry.names("models")


def test_a_plugin_left_out_is_not_even_imported(site):
    site.install("strangers", mine="raise KeyboardInterrupt")
    assert site.discover(GANZOO_PLUGINS="").plugins == []


def test_naming_a_plugin_that_is_not_installed_is_listed(site):
    site.install("strangers", mine=MODEL.format(name="mine"))
    registry = site.discover(GANZOO_PLUGINS="mine,yours")
    assert reasons(registry) == {"mine": None, "yours": "named in GANZOO_PLUGINS, but not installed"}


# The factory


def test_registries_do_not_share_anything(site):
    site.install("strangers", mine=MODEL.format(name="mine"))
    assert site.discover().names("models") == ["mine"]
    assert site.discover().names("models") == ["mine"]
    assert Registry().names("models") == []


def test_an_object_can_be_a_plugin_too():
    import ganzoo

    class Model(ganzoo.GAN):
        name = "here"
        paper = "none"

    class Module:
        @ganzoo.hookimpl
        def register_models(self, register):
            register(Model)

    registry = Registry()
    registry.add(Plugin("here", "test", "0", "here"), Module())
    assert registry.get("models", "here") is Model
