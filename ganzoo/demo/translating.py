"""Makes what the demo's page of a model that translates asks for: of held-out pictures, and of those that are dropped.

Nothing of a dropped picture is kept, in memory or on disk, once it is answered.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganzoo.data import Batch, DataSpec, Maker, to_uint8
from ganzoo.data.archives import Held
from ganzoo.data.imagefiles import sizes_of
from ganzoo.demo.about import UNKNOWN, About, side
from ganzoo.demo.controls import controls
from ganzoo.demo.queueing import Queue
from ganzoo.errors import UsageError
from ganzoo.runs.pictures import picture_of
from ganzoo.runs.sampler import Sampler
from ganzoo.runs.sources import of_pictures
from ganzoo.runs.tiles import made_of
from ganzoo.sampling import drawing, used
from ganzoo.two_way import makes_sources

MOST_BYTES = 2**25
"""Of a picture that is dropped."""
MOST_PIXELS = 2**24
"""Of a picture that is dropped, and of what is made of it."""
HELD_OUT = 12
"""Pictures to choose from."""


class Translating:
    """Makes what the page asks for."""

    page = "translate.html"

    def __init__(
        self, sampler: Sampler, sampling: Mapping[str, Any] | None = None, held: Batch | None = None,
        maker: Maker | None = None, about: About = UNKNOWN, lock: Queue | None = None,
    ):  # fmt: skip
        """`sampling` are the options of drawing from which the page starts, where they are not the model's defaults.

        Args:
            held: held-out samples with their sources, as `held_out` gives them; None where there are none.
            maker: how sources were made of images in training, where they were.
            about: what is known of the run.
            lock: of those who make pictures one at a time with others; default: one of its own.

        Raises:
            UsageError: the model does not have such an option, or it is out of its range.
        """
        self.sampler, self.gan = sampler, drawing(sampler.gan, sampling or {})
        self.start = used(self.gan)
        self.held, self.maker, self.about = held, maker, about
        # One at a time: each takes all cores, and warnings are the process's.
        self.lock = Queue() if lock is None else lock

    @cached_property
    def _any_size(self) -> bool:
        return self.sampler.takes_any_size()

    def facts(self) -> dict[str, Any]:
        """What the page needs to know of the model."""
        data, maker = self.gan.data, self.maker
        return {
            "sides": [side(self.gan, self.about)],
            "model": self.gan.name,
            "data": data.name,
            "classes": list(data.classes) if self.gan.conditional else [],
            "attributes": [a._asdict() for a in data.attributes] if self.gan.conditional else [],
            "sampling": controls(self.gan),
            "held": [{"label": label} for label in self._labels()],
            "paired": self.held is not None and data.paired,
            "made_by": maker.text if maker is not None else "",
            "times": int(maker.value) if maker is not None and not maker.of_pictures else 0,
            "most_bytes": MOST_BYTES,
        }

    def _labels(self) -> list[int | None]:
        """The class that each held-out picture is to be of, where it has one of its own."""
        if self.held is None:
            return []
        y = self.held.y if self.gan.data.paired else self.held.source_y
        if y is None or y.dim() != 1 or not self.gan.conditional:
            return [None] * len(self.held.x)
        return y.tolist()

    @torch.no_grad()
    def picture(
        self, kind: str, dropped: bytes | None = None, of: int = 0, name: str = "that was dropped",
        shrink: bool = False, seed: int = 0, label: int = 0, values: Mapping[str, float] | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> tuple[bytes, list[str]]:  # fmt: skip
        """A PNG, and notes of what was done to a dropped picture that nobody asked for.

        Args:
            kind: `source`, what the model is shown; `made`, what it makes of it; `target`, what that was to be.
            dropped: the file that a user brought; None: held-out picture `of`.
            name: what that file is called.
            shrink: whether it is first made smaller, as sources were in training; otherwise it is taken as it is.
            seed: of whatever the generator draws.
            label: the class that is made, where the model takes classes.
            values: attributes by name.
            sampling: options of drawing by name.

        Raises:
            UsageError: the picture cannot be read or is too large or too small; or a held-out picture, class, attribute
                or option that is not there, or out of its range.
        """
        chosen, notes = {**self.start, **(sampling or {})}, list[str]()
        gan = drawing(self.sampler.gan, chosen)
        back = makes_sources(type(gan), gan.sampling)
        with self.lock:
            if kind == "target":
                if not gan.data.paired:
                    raise UsageError("held-out pictures have no counterparts")
                return _png(self._held(of, not back)), notes
            source = self._held(of, back) if dropped is None else self._read(dropped, name, shrink, back, notes)
            if kind == "source":
                return _png(source), notes
            classes = self.sampler.classes(1, [label]) if gan.conditional and gan.data.classes else None
            translate = partial(self.sampler.translate_part, seed=seed, values=values, sampling=chosen)
            shape = self._seen(back).source_shape
            assert shape is not None
            return _png(made_of(source, classes, translate, max(shape[1:]))), notes

    def _seen(self, back: bool) -> DataSpec:
        """The data as the direction has it that is asked for: models that go both ways make sources of images, too."""
        data = self.gan.data
        if not back or data.source_shape is None or len(data.shape) != 3:
            return data
        c, h, w = data.shape
        return replace(data, shape=data.source_shape, source_shape=(c, h, w))

    def _held(self, of: int, image: bool) -> Tensor:
        """The source of a held-out picture, or it itself: uint8 (1, C, H, W)."""
        count = len(self.held.x) if self.held is not None else 0
        if self.held is None or of >= count:
            raise UsageError(f"there is no held-out picture {of}: there are {count}, counted from 0")
        found = self.held.x if image else self.held.source
        assert found is not None
        return to_uint8(found[of : of + 1])

    def _read(self, data: bytes, name: str, shrink: bool, back: bool, notes: list[str]) -> Tensor:
        """What the model is shown of a picture file: uint8 (1, C, H, W)."""
        held = Held(name, data)
        width, height = sizes_of([held])[0]
        seen, maker = self._seen(back), None if back else self.maker
        assert seen.source_shape is not None
        times = int(maker.value) if maker is not None and not maker.of_pictures and shrink else 1
        grows = (seen.shape[1] * seen.shape[2]) / (seen.source_shape[1] * seen.source_shape[2] * times**2)
        if width * height * max(1.0, grows) > MOST_PIXELS:
            raise UsageError(
                f"image {name} has {width} x {height} pixels, and what is made of it would be too large for a page of "
                f"{MOST_PIXELS:,} pixels at most: take a smaller one, or ganzoo sample RUN --from"
            )
        if times > 1:
            c, h, w = seen.shape
            seen = replace(seen, source_shape=(c, h, w))
        pictures = of_pictures([held], [name], seen, maker, lambda: self._any_size, notes.append)
        image: Tensor = pictures.images[0][None]
        if times == 1 or maker is None:
            return image
        h, w = (side // times * times for side in image.shape[2:])
        return maker(image[:, :, :h, :w])


def _png(images: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture_of(images[0])).save(buffer, "PNG")
    return buffer.getvalue()
