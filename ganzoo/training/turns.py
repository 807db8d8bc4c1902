"""Who moves in which step: the turns of a model, checked, and laid out as moves."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

from torch import Tensor, nn

from ganzoo.data import Batch
from ganzoo.errors import GanzooError, did_you_mean
from ganzoo.gan import GAN, Turn
from ganzoo.ingredients import Regulariser, added
from ganzoo.training.building import check_networks

LONGEST_PERIOD = 100_000
"""Steps after which the same turns are due again, at most: a table of this length is kept."""

Pattern = tuple[int, ...]
"""Which turns are due together in a step: their places in `turns()`."""


class Move(NamedTuple):
    """A turn as it is taken in a step, and where its fakes come from."""

    turn: Turn
    draws: bool
    """Takes the next real batch, and fakes of its own."""
    remakes: bool
    """Has fakes made anew for the same reals: the graph of the last ones is spent."""
    graph: bool
    """Fakes that are made here carry a graph, for this turn or one that follows."""
    attached: bool
    """Sees fakes with their graph: its player holds a module that makes them."""


class Schedule:
    """The turns of a model: what is due in a step, and how many real batches that takes."""

    def __init__(self, gan: GAN):
        """Ask the model for its turns.

        Raises:
            GanzooError: they make no sense, or a player would never move; it is named.
        """
        self.turns = _with_regularisers(gan, _checked(gan))
        parameters = {name: {id(p) for p in module.parameters()} for name, module in gan.players().items()}
        makers = {id(p) for name in gan.makers or gan.saved for p in getattr(gan, name).parameters()}
        self.owners = {name for name, ids in parameters.items() if ids & makers}
        """The players that hold a module of `makers`: fakes reach them with their graph."""
        self.period = math.lcm(*(turn.every for turn in self.turns))
        if self.period > LONGEST_PERIOD:
            every = ", ".join(str(turn.every) for turn in self.turns)
            raise GanzooError(
                f"model '{gan.name}': the same turns come together only every {self.period:,} steps (every={every}): "
                "choose numbers that divide each other"
            )
        self._patterns = [self._due(step) for step in range(self.period)]
        if () in self._patterns:
            raise GanzooError(
                f"model '{gan.name}': nobody moves in step {self._patterns.index(())}: let one Turn have every=1"
            )
        self.moves = {pattern: tuple(self._laid_out(pattern)) for pattern in dict.fromkeys(self._patterns)}
        """What a step of each pattern does, in order."""
        self.batches = {pattern: sum(move.draws for move in moves) for pattern, moves in self.moves.items()}
        """Real batches that a step of each pattern takes."""
        self._before = list(accumulate((self.batches[pattern] for pattern in self._patterns), initial=0))

    def _due(self, step: int) -> Pattern:
        return tuple(i for i, turn in enumerate(self.turns) if step % turn.every == 0)

    def _laid_out(self, pattern: Pattern) -> Iterator[Move]:
        moves: list[Move] = []
        spent = True
        for turn in (self.turns[i] for i in pattern):
            for k in range(turn.repeat):
                draws, attached = not moves or k > 0 or turn.fresh, turn.fakes and turn.player in self.owners
                remakes = not draws and attached and spent
                moves.append(Move(turn, draws, remakes, False, attached))
                spent = attached or (spent and not draws and not remakes)
        for i, move in enumerate(moves):
            made = next((j for j in range(i + 1, len(moves)) if moves[j].draws or moves[j].remakes), len(moves))
            here = move.draws or move.remakes
            yield move._replace(graph=here and any(later.attached for later in moves[i:made]))

    def pattern(self, step: int) -> Pattern:
        """The turns that are due in step `step`, counted from 0."""
        return self._patterns[step % self.period]

    def run(self, step: int, most: int) -> int:
        """How many steps from `step` on have its pattern, at most `most`."""
        pattern = self.pattern(step)
        return next((n for n in range(1, most) if self.pattern(step + n) != pattern), most)

    def longest_run(self, pattern: Pattern, most: int) -> int:
        """The most steps of this pattern that ever follow each other, at most `most`."""
        return max(self.run(step, most) for step in range(self.period) if self._patterns[step] == pattern)

    def step_with(self, pattern: Pattern, step: int) -> int:
        """The first step from `step` on that has this pattern."""
        return next(s for s in range(step, step + self.period) if self.pattern(s) == pattern)

    def batches_before(self, step: int) -> int:
        """Real batches that the steps before `step` take together."""
        periods, rest = divmod(step, self.period)
        return periods * self._before[-1] + self._before[rest]

    def steps_for(self, batches: float) -> int:
        """The fewest steps that take at least so many real batches."""
        periods, rest = divmod(max(batches, 0.0), self._before[-1])
        return int(periods) * self.period + bisect_left(self._before, rest)

    @property
    def batches_per_step(self) -> float:
        """The mean over all steps."""
        return self._before[-1] / self.period


@contextmanager
def constant(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, no gradient is recorded for these."""
    held = list(parameters)
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_()


