"""What a demo shows: a run, of whose checkpoints one is loaded at a time; or two runs beside each other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ganzoo.data import Batch, DataSpec
from ganzoo.demo.about import about
from ganzoo.demo.player import Player
from ganzoo.demo.queueing import Queue
from ganzoo.demo.translating import HELD_OUT, Translating
from ganzoo.errors import GanzooError, UsageError, one_line, warn
from ganzoo.plugins import Registry
from ganzoo.runs.checkpoint import Checkpoints
from ganzoo.runs.sampler import load
from ganzoo.runs.sources import held_out, maker_of
from ganzoo.sampling import sampling_fields

FORM = ("kind", "low", "high", "step", "choices")
"""What two controls must have in common to be one."""


class Shared(NamedTuple):
    """What does not change with the weights, and is had of a player that is there already."""

    lock: Queue
    held: Batch | None = None
    axes: Tensor | None = None


def player_of(
    run: Path, device: str, plugins: Registry, sampling: Mapping[str, Any], checkpoint: str | int | None = None,
    shared: Shared | None = None,
) -> Player | Translating:  # fmt: skip
    """What plays with a run.

    Raises:
        UsageError, GanzooError: as `load`, `Player` and `Translating`.
    """
    if run.is_file():
        raise UsageError(f"{run} is a file: a demo is of a run directory; `ganzoo sample` draws from exported files")
    sampler = load(run, device, plugins, checkpoint=checkpoint)
    if shared is not None:  # Beside another run, whose options they may be alone.
        sampling = {name: value for name, value in sampling.items() if name in sampling_fields(type(sampler.gan))}
    known, lock = about(run, sampler.step, checkpoint), shared.lock if shared else None
    if not (sampler.gan.translates and sampler.data.is_images):
        return Player(sampler, sampling, known, lock, shared.axes if shared else None)
    held = shared.held if shared else None
    try:
        held = held_out(run, sampler.data, plugins, HELD_OUT) if shared is None else held
    except GanzooError as error:
        warn(f"there are no held-out pictures to choose from, only your own: {one_line(error)}")
    return Translating(sampler, sampling, held, maker_of(run), known, lock)


class Exhibit:
    """A run that is shown: what plays with it, with the weights of one checkpoint at a time."""

    def __init__(
        self, player: Player | Translating, run: Path | None = None,
        load: Callable[[int | None], Player | Translating] | None = None,
    ):  # fmt: skip
        """
        Args:
            player: what plays with the weights that it begins with.
            run: where the checkpoints are that one may choose from; None: there are none.
            load: makes what plays with those of a step, or with those that it begins with.
        """
        self.kind, self.page, self.lock = type(player), player.page, player.lock
        self.name = player.about.run or player.gan.name
        self.model, self.data = player.gan.name, player.gan.data
        self.spare: frozenset[str] = frozenset()
        """Options of drawing and attributes that the page has for another run alone."""
        self._player: Player | Translating | None = player
        self._step: int | None = None
        self._load, self._checkpoints = load, Checkpoints(run / "checkpoints") if run is not None else None
        self._facts, self._begun = player.facts(), player.sampler.step

    def playing(self, step: int | None = None) -> Player | Translating:
        """What plays with the weights of the checkpoint of `step`; None: with those that it began with.

        Call it with the lock, and let go of what it gives before the lock: then no more than one is in memory.

        Raises:
            UsageError: there is no such checkpoint, or the weights that it began with are no longer kept.
            GanzooError: it is damaged.
        """
        step = None if step == self._begun else step
        if self._player is not None and step == self._step:
            return self._player
        if self._load is None or self._checkpoints is None:
            raise UsageError(f"{self.name} has no checkpoints to choose from")
        if step is not None:
            self._checkpoints.named(str(step))
        self._player = None  # It goes before another takes memory.
        self._player, self._step = self._load(step), step
        if step is None and self._player.sampler.step != self._begun:  # A run in training has saved others meanwhile.
            before = self._begun
            if before in self._checkpoints.steps():
                self._player = None
                self._player = self._load(before)
            else:
                self._facts, self._begun = self._player.facts(), self._player.sampler.step
                raise UsageError(f"the weights of step {before:,} are no longer kept: open the page again")
        return self._player

    def facts(self) -> dict[str, Any]:
        """What the page needs to know, with the checkpoints that there are now."""
        begun = "" if self._begun is None else str(self._begun)
        return {**self._facts, "sides": [{**self._facts["sides"][0], "begun": begun, **self._choice()}]}

    def _choice(self) -> dict[str, Any]:
        """The checkpoints, oldest first: the step to ask for, empty for what it began with, and what that is called.

        Nothing where there is nothing to choose.
        """
        there = self._checkpoints if self._load is not None else None
        steps, best = (there.steps(), there.best()) if there is not None else ([], None)
        found = []
        for step in sorted({*steps, *([] if self._begun is None else [self._begun])}):
            told = [f"step {step:,}"]
            if best is not None and best[0] == step:
                told.append(f"the best (FID {best[1]:.3g})")
            if step in steps[-1:]:
                told.append("the last")
            found.append({"step": "" if step == self._begun else str(step), "text": ", ".join(told)})
        if self._begun is None:
            found.append({"step": "", "text": "as last saved"})
        if len(found) < 2:
            return {}
        return {"checkpoints": found, "start": next(i for i, one in enumerate(found) if not one["step"])}

    def own(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What is asked of it, without what the page has for another run alone."""
        named = {key: {k: v for k, v in asked[key].items() if k not in self.spare} for key in ("sampling", "values")}
        return {**asked, **named}


