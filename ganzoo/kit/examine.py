"""The conformance kit: what a model must keep so that the trainer can run, resume, average and capture it.

A plugin's own test needs one line, `check_gan(MyGAN)`; `ganzoo check NAME` does the same from the command line. The
rules are in `rules.py`. Models are trained for a few steps on a handful of random images, on the CPU.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch

from ganzoo.data import Attribute, DataSpec
from ganzoo.errors import UsageError, one_line
from ganzoo.gan import GAN
from ganzoo.ingredients import Augmentation, Regulariser
from ganzoo.kit.cases import CLASSES, IMAGES, Case, NotApplicable, where
from ganzoo.kit.checks import Fault
from ganzoo.kit.ingredient_rules import rules_of
from ganzoo.kit.mixed import MIXED, Mixed
from ganzoo.kit.rules import RULES, Rule
from ganzoo.training.engine import own_randomness

SPECS = (
    DataSpec("grey", (1, 28, 28), IMAGES, CLASSES),
    DataSpec("colour", (3, 32, 32), IMAGES, CLASSES, counts=(12, 8, 4)),
    DataSpec("attributes", (1, 28, 28), IMAGES, CLASSES, (Attribute("slant", -1, 1),)),
    DataSpec("unlabelled", (1, 28, 28), IMAGES),
)
"""What a model is checked on unless told otherwise; it may refuse the last two with a `UsageError`.

Where it refuses 28 x 28 pixels, it is checked on images of other sizes, `OTHER_SIDES`; where it refuses images, on
`POINTS`.
"""
OTHER_SIDES = (32, 64)
"""Pixels: powers of two."""
POINTS = DataSpec("points", (2,), IMAGES)
"""Data of a model that is for points in the plane alone."""
TRANSLATED = (
    DataSpec("pairs", (1, 28, 28), IMAGES, CLASSES, source_shape=(1, 28, 28)),
    DataSpec("colouring", (3, 32, 32), IMAGES, CLASSES, source_shape=(1, 32, 32)),
    DataSpec("unpaired", (3, 32, 32), IMAGES, source_shape=(3, 32, 32), paired=False),
    DataSpec("adapting", (3, 32, 32), IMAGES, CLASSES, source_shape=(1, 32, 32), paired=False, source_labels=True),
    DataSpec("smaller", (3, 32, 32), IMAGES, CLASSES, source_shape=(3, 8, 8)),
    DataSpec("sourceless", (1, 28, 28), IMAGES, CLASSES),
)
"""The same for a model that takes sources; it may refuse any but one, and refuses the last."""

Told = Callable[[str, float], None]
"""Is told what is looked at next, and what share is done."""


class Verdict(NamedTuple):
    """What became of one rule."""

    rule: str
    """Its short name, as in `RULES`."""
    says: str
    status: Literal["passed", "broken", "skipped"]
    reason: str | None = None
    """Why it is broken or was skipped, in one line."""
    fix: str | None = None


class Broken(AssertionError):
    """The model breaks at least one rule; the message names each with reason and fix."""


def check_gan(
    cls: type[GAN],
    data: DataSpec | Sequence[DataSpec] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Check that a model keeps every rule: the test that a plugin's author runs.

    Args:
        cls: the model's class.
        data: descriptions of the data to build it for: images or vectors, with sources or without; default: `SPECS`, or
            `TRANSLATED` for a model that takes sources. The samples are made up.
        options: the model's options by name, where they differ from the defaults.

    Raises:
        Broken: a rule is broken. It is an `AssertionError`, so pytest shows the message.
    """
    verdicts = examine(cls, data, options)
    _refuse_broken(cls, verdicts)
    return verdicts


def _refuse_broken(cls: type[Any], verdicts: Sequence[Verdict]) -> None:
    """Raises Broken where a rule is broken."""
    broken = [v for v in verdicts if v.status == "broken"]
    if broken:
        lines = [f"\n  {v.rule}: {v.says}\n    why: {v.reason}\n    fix: {v.fix}" for v in broken]
        raise Broken(f"{cls.__name__} breaks {len(broken)} of {len(verdicts)} rules:{''.join(lines)}")


def examine(
    cls: type[GAN],
    data: DataSpec | Sequence[DataSpec] | None = None,
    options: Mapping[str, Any] | None = None,
    told: Told | None = None,
) -> list[Verdict]:
    """One verdict for each rule, in the order of `RULES`. What a model raises is a verdict too.

    Arguments as `check_gan`; `told` is called before each rule. The random numbers of the caller go on as if nothing
    had been drawn.

    Raises:
        TypeError: `cls` is not a subclass of `ganzoo.GAN`.
    """
    if not (isinstance(cls, type) and issubclass(cls, GAN)):
        raise TypeError(f"check_gan needs a subclass of ganzoo.GAN, not {cls!r}")
    usual: Sequence[DataSpec] = TRANSLATED if cls.translates and not cls.own_sources else SPECS
    if data is None:
        with own_randomness(0, torch.device("cpu")):
            if not any(_takes(cls, spec, options) for spec in usual) and _is_for_points(cls, options):
                usual = (POINTS,)
    specs = usual if data is None else (data,) if isinstance(data, DataSpec) else tuple(data)

    def case(spec: DataSpec) -> Case:
        made = Case(cls, spec, options or {})
        return made if data is not None else _taken(made)

    found = _examined(case, specs, RULES, told)
    if cls.translates:
        found = [_untried(v, rule) if v.rule == "builds" else v for v, rule in zip(found, RULES, strict=True)]
    return found


