"""A script of a user's, for mypy --strict alone: the types that ganzoo gives away."""

import torch

import ganzoo


def callback(step: int, values: object) -> bool:
    return step < 100


run: ganzoo.TrainedRun = ganzoo.train("cgan", dataset="mnist", max_time="1m", callback=callback)
images: torch.Tensor = run.sample(4)
loss: float = run.metrics()[-1]["generator_loss"]
score: float = ganzoo.evaluate(run)["metrics"]["fid"]
print(ganzoo.compare([run, "gan"], steps=10).verdict[0].upper(), ganzoo.load(run.folder).translate(images).shape)
try:
    ganzoo.resume(run)
except (ganzoo.UsageError, ganzoo.GanzooError, ganzoo.Stopped) as error:
    print(error)