def facts_of(shown: Sequence[Exhibit]) -> dict[str, Any]:
    """What the page needs to know of one run, or of two beside each other."""
    facts = shown[0].facts()
    for other in (exhibit.facts() for exhibit in shown[1:]):
        sides = [*facts["sides"], *other["sides"]]
        if sides[0]["title"] == sides[1]["title"]:
            sides = [{**side, "title": f"{side['title']} ({i})"} for i, side in enumerate(sides, 1)]
        mine, spare = {o["name"] for o in facts["sampling"]}, shown[1].spare
        facts = {
            **facts,
            "sides": sides,
            "classes": facts["classes"] or other["classes"],
            "attributes": facts["attributes"] or other["attributes"],
            "sampling": [
                *(_of_one(o, sides[0]["title"]) if o["name"] in spare else o for o in facts["sampling"]),
                *(_of_one(o, sides[1]["title"]) for o in other["sampling"] if o["name"] not in mine),
            ],
        }
        if "styles" in facts:
            facts["styles"] = min(facts["styles"], other["styles"])
        if "directions" in facts:
            facts["directions"] = max(facts["directions"], other["directions"])
    return facts


def _of_one(control: dict[str, Any], name: str) -> dict[str, Any]:
    """A control that moves one of two runs."""
    return {**control, "only": name}


def set_beside(one: Exhibit, other: Exhibit) -> None:
    """Have two runs shown on one page, whose controls move both, each as far as its model has them.

    Raises:
        UsageError: they have nothing in common that could be shown beside each other.
    """
    why = _unlike(one, other)
    if why:
        raise UsageError(f"{one.name} and {other.name} cannot be shown beside each other: {why}")
    mine, others = one.facts(), other.facts()
    controls = [{o["name"]: o for o in facts["sampling"]} for facts in (mine, others)]
    attributes = [{a["name"] for a in facts["attributes"]} for facts in (mine, others)]
    unlike = {
        name
        for name in controls[0].keys() & controls[1].keys()
        if any(controls[0][name].get(part) != controls[1][name].get(part) for part in FORM)
    }
    one.spare = frozenset(controls[1].keys() - controls[0].keys() | attributes[1] - attributes[0])
    other.spare = frozenset(controls[0].keys() - controls[1].keys() | unlike | attributes[0] - attributes[1])


def _unlike(one: Exhibit, other: Exhibit) -> str:
    """Why two runs cannot be shown beside each other; empty where they can."""
    if one.kind is not other.kind:
        does = {Player: "draws from noise", Translating: "makes images from images"}
        return f"the one {does[one.kind]}, the other {does[other.kind]}"
    mine, others = one.facts(), other.facts()
    for kind in ("classes", "attributes"):
        if mine[kind] and others[kind] and mine[kind] != others[kind]:
            counts = [len(facts[kind]) for facts in (mine, others)]
            differ = f"the one has {counts[0]}, the other {counts[1]}" if counts[0] != counts[1] else "by other names"
            return f"their {kind} differ, {differ}"
    if one.kind is Translating:
        if one.data.source_shape != other.data.source_shape:
            return f"the one takes sources of {_size(one.data)}, the other of {_size(other.data)}"
        if mine["made_by"] != others["made_by"]:
            told = [facts["made_by"] or "as they are" for facts in (mine, others)]
            return f"their sources are not made alike, of the one {told[0]}, of the other {told[1]}"
    return ""


def _size(data: DataSpec) -> str:
    assert data.source_shape is not None
    c, h, w = data.source_shape
    return f"{w} x {h} pixels in {'grey' if c == 1 else 'colour'}"


def exhibits_of(
    runs: Sequence[Path], device: str, plugins: Registry, sampling: Mapping[str, Any], checkpoint: str | None = None
) -> list[Exhibit]:
    """A run to show, or two beside each other: with latents of the same seed, or the same sources, and alike options.

    Raises:
        UsageError: two that cannot be shown beside each other; or as `player_of`.
        GanzooError: as `player_of`.
    """
    found: list[Exhibit] = []
    for run in runs:
        shared = None if not found else _shared(found[0])
        found.append(_exhibit(run, device, plugins, sampling, checkpoint, shared))
    if len(found) > 1:
        set_beside(*found)
    return found


def _shared(exhibit: Exhibit) -> Shared:
    """What another run shares with one that is shown: the turn, and the sources."""
    player = exhibit.playing()
    return Shared(exhibit.lock, player.held if isinstance(player, Translating) else None)


def _exhibit(
    run: Path, device: str, plugins: Registry, sampling: Mapping[str, Any], checkpoint: str | None,
    shared: Shared | None,
) -> Exhibit:  # fmt: skip
    player = player_of(run, device, plugins, sampling, checkpoint, shared)
    kept = Shared(
        player.lock,
        player.held if isinstance(player, Translating) else None,
        player.directions if isinstance(player, Player) else None,
    )

    def again(step: int | None) -> Player | Translating:
        return player_of(run, device, plugins, sampling, checkpoint if step is None else step, kept)

    return Exhibit(player, run, again)
