"""Moving pictures: how a run's samples grew, and any other frames, written as .mp4, .gif or .webp."""

import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganzoo.errors import GanzooError, UsageError, one_line, plain
from ganzoo.files import whole
from ganzoo.marks import marks_of
from ganzoo.runs.folder import grids_of, open_run
from ganzoo.terminal import argument

KINDS = (".mp4", ".gif", ".webp")
MOST_FRAMES = 3_000
"""Of a .gif or a .webp, whose frames are all held until the last."""
WIDEST = {".mp4": 16_384, ".gif": 65_535, ".webp": 16_383}
"""Pixels of a side that a kind of film takes."""
FASTEST = 50
"""Frames in a second of a .gif, which counts hundredths: what stays for one of them is shown ten times slower."""
LARGEST = 2**25
"""Pixels of a grid beyond which it is not read, and of a frame beyond which none is made."""


class Kept(NamedTuple):
    """The grids that a run kept while it trained."""

    name: str
    steps: list[int]
    """In order."""
    files: list[Path]


def kept(folder: Path) -> Kept:
    """Those of a run directory, which may still be training.

    Raises:
        UsageError: not a run directory, or it has kept none yet.
        GanzooError: the directory is damaged, or a link leads out of it.
    """
    info, found = open_run(folder), grids_of(folder)
    name = marks_of(info).name or str(info["model"])
    if not found and info.get("imported"):
        raise UsageError(
            f"{folder} was imported, and no training of it was seen: "
            f"`ganzoo sample {argument(folder)} --walk -o walk.gif` films its latents"
        )
    if not found:
        raise UsageError(f"{folder} has kept no grids of samples yet: a run writes them to samples/ as it trains")
    return Kept(name, [*found], [*found.values()])


def training(runs: Sequence[Kept], scale: int | None = None) -> Iterator[np.ndarray]:
    """A frame for each step that any of the runs has a grid of: the newest grid of each, side by side beneath its name.

    A run that has none at that step yet is black.

    uint8 (H, W, 3), all of one size. `scale` enlarges grids pixel by pixel; None: small ones to a size that one sees.

    Raises:
        GanzooError: a grid is damaged, or larger than any that is written here.
    """
    shown = [np.zeros_like(_read(grids.files[0])) for grids in runs]
    tallest = max(grid.shape[0] for grid in shown)
    scale = scale or enlarging(tallest)
    last = [-1] * len(runs)
    names, folders = [g.name for g in runs], [g.files[0].parent.parent.resolve() for g in runs]
    told_apart = len({folder.name for folder in folders}) == len(folders)
    names = [  # Of one model, say.
        f"{name} ({folder.name if told_apart else folder})" if names.count(name) > 1 else name
        for name, folder in zip(names, folders, strict=True)
    ]
    longest = [
        max(f"{name}, step {g.steps[-1]:,}  ", f"{name}, no grid yet  ", key=len)
        for name, g in zip(names, runs, strict=True)
    ]
    size: tuple[int, int] | None = None
    for step in sorted({step for grids in runs for step in grids.steps}):
        for i, grids in enumerate(runs):
            behind = last[i] + 1
            if behind < len(grids.steps) and grids.steps[behind] <= step:
                last[i], shown[i] = behind, _read(grids.files[behind])
        titles = [
            f"{name}, " + ("no grid yet" if at < 0 else f"step {g.steps[at]:,}")
            for name, g, at in zip(names, runs, last, strict=True)
        ]
        frame = _beside([enlarged(grid, scale) for grid in shown], titles, longest)
        size = size or (frame.shape[0], frame.shape[1])
        yield fitted(frame, size)


def enlarging(height: int) -> int:
    """How many times a picture of such a height is enlarged, so that one sees it."""
    return max(1, round(480 / height))


