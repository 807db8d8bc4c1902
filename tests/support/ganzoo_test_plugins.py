"""A stranger's package, as the tests need it: tiny models and a slice of the embedded digits."""

from functools import cache
from typing import Literal

import torch
from ganzoo_plugins.mnist import MNIST
from pydantic import Field
from torch import nn

import ganzoo
from ganzoo import losses
from ganzoo.data import normalise, resize, to_channels
from ganzoo.metrics.base import Features
from ganzoo.nets import Condition, Dropout


@cache
def digits(split):
    """The first 800 embedded digits of a split, read once: all take a second where the cache is cold."""
    data = MNIST().load(ganzoo.DataRequest(split))
    return ganzoo.ImageSet(data.images[:800].clone(), data.labels[:800].clone(), data.classes)


class Streamed(torch.utils.data.Dataset):
    """Images that are asked for one by one, as those that no memory holds."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


class SmallDigits(ganzoo.Dataset):
    """The first 500 digits at 8 x 8: small enough for thousands of steps in seconds."""

    name = "small-digits"
    summary = "500 MNIST digits at 8 x 8"

    def load(self, request):
        data = digits(request.split)
        return ganzoo.ImageSet(resize(data.images[:500], 8), data.labels[:500].clone(), data.classes)


class Unlabelled(ganzoo.Dataset):
    """The same without labels."""

    name = "unlabelled"
    summary = "the same without labels"

    def load(self, request):
        return ganzoo.ImageSet(SmallDigits().load(request).images)


class Pairs(ganzoo.Dataset):
    """Each digit with its negative, to make it from."""

    name = "small-pairs"
    summary = "500 MNIST digits at 8 x 8, each with its negative as the source"

    def load(self, request):
        small = SmallDigits().load(request)
        return ganzoo.ImageSet(small.images, small.labels, small.classes, sources=255 - small.images)


class Halves(ganzoo.Dataset):
    """Each digit, to be made from one half as large."""

    name = "small-halves"
    summary = "500 MNIST digits at 8 x 8, each with itself at 4 x 4 as the source"

    def load(self, request):
        small = SmallDigits().load(request)
        return ganzoo.ImageSet(small.images, small.labels, small.classes, sources=resize(small.images, 4))


class Unpaired(ganzoo.Dataset):
    """Digits, and others, in colour, to make them from."""

    name = "small-unpaired"
    summary = "500 MNIST digits at 8 x 8, and 300 others in red as sources"

    def load(self, request):
        small = SmallDigits().load(request).images
        others = resize(digits(request.split).images[500:800], 8)
        red = torch.cat([others, torch.zeros_like(others), torch.zeros_like(others)], dim=1)
        return ganzoo.ImageSet(small, sources=red, paired=False)


class Adapting(ganzoo.Dataset):
    """Digits in red, and plain ones with their classes, to learn those from."""

    name = "small-adapting"
    summary = "200 MNIST digits at 16 x 16 in red, and plain ones with their classes as unpaired sources"

    def load(self, request):
        data = digits(request.split)
        images, labels = resize(data.images[:200], 16), data.labels[:200].clone()
        red = torch.cat([images, torch.zeros_like(images), torch.zeros_like(images)], dim=1)
        theirs = {"sources": images.flip(0), "paired": False, "source_labels": labels.flip(0)}
        return ganzoo.ImageSet(red, labels, data.classes, **theirs)


class Points(ganzoo.Dataset):
    """Vectors: eight heaps on a circle."""

    name = "small-points"
    summary = "500 points in the plane, in eight heaps on a circle"

    def load(self, request):
        draw = torch.Generator().manual_seed(0 if request.split == "train" else 1)
        angle = torch.randint(8, (500,), generator=draw) * (torch.pi / 4)
        centres = 0.7 * torch.stack([angle.cos(), angle.sin()], dim=1)
        return ganzoo.ImageSet(centres + 0.02 * torch.randn(500, 2, generator=draw))


class Generator(nn.Module):
    def __init__(self, data, latent_dim):
        super().__init__()
        self.condition = Condition(data, 4)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim + self.condition.size, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Linear(32, data.pixels),
            nn.Tanh(),
            nn.Unflatten(1, data.shape),
        )

    def forward(self, z, y):
        return self.layers(torch.cat([z, self.condition(z, y)], dim=1))


class Discriminator(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.condition = Condition(data, 4)
        self.layers = nn.Sequential(
            nn.Linear(data.pixels + self.condition.size, 32), nn.LeakyReLU(0.2), Dropout(0.25), nn.Linear(32, 1)
        )

    def forward(self, x, y):
        return self.layers(torch.cat([x.flatten(1), self.condition(x, y)], dim=1))


class Tiny(ganzoo.GAN):
    """A conditional GAN with everything a resume must restore: BatchNorm, dropout, Adam."""

    name = "tiny"
    paper = "none"
    conditional = True
    presets = {"short": {"steps": 7, "batch_size": 16}}

    class Options(ganzoo.Options):
        latent_dim: int = Field(8, ge=1, description="Size of z.")
        explode_at: int = Field(0, ge=0, description="Make the generator's loss NaN at this step.")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Generator(self.data, options.latent_dim)
        self.discriminator = Discriminator(self.data)
        self.register_buffer("losses_taken", torch.zeros((), dtype=torch.int64))

    def discriminator_loss(self, real, fake):
        return {"adversarial": losses.hinge_discriminator(*self.discriminate(real, fake))}

    def generator_loss(self, real, fake):
        self.losses_taken += 1
        loss = losses.hinge_generator(self.discriminate(fake))
        broken = self.losses_taken == self.options.explode_at
        return {"adversarial": loss, "extra": torch.where(broken, float("nan"), 0.0) * loss}


class Plain(Tiny):
    """The same without labels."""

    name = "plain"
    conditional = False


class Translated(nn.Module):
    """From a source to a sample."""

    def __init__(self, data):
        super().__init__()
        pixels = data.source_shape[0] * data.source_shape[1] * data.source_shape[2]
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, data.pixels), nn.Tanh(), nn.Unflatten(1, data.shape)
        )

    def forward(self, source, y):
        return self.layers(source)


class Translator(Plain):
    """Makes images from images."""

    name = "tiny-translator"
    translates = True

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Translated(self.data)


class LabelledTranslator(Translator):
    """The same, brighter by class."""

    name = "tiny-labelled-translator"
    conditional = True

    def generate(self, z, y, source=None):
        return super().generate(z, y, source) / 2 + y.view(-1, 1, 1, 1) / 20


class Autoencoder(Plain):
    """Shows held-out images, and what it makes of them."""

    name = "tiny-autoencoder"

    def pictures(self, examples):
        return {"original": examples.x, "negative": -examples.x}


class Truncated(Tiny):
    """The same with options of drawing, one of each kind."""

    name = "truncated"

    class Sampling(ganzoo.Sampling):
        truncation: float = Field(1.0, ge=0, le=2, description="Scale of the latents.")
        shift: int = Field(0, gt=-4, lt=4, description="Pixels by which the picture is rolled to the right.")
        order: Literal["as-drawn", "reversed"] = Field("as-drawn", description="Order of the latent's numbers.")
        invert: bool = Field(False, description="Dark for bright.")
        gain: float | None = Field(None, gt=0, description="Factor of the pixels; default: none.")

    def generate(self, z, y, source=None):
        s = self.sampling
        x = self.generator((z.flip(1) if s.order == "reversed" else z) * s.truncation, y).roll(s.shift, 3)
        return (-x if s.invert else x) * (1 if s.gain is None else s.gain)


class Unfinished(ganzoo.GAN):
    """A model whose author forgot the losses."""

    name = "unfinished"
    paper = "none"

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = Generator(self.data, options.latent_dim)
        self.discriminator = Discriminator(data)


class Inverted(Tiny):
    """A third network that the run keeps, which moves with the generator, and a lazy turn."""

    name = "tiny-inverted"
    saved = ("generator", "encoder")

    def __init__(self, data, options):
        super().__init__(data, options)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(data.pixels, options.latent_dim))

    def players(self):
        return {
            "discriminator": self.discriminator,
            "generator": nn.ModuleList([self.generator, self.encoder]),
        }

    def turns(self):
        return [*super().turns(), ganzoo.Turn("discriminator", self.r1_loss, every=3, fresh=True)]

    def generator_loss(self, real, fake):
        return {**super().generator_loss(real, fake), "inverted": (self.encoder(fake.x) - fake.z).square().mean()}

    def r1_loss(self, real, fake):
        x = real.x.detach().requires_grad_()
        return {"penalty": 3 * losses.zero_centred_penalties((x, self.judge(real._replace(x=x))))[0]}

    def pictures(self, examples):
        return {"original": examples.x, "again": self.generate(self.encoder(examples.x), examples.y)}


@ganzoo.hookimpl
def register_models(register):
    register(Inverted)
    register(Tiny)
    register(Plain)
    register(Translator)
    register(LabelledTranslator)
    register(Autoencoder)
    register(Truncated)
    register(Unfinished)


@ganzoo.hookimpl
def register_datasets(register):
    register(SmallDigits)
    register(Unlabelled)
    register(Pairs)
    register(Halves)
    register(Unpaired)
    register(Points)
    register(Adapting)


class Look(ganzoo.FeatureExtractor):
    """A fixed random projection of 8 x 8 grey pixels, with logits that mean nothing: costs no time."""

    name = "look"
    summary = "16 random features of 8 x 8 pixels"
    datasets = ("small-digits", "unlabelled")
    num_features = 16
    classes = tuple("0123456789")
    classifies = True
    sha256 = "10" * 32

    def __init__(self, weights=None):
        super().__init__(weights)
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("first", torch.randn(64, 16, generator=draw) / 8)
        self.register_buffer("second", torch.randn(16, 10, generator=draw))

    def resizing(self, height, width):
        return "none" if (height, width) == (8, 8) else f"{height}x{width} to 8x8"

    def extract(self, images):
        x = normalise(resize(to_channels(images, 1), 8)).flatten(1).to(self.first.device)
        vectors = torch.tanh(x @ self.first)
        return Features(vectors, vectors @ self.second)


@ganzoo.hookimpl
def register_metrics(register):
    register(Look)
