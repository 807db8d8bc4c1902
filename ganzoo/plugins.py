"""The plugin manager: finds plugins by entry point, keeps the broken ones from stopping the rest."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

import pluggy

from ganzoo import hookspecs
from ganzoo.blame import BASES
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line

GROUP = "ganzoo"
NOT_INSTALLED = "(not installed)"
"""Stands for the distribution of a class that a program handed over."""
GIVEN = "given"
"""The name of data that a program handed over."""
BUILT_IN = "ganzoo"
"""The distribution whose plugins `GANZOO_PLUGINS` never leaves out."""

NOUNS = {
    "models": "model",
    "datasets": "data set",
    "metrics": "metric",
    "features": "feature extractor",
    "augmentations": "augmentation",
    "regularisers": "regulariser",
    "loggers": "logger",
}
"""What can be chosen by name, and what one is called."""
HOOKS = {
    "register_models": ("models",),
    "register_datasets": ("datasets",),
    "register_metrics": ("metrics", "features"),
    "register_augmentations": ("augmentations",),
    "register_regularisers": ("regularisers",),
    "register_loggers": ("loggers",),
}
"""The hooks, and the kinds that each may register."""


@dataclass
class Plugin:
    """One entry point: where it comes from, what it brought, or why it is broken."""

    name: str
    package: str
    """The distribution that declares it."""
    version: str
    module: str
    broken: str | None = None
    """The reason in one line; None while all is well."""
    registered: dict[str, list[str]] = field(default_factory=dict)
    """Names by kind, a key of `NOUNS`."""

    @property
    def source(self) -> str:
        """The package and module, as errors name them."""
        return f"{self.package} {self.version} ({self.module})"

    @property
    def built_in(self) -> bool:
        """Whether it ships with ganzoo."""
        return self.package == BUILT_IN


class Registry:
    """Everything that can be chosen by name. Make one with `discover`."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.conflicts: list[str] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._items: dict[str, dict[str, tuple[type[Any], Plugin]]] = {kind: {} for kind in NOUNS}

    def add(self, plugin: Plugin, module: Any) -> None:
        """Register what `module` brings, all of it or, when it is broken, none."""
        if any(p.name == plugin.name for p in self.plugins):
            other = next(p for p in self.plugins if p.name == plugin.name)
            self.conflicts.append(f"two plugins are named '{plugin.name}': {other.source} and {plugin.source}")
        self.plugins.append(plugin)
        found: list[tuple[str, type[Any]]] = []
        key = f"{plugin.package}:{plugin.name}"
        try:
            self._manager.register(module, name=key)
            self._check_hooks(module)
            others = [p for p in self._manager.get_plugins() if p is not module]
            for name, kinds in HOOKS.items():
                hook = self._manager.subset_hook_caller(name, remove_plugins=others)
                hook(register=lambda cls, name=name, kinds=kinds: found.append((_checked(cls, name, kinds), cls)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # A plugin may even call sys.exit.
            plugin.broken = one_line(error)
            if self._manager.has_plugin(key):
                self._manager.unregister(name=key)
            return
        for kind, cls in found:
            taken = self._items[kind].get(cls.name)
            if taken:
                self.conflicts.append(
                    f"{NOUNS[kind]} '{cls.name}' is registered twice: by {taken[1].source} and by {plugin.source}"
                )
                continue
            self._items[kind][cls.name] = (cls, plugin)
            plugin.registered.setdefault(kind, []).append(cls.name)

    def _check_hooks(self, module: Any) -> None:
        """Refuse a module whose hooks pluggy would pass over in silence: misspelt, or not marked.

        Raises:
            GanzooError: it has no hook, or one that ganzoo does not know and that is not marked `optionalhook`.
        """
        callers = self._manager.get_hookcallers(module)
        if not callers:
            raise GanzooError("it implements no hook; mark one, such as register_models, with @ganzoo.hookimpl")
        for caller in callers:
            required = any(i.plugin is module and not i.optionalhook for i in caller.get_hookimpls())
            if required and not caller.has_spec():
                raise GanzooError(f"ganzoo has no hook named '{caller.name}': {did_you_mean(caller.name, list(HOOKS))}")

    def having(self, kind: str, cls: type[Any]) -> "Registry":
        """A copy that has a class which no package brings: a model of a notebook, say.

        Raises:
            UsageError: it is no such class, has no name, or that of one that is installed.
        """
        hook = next(hook for hook, kinds in HOOKS.items() if kind in kinds)
        found = _kind_of(cls, HOOKS[hook])
        if found is None:
            raise UsageError(f"{cls.__qualname__} is {_no_subclass(HOOKS[hook])}")
        if found != kind:
            raise UsageError(f"{cls.__name__} is not a {NOUNS[kind]}")
        try:
            _refuse_faulty(cls, kind)
        except GanzooError as error:
            raise UsageError(str(error)) from None
        where = f"{cls.__module__}.{cls.__qualname__}"
        known = self._items[kind].get(cls.name)
        if known is not None and known[0] is cls:
            return self
        if known is not None and known[1].package != NOT_INSTALLED:
            raise UsageError(f"{NOUNS[kind]} '{cls.name}' is that of {known[1].source}: give {where} another name")
        more = Registry()
        more.plugins, more.conflicts, more._manager = self.plugins, self.conflicts, self._manager
        more._items = {key: dict(items) for key, items in self._items.items()}
        more._items[kind][cls.name] = (cls, Plugin(cls.name, NOT_INSTALLED, "-", where))
        return more

    def over(self, other: "Registry") -> "Registry":
        """A copy of `other` that has the models which were handed over here too; the later of one name counts."""
        for cls, plugin in self._items["models"].values():
            if plugin.package == NOT_INSTALLED:
                other = other.having("models", cls)
        return other

    def check(self) -> "Registry":
        """This registry, if no two plugins claim one name.

        Raises:
            GanzooError: two do; both packages are named.
        """
        if self.conflicts:
            raise GanzooError(f"{self.conflicts[0]}; uninstall one of them, or choose with GANZOO_PLUGINS=name,...")
        return self

    def names(self, kind: str) -> list[str]:
        """The names of a kind (a key of `NOUNS`), sorted."""
        return sorted(self._items[kind])

    def get(self, kind: str, name: str) -> type[Any]:
        """The class registered under a name.

        Raises:
            UsageError: there is none; the nearest name is given, or the broken plugin that may have held it.
        """
        if name in self._items[kind]:
            return self._items[kind][name][0]
        for plugin in self.plugins:
            if plugin.broken and plugin.name == name:
                raise UsageError(f"plugin '{name}' is broken: {plugin.broken}")
        if other := next((k for k in NOUNS if name in self._items[k]), None):
            one, wanted = (f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in (NOUNS[other], NOUNS[kind]))
            raise UsageError(f"'{name}' is {one}, not {wanted}: see `ganzoo list {other}`")
        broken = ", ".join(plugin.name for plugin in self.plugins if plugin.broken)
        hint = f" (broken plugins: {broken}; see `ganzoo list plugins`)" if broken else ""
        raise UsageError(f"no {NOUNS[kind]} is named '{name}': {did_you_mean(name, self.names(kind))}{hint}")

    def provider(self, kind: str, name: str) -> Plugin:
        """The plugin that registered a name."""
        return self._items[kind][name][1]


def discover(
    entry_points: Iterable[metadata.EntryPoint] | None = None, environ: Mapping[str, str] = os.environ
) -> Registry:
    """Load every plugin that is installed: what ships with ganzoo first, then the rest by name.

    `GANZOO_PLUGINS=a,b` limits the others to those entry points (or packages); empty means ganzoo's own only. A
    plugin that cannot be imported is kept in the list with the reason, and never raises.
    """
    registry = Registry()
    found = list(metadata.entry_points(group=GROUP) if entry_points is None else entry_points)
    chosen = environ.get("GANZOO_PLUGINS")
    wanted = None if chosen is None else {name.strip() for name in chosen.split(",") if name.strip()}
    seen: set[str] = set()
    for entry in sorted(found, key=lambda e: (_package(e)[0] != BUILT_IN, e.name, _package(e))):
        package, version = _package(entry)
        plugin = Plugin(entry.name, package, version, entry.value)
        if wanted is not None and package != BUILT_IN and not wanted & {entry.name, package}:
            continue
        seen |= {entry.name, package}
        try:
            with redirect_stdout(sys.stderr):  # What a command prints is its own: `--json` is read by programs.
                module = entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # A plugin may even call sys.exit.
            plugin.broken = one_line(error)
            registry.plugins.append(plugin)
            continue
        with redirect_stdout(sys.stderr):
            registry.add(plugin, module)
    for name in sorted((wanted or set()) - seen):
        registry.plugins.append(Plugin(name, "-", "-", "-", broken="named in GANZOO_PLUGINS, but not installed"))
    return registry


_registry: Registry | None = None


def registry() -> Registry:
    """The registry of this process, made at the first call."""
    global _registry
    if _registry is None:
        _registry = discover()
    return _registry


def _package(entry: metadata.EntryPoint) -> tuple[str, str]:
    dist = getattr(entry, "dist", None)
    return (dist.name, dist.version) if dist else ("unknown", "0")


def _base(kind: str) -> type[Any]:
    """A kind's base class. Found when it is asked for: it needs torch, and this module is imported before it."""
    module, name = BASES[NOUNS[kind]]
    base: type[Any] = getattr(import_module(module), name)
    return base


def is_name(value: Any) -> bool:
    """Whether it is lower-case words joined by '-'."""
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value) is not None


def _checked(cls: Any, hook: str, kinds: tuple[str, ...]) -> str:
    """The kind of a class that a hook was given."""
    kind = _kind_of(cls, kinds)
    if kind is None:
        raise GanzooError(f"{hook} was given {cls!r}, which is {_no_subclass(kinds)}")
    _refuse_faulty(cls, kind)
    return kind


def _kind_of(cls: Any, kinds: tuple[str, ...]) -> str | None:
    """The first of these that a class is of."""
    return next((kind for kind in kinds if isinstance(cls, type) and issubclass(cls, _base(kind))), None)


def _no_subclass(kinds: tuple[str, ...]) -> str:
    return f"not a subclass of {' or '.join(f'ganzoo.{_base(kind).__name__}' for kind in kinds)}"


def _refuse_faulty(cls: Any, kind: str) -> None:
    """Refuse a class of this kind that would break listings, or the commands of others.

    Raises:
        GanzooError: what it lacks, or what of it is of the wrong type.
    """
    name = getattr(cls, "name", None)
    if not is_name(name):
        raise GanzooError(f"{cls.__name__}.name must be lower-case words joined by '-', not {name!r}")
    about = "paper" if kind == "models" else "summary"
    if not isinstance(getattr(cls, about, None), str):
        raise GanzooError(f"{cls.__name__}.{about} must be one line of text, not {getattr(cls, about, None)!r}")
    if lacks := sorted(getattr(cls, "__abstractmethods__", ())):
        raise GanzooError(f"{cls.__name__} does not state {', '.join(lacks)}")
    if kind == "models":
        _check_options(cls)
    if kind == "datasets":
        _check_dataset(cls)
    if kind in ("augmentations", "regularisers"):
        check_ingredient(cls)


def _check_options(cls: Any) -> None:
    """Refuse a model whose options or presets would break listings and `ganzoo run --help` for every other one.

    Raises:
        GanzooError: `Options` is no subclass of ganzoo.Options, a preset is no mapping or names an unknown option,
            `Sampling` is refused, or an option has a name that a command has already.
    """
    from ganzoo.gan import Options
    from ganzoo.settings import Settings

    if not (isinstance(cls.Options, type) and issubclass(cls.Options, Options)):
        raise GanzooError(f"{cls.__name__}.Options must be a subclass of ganzoo.Options, not {cls.Options!r}")
    if not isinstance(cls.presets, Mapping) or not all(isinstance(name, str) for name in cls.presets):
        raise GanzooError(f"{cls.__name__}.presets must be a mapping from names to options, not {cls.presets!r}")
    _check_fields(cls)
    _check_sampling(cls)
    if clash := clashing(cls):
        raise GanzooError(clash)
    known = [*Settings.model_fields, *cls.Options.model_fields]
    for name, values in cls.presets.items():
        if not isinstance(values, Mapping):
            raise GanzooError(f"{cls.__name__}.presets['{name}'] must be a mapping of options, not {values!r}")
        for key in values:
            if key not in known:
                hint = did_you_mean(str(key), known)
                raise GanzooError(f"{cls.__name__}.presets['{name}'] sets '{key}', which is no option: {hint}")


def check_ingredient(cls: Any) -> None:
    """Refuse an augmentation or a regulariser whose options could not be left out, or explained.

    Raises:
        GanzooError: `Options` is no subclass of ganzoo.IngredientOptions, or one of its fields lacks something.
    """
    from ganzoo.ingredients import IngredientOptions

    if not (isinstance(cls.Options, type) and issubclass(cls.Options, IngredientOptions)):
        raise GanzooError(f"{cls.__name__}.Options must be a subclass of ganzoo.IngredientOptions, not {cls.Options!r}")
    _check_fields(cls, described=True)


def _check_dataset(cls: Any) -> None:
    """Refuse a data set whose options no command could have.

    Raises:
        GanzooError: `Options` is no subclass of ganzoo.data.DatasetOptions, or one of its fields lacks something or has
            the name of an option of every run.
    """
    from ganzoo.data import DatasetOptions
    from ganzoo.fields import flags
    from ganzoo.settings import Settings

    if not (isinstance(cls.Options, type) and issubclass(cls.Options, DatasetOptions)):
        raise GanzooError(f"{cls.__name__}.Options must be a subclass of DatasetOptions, not {cls.Options!r}")
    _check_fields(cls, described=True)
    for name, info in cls.Options.model_fields.items():
        if flags({name: info}) & flags(Settings.model_fields):
            raise GanzooError(f"{cls.__name__}.Options.{name} has the name of an option of every run: choose another")


def _check_fields(cls: Any, described: bool = False) -> None:
    """Refuse options that no command can have; or, where they are to be `described`, that are not.

    Raises:
        GanzooError: one cannot be left out or given, or has no description.
    """
    from ganzoo.fields import fault_of

    by_name = cls.Options.model_config.get("populate_by_name") or cls.Options.model_config.get("validate_by_name")
    for name, info in cls.Options.model_fields.items():
        fault = fault_of(info) or ("has no description" if described and not info.description else None)
        if not fault and (info.alias or info.validation_alias) and not by_name:
            fault = "has an alias: options go by the names of their fields"
        if fault:
            raise GanzooError(f"{cls.__name__}.Options.{name} {fault}")


def _check_sampling(cls: Any) -> None:
    """Refuse options of drawing that no command could have.

    Raises:
        GanzooError: `Sampling` is no pydantic model, or one of its fields cannot be left out or given.
    """
    from pydantic import BaseModel

    from ganzoo.fields import fault_of
    from ganzoo.sampling import sampling_fields

    if not (isinstance(cls.Sampling, type) and issubclass(cls.Sampling, BaseModel)):
        raise GanzooError(f"{cls.__name__}.Sampling must be a subclass of ganzoo.Sampling, not {cls.Sampling!r}")
    for name, info in sampling_fields(cls).items():
        if fault := fault_of(info):
            why = ", with which training would draw" if info.is_required() else ""
            raise GanzooError(f"{cls.__name__}.Sampling.{name} {fault}{why}")


def clashing(cls: Any) -> str | None:
    """What is wrong with the names of a model's options: the first that a command has already; or None."""
    from ganzoo import sampling, settings
    from ganzoo.fields import flags

    taken = flags(settings.Settings.model_fields) | settings.TAKEN
    for name, info in cls.Options.model_fields.items():
        if flags({name: info}) & taken:
            return f"{cls.__name__}.Options.{name} has the name of an option of every run: choose another"
        others = {other: field for other, field in cls.Options.model_fields.items() if other != name}
        if name in flags(others):
            return f"{cls.__name__}.Options.{name} is how one switches '{name.removeprefix('no_')}' off: choose another"
    for name, info in sampling.sampling_fields(cls).items():
        if flags({name: info}) & sampling.TAKEN:
            return (
                f"{cls.__name__}.Sampling.{name} has the name of an option of `ganzoo sample`, `eval` or `demo`: "
                "choose another"
            )
    return None
