"""The yardstick by itself: a conditional GAN on MNIST as PyTorch tutorials write it (`ganzoo/speed/yardsticks.py`).

python benchmarks/tutorial_loop.py --seconds 30
python benchmarks/tutorial_loop.py --epochs 10 --samples samples.npz
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from ganzoo_plugins.mnist import MNIST

from ganzoo.speed.yardsticks import BATCH_SIZE, LATENT_DIM, tutorial_loop


def main() -> None:
    """Train for a number of epochs or seconds; print images per second as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=float, default=float("inf"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="write 10,000 samples to this .npz, as the script leaves them")
    options = parser.parse_args()
    if options.epochs == options.seconds:
        options.seconds = 30.0
    images, warm = 60_000 * options.epochs, 20 * BATCH_SIZE
    started = begun = time.perf_counter()
    for seen, network in tutorial_loop(MNIST.unpack(), seed=options.seed):
        generator = network
        now = time.perf_counter()
        if seen == warm:
            begun = now
        if seen >= images or now - started >= options.seconds:
            break
    print(json.dumps({"images_per_second": (seen - warm) / (now - begun), "seconds": now - started, "images": seen}))
    if options.samples:
        labels = torch.arange(10).repeat(1000)
        with torch.no_grad():
            images = generator.eval()(torch.randn(10_000, LATENT_DIM), labels)
        np.savez(options.samples, images=((images + 1) * 127.5).round().byte().numpy(), labels=labels.numpy())


if __name__ == "__main__":
    main()
