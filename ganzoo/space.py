"""What a sweep varies: options with the values that each may take, and how trials are drawn of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.fields import offered, taken
from ganzoo.gan import GAN
from ganzoo.settings import BUDGET, Settings, resolve

APART = ("dataset", "data_root", "source", "image_size", "channels", "limit", "labels")
"""Settings that say what is learnt, or how it is measured: with others, trials could not be compared."""
LARGEST_GRID = 64
"""Trials that are made of lists alone, unless their number is given."""
WIDE = 10
"""A range of positive numbers whose end is so many times its beginning is drawn from on a logarithmic scale."""
DIGITS = 4
"""Significant digits of a number that is drawn, so that the command with it can be read."""
TRIES = 200
"""How often a trial is drawn before it is believed that there is no other."""


class Span(NamedTuple):
    """The numbers from `low` to `high`, both among them."""

    low: float
    high: float
    whole: bool
    """Whether they are whole numbers."""

    @property
    def logarithmic(self) -> bool:
        """Whether ten times as much is as far everywhere."""
        return self.low > 0 and self.high >= WIDE * self.low

    def near(self, value: float) -> float:
        """The number, as it is used: with few digits, in the range."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


Space = dict[str, "list[Any] | Span"]
"""By option, the values to choose from, or a range; of one value, what all trials have."""


def parse_space(model: type[GAN], preset: str | None, given: Mapping[str, Any], texts: Sequence[str]) -> Space:
    """`lr=1e-4,3e-4`, `latent-dim=16:64`, `augment=none,ada` and so on; each value is one that the option takes.

    Raises:
        UsageError: not of that form; no such option (the nearest is named), or one that is no sweep's to vary; a value
            out of its range; or there is nothing to vary.
    """
    fields = offered({**Settings.model_fields, **model.Options.model_fields})
    space: Space = {}
    for text in texts:
        flag, equals, values = (part.strip() for part in text.partition("="))
        name = flag.removeprefix("--").replace("-", "_")
        if not (equals and name and values):
            raise UsageError(f"--set {text}: write NAME=VALUE,VALUE or NAME=LOW:HIGH, such as --set lr=1e-4,3e-4,1e-3")
        if name not in fields:
            hint = did_you_mean(flag, [key.replace("_", "-") for key in fields])
            raise UsageError(f"--set {flag}: model '{model.name}' has no such option: {hint}")
        if name in space:
            raise UsageError(f"--set {flag} is given twice: write all its values behind one, with commas")
        found = _span(text, fields[name], values) or _values(text, fields[name], values)
        _refuse(flag, name, found)
        ends = [found.low, found.high] if isinstance(found, Span) else found
        plans = [resolve(model, {**given, name: value}, preset) for value in ends]
        space[name] = found
        if not isinstance(found, Span):  # As the option takes them: 1e-4 and 0.0001 are one.
            part = "settings" if name in Settings.model_fields else "options"
            made = [getattr(getattr(plan, part), name) for plan in plans]
            space[name] = [value for i, value in enumerate(made) if value not in made[:i]]
    if not any(isinstance(values, Span) or len(values) > 1 for values in space.values()):
        raise UsageError("there is nothing to vary: give an option several values, such as --set lr=1e-4,3e-4,1e-3")
    return space


def _refuse(flag: str, name: str, values: "list[Any] | Span") -> None:
    if name in BUDGET:
        raise UsageError(f"--set {flag}: all trials have one budget: give it by --budget")
    if name == "seed":
        raise UsageError(
            "--set seed: a seed is nothing to choose by: --seed gives all trials one, and `ganzoo compare RUN --seeds "
            "0-2` tells afterwards how much another changes"
        )
    if name in APART and (isinstance(values, Span) or len(values) > 1):
        raise UsageError(
            f"--set {flag}: trials that learn or are measured otherwise cannot be compared: give it one value"
        )


