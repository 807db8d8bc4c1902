"""The contract: what a GAN family states, and nothing of how it is trained. It knows no plugin and no trainer."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ganzoo.data import Batch, DataSpec, ImageSet
from ganzoo.errors import GanzooError, UsageError
from ganzoo.fields import BatchSize, Beta1, Beta2, LatentDim, LearningRate, NCritic
from ganzoo.nets import has_batch_statistics, vector, weighted_layers
from ganzoo.optim import Adam, Rule, Schedule, linear_decay
from ganzoo.precision import like, single

SHOWN_CLASSES = 100
"""Columns of a sample grid, at most: thousands would make a picture that nothing can show."""


class Options(BaseModel):
    """Options that every model has. A model subclasses this; each field becomes an option of `ganzoo run NAME`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    batch_size: BatchSize = 64
    lr: LearningRate = 2e-4
    b1: Beta1 = 0.5
    b2: Beta2 = 0.999
    latent_dim: LatentDim = 100
    n_critic: NCritic = 1
    ema: float = Field(
        0.999, ge=0, lt=1, description="Decay of the generator's moving average, used for samples; 0: none."
    )
    ema_kimg: float | None = Field(
        None, gt=0, le=1e6, description="Half-life of the average in thousands of real images, instead of its decay."
    )
    ema_rampup: float = Field(
        0.05,
        ge=0,
        le=1,
        description="With --ema-kimg: the half-life is at most this share of the images seen; 0: no limit.",
    )


class Sampling(BaseModel):
    """Options of drawing samples from a trained model: truncation, say. A model subclasses this, as `Sampling`.

    Training draws with the defaults. Each field becomes an option of `sample`, `demo`, `eval` and `compare`, and part
    of what a score depends on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


COLUMNS = ("step", "epoch", "seconds", "evaluation")
"""What each line of the log says of itself: no value that a model watches has such a name."""


class Turn(NamedTuple):
    """One player's move in a step."""

    player: str
    """Who moves: a name of `players()`."""
    loss: Callable[[Batch, Batch], dict[str, Tensor]]
    """From real and fake to named scalar terms, whose sum the player goes down."""
    every: int = 1
    """Taken only in steps whose number, counted from 0, it divides: lazy regularisation."""
    repeat: int = 1
    """Taken so often in one step, each time after the first on a batch of its own: n_critic."""
    fresh: bool = False
    """Whether it gets fakes, and reals, of its own, not those of the turn before."""
    fakes: bool = True
    """Whether its loss looks at the fakes. If not, none are made for it: it gets those of the turn before, detached."""

    @property
    def name(self) -> str:
        """What its loss is called in the log: as its function, without `_loss` at the end; a lambda as the player."""
        function = getattr(self.loss, "func", self.loss)  # Of a partial.
        name = getattr(function, "__name__", type(function).__name__)
        return self.player if name == "<lambda>" else name.removesuffix("_loss").strip("_") or name


class Clock(nn.Module):
    """Where training stands, as scalar tensors on the model's device: right in plain, recorded and resumed steps alike.

    The trainer sets it before each step. A loss may compute with it, and must not read it in Python.
    """

    step: Tensor
    """Steps done, int64: 0 in the first."""
    images: Tensor
    """Real images seen before this step, over all processes, int64."""
    fraction: Tensor
    """Share of the run's budget that is spent, float in [0, 1]."""
    part: int = 0
    """Which part of its batch a turn looks at, a plain number from 0; a whole one has one. See `--accumulate`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("images", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("fraction", torch.zeros(()), persistent=False)

    def set(self, now: Mapping[str, Any]) -> None:
        """Set it to what is given by name: numbers, or the tensors that a recorded step reads."""
        for name, value in now.items():
            tensor: Tensor = getattr(self, name)
            tensor.copy_(value) if isinstance(value, Tensor) else tensor.fill_(value)


class Network(NamedTuple):
    """A network as another program saved it. Whoever wrote the file may have put anything into it."""

    kind: str
    """The name of its class; empty where the file names none."""
    attributes: Mapping[str, Any]
    """What its program keeps in it, by name; of this, numbers, strings and containers alone mean anything."""
    tensors: dict[str, Tensor]
    """Parameters and buffers, by the names that a `state_dict` has."""
    layers: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """What the modules within it keep: the numbers and strings of each by name, by the module's name."""


