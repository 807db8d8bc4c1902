"""A sweep: many trials get a little of the budget, the best of them more, the best of these all of it.

Successive halving: Jamieson and Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter Optimization.
Every trial is a run with the whole budget that is ended early, so that its rates fall as they would, and goes on from
its checkpoint: nothing is trained twice, and the best is the run that `ganzoo run` with its options would have made.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.fields import value_in_words
from ganzoo.files import read_json, write_json
from ganzoo.gan import GAN
from ganzoo.plugins import Registry
from ganzoo.preparing import prepare, refuse_idle_root, refuse_sources
from ganzoo.provide import Wanted, provide, refuse_unmeasurable
from ganzoo.report.lines import MEASURES, MORE
from ganzoo.report.read import number
from ganzoo.runs.lock import Lock
from ganzoo.settings import Plan, Settings, duration, resolve
from ganzoo.space import LARGEST_GRID, Known, Space, Span, combination, combinations, draw, parse_space
from ganzoo.training.engine import choose_device
from ganzoo.training.watcher import Watcher

FILE = "sweep.json"
KIND = "ganzoo sweep"
TRIALS = 9
"""Of ranges, where nobody says how many."""
MOST_RUNGS = 4
LONGEST_NAME = 80
BY = {m.key: m.better for m in (*MEASURES, *MORE) if m.better and m.key not in ("images_per_second", "memory")}
"""What trials can be chosen by, and whether lower or higher is better."""


class Asked(NamedTuple):
    """What a sweep is to do."""

    model: str
    """MODEL or MODEL:PRESET."""
    sets: tuple[str, ...]
    """What is varied, and what is set, as `parse_space` takes it."""
    budget: str
    """Of a trial that goes to the end: `2m`, `20epochs` or `5000steps`."""
    trials: int | None = None
    """How many; None: every combination, or `TRIALS`."""
    eta: int = 3
    """Of so many trials one goes on, with so many times the budget."""
    by: str = "fid"
    seed: int = 0
    given: Mapping[str, Any] = {}
    """Other options of all runs."""

    def to_json(self) -> dict[str, Any]:
        """As it is recorded, and compared."""
        plain: dict[str, Any] = json.loads(json.dumps(self._asdict(), default=str))
        return plain


@dataclass
class Trial:
    """Some options, and what became of them."""

    options: dict[str, Any]
    folder: Path
    scores: list[float] = field(default_factory=list)
    """One for each rung that it reached."""
    failed: str = ""
    """Why it went no further, if something was wrong."""


def budget_of(text: str) -> dict[str, Any]:
    """`2m`, `20epochs` or `5000steps` as settings.

    Raises:
        UsageError: none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(epoch|step)s?", text.strip())
    try:
        if match is None:
            found = {"max_time": duration(text)}
        else:
            found = {"steps": int(match[1])} if match[2] == "step" else {"epochs": float(match[1])}
        if not any(found.values()):
            raise UsageError(f"--budget {text}: it must be greater than 0")
        return found
    except ValueError:
        raise UsageError(f"--budget {text}: write a time, 90s or 2m, or 20epochs, or 5000steps") from None


