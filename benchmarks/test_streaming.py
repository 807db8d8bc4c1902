"""How long training waits for images that do not live in memory: a folder of 64 x 64 colour JPEGs, streamed.

The folder is small, and said to be too large. The images are decoded once, into the cache, before training is timed.
"""

import statistics

import pytest
import torch
from PIL import Image

from ganzoo.launch import start
from ganzoo.plugins import registry
from ganzoo.runs.folder import read_metrics
from ganzoo.settings import resolve

IMAGES, SIDE, STEPS = 2000, 64, 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of smooth random fields."""
    root, draw = tmp_path_factory.mktemp("images"), torch.Generator().manual_seed(0)
    fields = torch.nn.functional.interpolate(torch.rand(IMAGES, 3, 8, 8, generator=draw), (SIDE, SIDE), mode="bicubic")
    for i, pixels in enumerate((255 * fields.clamp(0, 1)).byte().permute(0, 2, 3, 1).numpy()):
        path = root / f"class-{i % 2}" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)
    return root


@pytest.mark.parametrize("model", ["cgan", "dcgan", "sngan", "r3gan"])
def test_waiting_for_streamed_images(benchmark, device, model, folder, tmp_path, monkeypatch):
    """`extra_info` has the share of the time that is spent waiting, between the first line of the log and the last."""
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", 0)
    monkeypatch.setenv("GANZOO_CACHE", str(folder.parent / "cache"))
    options = {"dataset": "folder", "data_root": folder, "steps": STEPS, "device": device, "loggers": ()}
    plan = resolve(registry().get("models", model), options)
    finished = benchmark.pedantic(lambda: start(plan, registry(), tmp_path / "run"))
    lines = read_metrics(finished.folder)[1:]
    benchmark.extra_info |= {
        "model": model,
        "device": device,
        "wait": statistics.mean(line["wait"] for line in lines),
        "images_per_second": statistics.median(line["images_per_second"] for line in lines),
    }
