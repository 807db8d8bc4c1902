"""`ganzoo demo` of models that make images from images: held-out pictures, dropped ones, and what is refused."""

import io
import struct
import zlib
from http.client import HTTPConnection
from urllib.parse import quote, unquote

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ganzoo as zoo
from conftest import PATIENCE
from ganzoo import Attribute, Batch, DataSpec
from ganzoo.data import DataRequest, Maker, normalise
from ganzoo.data.making import edges, grey, hole, smaller
from ganzoo.demo import translating
from ganzoo.demo.asking import asked_of_translator
from ganzoo.demo.server import render
from ganzoo.demo.showing import player_of
from ganzoo.demo.translating import MOST_BYTES, Translating
from ganzoo.errors import UsageError
from ganzoo.plugins import registry
from ganzoo.runs.sampler import Sampler
from ganzoo_test_plugins import Pairs
from test_translate import Classed, Noisy, Translate

RUN = ("--dataset", "small-pairs", "--batch-size", 32, "--loggers", "none", "--steps", 2)


def player(model=Translate, data=None, held=None, maker=None, sampling=None) -> Translating:
    spec = data or DataSpec("pairs", (1, 8, 8), 10, tuple("abc"), source_shape=(1, 8, 8))
    return Translating(Sampler(model(spec, model.Options())), sampling, held, maker)


def png(image: torch.Tensor) -> bytes:
    """A file of an image, uint8 (C, H, W)."""
    buffer = io.BytesIO()
    array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def read(data: bytes) -> torch.Tensor:
    """uint8 (C, H, W)."""
    array = np.array(Image.open(io.BytesIO(data)))
    return torch.from_numpy(array).view(*array.shape[:2], -1).permute(2, 0, 1).contiguous()


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


HELD = Batch(
    normalise(noise(3, 1, 8, 8)), torch.tensor([2, 0, 1]), source=normalise(255 - noise(3, 1, 8, 8))
)  # fmt: skip


def ask(server, path, data=None, headers=None, length=None):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.putrequest("GET" if data is None else "POST", path)
    if data is not None and length != "":
        connection.putheader("Content-Length", str(len(data) if length is None else length))
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders(data)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


# What is shown


def test_held_out_pictures_are_those_of_the_batch_and_made_from_their_sources():
    shown = player(held=HELD)
    for i in range(3):
        assert torch.equal(read(shown.picture("source", of=i)[0]), 255 - noise(3, 1, 8, 8)[i])
        assert torch.equal(read(shown.picture("target", of=i)[0]), noise(3, 1, 8, 8)[i])
        assert torch.equal(read(shown.picture("made", of=i)[0]), 255 - noise(3, 1, 8, 8)[i])
    with pytest.raises(UsageError, match="no held-out picture 3: there are 3"):
        shown.picture("made", of=3)
    with pytest.raises(UsageError, match="no held-out picture 0: there are 0"):
        player().picture("made")