def rungs(trials: int, eta: int) -> list[float]:
    """The shares of the budget at which trials are measured: each `eta` times the one before, and 1 at the end.

    As many as bring the trials down to one, but `MOST_RUNGS` at most.
    """
    count, left = 1, trials
    while left > 1 and count < MOST_RUNGS:
        count, left = count + 1, -(-left // eta)
    return [float(eta) ** -i for i in reversed(range(count))]


class Unmeasured(UsageError):
    """Trials are to be chosen by what is not measured of them."""


class Sweep:
    """The trials of a sweep in a folder of their own; the same one again goes on where it stopped."""

    def __init__(self, asked: Asked, plugins: Registry, home: Path | None = None):
        """See that everything asked for can be, before anything is trained or written.

        Raises:
            UsageError: as `parse_space` and `resolve`; too many combinations; no such number to choose by; no such
                device, ingredient or run to begin with; or the folder holds another sweep.
        """
        model, colon, preset = asked.model.partition(":")
        if colon and not preset:
            raise UsageError(f"{asked.model}: name a preset after the colon, or leave it out")
        self.asked, self.plugins = asked, plugins
        self.model: type[GAN] = plugins.get("models", model)
        self.preset = preset or None
        if asked.by not in BY:
            raise UsageError(f"--by {asked.by}: trials can be chosen by {', '.join(BY)}")
        self.given = {**asked.given, **budget_of(asked.budget), "seed": asked.seed}
        self.space: Space = parse_space(self.model, self.preset, self.given, asked.sets)
        starts = {name: v.low if isinstance(v, Span) else v[0] for name, v in self.space.items()}
        self.first = first = self.plan(starts)
        plugins.get("datasets", first.settings.dataset)
        refuse_idle_root(first, self.given, plugins)
        refuse_sources(first)
        choose_device(first.settings.device)
        for name, values in self.space.items():
            # What a run is made of, ingredients and devices above all: whether it can be had, its type does not say.
            if name in Settings.model_fields and not isinstance(values, Span) and len(values) > 1:
                for value in values:
                    prepare(self.plan({**starts, name: value}), plugins)
        self.combinations = combinations(self.space)
        self.count = self._count()
        self.rungs = rungs(self.count, asked.eta)
        self.home = home or Path("runs/sweep") / self._name(first)
        self.trials: list[Trial] = self._known()
        self.mistaken = True  # Whatever failed was asked wrongly.
        if not (self._is_whole_grid() or self.trials):
            draw(self.space, [], asked.seed, self.count)  # Whether it can be done is known before anything is made.

    def _count(self) -> int:
        there = self.combinations
        if self.asked.trials is not None:
            return min(self.asked.trials, there or self.asked.trials)
        if there is not None and there > LARGEST_GRID:
            raise UsageError(f"these are {there:,} combinations: say by --trials how many of them to try")
        return there or TRIALS

    def _is_whole_grid(self) -> bool:
        return self.count == self.combinations

    def _name(self, plan: Plan) -> str:
        varied = [name for name, values in self.space.items() if isinstance(values, Span) or len(values) > 1]
        budget = self.asked.budget.replace(" ", "")
        names = [plan.model.name, *([plan.preset] if plan.preset else []), plan.settings.dataset, budget, *varied]
        return _fit("-".join(names).replace("_", "-"))

    def plan(self, options: Mapping[str, Any]) -> Plan:
        """The run of a trial, to the end of its budget.

        Raises:
            UsageError: as `resolve`.
        """
        return resolve(self.model, {"loggers": (), **self.given, **options}, self.preset)

    def _known(self) -> list[Trial]:
        """The trials that an earlier call of this very sweep began.

        Raises:
            UsageError: the folder holds another.
            GanzooError: what it says of itself is damaged.
        """
        path = self.home / FILE
        if self.home.exists() and not self.home.is_dir():
            raise UsageError(f"{self.home} exists already, and is no folder: choose another --out")
        if not path.exists():
            if (self.home / "run.json").exists():
                raise UsageError(f"{self.home} is a run, not a folder for those of a sweep: choose another --out")
            return []
        found, asked = read_json(path), self.asked.to_json()
        before = found.get("asked") if isinstance(found, dict) and found.get("kind") == KIND else None
        if not isinstance(before, dict):
            raise GanzooError(f"{path} is no record of a sweep: choose another --out")
        if not _scored(found):
            if not any(self.home.glob("*/run.json")):  # No trial came to have a folder: a mistake, and it is mended.
                return []
            asked.pop("by")  # Nothing was chosen yet, by whatever it was to be.
        for key, value in asked.items():
            if before.get(key) != value:
                said = {"sets": "set", "given": "other options"}.get(key, key)
                raise UsageError(
                    f"{self.home} holds another sweep, with {said} {_told(before.get(key))}, not {_told(value)}: "
                    "choose another --out"
                )
        try:
            return [self._trial(entry) for entry in found["trials"]]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise GanzooError(f"{path} is damaged: choose another --out") from None

    def _trial(self, entry: Mapping[str, Any]) -> Trial:
        options = {}
        for name, values in self.space.items():
            value = entry["options"][name]
            if isinstance(values, Span):
                if not values.low <= value <= values.high:
                    raise ValueError
            else:  # A tuple, say, is a list in JSON.
                value = values[[_plain(each) for each in values].index(value)]
            options[name] = value
        name = entry["folder"]
        scores = [score for score in map(number, entry["scores"]) if score is not None]
        if not name or name == ".." or Path(name).name != name or len(scores) > len(self.rungs):
            raise ValueError
        if len(scores) == len(self.rungs) and not (self.home / name / "run.json").is_file():
            scores = scores[:-1]  # It may be the best, and was deleted: it is made again.
        return Trial(options, self.home / name, scores, str(entry["failed"]))

    def to_json(self) -> dict[str, Any]:
        """What is recorded: all that the same command needs to go on."""
        trials = [
            {"folder": t.folder.name, "options": _plain(t.options), "scores": t.scores, "failed": t.failed}
            for t in self.trials
        ]
        return {"kind": KIND, "asked": self.asked.to_json(), "rungs": self.rungs, "trials": trials}

    # The work

    def run(self, watchers: Callable[[], Sequence[Watcher]], say: Callable[[str], None]) -> None:
        """Train and measure whatever is not yet. What fails makes room for the next best; the reason is kept.

        Raises:
            UsageError: the number to choose by is not one that these runs are measured by; or every trial failed for
                what was asked of it.
            GanzooError: every trial failed; or another process works on this sweep, or its folder cannot be written.
            Stopped: a signal came; what was trained is saved, and the same sweep goes on from there.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GanzooError(f"cannot write in {self.home}: {error.strerror or error}") from error
        with Lock(self.home).hold():
            self.trials = self._known()  # Another process may have gone on since they were read.
            if not any(trial.scores for trial in self.trials):
                refuse_unmeasurable([self.first], self.plugins, self.asked.by)
            for rung in range(len(self.rungs)):
                self._climb(rung, watchers, say)
        if self.best is None:
            kind = UsageError if self.mistaken else GanzooError
            raise kind(f"all {len(self.trials)} trials failed, the first of them so: {self.trials[0].failed}")

    def _climb(self, rung: int, watchers: Callable[[], Sequence[Watcher]], say: Callable[[str], None]) -> None:
        share = "to the end" if self.rungs[rung] == 1 else f"to 1/{self.asked.eta ** (len(self.rungs) - 1 - rung)}"
        number = self.count if not rung else -(-len(self._ranked(rung)) // self.asked.eta)
        trials = "1 trial" if number == 1 else f"{number} trials"
        say(f"rung {rung + 1} of {len(self.rungs)}: {trials} {share} of {self.asked.budget}")
        if not rung:
            for i in range(self.count):
                if i == len(self.trials) and not self._another(say):
                    break
                self._advance(self.trials[i], rung, watchers, say)
            return
        for trial in self._ranked(rung):
            if number and self._advance(trial, rung, watchers, say):
                number -= 1

    def _ranked(self, rung: int) -> list[Trial]:
        """Those that were measured at the rung before, best first."""
        there = [trial for trial in self.trials if len(trial.scores) >= rung]
        return sorted(there, key=lambda trial: self._cost(trial.scores[rung - 1]))

    def _cost(self, score: float) -> float:
        return -score if BY[self.asked.by] == "higher" else score

    def _another(self, say: Callable[[str], None]) -> bool:
        """Add a trial; False where there is no other."""
        if self._is_whole_grid():
            lists = {name: values for name, values in self.space.items() if not isinstance(values, Span)}
            options = combination(lists, len(self.trials))
        else:
            known = [Known(t.options, self._cost(t.scores[0]) if t.scores else None) for t in self.trials]
            found = draw(self.space, known, self.asked.seed, self.count)
            if found is None:
                say(f"note: no more than {len(self.trials)} different trials were found")
                return False
            options = found
        width = max(2, len(str(self.count)))
        self.trials.append(Trial(options, self.home / f"{len(self.trials) + 1:0{width}d}-{self._words(options)}"))
        self._write()
        return True

    def _words(self, options: Mapping[str, Any]) -> str:
        varied = {n: v for n, v in options.items() if isinstance(self.space[n], Span) or len(self.space[n]) > 1}
        return _fit("-".join(f"{name.replace('_', '-')}{value_in_words(value)}" for name, value in varied.items()))

    def _advance(
        self, trial: Trial, rung: int, watchers: Callable[[], Sequence[Watcher]], say: Callable[[str], None]
    ) -> bool:
        """Bring a trial to a rung, if it is not there yet; False where it fails."""
        if len(trial.scores) > rung:
            return True
        try:
            wanted = Wanted(self.plan(trial.options), trial.folder, {}, None, self.rungs[rung], anew=True)
            provide(wanted, self.plugins, watchers, say, apart=True)
            score = self._score(trial)
        except Unmeasured:  # So it is for all of them.
            raise
        except GanzooError as error:
            say(f"{trial.folder}: failed: {one_line(error)}")
            trial.failed = f"{trial.folder}: {one_line(error)}"
            self.mistaken &= isinstance(error, UsageError)
        else:
            say(f"{trial.folder}: {self.asked.by} {score:.4g}")
            trial.failed = ""
            trial.scores.append(score)
        self._write()
        return not trial.failed

    def _score(self, trial: Trial) -> float:
        metrics = read_json(trial.folder / "eval.json").get("metrics")
        score = number(metrics.get(self.asked.by)) if isinstance(metrics, dict) else None
        if score is None:
            kind = GanzooError if isinstance(metrics, dict) and self.asked.by in metrics else Unmeasured
            known = ", ".join(key for key in BY if isinstance(metrics, dict) and number(metrics.get(key)) is not None)
            raise kind(f"its {self.asked.by} was not measured: choose by another, --by {known or 'none'}")
        return score

    def _write(self) -> None:
        try:
            write_json(self.home / FILE, self.to_json())
        except OSError as error:
            raise GanzooError(f"cannot write {self.home / FILE}: {error.strerror or error}") from error

    # What came of it

    @property
    def best(self) -> Trial | None:
        """Of those that came farthest, the best; None where every trial failed."""
        farthest = max((len(trial.scores) for trial in self.trials), default=0)
        return self._ranked(farthest)[0] if farthest else None

    @property
    def folders(self) -> list[Path]:
        """The runs that there are."""
        return [trial.folder for trial in self.trials if (trial.folder / "run.json").is_file()]

    @property
    def failed(self) -> list[str]:
        """What went wrong, trial by trial."""
        return [trial.failed for trial in self.trials if trial.failed]

    @property
    def notes(self) -> list[str]:
        """What a reader of the trials' numbers must know."""
        early = sum(len(trial.scores) < len(self.rungs) for trial in self.trials)
        told = [
            f"these are the trials of a sweep: {early} of {len(self.trials)} were given up early, and their numbers "
            f"are of the share of {self.asked.budget} that they got; a lead over them is one over less training"
        ]
        return told if early else []

    def in_words(self, trial: Trial) -> str:
        """What is particular about a trial."""
        return ", ".join(f"{name.replace('_', '-')} {value_in_words(v)}" for name, v in trial.options.items())


def _scored(found: Mapping[str, Any]) -> bool:
    """Whether a record of a sweep has a score; one that is damaged may."""
    try:
        return any(entry["scores"] for entry in found["trials"])
    except (LookupError, TypeError):
        return True


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(each)}" for key, each in value.items()) or "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _fit(name: str) -> str:
    """A name as a folder may have it."""
    return re.sub(r"[^\w.+-]+", "", name)[:LONGEST_NAME]
