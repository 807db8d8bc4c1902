"""The runs that a comparison of models needs: those that are there as they are, the others trained and measured."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ganzoo.apart import told, train_apart
from ganzoo.data import DataSpec
from ganzoo.errors import GanzooError, UsageError, did_you_mean, one_line
from ganzoo.fields import validated
from ganzoo.files import check_place, read_json
from ganzoo.gan import GAN
from ganzoo.launch import resume, start
from ganzoo.metrics.evaluation import Evaluator
from ganzoo.metrics.protocol import Labels, asked_of, comparable, labels_of
from ganzoo.plugins import Registry
from ganzoo.preparing import load_data, refuse_idle_root, refuse_sources
from ganzoo.report.read import RunRecord, mapping, number, read_run, step_at
from ganzoo.runs.folder import model_of, open_run, refuse_absent
from ganzoo.runs.hub import sibling
from ganzoo.runs.measuring import measure_run, place_of_result, refuse_side, result_of, write_result
from ganzoo.runs.sampler import step_of
from ganzoo.sampling import choose_sampling, dumped, sampling_fields
from ganzoo.settings import BEFORE, BUDGET, Plan, Settings, flatten, resolve
from ganzoo.training.engine import choose_device
from ganzoo.training.watcher import Watcher

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
        refuse_idle_root(plan, given, plugins)
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
    apart: bool = False,
) -> tuple[list[Path], dict[Path, GanzooError]]:
    """The runs of all plans, and why some failed: one seed that diverges does not keep the others from the report.

    A run that failed is among the folders if it got as far as having one. `apart`: as `provide` takes it.

    Raises:
        UsageError: a folder holds a run with other options, or the first run is asked for something that cannot be.
        Stopped: as `provide`.
    """
    wanted = [Wanted(plan, folder_of(plan, home), of_model(plan, sampling)) for plan in plans]
    return provide_wanted(wanted, plugins, watchers, say, apart)


METRIC_OF = {
    **dict.fromkeys(("precision", "recall", "density", "coverage"), "prdc"),
    **dict.fromkeys(("good_samples", "reverse_kl"), "modes"),
    "ssim_inner": "ssim",
    "tags_at_1": "tags",
}
"""The metrics that give numbers of other names than their own."""


class Wanted(NamedTuple):
    """A run that a comparison needs."""

    plan: Plan
    folder: Path
    sampling: Mapping[str, str]
    """Options of drawing with which it is measured."""
    like: dict[str, Any] | None = None
    """A result as `ganzoo eval` writes it: it is measured as that was. None: as by default."""
    share: float = 1.0
    """How much of its budget is spent on it: less than 1, apart, for one that may go on later."""
    anew: bool = False
    """It is measured even where there is a result, which somebody may have made otherwise."""


def provide_wanted(
    wanted: Sequence[Wanted],
    plugins: Registry,
    watchers: Callable[[], Sequence[Watcher]],
    say: Callable[[str], None],
    apart: bool,
) -> tuple[list[Path], dict[Path, GanzooError]]:
    """As `provide_all`, of runs whose folders are known."""
    for run in wanted:
        if (run.folder / "run.json").exists():
            same_plan(run.plan, run.folder)
    refuse_unmeasurable([run.plan for run in wanted if not (run.like or (run.folder / "run.json").exists())], plugins)
    folders: list[Path] = []
    failed: dict[Path, GanzooError] = {}
    for run in wanted:
        folder = run.folder
        try:
            folders.append(provide(run, plugins, watchers, say, apart))
        except GanzooError as error:
            if isinstance(error, UsageError) and not folders:
                raise
            say(f"{folder}: failed: {one_line(error)}")
            failed[folder] = GanzooError(f"{folder}: {one_line(error)}")
            folders += [folder] if (folder / "run.json").is_file() else []
    return folders, failed


def refuse_unmeasurable(plans: Sequence[Plan], plugins: Registry, by: str | None = None) -> None:
    """See, before anything is trained, that what comes of these runs can be measured, by a metric too.

    Raises:
        UsageError: it cannot, for one of them.
    """
    seen = set()
    for plan in plans:
        settings = plan.settings
        kind = plan.model.translates, settings.dataset, settings.image_size, settings.channels, settings.source
        if kind in seen:
            continue
        seen.add(kind)
        try:
            shape = load_data(settings, plugins).spec(settings.dataset).shape
        except GanzooError:  # Training says so, under the run's name.
            continue
        with told("cannot be measured"):
            measured = Evaluator(
                plugins, settings.dataset, shape=shape, root=settings.data_root, data_options=settings.data_options,
                source=settings.source if plan.model.translates else None, without_features=plan.model.translates,
            ).chosen  # fmt: skip
        if (metric := METRIC_OF.get(by or "", by)) in plugins.names("metrics") and metric not in measured:
            other = next((key for key in ("fid", "modes", "psnr") if key in measured), next(iter(measured)))
            raise UsageError(
                f"--by {by}: `ganzoo eval` does not measure it of runs on '{settings.dataset}' unless it is asked to: "
                f"choose by another, such as --by {other}"
            )


def provide(
    run: Wanted,
    plugins: Registry,
    watchers: Callable[[], Sequence[Watcher]],
    say: Callable[[str], None],
    apart: bool,
) -> Path:
    """The finished, measured run that is wanted: as it is, resumed, or trained anew.

    `apart`: it is trained in a process of its own, so that its peak of memory is its own. That cannot be where a
    program handed over the model, or wants to be told of the steps.

    Raises:
        UsageError: its folder holds a run with other options.
        GanzooError: training or measuring failed.
        Stopped: a signal came; what was trained is saved, and the same command goes on from there.
    """
    plan, folder = run.plan, run.folder
    if not (folder / "run.json").exists():
        say(f"{folder}: training")
        _train(run, False, plugins, watchers, say, apart)
    else:
        same_plan(plan, folder)
        if not _is_trained(run):
            say(f"{folder}: going on from its last checkpoint")
            _train(run, True, plugins, watchers, say, apart)
        else:
            say(f"{folder}: done already")
    if run.anew or not measured(folder, plan, run.sampling, run.like):
        say(f"{folder}: measuring")
        measure(folder, plugins, plan.settings.device, run.like, run.sampling)
    return folder


def _is_trained(run: Wanted) -> bool:
    """Whether a run that is there has come as far as it is wanted."""
    path = run.folder / "status.json"
    status: Any = read_json(path) if path.exists() else {}
    if not isinstance(status, dict):
        return False
    if run.share == 1 or status.get("status") == "finished":
        return status.get("status") == "finished"
    if status.get("status") != "stopped":  # What failed is tried again.
        return False
    budget = open_run(run.folder).get("steps"), run.plan.settings.max_time
    spent = number(status.get("step")), number(status.get("seconds"))
    shares = [done / whole for done, whole in zip(spent, budget, strict=True) if done and whole]
    return max(shares, default=0.0) >= run.share - 1e-9


def _train(
    run: Wanted, begun: bool, plugins: Registry, watchers: Callable[[], Sequence[Watcher]],
    say: Callable[[str], None], apart: bool,
) -> None:  # fmt: skip
    if apart:
        train_apart(run.plan, run.folder, begun, bool(watchers()), run.share)
        return
    with told("cannot be trained"):
        if begun:
            resume(run.folder, plugins, None, watchers(), say)
        else:
            start(run.plan, plugins, run.folder, watchers())


def measure(
    folder: Path, plugins: Registry, device: str, like: dict[str, Any] | None, sampling: Mapping[str, str],
    checkpoint: str | None = None,
) -> None:  # fmt: skip
    """Measure a run, or a checkpoint of it, as another was, or as by default with options of drawing, and write the
    result into the run.

    Raises:
        GanzooError: it cannot be measured, or written.
    """
    check_place(place_of_result(folder, checkpoint))
    options: dict[str, Any] = {"metrics": None, "device": choose_device(device)}
    dataset, root, n, seed = None, None, None, 0
    labels: Labels | None = None
    with told("cannot be measured"):
        drawn: Mapping[str, Any] = sampling
        if like is not None:
            protocol = like["protocol"]
            own = model_of(folder, open_run(folder), plugins)
            asked = asked_of(like, mapping(open_run(folder).get("data")).get("name"))
            dataset, root = asked.get("dataset"), Path(asked["data_root"]) if "data_root" in asked else None
            n, seed = protocol["n"], int(like.get("seed", 0))
            labels = "uniform" if labels_of(like) == "uniform" and takes_labels(own, open_run(folder)) else None
            options |= {key: asked.get(key) for key in ("split", "features")}
            options |= {"weights": Path(asked["weights"]) if "weights" in asked else None}
            options |= {"data_options": asked.get("data_options", {})}
            known = sampling_fields(own)
            drawn = {name: v for name, v in (protocol.get("sampling") or {}).items() if name in known}
        evaluator, result = measure_run(folder, plugins, dataset, root, n, seed, options, labels, drawn, checkpoint)
    write_result(place_of_result(folder, checkpoint), result, evaluator)


def measure_all(
    folders: Sequence[Path], plugins: Registry, say: Callable[[str], None], checkpoint: str | None = None
) -> dict[Path, GanzooError]:
    """Measure the runs that have no evaluation, or one of another step, as most of the others were.

    Returns why some could not be. What cannot even be read is left to whoever reports it, and what is being trained
    to its own end.
    """
    records: list[RunRecord] = []
    failed: dict[Path, GanzooError] = {}
    for folder in folders:
        with suppress(GanzooError):
            records.append(read_run(folder, checkpoint))
    fresh: dict[Any, list[dict[str, Any]]] = {}
    stale = []
    for record in records:
        if _is_fresh(record):
            fresh.setdefault(record.trained_on[0], []).append(record.result or {})
        else:
            stale.append(record)
    usual = {data: most_alike(results) for data, results in fresh.items()}
    for record in stale:
        if record.running:
            say(f"{record.folder}: is being trained, and measured when it has ended")
            continue
        say(f"{record.folder}: measuring")
        try:
            measure(record.folder, plugins, "auto", usual.get(record.trained_on[0]), {}, checkpoint)
        except GanzooError as error:
            say(f"{record.folder}: failed: {one_line(error)}")
            failed[record.folder] = GanzooError(f"{record.folder}: {one_line(error)}")
    return failed


def most_alike(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first of those results that stand beside the most others."""
    return max(results, key=lambda result: sum(may_stand_beside(result, other) for other in results))