def enlarged(picture: np.ndarray, times: int) -> np.ndarray:
    """A picture (H, W, 3) with each pixel as a square.

    Raises:
        UsageError: it would be too large.
    """
    check_size(picture.shape[0], picture.shape[1], times)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def check_size(height: int, width: int, times: int, fewer: str = "") -> None:
    """Check, before it is made, that a picture of so many pixels is one that `enlarged` takes.

    `fewer` names the option by which it is of fewer images.

    Raises:
        UsageError: it would be too large.
    """
    if height * width * times**2 <= LARGEST:
        return
    what = f"a picture of {width} x {height} pixels is too large" + (f" for --scale {times}" if times > 1 else "")
    raise UsageError(what + (f": ask for fewer images by {fewer}" if fewer else ""))


def fitted(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frame (H, W, 3) cut or filled up with black to (height, width): all frames of a film have one size."""
    height, width = size
    cut = frame[:height, :width]
    return np.pad(cut, ((0, height - cut.shape[0]), (0, width - cut.shape[1]), (0, 0)))


def write_film(target: Path, frames: Iterable[np.ndarray], fps: float, hold: float = 0.0, loop: bool = True) -> int:
    """Write frames, uint8 (H, W, 3) of one size, as the ending of `target` says, whole or not at all.

    Args:
        target: .mp4 (H.264, by PyAV: `pip install 'ganzoo[video]'`), .gif or .webp.
        frames: one or more.
        fps: frames in a second.
        hold: seconds for which the last one stays.
        loop: whether a .gif or a .webp begins anew at its end.

    Returns:
        How many frames were written.

    Raises:
        UsageError: another ending, PyAV is not there, or the frames are larger than a film of that kind has them.
        GanzooError: the disk would not take it.
    """
    write, rest = _writer(target), iter(frames)
    first = next(rest)
    longer, most = max(first.shape[:2]), WIDEST[target.suffix.lower()]
    if longer > most:
        raise UsageError(
            f"frames of {first.shape[1]:,} x {first.shape[0]:,} pixels are too large for a {target.suffix}, which has "
            f"{most:,} at most: choose a smaller --scale, fewer runs or fewer images"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as file:
            return write(file, chain([first], rest), fps, round(hold * fps), loop)
    except OSError as error:
        raise GanzooError(f"cannot write {target}: {error.strerror or error}") from error


def film(kind: str, frames: Iterable[np.ndarray], fps: float) -> bytes:
    """The same as the content of a file that begins anew at its end, and of which nothing is written to disk.

    Args:
        kind: .mp4, .gif or .webp.
        frames: one or more.
        fps: frames in a second.

    Raises:
        UsageError: another kind, or PyAV is not there.
    """
    buffer = io.BytesIO()
    _writer(Path(f"film{kind}"))(buffer, frames, fps, 0, True)
    return buffer.getvalue()


def check_film(target: Path, frames: int, fps: float) -> None:
    """Check that a film of so many frames can be written as `target`, before any frame is made.

    Raises:
        UsageError: as `write_film`; or too many frames for it, or too many in a second.
    """
    _writer(target)
    kind = target.suffix.lower()
    if kind != ".mp4" and frames > MOST_FRAMES:
        raise UsageError(f"a {kind} of {frames:,} frames would not be read by anybody: choose .mp4")
    if kind == ".gif" and fps > FASTEST:
        raise UsageError(f"a .gif shows {FASTEST} frames in a second at most, not {fps:g}: choose .mp4 or .webp")


def _writer(target: Path):  # type: ignore[no-untyped-def]
    kind = target.suffix.lower()
    if kind == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UsageError(
                f"{target}: an .mp4 needs PyAV (pip install 'ganzoo[video]'); .gif and .webp need nothing more"
            ) from None
        return _mp4
    if kind not in KINDS:
        raise UsageError(f"{target}: end the name in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return _gif if kind == ".gif" else _webp


class _Remembering:
    """A file that keeps the error it raised: PyAV tells of another in its place."""

    def __init__(self, file: IO[bytes]):
        self.seek, self.tell, self._write = file.seek, file.tell, file.write
        self.fault: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.fault = error
            raise


def _mp4(file: IO[bytes], frames: Iterable[np.ndarray], fps: float, hold: int, loop: bool) -> int:
    import av

    remembering = _Remembering(file)
    try:
        with av.open(remembering, "w", format="mp4") as container:
            return _encode(container, frames, fps, hold)
    except (av.FFmpegError, OSError) as error:
        raise remembering.fault or error from error


def _encode(container: Any, frames: Iterable[np.ndarray], fps: float, hold: int) -> int:
    from fractions import Fraction

    import av

    count = 0
    last: av.VideoFrame | None = None
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
    stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
    for frame in frames:
        height, width = (side + side % 2 for side in frame.shape[:2])  # Colours are of two pixels by two.
        if last is None:
            stream.height, stream.width = height, width
        last = av.VideoFrame.from_ndarray(np.ascontiguousarray(fitted(frame, (height, width))), "rgb24")
        container.mux(stream.encode(last))
        count += 1
    for _ in range(hold if last is not None else 0):
        assert last is not None
        last.pts = None
        container.mux(stream.encode(last))
    container.mux(stream.encode(None))
    return count


def _gif(file: IO[bytes], frames: Iterable[np.ndarray], fps: float, hold: int, loop: bool) -> int:
    return _animated(file, "GIF", frames, fps, hold, loop, optimize=True)


def _webp(file: IO[bytes], frames: Iterable[np.ndarray], fps: float, hold: int, loop: bool) -> int:
    return _animated(file, "WEBP", frames, fps, hold, loop, quality=90, method=4)


def _animated(  # type: ignore[no-untyped-def]
    file: IO[bytes], kind: str, frames: Iterable[np.ndarray], fps: float, hold: int, loop: bool, **options
) -> int:
    pictures = [Image.fromarray(frame) for frame in frames]
    unit = 10 if kind == "GIF" else 1  # Milliseconds; what is rounded at one frame is made good at the next.
    turns = [round(1000 / unit * at / fps) for at in (*range(len(pictures)), len(pictures) + hold)]
    durations = [unit * (after - before) for before, after in pairwise(turns)]
    # A film that begins anew says how often, 0 for ever; one that does not says nothing.
    again = {"loop": 0 if loop else 1} if loop or kind == "WEBP" else {}
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=durations, **again, **options)
    return len(pictures)


def _read(path: Path) -> np.ndarray:
    """A grid as uint8 (H, W, 3)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as picture:
                if picture.width * picture.height > LARGEST:
                    raise GanzooError(
                        f"{path} is a picture of {picture.width} x {picture.height} pixels: no grid is so large"
                    )
                return np.asarray(picture.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise GanzooError(f"{path} is a picture of absurd size: no grid is so large") from error
    except (OSError, ValueError, SyntaxError) as error:  # What Pillow says to what is no picture.
        raise GanzooError(f"{path} is damaged: {one_line(error)}") from error


def _beside(grids: Sequence[np.ndarray], titles: Sequence[str], longest: Sequence[str], gap: int = 16) -> np.ndarray:
    """Grids in a row, each beneath its title; there is room for the `longest`, so that none moves in a film."""
    font = ImageFont.load_default(16)
    top = math.ceil(16 * 1.75)
    widths = [
        max(grid.shape[1], *(math.ceil(font.getlength(plain(text))) for text in (title, most)))
        for grid, title, most in zip(grids, titles, longest, strict=True)
    ]
    height = top + max(grid.shape[0] for grid in grids)
    sheet = Image.new("RGB", (sum(widths) + gap * (len(grids) - 1), height))
    pen, left = ImageDraw.Draw(sheet), 0
    for grid, title, width in zip(grids, titles, widths, strict=True):
        pen.text((left + 4, 4), plain(title), fill="white", font=font)
        sheet.paste(Image.fromarray(grid), (left, top))
        left += width + gap
    return np.asarray(sheet)
