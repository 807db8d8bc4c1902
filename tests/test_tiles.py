"""Pictures of any size through a generator: names and sizes kept, large ones in tiles that nobody sees."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ganzoo as zoo
from ganzoo.data import normalise, to_uint8
from ganzoo.errors import GanzooError
from ganzoo.runs import tiles
from ganzoo.runs.sampler import Sampler
from ganzoo.runs.tiles import GRID, MARGIN, OVERLAP, in_tiles, spans, weights

TILE = 320


def noise(height, width, channels=3):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (channels, height, width), dtype=torch.uint8, generator=draw)


class Convolutional(nn.Module):
    """Sees 12 pixels far, halves and doubles."""

    def __init__(self, up=1):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 4, 4, 2, 1), nn.ConvTranspose2d(4, 3 * up**2, 4, 2, 1)
        self.middle = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 5, padding=2), nn.ReLU())
        self.shuffle = nn.PixelShuffle(up)

    @torch.no_grad()
    def forward(self, x):
        return self.shuffle(self.up(self.middle(self.down(x)))).mul(3).tanh()


@pytest.mark.parametrize("length", [300, 320, 321, 384, 385, 512, 513, 1000, 1023])
def test_tiles_cover_a_side_at_multiples_and_their_weights_make_one(length):
    found = spans(length, TILE)
    assert (found[0][0], found[-1][1]) == (0, length)
    assert all(start % GRID == 0 and end - start <= TILE for start, end in found)
    assert all(b[0] <= a[1] - OVERLAP for a, b in pairwise(found))
    for scale in (1, 4, 0.5):
        total = torch.zeros(round(length * scale))
        for i, (start, end) in enumerate(found):
            w = weights(found, i, round((end - start) * scale), scale)
            total[round(start * scale) :][: len(w)] += w
            if i:
                assert not w[: round(MARGIN * scale)].any()
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(400, 700), (1030, 330), (64, 900)])
def test_a_convolutional_network_makes_of_tiles_what_it_makes_of_the_whole(height, width, up):
    net, picture = Convolutional(up), noise(height, width)
    whole = to_uint8(net(normalise(picture[None])))[0]
    made = in_tiles(picture, net, TILE)
    assert made.shape == (3, height * up, width * up)
    assert (made.int() - whole.int()).abs().max() <= 1  # But for the order of sums.


def test_tiles_fade_linearly_into_each_other():
    values = iter([-1.0, 1.0])
    made = in_tiles(noise(100, 400), lambda x: torch.full_like(x, next(values)), TILE)
    row = made[0, 50].int()
    (_, end), (start, _) = spans(400, TILE)
    middle = (start + end) // 2
    assert row[: middle - 32].eq(0).all()
    assert row[middle + 32 :].eq(255).all()
    steps = row[middle - 32 : middle + 33].diff()
    assert set(steps.tolist()) <= {3, 4, 5, 2}


def test_no_more_than_a_tile_is_looked_at_at_once():
    seen = []

    def look(x):
        seen.append(x.shape)
        return x

    picture = noise(900, 1100)
    assert torch.equal(in_tiles(picture, look, TILE), picture)
    assert all(n == 1 and max(h, w) <= TILE for n, _, h, w in seen)


def test_a_network_of_changing_proportions_is_refused():
    with pytest.raises(GanzooError, match="other proportions"):
        in_tiles(noise(64, 400), lambda x: x[..., :200], TILE)


# From files


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of pix2pix, whose networks take any size, on 8 x 8 pictures in colour."""
    folder = tmp_path_factory.mktemp("any") / "run"
    zoo.train(
        "pix2pix", dataset="small-pairs", channels=3, steps=2, batch_size=8, width=4, loggers=(), progress=False,
        engine="eager", out=folder,
    )  # fmt: skip
    return folder


def save(path, tensor, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tensor.permute(1, 2, 0).squeeze(2).numpy()).save(path, **options)


def read(path):
    pixels = torch.from_numpy(np.array(Image.open(path)))
    return pixels.permute(2, 0, 1) if pixels.dim() == 3 else pixels[None]


def test_pictures_keep_their_names_and_sizes(ganzoo, run, tmp_path):
    sizes = {"a": (9, 14), "deep/b": (8, 8), "c": (33, 8), "d": (33, 8)}
    for name, size in sizes.items():
        save(tmp_path / "in" / f"{name}.png", noise(*size, channels=1))
    result = ganzoo("sample", run, "--from", "in", "-o", "out", "--json")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out)["shape"] is None
    sampler = zoo.load(run)
    for name, size in sizes.items():
        made = read(tmp_path / "out" / f"{name}.png")
        assert made.shape == (3, *size)
        assert (made.int() - to_uint8(sampler.translate(noise(*size, channels=1)[None]))[0].int()).abs().max() <= 1


def test_a_large_picture_goes_through_in_tiles(ganzoo, run, tmp_path, monkeypatch):
    looked_at = []
    translate_part = Sampler.translate_part

    def look(self, sources, *rest, **more):
        looked_at.append(max(sources.shape[2:]))
        return translate_part(self, sources, *rest, **more)

    monkeypatch.setattr(Sampler, "translate_part", look)
    monkeypatch.setattr(tiles, "TILE", TILE)
    save(tmp_path / "large.png", noise(350, 600, channels=1))
    result = ganzoo("sample", run, "--from", "large.png", "-o", "out.png")
    assert (result.code, result.out, result.err) == (0, "out.png\n", "")
    assert read(tmp_path / "out.png").shape == (3, 350, 600)
    assert max(looked_at) == TILE


def test_a_hundred_pictures_become_a_hundred(ganzoo, run, tmp_path):
    for i in range(100):
        save(tmp_path / "in" / f"{i:03d}.png", noise(8 + i % 3, 8 + i % 5, channels=1))
    assert ganzoo("sample", run, "--from", "in", "-o", "out").code == 0
    made = sorted((tmp_path / "out").iterdir())
    assert [path.stem for path in made] == [f"{i:03d}" for i in range(100)]
    assert [read(path).shape[1:] for path in made] == [(8 + i % 3, 8 + i % 5) for i in range(100)]


def test_a_turned_picture_comes_out_upright(ganzoo, run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = noise(20, 12, channels=1)
    save(tmp_path / "in" / "turned.png", torch.rot90(upright, 1, (1, 2)), exif=exif)
    save(tmp_path / "in" / "upright.png", upright)
    assert ganzoo("sample", run, "--from", "in", "-o", "out").code == 0
    assert torch.equal(read(tmp_path / "out" / "turned.png"), read(tmp_path / "out" / "upright.png"))
    assert read(tmp_path / "out" / "turned.png").shape == (3, 20, 12)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--from", "in", "-o", "out"),
            "in/b.png: pictures of 7 x 9 pixels are too small: the model was trained on 8 x",
        ),
        (("--from", "sizes", "-o", "out.png"), "pictures of different sizes make no grid and no array: name a folder"),
        (("--from", "sizes", "-o", "out.npz"), "pictures of different sizes make no grid and no array: name a folder"),
        (("--from", "sizes", "-o", "out", "--grid"), "pictures of different sizes make no grid and no array"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(ganzoo, run, tmp_path, arguments, told):
    for name, size in (("in/a", (9, 9)), ("in/b", (9, 7)), ("sizes/a", (9, 9)), ("sizes/b", (10, 9))):
        save(tmp_path / f"{name}.png", noise(*size, channels=1))
    result = ganzoo("sample", run, *arguments)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert told in result.err
    assert not list(tmp_path.glob("out*"))
