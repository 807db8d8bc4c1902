"""Progress on the terminal: a bar with ETA where there is one, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from ganzoo.errors import aside, watched
from ganzoo.training.trainer import Trainer
from ganzoo.training.watcher import Watcher

LINE_SECONDS = 10.0
"""Seconds between plain lines."""
FIRST_SECONDS = 1.0
"""Seconds after which the first step that ends is told of, whatever is logged: steps may take ten seconds each."""


class Progress(Watcher):
    """tqdm on a terminal; a line every ten seconds when the output goes to a file or a pipe.

    Losses are known when they are logged. Until then, and where steps are so slow that this is long ago, lines say how
    many were taken and how fast.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._due = 0.0
        """When the next line is to be shown, unless one comes from the log before."""
        self._last = ""
        self._logged = False
        """Whether a line from the log was shown."""
        self._trainer: Trainer | None = None
        self._begun: tuple[float, int] | None = None
        """When the first step was about to be taken, and the images seen before."""

    def tell(self, line: str) -> None:
        self._say(line)

    def begin(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._begun = time.monotonic(), trainer.images()
        self._due = self._begun[0] + FIRST_SECONDS
        if not watched():
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=1.0,  # The share of whichever budget is spent first: a run may have one of steps and one of time.
            initial=trainer.fraction,
            desc=trainer.gan.name,
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]{postfix}",
        )

    def step(self, trainer: Trainer) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(trainer.fraction - self._bar.n)
        if now < self._due or self._begun is None:
            return
        since, seen = self._begun
        pace = (trainer.images() - seen) / (now - since)
        speed = f"{pace:,.0f} img/s" if pace >= 10 else f"{pace:.2g} img/s"
        self._due = now + LINE_SECONDS
        if self._bar is not None:
            self._bar.set_postfix_str(f"step {trainer.step:,} | {speed}", refresh=True)
            return
        if not self._last:
            self._last = f"step {trainer.step:,} epoch {trainer.epoch:.2f} {self._left(trainer.elapsed)}{speed}"
        self._show()

    def log(self, line: Mapping[str, Any]) -> None:
        text = describe(line)
        if "fid" in line:
            self._say(f"epoch {line['epoch']:.2f}: {scores(line)}")
        if self._bar is not None:
            self._bar.set_postfix_str(f"step {line['step']:,} | {text}", refresh=False)
            self._due = time.monotonic() + LINE_SECONDS
            return
        self._last = f"step {line['step']:,} epoch {line['epoch']:.2f} {self._left(line['seconds'])}{text}"
        if not self._logged or time.monotonic() >= self._due:
            self._logged = True
            self._show()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        elif self._last:
            self._show()

    def _say(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            aside(text)

    def _show(self) -> None:
        self._due = time.monotonic() + LINE_SECONDS
        aside(self._last)
        self._last = ""

    def _left(self, elapsed: float) -> str:
        fraction = self._trainer.fraction if self._trainer else 0.0
        if not 0 < fraction < 1:
            return ""
        seconds = int(elapsed * (1 - fraction) / fraction)
        return f"{fraction:.0%}, {seconds // 60}:{seconds % 60:02d} left | "


def scores(line: Mapping[str, Any]) -> str:
    """`FID 12.31, label accuracy 96.2% (mnist test (10,000), ...)`: never without what the numbers depend on."""
    accuracy = f", label accuracy {line['accuracy']:.1%}" if "accuracy" in line else ""
    return f"FID {line['fid']:.2f}{accuracy} ({line['evaluation']})"


def describe(line: Mapping[str, Any]) -> str:
    """`D loss 0.69 | G loss 0.72 | D(x) 0.53 | D(G(z)) 0.47/0.45 | 2,013 img/s`."""
    parts = []
    for name, label in (("discriminator_loss", "D loss"), ("generator_loss", "G loss"), ("D(x)", "D(x)")):
        if name in line:
            parts.append(f"{label} {line[name]:.3f}")
    if "D(G(z))" in line:
        after = f"/{line['D(G(z)) after']:.3f}" if "D(G(z)) after" in line else ""
        parts.append(f"D(G(z)) {line['D(G(z))']:.3f}{after}")
    parts.append(f"{line['images_per_second']:,.0f} img/s")
    if line.get("wait", 0) >= 0.01:
        parts.append(f"{line['wait']:.0%} waiting for data")
    return " | ".join(parts)
