"""Do samples have the thickness and the slant that were asked for? A run on `mnist-strokes`, measured.

python benchmarks/strokes.py runs/mine --n 10000

Conditions are drawn uniformly: every class, every attribute within its range. Prints the rank correlation (Spearman) of
what was asked with what `mnist_strokes.measure` finds in the samples, and the label accuracy by the extractor `digits`.
"""

import argparse
import json
from pathlib import Path

import torch
from ganzoo_plugins.mnist_strokes import measure
from scipy.stats import spearmanr
from torch import Tensor

from ganzoo.data import to_uint8
from ganzoo.metrics.evaluation import choose_extractor
from ganzoo.plugins import registry
from ganzoo.runs.sampler import load
from ganzoo.training.engine import own_randomness


def follows(images: Tensor, conditions: Tensor, classes: int) -> dict[str, float]:
    """How well images, uint8 (N, 1, H, W), follow conditions (N, classes + 2): one-hot class, thickness, slant."""
    found = measure(images)
    extractor = choose_extractor(registry(), "mnist-strokes").eval()
    with torch.no_grad():
        read = torch.cat([extractor.extract(part).logits.argmax(1) for part in images.split(500)])
    return {
        "thickness": float(spearmanr(conditions[:, classes], found.thickness).statistic),
        "slant": float(spearmanr(conditions[:, classes + 1], found.slant).statistic),
        "accuracy": (read == conditions[:, :classes].argmax(1)).double().mean().item(),
    }


def drawn(run: Path, n: int, seed: int) -> tuple[Tensor, Tensor, int]:
    """Samples of a run, uint8, for uniform conditions; the conditions; the number of classes."""
    gan = load(run, "auto", registry()).gan
    names = [attribute.name for attribute in gan.data.attributes]
    if names != ["thickness", "slant"]:
        raise SystemExit(f"{run} was not trained with thickness and slant: `ganzoo run cgan --dataset mnist-strokes`")
    parts = []
    with torch.no_grad(), own_randomness(seed, gan.device):
        for size in [500] * (n // 500) + [n % 500] * (n % 500 > 0):
            y = gan.sample_labels(size)
            parts.append((to_uint8(gan.generate(gan.sample_latent(size), y)).cpu(), y.cpu()))
    images, conditions = (torch.cat(column) for column in zip(*parts, strict=True))
    return images, conditions, len(gan.data.classes)


def main() -> None:
    """Measure a run; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps({"images": options.n, **follows(*drawn(options.run, options.n, options.seed))}))


if __name__ == "__main__":
    main()
