"""Classification accuracy score: are samples good enough to learn the classes from?"""

import hashlib
import json
from contextlib import suppress

import torch

from ganzoo.data import ImageSet
from ganzoo.data.reading import marks_of
from ganzoo.errors import GanzooError
from ganzoo.files import cache_dir, read_json, write_json
from ganzoo.metrics.base import Measured, Metric, Setting, needs_labels, needs_room, needs_test_split, require
from ganzoo.metrics.classifier import Shape, accuracy, fit, read
from ganzoo.metrics.neighbours import Gathered

EPOCHS, WIDTH, FEATURES = 6, 16, 64
"""Of the classifier that is trained: a small one, since two are."""
SEEN = 50_000
"""Images of each kind that it learns from, at most; no more of one than there are of the other."""


class CAS(Metric):
    """Test accuracy of a classifier trained on generated images, beside one trained on as many real ones.

    Ravuri and Vinyals, 2019. Both are trained alike, from the same seed.
    """

    name = "cas"
    summary = "accuracy, on real images, of a classifier trained on generated ones, beside one trained on real ones"
    default = False
    features = False

    def __init__(self, setting: Setting):
        super().__init__(setting)
        require(min(setting.reference.spec.shape[1:]) >= 8, "cas needs images of at least 8 x 8")
        self._most = min(setting.n, SEEN, len(setting.reference.training))
        self.images, self.labels = Gathered(self._most), Gathered(self._most)

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        h, w = setting.reference.spec.shape[1:]
        if h != w:
            return "the images are not square"
        held = 4 * min(setting.n, SEEN, len(setting.reference.training))  # Generated ones and real ones, each joined.
        return needs_labels(setting) or needs_test_split(setting) or needs_room(setting, held, 1)

    def update(self, batch: Measured) -> None:
        assert batch.labels is not None
        self.images.add(batch.images)
        self.labels.add(batch.labels)

    def compute(self) -> dict[str, float]:
        generated = ImageSet(self.images.all(), self.labels.all(), self.setting.reference.data.classes)
        return {"cas": self._reached(generated), "cas_real": self._real(len(generated))}

    def settings(self) -> dict[str, float | str]:
        return {
            "epochs": EPOCHS,
            "width": WIDTH,
            "features": FEATURES,
            "images": self._most,
            "split": "test",
            "train": self.setting.reference.training_fingerprint[:16],
            "test": self.setting.reference.testing_fingerprint[:16],
        }

    def _reached(self, data: ImageSet) -> float:
        setting = self.setting
        c, side, _ = setting.reference.spec.shape
        shape = Shape(c, side, len(data.classes), WIDTH, FEATURES)
        net = fit(data, shape, EPOCHS, setting.seed, setting.device)
        return accuracy(net, setting.reference.testing, setting.device)

    def _real(self, count: int) -> float:
        """The same with `count` training images, drawn at random; kept in the cache."""
        setting, reference = self.setting, self.setting.reference
        splits = [reference.training_fingerprint, reference.testing_fingerprint, list(reference.data.classes)]
        facts = [3, splits, list(reference.spec.shape), self.settings(), count, setting.seed]
        marks = marks_of(reference.training.images, reference.testing.images)
        facts += [marks] if marks else []  # The fingerprints of what streams are of 256 images.
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        path = cache_dir() / "reference" / f"{reference.name}-cas-{key}.json"
        with suppress(GanzooError, KeyError, TypeError, ValueError):
            return float(read_json(path, 4096)["accuracy"])
        train, index = reference.training, reference.training.class_of()
        assert index is not None
        some = torch.randperm(len(train), generator=torch.Generator().manual_seed(setting.seed))[:count]
        reached = self._reached(ImageSet(read(train, some.tolist()), index[some], train.classes))
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"accuracy": reached})
        return reached
