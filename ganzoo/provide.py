"""The runs that a comparison of models needs: those that are there as they are, the others trained and measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ganzoo.blame import blame
from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line
from ganzoo.files import read_json
from ganzoo.launch import resume, start
from ganzoo.plugins import Registry
from ganzoo.preparing import refuse_sources
from ganzoo.runs.folder import open_run
from ganzoo.runs.measuring import measure_run, refuse_side, write_result
from ganzoo.runs.sampler import step_of
from ganzoo.sampling import choose_sampling, dumped, sampling_fields
from ganzoo.settings import BEFORE, BUDGET, Plan, Settings, resolve, validated
from ganzoo.training.engine import choose_device
from ganzoo.training.signals import Stopped
from ganzoo.training.watcher import Enough, Watcher

ASIDE = {"loggers", "sample_interval", "checkpoint_interval", "workers"}
"""Settings that change nothing of what is trained."""


def plans(models: Sequence[str], seeds: Sequence[int], given: Mapping[str, Any], plugins: Registry) -> list[Plan]:
    """A plan for each MODEL or MODEL:PRESET and seed, all of them valid before anything is trained.

    Raises:
        UsageError: an unknown model, preset or data set (the nearest name is given), a value out of its range, or
            sources for a model that takes none.
    """
    made = []
    for name in dict.fromkeys(models):
        model, colon, preset = name.partition(":")
        if colon and not preset:
            raise UsageError(f"{name}: name a preset after the colon, or leave it out")
        kind = plugins.get("models", model)
        made += [resolve(kind, {**given, "seed": seed}, preset or None) for seed in dict.fromkeys(seeds)]
    for plan in made:
        plugins.get("datasets", plan.settings.dataset)
        refuse_sources(plan)
    return made


def check_sampling(plans: Sequence[Plan], sampling: Mapping[str, str]) -> None:
    """See that some model has each option of drawing, and that those which have it take the value.

    Raises:
        UsageError: none has it (the nearest is given), or a value is out of its range or makes what is not measured.
    """
    known = dict.fromkeys(name for plan in plans for name in sampling_fields(plan.model))
    for name in sampling:
        if name not in known:
            hint = did_you_mean(name, list(known)) if known else "they have none"
            raise UsageError(f"--sampling {name}: no model here has such an option of drawing: {hint}")
    for plan in plans:
        refuse_side("what it trains", plan.model, choose_sampling(plan.model, of_model(plan, sampling)))


def of_model(plan: Plan, sampling: Mapping[str, str]) -> dict[str, str]:
    """Those of the options of drawing that the model of a plan has."""
    return {name: value for name, value in sampling.items() if name in sampling_fields(plan.model)}


def folder_of(plan: Plan, home: Path) -> Path:
    """Where the run of a plan is: MODEL-PRESET-DATASET-SOURCE-BUDGET-SEED, the same for the same command."""
    settings = plan.settings
    units = {"epochs": "epochs", "steps": "steps", "max_time": "s"}
    parts = [f"{value:g}{units[key]}" for key in BUDGET if (value := getattr(settings, key)) is not None]
    names = [plan.model.name, *([plan.preset] if plan.preset else []), settings.dataset]
    names += [settings.source.replace(":", "")] if settings.source else []
    return home / "-".join([*names, *(parts or ["default"]), f"seed{settings.seed}"])


def provide_all(
    plans: Sequence[Plan],
    home: Path,
    plugins: Registry,
    watchers: Callable[[], Sequence[Watcher]],
    say: Callable[[str], None],
    sampling: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[Path], dict[Path, GanzooError]]:
    """The runs of all plans, and why some failed: one seed that diverges does not keep the others from the report.

    A run that failed is among the folders if it got as far as having one.

    Raises:
        UsageError: a folder holds a run with other options, or the first run is asked for something that cannot be.
        Stopped: as `provide`.
    """
    for plan in plans:
        if (folder_of(plan, home) / "run.json").exists():
            same_plan(plan, folder_of(plan, home))
    folders: list[Path] = []
    failed: dict[Path, GanzooError] = {}
    for plan in plans:
        folder = folder_of(plan, home)
        try:
            folders.append(provide(plan, home, plugins, watchers, say, sampling))
        except GanzooError as error:
            if isinstance(error, UsageError) and not folders:
                raise
            say(f"{folder}: failed: {one_line(error)}")
            failed[folder] = GanzooError(f"{folder}: {one_line(error)}")
            folders += [folder] if (folder / "run.json").is_file() else []
    return folders, failed


def provide(
    plan: Plan,
    home: Path,
    plugins: Registry,
    watchers: Callable[[], Sequence[Watcher]],
    say: Callable[[str], None],
    sampling: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """The finished, measured run of a plan: as it is, resumed, or trained anew.

    Raises:
        UsageError: its folder holds a run with other options.
        GanzooError: training or measuring failed.
        Stopped: a signal came; what was trained is saved, and the same command goes on from there.
    """
    folder = folder_of(plan, home)
    if not (folder / "run.json").exists():
        say(f"{folder}: training")
        with told("cannot be trained"):
            start(plan, plugins, folder, watchers())
    else:
        same_plan(plan, folder)
        status = read_json(folder / "status.json") if (folder / "status.json").exists() else {}
        if not isinstance(status, dict) or status.get("status") != "finished":
            say(f"{folder}: going on from its last checkpoint")
            with told("cannot be trained"):
                resume(folder, plugins, None, watchers(), say)
        else:
            say(f"{folder}: done already")
    drawn = of_model(plan, sampling)
    if not measured(folder, plan, drawn):
        say(f"{folder}: measuring")
        options = {"metrics": None, "device": choose_device(plan.settings.device)}
        with told("cannot be measured"):
            evaluator, result = measure_run(folder, plugins, None, None, None, 0, options, None, drawn)
        write_result(folder / "eval.json", result, evaluator)
    return folder


@contextmanager
def told(what: str) -> Iterator[None]:
    """An exception of a plugin's own inside, as one line: the other runs go on."""
    try:
        yield
    except (GanzooError, Stopped, Enough):
        raise
    except Exception as error:
        whose = blame(error)
        raise GanzooError(f"{what}: {whose + ': ' if whose else ''}{one_line(error)}") from error