def may_stand_beside(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two results may be compared."""
    try:
        comparable(a, b)
    except GanzooError:
        return False
    return True


def _is_fresh(record: RunRecord) -> bool:
    """Whether the run was evaluated, with the generator that is there."""
    if not result_of(record.folder, record.checkpoint).is_file() or record.result is None:
        return False
    try:
        there = step_of(record.folder) if record.checkpoint is None else step_at(record.folder, record.checkpoint)
    except GanzooError:  # It is damaged: that is told when it is measured.
        return False
    return bool(record.result.get("step") == there)


def further(folders: Sequence[Path], seeds: Sequence[int], plugins: Registry) -> list[Wanted]:
    """Runs that differ in the seed alone from those in the folders, with the seeds that these do not have yet.

    Each stands beside the run that it repeats, as NAME-seedN, and is measured as that was.

    Raises:
        UsageError: a run cannot be repeated: it was imported, or its model or data were handed over by a program.
        GanzooError: one is damaged.
    """
    infos = [(folder, open_run(folder)) for folder in folders]
    there = {(_but_seed(info), _seed(info)) for _, info in infos}
    wanted: list[Wanted] = []
    for folder, info in infos:
        if info.get("imported"):
            raise UsageError(f"--seeds: {folder} was imported, and cannot be trained with another seed")
        model = model_of(folder, info, plugins)
        refuse_absent(folder, info, plugins)
        record = read_run(folder)
        for seed in dict.fromkeys(seeds):
            if (_but_seed(info), seed) in there:
                continue
            there.add((_but_seed(info), seed))
            plan = resolve(model, {"seed": seed}, config=flatten(info, folder / "run.json"))
            place = sibling(folder, f"seed{seed}")
            place = _free(place.with_name(re.sub(r"-seed\d+-seed", "-seed", place.name)), plan)
            like = record.result if result_of(folder).is_file() else None
            wanted.append(Wanted(plan, place, {}, like))
    return wanted


def _free(place: Path, plan: Plan) -> Path:
    """A folder for a run: this one, or another of its name where there is some other run in it."""
    places = chain([place], (place.with_name(f"{place.name}-{n}") for n in count(2)))
    return next(free for free in places if not (free / "run.json").exists() or _is_of(plan, free))


def _is_of(plan: Plan, folder: Path) -> bool:
    try:
        same_plan(plan, folder)
    except GanzooError:
        return False
    return True


def _seed(info: Mapping[str, Any]) -> Any:
    settings = info.get("settings")
    return settings.get("seed") if isinstance(settings, dict) else None


def _but_seed(info: Mapping[str, Any]) -> str:
    settings = info.get("settings")
    kept = {k: v for k, v in settings.items() if k not in ("seed", *ASIDE)} if isinstance(settings, dict) else {}
    return json.dumps([info.get("model"), info.get("preset"), kept, info.get("options")], sort_keys=True, default=str)


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


def takes_labels(model: type[GAN], info: Mapping[str, Any]) -> bool:
    """Whether the run of a model that a `run.json` describes is asked for classes."""
    data = info.get("data")
    if not isinstance(data, dict):
        return False
    return model.uses_labels(DataSpec.from_json(data), validated(model.Options, info.get("options") or {}))


def uses_labels(plan: Plan, info: Mapping[str, Any]) -> bool:
    """Whether the model of a plan is one to which labels mean anything, on the data that a `run.json` describes."""
    data = info.get("data")
    return not isinstance(data, dict) or plan.model.uses_labels(DataSpec.from_json(data), plan.options)


def measured(folder: Path, plan: Plan, sampling: Mapping[str, str], like: dict[str, Any] | None = None) -> bool:
    """Whether `eval.json` is of the generator that is there, says how it was asked for classes, and drew so.

    Where it is to be `like` another result, whether it may be compared with that.
    """
    try:
        result = read_json(result_of(folder))
    except GanzooError:
        return False
    protocol = result.get("protocol") if isinstance(result, dict) else None
    if not (isinstance(protocol, dict) and "labels" in protocol):
        return False
    if like is not None:
        return may_stand_beside(result, like) and bool(result.get("step") == step_of(folder))
    wanted = dumped(plan.model, choose_sampling(plan.model, sampling))
    return protocol.get("sampling", {}) == wanted and result.get("step") == step_of(folder)
