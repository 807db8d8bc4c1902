"""Do images show what their labels say? Label accuracy and class confusion."""

from collections import Counter
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ganzoo.metrics.base import Measured, Metric, Setting, needs_classifier


class Accuracy(Metric):
    """The share of images that the extractor's classifier puts in the class they were meant for."""

    name = "accuracy"
    summary = "label accuracy and class confusion, by the extractor's classifier; the images need labels"

    def __init__(self, setting: Setting):
        from torchmetrics.classification import MulticlassConfusionMatrix

        super().__init__(setting)
        self.metric = MulticlassConfusionMatrix(
            len(setting.reference.data.classes), validate_args=False, sync_on_compute=False
        )

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        return needs_classifier(setting)

    def update(self, batch: Measured) -> None:
        assert batch.logits is not None
        assert batch.labels is not None
        self.metric.update(batch.logits.argmax(1).cpu(), batch.labels)

    def compute(self) -> dict[str, float]:
        confusion = self.confusion()
        return {"accuracy": int(confusion.diagonal().sum()) / int(confusion.sum())}

    def confusion(self) -> Tensor:
        """Counts, int64 (K, K): row the class that was meant, column the class that is seen."""
        counts: Tensor = self.metric.compute()
        return counts


class Recognised(Metric):
    """What the model itself sees in the reference's images."""

    features = False
    clusters: ClassVar[bool]
    """Whether it is of models that find clusters, or of those that name classes."""

    @classmethod
    def missing(cls, setting: Setting) -> str | None:
        reference = setting.reference
        if setting.recognise is None or setting.clusters != cls.clusters:
            names = f"name the classes of '{reference.name}', such as ccgan"
            return f"that is for models that {'find clusters, such as clustergan' if cls.clusters else names}"
        return None if reference.labels is not None else f"data set '{reference.name}' has no classes"

    @classmethod
    def concerns(cls, setting: Setting) -> bool:
        return cls.missing(setting) is None

    def update(self, batch: Measured) -> None:
        """Nothing: real images are looked at."""


class Recognition(Recognised):
    """The share of the reference's images that the model itself puts in their class, by each of its classifiers."""

    name = "recognition"
    summary = "share of real images that a model which learns to name classes, such as ccgan, puts in theirs"
    clusters = False

    def compute(self) -> dict[str, float]:
        assert self.setting.recognise is not None
        reference, right = self.setting.reference, Counter[str]()
        for images, labels in reference.batches():
            assert labels is not None
            for name, said in self.setting.recognise(images).items():
                right[name] += int((said == labels).sum())
        (_, count), *others = right.items()
        found = {self.name: count / len(reference.data)}
        return found | {f"{self.name}_{name}": count / len(reference.data) for name, count in others}


class Clustering(Recognised):
    """The share of the reference's images whose cluster, by the model itself, is the one of their class.

    Each cluster is matched with one class at most, as most images agree (the Hungarian method).
    """

    name = "clustering"
    summary = "share of real images in the cluster of their class, of a model that finds clusters, such as clustergan"
    clusters = True

    def compute(self) -> dict[str, float]:
        assert self.setting.recognise is not None
        found, wanted = [], []
        for images, labels in self.setting.reference.batches():
            assert labels is not None
            found.append(next(iter(self.setting.recognise(images).values())))
            wanted.append(labels)
        return {self.name: matched(torch.cat(found), torch.cat(wanted))}


def matched(clusters: Tensor, labels: Tensor) -> float:
    """The share of samples whose cluster is the one matched with their class, both int64 (N,)."""
    from scipy.optimize import linear_sum_assignment

    size = int(max(clusters.max(), labels.max())) + 1
    together = torch.bincount(clusters * size + labels, minlength=size * size).view(size, size)
    rows, columns = linear_sum_assignment(together.numpy(), maximize=True)
    return float(together[rows, columns].sum()) / len(labels)


def plot_confusion(path: Path, counts: list[list[int]], names: tuple[str, ...], title: str) -> None:
    """A PNG of the share of each class that is taken for each, in percent; written whole or not at all."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ganzoo.files import whole

    table = torch.tensor(counts).double()
    share = (100 * table / table.sum(1, keepdim=True).clamp(min=1)).numpy()
    k = len(names)
    names, title = tuple(name.replace("$", r"\$") for name in names), title.replace("$", r"\$")  # No formulas.
    side = min(4 + 0.4 * k, 20)
    figure = Figure(figsize=(side, side), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axis.set_title(title, fontsize="small")
    axis.set_xlabel("taken for")
    axis.set_ylabel("meant to be")
    if k <= 50:
        axis.set_xticks(range(k), names, rotation=0 if max(map(len, names)) < 3 else 90)
        axis.set_yticks(range(k), names)
    if k <= 20:
        for row in range(k):
            for column in range(k):
                value = share[row, column]
                if value >= 0.05:
                    colour = "white" if value > 60 else "black"
                    text = f"{value:.1f}"
                    axis.text(column, row, text, ha="center", va="center", fontsize="x-small", color=colour)
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # `savefig` would draw it twice.
    with whole(path) as file:
        file.write(buffer.getvalue())