def test_a_run_shows_its_test_split_and_what_sample_makes_of_it(ganzoo, tmp_path):
    assert ganzoo("run", "tiny-labelled-translator", *RUN, "--out", "t").code == 0
    shown = player_of(tmp_path / "t", "cpu", registry(), {})
    data = Pairs().load(DataRequest("test"))
    facts, n = shown.facts(), len(data.images)
    places = [i * (n - 1) // 11 for i in range(12)]
    assert [held["label"] for held in facts["held"]] == data.labels[places].tolist()
    assert (facts["paired"], facts["sides"][0]["run"], facts["sides"][0]["step"]) == (True, str(tmp_path / "t"), "2")
    sampler = zoo.load("t")
    for of, place in ((0, places[0]), (7, places[7])):
        assert torch.equal(read(shown.picture("source", of=of)[0]), data.sources[place])
        assert torch.equal(read(shown.picture("target", of=of)[0]), data.images[place])
        made = sampler.translate(data.sources[place : place + 1], [4])
        assert torch.equal(read(shown.picture("made", of=of, label=4)[0]), zoo.data.to_uint8(made)[0])
    (tmp_path / "own.png").write_bytes(png(noise(1, 8, 8)))
    for seed in (0, 3):
        assert ganzoo("sample", "t", "--from", "own.png", "--label", 2, "--seed", seed, "-o", "made.png").code == 0
        expected = (tmp_path / "made.png").read_bytes()
        assert shown.picture("made", png(noise(1, 8, 8)), label=2, seed=seed) == (expected, [])


def test_without_the_data_there_are_your_own_pictures(ganzoo, tmp_path, monkeypatch, capfd):
    assert ganzoo("run", "tiny-translator", *RUN, "--out", "t").code == 0
    monkeypatch.setattr(Pairs, "load", lambda *_: (_ for _ in ()).throw(zoo.errors.UsageError("it is gone")))
    shown = player_of(tmp_path / "t", "cpu", registry(), {})
    assert "note: there are no held-out pictures to choose from, only your own: it is gone" in capfd.readouterr().err
    assert shown.facts()["held"] == []
    assert shown.picture("made", png(noise(1, 8, 8)))[0]
    assert 'name="of"' not in render(shown.facts(), shown.page).replace("[name=of]", "")


@pytest.mark.parametrize(
    ("way", "shape", "source"),
    [("edges", (3, 8, 8), (1, 8, 8)), ("grey", (3, 8, 8), (1, 8, 8)), ("hole", (3, 8, 8), (3, 8, 8)),
     ("hole:0.25", (1, 8, 8), (1, 8, 8))],
)  # fmt: skip
def test_the_source_is_made_of_a_dropped_picture_as_in_training(way, shape, source):
    maker = Maker.named(way)
    shown = player(Translate, DataSpec("d", shape, 10, source_shape=source), maker=maker)
    image = noise(shape[0], 12, 20)
    made = {"edges": edges, "grey": grey, "hole": lambda x: hole(x, maker.value)}[way.partition(":")[0]](image[None])[0]
    assert torch.equal(read(shown.picture("source", png(image))[0]), made)
    expected = zoo.data.to_uint8(shown.sampler.translate(made[None]))[0]
    assert torch.equal(read(shown.picture("made", png(image))[0]), expected)
    assert maker.text in render(shown.facts(), shown.page)


class Enlarged(Translate):
    """Makes the source four times as large."""

    def __init__(self, data, options):
        super().__init__(data, options)
        self.generator = nn.Upsample(scale_factor=4)

    def generate(self, z, y, source=None):
        return self.generator(source)

    @property
    def device(self):
        return torch.device("cpu")


def test_a_picture_is_made_smaller_first_or_enlarged_as_it_is():
    spec = DataSpec("d", (1, 16, 16), 10, source_shape=(1, 4, 4))
    shown = player(Enlarged, spec, maker=Maker.named("smaller:4"))
    assert shown.facts()["times"] == 4
    image = noise(1, 23, 34)
    small = smaller(image[None, :, :20, :32], 4)[0]
    assert torch.equal(read(shown.picture("source", png(image), shrink=True)[0]), small)
    assert read(shown.picture("made", png(image), shrink=True)[0]).shape == (1, 20, 32)
    assert torch.equal(read(shown.picture("source", png(image))[0]), image)
    assert read(shown.picture("made", png(image))[0]).shape == (1, 92, 136)
    with pytest.raises(UsageError, match="pictures of 8 x 8 pixels are too small: the model was trained on 16 x 16"):
        shown.picture("made", png(noise(1, 8, 8)), shrink=True)


def test_large_pictures_go_through_in_tiles(monkeypatch):
    seen = []
    shown = player()
    generate = shown.gan.generate
    monkeypatch.setattr(
        shown.sampler.gan,
        "generate",
        lambda z, y, source: seen.append(tuple(source.shape[2:])) or generate(z, y, source),
    )
    image = noise(1, 530, 900)
    assert torch.equal(read(shown.picture("made", png(image))[0]), image)
    assert max(max(size) for size in seen) == 512
    assert len([size for size in seen if min(size) > 100]) > 2


def test_seed_class_attributes_and_options_change_what_is_made():
    dropped = png(noise(1, 8, 8))
    noisy = player(Noisy)
    assert noisy.picture("made", dropped, seed=1) == noisy.picture("made", dropped, seed=1)
    assert noisy.picture("made", dropped, seed=1) != noisy.picture("made", dropped, seed=2)
    classed = player(Classed)
    assert classed.picture("made", dropped, label=0) != classed.picture("made", dropped, label=2)
    with pytest.raises(UsageError, match="'3' is not a class"):
        classed.picture("made", dropped, label=3)

    class Optional(Translate):
        class Sampling(zoo.Sampling):
            sign: int = 1

        def generate(self, z, y, source=None):
            return source * self.sampling.sign

    optional = player(Optional)
    assert torch.equal(read(optional.picture("made", dropped, sampling={"sign": -1})[0]), 255 - noise(1, 8, 8))
    assert optional.picture("made", dropped, sampling={"sign": -1}) == player(Optional, sampling={"sign": -1}).picture(
        "made", dropped
    )
    with pytest.raises(UsageError, match="no option of drawing named 'signn'"):
        optional.picture("made", dropped, sampling={"signn": 1})


def test_a_model_that_goes_both_ways_starts_from_images_the_other_way():
    spec = DataSpec("d", (1, 16, 16), 10, source_shape=(3, 16, 16), paired=False)
    model = registry().get("models", "cyclegan")
    held = Batch(normalise(noise(2, 1, 16, 16)), source=normalise(noise(2, 3, 16, 16)))
    shown = Translating(Sampler(model(spec, model.Options(identity=0, width=2))), held=held)
    there, back = {}, {"output": "source"}
    assert read(shown.picture("source", of=1, sampling=there)[0]).shape == (3, 16, 16)
    assert read(shown.picture("made", of=1, sampling=there)[0]).shape == (1, 16, 16)
    assert torch.equal(read(shown.picture("source", of=1, sampling=back)[0]), noise(2, 1, 16, 16)[1])
    assert read(shown.picture("made", of=1, sampling=back)[0]).shape == (3, 16, 16)
    assert read(shown.picture("made", png(noise(1, 16, 16)), sampling=back)[0]).shape == (3, 16, 16)
    with pytest.raises(UsageError, match="no counterparts"):
        shown.picture("target", of=1)


# To whom, and what is refused


def test_the_page_shows_what_there_is_to_choose(opened):
    status, body, headers = ask(opened(player(Classed, held=HELD)), "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = body.decode()
    assert text.count('name="of" value=') == 3
    assert 'alt="held-out picture 1, c"' in text
    assert text.count('name="label"') >= 3
    assert ask(opened(player()), "/image.png")[0] == 404


def test_a_dropped_picture_is_answered_with_notes_and_leaves_no_trace(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = opened(player())
    status, body, headers = ask(server, "/made.png?name=red.png&seed=0", png(noise(3, 9, 11)))
    assert (status, headers["Content-Type"], read(body).shape) == (200, "image/png", (1, 9, 11))
    assert unquote(headers["X-Notes"]) == "colour pictures are taken as grey, which the model was trained on"
    assert not list(tmp_path.iterdir())


def bomb() -> bytes:
    """A PNG of a few bytes that says that it is of 30,000 x 30,000 pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = part(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"")) + part(b"IEND", b"")


BAD = {
    "nothing": (b"", "broken, or not an image"),
    "text": (b"no picture" * 100, "broken, or not an image"),
    "script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "broken, or not an image"),
    "truncated": (png(noise(3, 64, 64))[:4000], "cannot be read"),
    "cut in its header": (png(noise(1, 8, 8))[:20], "image cat.png"),
    "bomb": (bomb(), "a decompression bomb"),
    "small": (png(noise(1, 4, 4)), "pictures of 4 x 4 pixels are too small"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("path", ["/source.png", "/made.png"])
def test_a_bad_picture_is_refused_in_one_line(opened, kind, path, capfd):
    data, told = BAD[kind]
    status, body, headers = ask(opened(player()), f"{path}?name=cat.png", data)
    assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    line = body.decode()
    assert told in line
    assert "cat.png" in line
    assert len(line.splitlines()) == 1
    assert capfd.readouterr().err == ""


def test_too_many_pixels_are_refused_before_they_are_decoded(opened, monkeypatch):
    monkeypatch.setattr(translating, "MOST_PIXELS", 100)
    assert ask(opened(player()), "/made.png", png(noise(1, 10, 10)))[0] == 200
    monkeypatch.setattr("ganzoo.data.imagefiles.eight_bits", lambda *_: pytest.fail("it was decoded"))
    status, body, _ = ask(opened(player()), "/made.png", png(noise(1, 10, 11)))
    assert (status, b"has 11 x 10 pixels" in body) == (400, True)
    larger = player(Enlarged, DataSpec("d", (1, 16, 16), 10, source_shape=(1, 4, 4)), maker=Maker.named("smaller:4"))
    with pytest.raises(UsageError, match="what is made of it would be too large"):
        larger.picture("made", png(noise(1, 4, 4)))


@pytest.mark.parametrize("sent", [b"x" * 1000, bytes(2**20)])
def test_too_many_bytes_are_refused_before_they_are_read(opened, monkeypatch, sent):
    server = opened(player())
    monkeypatch.setattr(Translating, "picture", lambda *_, **__: pytest.fail("it was looked at"))
    status, body, _ = ask(server, "/made.png", sent, length=MOST_BYTES + 1)
    assert (status, body) == (413, b"a picture of 33,554,433 bytes is too large: 33,554,432 at most")


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3", "9" * 30])
def test_a_length_that_is_none_is_refused(opened, length):
    assert ask(opened(player()), "/made.png", b"x", length=length)[0] == 411


def test_a_picture_that_does_not_come_whole_is_refused(opened):
    server = opened(player())
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.putrequest("POST", "/made.png")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"x" * 10)
    connection.sock.shutdown(1)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (400, b"of 1,000 bytes 10 came")
    connection.close()


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"},
                {"Origin": "null"}]
)  # fmt: skip
def test_nothing_is_made_for_the_page_of_another_site(opened, monkeypatch, headers):
    server = opened(player(held=HELD))
    monkeypatch.setattr(Translating, "picture", lambda *_, **__: pytest.fail("it was made"))
    for kind in ("source", "made", "target"):
        assert ask(server, f"/{kind}.png", headers=headers)[0] == 403
    assert ask(server, "/made.png", png(noise(1, 8, 8)), headers=headers)[0] == 403


def test_a_target_is_no_place_for_a_picture(opened):
    assert ask(opened(player(held=HELD)), "/target.png", b"x")[0] == 404
    assert ask(opened(player(held=HELD)), "/", b"x")[0] == 404


@pytest.mark.parametrize(
    "query", ["of=-1", "of=99", "of=x", "seed=-1", "shrink=2", "label=1e3", "values=[]", "sampling={", "file=x",
              "sampling=" + quote('{"lr": 1}'), "values=" + quote('{"x": 1}')]
)  # fmt: skip
def test_a_bad_request_is_refused_in_one_line(opened, query):
    status, body, _ = ask(opened(player(held=HELD)), f"/made.png?{query}")
    assert (status, len(body.decode().splitlines())) == (400, 1)


def test_a_name_is_told_as_text_of_one_line():
    name = asked_of_translator("name=" + quote("a\n\x1b[31m" + "x" * 500))["name"]
    assert len(name) == 80
    assert name.isprintable()


def test_attributes_have_sliders():
    spec = DataSpec("d", (1, 8, 8), 10, attributes=(Attribute("slant", -1, 1),), source_shape=(1, 8, 8))

    class Slanted(Classed):
        def generate(self, z, y, source=None):
            return source * y.view(-1, 1, 1, 1)

    shown = player(Slanted, spec)
    assert 'data-attribute="slant"' in render(shown.facts(), shown.page)
    dropped = png(noise(1, 8, 8))
    assert torch.equal(read(shown.picture("made", dropped, values={"slant": 1.0})[0]), noise(1, 8, 8))
    assert torch.equal(read(shown.picture("made", dropped, values={"slant": -1.0})[0]), 255 - noise(1, 8, 8))