def _takes(cls: type[GAN], spec: DataSpec, options: Mapping[str, Any] | None) -> bool:
    """Whether a model does not refuse such data, of a size that is tried."""
    try:
        _builds(_taken(Case(cls, spec, options or {})))
    except UsageError:
        return False
    return True


def _is_for_points(cls: type[GAN], options: Mapping[str, Any] | None) -> bool:
    """Whether a model can be made for them: of one that fails, the reason why it takes no image is to be told."""
    try:
        Case(cls, POINTS, options or {}).gan()
    except (Exception, SystemExit):
        return False
    return True


def _taken(case: Case) -> Case:
    """The case, or one of the same data in another size where the model takes that alone."""
    with suppress(UsageError):
        _builds(case)
        return case
    if not case.spec.is_images:
        return case
    (c, *size), source = case.spec.shape, case.spec.source_shape
    for other in OTHER_SIDES:
        sources = None
        if source is not None:  # In the same proportion.
            h, w = (other * side // whole for side, whole in zip(source[1:], size, strict=True))
            sources = (source[0], h, w)
        spec = replace(case.spec, shape=(c, other, other), source_shape=sources)
        resized = Case(case.cls, spec, case.options.model_dump())
        with suppress(UsageError):
            _builds(resized)
            return resized
    return case  # It refuses such data, whatever their size.


def _builds(case: Case) -> None:
    """Raises UsageError where the model refuses the data; whatever else is wrong, the rules will find."""
    try:
        case.gan()
    except UsageError:
        raise
    except (Exception, SystemExit):
        return


def _untried(verdict: Verdict, rule: Rule) -> Verdict:
    """Broken where a model refused all data: nothing was tried."""
    return verdict if verdict.status != "skipped" else verdict._replace(status="broken", fix=rule.fix)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, torch computes in one thread: on batches so small, several wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _examined(
    case: Callable[[DataSpec], Case], specs: Sequence[DataSpec], rules: Sequence[Rule], told: Told | None
) -> list[Verdict]:
    """For each rule the worst that the cases give rise to."""
    by_case = []
    with own_randomness(0, torch.device("cpu")), _one_thread():
        for i, spec in enumerate(specs):

            def tell(rule: str, share: float, i: int = i, spec: DataSpec = spec) -> None:
                if told is not None:
                    told(f"{rule} [{spec.name}]", (i + share) / len(specs))

            by_case.append(_verdicts(case(spec), tell, rules))
    return [_worst(of_rule) for of_rule in zip(*by_case, strict=True)]


def _verdicts(case: Case, tell: Told, rules: Sequence[Rule]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    closed = None
    for i, rule in enumerate(rules):
        tell(rule.name, i / len(rules))
        verdict = Verdict(rule.name, rule.says, "skipped", closed) if closed else _verdict(rule, case)
        if rule.gate and not closed and verdict.status != "passed":
            closed = verdict.reason if verdict.status == "skipped" else f"not reached: '{rule.name}' is broken"
        verdicts.append(verdict)
    return verdicts


def check_ingredient(
    cls: type[Augmentation | Regulariser],
    data: DataSpec | Sequence[DataSpec] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Check that an augmentation or a regulariser keeps every rule, within a small model.

    Args:
        cls: its class.
        data: descriptions of the images to make it for; default: grey ones with labels, and ones in colour.
        options: its options by name, where they differ from the defaults.

    Raises:
        Broken: a rule is broken. It is an `AssertionError`, so pytest shows the message.
    """
    verdicts = examine_ingredient(cls, data, options)
    _refuse_broken(cls, verdicts)
    return verdicts


def examine_ingredient(
    cls: type[Augmentation | Regulariser],
    data: DataSpec | Sequence[DataSpec] | None = None,
    options: Mapping[str, Any] | None = None,
    told: Told | None = None,
) -> list[Verdict]:
    """One verdict for each rule, in the order of `ganzoo.kit.ingredient_rules`. Arguments as `check_ingredient`.

    Raises:
        TypeError: `cls` is neither.
    """
    if not (isinstance(cls, type) and issubclass(cls, Augmentation | Regulariser)):
        raise TypeError(f"check_ingredient needs a subclass of ganzoo.Augmentation or ganzoo.Regulariser, not {cls!r}")
    specs = MIXED if data is None else (data,) if isinstance(data, DataSpec) else tuple(data)
    rules = rules_of(cls)
    found = _examined(lambda spec: Mixed(cls, spec, options or {}), specs, rules, told)
    # Refused for all data, nothing was tried.
    return [_untried(v, rule) if v.rule == "builds" else v for v, rule in zip(found, rules, strict=True)]


def _verdict(rule: Rule, case: Case) -> Verdict:
    try:
        complaint = rule.check(case)
    except NotApplicable as reason:
        return Verdict(rule.name, rule.says, "skipped", str(reason))
    except (Exception, SystemExit) as error:
        place = where(error, case.author)
        complaint = one_line(error) + (f", at {place}" if place else "")
    if complaint is None:
        return Verdict(rule.name, rule.says, "passed")
    fix = complaint.fix if isinstance(complaint, Fault) else rule.fix
    return Verdict(rule.name, rule.says, "broken", f"{complaint} [{case}]", fix)


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for status in ("broken", "passed"):
        for verdict in verdicts:
            if verdict.status == status:
                return verdict
    return verdicts[0]