def _span(text: str, info: FieldInfo, values: str) -> Span | None:
    """A range, if that is what stands there."""
    kind = taken(info).kind
    low, colon, high = values.partition(":")
    if not colon or kind not in (int, float):
        return None
    try:
        span = Span(kind(low), kind(high), kind is int)
    except ValueError:
        raise UsageError(f"--set {text}: a range is written LOW:HIGH, in {'whole ' * (kind is int)}numbers") from None
    if not (math.isfinite(span.low) and math.isfinite(span.high) and span.low < span.high):
        raise UsageError(f"--set {text}: a range runs upwards, from a number to a larger one")
    return span


def _values(text: str, info: FieldInfo, values: str) -> list[Any]:
    """The values in a list, as `resolve` takes them."""
    parts = [part.strip() for part in values.split(",")]
    if not all(parts):
        raise UsageError(f"--set {text}: a value is missing between the commas")
    several = get_origin(taken(info).kind) in (tuple, list)
    none = type(None) in get_args(info.annotation)
    made: list[Any] = []
    for part in parts:
        if part == "none" and (none or several):
            made.append(None if none else ())
        else:
            made.append(tuple(part.split("+")) if several else part)
    return made


def combinations(space: Space) -> int | None:
    """How many there are; None where a range makes them too many to count."""
    lists = [values for values in space.values() if not isinstance(values, Span)]
    return math.prod(map(len, lists)) if len(lists) == len(space) else None


def combination(space: Mapping[str, list[Any]], place: int) -> dict[str, Any]:
    """The one at a place, in the order in which they are written: the last option changes first.

    Made by itself: of a few long lists there are more than any memory holds.
    """
    chosen: dict[str, Any] = dict.fromkeys(space)
    for name in reversed(list(space)):
        place, at = divmod(place, len(space[name]))
        chosen[name] = space[name][at]
    return chosen


class Known(NamedTuple):
    """A trial that was drawn before."""

    options: Mapping[str, Any]
    score: float | None
    """Its first score, lower being better; None where it has none."""


def draw(space: Space, known: Sequence[Known], seed: int, count: int) -> dict[str, Any] | None:
    """The options of another trial, by Optuna's tree-structured Parzen estimator: where earlier ones scored low.

    Of the `count` trials that there are to be, the first third is at random: three at least, and ten at most (Bergstra
    et al. 2011, Algorithms for Hyper-Parameter Optimization, section 4). The same trials before it, and the same seed,
    give the same. None where no other could be found.

    Raises:
        UsageError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "ranges, and some of many combinations, are drawn by Optuna: `pip install 'ganzoo[sweep]'`, or list values "
            "and leave --trials out"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, values in space.items():
        if not isinstance(values, Span):  # By number: a value may be something that Optuna does not know.
            distributions[name] = optuna.distributions.CategoricalDistribution(range(len(values)))
        elif values.whole:
            low, high = int(values.low), int(values.high)
            distributions[name] = optuna.distributions.IntDistribution(low, high, log=values.logarithmic)
        else:
            distributions[name] = optuna.distributions.FloatDistribution(*values[:2], log=values.logarithmic)
    # The seed does not depend on how often the work stopped.
    sampler = optuna.samplers.TPESampler(seed=seed + len(known), n_startup_trials=min(10, max(3, count // 3)))
    study = optuna.create_study(sampler=sampler)
    for trial in known:
        if trial.score is not None:
            params = {name: _number(space[name], value) for name, value in trial.options.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=trial.score))
    for _ in range(TRIES):
        params = study.ask(distributions).params
        found = {name: _value(space[name], params[name]) for name in space}
        if all(found != trial.options for trial in known):
            return found
    return None


def _number(values: "list[Any] | Span", value: Any) -> Any:
    return value if isinstance(values, Span) else values.index(value)


def _value(values: "list[Any] | Span", number: Any) -> Any:
    return values.near(number) if isinstance(values, Span) else values[number]
