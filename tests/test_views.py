"""Views of real images: exact flips, crops in closed form, pairs alike, no random number where none is asked for."""

from itertools import islice

import pytest
import torch

from ganzoo.data import DataRequest, ImageSet, Loader, Views, normalise, to_uint8
from ganzoo.errors import UsageError
from ganzoo_test_plugins import Points

CPU = torch.device("cpu")


def noise(n=16, channels=1, size=8):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, size, size), dtype=torch.uint8, generator=draw)


def ramp(n, size, step, axis):
    """uint8 (n, 1, size, size) that rises by `step` a pixel along an axis, each pixel's value that of its middle."""
    line = (step * (torch.arange(size) + 0.5)).to(torch.uint8)
    return (line if axis == 3 else line[:, None]).expand(n, 1, size, size).contiguous()


def test_without_views_no_random_number_is_drawn():
    before = torch.get_rng_state()
    x = next(Loader(ImageSet(noise()), 16, 0, CPU, views=Views()).batches()).x
    assert torch.equal(x, next(Loader(ImageSet(noise()), 16, 0, CPU).batches()).x)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mirrored_image_is_itself_or_its_flip_half_of_the_time():
    images = noise(2000)
    torch.manual_seed(0)
    (views,) = Views(mirror=True)(images)
    plain = normalise(images)
    flipped = (views == plain.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped, ~(views == plain).flatten(1).all(1))
    assert 0.45 < flipped.float().mean() < 0.55


@pytest.mark.parametrize("axis", [2, 3])
def test_a_crop_of_a_ramp_is_a_flatter_ramp_at_every_offset(axis):
    size, jitter = 16, 8
    torch.manual_seed(0)
    (views,) = Views(jitter=jitter)(ramp(400, size, 8, axis))
    lines = (views + 1) * 127.5
    lines = lines[:, 0, :, 5] if axis == 2 else lines[:, 0, 5, :]
    # Enlarged, the ramp rises by 8 * 16 / 24 a pixel; offset by t, the i-th pixel's middle is at t + i + 0.5.
    offsets = torch.arange(jitter + 1)[:, None]
    expected = 8 * size / (size + jitter) * (offsets + torch.arange(size) + 0.5)
    expected = expected.clamp(4, 124)  # Beyond the middle of its outermost pixels an image does not go on.
    found = (lines[:, None] - expected).abs().amax(2)
    assert found.amin(1).max() < 1e-3
    assert found.argmin(1).unique().tolist() == list(range(jitter + 1))


def test_images_of_one_batch_are_viewed_each_by_itself():
    torch.manual_seed(0)
    images = noise(1).expand(400, -1, -1, -1)
    (views,) = Views(mirror=True, jitter=2)(images)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 18  # Two sides, nine crops.


def test_a_pair_gets_one_view():
    torch.manual_seed(0)
    images = noise(64, 3)
    x, source = Views(mirror=True, jitter=3)(images, 255 - images)
    torch.testing.assert_close(source, -x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("jitter", [2, 5])
def test_a_source_of_another_size_shows_the_same_part(axis, jitter):
    torch.manual_seed(0)
    large, small = ramp(64, 32, 4, axis), ramp(64, 16, 8, axis)
    for first, second in ((large, small), (small, large)):
        views = {x.shape[2]: x for x in Views(mirror=True, jitter=jitter)(first, second)}
        halved = torch.nn.functional.avg_pool2d(views[32], 2)
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # At its edges an image does not go on.
        torch.testing.assert_close(halved[inner], views[16][inner], atol=1e-5, rtol=0)


def test_pairs_stay_pairs_in_batches_and_what_is_not_paired_is_viewed_apart():
    images = noise(48)
    for paired in (True, False):
        data = ImageSet(images, sources=255 - images, paired=paired)
        loader = Loader(data, 48, 0, CPU, sources=True, views=Views(mirror=True))
        torch.manual_seed(0)
        batch = next(loader.batches())
        sides = [
            (to_uint8(views)[:, None] == plain[None].flip(4)).flatten(2).all(2).any(1)
            for views, plain in ((batch.x, images), (batch.source, 255 - images))
        ]
        assert torch.equal(*sides) == paired
        assert torch.equal(to_uint8(batch.source), 255 - to_uint8(batch.x)) == paired


def test_views_stream_as_they_lie_on_the_device(monkeypatch):
    data = ImageSet(noise(20), sources=255 - noise(20))
    found = []
    for limit in (2**31, 100):
        monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", limit)
        torch.manual_seed(5)
        loader = Loader(data, 8, 0, CPU, workers=0, sources=True, views=Views(True, 2))
        assert loader.resident == (limit > 100)
        found.append(list(islice(loader.batches(), 5)))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.source, b.source)


@pytest.mark.parametrize("views", [Views(mirror=True), Views(jitter=1)])
def test_vectors_have_no_views(views):
    with pytest.raises(UsageError, match="vectors: --mirror and --jitter are for images"):
        Loader(Points().load(DataRequest()), 8, 0, CPU, views=views)


def test_recorded_steps_draw_views_as_plain_ones_do(ganzoo):
    from safetensors.torch import load_file

    run = ("run", "tiny-translator", "--dataset", "small-pairs", "--batch-size", 32, "--loggers", "none", "--quiet")
    found = []
    for engine in ("eager", "graph"):
        done = ganzoo(*run, "--mirror", "--jitter", 2, "--steps", 30, "--engine", engine, "--out", engine)
        assert done.code == 0, done.err
        found.append(load_file(f"{engine}/generator.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_resumed_run_sees_the_views_that_it_would_have_seen(ganzoo):
    from safetensors.torch import load_file

    run = ("run", "tiny-translator", "--dataset", "small-unpaired", "--batch-size", 32, "--loggers", "none", "--quiet")
    views = ("--mirror", "--jitter", 2, "--engine", "eager")
    assert ganzoo(*run, *views, "--steps", 30, "--out", "whole").code == 0
    assert ganzoo(*run, *views, "--steps", 17, "--out", "halves").code == 0
    assert ganzoo("resume", "halves", "--steps", 30, "--quiet").code == 0
    one, other = load_file("whole/generator.safetensors"), load_file("halves/generator.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)
