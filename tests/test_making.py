"""Sources made of images as they are needed: closed forms, batches as of sources that were there, and whole runs."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo as zoo
from ganzoo.data import DataRequest, ImageSet, Loader, Made, Maker, Views, normalise, open_dataset, resize, to_uint8
from ganzoo.data.making import edges, grey, hole, hole_in, smaller
from ganzoo.errors import UsageError
from ganzoo.metrics.reference import Reference
from ganzoo.report.read import read_run
from ganzoo_test_plugins import Pairs, Points, SmallDigits, Streamed
from test_run import assert_equal, state

CPU = torch.device("cpu")
RUN = ("run", "tiny-translator", "--dataset", "small-digits", "--batch-size", "32", "--loggers", "none")


def noise(n=24, channels=1, size=8):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, size, size), dtype=torch.uint8, generator=draw)


def made(images, named, labels=None):
    return ImageSet(images, labels, sources=Made(images, Maker.named(named)))


def loader(data, batch_size=4, **options):
    return Loader(data, batch_size, 3, CPU, sources=True, **{"workers": 0} | options)


# The makers


def test_grey_is_the_brightness_that_files_are_read_with():
    colours = noise(channels=3)
    expected = [np.array(Image.fromarray(x.permute(1, 2, 0).numpy()).convert("L")) for x in colours]
    difference = grey(colours).squeeze(1).int() - torch.from_numpy(np.stack(expected)).int()
    assert difference.abs().max() <= 1  # PIL computes with 16 bits.


def test_smaller_images_keep_their_brightness_and_what_is_finer_than_a_pixel_is_averaged():
    assert smaller(torch.full((2, 3, 8, 12), 77, dtype=torch.uint8), 4).tolist() == [[[[77] * 3] * 2] * 3] * 2
    stripes = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    stripes[..., ::2] = 200
    assert smaller(stripes, 4)[..., 1:-1].int().sub(100).abs().max() <= 1
    assert smaller(noise(), 2).shape == (24, 1, 4, 4)


def test_the_hole_is_in_the_middle_and_the_rest_is_untouched():
    images = noise(channels=3)
    holed = hole(images, 0.5)
    assert (holed[..., 2:6, 2:6] == 128).all()
    rest = torch.ones(8, 8, dtype=torch.bool)
    rest[2:6, 2:6] = False
    assert torch.equal(holed[..., rest], images[..., rest])
    assert hole_in(9, 4, 0.01) == (4, 1, 1, 1)


def test_outlines_of_colours_are_those_of_their_brightness():
    colours = noise(channels=3)
    assert torch.equal(edges(colours), edges(grey(colours)))


@pytest.mark.parametrize("named", ["smaller:2", "grey", "edges", "hole:0.25"])
def test_a_source_does_not_depend_on_what_it_is_made_with(named, monkeypatch):
    images, maker = noise(channels=3), Maker.named(named)
    whole = maker(images)
    assert torch.equal(torch.cat([maker(image) for image in images.split(1)]), whole)
    monkeypatch.setattr("ganzoo.data.making.CHUNK", 400)
    assert torch.equal(maker(images), whole)
    assert Maker.named(maker.text) == maker


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gray", "no way 'gray' of making sources: did you mean 'grey'?"),
        ("smaler:4", "did you mean 'smaller'?"),
        ("smaller", "say how many times smaller, 2 to 64, as in --source smaller:4"),
        ("smaller:1", "say how many times smaller"),
        ("smaller:x", "say how many times smaller"),
        ("smaller:0000000029999999", "say how many times smaller"),
        ("smaller:" + "9" * 5000, "say how many times smaller"),
        ("hole:1", "between 0 and 1, as in --source hole:0.5"),
        ("hole:nan", "between 0 and 1"),
        ("hole:", "between 0 and 1"),
        ("grey:2", "'grey' takes no number: write --source grey"),
    ],
)
def test_what_is_no_way_of_making_sources_is_told_in_one_line(text, told):
    with pytest.raises(UsageError, match=r"^--source ") as error:
        Maker.named(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("dataset", "request_", "told"),
    [
        (Pairs, DataRequest(source="hole"), "'small-pairs' has sources of its own: leave out --source hole, or"),
        (Points, DataRequest(source="hole"), "'small-points' holds vectors"),
        (SmallDigits, DataRequest(source="smaller:3"), "are 8 x 8 pixels: --image-size must be a multiple of 3"),
        (SmallDigits, DataRequest(source="grey"), "'small-digits' are grey already: say --channels 3, or edges"),
    ],
)
def test_data_that_no_sources_can_be_made_of_is_told_in_one_line(dataset, request_, told):
    with pytest.raises(UsageError) as error:
        open_dataset(dataset(), request_)
    assert told in str(error.value)


# Batches


@pytest.mark.parametrize("named", ["smaller:2", "grey", "edges", "hole"])
def test_batches_are_those_of_sources_that_are_there(named):
    images, maker = noise(channels=3), Maker.named(named)
    there = ImageSet(images, sources=maker(images))
    for one, other in islice(zip(loader(made(images, named)).batches(), loader(there).batches(), strict=False), 9):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.source, other.source)


def test_nothing_is_held_of_sources_that_are_made(monkeypatch):
    images = noise()
    monkeypatch.setattr("ganzoo.data.memory.IN_MEMORY_BYTES", images.nbytes)  # Room for the images alone.
    found = loader(made(images, "hole"))
    assert found.resident
    assert found.sources.images is found.images


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_have_the_same_sources(workers):
    one, other = loader(made(noise(), "edges")), loader(made(Streamed(noise()), "edges"), workers=workers)
    assert not other.resident
    for a, b in islice(zip(one.batches(2), other.batches(2), strict=False), 9):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.source, b.source)


def test_the_shares_of_two_processes_are_the_whole():
    whole = islice(loader(made(noise(), "hole")).batches(), 9)
    shares = [loader(made(noise(), "hole"), share=(rank, 2)).batches() for rank in (0, 1)]
    for batch, *halves in zip(whole, *shares, strict=False):
        assert torch.equal(batch.source, torch.cat([half.source for half in halves]))


@pytest.mark.parametrize("views", [Views(mirror=True), Views(jitter=3), Views(True, 3)])
def test_a_source_is_made_of_the_view_that_the_model_sees(views):
    torch.manual_seed(0)
    for batch in islice(loader(made(noise(), "smaller:2"), views=views).batches(), 5):
        assert torch.equal(to_uint8(batch.source), smaller(to_uint8(batch.x), 2))


def test_a_share_of_the_samples_keeps_its_sources():
    data = zoo.data.limited(made(noise(), "hole"), 5)
    assert torch.equal(torch.stack([data.sources[i] for i in range(5)]), hole(data.images, 0.5))


# Runs


def test_sources_are_the_same_in_training_grids_evaluation_and_samples(ganzoo, tmp_path):
    result = ganzoo(*RUN, "--source", "smaller:2", "--steps", 6, "--sample-interval", 3, "--out", "r")
    assert result.code == 0
    info = json.loads((tmp_path / "r" / "run.json").read_text())
    assert info["settings"]["source"] == "smaller:2"
    assert (info["data"]["source_shape"], info["data"]["paired"]) == ([1, 4, 4], True)
    test = SmallDigits().load(DataRequest("test")).images
    shown = np.array(Image.open(tmp_path / "r" / "real.png"))
    first = smaller(test[:1], 2)[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert np.array_equal(shown[2:10, 2:10, 0], first.numpy())
    reference = Reference(SmallDigits(), source="smaller:2", shape=(1, 8, 8))
    assert torch.equal(reference.data.sources[7], smaller(test[7:8], 2)[0])
    assert reference.fingerprint != Reference(SmallDigits(), source="hole").fingerprint
    assert ganzoo("sample", "r", "--from", "test", "-n", 3, "-o", "out.npz").code == 0
    with np.load(tmp_path / "out.npz") as file:
        assert torch.equal(torch.from_numpy(file["images"]), to_uint8(zoo.load("r").translate(smaller(test[:3], 2))))
    evaluated = ganzoo("eval", "r", "--n", 100, "--metrics", "fid", "--features", "look", "--json")
    assert evaluated.code == 0, evaluated.err


def test_pictures_are_sources_of_smaller_and_make_those_of_the_other_ways(ganzoo, tmp_path):
    Image.fromarray(noise(1, size=4)[0, 0].numpy()).save(tmp_path / "small.png")
    Image.fromarray(noise(1)[0, 0].numpy()).save(tmp_path / "whole.png")
    for named, picture, source in (
        ("smaller:2", "small.png", noise(1, size=4)),
        ("hole", "whole.png", hole(noise(1), 0.5)),
        ("edges", "whole.png", edges(noise(1))),
    ):
        run = named.partition(":")[0]
        assert ganzoo(*RUN, "--source", named, "--steps", 2, "--out", run).code == 0
        result = ganzoo("sample", run, "--from", picture, "-o", f"{run}.png")
        assert (result.code, result.err) == (0, "")
        expected = to_uint8(zoo.load(run).translate(source))[0, 0]
        assert np.array_equal(np.array(Image.open(tmp_path / f"{run}.png")), expected.numpy())


def test_colours_come_back_from_grey_pictures_that_are_made_of_coloured_ones(ganzoo, tmp_path):
    assert ganzoo(*RUN, "--channels", 3, "--source", "grey", "--steps", 2, "--out", "r").code == 0
    colours = noise(1, channels=3)
    Image.fromarray(colours[0].permute(1, 2, 0).numpy()).save(tmp_path / "c.png")
    result = ganzoo("sample", "r", "--from", "c.png", "-o", "out.png")
    assert (result.code, result.err) == (0, "")
    expected = to_uint8(zoo.load("r").translate(grey(colours)))[0].permute(1, 2, 0)
    assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), expected.numpy())


def test_a_run_goes_on_exactly(ganzoo, tmp_path):
    options = ("--source", "hole:0.25", "--mirror")
    assert ganzoo(*RUN, *options, "--steps", 130, "--out", "whole").code == 0
    assert ganzoo(*RUN, *options, "--steps", 70, "--out", "parts").code == 0
    assert ganzoo("resume", "parts", "--steps", 130).code == 0
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "parts"))


def test_recorded_steps_are_plain_ones(ganzoo, tmp_path):
    for engine in ("eager", "graph"):
        result = ganzoo(*RUN, "--source", "smaller:2", "--jitter", 2, "--steps", 9, "--engine", engine, "--out", engine)
        assert result.code == 0, result.err
    assert_equal(state(tmp_path / "eager"), state(tmp_path / "graph"))


def test_from_python_and_in_reports_runs_of_other_sources_are_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = []
    for named in ("edges", "hole", "hole:0.50", None):
        data = {"dataset": "small-pairs"} if named is None else {"dataset": "small-digits", "source": named}
        run = zoo.train("tiny-translator", steps=2, batch_size=32, loggers=(), progress=False, **data)
        record = read_run(run.folder)
        lines.append(record.settings.get("source"))
        assert ("--source" in record.command) == (named is not None)
    assert lines == ["edges", "hole", "hole", None]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source", "grwy"), "--source grwy: there is no way 'grwy' of making sources: did you mean 'grey'?"),
        ((), "has none to start from: choose a data set with sources, such as mnist-edges, or make some with --source"),
    ],
)
def test_a_run_without_sources_is_refused_in_one_line(ganzoo, tmp_path, arguments, told):
    result = ganzoo(*RUN, *arguments, "--steps", 1, "--out", "r")
    assert result.code == 2
    assert told in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_sources_for_a_model_that_takes_none_are_refused(ganzoo):
    result = ganzoo("run", "plain", "--dataset", "small-digits", "--source", "hole", "--steps", 1)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "--source hole: model 'plain' does not make images from images: leave it out" in result.err


def test_a_model_that_starts_from_its_images_takes_no_other_sources(ganzoo):
    result = ganzoo("run", "stargan", "--dataset", "small-digits", "--source", "hole", "--steps", 1)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "--source hole: model 'stargan' starts from the images themselves: leave it out" in result.err


@pytest.mark.parametrize("source", ["hole:0.75", "edges"])
@pytest.mark.parametrize("model", ["context-encoder", "ccgan"])
def test_a_model_that_fills_holes_refuses_sources_with_others(ganzoo, tmp_path, model, source):
    options = ("--dataset", "small-digits", "--source", source, "--steps", 1, "--out", "r")
    result = ganzoo("run", model, *options, "--hole", 0.25)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert f"--source {source}: model '{model}' as it is asked for wants --source hole:0.25: give that" in result.err
    assert not (tmp_path / "r").exists()


def test_a_hole_of_another_size_is_filled_where_both_say_so(ganzoo):
    options = ("--dataset", "small-digits", "--batch-size", 4, "--width", 2, "--steps", 1, "--quiet", "--out", "r")
    assert ganzoo("run", "context-encoder", *options, "--source", "hole:0.75", "--hole", 0.75).code == 0


def test_sources_are_made_of_images_at_the_size_that_is_asked_for():
    data = open_dataset(SmallDigits(), DataRequest("test", image_size=12, channels=3, source="smaller:4"))
    assert data.spec("digits").source_shape == (3, 3, 3)
    images = resize(SmallDigits().load(DataRequest("test")).images[:1].expand(-1, 3, -1, -1), 12)
    assert torch.equal(normalise(data.sources[0]), normalise(smaller(images, 4))[0])
