"""`ganzoo video`, `ganzoo sample --walk` and `--seeds`: what films show, and what is refused in a line."""

import builtins
import json
import shutil
import signal
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo as zoo
from conftest import TINY, arrays, run_here
from ganzoo.data import to_uint8
from ganzoo.errors import GanzooError, UsageError
from ganzoo.runs import film
from ganzoo.runs.walk import walk


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with grids of steps 10, 20 and 30."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    options = ("--steps", 30, "--sample-interval", 10, "--engine", "eager", "--quiet", "--out", folder)
    run_here("run", *TINY, *options, cwd=folder.parent)
    return folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def frames_of(path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        found = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            found.append(np.asarray(picture.convert("RGB")))
        return found


def durations_of(path) -> list[int]:
    """Milliseconds for which each frame stays."""
    with Image.open(path) as picture:
        found = []
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            found.append(picture.info["duration"])
        return found


def test_a_film_of_training_has_a_frame_for_each_grid_and_the_last_one_stays(ganzoo, run):
    result = ganzoo("video", run, "-o", run / "t.gif", "--fps", 5, "--hold", 1, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == {"file": str(run / "t.gif"), "frames": 3, "seconds": 1.6}
    assert durations_of(run / "t.gif") == [200, 200, 1200]
    with Image.open(run / "t.gif") as picture:
        assert picture.info["loop"] == 0


def test_a_run_with_video_is_filmed_when_it_ends(ganzoo, tmp_path, monkeypatch):
    train = ("run", "gan", "--dataset", "ring", "--batch-size", 16, "--quiet", "--loggers", "none")
    done = ganzoo(*train, "--steps", 120, "--video", "--out", tmp_path / "a")
    assert f"film:    {tmp_path / 'a' / 'training.webp'}" in done.out
    with Image.open(tmp_path / "a" / "training.webp") as film:
        assert film.n_frames == 3
    assert "film:" not in ganzoo("resume", tmp_path / "a", "--steps", 130, "--quiet").out  # It shows what was before.
    told = json.loads(
        ganzoo(*train, "--steps", 60, "--video", "--sample-interval", 20, "--json", "-o", tmp_path / "b").out
    )
    assert told["video"] == str(tmp_path / "b" / "training.webp")
    with Image.open(told["video"]) as film:
        assert film.n_frames == 3
    monkeypatch.setattr("ganzoo.runs.film.MOST_FRAMES", 2)
    done = ganzoo(*train, "--steps", 60, "--video", "--sample-interval", 20, "--out", tmp_path / "c")
    assert "note: no film was made: a .webp of 3 frames would not be read by anybody" in done.err
    assert (done.code, (tmp_path / "c" / "training.webp").exists()) == (0, False)


def test_ctrl_c_while_a_finished_run_is_filmed_does_not_say_that_it_is_lost(ganzoo, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ganzoo.runs.film.write_film", interrupted)
    train = ("run", "gan", "--dataset", "ring", "--batch-size", 16, "--quiet", "--loggers", "none", "--steps", 20)
    done = ganzoo(*train, "--video", "--out", tmp_path / "a")
    assert (done.code, done.err) == (130, f"stopped by SIGINT; {tmp_path / 'a'} is finished, and saved\n")


def test_a_film_of_one_grid_has_one_frame(ganzoo, run):
    for grid in sorted((run / "samples").glob("*.png"))[1:]:
        grid.unlink()
    assert ": 1 frame, " in ganzoo("video", run).out


def test_each_frame_is_the_grid_of_its_step_beneath_a_title(run):
    grids = film.kept(run)
    assert grids.steps == [10, 20, 30]
    for frame, file in zip(film.training([grids], scale=2), grids.files, strict=True):
        grid = np.asarray(Image.open(file).convert("RGB")).repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(frame[-grid.shape[0] :, : grid.shape[1]], grid)
        assert frame[: -grid.shape[0]].max() == 255  # Words in white.


def test_runs_stand_side_by_side_each_with_its_newest_grid(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    (other / "samples" / "00000020.png").rename(other / "samples" / "00000025.png")
    both = [film.kept(run), film.kept(other)]
    frames = list(film.training(both, scale=1))
    assert len(frames) == 4  # Steps 10, 20, 25, 30.
    left = [frame[:, : frame.shape[1] // 2] for frame in frames]
    right = [frame[:, frame.shape[1] // 2 + 8 :] for frame in frames]
    assert np.array_equal(left[1], left[2])
    assert not np.array_equal(left[0], left[1])
    assert np.array_equal(right[0], right[1])
    assert not np.array_equal(right[1], right[2])


def test_a_grid_that_is_narrower_than_its_title_stays_in_its_place(run, tmp_path):
    folders = [shutil.copytree(run, tmp_path / name) for name in "ab"]
    for i, folder in enumerate(folders):
        Image.new("RGB", (40, 40), "red").save(folder / "samples" / "00000010.png")
        for step, old in ((900, 20), (1000, 30)):
            (folder / "samples" / f"{old:08}.png").unlink()
            Image.new("RGB", (40, 40), "red").save(folder / "samples" / f"{step:08}.png")
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**info, "name": f"the {i}th"}))
    kept = [film.kept(folder) for folder in folders]
    assert [grids.name for grids in kept] == ["the 0th", "the 1th"]
    places = [np.flatnonzero((frame[-1] == (255, 0, 0)).all(1)).tolist() for frame in film.training(kept, scale=1)]
    assert len(places[0]) == 80
    assert places[0] == places[1] == places[2]


def test_frames_that_a_kind_of_film_does_not_take_are_refused_before_anything_is_written(tmp_path):
    for kind, most in film.WIDEST.items():
        frames = [np.zeros((2, most + 2, 3), np.uint8)]
        with pytest.raises(UsageError, match=f"pixels are too large for a {kind}, which has {most:,} at most"):
            film.write_film(tmp_path / f"wide{kind}", frames, 10)
    assert not list(tmp_path.iterdir())


def test_a_run_that_has_no_grid_yet_is_black_and_says_so(run, tmp_path, monkeypatch):
    told = []
    real = film._beside
    monkeypatch.setattr(film, "_beside", lambda grids, titles, room: told.append(titles) or real(grids, titles, room))
    other = shutil.copytree(run, tmp_path / "other")
    (other / "samples" / "00000010.png").unlink()
    frames = list(film.training([film.kept(run), film.kept(other)], scale=2))
    names = "tiny (run)", "tiny (other)"  # Of one model.
    assert told[0] == [f"{names[0]}, step 10", f"{names[1]}, no grid yet"]
    assert told[1] == [f"{name}, step 20" for name in names]
    first, second = (frame[28:, frame.shape[1] // 2 + 8 :] for frame in frames[:2])
    assert first.max() == 0
    assert second.max() > 100


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp"])
def test_two_films_of_the_same_frames_are_equal_byte_for_byte(run, kind):
    for name in ("a", "b"):
        assert film.write_film(run / f"{name}.{kind}", film.training([film.kept(run)]), 8) == 3
    assert (run / f"a.{kind}").read_bytes() == (run / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_film_in_memory_is_the_one_that_is_written(run, kind):
    frames = list(film.training([film.kept(run)]))
    film.write_film(run / f"one.{kind}", frames, 8)
    assert film.film(f".{kind}", frames, 8) == (run / f"one.{kind}").read_bytes()


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("fps", [8, 12, 24, 30, 50])
def test_a_film_lasts_as_long_as_is_told(tmp_path, kind, fps):
    frames = [np.full((8, 8, 3), 5 * i, np.uint8) for i in range(fps)]
    film.write_film(tmp_path / f"f.{kind}", frames, fps, hold=1)
    durations = durations_of(tmp_path / f"f.{kind}")
    assert (len(durations), sum(durations)) == (fps, 2000)
    assert max(durations[:-1]) - min(durations[:-1]) <= (10 if kind == "gif" else 1)


def test_an_mp4_has_all_frames_in_even_size(tmp_path):
    import av

    frames = [np.full((33, 51, 3), shade, np.uint8) for shade in (0, 120, 240)]
    film.write_film(tmp_path / "f.mp4", frames, 10, hold=0.5)
    with av.open(str(tmp_path / "f.mp4")) as container:
        found = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in found] == [(34, 52, 3)] * 8
    assert [int(frame[5, 5, 0]) for frame in found] == pytest.approx([0, 120] + [240] * 6, abs=6)


def test_without_pyav_an_mp4_is_refused_with_what_to_install(ganzoo, run, monkeypatch):
    real = builtins.__import__

    def importing(name, *rest, **named):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", importing)
    result = ganzoo("video", run, "-o", run / "t.mp4")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "pip install 'ganzoo[video]'" in result.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["video", "nowhere"], "nowhere is not a run directory"),
        (["video", "run", "-o", "film.avi"], "end the name in .mp4, .gif or .webp"),
        (["video", "run", "--fps", "0"], "--fps"),
        (["video", "run", "--fps", "51", "-o", "f.gif"], "50 frames in a second at most, not 51: choose .mp4 or .webp"),
        (["sample", "run", "--walk", "-o", "walk.png"], "end the name in .mp4, .gif or .webp"),
        (["sample", "run", "--walk", "--from", "x.png"], "leave it out beside --from"),
        (["sample", "run", "--walk", "--grid"], "a walk is a grid already"),
        (["sample", "run", "--seeds", "5-2"], "--seeds 5-2: give 10,000 at most, in order"),
        (["sample", "run", "--seeds", "a"], "--seeds a: write 0-15, or 3,7"),
        (["sample", "run", "--seeds", "0-3", "-n", "4"], "leave out -n"),
        (["sample", "run", "--seeds", "0-1", "--seed", "5"], "--seeds says which seeds: leave out --seed"),
        (["sample", "run", "--seconds", "3"], "--seconds is how long a walk takes: add --walk, or leave it out"),
        (["sample", "run", "--scale", "2", "-o", "x.npz"], "name a .png, or add --grid"),
        (["sample", "run", "--walk", "--label", "11"], "--label 11: classes are 0 to 9"),
    ],
)
def test_wrong_films_are_refused_in_one_line(ganzoo, run, monkeypatch, arguments, says):
    monkeypatch.chdir(run.parent)
    result = ganzoo(*arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert says in result.err


def test_a_run_without_grids_and_a_damaged_grid_are_told_in_a_line(run):
    grids = film.kept(run)
    grids.files[1].write_bytes(grids.files[1].read_bytes()[:60])
    with pytest.raises(GanzooError, match=r"00000020\.png is damaged"):
        film.write_film(run / "t.gif", film.training([grids]), 8)
    assert not list(run.glob("*t.gif*"))
    shutil.rmtree(run / "samples")
    with pytest.raises(UsageError, match="has kept no grids of samples yet"):
        film.kept(run)


def test_a_film_of_too_many_frames_is_refused_before_any_is_made(ganzoo, run, monkeypatch):
    for name in ("ganzoo.runs.film._read", "ganzoo.runs.sampler.load"):
        monkeypatch.setattr(name, None)  # Would be called.
    result = ganzoo("sample", run, "--walk", "--seconds", 130, "-o", run / "w.webp")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "a .webp of 3,120 frames would not be read by anybody: choose .mp4" in result.err
    monkeypatch.setattr(film, "MOST_FRAMES", 2)
    result = ganzoo("video", run, "-o", run / "t.gif")
    assert (result.code, result.err) == (2, "error: a .gif of 3 frames would not be read by anybody: choose .mp4\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--walk", "-n", "1000000", "-o", "w.gif"],
            "a picture of 102 x 1000002 pixels is too large: ask for fewer images by -n",
        ),
        (["-n", "400", "--scale", "16", "-o", "g.png"], "is too large for --scale 16: ask for fewer images by -n"),
        (["-n", "400", "--scale", "16", "--grid", "-o", "g"], "for --scale 16: ask for fewer images by -n"),
        (["--seeds", "0-40", "--scale", "16", "-o", "g.png"], "for --scale 16: ask for fewer images by --seeds"),
    ],
)
def test_what_would_be_too_large_is_refused_before_anything_is_drawn(ganzoo, run, monkeypatch, arguments, says):
    monkeypatch.setattr("ganzoo.runs.sampler.Sampler.draw", None)  # Would be called.
    monkeypatch.setattr(film, "LARGEST", 500_000)
    monkeypatch.chdir(run)
    result = ganzoo("sample", run, *arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert says in result.err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_film_as_an_interrupt_does_and_leaves_nothing_half_written(ganzoo, run, monkeypatch, name):
    number, seen = getattr(signal, name), []
    monkeypatch.setattr(film, "_read", lambda path: signal.raise_signal(number))
    before, there = signal.signal(number, lambda *_: seen.append(name)), sorted(run.iterdir())
    try:
        result = ganzoo("video", run, "-o", run / "t.gif")
        assert (result.code, result.err.strip()) == (128 + number, f"error: stopped by {name}")
        assert (seen, sorted(run.iterdir())) == ([], there)
        assert signal.getsignal(number) != signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As nohup does.
        monkeypatch.setattr(film, "_read", lambda _: signal.raise_signal(signal.SIGHUP) or np.zeros((8, 8, 3), "uint8"))
        assert ganzoo("video", run, "-o", run / "t.gif").code == 0
    finally:
        signal.signal(number, before)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_grid_of_which_pillow_warns_is_one_line(ganzoo, run, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b""))
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    (run / "samples" / "00000010.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    result = ganzoo("video", run, "-o", run / "t.gif")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "00000010.png is a picture of absurd size: no grid is so large" in result.err


def test_a_grid_of_absurd_size_is_not_read(run, monkeypatch):
    monkeypatch.setattr(film, "LARGEST", 100)
    with pytest.raises(GanzooError, match="no grid is so large"):
        list(film.training([film.kept(run)], scale=1))


def test_a_walk_passes_by_the_samples_of_its_seeds_and_comes_back(run):
    sampler = zoo.load(run)
    classes = sampler.classes(3, [0, 1, 2])
    frames = list(walk(sampler, 3, [classes], [4, 9], 8))
    assert len(frames) == 8
    for at, seed in ((0, 4), (4, 9)):
        torch.testing.assert_close(frames[at], to_uint8(sampler.draw(3, classes, seed)))
    steps = [(a.float() - b.float()).abs().mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert max(steps) < 4 * min(steps)  # No jump, at the seam neither.


def test_a_walk_through_classes_shows_each_of_them(run):
    sampler = zoo.load(run)
    through = [sampler.classes(2, [one]) for one in (3, 5, 8)]
    frames = list(walk(sampler, 2, through, [0], 6))
    for at, classes in zip((0, 2, 4), through, strict=True):
        torch.testing.assert_close(frames[at], to_uint8(sampler.draw(2, classes, 0)))


def test_seeds_draw_each_class_of_the_same_latents(ganzoo, run):
    result = ganzoo("sample", run, "--seeds", "3,5-6", "--label", "1,4", "-o", run / "s.npz", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["seeds"] == [3, 5, 6]
    found, sampler = arrays(run / "s.npz"), zoo.load(run)
    assert found["labels"].tolist() == [1, 4, 1, 4, 1, 4]
    for i, (seed, label) in enumerate((seed, label) for seed in (3, 5, 6) for label in (1, 4)):
        expected = to_uint8(sampler.sample(1, [label], seed=seed))[0].numpy()
        np.testing.assert_array_equal(found["images"][i], expected)


def test_scale_enlarges_a_grid_pixel_by_pixel(ganzoo, run):
    for name, more in (("one", []), ("three", ["--scale", 3])):
        assert ganzoo("sample", run, "--label", 4, "-n", 4, *more, "-o", run / f"{name}.png").code == 0
    small, large = (np.asarray(Image.open(run / f"{name}.png")) for name in ("one", "three"))
    np.testing.assert_array_equal(large, small.repeat(3, 0).repeat(3, 1))


def test_a_walk_is_written_with_the_names_of_its_columns(ganzoo, run):
    result = ganzoo("sample", run, "--walk", "--seconds", 0.25, "--scale", 1, "-n", 20, "-o", run / "w.webp", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["frames"], told["images"], told["seeds"]) == (6, 20, [0, 1, 2, 3])
    frames = frames_of(run / "w.webp")
    assert len(frames) == 6
    assert frames[0][:8].max() > 200  # Names above the grid.
