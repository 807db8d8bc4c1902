"""Do word vectors that a model makes of pictures' features name what is on the pictures?

The evaluation of Mirza & Osindero 2014 (Conditional Generative Adversarial Nets, section 4.2): of each picture 100
samples, of each sample the 20 nearest words, and of these the 10 that come most often.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ganzoo.data import ImageSet
from ganzoo.metrics.base import Measured, Metric, Setting

SAMPLES, NEAREST, TAGS = 100, 20, 10
"""Of a picture, of a sample, of a picture again: as the paper has it."""
SHORTER = (5, 1)
"""Of how many first tags the precision is told beside that of all."""


class Pictures(NamedTuple):
    """What a set of word vectors says of pictures."""

    conditions: Tensor
    """Their features, float (P, K), no two rows alike."""
    own: Tensor
    """Which words each is tagged with, bool (P, V)."""


def pictures_of(data: ImageSet) -> Pictures:
    """The pictures of a set of word vectors whose conditions are features: rows of one condition are of one picture."""
    assert data.words is not None
    assert data.labels is not None
    conditions, picture = data.labels.unique(dim=0, return_inverse=True)
    own = torch.zeros(len(conditions), len(data.words.names), dtype=torch.bool)
    own[picture, data.words.places] = True
    return Pictures(conditions, own)


def similarity(vectors: Tensor, words: Tensor) -> Tensor:
    """The cosine of the angle between each of `vectors` (N, D) and each of `words` (V, D): double (N, V)."""
    return normalize(vectors.double().cpu()) @ normalize(words.double()).T


def tags_of(samples: Tensor, words: Tensor) -> Tensor:
    """The tags of one picture by samples of its word vectors (N, D): places in `words` (V, D), int64 (T,).

    The surest comes first. Of each sample the nearest words count, and of these those that come most often; of as
    many, those that are nearer on the whole.
    """
    count = len(words)
    cosines, nearest = similarity(samples, words).topk(min(NEAREST, count), dim=1)
    often = nearest.flatten().bincount(minlength=count)
    near = torch.zeros(count, dtype=torch.float64).index_add_(0, nearest.flatten(), cosines.flatten())
    by_nearness = near.argsort(descending=True, stable=True)
    return by_nearness[often[by_nearness].argsort(descending=True, stable=True)][:TAGS]


def most_frequent(pictures: Pictures) -> Tensor:
    """The words that tag most pictures, int64 (T,): the first baseline gives them to every picture."""
    return pictures.own.sum(0).argsort(descending=True, stable=True)[:TAGS]


def retrieved(conditions: Tensor, pictures: Pictures) -> Tensor:
    """Of each of `conditions` (N, K) the tags of the picture with the nearest features, then of the next, int64 (N, T).

    Those of one picture come the most frequent first. The second baseline.
    """
    frequency = pictures.own.sum(0)
    by_frequency = frequency.argsort(descending=True, stable=True)
    words = [by_frequency[own[by_frequency]].tolist() for own in pictures.own]
    most = min(TAGS, int(frequency.count_nonzero()))
    rows = []
    for nearest in torch.cdist(conditions.double(), pictures.conditions.double()).argsort(dim=1, stable=True).tolist():
        found: dict[int, None] = {}
        for picture in nearest:
            found |= dict.fromkeys(words[picture])
            if len(found) >= most:
                break
        rows.append(list(found)[:most])
    return torch.tensor(rows)


def precision(tags: Tensor, own: Tensor, first: int = TAGS) -> float:
    """The share of the `first` tags (P, T) of each picture that are its `own`, bool (P, V), averaged."""
    return own.gather(1, tags[:, :first]).double().mean().item()


class TagPrecision(Metric):
    """Precision of the tags that a model gives to the reference's pictures, beside what two ways without a model reach.

    Pictures have fewer words than ten, mostly: what the best tags would reach is told too.
    """

    name = "tags"
    summary = "precision of tags, beside the most frequent words and the nearest picture's; for word vectors"
    features = False
    of_vectors = True

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        reference = setting.reference
        if reference.data.words is None:
            return f"data set '{reference.name}' does not say which words its vectors stand for"
        if not reference.data.attributes:
            return f"data set '{reference.name}' has no features of pictures as conditions"
        return None if setting.draw is not None else "the model takes no condition: it cannot be asked about a picture"

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        return setting.reference.data.words is not None

    def update(self, batch: Measured) -> None:
        """Look at no sample but its own: each picture needs as many."""

    def compute(self) -> dict[str, float]:
        data, draw = self.setting.reference.data, self.setting.draw
        assert data.words is not None
        assert draw is not None
        pictures, known = pictures_of(data), pictures_of(self.setting.reference.training)
        samples = draw(pictures.conditions.repeat_interleave(SAMPLES, dim=0), self.setting.seed)
        count = len(pictures.conditions)
        tags = {
            "tags": torch.stack([tags_of(part, data.words.vectors) for part in samples.split(SAMPLES)]),
            "tags_frequent": most_frequent(known).expand(count, -1),
            "tags_retrieved": retrieved(pictures.conditions, known),
            "tags_possible": pictures.own.byte().argsort(dim=1, descending=True, stable=True)[:, :TAGS],
        }
        return {
            name if first == TAGS else f"{name}_at_{first}": precision(given, pictures.own, first)
            for first in (TAGS, *SHORTER)
            for name, given in tags.items()
        }

    def settings(self) -> dict[str, float | str]:
        return {"samples": SAMPLES, "nearest": NEAREST, "tags": TAGS}