def _with_regularisers(gan: GAN, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns with the run's regularisers: lazy ones as turns of their own, the others within their player's first.

    Raises:
        GanzooError: a regulariser is for a player whom the model does not have, or is due in no whole number of steps.
    """
    found = list(turns)
    for regulariser in added(gan.regularisers, Regulariser):
        if not is_count(regulariser.every):
            every = f"every={regulariser.every!r}"
            raise GanzooError(f"regulariser '{regulariser.name}' has {every}: it must be a whole number, 1 or more")
        of_player = [i for i, turn in enumerate(found) if turn.player == regulariser.player]
        if not of_player:
            raise GanzooError(
                f"regulariser '{regulariser.name}' is for the {regulariser.player}, "
                f"whom model '{gan.name}' does not have"
            )
        # Within a turn of every step, if there is one: a lazy turn would make it lazy too.
        at = next((i for i in of_player if found[i].every == 1), of_player[0])
        adds = type(regulariser).terms is not Regulariser.terms
        if regulariser.every > 1 or (
            adds and found[at].every > 1
        ):  # Behind the turn whose batch and fakes it sees too.
            # As heavy as if it were within that turn, which comes `repeat` times in a step.
            times = found[at].repeat if found[at].every == 1 else 1
            loss = _named(regulariser.name, _adding(gan, regulariser, None, times))
            found.insert(at + 1, Turn(regulariser.player, loss, every=regulariser.every))
        elif adds:
            loss = _named(found[at].name, _adding(gan, regulariser, found[at].loss))
            found[at] = found[at]._replace(loss=loss)
    return tuple(found)


Loss = Callable[[Batch, Batch], dict[str, Tensor]]


def _adding(gan: GAN, regulariser: Regulariser, loss: Loss | None, times: int = 1) -> Loss:
    """A loss with a regulariser's terms, so many times, or these alone. What is watched meanwhile is the loss's own."""

    def total(real: Batch, fake: Batch) -> dict[str, Tensor]:
        terms = {} if loss is None else loss(real, fake)
        if loss is not None:
            check_terms(terms, f"model '{gan.name}': the loss of turn '{loss.__name__.removesuffix('_loss')}'")
        seen, who = gan.watched(), f"regulariser '{regulariser.name}'"
        more = regulariser.terms(gan, real, fake)
        check_terms(more, who, none=loss is not None)
        if loss is None and not any(term.requires_grad for term in more.values()):
            raise GanzooError(f"{who}: no term depends on a parameter of the {regulariser.player}")
        gan.watched()
        for name, value in seen.items():
            gan.watch(name, value)
        names = [name if name not in terms else f"{regulariser.name} {name}" for name in more]
        return {**terms, **{name: t if times == 1 else times * t for name, t in zip(names, more.values(), strict=True)}}

    return total


def check_terms(terms: Any, who: str, none: bool = False) -> None:
    """Refuse what a loss should not have returned; `none`: it may have no term.

    Raises:
        GanzooError: it is not named scalars; `who` gave it.
    """
    if not isinstance(terms, dict) or not (terms or none):
        what = "no term" if isinstance(terms, dict) else f"{type(terms).__name__}, not a dict of named terms"
        raise GanzooError(f"{who} returns {what}")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.dim() or not term.is_floating_point():
            kind = f"a tensor of {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise GanzooError(f"{who} returns term '{name}' as {kind}, not as a scalar tensor: take the mean, say")


def is_count(value: Any) -> bool:
    """Whether it is a whole number, 1 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _named(name: str, loss: Loss) -> Loss:
    loss.__name__ = name
    return loss


def _checked(gan: GAN) -> tuple[Turn, ...]:
    """The model's turns.

    Raises:
        GanzooError: see `Schedule`.
    """
    check_networks(gan)
    turns, players, who = gan.turns(), gan.players(), f"model '{gan.name}'"
    if not isinstance(turns, Sequence) or isinstance(turns, str | Turn):
        raise GanzooError(f"{who}: turns() returns {type(turns).__name__}, not a list of ganzoo.Turn(player, loss)")
    turns = tuple(turns)
    for turn in turns:
        if not isinstance(turn, Turn):
            raise GanzooError(f"{who}: turns() gives a {type(turn).__name__}, which is no ganzoo.Turn(player, loss)")
        if turn.player not in players:
            hint = did_you_mean(str(turn.player), list(players))
            raise GanzooError(f"{who}: a Turn is for player '{turn.player}', whom players() does not name: {hint}")
        if not callable(turn.loss):
            raise GanzooError(f"{who}: the loss of a Turn of the {turn.player} is {turn.loss!r}, not a method")
        for name in ("fresh", "fakes"):
            if not isinstance(value := getattr(turn, name), bool):
                raise GanzooError(f"{who}: Turn '{turn.name}' has {name}={value!r}: it must be True or False")
        for name in ("every", "repeat"):
            if not is_count(value := getattr(turn, name)):
                raise GanzooError(
                    f"{who}: Turn '{turn.name}' has {name}={value!r}: it must be a whole number, 1 or more"
                )
    names = [turn.name for turn in turns]
    for name in names:
        if names.count(name) > 1:
            raise GanzooError(
                f"{who}: two turns are named '{name}', after their loss: write a method of its own for each, "
                "for the log tells them apart by it"
            )
    for player in players:
        if not any(turn.player == player for turn in turns):
            raise GanzooError(
                f"{who}: the {player} never moves, for no turn is its own: add Turn('{player}', ...) to turns(), "
                "or let another player hold its module in players()"
            )
    return turns