class Imported(NamedTuple):
    """What a model makes of another program's networks: see `GAN.from_snapshot`."""

    data: DataSpec
    """What they were trained on, as far as they say: the shape, and classes, by number where they have no names."""
    options: Any
    """An instance of the model's `Options`."""
    averaged: Mapping[str, Mapping[str, Tensor]]
    """Averaged networks by their names in `saved`, `generator` among them: tensors as our `state_dict` names them."""
    networks: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({})
    """The networks as they were in training, by attribute: `generator`, `discriminator`; those that there are."""


class GAN(nn.Module):
    """One GAN family: two networks, two losses, and how latents and labels are drawn.

    Subclass it, set `self.generator` and `self.discriminator` in `__init__`, and write `discriminator_loss` and
    `generator_loss`. Networks take `(z, y)` and `(x, y)`; `y` is None when unconditional; the generator of a model that
    `translates` takes `(source, y)`. `turns` says who moves, in which order. The trainer owns device,
    precision, gradients, optimizer steps, averaging, logging and checkpoints: a model never calls `backward`,
    `step`, `to(device)` or `item`. To let whole steps be captured, keep shapes static, draw random numbers from the
    default generator on `self.device`, and never branch on a tensor's value.
    """

    name: ClassVar[str]
    """What the user types: lower case, words joined by '-'."""
    paper: ClassVar[str]
    """Authors, title, year, and where to find it."""
    conditional: bool | Literal["auto"] = False
    """Whether the networks use labels; `auto`: where the data has any. Of an instance, what `uses_labels` decided for
    it, a bool."""
    translates: ClassVar[bool] = False
    """Whether the generator makes a sample from an image, `source`: the data must have sources."""
    clusters: ClassVar[bool] = False
    """Whether the classes that `recognise` gives are of the model's own making, found without labels: clusters."""
    own_sources: ClassVar[bool] = False
    """Whether, of a model that translates, each image is its own source, to be given another condition: any data set
    will do, and sources that it may have are not looked at."""
    supervised: ClassVar[bool] = False
    """Whether losses see the classes of real images, `real.y` and `real.source_y`, though nothing is made by them: a
    discriminator that names classes, say. The data must have classes; `labelled` and `recognise` go with it."""
    saved: ClassVar[tuple[str, ...]] = ("generator",)
    """Attributes whose modules a run keeps and averages, and can sample with: an encoder, the second generator."""
    judged: ClassVar[Literal["samples", "parts", "latents"]] = "samples"
    """What the discriminator sees of a fake: its `x`; the parts that `x` was made of, or with, which a change of `x`
    would not reach; or its latent, against the codes of real samples. What is mixed in may ask for samples."""
    real_entropy: float = 0.0
    """What -E[log D(x)] is multiplied by in the discriminator's loss, where this is a cross-entropy: 1, or 0.5 in a
    mean over both sides, say. 0: it has no such term, and what smooths it is refused."""
    by_logits: bool = True
    """Whether the generator goes by the logits of its samples. False: by features of them alone, say, and what weighs
    logits is refused."""
    judges: int = 1
    """Discriminators that answer together: so many tensors of logits come first in the tuple that `judge` returns. What
    regularises one of them regularises each; scores are those of the first."""
    judged_together: int = 1
    """Samples that the discriminator judges as one, pack by pack: parts of a batch hold whole packs, or are refused."""
    makers: ClassVar[tuple[str, ...] | None] = None
    """Those of `saved` that fakes are made by; None: all. Players that hold one of these see fakes with their graph."""
    channels_last: ClassVar[tuple[str, ...]] = ()
    """Kinds of devices, `cuda` or `cpu`, on which convolutions are to find channels last in memory, being faster so.
    A network that reshapes maps does so by `reshape` or `flatten` then: `view` would fail."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named bundles of options, the run's own (`image_size`, `epochs`) included."""
    Options: ClassVar[type[Options]] = Options
    Sampling: ClassVar[type[BaseModel]] = Sampling

    generator: nn.Module
    discriminator: nn.Module
    _class_ends: Tensor | None
    """Running sum of `data.counts`, int64 (classes,), on the device; None where classes are drawn uniformly."""

    def __init__(self, data: DataSpec, options: Any):
        """Keep the options and the description of the data, in `self.data`: without what the model does not use.

        Raises:
            UsageError: the model is conditional and the data has no labels, or supervised and it has no classes, or it
                translates and there are no sources, or vectors instead of images.
        """
        super().__init__()
        self.conditional = self.uses_labels(data, options)
        if self.own_sources:
            data = data.with_own_sources()
        seen = data if self.sees_labels else data.without_labels()
        self.data = seen if self.translates else seen.without_sources()
        self.options = options
        self.sampling = self.Sampling()
        self.clock = Clock()
        self.augmentations = nn.ModuleList()
        """What the run adds to the model: see `ganzoo.ingredients`."""
        self.regularisers = nn.ModuleList()
        self.moving: str | None = None
        """The player whose turn it is."""
        self._watched: dict[str, Tensor] = {}
        self._real_logits: Tensor | None = None
        counts = self.data.counts
        unequal = torch.tensor(list(accumulate(counts))) if len(set(counts)) > 1 else None
        self.register_buffer("_class_ends", unequal, persistent=False)
        _refuse_unfit(self, data)

    @classmethod
    def from_snapshot(cls, networks: Mapping[str, Network]) -> Imported:
        """Take networks that another program saved, by name, such as `G`, `D` and `G_ema`: for `ganzoo import`.

        Build nothing here: only say what the networks are. Shapes are compared before any memory is asked for.

        Raises:
            UsageError: these are none of this model's; the message says why.
        """
        raise UsageError(f"model '{cls.name}' takes no networks of other programs")

    @classmethod
    def uses_labels(cls, data: DataSpec, options: Any) -> bool:
        """Whether the networks use labels: as the class says by `conditional`, unless overridden.

        A model with an option says `return options.conditional`.
        """
        return data.conditional if cls.conditional == "auto" else cls.conditional

    @classmethod
    def wanted_source(cls, options: Any) -> str | None:
        """Of sources that are made of images, the one `--source` that suits these options, such as `hole:0.25`; None:
        any."""
        return None

    @classmethod
    def sourced(cls, data: ImageSet) -> ImageSet:
        """The data set with what this model starts from: itself, or, with `own_sources`, its images as sources too."""
        if not (cls.own_sources and data.is_images):
            return data
        return replace(data, sources=data.images, paired=False, source_labels=None)

    def refuse_idle(self) -> None:
        """Called where a run begins, not where one goes on or is drawn from.

        Raises:
            UsageError: an option was given that does nothing with such data, or without another.
        """

    # What is known

    @property
    def sees_labels(self) -> bool:
        """Whether losses get the labels of real images."""
        return bool(self.conditional or self.supervised)

    def labelled(self) -> int | None:
        """How many training images come with their class, of a model that is `supervised`: as many of each, as far as
        they go, the same ones in every run. Of the others `real.y` is -1. None: all do.
        """
        return None

    def recognise(self, x: Tensor) -> dict[str, Tensor]:
        """What classes a model that learns to name them sees in images (N, C, H, W): logits (N, classes) by name.

        Of a model that `clusters`, logits (N, clusters).

        The model's own answer first; what follows is measured beside it, by its name. Called without gradients on what
        is `saved`, in evaluation mode. Empty: the model names nothing.
        """
        return {}

    # What is drawn

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device

    def sample_latent(self, n: int) -> Tensor:
        """Draw latents: float (n, latent_dim), standard normal unless overridden; (n, 0) of a model that translates."""
        if self.translates:
            return torch.empty(n, 0, device=self.device)
        return torch.randn(n, self.options.latent_dim, device=self.device)

    def between(self, a: Tensor, b: Tensor, t: float) -> Tensor:
        """Latents on the way from `a` at t = 0 to `b` at 1, for walks: by cos and sin of a quarter turn, which keep the
        length of normal ones. Override it where latents are of another kind.
        """
        angle = t * math.pi / 2
        return math.cos(angle) * a + math.sin(angle) * b

    def sample_labels(self, n: int) -> Tensor | None:
        """Draw conditions: classes, int64 (n,); with attributes, uniformly in their ranges, vectors, float (n, K).

        A class comes as often as in the training data, by `self.data.counts`; where these are equal, or not there (as
        `--labels uniform` asks for), each as often as the others.
        """
        if not self.conditional:
            return None
        columns = []
        if self.data.classes:
            classes = self._draw_classes(n)
            if not self.data.attributes:
                return classes
            columns.append(vector(classes, len(self.data.classes)))
        for a in self.data.attributes:
            columns.append(torch.empty(n, 1, device=self.device).uniform_(a.low, a.high))
        return torch.cat(columns, dim=1)

    def _draw_classes(self, n: int) -> Tensor:
        if self._class_ends is None:
            return torch.randint(len(self.data.classes), (n,), device=self.device)
        # Training samples by number, class after class: which class each is of. In whole numbers nothing is rounded.
        drawn = torch.randint(sum(self.data.counts), (n,), device=self.device)
        return torch.searchsorted(self._class_ends, drawn, right=True)

    def fake_labels(self, real: Batch) -> Tensor | None:
        """Conditions for the fakes that face `real`: drawn anew for classes.

        Vectors are taken from the real batch, since their joint distribution is known only from data, and so are the
        conditions of what is made from a source: the source's own class, where it has one; those of others, where each
        image is its own source. A model that pairs real with fake (relativistic losses) overrides this to return
        `real.y`.
        """
        if self.conditional and self.own_sources:
            assert real.y is not None
            return real.y[torch.rand(len(real.x), device=real.x.device).argsort()]
        if self.conditional and (self.data.attributes or self.translates):
            return real.y if real.source_y is None else real.source_y
        return self.sample_labels(len(real.x))

    def generate(self, z: Tensor, y: Tensor | None, source: Tensor | None = None) -> Tensor:
        """Samples for latents (N, ...) and conditions: float (N, C, H, W) in [-1, 1], or vectors (N, D).

        A model that translates gets `source` too, and its generator takes `(source, y)` unless it overrides this. In
        training images may go beyond [-1, 1], if nothing bounds the generator.
        Options of drawing are in `self.sampling`.
        """
        return self.generator(source, y) if self.translates else self.generator(z, y)

    def prepare_drawing(self) -> None:
        """Called once on a view of the model that has options of drawing in `self.sampling`, before it draws.

        For what is worked out from the weights beforehand. The view's modules are those of the model: replace one of
        them in the view, and change none.
        """

    def returned(self, x: Tensor, y: Tensor | None = None) -> Tensor | None:
        """What is made back of `x`, samples made from sources, to be held against these; None if it goes one way alone.

        By default by a module `back`, where the model has one.
        """
        back = getattr(self, "back", None)
        return back(x) if self.translates and isinstance(back, nn.Module) else None

    def generated(self, z: Tensor, y: Tensor | None, source: Tensor | None) -> Tensor:
        """What `generate` makes. A model that does not translate may have written it without `source`."""
        return self.generate(z, y, source) if self.translates else self.generate(z, y)

    def fake(self, real: Batch) -> Batch:
        """As many fakes as `real` has samples, latents drawn first, then labels; made from `real.source` if need be."""
        z = self.sample_latent(len(real.x))
        y = self.fake_labels(real)
        return Batch(self.generated(z, y, real.source), y, z, real.source, real.source_y)

    def showcase(self) -> tuple[Tensor, Tensor | None, int]:
        """What sample grids show: latents, conditions and the number of columns.

        One column per class where the model is conditional and the data has classes, 8 x 8 otherwise. Of more than
        100 classes, 100 are shown, evenly spaced from the first to the last.
        """
        classes = len(self.data.classes) if self.conditional else 0
        if not classes:
            return self.sample_latent(64), self.sample_labels(64), 8
        columns = min(classes, SHOWN_CLASSES)
        shown = [i * (classes - 1) // max(columns - 1, 1) for i in range(columns)]
        index = torch.tensor(shown, device=self.device).repeat(10)
        return self.sample_latent(10 * columns), self.data.condition(index), columns

    def pictures(self, examples: Batch) -> dict[str, Tensor]:
        """What grids show of fixed held-out examples: by name, images float (N, C, H, W) in [-1, 1], one for each.

        Called without gradients, on the averaged networks in evaluation mode. Of a model that translates: source,
        output and, where the data is paired, target. Override it for more: reconstructions, say.
        """
        if not self.translates:
            return {}
        z = self.sample_latent(len(examples.x))
        shown = {"source": examples.source, "output": self.generate(z, examples.y, examples.source)}
        if self.data.paired:
            shown["target"] = examples.x
        return {name: images for name, images in shown.items() if images is not None}

    # What is minimised

    def discriminator_loss(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """Named scalar terms; their sum is minimised over the discriminator. `fake.x` carries no graph."""
        raise GanzooError(f"{type(self).__name__} does not state discriminator_loss")

    def generator_loss(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """Named scalar terms; their sum is minimised over the generator.

        The discriminator's parameters are constants here: no gradient is recorded for them.
        """
        raise GanzooError(f"{type(self).__name__} does not state generator_loss")

    def after_discriminator_step(self) -> None:
        """Called after each step of the player `discriminator`, without gradients: weight clipping and the like."""

    def players(self) -> dict[str, nn.Module]:
        """The modules that play, by name. No two share a parameter."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def turns(self) -> Sequence[Turn]:
        """Who moves in a step, in order, and down which loss. Every player has a turn. Asked once, before training.

        Unless overridden, the discriminator `n_critic` times, then the generator against the last of its batches.
        """
        return [
            Turn("discriminator", self.discriminator_loss, repeat=self.options.n_critic),
            Turn("generator", self.generator_loss),
        ]

    def discriminator_layers(self) -> Sequence[nn.Module | Sequence[nn.Module]]:
        """The discriminator's layers, or blocks, from the image on, each a module or several: what
        `--freeze-discriminator` counts. Default: what holds weights, in the order of registration.
        """
        return weighted_layers(self.discriminator)

    def optimizer(self, player: str) -> Rule:
        """The update rule of a player, unless overridden: Adam with the options' `lr`, `b1`, `b2`.

        Two more options hold where a model has them: `lr_generator`, the rate of all players but the discriminator,
        and `lr_hold`, the share of the run after which the rate falls in a line to 0.
        """
        o: Any = self.options
        rate = o.lr if player == "discriminator" else getattr(o, "lr_generator", o.lr)
        return Adam(linear_decay(rate, begin=getattr(o, "lr_hold", 1.0)), o.b1, o.b2)

    def average_decay(self) -> Schedule | None:
        """Decay of the average in a step, a number or a schedule; None: as `ema`, or `ema_kimg`, of the options say."""
        return None

    # Helpers for the losses

    def discriminate(self, *batches: Batch) -> Any:
        """The discriminator's output for each batch, one joined pass where that gives the same answer.

        `real_logits, fake_logits = self.discriminate(real, fake)`, or `logits = self.discriminate(fake)`. Joined is a
        fifth faster; a discriminator with batch statistics sees each batch by itself, as the papers mean it. When the
        discriminator returns a tuple, each answer is that tuple. Logits are float32, also where the networks compute in
        half precision. The mean score of each side is logged as D(x) or D(G(z)).
        """
        if len(batches) == 1 or has_batch_statistics(self.discriminator):
            outputs = [single(self.judge(self.augmented(b))) for b in batches]
        else:
            outputs = _split(single(self.judge(self.augmented(_joined(batches)))), [len(b.x) for b in batches])
        for i, (batch, output) in enumerate(zip(batches, outputs, strict=True)):
            verdicts = self.verdicts(output)
            logits = verdicts[0].detach()
            self.watch("D(x)" if batch.z is None else "D(G(z))", self.score(logits))
            if batch.z is None:
                self._real_logits = logits
            outputs[i] = self._heeded(output, verdicts, batch)
        return outputs[0] if len(batches) == 1 else tuple(outputs)

    def _heeded(self, output: Any, verdicts: tuple[Tensor, ...], batch: Batch) -> Any:
        """What the discriminator said, with its logits as the regularisers of the player whose turn it is heed them."""
        heeding = [one for one in cast(Any, self.regularisers) if one.player == self.moving]
        if not heeding:
            return output
        for one in heeding:
            who = f"regulariser '{one.name}': heed"
            verdicts = tuple(_alike(verdict, one.heed(self, verdict, batch), who, "logits") for verdict in verdicts)
        if not isinstance(output, tuple):
            return verdicts[0]
        return like(output, [*verdicts, *output[len(verdicts) :]])

    def augmented(self, batch: Batch) -> Batch:
        """The batch as the run's augmentations let the discriminator see it, each sample changed by itself."""
        if not len(self.augmentations):
            return batch
        x = single(batch.x)  # A model may draw fakes of its own, in half precision.
        for augmentation in cast(Any, self.augmentations):
            who, version = f"augmentation '{augmentation.name}'", None if x.is_inference() else x._version
            changed = _alike(x, augmentation(x), who, "images")
            if version is not None and x._version != version:
                raise GanzooError(f"{who} changes its images in place: it must make others, as others need these")
            if x.requires_grad and torch.is_grad_enabled() and not changed.requires_grad:
                raise GanzooError(f"{who} gives images without a gradient: generators learn through it")
            x = changed
        return batch._replace(x=x)

    def judge(self, batch: Batch) -> Any:
        """The discriminator's output for a batch: `self.discriminator(x, y)`; overridden where it sees the source."""
        return self.discriminator(batch.x, batch.y)

    def verdicts(self, output: Any) -> tuple[Tensor, ...]:
        """The logits of each of `judges`, in what `judge` or `discriminate` says of a batch."""
        return output[: self.judges] if isinstance(output, tuple) else (output,)

    def surface(self, x: Tensor, y: Tensor | None) -> Tensor:
        """What pictures of points shade the plane with: the score of each of `x` (N, D) by itself, float (N,).

        By default of the first that the discriminator says of it; overridden where it judges several at once.
        """
        output = single(self.judge(Batch(x, y)))
        logits = output[0] if isinstance(output, tuple) else output
        return self.score(logits).reshape(len(x), -1).mean(1)

    def score(self, logits: Tensor) -> Tensor:
        """What to show of the discriminator's output: the probability of being real, unless overridden."""
        return torch.sigmoid(logits)

    def watch(self, name: str, value: Tensor) -> None:
        """Log the mean of `value` beside the loss terms.

        Raises:
            GanzooError: the log has a column of this name itself.
        """
        if name in COLUMNS:
            raise GanzooError(f"model '{self.name}': watch('{name}', ...) would hide the log's own '{name}': rename it")
        self._watched[name] = value.detach().float().mean()

    def aside(self) -> "GAN":
        """A view of the model whose losses can be asked without a word in the log; everything else is shared."""
        view = copy.copy(self)
        view._watched, view._real_logits = {}, None
        return view

    def real_logits(self) -> Tensor | None:
        """What the discriminator said of real samples since the last call, (N, ...); None where it was not asked."""
        logits, self._real_logits = self._real_logits, None
        return logits

    def watched(self) -> dict[str, Tensor]:
        """What was watched since the last call, by name. The trainer asks after each loss."""
        seen, self._watched = self._watched, {}
        return seen


def _alike(before: Tensor, after: Any, who: str, what: str) -> Tensor:
    """What an ingredient made of a tensor, if it has its shape and is no wider.

    Raises:
        GanzooError: it is something else: torch would speak of the model, in which it would surface.
    """
    kept = isinstance(after, Tensor) and after.shape == before.shape and after.is_floating_point()
    if kept and after.dtype.itemsize <= before.dtype.itemsize:
        return cast(Tensor, after)
    made = f"{after.dtype} {tuple(after.shape)}" if isinstance(after, Tensor) else type(after).__name__
    same = isinstance(after, Tensor) and after.shape == before.shape
    must = "make floats no wider than they are" if same else "keep their shape"
    raise GanzooError(f"{who} makes {made} of {what} {before.dtype} {tuple(before.shape)}: it must {must}")


def _refuse_unfit(model: GAN, data: DataSpec) -> None:
    """Refuse data that a model cannot learn from.

    Raises:
        UsageError: see `GAN.__init__`.
    """
    if model.own_sources and not data.is_images:
        raise UsageError(
            f"model '{model.name}' makes images from images, and data set '{data.name}' holds vectors: "
            "choose a data set of images"
        )
    if model.translates and data.source_shape is None:
        raise UsageError(
            f"model '{model.name}' makes images from images, and data set '{data.name}' has none to start from: "
            "choose a data set with sources, such as mnist-edges, or make some with --source grey, edges, hole or "
            "smaller:4"
        )
    if model.conditional and not data.conditional:
        raise UsageError(
            f"model '{model.name}' needs labels, and data set '{data.name}' has none: "
            "choose an unconditional model, or put the images in one folder per class"
        )
    if model.supervised and (data.attributes or not data.classes):
        has = "tags or numbers" if data.attributes else "none"
        raise UsageError(
            f"model '{model.name}' learns to name classes, and data set '{data.name}' has {has}: choose a data set "
            "with classes, or put the images in one folder per class"
        )


def _joined(batches: Sequence[Batch]) -> Batch:
    """One batch of all samples, with what each of them has; of latents, nothing."""

    def column(name: str) -> Tensor | None:
        parts = [getattr(batch, name) for batch in batches]
        return None if any(part is None for part in parts) else torch.cat(parts)

    return Batch(torch.cat([batch.x for batch in batches]), column("y"), None, column("source"), column("source_y"))


def _split(output: Any, sizes: list[int]) -> list[Any]:
    if isinstance(output, tuple):
        return [like(output, parts) for parts in zip(*(part.split(sizes) for part in output), strict=True)]
    return list(output.split(sizes))