def same_plan(plan: Plan, folder: Path) -> None:
    """Refuse to pass off a run with other options as the one that was asked for.

    Raises:
        UsageError: an option differs; it is named with both values.
    """
    info = open_run(folder)
    if (info["model"], info.get("preset")) != (plan.model.name, plan.preset):
        other = ":".join(str(part) for part in (info["model"], info.get("preset")) if part)
        raise UsageError(f"{folder} is a run of {other}: choose another --out, or compare it by naming its folder")
    wanted = {**plan.settings.model_dump(mode="json"), **plan.options.model_dump(mode="json")}
    # What the run's version of ganzoo had no option for was as it is by default now.
    defaults = validated(Settings, {}).model_dump(mode="json") | BEFORE
    found = {**defaults, **(info.get("settings") or {}), **(info.get("options") or {})}
    aside = ASIDE if uses_labels(plan, info) else {*ASIDE, "labels"}
    for key in wanted.keys() - aside:
        same = wanted[key] == found.get(key) or (key == "data_options" and not (wanted[key] or found.get(key)))
        if not same:
            raise UsageError(
                f"{folder} was trained with {key.replace('_', '-')} {found.get(key)}, not {wanted[key]}: "
                "choose another --out, or compare the run as it is by naming its folder"
            )


def uses_labels(plan: Plan, info: Mapping[str, Any]) -> bool:
    """Whether the model of a plan is one to which labels mean anything, on the data that a `run.json` describes."""
    data = info.get("data")
    return not isinstance(data, dict) or plan.model.uses_labels(DataSpec.from_json(data), plan.options)


def measured(folder: Path, plan: Plan, sampling: Mapping[str, str]) -> bool:
    """Whether `eval.json` is of the generator that is there, says how it was asked for classes, and drew so."""
    try:
        result = read_json(folder / "eval.json")
    except GanzooError:
        return False
    protocol = result.get("protocol") if isinstance(result, dict) else None
    if not (isinstance(protocol, dict) and "labels" in protocol):
        return False
    wanted = dumped(plan.model, choose_sampling(plan.model, sampling))
    return protocol.get("sampling", {}) == wanted and result.get("step") == step_of(folder)
